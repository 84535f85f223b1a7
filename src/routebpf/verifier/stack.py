"""Reads and writes of the stack: bounds, spills and fills, what is set.

kernel: kernel/bpf/verifier.c, check_stack_read(), check_stack_write(), check_stack_range_initialized().
"""

from __future__ import annotations

from typing import Final

from routebpf.isa.opcodes import STACK_BYTES
from routebpf.verifier import tnum
from routebpf.verifier.arithmetic import with_new_id
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.precision import demand
from routebpf.verifier.register import (
    MAX_VAR_OFF,
    NULL,
    PTR_TO_STACK,
    SCALAR_VALUE,
    UNKNOWN_SCALAR,
    Register,
    is_spillable,
    known,
)
from routebpf.verifier.run import Run
from routebpf.verifier.stack_objects import destroy_dynptr
from routebpf.verifier.state import (
    DYNPTR,
    EMPTY,
    FULL_SPILL,
    INVALID,
    MISC,
    SPILL,
    ZERO,
    Frame,
    Slot,
)

NO_REGISTER: Final = -1


class Write:
    """What a write puts there: a register by number, a constant (of an instruction), or nothing known."""

    __slots__ = ("constant", "register")

    def __init__(self, register: int = NO_REGISTER, constant: int | None = None) -> None:
        self.register = register
        self.constant = constant


UNKNOWN_WRITE: Final = Write()


def check_bounds(run: Run, number: int, off: int, size: int, *, is_write: bool) -> tuple[int, int]:
    """The lowest and highest offset from the frame pointer that an access may start at.

    kernel: check_stack_access_within_bounds(), grow_stack_state().
    """
    register = run.regs[number]
    r = register.range
    doing = " write to" if is_write else " read from"
    if r.is_const:
        low = high = off + r.smin
    else:
        if r.smax >= MAX_VAR_OFF or r.smin <= -MAX_VAR_OFF:
            raise Fault(Rule.STACK, f"invalid unbounded variable-offset{doing} stack R{number}", number)
        low, high = r.smin + off, r.smax + off
    frame = run.state.frames[register.extra]
    lowest = -STACK_BYTES if is_write or run.privileged else -frame.allocated
    if low < lowest or low > -1 or high + size > 0 or size < 0:
        if r.is_const:
            message = f"invalid{doing} stack R{number} off={off} size={size}"
        else:
            message = (
                f"invalid variable-offset{doing} stack R{number} var_off={tnum.text(r.bits)} off={off} size={size}"
            )
        raise Fault(Rule.STACK, message, number)
    grow(run, frame, -low)
    return low, high


