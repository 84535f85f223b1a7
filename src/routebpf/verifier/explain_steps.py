"""What the verifier knows at each step, as `--explain` shows it (the kernel's log level 2, by source line)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from routebpf.verifier.register import NOT_INIT, Register
from routebpf.verifier.register_text import register_text, slot_text
from routebpf.verifier.run import Run
from routebpf.verifier.state import Slot, State


@dataclass(slots=True)
class Step:
    """One instruction followed. `begins`: it is the first of a path that was left to follow later (of the program, if
    it is the first of all). `registers` and `stack` (by offset): what it changed, None for what it lost; all that is
    known where a path or a function begins. `frame`: how many functions are around it."""

    at: int
    begins: bool
    frame: int
    registers: dict[int, str | None] = field(default_factory=dict)
    stack: dict[int, str | None] = field(default_factory=dict)


class Steps:
    """An observer for `verify` that tells `sink` of each step, once the instruction has been followed.

    Call `finish` when the verification has ended.
    """

    def __init__(self, sink: Callable[[Step], None]) -> None:
        self._sink = sink
        self._step: Step | None = None
        self._state: State | None = None
        self._registers: list[Register] = []
        self._slots: dict[int, Slot] = {}

    def __call__(self, run: Run) -> None:
        """Instruction `run.at` is about to be followed."""
        is_new = run.state is not self._state
        depth = len(run.state.frames) - 1
        if self._step is not None:
            if not is_new:
                self._note_changes(run, is_other_frame=depth != self._step.frame)
            self._sink(self._step)
        self._step = Step(run.at, is_new, depth)
        self._state = run.state
        # Where a path begins, all that is known after its first instruction is told.
        self._registers = [] if is_new else run.frame.registers.copy()
        self._slots = {} if is_new else run.frame.stack.copy()

    def finish(self) -> None:
        """The last instruction has been followed, or was refused."""
        if self._step is not None:
            self._sink(self._step)
            self._step = None

    def _note_changes(self, run: Run, *, is_other_frame: bool) -> None:
        step = self._step
        assert step is not None
        before = [] if is_other_frame else self._registers
        for number, register in enumerate(run.frame.registers):
            if number < len(before) and before[number] is register:
                continue
            if register.type == NOT_INIT:
                if number < len(before) and before[number].type != NOT_INIT:
                    step.registers[number] = None
            else:
                step.registers[number] = register_text(register, run.kernel_btf)
        slots = {} if is_other_frame else self._slots
        for spi, slot in run.frame.stack.items():
            if slots.get(spi) != slot:
                step.stack[-8 * (spi + 1)] = slot_text(slot, run.kernel_btf)
