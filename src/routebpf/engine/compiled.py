"""What the engines need of a map, and what they give."""

from __future__ import annotations

from typing import Protocol

from routebpf.errors import RejectedError, RuntimeFault
from routebpf.objects.model import MapDefinition, Program


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

    @property
    def fault(self) -> RuntimeFault | None:
        """Why the last run was stopped, where runs are checked."""


def missing_ksym(program: Program, number: int) -> RejectedError:
    """The error for a program that takes the address of a kernel variable."""
    return RejectedError(
        f"{program.name}: it uses the kernel variable {program.ksyms[number]}, which the embedded host does not have;"
        " run it on the kernel host"
    )
