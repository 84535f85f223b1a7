"""Whether a path need be followed: comparison of states, loops that end, and checkpoints.

kernel: kernel/bpf/verifier.c, is_state_visited(), states_equal(), widen_imprecise_scalars(), maybe_enter_scc(),
propagate_backedges().
"""

from __future__ import annotations

from dataclasses import dataclass, field

from routebpf.verifier import precision
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.register import NOT_INIT, SCALAR_VALUE, UNKNOWN_SCALAR, UNSET, Register
from routebpf.verifier.run import Run
from routebpf.verifier.same_state import EXACT, NOT_EXACT, RANGE_WITHIN, Ids, are_equal, regs_exact
from routebpf.verifier.state import (
    EMPTY,
    SLOT_BIT,
    Checkpoint,
    IteratorSlot,
    Slot,
    State,
    is_spilled_scalar,
    spi_of,
)

_MOST_ROUNDS = 64
_LONG_HISTORY = 40


@dataclass(slots=True, eq=False)
class Visit:
    """A loop being followed by one chain of calls: the state that entered it, and states that were taken for earlier
    ones of the same loop."""

    entry: State | None = None
    back: list[State] = field(default_factory=list)


def previous_entry(run: Run, state: State, at: int) -> State | None:
    """The last state of the path before `state` that was at `at` (kernel: find_prev_entry())."""
    for one in reversed(run.explored.get((at, run.frame.callsite), ())):
        earlier = one.state
        if earlier.branches and earlier.depth < state.depth and earlier.has_same_callsites(state):
            return earlier
    return None


def widen(old: State, new: State) -> None:
    """Forget the ranges of numbers that differ from those of a round earlier and did not matter.

    kernel: widen_imprecise_scalars().
    """
    ids = Ids(0)
    for theirs, mine in zip(reversed(old.frames), reversed(new.frames), strict=True):
        for number in range(10):
            if _differs(theirs.registers[number], mine.registers[number], ids) and not theirs.precise >> number & 1:
                mine.registers[number] = UNKNOWN_SCALAR
        for spi, slot in theirs.stack.items():
            other = mine.stack.get(spi, EMPTY)
            if not (is_spilled_scalar(slot) and is_spilled_scalar(other)):
                continue
            assert slot.register is not None
            assert other.register is not None
            if _differs(slot.register, other.register, ids) and not theirs.precise >> SLOT_BIT + spi & 1:
                mine.stack[spi] = Slot(other.types, UNKNOWN_SCALAR)


def _differs(old: Register, new: Register, ids: Ids) -> bool:
    return old.type == SCALAR_VALUE == new.type and not regs_exact(old, new, ids)


def visited(run: Run, at: int) -> bool:
    """Whether what follows from here is known to be safe; if not, this may become a checkpoint.

    kernel: is_state_visited().
    """
    current = run.state
    force = bool(run.flow.checkpoints[at]) or current.history_count > _LONG_HISTORY
    add = force or (run.jumps - run.jumps_at_checkpoint >= 2 and run.processed - run.processed_at_checkpoint >= 8)
    known = run.explored.setdefault((at, run.frame.callsite), [])
    _clean(run, known)
    for one in known[::-1]:
        hit = False
        is_loop = False
        if one.state.branches:
            hit, is_loop = _is_same_round(run, one.state, at)
            if (
                not hit
                and not force
                and (run.jumps - run.jumps_at_checkpoint < 20 and run.processed - run.processed_at_checkpoint < 100)
            ):
                add = False
        else:
            is_loop = _is_incomplete(run, one.state)
            hit = are_equal(run, one.state, current, RANGE_WITHIN if is_loop else NOT_EXACT)
        if hit:
            one.hits += 1
            _take_for(run, one.state, at, is_loop)
            return True
        if add:
            one.misses += 1
        patience = 64 if run.flow.checkpoints[at] and one.state.branches else 3
        if one.misses > one.hits * patience + patience:
            known.remove(one)
    if add:
        _add_checkpoint(run, at, known)
    return False


def _is_same_round(run: Run, earlier: State, at: int) -> tuple[bool, bool]:
    """An earlier state of this very path: (whether the loop converges here, whether by going round).

    Raises Fault for a loop that makes no progress.
    """
    current = run.state
    frame, mine = earlier.frames[-1], current.frames[-1]
    if frame.in_async_callback and frame.async_entries != mine.async_entries:
        return False, False
    callee = run.callees[at]
    if callee is not None and callee.is_iterator_next:
        if are_equal(run, earlier, current, RANGE_WITHIN) and _iterator_is_active(run):
            return True, True
        return False, False
    goes_on = run.is_may_goto[at] and earlier.may_goto_depth != current.may_goto_depth
    if goes_on and are_equal(run, earlier, current, RANGE_WITHIN):
        return True, True
    if run.flow.callbacks[at]:
        return are_equal(run, earlier, current, RANGE_WITHIN), False
    if (
        _may_be_looping(earlier, current)
        and are_equal(run, earlier, current, EXACT)
        and not _iterators_differ(earlier, current)
        and earlier.may_goto_depth == current.may_goto_depth
        and earlier.callback_unroll_depth == current.callback_unroll_depth
    ):
        raise Fault(Rule.LOOP, f"infinite loop detected at insn {at}")
    return False, False


