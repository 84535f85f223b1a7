"""What verification finds out about a program, for the engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ContextAccess:
    """A load or store through a pointer to the context: byte `offset` in struct __sk_buff, `size` in bytes."""

    offset: int
    size: int
    is_write: bool


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function of the program: instructions `start` to `end` (exclusive), `stack_bytes` of stack that it uses."""

    name: str
    start: int
    end: int
    stack_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """By instruction number: context accesses, and calls of helpers and kfuncs, each with the map that r1 is there, an
    index into the program's maps; None if it is no map, or not the same on every path.

    `reachable[i]` is 1 for an instruction that some path reaches, once branches on constants are decided; an engine
    need not be able to run the others. The second slot of a 64-bit immediate is never reached.
    """

    context: Mapping[int, ContextAccess]
    calls: Mapping[int, int | None]
    functions: tuple[FunctionFacts, ...]
    reachable: bytes = field(repr=False)
