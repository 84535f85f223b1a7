"""The state of the pass over a program: what is known at each place, of each function, and what was found out.

Frames are told apart by the function that owns them, which is enough without recursion.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from routebpf.errors import RejectedError
from routebpf.isa.opcodes import R10, STACK_BYTES
from routebpf.objects.model import MapDefinition, Program
from routebpf.verifier.structure_facts import CallFacts, ContextAccess, StructureError
from routebpf.verifier.structure_flow import Flow
from routebpf.verifier.structure_values import UNSET, Origin, Value, join

Slots = dict[tuple[int, int], Value]  # (function number, offset from its frame pointer): pointers and numbers spilled


@dataclass(slots=True)
class State:
    """What is known at one place: `registers` r0 to r10, and what 8-byte stack slots hold."""

    registers: list[Value]
    slots: Slots

    def copy(self) -> State:
        return State(self.registers.copy(), self.slots.copy())

    def merge(self, other: State) -> bool:
        """Join `other` into this. True if that changed anything."""
        changed = False
        for number, value in enumerate(other.registers):
            old = self.registers[number]
            if value is not old:
                new = join(old, value)
                if new != old:
                    self.registers[number] = new
                    changed = True
        for key, value in other.slots.items():
            changed |= write_weakly(self.slots, key, value)
        return changed


def write_weakly(slots: Slots, key: tuple[int, int], value: Value) -> bool:
    """Note that the slot may hold `value`. True if that was not known."""
    old = slots.get(key)
    new = value if old is None else join(old, value)
    slots[key] = new
    return new != old


@dataclass(slots=True)
class Summary:
    """What a function does to its callers: the r0 it returns (None: it has not been seen to return), and `written`,
    what it may put into frames that are not its own. `callers` are the blocks to follow again when that changes."""

    result: Value | None = None
    written: Slots = field(default_factory=dict)
    callers: set[int] = field(default_factory=set)
    is_callback: bool = False
    stack_bytes: int = 0
    frame_bytes: int = 0


class Pass:
    """The pass over one program: it collects `context`, `calls` and `reachable` (see `Facts`).

    `maps` in the order of `program.maps`. `license` is the object's. `block`, `span` and `at` say where the pass is:
    the block's first instruction, the number of the function, the instruction.
    """

    def __init__(self, program: Program, flow: Flow, maps: Sequence[MapDefinition], license: str) -> None:
        self.program = program
        self.flow = flow
        self.maps = maps
        self.license = license
        self.context: dict[int, ContextAccess] = {}
        self.calls: dict[int, CallFacts] = {}
        self.reachable = bytearray(len(program.instructions))
        self.summaries = [Summary() for _ in flow.spans]
        self.poisons = {poison.instruction: poison.reason for poison in program.poisons}
        self.block = self.span = self.at = 0
        self._entries: dict[int, State] = {}
        self._waiting: list[int] = []

    def next_block(self) -> State | None:
        """Go to the next block to follow: a copy of the state in which it is entered; None when nothing changes."""
        if not self._waiting:
            return None
        start = heapq.heappop(self._waiting)
        while self._waiting and self._waiting[0] == start:
            heapq.heappop(self._waiting)
        self.block = self.at = start
        self.span = self.flow.span_index(start)
        return self._entries[start].copy()

    def arrive(self, at: int, state: State) -> None:
        """A path comes to the block that starts at `at`, in `state`."""
        known = self._entries.get(at)
        if known is None:
            self._entries[at] = state.copy()
        elif not known.merge(state):
            return
        heapq.heappush(self._waiting, at)

    def enter(self, span: int, registers: Mapping[int, Value], slots: Slots) -> None:
        """A call of function number `span`: its frame is new, the others' slots are as they are."""
        values = [registers.get(number, UNSET) for number in range(R10)]
        self.arrive(self.flow.spans[span].start, State([*values, Value(Origin.STACK, span, 0)], slots))

    def again(self, span: int) -> None:
        """Follow the callers of function number `span` once more."""
        for block in self.summaries[span].callers:
            heapq.heappush(self._waiting, block)

    def read(self, state: State, register: int) -> Value:
        """What `register` holds. Raises StructureError if it may hold nothing."""
        value = state.registers[register]
        if value.origin is Origin.UNSET:
            raise self.fault(f"R{register} !read_ok", f"On some path to here nothing was put into r{register}.")
        return value

    def fault(self, message: str, todo: str = "", error: type[RejectedError] = RejectedError) -> StructureError:
        """The kernel's `message` for the instruction at hand."""
        return StructureError(self.at, message, todo, error)

    def use_stack(self, span: int, at: int) -> None:
        """Note that the frame of function number `span` is used down to `at` (negative)."""
        summary = self.summaries[span]
        summary.stack_bytes = max(summary.stack_bytes, -at)
        summary.frame_bytes = max(summary.frame_bytes, -at)

    def point_into_stack(self, value: Value) -> None:
        """Note that there is this pointer to the stack: through it the frame may be used from there on."""
        summary = self.summaries[value.which]
        lowest = -STACK_BYTES if value.offset is None else value.offset
        summary.frame_bytes = min(max(summary.frame_bytes, -lowest), STACK_BYTES)

    def note_write(self, key: tuple[int, int], value: Value) -> None:
        """Note that the function at hand may put `value` into the slot of a frame that is not its own."""
        if key[0] != self.span and write_weakly(self.summaries[self.span].written, key, value):
            self.again(self.span)
