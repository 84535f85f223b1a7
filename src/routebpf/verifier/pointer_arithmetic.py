"""Arithmetic on a pointer and a number.

kernel: kernel/bpf/verifier.c, adjust_ptr_min_max_vals(), check_reg_sane_offset().
"""

from __future__ import annotations

from functools import lru_cache

from routebpf.isa.opcodes import STACK_BYTES
from routebpf.verifier import tnum
from routebpf.verifier.bounds import S64_MAX, S64_MIN, Bounds
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.register import (
    BASE,
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    MAX_VAR_OFF,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_STACK,
    PTR_UNTRUSTED,
    UNKNOWN_SCALAR,
    Register,
    type_text,
)
from routebpf.verifier.run import Run
from routebpf.verifier.scalar import Range, range_of, sane_range_of
from routebpf.verifier.tnum import M64

_MOVABLE = frozenset(
    {
        PTR_TO_CTX,
        PTR_TO_MAP_VALUE,
        PTR_TO_MAP_KEY,
        PTR_TO_STACK,
        PTR_TO_PACKET,
        PTR_TO_BTF_ID,
        PTR_TO_MEM,
        PTR_TO_FUNC,
        CONST_PTR_TO_DYNPTR,
    }
)
_BITWISE = ("&=", "|=", "^=")
_MOST_RESULTS = 100_000


def move(
    run: Run, dst: int, pointer: Register, number: Register, operator: str, *, wide: bool, pointer_is_dst: bool
) -> Register:
    """What `dst` holds after `pointer operator number`, or after `number operator pointer`."""
    by = number.range
    if by.smin > by.smax or by.umin > by.umax:
        return UNKNOWN_SCALAR
    if not wide:
        if operator == "-=" and run.privileged:
            return UNKNOWN_SCALAR
        raise Fault(Rule.ARITHMETIC, f"R{dst} 32-bit pointer arithmetic prohibited", dst)
    kind = pointer.type
    if kind & PTR_MAYBE_NULL:
        raise Fault(
            Rule.ARITHMETIC, f"R{dst} pointer arithmetic on {type_text(kind)} prohibited, null-check it first", dst
        )
    base = kind & BASE
    if base == PTR_TO_MEM and kind & PTR_UNTRUSTED:
        return pointer if pointer_is_dst else number
    if base not in _MOVABLE and not (base == CONST_PTR_TO_MAP and by.is_const and by.smin == 0 and operator == "+="):
        raise Fault(Rule.ARITHMETIC, f"R{dst} pointer arithmetic on {type_text(kind)} prohibited", dst)
    check_sane_offset(number, kind, dst)
    check_sane_offset(pointer, kind, dst)
    if operator == "+=":
        moved = _add(run, pointer, by)
    elif operator == "-=":
        moved = _subtract(run, dst, pointer, by, pointer_is_dst=pointer_is_dst)
    elif operator in _BITWISE:
        raise Fault(Rule.ARITHMETIC, f"R{dst} bitwise operator {operator} on pointer prohibited", dst)
    else:
        raise Fault(Rule.ARITHMETIC, f"R{dst} pointer arithmetic with {plain(operator)} operator prohibited", dst)
    check_sane_offset(moved, kind, dst)
    if not run.privileged:
        _check_unprivileged(moved, dst)
    return moved


def plain(operator: str) -> str:
    """As the kernel's words have it, which leave out that a division is signed."""
    return operator if operator == "s>>=" else operator.removeprefix("s")


def check_sane_offset(register: Register, kind: int, dst: int) -> None:
    """kernel: check_reg_sane_offset()."""
    r = register.range
    if r.is_const and not -MAX_VAR_OFF < r.smin < MAX_VAR_OFF:
        raise Fault(Rule.ARITHMETIC, f"math between {type_text(kind)} pointer and {r.smin} is not allowed", dst)
    if not -MAX_VAR_OFF < register.off < MAX_VAR_OFF:
        raise Fault(Rule.ARITHMETIC, f"{type_text(kind)} pointer offset {register.off} is not allowed", dst)
    if r.smin == S64_MIN:
        raise Fault(
            Rule.ARITHMETIC,
            f"math between {type_text(kind)} pointer and register with unbounded min value is not allowed",
            dst,
        )
    if not -MAX_VAR_OFF < r.smin < MAX_VAR_OFF:
        raise Fault(Rule.ARITHMETIC, f"value {r.smin} makes {type_text(kind)} pointer be out of bounds", dst)


