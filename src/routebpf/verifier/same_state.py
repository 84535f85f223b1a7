"""Whether a state is as safe as another from which every path is safe.

kernel: kernel/bpf/verifier.c, states_equal(), regsafe(), stacksafe(), refsafe(), check_ids().
"""

from __future__ import annotations

from typing import Final

from routebpf.verifier.register import (
    ADD_CONST,
    BASE,
    NOT_INIT,
    PTR_TO_ARENA,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    SCALAR_VALUE,
    UNKNOWN_SCALAR,
    Register,
)
from routebpf.verifier.run import Run
from routebpf.verifier.state import (
    EMPTY,
    FULL_SPILL,
    INVALID,
    LOCKS,
    MISC,
    SLOT_BIT,
    ZERO,
    DynptrSlot,
    Frame,
    IrqSlot,
    IteratorSlot,
    Slot,
    State,
)

NOT_EXACT, EXACT, RANGE_WITHIN = range(3)
_BY_RANGE: Final = frozenset({PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE, PTR_TO_MEM})


class Ids:
    """Which id of the one state is which of the other (kernel: struct bpf_idmap)."""

    __slots__ = ("_new", "_old", "_temporary")

    def __init__(self, last: int) -> None:
        self._old: dict[int, int] = {}
        self._new: set[int] = set()
        self._temporary = last

    def match(self, old: int, new: int) -> bool:
        """kernel: check_ids()."""
        if not old or not new:
            return old == new
        known = self._old.get(old)
        if known is not None:
            return known == new
        if new in self._new:
            return False
        self._old[old] = new
        self._new.add(new)
        return True

    def match_scalars(self, old: int, new: int) -> bool:
        """Whatever `new` is linked to, `old` was not (kernel: check_scalar_ids())."""
        if not old:
            return True
        if not new:
            self._temporary += 1
            new = self._temporary
        return self.match(old, new)

    def match_links(self, old: int, new: int) -> bool:
        """What a number is a constant apart from must be the same in both, too."""
        return not old & ADD_CONST or self.match(old & ~ADD_CONST, new & ~ADD_CONST)


def are_equal(run: Run, old: State, new: State, exact: int) -> bool:
    """Whether every path from `new` is safe, because every path from `old` is."""
    if len(old.frames) != len(new.frames) or old.in_sleepable != new.in_sleepable:
        return False
    ids = Ids(run.ids)
    if not _references_match(old, new, ids):
        return False
    for number, theirs in enumerate(old.frames):
        mine = new.frames[number]
        if theirs.callsite != mine.callsite or theirs.callback_depth > mine.callback_depth:
            return False
        precise = theirs.precise
        for register in run.live[old.instruction_of(number)]:
            a, b = theirs.registers[register], mine.registers[register]
            if a is b and not (a.id or a.ref):
                continue
            if not is_safe(run, a, b, ids, exact, precise >> register & 1):
                return False
        if not _stack_is_safe(run, theirs, mine, ids, exact):
            return False
    return True


def _references_match(old: State, new: State, ids: Ids) -> bool:
    """kernel: refsafe()."""
    if _holds_nothing(old) and _holds_nothing(new):
        return True
    if (
        len(old.references) != len(new.references)
        or old.locks != new.locks
        or old.preempt_locks != new.preempt_locks
        or old.rcu_lock != new.rcu_lock
        or not ids.match(old.active_irq, new.active_irq)
        or not ids.match(old.active_lock[0], new.active_lock[0])
        or old.active_lock[1] is not new.active_lock[1]
    ):
        return False
    return all(
        ids.match(a.id, b.id) and a.kind is b.kind and (not a.kind & LOCKS or a.owner is b.owner)
        for a, b in zip(old.references, new.references, strict=True)
    )


def _holds_nothing(state: State) -> bool:
    return not (
        state.references
        or state.locks
        or state.preempt_locks
        or state.rcu_lock
        or state.active_irq
        or state.active_lock[0]
        or state.active_lock[1]
    )


def regs_exact(old: Register, new: Register, ids: Ids) -> bool:
    return old.is_same(new) and ids.match(old.id, new.id) and ids.match(old.ref, new.ref)


