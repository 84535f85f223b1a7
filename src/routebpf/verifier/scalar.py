"""What is known of a number: `Range`, immutable, and one object for each set of bounds, so that `is` compares them.

kernel: include/linux/bpf_verifier.h, struct bpf_reg_state, from `var_off` to `u32_max_value`.
"""

from __future__ import annotations

from typing import Final

from routebpf.verifier import tnum
from routebpf.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN, Bounds, s32, s64
from routebpf.verifier.tnum import M32, M64, Tnum

Key = tuple[Tnum, int, int, int, int, int, int, int, int]
_MOST_RANGES = 400_000


class Range:
    """Known `bits` (a tnum), and bounds: unsigned and signed, of 64 and of the low 32 bits. Made by `range_of` only."""

    __slots__ = ("bits", "is_const", "s32max", "s32min", "smax", "smin", "u32max", "u32min", "umax", "umin", "value")

    bits: Final[Tnum]
    value: Final[int]  # of `bits`: the number itself, if is_const
    is_const: Final[bool]
    umin: Final[int]
    umax: Final[int]
    smin: Final[int]
    smax: Final[int]
    u32min: Final[int]
    u32max: Final[int]
    s32min: Final[int]
    s32max: Final[int]

    def __init__(self, key: Key) -> None:
        (
            self.bits,
            self.umin,
            self.umax,
            self.smin,
            self.smax,
            self.u32min,
            self.u32max,
            self.s32min,
            self.s32max,
        ) = key
        self.value = self.bits[0]
        self.is_const = not self.bits[1]

    def bounds(self) -> Bounds:
        """A copy to compute with."""
        return Bounds(
            self.bits,
            self.umin,
            self.umax,
            self.smin,
            self.smax,
            self.u32min,
            self.u32max,
            self.s32min,
            self.s32max,
        )

    def contains(self, other: Range) -> bool:
        """Whether every number that `other` may be, this may be (kernel: range_within(), tnum_in())."""
        return (
            self.umin <= other.umin
            and self.umax >= other.umax
            and self.smin <= other.smin
            and self.smax >= other.smax
            and self.u32min <= other.u32min
            and self.u32max >= other.u32max
            and self.s32min <= other.s32min
            and self.s32max >= other.s32max
            and tnum.contains(self.bits, other.bits)
        )

    def is_const32(self) -> bool:
        return not self.bits[1] & M32


_ranges: dict[Key, Range] = {}
_constants: dict[int, Range] = {}


def range_of(b: Bounds) -> Range:
    """The range with these bounds."""
    key = (b.bits, b.umin, b.umax, b.smin, b.smax, b.u32min, b.u32max, b.s32min, b.s32max)
    found = _ranges.get(key)
    if found is None:
        found = _ranges[key] = Range(key)
    return found


def sane_range_of(b: Bounds) -> Range:
    """The range with these bounds; without any if they contradict each other (kernel: reg_bounds_sanity_check())."""
    if not b.is_sane():
        b.forget()
    return range_of(b)


def constant(value: int) -> Range:
    """One number; the low 64 bits of `value`."""
    value &= M64
    found = _constants.get(value)
    if found is None:
        signed, low, low_signed = s64(value), value & M32, s32(value)
        key = ((value, 0), value, value, signed, signed, low, low, low_signed, low_signed)
        found = _ranges.get(key)
        if found is None:
            found = _ranges[key] = Range(key)
        _constants[value] = found
    return found


def unbounded() -> Bounds:
    return Bounds(tnum.UNKNOWN, 0, M64, S64_MIN, S64_MAX, 0, M32, S32_MIN, S32_MAX)


UNKNOWN: Final = range_of(unbounded())
ZERO: Final = constant(0)


def forget_unused() -> None:
    """Between two verifications: keep the tables from growing without end. The ranges above stay what they are."""
    if len(_ranges) > _MOST_RANGES:
        _ranges.clear()
        _constants.clear()
        for kept in (UNKNOWN, ZERO):
            b = kept.bounds()
            _ranges[(b.bits, b.umin, b.umax, b.smin, b.smax, b.u32min, b.u32max, b.s32min, b.s32max)] = kept
        _constants[0] = ZERO
        _truncated.clear()
        _extended.clear()


_truncated: dict[tuple[Range, int], Range] = {}
_extended: dict[tuple[Range, int], Range] = {}


