"""Which registers, and which stack slots, may be read later: what a state holds besides does not matter.

kernel: kernel/bpf/verifier.c, compute_live_registers(), compute_scc(); kernel/bpf/liveness.c.
"""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.isa import FORMS, Instruction, Kind
from routebpf.isa.opcodes import ATOMICS, PSEUDO_CALL, AtomicKind
from routebpf.verifier.callees import Callee
from routebpf.verifier.flow import Flow
from routebpf.verifier.state import State

_CALLER_SAVED = 0b111111
_ARGUMENTS = 0b111110
_ALL = 0x7FF


def live_registers(
    instructions: Sequence[Instruction], flow: Flow, callees: Sequence[Callee | None]
) -> list[tuple[int, ...]]:
    """By instruction: the registers that may be read from there on (kernel: compute_live_registers())."""
    uses = [_use_and_definition(one, callees[at]) for at, one in enumerate(instructions)]
    before = [0] * (len(instructions) + 1)
    order = [at for function in flow.functions for at in function.postorder]
    successors = flow.successors
    changed = True
    while changed:
        changed = False
        for at in order:
            after = 0
            for following in successors[at]:
                after |= before[following]
            used, defined = uses[at]
            new = after & ~defined | used
            if new != before[at]:
                before[at] = new
                changed = True
    known: dict[int, tuple[int, ...]] = {}
    for mask in before:
        if mask not in known:
            known[mask] = tuple(number for number in range(11) if mask >> number & 1)
    return [known[mask] for mask in before]


def _use_and_definition(one: Instruction, callee: Callee | None) -> tuple[int, int]:
    """Registers read, registers written, as bits (kernel: compute_insn_live_regs())."""
    form = FORMS[one.opcode]
    dst, src = 1 << one.dst, 1 << one.src
    match form.kind if form is not None else None:
        case Kind.LDDW:
            return 0, dst
        case Kind.LDX | Kind.LDSX:
            return src, dst
        case Kind.ST:
            return dst, 0
        case Kind.STX:
            return dst | src, 0
        case Kind.ATOMIC:
            return _atomic(one, dst, src)
        case Kind.MOV:
            return src if form is not None and form.register else 0, dst
        case Kind.ALU | Kind.NEG | Kind.END:
            return dst | (src if form is not None and form.register and form.kind is Kind.ALU else 0), dst
        case Kind.JA | Kind.GOTOL | Kind.MAY_GOTO:
            return 0, 0
        case Kind.BRANCH:
            return dst | (src if form is not None and form.register else 0), 0
        case Kind.EXIT:
            return 1, 0
        case Kind.CALL:
            count = callee.arguments if callee is not None and one.src != PSEUDO_CALL else None
            return (_ARGUMENTS if count is None else ((1 << count) - 1) << 1), _CALLER_SAVED
    return _ALL, 0


def _atomic(one: Instruction, dst: int, src: int) -> tuple[int, int]:
    atomic = ATOMICS.get(one.imm)
    match atomic.kind if atomic is not None else None:
        case AtomicKind.CMPXCHG:
            return 1 | dst | src, 1
        case AtomicKind.LOAD_ACQUIRE:
            return src, dst
        case AtomicKind.FETCH | AtomicKind.XCHG:
            return dst | src, src
    return dst | src, 0


def loop_numbers(flow: Flow) -> list[int]:
    """By instruction: which loop (strongly connected component) it is part of, 0 for none (kernel: compute_scc())."""
    count = len(flow.successors)
    numbers, low, order = [0] * count, [0] * count, [0] * count
    done = count + 2
    following_order, next_number = 1, 1
    for root in (function.start for function in flow.functions):
        if order[root]:
            continue
        members: list[int] = []
        order[root] = low[root] = following_order
        following_order += 1
        members.append(root)
        stack = [(root, iter(flow.successors[root]))]
        while stack:
            at, edges = stack[-1]
            following = next(edges, None)
            if following is not None:
                if not order[following]:
                    order[following] = low[following] = following_order
                    following_order += 1
                    members.append(following)
                    stack.append((following, iter(flow.successors[following])))
                else:
                    low[at] = min(low[at], low[following])
                continue
            stack.pop()
            if stack:
                low[stack[-1][0]] = min(low[stack[-1][0]], low[at])
            if low[at] == order[at]:
                is_loop = members[-1] != at or at in flow.successors[at]
                while True:
                    member = members.pop()
                    low[member] = done
                    numbers[member] = next_number if is_loop else 0
                    if member == at:
                        break
                next_number += is_loop
    return numbers


