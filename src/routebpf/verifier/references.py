"""What a path acquires and must give back: references, locks, sections without interrupts.

kernel: kernel/bpf/verifier.c, acquire_reference(), release_reference(), acquire_lock_state(), release_irq_state(),
check_resource_leak().
"""

from __future__ import annotations

from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.register import UNKNOWN_SCALAR, UNSET, Register
from routebpf.verifier.run import Run
from routebpf.verifier.state import LOCKS, Reference, ReferenceKind, State


def acquire(run: Run) -> int:
    """A new reference; its id."""
    id = run.new_id()
    run.state.references += (Reference(ReferenceKind.POINTER, id, run.at),)
    return id


def forget(state: State, id: int) -> bool:
    """The reference is given back. Whether it was held (kernel: release_reference_nomark())."""
    kept = tuple(one for one in state.references if one.kind is not ReferenceKind.POINTER or one.id != id)
    was_held = len(kept) != len(state.references)
    state.references = kept
    return was_held


def release(run: Run, id: int) -> bool:
    """The reference is given back, and every pointer that belongs to it is void. Whether it was held."""
    if not forget(run.state, id):
        return False
    gone = UNKNOWN_SCALAR if run.privileged else UNSET
    run.state.replace_registers(lambda register: gone if register.ref == id else register)
    return True


def void(run: Run) -> Register:
    """What is left of a pointer that must not be used (kernel: mark_reg_invalid())."""
    return UNKNOWN_SCALAR if run.privileged else UNSET


def acquire_lock(run: Run, kind: ReferenceKind, id: int, owner: object) -> None:
    state = run.state
    state.references += (Reference(kind, id, run.at, owner),)
    state.locks += 1
    state.active_lock = (id, owner)


def find_lock(state: State, kinds: ReferenceKind, id: int, owner: object) -> bool:
    return any(one.kind & kinds and one.id == id and one.owner is owner for one in state.references)


def release_lock(run: Run, kind: ReferenceKind, id: int, owner: object) -> bool:
    """Give a lock back; the one taken before it is the active one again. Whether it was held."""
    state = run.state
    before: tuple[int, object] = (0, None)
    for number, one in enumerate(state.references):
        if one.kind is kind and one.id == id and one.owner is owner:
            state.references = state.references[:number] + state.references[number + 1 :]
            state.locks -= 1
            state.active_lock = before
            return True
        if one.kind & LOCKS:
            before = (one.id, one.owner)
    return False


def acquire_interrupts(run: Run) -> int:
    id = run.new_id()
    run.state.references += (Reference(ReferenceKind.IRQ, id, run.at),)
    run.state.active_irq = id
    return id


def release_interrupts(run: Run, id: int) -> None:
    """They must be restored in the order opposite to that in which they were saved."""
    state = run.state
    if id != state.active_irq:
        at = next((one.at for one in state.references if one.id == state.active_irq), 0)
        raise Fault(
            Rule.LOCK,
            f"cannot restore irq state out of order, expected id={state.active_irq} acquired at insn_idx={at}",
        )
    before = 0
    for number, one in enumerate(state.references):
        if one.kind is not ReferenceKind.IRQ:
            continue
        if one.id == id:
            state.references = state.references[:number] + state.references[number + 1 :]
            state.active_irq = before
            return
        before = one.id


def check_nothing_held(run: Run, what: str, *, check_locks: bool) -> None:
    """kernel: check_resource_leak(), check_reference_leak()."""
    state = run.state
    if check_locks and state.locks:
        raise Fault(Rule.LOCK, f"{what} cannot be used inside bpf_spin_lock-ed region")
    if len(state.frames) == 1:
        held = [one for one in state.references if one.kind is ReferenceKind.POINTER]
        if held:
            lines = [f"Unreleased reference id={one.id} alloc_insn={one.at}" for one in held]
            raise Fault(Rule.REFERENCE, "\n".join([*lines, f"{what} would lead to reference leak"]))
    if not check_locks:
        return
    if state.active_irq:
        raise Fault(Rule.LOCK, f"{what} cannot be used inside bpf_local_irq_save-ed region")
    if state.rcu_lock:
        raise Fault(Rule.LOCK, f"{what} cannot be used inside bpf_rcu_read_lock-ed region")
    if state.preempt_locks:
        raise Fault(Rule.LOCK, f"{what} cannot be used inside bpf_preempt_disable-ed region")
