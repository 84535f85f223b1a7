"""The bounds of a scalar while they are computed: eight of them and a tnum, each learning from the others.

kernel: kernel/bpf/verifier.c, reg_bounds_sync() and what it calls.
"""

from __future__ import annotations

from routebpf.verifier import tnum
from routebpf.verifier.tnum import M32, M64

S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1
S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1


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
        """kernel: reg_bounds_sync()."""
        self.update()
        self._deduce()
        self._deduce()
        self._deduce()
        self._learn_bits()
        self.update()

    def update32(self) -> None:
        """kernel: __update_reg32_bounds()."""
        value, mask = self.bits[0] & M32, self.bits[1] & M32
        self.s32min = max(self.s32min, s32(value | mask & 0x80000000))
        self.s32max = min(self.s32max, s32(value | mask & 0x7FFFFFFF))
        self.u32min = max(self.u32min, value)
        self.u32max = min(self.u32max, value | mask)

    def update(self) -> None:
        """kernel: __update_reg_bounds()."""
        self.update32()
        value, mask = self.bits
        self.smin = max(self.smin, s64(value | mask & (1 << 63)))
        self.smax = min(self.smax, s64(value | mask & S64_MAX))
        self.umin = max(self.umin, value)
        self.umax = min(self.umax, value | mask)
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

    def _deduce(self) -> None:
        self._deduce32()
        self._deduce64()
        self._deduce_mixed()

    def _deduce32(self) -> None:
        """kernel: __reg32_deduce_bounds()."""
        if self.umin >> 32 == self.umax >> 32:
            self._narrow32(self.umin & M32, self.umax & M32)
        if self.smin >> 32 == self.smax >> 32:
            self._narrow32(self.smin & M32, self.smax & M32)
        for low, high in ((self.umin, self.umax), (self.smin, self.smax)):
            if ((low >> 32) + 1 - (high >> 32)) & M32 == 0 and s32(low) < 0 <= s32(high):
                self.s32min = max(self.s32min, s32(low))
                self.s32max = min(self.s32max, s32(high))
        if s32(self.u32min) <= s32(self.u32max):
            self.s32min = max(self.s32min, s32(self.u32min))
            self.s32max = min(self.s32max, s32(self.u32max))
        if self.s32min & M32 <= self.s32max & M32:
            self.u32min = max(self.s32min & M32, self.u32min)
            self.u32max = min(self.s32max & M32, self.u32max)

    def _narrow32(self, low: int, high: int) -> None:
        if low <= high:
            self.u32min = max(self.u32min, low)
            self.u32max = min(self.u32max, high)
        if s32(low) <= s32(high):
            self.s32min = max(self.s32min, s32(low))
            self.s32max = min(self.s32max, s32(high))

    def _deduce64(self) -> None:
        """kernel: __reg64_deduce_bounds()."""
        if s64(self.umin) <= s64(self.umax):
            self.smin = max(self.smin, s64(self.umin))
            self.smax = min(self.smax, s64(self.umax))
        low, high = self.smin & M64, self.smax & M64
        if low <= high:
            self.umin = max(low, self.umin)
            self.umax = min(high, self.umax)
        elif self.umax < low:
            self.smin = s64(self.umin)
            self.umax = min(self.umax, high)
        elif high < self.umin:
            self.smax = s64(self.umax)
            self.umin = max(self.umin, low)

    def _deduce_mixed(self) -> None:
        """kernel: __reg_deduce_mixed_bounds()."""
        self.umin = max(self.umin, self.umin & ~M32 | self.u32min)
        self.umax = min(self.umax, self.umax & ~M32 | self.u32max)
        self.smin = max(self.smin, self.smin & ~M32 | self.u32min)
        self.smax = min(self.smax, self.smax & ~M32 | self.u32max)
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
