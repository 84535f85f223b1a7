"""Arithmetic in LLVM IR: RFC 9669, section 4.1 and 4.2; `isa.semantics` says the same in Python."""

from __future__ import annotations

from routebpf.engine.jit_writer import FunctionWriter
from routebpf.isa import Form, Instruction
from routebpf.isa.opcodes import SIGNED_OPERATORS

_PLAIN = {"+=": "add", "-=": "sub", "*=": "mul", "|=": "or", "&=": "and", "^=": "xor"}
_SHIFTS = {"<<=": "shl", ">>=": "lshr", "s>>=": "ashr"}
_DIVISIONS = {"/=": "udiv", "%=": "urem"}
_SIGNED_DIVISIONS = {"s/=": "sdiv", "s%=": "srem"}


def alu(w: FunctionWriter, one: Instruction, form: Form) -> None:
    offset = w.frame_offset(one.dst)
    if offset is not None and form.wide and not form.register and form.operator in ("+=", "-="):
        w.write_frame_offset(one.dst, offset + one.imm if form.operator == "+=" else offset - one.imm)
        return
    bits = 64 if form.wide else 32
    a = w.read(one.dst) if form.wide else w.read32(one.dst)
    b = operand(w, one, form)
    operator = SIGNED_OPERATORS[form.operator] if one.offset == 1 else form.operator
    result = _arithmetic(w, operator, bits, a, b)
    if form.wide:
        w.write(one.dst, result)
    else:
        w.write32(one.dst, result)


def operand(w: FunctionWriter, one: Instruction, form: Form) -> str:
    """The second operand, of the form's width."""
    if not form.register:
        return str(one.imm)
    return w.read(one.src) if form.wide else w.read32(one.src)


def _arithmetic(w: FunctionWriter, operator: str, bits: int, a: str, b: str) -> str:
    if operator in _PLAIN:
        return w.value(f"{_PLAIN[operator]} i{bits} {a}, {b}")
    if operator in _SHIFTS:
        return w.value(f"{_SHIFTS[operator]} i{bits} {a}, {w.value(f'and i{bits} {b}, {bits - 1}')}")
    if operator in _DIVISIONS:
        return _divide(w, operator, bits, a, b)
    return _divide_signed(w, operator, bits, a, b)


def _divide(w: FunctionWriter, operator: str, bits: int, a: str, b: str) -> str:
    is_zero = w.value(f"icmp eq i{bits} {b}, 0")
    divisor = w.value(f"select i1 {is_zero}, i{bits} 1, i{bits} {b}")
    result = w.value(f"{_DIVISIONS[operator]} i{bits} {a}, {divisor}")
    by_zero = "0" if operator == "/=" else a
    return w.value(f"select i1 {is_zero}, i{bits} {by_zero}, i{bits} {result}")


def _divide_signed(w: FunctionWriter, operator: str, bits: int, a: str, b: str) -> str:
    is_zero = w.value(f"icmp eq i{bits} {b}, 0")
    is_minus_one = w.value(f"icmp eq i{bits} {b}, -1")  # the smallest number by -1 would trap
    is_special = w.value(f"or i1 {is_zero}, {is_minus_one}")
    divisor = w.value(f"select i1 {is_special}, i{bits} 1, i{bits} {b}")
    result = w.value(f"{_SIGNED_DIVISIONS[operator]} i{bits} {a}, {divisor}")
    if operator == "s/=":
        by_zero, by_minus_one = "0", w.value(f"sub i{bits} 0, {a}")
    else:
        by_zero, by_minus_one = a, "0"
    special = w.value(f"select i1 {is_zero}, i{bits} {by_zero}, i{bits} {by_minus_one}")
    return w.value(f"select i1 {is_special}, i{bits} {special}, i{bits} {result}")


def mov(w: FunctionWriter, one: Instruction, form: Form) -> None:
    if not form.register:
        w.write(one.dst, str(one.imm if form.wide else one.imm & 0xFFFFFFFF))
    elif one.offset:
        _mov_signed(w, one, form)
    elif not form.wide:
        w.write32(one.dst, w.read32(one.src))
    elif (offset := w.frame_offset(one.src)) is not None:
        w.write_frame_offset(one.dst, offset)
    else:
        w.write(one.dst, w.read(one.src))


def _mov_signed(w: FunctionWriter, one: Instruction, form: Form) -> None:
    low = w.value(f"trunc i64 {w.read(one.src)} to i{one.offset}")
    if form.wide:
        w.write(one.dst, w.value(f"sext i{one.offset} {low} to i64"))
    else:
        w.write32(one.dst, w.value(f"sext i{one.offset} {low} to i32"))


def neg(w: FunctionWriter, one: Instruction, form: Form) -> None:
    if form.wide:
        w.write(one.dst, w.value(f"sub i64 0, {w.read(one.dst)}"))
    else:
        w.write32(one.dst, w.value(f"sub i32 0, {w.read32(one.dst)}"))


def end(w: FunctionWriter, one: Instruction, form: Form) -> None:
    """The machine is little-endian, so `le` only truncates."""
    bits = one.imm
    value = w.read(one.dst)
    if bits < 64:
        value = w.value(f"trunc i64 {value} to i{bits}")
    if form.operator != "le":
        value = w.value(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {value})")
    if bits < 64:
        value = w.value(f"zext i{bits} {value} to i64")
    w.write(one.dst, value)