def is_safe(run: Run, old: Register, new: Register, ids: Ids, exact: int, precise: int) -> bool:
    """Whether what was safe with `old` is safe with `new` (kernel: regsafe())."""
    if exact == EXACT:
        return regs_exact(old, new, ids)
    kind = old.type
    if kind == NOT_INIT and (exact == NOT_EXACT or new.type == NOT_INIT):
        return True
    if kind != new.type:
        return False
    if kind == SCALAR_VALUE:
        if not precise and exact == NOT_EXACT and run.privileged:
            return True
        if old.id and ((old.id ^ new.id) & ADD_CONST or (old.id & ADD_CONST and old.off != new.off)):
            return False
        return (
            (old.range is new.range or old.range.contains(new.range))
            and ids.match_scalars(old.id, new.id)
            and ids.match_links(old.id, new.id)
        )
    base = kind & BASE
    if base in _BY_RANGE:
        return (
            old.off == new.off
            and old.extra == new.extra
            and (old.range is new.range or old.range.contains(new.range))
            and ids.match(old.id, new.id)
            and ids.match(old.ref, new.ref)
        )
    if base == PTR_TO_PACKET:
        return (
            (old.extra == new.extra if old.extra < 0 or new.extra < 0 else old.extra <= new.extra)
            and old.off == new.off
            and ids.match(old.id, new.id)
            and (old.range is new.range or old.range.contains(new.range))
        )
    return base == PTR_TO_ARENA or regs_exact(old, new, ids)


def _stack_is_safe(run: Run, old: Frame, new: Frame, ids: Ids, exact: int) -> bool:
    """kernel: stacksafe()."""
    theirs, mine = old.stack, new.stack
    if exact == NOT_EXACT:
        for spi in sorted(theirs):
            slot = theirs[spi]
            other = mine.get(spi, EMPTY)
            if slot is other and slot.register is None and slot.object is None:
                continue
            if not _slot_is_safe(
                run, slot, other, ids, exact, old.precise >> SLOT_BIT + spi & 1, spi * 8 < new.allocated
            ):
                return False
        return True
    if old.allocated > new.allocated:
        return False
    for spi in range(old.allocated // 8):
        slot, other = theirs.get(spi, EMPTY), mine.get(spi, EMPTY)
        if slot is other and slot.register is None and slot.object is None:
            continue
        if not _slot_is_safe(run, slot, other, ids, exact, old.precise >> SLOT_BIT + spi & 1, True):
            return False
    return True


def _number_in(run: Run, slot: Slot) -> Register | None:
    """The number that a load of the whole slot gives (kernel: scalar_reg_for_stack())."""
    register = slot.register
    if slot.types == FULL_SPILL:
        return register if register is not None and register.type == SCALAR_VALUE else None
    if all(kind == MISC or (kind == INVALID and run.privileged) for kind in slot.types):
        return UNKNOWN_SCALAR
    return None


def _slot_is_safe(run: Run, old: Slot, new: Slot, ids: Ids, exact: int, precise: int, is_allocated: bool) -> bool:
    for index in range(8):
        kind, other = old.types[index], new.types[index]
        if exact != NOT_EXACT and kind != other:
            return False
        if kind == INVALID or (kind == MISC and run.privileged):
            continue
        if not is_allocated:
            return False
        a, b = _number_in(run, old), _number_in(run, new)
        if a is not None and b is not None:
            return is_safe(run, a, b, ids, exact, precise)
        if kind == MISC and other == ZERO:
            continue
        if kind != other:
            return False
        if index == 7 and not _held_is_safe(run, old, new, ids, exact, precise):
            return False
    return True


def _held_is_safe(run: Run, old: Slot, new: Slot, ids: Ids, exact: int, precise: int) -> bool:
    if old.register is not None and new.register is not None:
        return is_safe(run, old.register, new.register, ids, exact, precise)
    match old.object, new.object:
        case DynptrSlot() as a, DynptrSlot() as b:
            return a.type == b.type and a.is_first == b.is_first and ids.match(a.ref, b.ref)
        case IteratorSlot() as a, IteratorSlot() as b:
            return a.name == b.name and a.is_active == b.is_active and a.flags == b.flags and ids.match(a.ref, b.ref)
        case IrqSlot() as a, IrqSlot() as b:
            return ids.match(a.ref, b.ref) and a.saved_by == b.saved_by
    return old.register is None and new.register is None and old.object is None and new.object is None