@lru_cache(_MOST_RESULTS)
def _with_unknown_half(r: Range) -> Range:
    """Pointers carry no bounds of their low half."""
    if r.is_const:
        return r
    b = r.bounds()
    b.forget32()
    b.sync()
    return sane_range_of(b)


def _add(run: Run, pointer: Register, by: Range) -> Register:
    if by.is_const and -(1 << 31) <= pointer.off + by.smin < 1 << 31:
        off = pointer.off + by.smin
        return Register(pointer.type, _with_unknown_half(pointer.range), off, pointer.id, pointer.ref, pointer.extra)
    return _varied(run, pointer, *_sum(pointer.range, by), keep_range=False)


def _subtract(run: Run, dst: int, pointer: Register, by: Range, *, pointer_is_dst: bool) -> Register:
    if not pointer_is_dst:
        raise Fault(Rule.ARITHMETIC, f"R{dst} tried to subtract pointer from scalar", dst)
    if pointer.type == PTR_TO_STACK:
        raise Fault(Rule.ARITHMETIC, f"R{dst} subtraction from stack pointer prohibited", dst)
    if by.is_const and -(1 << 31) <= pointer.off - by.smin < 1 << 31:
        off = pointer.off - by.smin
        return Register(pointer.type, _with_unknown_half(pointer.range), off, pointer.id, pointer.ref, pointer.extra)
    return _varied(run, pointer, *_difference(pointer.range, by), keep_range=by.smin >= 0)


@lru_cache(_MOST_RESULTS)
def _sum(a: Range, b: Range) -> tuple[Range, Range]:
    """`a + b`: as it is computed, and with what its bounds say of each other."""
    d = a.bounds()
    _set_signed(d, a.smin + b.smin, a.smax + b.smax)
    low, high = a.umin + b.umin, a.umax + b.umax
    d.umin, d.umax = (low, high) if high <= M64 else (0, M64)
    d.bits = tnum.add(a.bits, b.bits)
    return _both(d)


@lru_cache(_MOST_RESULTS)
def _difference(a: Range, b: Range) -> tuple[Range, Range]:
    """The same of `a - b`."""
    d = a.bounds()
    _set_signed(d, a.smin - b.smax, a.smax - b.smin)
    d.umin, d.umax = (a.umin - b.umax, a.umax - b.umin) if a.umin >= b.umax else (0, M64)
    d.bits = tnum.sub(a.bits, b.bits)
    return _both(d)


def _set_signed(b: Bounds, low: int, high: int) -> None:
    b.smin, b.smax = (low, high) if low >= S64_MIN and high <= S64_MAX else (S64_MIN, S64_MAX)


def _both(b: Bounds) -> tuple[Range, Range]:
    b.forget32()
    computed = range_of(b)
    b.sync()
    return computed, sane_range_of(b)


def _varied(run: Run, pointer: Register, computed: Range, new: Range, *, keep_range: bool) -> Register:
    """A new variable offset: for a packet pointer, a new base with nothing known to be behind it."""
    kind = pointer.type
    check_sane_offset(Register(kind, computed, pointer.off), kind, 0)
    if kind == PTR_TO_PACKET:
        return Register(kind, new, pointer.off, run.new_id(), pointer.ref, pointer.extra if keep_range else 0)
    return Register(kind, new, pointer.off, pointer.id, pointer.ref, pointer.extra)


def _check_unprivileged(moved: Register, dst: int) -> None:
    """kernel: check_stack_access_for_ptr_arithmetic()."""
    if moved.type != PTR_TO_STACK:
        return
    off = moved.off + moved.range.value
    if not moved.range.is_const:
        bits = tnum.text(moved.range.bits)
        raise Fault(Rule.STACK, f"R{dst} variable stack access prohibited for !root, var_off={bits} off={off}", dst)
    if not -STACK_BYTES <= off < 0:
        raise Fault(
            Rule.STACK, f"R{dst} stack pointer arithmetic goes out of range, prohibited for !root; off={off}", dst
        )