def truncate(a: Range, size: int) -> Range:
    """The low `size` bytes (1, 2 or 4), zero-extended (kernel: coerce_reg_to_size())."""
    found = _truncated.get((a, size))
    if found is None:
        found = _truncated[a, size] = _truncate(a, size)
    return found


def _truncate(a: Range, size: int) -> Range:
    b = a.bounds()
    mask = (1 << 8 * size) - 1
    b.bits = b.bits[0] & mask, b.bits[1] & mask
    if b.umin & ~mask == b.umax & ~mask:
        b.umin &= mask
        b.umax &= mask
    else:
        b.umin, b.umax = 0, mask
    b.smin, b.smax = b.umin, b.umax
    if size < 4:
        b.forget32()
    b.sync()
    return sane_range_of(b)


def extend_sign(a: Range, size: int) -> Range:
    """The low `size` bytes (1, 2 or 4), sign-extended to 64 bits (kernel: coerce_reg_to_size_sx())."""
    found = _extended.get((a, size))
    if found is None:
        found = _extended[a, size] = _extend_sign(a, size)
    return found


def _signed(value: int, size: int) -> int:
    sign = 1 << 8 * size - 1
    return ((value & (sign << 1) - 1) ^ sign) - sign


def _extend_sign(a: Range, size: int) -> Range:
    if a.is_const:
        return constant(_signed(a.value, size))
    b = a.bounds()
    bits = 8 * size
    if (b.smax & M64) >> bits == (b.smin & M64) >> bits:
        high, low = _signed(b.smax, size), _signed(b.smin, size)
        high, low = max(high, low), min(high, low)
        if (high >= 0) == (low >= 0):
            b.smin, b.smax = low, high
            b.s32min, b.s32max = s32(low), s32(high)
            b.umin, b.umax = low & M64, high & M64
            b.u32min, b.u32max = low & M32, high & M32
            b.bits = tnum.between(low & M64, high & M64)
            return sane_range_of(b)
    half = 1 << bits - 1
    b.smin = b.s32min = -half
    b.smax = b.s32max = half - 1
    b.umin, b.umax, b.u32min, b.u32max = 0, M64, 0, M32
    b.bits = tnum.UNKNOWN
    return sane_range_of(b)


def extend_sign32(a: Range, size: int) -> Range:
    """The low `size` bytes (1 or 2), sign-extended to 32 bits and zero-extended to 64.

    kernel: coerce_subreg_to_size_sx(), zext_32_to_64().
    """
    found = _extended.get((a, -size))
    if found is None:
        b = a.bounds()
        _extend_subreg(b, size)
        b.extend32()
        b.sync()
        found = _extended[a, -size] = sane_range_of(b)
    return found


def _extend_subreg(b: Bounds, size: int) -> None:
    if not b.bits[1]:
        value = _signed(b.bits[0], size)
        b.bits = value & M64, 0
        b.s32min = b.s32max = value
        b.u32min = b.u32max = value & M32
        return
    bits = 8 * size
    if (b.s32max & M32) >> bits == (b.s32min & M32) >> bits:
        high, low = _signed(b.s32max, size), _signed(b.s32min, size)
        high, low = max(high, low), min(high, low)
        if (high >= 0) == (low >= 0):
            b.s32min, b.s32max = low, high
            b.u32min, b.u32max = low & M32, high & M32
            b.bits = tnum.subreg(tnum.between(low & M64, high & M64))
            return
    half = 1 << bits - 1
    b.s32min, b.s32max, b.u32min, b.u32max = -half, half - 1, 0, M32
    b.bits = 0, M32


def low32(a: Range) -> Range:
    """The low 32 bits, zero-extended (kernel: zext_32_to_64(), reg_bounds_sync())."""
    found = _truncated.get((a, 0))
    if found is None:
        b = a.bounds()
        b.extend32()
        b.sync()
        found = _truncated[a, 0] = sane_range_of(b)
    return found


def narrowed(a: Range, low: int, high: int, *, low32: int | None = None, high32: int | None = None) -> Range:
    """`a`, known to be from `low` to `high`, signed, and its low half too (kernel: __mark_reg_s32_range())."""
    b = a.bounds()
    b.s32min = max(b.s32min, low if low32 is None else low32)
    b.s32max = min(b.s32max, high if high32 is None else high32)
    b.smin, b.smax = max(b.smin, low), min(b.smax, high)
    b.sync()
    return sane_range_of(b)
