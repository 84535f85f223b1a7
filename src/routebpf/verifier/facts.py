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
class CallFacts:
    """What is known of r1 to r5 at a call of a helper or a kfunc, None where nothing is.

    `maps`: indexes into the program's maps. `callbacks`: instruction numbers at which functions start. `constants`:
    values, unsigned 64-bit.
    """

    maps: tuple[int | None, ...]
    callbacks: tuple[int | None, ...]
    constants: tuple[int | None, ...]

    @property
    def map(self) -> int | None:
        """The map of the first argument that is one."""
        return next((one for one in self.maps if one is not None), None)

    @property
    def callback(self) -> int | None:
        """The function of the first argument that is one."""
        return next((one for one in self.callbacks if one is not None), None)


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A function of the program: instructions `start` to `end` (exclusive).

    `stack_bytes` of stack it is known to use. `frame_bytes`, at least as many, is what an engine must give it: all 512
    where an address on the stack is not known.
    """

    name: str
    start: int
    end: int
    stack_bytes: int
    frame_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """By instruction number: context accesses, and calls of helpers and kfuncs.

    `reachable[i]` is 1 for an instruction that some path reaches, once branches on constants are decided; an engine
    need not be able to run the others. The second slot of a 64-bit immediate is never reached.
    """

    context: Mapping[int, ContextAccess]
    calls: Mapping[int, CallFacts]
    functions: tuple[FunctionFacts, ...]
    reachable: bytes = field(repr=False)
