"""What arithmetic does to what is known of two numbers.

kernel: kernel/bpf/verifier.c, adjust_scalar_min_max_vals() and the scalar_min_max_…() that it calls.
"""

from __future__ import annotations

from collections.abc import Callable

from routebpf.isa.semantics import ARITHMETIC32, ARITHMETIC64
from routebpf.verifier import tnum
from routebpf.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN, Bounds, s32
from routebpf.verifier.scalar import UNKNOWN, Range, constant, sane_range_of, truncate, unbounded
from routebpf.verifier.tnum import M32, M64

Operation = Callable[[Range, Range], Range]
_MOST_RESULTS = 200_000


def _signed_sum(low: int, high: int, minimum: int, maximum: int) -> tuple[int, int]:
    return (low, high) if low >= minimum and high <= maximum else (minimum, maximum)


def _unsigned_sum(low: int, high: int, mask: int) -> tuple[int, int]:
    """If only one of the two overflows, nothing is known."""
    if (low < 0 or low > mask) == (high < 0 or high > mask):
        return low & mask, high & mask
    return 0, mask


def add_bounds(d: Bounds, s: Range | Bounds) -> None:
    """kernel: scalar32_min_max_add(), scalar_min_max_add(); the tnum is not touched."""
    d.s32min, d.s32max = _signed_sum(d.s32min + s.s32min, d.s32max + s.s32max, S32_MIN, S32_MAX)
    d.u32min, d.u32max = _unsigned_sum(d.u32min + s.u32min, d.u32max + s.u32max, M32)
    d.smin, d.smax = _signed_sum(d.smin + s.smin, d.smax + s.smax, S64_MIN, S64_MAX)
    d.umin, d.umax = _unsigned_sum(d.umin + s.umin, d.umax + s.umax, M64)


def _sub_bounds(d: Bounds, s: Range | Bounds) -> None:
    d.s32min, d.s32max = _signed_sum(d.s32min - s.s32max, d.s32max - s.s32min, S32_MIN, S32_MAX)
    d.u32min, d.u32max = _unsigned_sum(d.u32min - s.u32max, d.u32max - s.u32min, M32)
    d.smin, d.smax = _signed_sum(d.smin - s.smax, d.smax - s.smin, S64_MIN, S64_MAX)
    d.umin, d.umax = _unsigned_sum(d.umin - s.umax, d.umax - s.umin, M64)


def _add(d: Bounds, s: Range, _wide: bool) -> None:
    add_bounds(d, s)
    d.bits = tnum.add(d.bits, s.bits)


def _sub(d: Bounds, s: Range, _wide: bool) -> None:
    _sub_bounds(d, s)
    d.bits = tnum.sub(d.bits, s.bits)


def _mul(d: Bounds, s: Range, _wide: bool) -> None:
    """kernel: scalar32_min_max_mul(), scalar_min_max_mul()."""
    d.bits = tnum.mul(d.bits, s.bits)
    low, high = d.u32min * s.u32min, d.u32max * s.u32max
    products = [a * b for a in (d.s32min, d.s32max) for b in (s.s32min, s.s32max)]
    d.u32min, d.u32max = (low, high) if high <= M32 else (0, M32)
    d.s32min, d.s32max = _signed_sum(min(products), max(products), S32_MIN, S32_MAX)
    low, high = d.umin * s.umin, d.umax * s.umax
    products = [a * b for a in (d.smin, d.smax) for b in (s.smin, s.smax)]
    d.umin, d.umax = (low, high) if high <= M64 else (0, M64)
    d.smin, d.smax = _signed_sum(min(products), max(products), S64_MIN, S64_MAX)


def _signed_as_unsigned32(d: Bounds) -> None:
    low, high = s32(d.u32min), s32(d.u32max)
    d.s32min, d.s32max = (low, high) if low <= high else (S32_MIN, S32_MAX)


def _signed_as_unsigned(d: Bounds) -> None:
    low, high = d.umin - (d.umin >> 63 << 64), d.umax - (d.umax >> 63 << 64)
    d.smin, d.smax = (low, high) if low <= high else (S64_MIN, S64_MAX)
    d.update()


def _and(d: Bounds, s: Range, _wide: bool) -> None:
    """kernel: scalar32_min_max_and(), scalar_min_max_and()."""
    d.bits = value, mask = tnum.and_(d.bits, s.bits)
    known, known32 = not (mask or s.bits[1]), not (mask | s.bits[1]) & M32
    if known32:
        d.set_known32(value)
    else:
        d.u32min, d.u32max = value & M32, min(d.u32max, s.u32max)
        _signed_as_unsigned32(d)
    if known:
        d.set_known(d.bits[0])
        return
    d.umin, d.umax = d.bits[0], min(d.umax, s.umax)
    _signed_as_unsigned(d)


def _or(d: Bounds, s: Range, _wide: bool) -> None:
    """kernel: scalar32_min_max_or(), scalar_min_max_or()."""
    d.bits = value, mask = tnum.or_(d.bits, s.bits)
    if not (mask | s.bits[1]) & M32:
        d.set_known32(value)
    else:
        d.u32min, d.u32max = max(d.u32min, s.u32min), (value | mask) & M32
        _signed_as_unsigned32(d)
    if not (mask or s.bits[1]):
        d.set_known(d.bits[0])
        return
    d.umin, d.umax = max(d.umin, s.umin), d.bits[0] | d.bits[1]
    _signed_as_unsigned(d)


