"""Functions that no path enters, though their address is taken: the kernel takes them out and then looks for them.

kernel: kernel/bpf/verifier.c, opt_remove_dead_code(), adjust_subprog_starts_after_remove(), jit_subprogs().
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from routebpf.isa import Instruction
from routebpf.isa.opcodes import LDDW, PSEUDO_FUNC
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.flow import Flow


def check_functions_taken(instructions: Sequence[Instruction], flow: Flow, reachable: Sequence[int]) -> None:
    """Raises Fault if an address is taken of a function that is gone once dead code is."""
    kept = [bool(seen) for seen in reachable]
    for at, one in enumerate(instructions):
        if one.is_wide and kept[at]:
            kept[at + 1] = True
    left = [at for at, is_kept in enumerate(kept) if is_kept]
    starts = {
        next(at for at in range(one.start, one.end) if kept[at])
        for one in flow.functions
        if any(kept[one.start : one.end])
    }
    if len(starts) == 1:
        return
    for at, one in enumerate(instructions):
        if one.opcode != LDDW or one.src != PSEUDO_FUNC or not kept[at]:
            continue
        target = _place_afterwards(at + 1 + one.imm, kept)
        if target >= len(left) or left[target] not in starts:
            function = flow.functions[flow.function_index(at + 1 + one.imm)]
            raise Fault(
                Rule.CALLBACK,
                f"verifier bug: No program to jit at insn {target} (subprog < 0)",
                note=f"{function.name}() is never called.",
                at=at,
            )


def _place_afterwards(target: int, kept: Sequence[bool]) -> int:
    """Where `target` is without dead code. Into code that goes the kernel leaves the number as it is."""
    at = 0
    for is_kept, run in groupby(kept):
        length = len(list(run))
        if is_kept:
            at += length
        elif target >= at + length:
            target -= length
    return target
