"""The control flow of a program: its functions, where jumps and calls lead, what is never reached.

kernel: kernel/bpf/verifier.c, add_subprog_and_kfunc(), check_subprogs(), check_cfg(). The messages are the kernel's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from routebpf.isa import FORMS, Instruction, Kind
from routebpf.isa.opcodes import LDDW, MAX_INSTRUCTIONS, PSEUDO_CALL, PSEUDO_FUNC
from routebpf.objects.model import Function
from routebpf.verifier.structure_facts import StructureError

_ENDS_FUNCTION = frozenset({Kind.EXIT, Kind.JA, Kind.GOTOL})
_BY_OFFSET = frozenset({Kind.JA, Kind.MAY_GOTO, Kind.BRANCH})
_JUMPS = _BY_OFFSET | {Kind.GOTOL}


@dataclass(frozen=True, slots=True)
class Span:
    """A function: instructions `start` to `end` (exclusive)."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Flow:
    """`spans` in order of their start; `leaders[i]` is 1 where a path can arrive other than from the line above."""

    spans: tuple[Span, ...]
    leaders: bytes

    def span_index(self, at: int) -> int:
        """The index of the function that instruction `at` belongs to."""
        return bisect_right(self.spans, at, key=lambda span: span.start) - 1


def check_flow(instructions: Sequence[Instruction], functions: Sequence[Function]) -> Flow:
    """Check jumps, calls and reachability. Raises StructureError. `functions` gives names and may be empty."""
    count = len(instructions)
    if not 0 < count <= MAX_INSTRUCTIONS:
        raise StructureError(
            None, f"it has {count} instructions; a program has 1 to {MAX_INSTRUCTIONS:,}", "Split it with tail calls."
        )
    second_slots = bytearray(count + 1)
    starts = {0} | {function.start for function in functions}
    for at, one in enumerate(instructions):
        if one.opcode == LDDW:
            second_slots[at + 1] = 1
        callee = call_target(at, one)
        if callee is not None:
            if not 0 <= callee < count:
                raise StructureError(at, "call to invalid destination")
            starts.add(callee)
    names = {function.start: function.name for function in functions}
    spans = tuple(
        Span(names.get(start, f"function_at_{start}"), start, end) for start, end in pairwise([*sorted(starts), count])
    )
    leaders = bytearray(count + 1)
    for span in spans:
        _check_span(instructions, span, leaders, second_slots)
    _check_reached(instructions, second_slots)
    return Flow(spans, bytes(leaders))


def call_target(at: int, one: Instruction) -> int | None:
    """Where the BPF function starts that `one` calls or takes the address of, or None."""
    if (one.opcode == LDDW and one.src == PSEUDO_FUNC) or (one.opcode == 0x85 and one.src == PSEUDO_CALL):
        return at + one.imm + 1
    return None


def jump_target(at: int, one: Instruction, kind: Kind) -> int | None:
    """Where a jump at `at` leads, or None for what is no jump."""
    if kind in _BY_OFFSET:
        return at + one.offset + 1
    return at + one.imm + 1 if kind is Kind.GOTOL else None


def _check_span(instructions: Sequence[Instruction], span: Span, leaders: bytearray, second_slots: bytearray) -> None:
    leaders[span.start] = 1
    if second_slots[span.start]:
        raise StructureError(span.start, f"jump into the middle of ldimm64 insn {span.start - 1}")
    for at in range(span.start, span.end):
        form = FORMS[instructions[at].opcode]
        if form is None:
            continue
        target = jump_target(at, instructions[at], form.kind) if form.kind in _JUMPS else None
        if target is not None:
            if not span.start <= target < span.end:
                raise StructureError(at, f"jump out of range from insn {at} to {target}")
            if second_slots[target]:
                raise StructureError(at, f"jump into the middle of ldimm64 insn {target - 1}")
            leaders[target] = leaders[at + 1] = 1
    last = FORMS[instructions[span.end - 1].opcode]
    if last is None or last.kind not in _ENDS_FUNCTION or second_slots[span.end - 1]:
        raise StructureError(
            span.end - 1, "last insn is not an exit or jmp", f"{span.name} runs on into what follows it."
        )


def _check_reached(instructions: Sequence[Instruction], second_slots: bytearray) -> None:
    seen = bytearray(second_slots)
    waiting = [0]
    while waiting:
        at = waiting.pop()
        while not seen[at]:
            seen[at] = 1
            one = instructions[at]
            form = FORMS[one.opcode]
            kind = form.kind if form else Kind.EXIT
            callee = call_target(at, one)
            target = callee if callee is not None else jump_target(at, one, kind)
            if target is not None:
                waiting.append(target)
            if kind in _ENDS_FUNCTION:
                break
            at += 2 if kind is Kind.LDDW else 1
    unreached = seen.find(0, 0, len(instructions))
    if unreached >= 0:
        raise StructureError(unreached, f"unreachable insn {unreached}", "Remove it, or the jump that skips it.")