def _xor(d: Bounds, s: Range, _wide: bool) -> None:
    """kernel: scalar32_min_max_xor(), scalar_min_max_xor()."""
    d.bits = value, mask = tnum.xor(d.bits, s.bits)
    if not (mask | s.bits[1]) & M32:
        d.set_known32(value)
    else:
        d.u32min, d.u32max = value & M32, (value | mask) & M32
        _signed_as_unsigned32(d)
    if not (mask or s.bits[1]):
        d.set_known(d.bits[0])
        return
    d.umin, d.umax = d.bits[0], d.bits[0] | d.bits[1]
    _signed_as_unsigned(d)


def _lsh32(d: Bounds, shift: int) -> None:
    d.s32min, d.s32max = S32_MIN, S32_MAX
    if shift > 31 or d.u32max > 1 << (31 - shift):
        d.u32min, d.u32max = 0, M32
    else:
        d.u32min <<= shift
        d.u32max <<= shift


def _lsh(d: Bounds, s: Range, wide: bool) -> None:
    """kernel: scalar_min_max_lsh(), scalar32_min_max_lsh()."""
    shift = s.umin
    if not wide:
        _lsh32(d, shift)
        d.bits = tnum.subreg(tnum.lshift(tnum.subreg(d.bits), shift))
        d.forget64()
        d.update32()
        return
    # What sign extension of the low half begins with.
    d.smin, d.smax = (d.s32min << 32, d.s32max << 32) if shift == 32 else (S64_MIN, S64_MAX)
    if d.umax > 1 << (63 - shift):
        d.umin, d.umax = 0, M64
    else:
        d.umin <<= shift
        d.umax <<= shift
    _lsh32(d, shift)
    d.bits = tnum.lshift(d.bits, shift)
    d.update()


def _rsh(d: Bounds, s: Range, wide: bool) -> None:
    """kernel: scalar_min_max_rsh(), scalar32_min_max_rsh()."""
    shift = s.umin
    if not wide:
        d.s32min, d.s32max = S32_MIN, S32_MAX
        d.bits = tnum.rshift(tnum.subreg(d.bits), shift)
        d.u32min >>= shift
        d.u32max >>= shift
        d.forget64()
        d.update32()
        return
    d.smin, d.smax = S64_MIN, S64_MAX
    d.bits = tnum.rshift(d.bits, shift)
    d.umin >>= shift
    d.umax >>= shift
    d.forget32()
    d.update()


def _arsh(d: Bounds, s: Range, wide: bool) -> None:
    """kernel: scalar_min_max_arsh(), scalar32_min_max_arsh()."""
    shift = s.umin
    if not wide:
        d.s32min >>= shift
        d.s32max >>= shift
        d.bits = tnum.arshift(tnum.subreg(d.bits), shift, 32)
        d.u32min, d.u32max = 0, M32
        d.forget64()
        d.update32()
        return
    d.smin >>= shift
    d.smax >>= shift
    d.bits = tnum.arshift(d.bits, shift, 64)
    d.umin, d.umax = 0, M64
    d.forget32()
    d.update()


_TRANSFER: dict[str, Callable[[Bounds, Range, bool], None]] = {
    "+=": _add,
    "-=": _sub,
    "*=": _mul,
    "&=": _and,
    "|=": _or,
    "^=": _xor,
    "<<=": _lsh,
    ">>=": _rsh,
    "s>>=": _arsh,
}
_SHIFTS = ("<<=", ">>=", "s>>=")


def _operation(operator: str, wide: bool) -> Operation:
    """What `dst operator src` gives, remembered by its operands."""
    transfer = _TRANSFER.get(operator)
    if transfer is None:  # divisions and remainders
        return lambda _a, _b: UNKNOWN
    compute = (ARITHMETIC64 if wide else ARITHMETIC32)[operator]
    bits = 64 if wide else 32
    results: dict[tuple[Range, Range], Range] = {}

    def apply(a: Range, b: Range) -> Range:
        if a.is_const and b.is_const and not (operator in _SHIFTS and b.umax >= bits):
            return constant(compute(a.value & ((1 << bits) - 1), b.value & ((1 << bits) - 1)))
        found = results.get((a, b))
        if found is None:
            if len(results) > _MOST_RESULTS:
                results.clear()
            found = results[a, b] = _apply(a, b)
        return found

    def _apply(a: Range, b: Range) -> Range:
        if operator in _SHIFTS and not (_is_known(b, wide) and b.umax < bits):
            return UNKNOWN
        d = a.bounds()
        transfer(d, b, wide)
        if not wide:
            d.extend32()
        d.sync()
        return sane_range_of(d)

    return apply


def _is_known(b: Range, wide: bool) -> bool:
    if wide:
        return b.is_const and b.smin == b.smax and b.umin == b.umax
    return b.is_const32() and b.s32min == b.s32max and b.u32min == b.u32max


OPERATIONS: dict[tuple[str, bool], Operation] = {
    (operator, wide): _operation(operator, wide)
    for operator in (*_TRANSFER, "/=", "%=", "s/=", "s%=")
    for wide in (False, True)
}


def negate(a: Range, wide: bool) -> Range:
    """`-a` (kernel: adjust_scalar_min_max_vals(), BPF_NEG)."""
    d = constant(0).bounds()
    _sub_bounds(d, a)
    d.bits = tnum.neg(a.bits)
    if not wide:
        d.extend32()
    d.sync()
    return sane_range_of(d)


def in_byte_order(a: Range, bits: int, *, is_swap: bool) -> Range:
    """The low `bits` of `a` (16, 32 or 64), their bytes swapped if so asked (kernel: scalar_byte_swap())."""
    if is_swap:
        d = unbounded()
        d.bits = tnum.swap(a.bits, bits // 8)
        d.sync()
        a = sane_range_of(d)
    return a if bits == 64 else truncate(a, bits // 8)
