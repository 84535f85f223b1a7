"""What each instruction does in the interpreter, calls aside: a step gives the number of the next instruction."""

from __future__ import annotations

import threading
from collections.abc import Callable

from routebpf.engine.interpreter_state import Frame, Run, Source, StepError
from routebpf.isa import Form, Instruction, Kind
from routebpf.isa.opcodes import ADDR_SPACE_CAST, ATOMICS, SIGNED_OPERATORS, AtomicKind
from routebpf.isa.semantics import (
    ARITHMETIC32,
    ARITHMETIC64,
    BYTE_ORDER,
    COMPARISONS32,
    COMPARISONS64,
    MASK32,
    MASK64,
    sign_extend,
)
from routebpf.runtime.skb import CONTEXT_ADDRESSES, SKB_SK, context_place
from routebpf.spec import CONTEXT_FIELDS, context_accesses

Step = Callable[[Run, Frame, Instruction, Form], int]

_FIELD_NAMES = {field.offset: field.name for field in CONTEXT_FIELDS}
_ATOMIC = threading.Lock()  # the atomics of all interpreters, one at a time


def alu(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del run
    operator = SIGNED_OPERATORS[form.operator] if one.offset == 1 else form.operator
    a, b = frame.read(one.dst), _operand(frame, one, form)
    if form.wide:
        keep = operator in ("+=", "-=")
        source = frame.sources[one.dst] or (frame.sources[one.src] if form.register else None)
        frame.write(one.dst, ARITHMETIC64[operator](a, b), source if keep else None)
    else:
        frame.write(one.dst, ARITHMETIC32[operator](a & MASK32, b))
    return frame.at + 1


def _operand(frame: Frame, one: Instruction, form: Form) -> int:
    value = frame.read(one.src) if form.register else one.imm
    return value & (MASK64 if form.wide else MASK32)


def mov(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del run
    if form.register and form.wide and one.offset == ADDR_SPACE_CAST:
        raise StepError("addr_space_cast needs an arena, which the embedded host does not have")
    value = _operand(frame, one, form)
    if form.register and one.offset:
        value = sign_extend(value, one.offset) & (MASK64 if form.wide else MASK32)
    plain = form.register and form.wide and not one.offset
    frame.write(one.dst, value, frame.sources[one.src] if plain else None)
    return frame.at + 1


def neg(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del run
    frame.write(one.dst, -frame.read(one.dst) & (MASK64 if form.wide else MASK32))
    return frame.at + 1


def end(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del run
    frame.write(one.dst, BYTE_ORDER[form.operator](frame.read(one.dst), one.imm))
    return frame.at + 1


def load(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    address = frame.read(one.src) + one.offset & MASK64
    region = run.check(address, form.size, reads=True, writes=False, source=frame.sources[one.src])
    if region is not None and region is run.regions.context:
        _load_context(run, frame, one, form, address - region.start)
        return frame.at + 1
    value = run.load(address, form.size)
    if form.kind is Kind.LDSX:
        value = sign_extend(value, form.size * 8) & MASK64
    frame.write(one.dst, value, run.spilled.get(address) if form.size == 8 else None)
    return frame.at + 1


def _load_context(run: Run, frame: Frame, one: Instruction, form: Form, offset: int) -> None:
    _check_context(run, offset, form.size, is_write=False)
    place = CONTEXT_ADDRESSES.get(offset)
    name = _FIELD_NAMES.get(offset, "the context")
    if place is not None:
        frame.write(one.dst, run.load(run.skb + place, 8), Source(frame.at, name, run.epoch))
        return
    value = run.load(run.skb + context_place(offset, form.size), form.size)
    if form.kind is Kind.LDSX:
        value = sign_extend(value, form.size * 8) & MASK64
    if offset == SKB_SK:
        run.give_socket(value)
    frame.write(one.dst, value, Source(frame.at, name) if offset == SKB_SK else None)


def _check_context(run: Run, offset: int, size: int, *, is_write: bool) -> None:
    allowed = context_accesses(run.program.program_type)
    if (offset, size, is_write) in allowed:
        return
    sizes = sorted(one_size for at, one_size, write in allowed if at == offset and write == is_write)
    doing = "written" if is_write else "read"
    todo = f"At {offset}, {' or '.join(map(str, sizes))} bytes can be {doing}." if sizes else ""
    field = f" ({_FIELD_NAMES[offset]})" if offset in _FIELD_NAMES else ""
    raise StepError(f"invalid bpf_context access off={offset} size={size}{field}: it cannot be {doing}", todo)


def store(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    value = frame.read(one.src) if form.register else one.imm
    address = _check_write(run, frame, one, form)
    run.store(address, form.size, value)
    source = frame.sources[one.src] if form.register and form.size == 8 else None
    if source is not None and run.regions.stack.holds(address, 8):
        run.spilled[address] = source
    return frame.at + 1


def _check_write(run: Run, frame: Frame, one: Instruction, form: Form, *, reads: bool = False) -> int:
    """Check a store through dst: the address."""
    address = frame.read(one.dst) + one.offset & MASK64
    region = run.check(address, form.size, reads=reads, writes=True, source=frame.sources[one.dst])
    if region is not None and region is run.regions.context:
        if form.kind is Kind.ATOMIC:
            raise StepError(f"BPF_ATOMIC stores into R{one.dst} ctx is not allowed")
        _check_context(run, address - region.start, form.size, is_write=True)
    return address


def atomic(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    operation = ATOMICS.get(one.imm)
    if operation is None or form.size not in operation.sizes:
        raise StepError(f"BPF_ATOMIC uses invalid atomic opcode {one.imm & MASK32:02x}")
    with _ATOMIC:
        match operation.kind:
            case AtomicKind.LOAD_ACQUIRE:
                return load(run, frame, one, form)
            case AtomicKind.STORE_RELEASE:
                return store(run, frame, one, form)
        mask = (1 << form.size * 8) - 1
        value = frame.read(one.src) & mask
        address = _check_write(run, frame, one, form, reads=True)
        if address % form.size:
            raise StepError(f"an atomic access of {form.size} bytes at {address:#x}, which is no multiple of them")
        old = run.load(address, form.size)
        if operation.kind is AtomicKind.CMPXCHG:
            if old == frame.read(0) & mask:
                run.store(address, form.size, value)
            frame.write(0, old)
        elif operation.kind is AtomicKind.XCHG:
            run.store(address, form.size, value)
            frame.write(one.src, old)
        else:
            arithmetic = ARITHMETIC64 if form.size == 8 else ARITHMETIC32
            run.store(address, form.size, arithmetic[operation.operator](old, value))
            if operation.kind is AtomicKind.FETCH:
                frame.write(one.src, old)
    return frame.at + 1


def goto(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del run
    return frame.at + 1 + (one.imm if form.kind is Kind.GOTOL else one.offset)


def may_goto(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del run, form
    if frame.budget == 0:
        return frame.at + 1 + one.offset
    frame.budget -= 1
    return frame.at + 1


def branch(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del run
    compare = (COMPARISONS64 if form.wide else COMPARISONS32)[form.operator]
    a, b = frame.read(one.dst), _operand(frame, one, form)
    taken = compare(a if form.wide else a & MASK32, b)
    return frame.at + 1 + (one.offset if taken else 0)


def refused(run: Run, frame: Frame, one: Instruction, form: Form) -> int:
    del frame, one, form
    raise StepError(f"BPF_LD_[ABS|IND] instructions not allowed for {run.program.program_type} programs")


STEPS: dict[Kind, Step] = {
    Kind.ALU: alu,
    Kind.MOV: mov,
    Kind.NEG: neg,
    Kind.END: end,
    Kind.LDX: load,
    Kind.LDSX: load,
    Kind.ST: store,
    Kind.STX: store,
    Kind.ATOMIC: atomic,
    Kind.LD_ABS: refused,
    Kind.LD_IND: refused,
    Kind.JA: goto,
    Kind.GOTOL: goto,
    Kind.MAY_GOTO: may_goto,
    Kind.BRANCH: branch,
}
