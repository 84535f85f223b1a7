"""The structural check: may the engines run this program at all, and what do they need to know of it?

It holds a program to what can be said without following values: decodable instructions with reserved fields zero,
jumps inside their own function, no fall-through, every register set before it is read, the frame pointer left alone,
calls that the program type has, at most 8 frames and 512 bytes of stack. It does not prove memory accesses safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routebpf.isa import Instruction
from routebpf.isa.opcodes import FRAMES, STACK_BYTES
from routebpf.objects.model import MapDefinition, Program
from routebpf.verifier.structure_dataflow import follow
from routebpf.verifier.structure_facts import Facts, FunctionFacts, StructureError, rejected
from routebpf.verifier.structure_flow import Flow, call_target, check_flow
from routebpf.verifier.structure_instructions import check_instructions
from routebpf.verifier.structure_pass import Pass
from routebpf.verifier.structure_values import CONTEXT, NUMBER, OTHER, Value

RAW = "raw"  # the program type of bare instructions: r1 = memory, r2 = its size, no context, no helpers
_STACK_ROUNDING = 16  # kernel: round_up_stack_depth(), with the JIT


def check_structure(program: Program, maps: Sequence[MapDefinition], *, license: str = "GPL") -> Facts:
    """Check `program`; `maps` are the definitions of `program.maps`, in that order.

    Raises RejectedError with file, line, instruction, the kernel's message and what to do.
    """
    return _check(program, maps, {1: CONTEXT}, license)


def check_raw(instructions: Sequence[Instruction]) -> Facts:
    """Check bare instructions, with r1 = the address of some memory and r2 = its size. Raises RejectedError."""
    program = Program("instructions", "", RAW, tuple(instructions), ())
    return _check(program, (), {1: OTHER, 2: NUMBER}, "")


def _check(program: Program, maps: Sequence[MapDefinition], registers: Mapping[int, Value], license: str) -> Facts:
    try:
        check_instructions(program.instructions)
        flow = check_flow(program.instructions, program.functions)
        run = Pass(program, flow, maps, license)
        follow(run, registers)
        functions = tuple(
            FunctionFacts(span.name, span.start, span.end, summary.stack_bytes, summary.frame_bytes)
            for span, summary in zip(flow.spans, run.summaries, strict=True)
        )
        _check_frames(program, flow, functions, run.reachable)
    except StructureError as fault:
        raise rejected(program, fault) from None
    return Facts(run.context, run.calls, functions, bytes(run.reachable))


def _check_frames(program: Program, flow: Flow, functions: Sequence[FunctionFacts], reachable: bytearray) -> None:
    """At most 8 frames and 512 bytes of stack along any chain of calls (kernel: check_max_stack_depth())."""
    calls: list[dict[int, int]] = [{} for _ in functions]  # by function: callee, the instruction that calls it
    for at, one in enumerate(program.instructions):
        callee = call_target(at, one) if reachable[at] else None
        if callee is not None:
            calls[flow.span_index(at)].setdefault(flow.span_index(callee), at)
    deepest: dict[int, tuple[int, int]] = {}  # by function: frames and bytes from its own on
    chain: list[int] = []

    def measure(number: int, caller: int | None) -> tuple[int, int]:
        if number in chain or len(chain) == FRAMES:
            names = " -> ".join(functions[one].name for one in [*chain, number])
            raise StructureError(caller, f"the call stack of {FRAMES + 1} frames is too deep", f"The chain: {names}.")
        if number in deepest:
            return deepest[number]
        chain.append(number)
        below = [measure(callee, at) for callee, at in calls[number].items()]
        chain.pop()
        own = -(-functions[number].stack_bytes // _STACK_ROUNDING) * _STACK_ROUNDING
        deepest[number] = (
            1 + max((frames for frames, _ in below), default=0),
            own + max((size for _, size in below), default=0),
        )
        return deepest[number]

    frames, size = measure(0, None)
    if frames > FRAMES:
        raise StructureError(None, f"the call stack of {frames} frames is too deep", f"At most {FRAMES} are allowed.")
    if size > STACK_BYTES:
        raise StructureError(
            None, f"combined stack size of {frames} calls is {size}. Too large", f"At most {STACK_BYTES} bytes."
        )
