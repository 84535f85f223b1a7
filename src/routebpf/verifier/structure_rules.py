"""What the tables of `spec` say, in the form that the pass asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache

from routebpf.spec import ReturnKind, helper_by_id, kfunc_by_name
from routebpf.spec import context_accesses as context_accesses

_NOWHERE: frozenset[str] = frozenset()


class Result(Enum):
    """What a helper returns, as far as the pass follows it."""

    NOTHING = "nothing: r0 holds nothing after it"
    NUMBER = "a number"
    MAP_VALUE = "a pointer into a map, or null"
    OTHER = "another pointer, or null"


@dataclass(frozen=True, slots=True)
class Function:
    """A helper or a kfunc: how many arguments it takes, which program types have it."""

    name: str
    arguments: int
    result: Result
    gpl_only: bool
    program_types: frozenset[str]


_RESULTS = {
    ReturnKind.INTEGER: Result.NUMBER,
    ReturnKind.VOID: Result.NOTHING,
    ReturnKind.PTR_TO_MAP_VALUE: Result.MAP_VALUE,
}


@cache
def helper(number: int) -> Function | None:
    """The helper with id `number`, or None if the kernel has none."""
    row = helper_by_id(number)
    if row is None:
        return None
    result = _RESULTS.get(row.returns.kind, Result.OTHER) if row.returns else Result.NOTHING
    types = _NOWHERE if row.might_sleep else row.program_types
    return Function(row.name, len(row.arguments), result, row.gpl_only, types)


@cache
def kfunc(name: str) -> Function | None:
    """The kfunc named `name`, or None if no program here has it."""
    row = kfunc_by_name(name.partition("___")[0])
    if row is None:
        return None
    types = _NOWHERE if row.might_sleep else row.program_types
    result = Result.OTHER if row.returns_pointer else Result.NUMBER
    if row.c_return_type == "void":
        result = Result.NOTHING
    return Function(row.name, len(row.arguments), result, True, types)


def is_gpl(license: str) -> bool:
    return license in ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")


def is_implemented(name: str) -> bool:
    """Whether the embedded host has this helper or kfunc."""
    from routebpf.runtime import registry

    return registry.is_implemented(name)


def is_absent_kfunc(name: str) -> bool:
    """Whether a kernel symbol is a kfunc that the embedded host does not have."""
    return kfunc(name) is not None and not is_implemented(name.partition("___")[0])