def _iterator_is_active(run: Run) -> bool:
    pointer = run.regs[1]
    slot = run.state.frames[pointer.extra].stack.get(spi_of(pointer.off + pointer.range.smin), EMPTY)
    return isinstance(slot.object, IteratorSlot) and slot.object.is_active


def _may_be_looping(old: State, new: State) -> bool:
    """kernel: states_maybe_looping()."""
    if len(old.frames) != len(new.frames):
        return False
    for theirs, mine in zip(old.frames[-1].registers, new.frames[-1].registers, strict=True):
        if theirs is not mine and not (theirs.is_same(mine) and theirs.id == mine.id and theirs.ref == mine.ref):
            return False
    return True


def _iterators_differ(old: State, new: State) -> bool:
    """kernel: iter_active_depths_differ()."""
    for theirs, mine in zip(old.frames, new.frames, strict=True):
        for spi, slot in theirs.stack.items():
            held = slot.object
            if isinstance(held, IteratorSlot) and held.is_active:
                other = mine.stack.get(spi, EMPTY).object
                if not isinstance(other, IteratorSlot) or other.depth != held.depth:
                    return True
    return False


def _take_for(run: Run, old: State, at: int, is_loop: bool) -> None:
    """The path need not be followed: `old` stands for it."""
    current = run.state
    if run.flow.jumps[at]:
        run.note_history()
    precision.propagate(old, current)
    if is_loop:
        back = current.copy()
        back.equal = old
        back.at = at
        key = _loop_key(run, old)
        if key is not None:
            run.visits.setdefault(key, Visit()).back.append(back)


def _add_checkpoint(run: Run, at: int, known: list[Checkpoint]) -> None:
    current = run.state
    run.total_states += 1
    run.jumps_at_checkpoint = run.jumps
    run.processed_at_checkpoint = run.processed
    kept = current.copy()
    for frame in kept.frames:
        frame.precise = 0
    new = Checkpoint(kept)
    key = _loop_key(run, kept)
    if key is not None:
        visit = run.visits.setdefault(key, Visit())
        if visit.entry is None:
            visit.entry = kept
    current.parent = new
    current.first = at
    current.depth = kept.depth + 1
    current.history = []
    current.history_count = 0
    current.branches = 1
    precision.begin(current)
    run.depends = run.frame.depends
    known.append(new)


def _loop_key(run: Run, state: State) -> tuple[tuple[int, ...], int] | None:
    """The outermost loop that `state` is in, and the calls that lead to it (kernel: compute_scc_callchain())."""
    calls: list[int] = []
    for number in range(len(state.frames)):
        at = state.instruction_of(number)
        if run.loops[at]:
            return tuple(calls), run.loops[at]
        calls.append(at)
    return None


def _is_incomplete(run: Run, state: State) -> bool:
    """kernel: incomplete_read_marks()."""
    key = _loop_key(run, state)
    visit = run.visits.get(key) if key is not None else None
    return visit is not None and bool(visit.back)


def path_ends(run: Run) -> None:
    """The path goes no further: states from which every path has been followed are done.

    kernel: update_branch_counts().
    """
    state = run.state
    while True:
        state.branches -= 1
        if state.branches:
            return
        _leave_loop(run, state)
        if state.parent is None:
            return
        state = state.parent.state


def _leave_loop(run: Run, state: State) -> None:
    """kernel: maybe_exit_scc(), propagate_backedges()."""
    key = _loop_key(run, state)
    visit = run.visits.get(key) if key is not None else None
    if visit is None or visit.entry is not state:
        return
    visit.entry = None
    for _ in range(_MOST_ROUNDS):
        changed = False
        for back in visit.back:
            assert back.equal is not None
            changed |= precision.propagate(back.equal, back)
        if not changed:
            break
    else:
        for back in visit.back:
            precision.mark_all(back)
    visit.back = []


def _clean(run: Run, known: list[Checkpoint]) -> None:
    """Take out of finished states what is never read (kernel: clean_live_states())."""
    for one in known:
        state = one.state
        if state.branches or state.is_clean or not state.has_same_callsites(run.state) or _is_incomplete(run, state):
            continue
        state.is_clean = True
        for number, alive in enumerate(run.liveness.alive(state)):
            frame = state.frames[number]
            live = run.live[state.instruction_of(number)]
            registers = frame.registers
            for register in range(10):
                if registers[register].type != NOT_INIT and register not in live:
                    registers[register] = UNSET
            for spi in [spi for spi in frame.stack if not alive >> spi & 1]:
                del frame.stack[spi]
