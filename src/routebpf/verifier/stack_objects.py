"""What lives on the stack and is not a number or a pointer: dynptrs, iterators, saved interrupt flags.

kernel: kernel/bpf/verifier.c, mark_stack_slots_dynptr(), mark_stack_slots_iter(), mark_stack_slot_irq_flag() and
their kin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.references import acquire, acquire_interrupts, release, release_interrupts
from routebpf.verifier.register import (
    CONST_PTR_TO_DYNPTR,
    DYNPTR_TYPE_RINGBUF,
    PTR_MAYBE_NULL,
    PTR_TO_MEM,
    PTR_UNTRUSTED,
    UNKNOWN_SCALAR,
    UNSET,
    Register,
)
from routebpf.verifier.run import Run
from routebpf.verifier.state import (
    DYNPTR,
    EMPTY,
    IRQ_FLAG,
    ITER,
    DynptrSlot,
    Frame,
    IrqSlot,
    IteratorSlot,
    Slot,
    spi_of,
)

_DYNPTR_TYPES = bytes([DYNPTR] * 8)
_ITER_TYPES = bytes([ITER] * 8)
_IRQ_TYPES = bytes([IRQ_FLAG] * 8)


@contextmanager
def also_saying(words: str) -> Iterator[None]:
    """Where the place of an object is wrong, the kernel goes on to say what it wanted there."""
    try:
        yield
    except Fault as fault:
        raise Fault(fault.rule, f"{fault.message}\n{words}", fault.register) from None


def place(run: Run, register: Register, what: str, slots: int) -> int | None:
    """The slot that `register` points to the start of; None if the stack does not go so far yet.

    kernel: stack_slot_obj_get_spi().
    """
    if not register.range.is_const:
        raise Fault(Rule.STACK, f"{what} has to be at a constant offset")
    off = register.off + register.range.smin
    spi = spi_of(off)
    if off % 8 or spi + 1 < slots:
        raise Fault(Rule.STACK, f"cannot pass in {what} at an offset={off}")
    frame = run.state.frames[register.extra]
    return spi if spi < frame.allocated // 8 else None


def frame_of(run: Run, register: Register) -> Frame:
    number: int = register.extra
    return run.state.frames[number]


def note_read(run: Run, register: Register, spi: int, slots: int) -> None:
    for index in range(slots):
        run.liveness.note_read(run.at, register.extra, spi - index)


def _note_write(run: Run, register: Register, spi: int, slots: int) -> None:
    """An object begins or ends there: on every path through this instruction, as what it calls does so each time."""
    run.liveness.note_write(run.at, ((1 << slots) - 1) << (register.extra * 64 + spi - slots + 1))


def dynptr_at(run: Run, register: Register) -> DynptrSlot | None:
    """The dynptr that `register` points to the start of, if there is one (kernel: is_dynptr_reg_valid_init())."""
    if register.type == CONST_PTR_TO_DYNPTR:
        return DynptrSlot(register.extra, True, register.id, register.ref)
    spi = place(run, register, "dynptr", 2)
    if spi is None:
        return None
    stack = frame_of(run, register).stack
    first, second = stack.get(spi, EMPTY), stack.get(spi - 1, EMPTY)
    found = first.object
    if not isinstance(found, DynptrSlot) or not found.is_first or second.types != _DYNPTR_TYPES:
        return None
    return found


def set_dynptr(run: Run, register: Register, kind: int, clone_of: int) -> None:
    """Make a dynptr of a type (a flag); `clone_of` is the reference that another holds (kernel:
    mark_stack_slots_dynptr())."""
    spi = place(run, register, "dynptr", 2)
    assert spi is not None
    frame = frame_of(run, register)
    destroy_dynptr(run, frame, spi)
    destroy_dynptr(run, frame, spi - 1)
    id = run.new_id()
    ref = 0
    if kind == DYNPTR_TYPE_RINGBUF:
        ref = clone_of or acquire(run)
    frame.stack[spi] = Slot(_DYNPTR_TYPES, None, DynptrSlot(kind, True, id, ref))
    frame.stack[spi - 1] = Slot(_DYNPTR_TYPES, None, DynptrSlot(kind, False, id, ref))
    frame.slot_depends.pop(spi, None)
    frame.slot_depends.pop(spi - 1, None)
    _note_write(run, register, spi, 2)


def destroy_dynptr(run: Run, frame: Frame, spi: int) -> None:
    """A write into one of its slots ends a dynptr (kernel: destroy_if_dynptr_stack_slot())."""
    found = frame.stack.get(spi, EMPTY).object
    if not isinstance(found, DynptrSlot):
        return
    if not found.is_first:
        spi += 1
    if found.type == DYNPTR_TYPE_RINGBUF:
        raise Fault(Rule.REFERENCE, "cannot overwrite referenced dynptr")
    frame.stack[spi] = frame.stack[spi - 1] = EMPTY
    gone = UNKNOWN_SCALAR if run.privileged else UNSET

    def without_slice(register: Register) -> Register:
        is_slice = register.type & ~PTR_MAYBE_NULL == PTR_TO_MEM and register.extra.dynptr_id == found.id
        return gone if is_slice else register

    run.state.replace_registers(without_slice)


def release_dynptr(run: Run, register: Register) -> None:
    """Submit or discard what a dynptr holds; its clones and slices go too (kernel: unmark_stack_slots_dynptr())."""
    spi = place(run, register, "dynptr", 2)
    assert spi is not None
    frame = frame_of(run, register)
    found = frame.stack[spi].object
    assert isinstance(found, DynptrSlot)
    if found.type != DYNPTR_TYPE_RINGBUF:
        frame.stack[spi] = frame.stack[spi - 1] = EMPTY
        return
    release(run, found.ref)
    for at, slot in list(frame.stack.items()):
        held = slot.object
        if isinstance(held, DynptrSlot) and held.ref == found.ref:
            frame.stack[at] = EMPTY


def can_set_iterator(run: Run, register: Register, slots: int) -> bool:
    """kernel: is_iter_reg_valid_uninit()."""
    spi = place(run, register, "iter", slots)
    if spi is None:
        return True
    stack = frame_of(run, register).stack
    return not any(ITER in stack.get(spi - index, EMPTY).types for index in range(slots))


def set_iterator(run: Run, register: Register, name: str, slots: int, flags: int) -> None:
    """kernel: mark_stack_slots_iter()."""
    spi = place(run, register, "iter", slots)
    assert spi is not None
    frame = frame_of(run, register)
    ref = acquire(run)
    for index in range(slots):
        held = IteratorSlot(name, flags, ref if index == 0 else 0, True, 0)
        frame.stack[spi - index] = Slot(_ITER_TYPES, None, held)
        frame.slot_depends.pop(spi - index, None)
    _note_write(run, register, spi, slots)


def iterator_at(run: Run, register: Register, name: str, slots: int) -> tuple[int, IteratorSlot] | None:
    """(slot, the iterator) that `register` points to, if it is one of this kind (kernel: is_iter_reg_valid_init())."""
    spi = place(run, register, "iter", slots)
    if spi is None:
        return None
    stack = frame_of(run, register).stack
    for index in range(slots):
        slot = stack.get(spi - index, EMPTY)
        held = slot.object
        if not isinstance(held, IteratorSlot) or held.name != name or bool(held.ref) != (index == 0):
            return None
    first = stack[spi].object
    assert isinstance(first, IteratorSlot)
    return spi, first


def is_stale(iterator: IteratorSlot) -> bool:
    """The section without which it may not be used has ended."""
    return bool(iterator.flags & PTR_UNTRUSTED)


def end_iterator(run: Run, register: Register, spi: int, slots: int) -> None:
    """kernel: unmark_stack_slots_iter()."""
    frame = frame_of(run, register)
    held = frame.stack[spi].object
    assert isinstance(held, IteratorSlot)
    release(run, held.ref)
    for index in range(slots):
        frame.stack[spi - index] = EMPTY
    _note_write(run, register, spi, slots)


def can_save_interrupts(run: Run, register: Register) -> bool:
    """kernel: is_irq_flag_reg_valid_uninit()."""
    spi = place(run, register, "irq_flag", 1)
    return spi is None or IRQ_FLAG not in frame_of(run, register).stack.get(spi, EMPTY).types


def save_interrupts(run: Run, register: Register, saved_by: str) -> None:
    """kernel: mark_stack_slot_irq_flag()."""
    spi = place(run, register, "irq_flag", 1)
    assert spi is not None
    frame = frame_of(run, register)
    frame.stack[spi] = Slot(_IRQ_TYPES, None, IrqSlot(saved_by, acquire_interrupts(run)))
    frame.slot_depends.pop(spi, None)
    _note_write(run, register, spi, 1)


def saved_interrupts(run: Run, register: Register) -> tuple[int, IrqSlot] | None:
    """kernel: is_irq_flag_reg_valid_init()."""
    spi = place(run, register, "irq_flag", 1)
    held = None if spi is None else frame_of(run, register).stack.get(spi, EMPTY).object
    return (spi, held) if spi is not None and isinstance(held, IrqSlot) else None


def restore_interrupts(run: Run, register: Register, spi: int, held: IrqSlot, restored_by: str) -> None:
    """kernel: unmark_stack_slot_irq_flag()."""
    if held.saved_by != restored_by:
        raise Fault(
            Rule.LOCK, f"irq flag acquired by {held.saved_by} kfuncs cannot be restored with {restored_by} kfuncs"
        )
    release_interrupts(run, held.ref)
    frame_of(run, register).stack[spi] = EMPTY
    _note_write(run, register, spi, 1)
