"""How a path came to where it is, and what is known there: all that a refusal tells."""

from __future__ import annotations

from itertools import pairwise

from routebpf.isa import FORMS, Kind
from routebpf.objects.model import Program
from routebpf.verifier.fault import Decision, Fault, Finding
from routebpf.verifier.flow import jump_target
from routebpf.verifier.register import NOT_INIT
from routebpf.verifier.register_text import register_text, slot_text
from routebpf.verifier.run import Run
from routebpf.verifier.state import State

_CONDITIONAL = (Kind.BRANCH, Kind.MAY_GOTO)
_LONGEST = 100_000


def finding_of(program: Program, fault: Fault, run: Run | None) -> Finding:
    """The refusal that `fault` is; `run` is None if no path was followed yet."""
    at = fault.at
    if run is None:
        return Finding(program.name, fault.rule, fault.message, at, note=fault.note)
    if at is None:
        at = run.at
    steps = trace(run)
    frame = run.frame
    registers = {
        number: register_text(held, run.kernel_btf)
        for number, held in enumerate(frame.registers)
        if held.type != NOT_INIT
    }
    return Finding(
        program.name,
        fault.rule,
        fault.message,
        at,
        fault.register,
        registers.get(fault.register, "") if fault.register is not None else "",
        fault.note,
        registers,
        {-8 * (spi + 1): slot_text(slot, run.kernel_btf) for spi, slot in sorted(frame.stack.items())},
        decisions(program, steps),
        steps,
        tuple(one.callsite for one in run.state.frames[1:]),
        run.processed,
        {number: held for number, held in enumerate(frame.registers) if held.type != NOT_INIT},
    )


def trace(run: Run) -> tuple[int, ...]:
    """Every instruction from the entry of the function verified to the one at hand, by the jumps that states keep."""
    found: list[int] = []
    state: State = run.state
    jumps = list(state.history)
    at, first, parent = run.at, state.first, state.parent
    while len(found) < _LONGEST:
        found.append(at)
        while at == first and (not jumps or (len(jumps) == 1 and jumps[0][1] == at)) and parent is not None:
            earlier = parent.state
            came_from = jumps.pop()[0] if jumps else None
            jumps, first, parent = list(earlier.history), earlier.first, earlier.parent
            if came_from is None:
                came_from = earlier.last if state.first == at else None
            state = earlier
            if came_from is None or came_from < 0:
                return tuple(reversed(found))
            at = came_from
            found.append(at)
        if jumps and jumps[-1][1] == at:
            at = jumps.pop()[0]
            if at < 0:
                break
        else:
            if at == first and parent is None:
                break
            at = _before(run, at)
    return tuple(reversed(found))


def _before(run: Run, at: int) -> int:
    """The instruction above; a 64-bit immediate has two slots."""
    instructions = run.program.instructions
    return at - 2 if at >= 2 and instructions[at - 2].is_wide else at - 1


def decisions(program: Program, steps: tuple[int, ...]) -> tuple[Decision, ...]:
    """The conditional jumps of a path and where they went."""
    found = []
    for at, following in pairwise(steps):
        one = program.instructions[at]
        form = FORMS[one.opcode]
        if form is not None and form.kind in _CONDITIONAL:
            found.append(Decision(at, following, following == jump_target(at, one, form.kind)))
    return tuple(found)
