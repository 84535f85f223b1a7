"""How deep the stack may get along any chain of calls.

kernel: kernel/bpf/verifier.c, check_max_stack_depth(), as the JIT of x86-64 has it: LWT programs have no private stack.
"""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.isa import Instruction
from routebpf.isa.opcodes import CALL, FRAMES, STACK_BYTES
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.flow import Flow, FunctionFlow, call_target

_ROUNDING = 16
_MOST_BEFORE_TAIL_CALL = 256


def check_stack_depth(instructions: Sequence[Instruction], flow: Flow) -> int:
    """The most bytes of stack that the program may use. Raises Fault."""
    deepest = 0
    for number in range(len(flow.functions) - 1, -1, -1):
        if number == 0 or flow.functions[number].is_async_callback:
            deepest = _Chain(instructions, flow).measure(number)
    return deepest


class _Chain:
    def __init__(self, instructions: Sequence[Instruction], flow: Flow) -> None:
        self._flow = flow
        self._instructions = instructions
        self._callees: dict[int, list[int]] = {}
        self._deepest = 0

    def measure(self, start: int) -> int:
        self._enter(start, 0, 0)
        return self._deepest

    def _enter(self, number: int, frame: int, before: int) -> None:
        function = self._flow.functions[number]
        if number and function.has_tail_call and before >= _MOST_BEFORE_TAIL_CALL:
            raise Fault(
                Rule.DEPTH,
                f"tail_calls are not allowed when call stack of previous frames is {before} bytes. Too large",
                at=function.start,
            )
        depth = before + -(-function.stack_bytes // _ROUNDING) * _ROUNDING
        self._deepest = max(self._deepest, depth)
        if depth > STACK_BYTES:
            raise Fault(
                Rule.DEPTH, f"combined stack size of {frame + 1} calls is {depth}. Too large", at=function.start
            )
        for callee in self._called_by(number, function):
            if frame + 1 >= FRAMES:
                raise Fault(Rule.DEPTH, f"the call stack of {frame + 1} frames is too deep !", at=function.start)
            self._enter(callee, frame + 1, depth)

    def _called_by(self, number: int, function: FunctionFlow) -> list[int]:
        known = self._callees.get(number)
        if known is None:
            known = []
            for at in range(function.start, function.end):
                one = self._instructions[at]
                target = call_target(at, one)
                if target is None:
                    continue
                callee = self._flow.function_index(target)
                is_later = self._flow.functions[callee].is_async_callback and one.opcode != CALL
                if not is_later and callee not in known:
                    known.append(callee)
            self._callees[number] = known
        return known