def grow(run: Run, frame: Frame, size: int) -> None:
    size = -(-size // 8) * 8
    if frame.allocated < size:
        frame.allocated = size
        function = run.flow.functions[frame.function]
        function.stack_bytes = max(function.stack_bytes, size)


def read(run: Run, number: int, off: int, size: int, target: int) -> None:
    """Read into register `target`; NO_REGISTER: only whether it may be read as a number."""
    register = run.regs[number]
    frame = run.state.frames[register.extra]
    r = register.range
    if r.is_const:
        _read_fixed(run, frame, off + r.smin, size, target)
        return
    if target < 0:
        raise Fault(
            Rule.STACK,
            "variable offset stack pointer cannot be passed into helper function;"
            f" var_off={tnum.text(r.bits)} off={off} size={size}",
            number,
        )
    check_initialized(run, number, off, size, zero_size_allowed=False, is_write=False)
    _fill_from_bytes(run, frame, r.smin + off, r.smax + off + size, target)


def _fill_from_bytes(run: Run, frame: Frame, low: int, high: int, target: int) -> None:
    """kernel: mark_reg_stack_read()."""
    stack = frame.stack
    is_zero = all(stack.get((-at - 1) // 8, EMPTY).types[(-at - 1) % 8] == ZERO for at in range(low, high))
    run.set_scalar(target, NULL if is_zero else UNKNOWN_SCALAR)


def _read_fixed(run: Run, frame: Frame, off: int, size: int, target: int) -> None:
    """kernel: check_stack_read_fixed_off()."""
    place = -off - 1
    spi = place // 8
    slot = frame.stack.get(spi, EMPTY)
    run.liveness.note_read(run.at, frame.number, spi)
    if not slot.is_spilled:
        _check_readable(run, slot, off, size, spilled=False)
        if target >= 0:
            _fill_from_bytes(run, frame, off, off + size, target)
        return
    register = slot.register
    assert register is not None
    if size == 8 and slot.types == FULL_SPILL:
        if target >= 0:
            run.regs[target] = register
            run.depends[target] = frame.slot_depends.get(spi, 0) if register.type == SCALAR_VALUE else 0
        elif run.is_leak(register):
            raise Fault(Rule.LEAK, f"leaking pointer from stack off {off}")
        run.note_history()
        return
    if register.type != SCALAR_VALUE:
        raise Fault(Rule.STACK, "invalid size of register fill")
    if target >= 0:
        _fill_part(run, frame, slot, register, off, size, target)


def _fill_part(run: Run, frame: Frame, slot: Slot, register: Register, off: int, size: int, target: int) -> None:
    spi = (-off - 1) // 8
    spilled = _spilled_bytes(slot)
    if size <= spilled and off % 8 == 0:
        if register.range.umax >> size * 8:
            register = register.with_id(0)
        run.regs[target] = register
        run.depends[target] = frame.slot_depends.get(spi, 0)
        run.note_history()
        return
    types = _check_readable(run, slot, off, size, spilled=True)
    if types == {SPILL} and register.range.is_const and register.range.value == 0:
        run.regs[target] = NULL
        run.depends[target] = frame.slot_depends.get(spi, 0)
        run.note_history()
        return
    run.set_scalar(target, NULL if types == {ZERO} else UNKNOWN_SCALAR)


def _spilled_bytes(slot: Slot) -> int:
    count = 1
    for index in range(7, 0, -1):
        if slot.types[index - 1] != SPILL:
            break
        count += 1
    return count


def _check_readable(run: Run, slot: Slot, off: int, size: int, *, spilled: bool) -> set[int]:
    place = -off - 1
    types = set()
    for index in range(size):
        kind = slot.types[(place - index) % 8]
        types.add(kind)
        is_set = kind in (MISC, ZERO) or (spilled and kind == SPILL) or (kind == INVALID and run.privileged)
        if not is_set:
            raise Fault(Rule.STACK, f"invalid read from stack off {off}+{index} size {size}")
    return types


def write(run: Run, number: int, off: int, size: int, what: Write) -> int:
    """Write to the stack. The slots that are wholly written, as `StackLiveness.note_write` takes them."""
    register = run.regs[number]
    frame = run.state.frames[register.extra]
    if register.range.is_const:
        return _write_fixed(run, frame, off + register.range.smin, size, what)
    _write_variable(run, frame, number, off, size, what)
    return 0


def _write_fixed(run: Run, frame: Frame, off: int, size: int, what: Write) -> int:
    """kernel: check_stack_write_fixed_off()."""
    spi = (-off - 1) // 8
    old = frame.stack.get(spi, EMPTY)
    if not run.privileged and size != 8 and old.is_spilled and old.register and old.register.type != SCALAR_VALUE:
        raise Fault(Rule.STACK, "attempt to corrupt spilled pointer on stack")
    destroy_dynptr(run, frame, spi)
    is_slot_start = off % 8 == 0
    written = 1 << frame.number * 64 + spi if size == 8 and is_slot_start else 0
    number = what.register
    if number >= 0:
        register = run.regs[number]
        if is_slot_start and register.type == SCALAR_VALUE and run.privileged:
            fits = not register.range.umax >> 8 * size
            if fits:
                register = with_new_id(run, number)
            _save(frame, spi, register if fits else register.with_id(0), size)
            frame.slot_depends[spi] = run.depends[number]
            run.note_history()
            return written
        if is_spillable(register.type):
            if size != 8:
                raise Fault(Rule.STACK, "invalid size of register spill", number)
            if frame is not run.frame and register.type == PTR_TO_STACK:
                raise Fault(Rule.STACK, "cannot spill pointers to stack into stack frame of the caller", number)
            _save(frame, spi, register, size)
            frame.slot_depends.pop(spi, None)
            run.note_history()
            return written
    elif is_slot_start and what.constant is not None and run.privileged:
        _save(frame, spi, known(what.constant & (1 << 64) - 1), size)
        frame.slot_depends[spi] = 0
        run.note_history()
        return written
    _write_bytes(run, frame, spi, off, size, what)
    return written


def _save(frame: Frame, spi: int, register: Register, size: int) -> None:
    """kernel: save_register_state()."""
    if size == 8:
        frame.stack[spi] = Slot(FULL_SPILL, register)
        return
    old = frame.stack.get(spi, EMPTY).types
    rest = bytes(kind if kind in (ZERO, INVALID) else MISC for kind in old[: 8 - size])
    frame.stack[spi] = Slot(rest + FULL_SPILL[:size], register)


def _write_bytes(run: Run, frame: Frame, spi: int, off: int, size: int, what: Write) -> None:
    types = bytearray(frame.stack.get(spi, EMPTY).types)
    if frame.stack.get(spi, EMPTY).is_special:
        types = bytearray(MISC if kind != INVALID else INVALID for kind in types)
    kind = MISC
    if what.register >= 0:
        if run.regs[what.register].is_null:
            demand(run, what.register)
            kind = ZERO
    elif what.constant == 0:
        kind = ZERO
    for index in range(size):
        types[(-off - 1 - index) % 8] = kind
    frame.stack[spi] = Slot(bytes(types))
    frame.slot_depends.pop(spi, None)


def _write_variable(run: Run, frame: Frame, number: int, off: int, size: int, what: Write) -> None:
    """kernel: check_stack_write_var_off()."""
    r = run.regs[number].range
    low, high = r.smin + off, r.smax + off + size
    is_zero = what.constant == 0 or (what.register >= 0 and run.regs[what.register].is_null)
    for spi in {(-at - 1) // 8 for at in range(low, high)}:
        destroy_dynptr(run, frame, spi)
    zero_used = False
    for at in range(low, high):
        spi, index = (-at - 1) // 8, (-at - 1) % 8
        slot = frame.stack.get(spi, EMPTY)
        kind = slot.types[index]
        if not run.privileged and kind not in (MISC, ZERO):
            raise Fault(
                Rule.STACK, f"spilled ptr in range of var-offset stack write; insn {run.at}, ptr off: {at}", number
            )
        if is_zero and kind == SPILL and slot.register is not None and slot.register.is_null:
            zero_used = True
            continue
        new = MISC
        if is_zero and kind == ZERO:
            new, zero_used = ZERO, True
        types = bytearray(slot.types)
        types[index] = new
        frame.stack[spi] = _without_register(bytes(types), slot)
        frame.slot_depends.pop(spi, None)
    if zero_used and what.register >= 0:
        demand(run, what.register)


def _without_register(types: bytes, old: Slot) -> Slot:
    """A slot whose register is gone: bytes of it that are left are just bytes."""
    if old.register is not None or old.object is not None:
        types = bytes(MISC if kind not in (INVALID, MISC, ZERO) else kind for kind in types)
    return Slot(types)


def check_initialized(
    run: Run, number: int, off: int, size: int, *, zero_size_allowed: bool, is_write: bool, raw: bool = False
) -> bool:
    """A function reads (or writes) memory of the stack. True if it will set all of it (`raw`), which is not done yet.

    kernel: check_stack_range_initialized().
    """
    if size == 0 and not zero_size_allowed:
        raise Fault(Rule.ARGUMENT, "invalid zero-sized read", number)
    register = run.regs[number]
    low, high = check_bounds(run, number, off, size, is_write=is_write)
    frame = run.state.frames[register.extra]
    r = register.range
    if not r.is_const and not run.privileged:
        raise Fault(
            Rule.STACK,
            f"R{number} variable offset stack access prohibited for !root, var_off={tnum.text(r.bits)}",
            number,
        )
    if raw and r.is_const:
        for at in range(low, high + size):
            spi, index = (-at - 1) // 8, (-at - 1) % 8
            if frame.stack.get(spi, EMPTY).types[index] == DYNPTR:
                raise Fault(Rule.STACK, f"potential write to dynptr at off={at} disallowed", number)
        return True
    for at in range(low, high + size):
        spi, index = (-at - 1) // 8, (-at - 1) % 8
        slot = frame.stack.get(spi, EMPTY)
        kind = slot.types[index]
        run.liveness.note_read(run.at, frame.number, spi)
        if kind == MISC:
            continue
        if kind == ZERO or (kind == INVALID and run.privileged):
            if is_write:
                types = bytearray(slot.types)
                types[index] = MISC
                frame.stack[spi] = Slot(bytes(types), slot.register, slot.object)
            continue
        if slot.is_spilled and slot.register and (slot.register.type == SCALAR_VALUE or run.privileged):
            if is_write:
                frame.stack[spi] = Slot(bytes(MISC if one != INVALID else INVALID for one in slot.types))
                frame.slot_depends.pop(spi, None)
            continue
        where = f"off {low}" if r.is_const else f"var_off {tnum.text(r.bits)}"
        raise Fault(Rule.STACK, f"invalid read from stack R{number} {where}+{at - low} size {size}", number)
    return False