class _Instance:
    """A function as called along one chain of calls. Masks are over the slots of all frames, 64 bits for each.

    By instruction: `reads` what may be read there, `writes` what is written on every path through it, `live` what may
    be read from there on, `written` what is written on every path from there on. `waiting`: where the latter two are
    out of date.
    """

    __slots__ = ("live", "reads", "waiting", "writes", "written")

    def __init__(self) -> None:
        self.reads: dict[int, int] = {}
        self.writes: dict[int, int] = {}
        self.live: dict[int, int] = {}
        self.written: dict[int, int] = {}
        self.waiting: list[int] = []

    def read(self, at: int, slots: int) -> None:
        """kernel: mark_stack_read()."""
        old = self.reads.get(at, 0)
        if slots & ~old:
            self.reads[at] = old | slots
            if slots & ~self.live.get(at, 0):
                self.waiting.append(at)

    def write(self, at: int, slots: int) -> None:
        """kernel: commit_stack_write_marks()."""
        old = self.writes.get(at)
        new = slots if old is None else old & slots
        self.writes[at] = new
        if new == (old or 0):
            return
        self.waiting.append(at)
        if old:
            self.waiting += self.written
            self.written.clear()


class StackLiveness:
    """Which stack slots may be read, by what the paths followed so far read.

    It is only asked about a state from which every path has been followed (kernel: bpf_stack_slot_alive()). What is
    noted counts from where the kernel has it count: the end of a path or of a function.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._instances: dict[tuple[int, ...], _Instance] = {}
        self._predecessors: dict[int, list[int]] = {}
        for at, following in enumerate(flow.successors):
            for one in following:
                self._predecessors.setdefault(one, []).append(at)
        self._current = _Instance()

    def enter(self, state: State) -> None:
        """The path goes on in another function, or another path is taken up."""
        self._current = self._instance(self._chain_of(state, len(state.frames)))

    def note_read(self, at: int, frame: int, spi: int) -> None:
        self._current.read(at, 1 << (frame * 64 + spi))

    def note_write(self, at: int, written: int) -> None:
        """Instruction `at` was followed, and wrote the whole of these slots; every path through it must have."""
        self._current.write(at, written)

    def update(self, state: State) -> None:
        """The path or the innermost function ends here (kernel: bpf_update_live_stack()).

        What a function reads and writes of its callers' frames, its call reads and writes.
        """
        for depth in range(len(state.frames), 0, -1):
            instance = self._instance(self._chain_of(state, depth))
            if not instance.waiting:
                continue
            self._settle(instance)
            if depth == 1:
                return
            outer, callsite = self._instance(self._chain_of(state, depth - 1)), state.frames[depth - 1].callsite
            start = self._flow.functions[state.frames[depth - 1].function].start
            of_callers = (1 << (depth - 1) * 64) - 1
            outer.read(callsite, instance.live.get(start, 0) & of_callers)
            outer.write(callsite, instance.written.get(start, 0) & of_callers)

    def alive(self, state: State) -> list[int]:
        """By frame of `state`: the slots that may be read, as bits."""
        frames = state.frames
        masks = self._instance(self._chain_of(state, len(frames))).live.get(state.at, 0)
        for number in range(len(frames) - 1):
            callsite = frames[number + 1].callsite
            place = callsite if self._flow.callbacks[callsite] else callsite + 1
            masks |= self._instance(self._chain_of(state, number + 1)).live.get(place, 0)
        return [masks >> number * 64 & (1 << 64) - 1 for number in range(len(frames))]

    def _chain_of(self, state: State, depth: int) -> tuple[int, ...]:
        frames = state.frames
        functions = self._flow.functions
        chain = [functions[frames[0].function].start]
        for frame in frames[1:depth]:
            chain += frame.callsite, functions[frame.function].start
        return tuple(chain)

    def _instance(self, chain: tuple[int, ...]) -> _Instance:
        found = self._instances.get(chain)
        if found is None:
            found = self._instances[chain] = _Instance()
        return found

    def _settle(self, instance: _Instance) -> None:
        """Carry what is newly read or written back to where it may come from (kernel: update_instance())."""
        waiting, live, written = instance.waiting, instance.live, instance.written
        reads, writes = instance.reads, instance.writes
        successors, predecessors = self._flow.successors, self._predecessors
        while waiting:
            at = waiting.pop()
            if not successors[at]:
                continue
            after, later = 0, -1
            for following in successors[at]:
                after |= live.get(following, 0)
                later &= written.get(following, 0)
            wrote = writes.get(at, 0)
            before, from_here = after & ~wrote | reads.get(at, 0), later | wrote
            if before != live.get(at, 0) or from_here != written.get(at, 0):
                live[at], written[at] = before, from_here
                waiting.extend(predecessors.get(at, ()))
