"""What a comparison of two numbers tells: whether it is decided, and what is known of both on either side of it.

kernel: kernel/bpf/verifier.c, is_scalar_branch_taken(), regs_refine_cond_op(), reg_set_min_max().
"""

from __future__ import annotations

from collections.abc import Callable

from routebpf.verifier import tnum
from routebpf.verifier.bounds import Bounds, s32, s64
from routebpf.verifier.scalar import Range, sane_range_of
from routebpf.verifier.tnum import M32, M64

FLIPPED = {
    "==": "==", "!=": "!=", "&": "&", ">=": "<=", ">": "<", "<=": ">=", "<": ">",
    "s>=": "s<=", "s>": "s<", "s<=": "s>=", "s<": "s>",
}  # fmt: skip
"""`a operator b` as `b flipped a`."""
_REVERSED = {
    "==": "!=", "!=": "==", "&": "!&", ">=": "<", ">": "<=", "<=": ">", "<": ">=",
    "s>=": "s<", "s>": "s<=", "s<=": "s>", "s<": "s>=",
}  # fmt: skip
_MOST_RESULTS = 200_000
Sides = tuple[Range, Range, Range, Range]


class _Numbers:
    """A range as a comparison of its width sees it."""

    __slots__ = ("bits", "smax", "smin", "umax", "umin")

    def __init__(self, a: Range, wide: bool) -> None:
        if wide:
            self.bits, self.umin, self.umax, self.smin, self.smax = a.bits, a.umin, a.umax, a.smin, a.smax
        else:
            self.bits = tnum.subreg(a.bits)
            self.umin, self.umax, self.smin, self.smax = a.u32min, a.u32max, a.s32min, a.s32max


def _are_equal(a: Range, b: Range, wide: bool) -> bool | None:
    x, y = _Numbers(a, wide), _Numbers(b, wide)
    if not x.bits[1] and not y.bits[1]:
        return x.bits[0] == y.bits[0]
    if not tnum.overlap(x.bits, y.bits) or x.umin > y.umax or x.umax < y.umin or x.smin > y.smax or x.smax < y.smin:
        return False
    if wide and (a.u32min > b.u32max or a.u32max < b.u32min or a.s32min > b.s32max or a.s32max < b.s32min):
        return False
    return None


def _share_bits(a: Range, b: Range, wide: bool) -> bool | None:
    x, y = _Numbers(a, wide).bits, _Numbers(b, wide).bits
    if y[1]:
        x, y = y, x
    if y[1]:
        return None
    if x[0] & ~x[1] & y[0]:
        return True
    return None if (x[0] | x[1]) & y[0] else False


def _is_above(low1: int, high1: int, low2: int, high2: int) -> bool | None:
    """1 > 2"""
    return True if low1 > high2 else False if high1 <= low2 else None


def _is_not_below(low1: int, high1: int, low2: int, high2: int) -> bool | None:
    """1 >= 2"""
    return True if low1 >= high2 else False if high1 < low2 else None


_ORDERS: dict[str, Callable[[int, int, int, int], bool | None]] = {">": _is_above, ">=": _is_not_below}
_results: dict[tuple[Range, Range, str, bool], bool | None] = {}
_sides: dict[tuple[Range, Range, str, bool, bool], Sides] = {}


def is_taken(a: Range, b: Range, operator: str, wide: bool) -> bool | None:
    """Whether `a operator b` holds, or None if it may or may not."""
    key = (a, b, operator, wide)
    if key in _results:
        return _results[key]
    if len(_results) > _MOST_RESULTS:
        _results.clear()
    answer = _results[key] = _decide(a, b, operator, wide)
    return answer


def _decide(a: Range, b: Range, operator: str, wide: bool) -> bool | None:
    if operator == "==":
        return _are_equal(a, b, wide)
    if operator == "!=":
        equal = _are_equal(a, b, wide)
        return None if equal is None else not equal
    if operator == "&":
        return _share_bits(a, b, wide)
    if operator.endswith(("<", "<=")):
        a, b, operator = b, a, FLIPPED[operator]
    x, y = _Numbers(a, wide), _Numbers(b, wide)
    order = _ORDERS[operator.removeprefix("s")]
    if operator.startswith("s"):
        return order(x.smin, x.smax, y.smin, y.smax)
    return order(x.umin, x.umax, y.umin, y.umax)


def refine(a: Range, b: Range, operator: str, wide: bool, *, is_same: bool = False) -> Sides:
    """(a, b where `a operator b` holds; a, b where it does not). `is_same`: both are of one register."""
    key = (a, b, operator, wide, is_same)
    found = _sides.get(key)
    if found is None:
        if len(_sides) > _MOST_RESULTS:
            _sides.clear()
        found = _sides[key] = (
            *_side(a, b, operator, wide, is_same),
            *_side(a, b, _REVERSED[operator], wide, is_same),
        )
    return found


