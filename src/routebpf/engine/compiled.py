"""What the engines need of a map, and what they give."""

from __future__ import annotations

from typing import Protocol

from routebpf.errors import RejectedError
from routebpf.objects.model import MapDefinition, Program
from routebpf.runtime.native import Native
from routebpf.runtime.registry import implementation, is_implemented
from routebpf.spec import kfunc_by_name


class MapFace(Protocol):
    """A map that exists: `runtime.maps.Map` is one."""

    @property
    def address(self) -> int: ...

    @property
    def definition(self) -> MapDefinition: ...

    def value_address(self) -> int:
        """The address of the only value of a map of global data, or the first of an array."""


class Compiled(Protocol):
    """A program that can be run: `entry` is the address of `i64 entry(i64 cpu, i64 skb)`, as long as this lives."""

    @property
    def entry(self) -> int: ...

    def take_fault(self, cpu: int) -> BaseException | None:
        """Why the last run on the CPU at that address was stopped, if it was, where runs are checked: a RuntimeFault,
        or what interrupted it. It is told once."""


# What the kernel calls instead for a program type that may not write to the packet: specialize_kfunc() in verifier.c.
_READ_ONLY_FORMS = {"bpf_dynptr_from_skb": "bpf_dynptr_from_skb_rdonly"}


def implementation_for(name: str, program_type: str) -> Native | None:
    """The native function for a helper or kfunc that a program of this type calls, None if there is none."""
    if program_type != "LWT_XMIT":
        name = _READ_ONLY_FORMS.get(name, name)
    return implementation(name)


def ksym_value(program: Program, number: int) -> int:
    """What a program has as the address of a kernel symbol: 0 for a kfunc that is not there, 1 for one that is.

    It can only be compared with null. Raises RejectedError for a kernel variable.
    """
    name = program.ksyms[number]
    if kfunc_by_name(name.partition("___")[0]) is not None:
        return int(is_implemented(name.partition("___")[0]))
    raise RejectedError(
        f"{program.name}: it uses the kernel variable {name}, which the embedded host does not have;"
        " run it on the kernel host"
    )
