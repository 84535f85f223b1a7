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
        number: register_text(held, run.kernel_btf, frame.number)
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
        {-8 * (spi + 1): slot_text(slot, run.kernel_btf, frame.number) for spi, slot in sorted(frame.stack.items())},
        decisions(program, steps),
        steps,
        tuple(one.callsite for one in run.state.frames[1:]),
        run.processed,
        {number: held for number, held in enumerate(frame.registers) if held.type != NOT_INIT},
    )


def trace(run: Run) -> tuple[int, ...]:
    """Every instruction from the entry of the function verified to the one at hand, by the jumps that states keep."""
    state: State = run.state
    jumps = list(state.history)
    at = run.at
    if at < len(run.flow.jumps) and run.flow.jumps[at] and not run.is_noted and state.last >= 0:
        jumps.append((state.last, at))  # a fault at a pruning point comes before the jump is noted
    found = [at]
    while len(found) < _LONGEST:
        if at == state.first and (not jumps or (len(jumps) == 1 and jumps[0][1] == at)):
            if state.parent is None:
                break
            state = state.parent.state
            at = state.last
            jumps = list(state.history)
        elif jumps and jumps[-1][1] == at:
            at = jumps.pop()[0]
        else:
            at = _before(run, at)
        if at < 0:
            break
        found.append(at)
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