def _side(a: Range, b: Range, operator: str, wide: bool, is_same: bool) -> tuple[Range, Range]:
    x = a.bounds()
    y = x if is_same else b.bounds()
    if operator.endswith((">", ">=")):
        _REFINE[FLIPPED[operator]](y, x, wide)
    else:
        _REFINE[operator](x, y, wide)
    x.sync()
    y.sync()
    return sane_range_of(x), sane_range_of(y)


def _equal(x: Bounds, y: Bounds, wide: bool) -> None:
    if wide:
        x.umin = y.umin = max(x.umin, y.umin)
        x.umax = y.umax = min(x.umax, y.umax)
        x.smin = y.smin = max(x.smin, y.smin)
        x.smax = y.smax = min(x.smax, y.smax)
        x.bits = y.bits = tnum.intersect(x.bits, y.bits)
        return
    x.u32min = y.u32min = max(x.u32min, y.u32min)
    x.u32max = y.u32max = min(x.u32max, y.u32max)
    x.s32min = y.s32min = max(x.s32min, y.s32min)
    x.s32max = y.s32max = min(x.s32max, y.s32max)
    low = tnum.intersect(tnum.subreg(x.bits), tnum.subreg(y.bits))
    x.bits, y.bits = tnum.with_subreg(x.bits, low), tnum.with_subreg(y.bits, low)


def _constant_last(x: Bounds, y: Bounds, wide: bool) -> tuple[Bounds, int] | None:
    """(the other one, the number) if one of them is a number."""
    mask = M64 if wide else M32
    if y.bits[1] & mask:
        x, y = y, x
    return None if y.bits[1] & mask else (x, y.bits[0] & mask)


def _not_equal(x: Bounds, y: Bounds, wide: bool) -> None:
    found = _constant_last(x, y, wide)
    if found is None:
        return
    x, value = found
    if wide:
        x.umin += x.umin == value
        x.umax -= x.umax == value
        x.smin += x.smin == s64(value)
        x.smax -= x.smax == s64(value)
    else:
        x.u32min += x.u32min == value
        x.u32max -= x.u32max == value
        x.s32min += x.s32min == s32(value)
        x.s32max -= x.s32max == s32(value)


def _any_bit(x: Bounds, y: Bounds, wide: bool) -> None:
    found = _constant_last(x, y, wide)
    if found is not None and found[1].bit_count() == 1:
        x, value = found
        x.bits = tnum.or_(x.bits, (value, 0))


def _no_bit(x: Bounds, y: Bounds, wide: bool) -> None:
    found = _constant_last(x, y, wide)
    if found is not None:
        x, value = found
        x.forget()
        if wide:
            x.bits = tnum.and_(x.bits, (~value & M64, 0))
        else:
            x.bits = tnum.with_subreg(x.bits, tnum.and_(tnum.subreg(x.bits), (~value & M64, 0)))


def _less_equal(x: Bounds, y: Bounds, wide: bool) -> None:
    if wide:
        x.umax, y.umin = min(x.umax, y.umax), max(x.umin, y.umin)
    else:
        x.u32max, y.u32min = min(x.u32max, y.u32max), max(x.u32min, y.u32min)


def _less(x: Bounds, y: Bounds, wide: bool) -> None:
    if wide:
        x.umax, y.umin = min(x.umax, y.umax - 1 & M64), max(x.umin + 1 & M64, y.umin)
    else:
        x.u32max, y.u32min = min(x.u32max, y.u32max - 1 & M32), max(x.u32min + 1 & M32, y.u32min)


def _signed_less_equal(x: Bounds, y: Bounds, wide: bool) -> None:
    if wide:
        x.smax, y.smin = min(x.smax, y.smax), max(x.smin, y.smin)
    else:
        x.s32max, y.s32min = min(x.s32max, y.s32max), max(x.s32min, y.s32min)


def _signed_less(x: Bounds, y: Bounds, wide: bool) -> None:
    if wide:
        x.smax, y.smin = min(x.smax, s64(y.smax - 1)), max(s64(x.smin + 1), y.smin)
    else:
        x.s32max, y.s32min = min(x.s32max, s32(y.s32max - 1)), max(s32(x.s32min + 1), y.s32min)


_REFINE: dict[str, Callable[[Bounds, Bounds, bool], None]] = {
    "==": _equal,
    "!=": _not_equal,
    "&": _any_bit,
    "!&": _no_bit,
    "<=": _less_equal,
    "<": _less,
    "s<=": _signed_less_equal,
    "s<": _signed_less,
}
