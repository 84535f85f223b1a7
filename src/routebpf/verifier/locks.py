"""Spin locks and resilient spin locks in map values.

kernel: kernel/bpf/verifier.c, process_spin_lock().
"""

from __future__ import annotations

from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.map_fields import FieldKind
from routebpf.verifier.maps import MapFacts
from routebpf.verifier.references import acquire_lock, find_lock, release_lock
from routebpf.verifier.run import Run
from routebpf.verifier.state import ReferenceKind

_RESILIENT = ReferenceKind.RES_LOCK | ReferenceKind.RES_LOCK_IRQ


def process_lock(run: Run, number: int, *, takes: bool, is_resilient: bool, with_interrupts: bool) -> None:
    """Take or give back the lock that a register points to. Raises Fault."""
    register = run.regs[number]
    name = "bpf_res_spin" if is_resilient else "bpf_spin"
    if not register.range.is_const:
        raise Fault(
            Rule.LOCK,
            f"R{number} doesn't have constant offset. {name}_lock has to be at the constant offset",
            number,
        )
    one: MapFacts = register.extra.map
    if not one.has_btf:
        raise Fault(Rule.LOCK, f"map '{one.name}' has to have BTF in order to use {name}_lock", number)
    kind = FieldKind.RES_SPIN_LOCK if is_resilient else FieldKind.SPIN_LOCK
    if not one.has((kind,)):
        raise Fault(Rule.LOCK, f"map '{one.name}' has no valid {name}_lock", number)
    at = register.range.smin + register.off
    if one.offset_of(kind) != at:
        raise Fault(
            Rule.LOCK,
            f"off {at} doesn't point to 'struct {name}_lock' that is at {one.offset_of(kind)}",
            number,
        )
    reference = ReferenceKind.LOCK
    if is_resilient:
        reference = ReferenceKind.RES_LOCK_IRQ if with_interrupts else ReferenceKind.RES_LOCK
    if takes:
        _take(run, reference, register.id, one)
    else:
        _give(run, reference, register.id, one, name)


def _take(run: Run, kind: ReferenceKind, id: int, one: MapFacts) -> None:
    state = run.state
    if kind is ReferenceKind.LOCK:
        if find_lock(state, ReferenceKind.LOCK, 0, None) or state.locks:
            raise Fault(Rule.LOCK, "Locking two bpf_spin_locks are not allowed")
    elif find_lock(state, _RESILIENT, id, one):
        raise Fault(Rule.LOCK, "Acquiring the same lock again, AA deadlock detected")
    acquire_lock(run, kind, id, one)


def _give(run: Run, kind: ReferenceKind, id: int, one: MapFacts, name: str) -> None:
    state = run.state
    if not state.locks:
        raise Fault(Rule.LOCK, f"{name}_unlock without taking a lock")
    if not find_lock(state, kind, id, one):
        raise Fault(Rule.LOCK, f"{name}_unlock of different lock")
    if state.active_lock[0] != id or state.active_lock[1] is not one:
        raise Fault(Rule.LOCK, f"{name}_unlock cannot be out of order")
    release_lock(run, kind, id, one)
