"""The bounds of a scalar while they are computed: eight of them and a tnum, each learning from the others.

kernel: kernel/bpf/verifier.c, reg_bounds_sync() and what it calls.
"""

from __future__ import annotations

from routebpf.verifier import tnum
from routebpf.verifier.tnum import M32, M64

S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1
S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
_SIGN32, _SIGN = 1 << 31, 1 << 63


def s32(value: int) -> int:
    """The low 32 bits as a signed number."""
    return ((value & M32) ^ 0x80000000) - 0x80000000


def s64(value: int) -> int:
    """The low 64 bits as a signed number."""
    return ((value & M64) ^ (1 << 63)) - (1 << 63)


class Bounds:
    """What is known of a scalar: `bits` (a tnum), and bounds as unsigned and signed 64 and 32 bits."""

    __slots__ = ("bits", "s32max", "s32min", "smax", "smin", "u32max", "u32min", "umax", "umin")

    def __init__(
        self,
        bits: tnum.Tnum,
        umin: int,
        umax: int,
        smin: int,
        smax: int,
        u32min: int,
        u32max: int,
        s32min: int,
        s32max: int,
    ) -> None:
        self.bits = bits
        self.umin = umin
        self.umax = umax
        self.smin = smin
        self.smax = smax
        self.u32min = u32min
        self.u32max = u32max
        self.s32min = s32min
        self.s32max = s32max

    def forget64(self) -> None:
        """kernel: __mark_reg64_unbounded()."""
        self.umin, self.umax, self.smin, self.smax = 0, M64, S64_MIN, S64_MAX

    def forget32(self) -> None:
        """kernel: __mark_reg32_unbounded()."""
        self.u32min, self.u32max, self.s32min, self.s32max = 0, M32, S32_MIN, S32_MAX

    def forget(self) -> None:
        """kernel: __mark_reg_unbounded(). The tnum stays."""
        self.forget64()
        self.forget32()

    def set_known(self, value: int) -> None:
        """kernel: __mark_reg_known()."""
        self.bits = value, 0
        self.umin = self.umax = value
        self.smin = self.smax = s64(value)
        self.u32min = self.u32max = value & M32
        self.s32min = self.s32max = s32(value)

    def set_known32(self, value: int) -> None:
        """kernel: __mark_reg32_known()."""
        self.bits = tnum.with_subreg(self.bits, (value, 0))
        self.u32min = self.u32max = value & M32
        self.s32min = self.s32max = s32(value)

    def sync(self) -> None:
        """kernel: reg_bounds_sync(). Deduction is done three times there; what changes nothing need not be repeated."""
        if self._is_known():
            return
        self.update()
        if self._deduce() and self._deduce():
            self._deduce()
        self._learn_bits()
        self.update()

    def _is_known(self) -> bool:
        """One number, and every bound says so."""
        value, mask = self.bits
        return (
            not mask
            and value == self.umin == self.umax
            and self.smin == self.smax == (value ^ _SIGN) - _SIGN
            and self.u32min == self.u32max == value & M32
            and self.s32min == self.s32max == ((value & M32) ^ _SIGN32) - _SIGN32
        )

    def update32(self) -> None:
        """kernel: __update_reg32_bounds()."""
        value, mask = self.bits[0] & M32, self.bits[1] & M32
        low = ((value | mask & _SIGN32) ^ _SIGN32) - _SIGN32
        high = ((value | mask & S32_MAX) ^ _SIGN32) - _SIGN32
        if low > self.s32min:
            self.s32min = low
        if high < self.s32max:
            self.s32max = high
        if value > self.u32min:
            self.u32min = value
        if value | mask < self.u32max:
            self.u32max = value | mask

    def update(self) -> None:
        """kernel: __update_reg_bounds()."""
        self.update32()
        value, mask = self.bits
        low = ((value | mask & _SIGN) ^ _SIGN) - _SIGN
        high = ((value | mask & S64_MAX) ^ _SIGN) - _SIGN
        if low > self.smin:
            self.smin = low
        if high < self.smax:
            self.smax = high
        if value > self.umin:
            self.umin = value
        if value | mask < self.umax:
            self.umax = value | mask
        if mask != M64 or self.umin >= self.umax:
            self._find_only_member()

    def _find_only_member(self) -> None:
        """One member of the tnum alone may lie in the unsigned range."""
        value, mask = self.bits
        above = tnum.following(self.bits, self.umin)
        if self.umin & ~mask == value:
            if above > self.umax:
                self.set_known(self.umin)
        elif above == value | mask or above <= self.umax < tnum.following(self.bits, above):
            self.set_known(above)

    def _deduce(self) -> bool:
        """kernel: __reg_deduce_bounds(). Whether that changed anything."""
        before = (
            *(self.umin, self.umax, self.smin, self.smax),
            *(self.u32min, self.u32max, self.s32min, self.s32max, self.bits),
        )
        self._deduce32()
        self._deduce64()
        self._deduce_mixed()
        return before != (
            *(self.umin, self.umax, self.smin, self.smax),
            *(self.u32min, self.u32max, self.s32min, self.s32max, self.bits),
        )

    def _deduce32(self) -> None:
        """kernel: __reg32_deduce_bounds(). The hottest there is: with locals, and without calls."""
        u32min, u32max, s32min, s32max = self.u32min, self.u32max, self.s32min, self.s32max
        for wide_low, wide_high in ((self.umin, self.umax), (self.smin, self.smax)):
            low, high = wide_low & M32, wide_high & M32
            signed_low, signed_high = (low ^ _SIGN32) - _SIGN32, (high ^ _SIGN32) - _SIGN32
            rounds = (wide_high >> 32) - (wide_low >> 32)
            if not rounds:
                if low <= high:
                    u32min, u32max = low if low > u32min else u32min, high if high < u32max else u32max
                fits = signed_low <= signed_high
            else:
                fits = rounds & M32 == 1 and signed_low < 0 <= signed_high
            if fits:
                s32min = signed_low if signed_low > s32min else s32min
                s32max = signed_high if signed_high < s32max else s32max
        signed_low, signed_high = (u32min & M32 ^ _SIGN32) - _SIGN32, (u32max & M32 ^ _SIGN32) - _SIGN32
        if signed_low <= signed_high:
            s32min = signed_low if signed_low > s32min else s32min
            s32max = signed_high if signed_high < s32max else s32max
        low, high = s32min & M32, s32max & M32
        if low <= high:
            u32min, u32max = low if low > u32min else u32min, high if high < u32max else u32max
        elif u32max < low:  # of a signed range around 0, only the half from 0 on is left, or only that below
            s32min, u32max = (u32min & M32 ^ _SIGN32) - _SIGN32, u32max if u32max < high else high
        elif high < u32min:
            s32max, u32min = (u32max & M32 ^ _SIGN32) - _SIGN32, u32min if u32min > low else low
        self.u32min, self.u32max, self.s32min, self.s32max = u32min, u32max, s32min, s32max

    def _deduce64(self) -> None:
        """kernel: __reg64_deduce_bounds()."""
        umin, umax = self.umin, self.umax
        signed_low, signed_high = (umin & M64 ^ _SIGN) - _SIGN, (umax & M64 ^ _SIGN) - _SIGN
        if signed_low <= signed_high:
            if signed_low > self.smin:
                self.smin = signed_low
            if signed_high < self.smax:
                self.smax = signed_high
        low, high = self.smin & M64, self.smax & M64
        if low <= high:
            if low > umin:
                self.umin = low
            if high < umax:
                self.umax = high
        elif umax < low:
            self.smin = signed_low
            self.umax = min(umax, high)
        elif high < umin:
            self.smax = signed_high
            self.umin = max(umin, low)

    def _deduce_mixed(self) -> None:
        """kernel: __reg_deduce_mixed_bounds()."""
        u32min, u32max = self.u32min, self.u32max
        low, high = self.umin & ~M32 | u32min, self.umax & ~M32 | u32max
        if low > self.umin:
            self.umin = low
        if high < self.umax:
            self.umax = high
        low, high = self.smin & ~M32 | u32min, self.smax & ~M32 | u32max
        if low > self.smin:
            self.smin = low
        if high < self.smax:
            self.smax = high
        if self.s32min >= 0 and self.smin >= S32_MIN and self.smax <= S32_MAX:
            self.smin = self.umin = self.s32min
            self.smax = self.umax = self.s32max
            self.bits = tnum.intersect(self.bits, tnum.between(self.umin & M64, self.umax & M64))

    def _learn_bits(self) -> None:
        """kernel: __reg_bound_offset()."""
        wide = tnum.intersect(self.bits, tnum.between(self.umin, self.umax))
        low = tnum.intersect(tnum.subreg(wide), tnum.between(self.u32min, self.u32max))
        self.bits = tnum.with_subreg(wide, low)

    def extend32(self) -> None:
        """The low 32 bits, zero-extended (kernel: zext_32_to_64())."""
        self.bits = tnum.subreg(self.bits)
        self.umin, self.umax = self.u32min, self.u32max
        if self.s32min >= 0 and self.s32max >= 0:
            self.smin, self.smax = self.s32min, self.s32max
        else:
            self.smin, self.smax = 0, M32

    def is_sane(self) -> bool:
        """kernel: reg_bounds_sanity_check()."""
        if self.umin > self.umax or self.smin > self.smax or self.u32min > self.u32max or self.s32min > self.s32max:
            return False
        value, mask = self.bits
        if not mask and not (self.umin == self.umax == value and self.smin == self.smax == s64(value)):
            return False
        low = value & M32
        return bool(mask & M32) or (self.u32min == self.u32max == low and self.s32min == self.s32max == s32(low))
