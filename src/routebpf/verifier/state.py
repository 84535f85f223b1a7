"""The state of a path: its frames with registers and stack, the references and locks it holds.

kernel: include/linux/bpf_verifier.h, struct bpf_verifier_state, struct bpf_func_state, struct bpf_stack_state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, NamedTuple

from routebpf.isa.opcodes import FRAMES
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.register import NOT_INIT, SCALAR_VALUE, UNSET, Register, pointer
from routebpf.verifier.register import PTR_TO_STACK as _PTR_TO_STACK

# What a byte of the stack is (kernel: enum bpf_stack_slot_type).
INVALID, SPILL, MISC, ZERO, DYNPTR, ITER, IRQ_FLAG = range(7)
_SPECIAL = frozenset({SPILL, DYNPTR, ITER, IRQ_FLAG})
SLOT_BYTES: Final = 8
MAIN_FUNCTION: Final = -1  # `callsite` of a frame that nothing called
FRAME_BITS: Final = 128  # of a set of registers (bits 0 to 9) and stack slots (from 16 on), for each frame
SLOT_BIT: Final = 16


class Slot(NamedTuple):
    """Eight bytes of stack: what each is (index 7 is the lowest address), and the register spilled there, or what a
    dynptr, an iterator or an interrupt flag is."""

    types: bytes
    register: Register | None = None
    object: DynptrSlot | IteratorSlot | IrqSlot | None = None

    @property
    def is_spilled(self) -> bool:
        return self.types[7] == SPILL

    @property
    def is_special(self) -> bool:
        """kernel: is_stack_slot_special()."""
        return self.types[7] in _SPECIAL


class DynptrSlot(NamedTuple):
    """One of the two slots of a dynptr: its type flag, and whether it is the first (the lower address)."""

    type: int
    is_first: bool
    id: int
    ref: int


class IteratorSlot(NamedTuple):
    """A slot of an iterator, by the name of its struct. `flags`: MEM_RCU, PTR_UNTRUSTED. `ref` of the first slot."""

    name: str
    flags: int
    ref: int
    is_active: bool
    depth: int


class IrqSlot(NamedTuple):
    """A saved interrupt flag: who saved it ("native", "lock")."""

    saved_by: str
    ref: int


EMPTY: Final = Slot(bytes(8))
FULL_SPILL: Final = bytes([SPILL] * 8)


class ReferenceKind(IntFlag):
    """kernel: enum ref_state_type."""

    POINTER = 2
    IRQ = 4
    LOCK = 8
    RES_LOCK = 16
    RES_LOCK_IRQ = 32


LOCKS: Final = ReferenceKind.LOCK | ReferenceKind.RES_LOCK | ReferenceKind.RES_LOCK_IRQ


class Reference(NamedTuple):
    """What a path must give back: acquired by instruction `at`. `owner` of a lock: the map that it is in."""

    kind: ReferenceKind
    id: int
    at: int
    owner: object = None


class Frame:
    """A function being run. `depends[r]`: which registers and slots of the last checkpoint the number in r came from,
    as bits; `slot_depends` the same of spilled numbers. `precise`: of a checkpoint, those whose range mattered."""

    __slots__ = (
        "allocated",
        "async_entries",
        "callback_depth",
        "callsite",
        "depends",
        "function",
        "in_async_callback",
        "in_callback",
        "number",
        "precise",
        "registers",
        "returns",
        "slot_depends",
        "stack",
    )

    def __init__(self, callsite: int, number: int, function: int) -> None:
        self.callsite = callsite
        self.number = number
        self.function = function
        self.registers: list[Register] = [UNSET] * 10 + [pointer(_PTR_TO_STACK, extra=number)]
        self.stack: dict[int, Slot] = {}
        self.allocated = 0
        self.depends = [0] * 11
        self.slot_depends: dict[int, int] = {}
        self.precise = 0
        self.callback_depth = 0
        self.in_callback = False
        self.in_async_callback = False
        self.async_entries = 0
        self.returns = (0, 0)

    def copy(self) -> Frame:
        new = Frame.__new__(Frame)
        new.callsite = self.callsite
        new.number = self.number
        new.function = self.function
        new.registers = self.registers.copy()
        new.stack = self.stack.copy()
        new.allocated = self.allocated
        new.depends = self.depends.copy()
        new.slot_depends = self.slot_depends.copy()
        new.precise = self.precise
        new.callback_depth = self.callback_depth
        new.in_callback = self.in_callback
        new.in_async_callback = self.in_async_callback
        new.async_entries = self.async_entries
        new.returns = self.returns
        return new


class State:
    """A path: where it is and what it holds. A checkpoint is one that later paths are compared with.

    kernel: struct bpf_verifier_state.
    """

    __slots__ = (
        "active_irq",
        "active_lock",
        "at",
        "branches",
        "callback_unroll_depth",
        "depth",
        "equal",
        "first",
        "frames",
        "history",
        "history_count",
        "in_sleepable",
        "is_clean",
        "last",
        "locks",
        "may_goto_depth",
        "parent",
        "preempt_locks",
        "rcu_lock",
        "references",
    )

    def __init__(self, frame: Frame, start: int) -> None:
        self.frames = [frame]
        self.references: tuple[Reference, ...] = ()
        self.locks = 0
        self.active_lock: tuple[int, object] = (0, None)
        self.active_irq = 0
        self.rcu_lock = False
        self.preempt_locks = 0
        self.in_sleepable = False
        self.branches = 1
        self.parent: Checkpoint | None = None
        self.first = start
        self.last = -1
        self.at = start
        self.depth = 0
        self.callback_unroll_depth = 0
        self.may_goto_depth = 0
        self.history: list[tuple[int, int]] = []  # (where from, where to) of the jumps since the checkpoint
        self.history_count = 0  # as the kernel counts them: stack accesses and linked registers, too
        self.is_clean = False
        self.equal: State | None = None

    def copy(self) -> State:
        new = State.__new__(State)
        new.frames = [frame.copy() for frame in self.frames]
        new.references = self.references
        new.locks = self.locks
        new.active_lock = self.active_lock
        new.active_irq = self.active_irq
        new.rcu_lock = self.rcu_lock
        new.preempt_locks = self.preempt_locks
        new.in_sleepable = self.in_sleepable
        new.branches = self.branches
        new.parent = self.parent
        new.first = self.first
        new.last = self.last
        new.at = self.at
        new.depth = self.depth
        new.callback_unroll_depth = self.callback_unroll_depth
        new.may_goto_depth = self.may_goto_depth
        new.history = self.history.copy()
        new.history_count = self.history_count
        new.is_clean = self.is_clean
        new.equal = self.equal
        return new

    def instruction_of(self, frame: int) -> int:
        """Where a frame is: at its call, but for the innermost (kernel: frame_insn_idx())."""
        return self.at if frame == len(self.frames) - 1 else self.frames[frame + 1].callsite

    def has_same_callsites(self, other: State) -> bool:
        """kernel: same_callsites()."""
        return len(self.frames) == len(other.frames) and all(
            mine.callsite == theirs.callsite for mine, theirs in zip(self.frames, other.frames, strict=True)
        )

    def replace_registers(self, change: Callable[[Register], Register]) -> None:
        """Apply `change` to every register and every spilled one (kernel: bpf_for_each_reg_in_vstate())."""
        for frame in self.frames:
            registers = frame.registers
            for number, register in enumerate(registers):
                if register.type != NOT_INIT:
                    new = change(register)
                    if new is not register:
                        registers[number] = new
            for spi, slot in list(frame.stack.items()):
                old = slot.register
                if old is not None and slot.is_spilled:
                    new = change(old)
                    if new is not old:
                        frame.stack[spi] = Slot(slot.types, new)


@dataclass(slots=True, eq=False)
class Checkpoint:
    """A state that later ones are compared with (kernel: struct bpf_verifier_state_list)."""

    state: State
    hits: int = 0
    misses: int = 0


def push_frame(state: State, callsite: int, function: int) -> Frame:
    """A new innermost frame, for a function called by instruction `callsite`. Raises Fault.

    kernel: setup_func_entry().
    """
    if len(state.frames) >= FRAMES:
        raise Fault(Rule.DEPTH, f"the call stack of {len(state.frames) + 1} frames is too deep")
    frame = Frame(callsite, len(state.frames), function)
    state.frames.append(frame)
    return frame


def register_bit(frame: int, register: int) -> int:
    return 1 << frame * FRAME_BITS + register


def slot_bit(frame: int, spi: int) -> int:
    return 1 << frame * FRAME_BITS + SLOT_BIT + spi


def spi_of(offset: int) -> int:
    """The slot that the byte at `offset` (negative) from the frame pointer belongs to."""
    return (-offset - 1) // SLOT_BYTES


def is_spilled_scalar(slot: Slot | None) -> bool:
    return (
        slot is not None
        and slot.types[7] == SPILL
        and slot.register is not None
        and (slot.register.type == SCALAR_VALUE)
    )
