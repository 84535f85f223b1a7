"""What the tables of `spec` say, in the form that the pass asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache


class Result(Enum):
    """What a helper returns, as far as the pass follows it."""

    NUMBER = "a number, or nothing"
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


def helper(number: int) -> Function | None:
    """The helper with id `number`, or None if the kernel has none."""
    from routebpf.spec import helper_by_id

    return helper_by_id(number)


def kfunc(name: str) -> Function | None:
    """The kfunc named `name`, or None if no program here has it."""
    from routebpf.spec import kfunc_by_name

    return kfunc_by_name(name)


@cache
def context_accesses(program_type: str) -> dict[tuple[int, int, bool], bool]:
    """(offset, size, whether a write): whether a load gives a pointer; for all accesses that are allowed."""
    from routebpf.spec import context_accesses as table

    return table(program_type)


def is_gpl(license: str) -> bool:
    return license in ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")


def is_implemented(name: str) -> bool:
    return True
