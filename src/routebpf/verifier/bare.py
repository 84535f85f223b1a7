"""Bare instructions: no context, no helpers, no kernel that would take them; r1 = the address of some memory, r2 = its
size. What the engines need to know of them; what they do is for the interpreter to check."""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.errors import RejectedError
from routebpf.isa import FORMS, Instruction, Kind
from routebpf.isa.opcodes import MAX_INSTRUCTIONS, PSEUDO_CALL, PSEUDO_FUNC, STACK_BYTES
from routebpf.objects.model import Program
from routebpf.objects.program_text import message_at
from routebpf.verifier.facts import Facts, FunctionFacts
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.flow import check_flow, check_functions, find_functions
from routebpf.verifier.verify import check_encoding

RAW = "raw"  # their program type


def bare_facts(instructions: Sequence[Instruction]) -> Facts:
    """Check that they can be decoded, that jumps and calls lead into them, and that they end. Raises RejectedError."""
    program = Program("instructions", "", RAW, tuple(instructions), ())
    try:
        if not 0 < len(instructions) <= MAX_INSTRUCTIONS:
            raise Fault(Rule.SIZE, f"{len(instructions)} instructions; there may be 1 to {MAX_INSTRUCTIONS:,}")
        found = find_functions(instructions, ())
        check_encoding(program, 0)
        check_functions(instructions, found, 0)
        _check_registers(instructions)
        check_flow(instructions, found, [None] * len(instructions))
    except Fault as fault:
        at = len(instructions) if fault.at is None else fault.at
        raise RejectedError(message_at("verifying", program, at, fault.message)) from None
    functions = tuple(FunctionFacts(one.name, one.start, one.end, STACK_BYTES) for one in found)
    return Facts({}, {}, functions, _reachable(instructions))


def _reachable(instructions: Sequence[Instruction]) -> bytes:
    """All but the second slots of 64-bit immediates."""
    return bytes(at == 0 or not instructions[at - 1].is_wide for at in range(len(instructions)))


def _check_registers(instructions: Sequence[Instruction]) -> None:
    for at, one in enumerate(instructions):
        form = FORMS[one.opcode]
        if form is None:
            continue
        if max(one.dst, one.src) > 10 and form.kind not in (Kind.CALL, Kind.LDDW):
            raise Fault(Rule.STRUCTURE, f"R{max(one.dst, one.src)} is invalid", at=at)
        if form.kind is Kind.CALL and one.src != PSEUDO_CALL:
            raise Fault(Rule.UNAVAILABLE, "bare instructions have no helpers and kfuncs to call", at=at)
        if form.kind is Kind.LDDW and one.src not in (0, PSEUDO_FUNC):
            raise Fault(Rule.UNAVAILABLE, "bare instructions have no maps and kernel variables", at=at)
        if form.kind in (Kind.LD_ABS, Kind.LD_IND):
            raise Fault(Rule.UNAVAILABLE, "bare instructions have no packet to load from", at=at)
