"""The control flow of a program: its functions, where jumps lead, what is never reached, where states are compared.

kernel: kernel/bpf/verifier.c, add_subprog_and_kfunc(), check_subprogs(), check_cfg(), compute_postorder().
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from routebpf.isa import FORMS, Instruction, Kind
from routebpf.isa.opcodes import BPF_CALL, BPF_EXIT, BPF_JMP, BPF_JMP32, CALL, LDDW, PSEUDO_CALL, PSEUDO_FUNC
from routebpf.objects.model import Function
from routebpf.verifier.callees import Callee
from routebpf.verifier.fault import Fault, Rule

_ENDS_FUNCTION = frozenset({Kind.EXIT, Kind.JA, Kind.GOTOL})
_BY_OFFSET = frozenset({Kind.JA, Kind.MAY_GOTO, Kind.BRANCH})
_CONDITIONAL = frozenset({Kind.MAY_GOTO, Kind.BRANCH})
_MOST_FUNCTIONS = 256


@dataclass(slots=True)
class FunctionFlow:
    """A function: instructions `start` to `end` (exclusive); `btf_type_id` 0 if it has no BTF.

    `postorder`: its instructions that can be reached, each after all that follow it, loops aside. `stack_bytes` and
    the rest are found out while verifying.
    """

    name: str
    start: int
    end: int
    btf_type_id: int
    is_global: bool
    has_tail_call: bool = False
    moves_packet: bool = False
    might_sleep: bool = False
    postorder: list[int] = field(default_factory=list)
    stack_bytes: int = 0
    is_async_callback: bool = False
    is_called: bool = False
    is_verified: bool = False


@dataclass(slots=True)
class Flow:
    """`functions` in order of their start. By instruction, 1 where: `prune` states are compared, `jumps` a jump
    arrives, `checkpoints` a state is always kept, `callbacks` a callback is called before the next instruction."""

    functions: list[FunctionFlow]
    successors: list[tuple[int, ...]]
    prune: bytearray
    jumps: bytearray
    checkpoints: bytearray
    callbacks: bytearray

    def function_index(self, at: int) -> int:
        """The index of the function that instruction `at` belongs to."""
        return bisect_right(self.functions, at, key=lambda one: one.start) - 1


def call_target(at: int, one: Instruction) -> int | None:
    """Where the BPF function starts that `one` calls or takes the address of, or None."""
    if (one.opcode == LDDW and one.src == PSEUDO_FUNC) or (one.opcode == CALL and one.src == PSEUDO_CALL):
        return at + one.imm + 1
    return None


def jump_target(at: int, one: Instruction, kind: Kind) -> int | None:
    """Where a jump at `at` leads, or None for what is no jump."""
    if kind in _BY_OFFSET:
        return at + one.offset + 1
    return at + one.imm + 1 if kind is Kind.GOTOL else None


def _target_of_unknown(at: int, one: Instruction) -> int | None:
    """Of what is no instruction, but is in a class of jumps: its opcode is only looked at when it is followed."""
    is_jump = one.opcode & 7 in (BPF_JMP, BPF_JMP32) and one.opcode & 0xF0 not in (BPF_CALL, BPF_EXIT)
    return at + one.offset + 1 if is_jump else None


def kind_of(one: Instruction) -> Kind | None:
    form = FORMS[one.opcode]
    return None if form is None else form.kind


def find_functions(instructions: Sequence[Instruction], functions: Sequence[Function]) -> list[FunctionFlow]:
    """kernel: add_subprog_and_kfunc(). `functions` gives names and types, and may be empty."""
    count = len(instructions)
    starts = {0}
    for at, one in enumerate(instructions):
        target = call_target(at, one)
        if target is None:
            continue
        if not 0 <= target < count:
            raise Fault(Rule.STRUCTURE, "call to invalid destination", at=at)
        starts.add(target)
        if len(starts) > _MOST_FUNCTIONS:
            raise Fault(Rule.STRUCTURE, "too many subprograms", at=at)
    given = {one.start: one for one in functions}
    found = []
    for start, end in pairwise([*sorted(starts), count]):
        known = given.get(start)
        found.append(
            FunctionFlow(
                known.name if known else f"function_at_{start}",
                start,
                end,
                known.btf_type_id if known else 0,
                bool(known and known.is_global),
            )
        )
    return found


def check_layout(given: Sequence[Function], found: Sequence[FunctionFlow]) -> None:
    """What the object tells of its functions is of the functions there are. kernel: check_btf_func()."""
    if not given or not all(one.btf_type_id for one in given):
        return  # then the kernel is told nothing of them
    if len(given) != len(found):
        raise Fault(Rule.STRUCTURE, "number of funcs in func_info doesn't match number of subprogs")
    if [one.start for one in given] != [one.start for one in found]:
        raise Fault(Rule.STRUCTURE, "func_info BTF section doesn't match subprog layout in BPF program")


def check_functions(instructions: Sequence[Instruction], functions: Sequence[FunctionFlow], tail_call: int) -> None:
    """kernel: check_subprogs(). `tail_call` is the number of the helper."""
    for function in functions:
        for at in range(function.start, function.end):
            one = instructions[at]
            kind = kind_of(one)
            if one.opcode == CALL and one.src == 0 and one.imm == tail_call:
                function.has_tail_call = True
            target = jump_target(at, one, kind) if kind is not None else _target_of_unknown(at, one)
            if target is not None and not function.start <= target < function.end:
                raise Fault(Rule.STRUCTURE, f"jump out of range from insn {at} to {target}", at=at)
        if kind_of(instructions[function.end - 1]) not in _ENDS_FUNCTION:
            raise Fault(Rule.STRUCTURE, "last insn is not an exit or jmp", at=function.end - 1)


def check_flow(
    instructions: Sequence[Instruction], functions: list[FunctionFlow], callees: Sequence[Callee | None]
) -> Flow:
    """kernel: check_cfg(), compute_postorder(). `callees` by instruction: the helper or kfunc called there."""
    count = len(instructions)
    flow = Flow(
        functions,
        [_successors(at, one, count) for at, one in enumerate(instructions)],
        bytearray(count + 1),
        bytearray(count + 1),
        bytearray(count + 1),
        bytearray(count + 1),
    )
    _Walk(instructions, flow, callees).check()
    for function in functions:
        function.postorder = _postorder(flow.successors, function.start)
    return flow


def _successors(at: int, one: Instruction, count: int) -> tuple[int, ...]:
    """kernel: bpf_insn_successors()."""
    kind = kind_of(one)
    if kind is Kind.EXIT:
        return ()
    target = jump_target(at, one, kind) if kind is not None else None
    following = at + (2 if one.is_wide else 1)
    found = [] if kind in (Kind.JA, Kind.GOTOL) else [following]
    if target is not None:
        found.append(target)
    return tuple(one for one in found if 0 <= one < count)


class _Walk:
    """The depth-first walk over all instructions; a call's callee is walked before what follows the call."""

    def __init__(self, instructions: Sequence[Instruction], flow: Flow, callees: Sequence[Callee | None]) -> None:
        self.instructions = instructions
        self.flow = flow
        self.callees = callees
        self.count = len(instructions)
        self.state = bytearray(self.count)  # 1: on the way, 2: done

    def check(self) -> None:
        stack = [(0, iter(self._edges(0)))]
        self.state[0] = 1
        while stack:
            at, edges = stack[-1]
            following = next(edges, None)
            if following is None:
                self.state[at] = 2
                self._merge_callee(at)
                stack.pop()
            elif not 0 <= following < self.count:
                raise Fault(Rule.STRUCTURE, f"jump out of range from insn {at} to {following}", at=at)
            elif not self.state[following]:
                self.state[following] = 1
                stack.append((following, iter(self._edges(following))))
        self._check_reached()

    def _edges(self, at: int) -> list[int]:
        one, flow = self.instructions[at], self.flow
        kind = kind_of(one)
        following = at + (2 if one.is_wide else 1)
        callee = call_target(at, one)
        if callee is not None or kind is Kind.CALL:
            return self._call_edges(at, following, callee)
        if kind is Kind.EXIT:
            return []
        target = jump_target(at, one, kind) if kind is not None else None
        if target is None:
            return [following]
        if 0 <= target < self.count:
            flow.prune[target] = flow.jumps[target] = 1
        if kind not in _CONDITIONAL:
            return [target]
        flow.prune[at] = 1
        if kind is Kind.MAY_GOTO:
            flow.checkpoints[at] = 1
        return [following, target]

    def _call_edges(self, at: int, following: int, target: int | None) -> list[int]:
        flow = self.flow
        flow.prune[following] = flow.jumps[following] = 1
        if target is not None:
            flow.prune[at] = flow.prune[target] = flow.jumps[target] = 1
            return [following, target]
        callee = self.callees[at]
        if callee is not None:
            self._note_callee(at, callee)
        return [following]

    def _note_callee(self, at: int, callee: Callee) -> None:
        flow = self.flow
        function = flow.functions[flow.function_index(at)]
        effects = callee.effects
        if effects.callback is not None:
            flow.prune[at] = 1
            if not effects.is_asynchronous:
                flow.callbacks[at] = flow.checkpoints[at] = flow.jumps[at] = 1
        if callee.is_iterator_next:
            flow.prune[at] = flow.checkpoints[at] = 1
        function.moves_packet |= callee.moves_packet or callee.is_tail_call
        function.might_sleep |= callee.might_sleep

    def _merge_callee(self, at: int) -> None:
        """kernel: merge_callee_effects()."""
        target = call_target(at, self.instructions[at])
        if target is not None:
            flow = self.flow
            caller, callee = flow.functions[flow.function_index(at)], flow.functions[flow.function_index(target)]
            caller.moves_packet |= callee.moves_packet
            caller.might_sleep |= callee.might_sleep

    def _check_reached(self) -> None:
        at = 0
        while at < self.count:
            if not self.state[at]:
                raise Fault(Rule.STRUCTURE, f"unreachable insn {at}", at=at)
            if self.instructions[at].is_wide:
                if self.state[at + 1]:
                    raise Fault(Rule.STRUCTURE, f"jump into the middle of ldimm64 insn {at}", at=at)
                at += 1
            at += 1


def _postorder(successors: Sequence[tuple[int, ...]], start: int) -> list[int]:
    seen = {start}
    order = []
    stack = [(start, iter(successors[start]))]
    while stack:
        at, edges = stack[-1]
        following = next(edges, None)
        if following is None:
            order.append(at)
            stack.pop()
        elif following not in seen:
            seen.add(following)
            stack.append((following, iter(successors[following])))
    return order
