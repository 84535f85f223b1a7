"""Tristate numbers: of each bit, that it is 0, 1, or not known.

A tnum is a pair (value, mask): bits set in `mask` are not known, the others are as in `value`; both unsigned 64 bits.
kernel: kernel/bpf/tnum.c, whose functions these are.
"""

from __future__ import annotations

Tnum = tuple[int, int]

M32 = (1 << 32) - 1
M64 = (1 << 64) - 1
UNKNOWN: Tnum = (0, M64)


def between(low: int, high: int) -> Tnum:
    """All of `low` to `high`, unsigned (kernel: tnum_range())."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return UNKNOWN
    delta = (1 << bits) - 1
    return low & ~delta, delta


def lshift(a: Tnum, shift: int) -> Tnum:
    return a[0] << shift & M64, a[1] << shift & M64


def rshift(a: Tnum, shift: int) -> Tnum:
    return a[0] >> shift, a[1] >> shift


def arshift(a: Tnum, shift: int, bits: int) -> Tnum:
    """Signed shift to the right of the low `bits` (32 or 64); an unknown sign bit spreads."""
    mask, sign = (1 << bits) - 1, 1 << bits - 1
    return (
        (((a[0] & mask) ^ sign) - sign) >> shift & mask,
        (((a[1] & mask) ^ sign) - sign) >> shift & mask,
    )


def add(a: Tnum, b: Tnum) -> Tnum:
    masks, values = a[1] + b[1], a[0] + b[0]
    unknown = ((masks + values) ^ values | a[1] | b[1]) & M64
    return values & ~unknown & M64, unknown


def sub(a: Tnum, b: Tnum) -> Tnum:
    difference = a[0] - b[0]
    unknown = ((difference + a[1]) ^ (difference - b[1]) | a[1] | b[1]) & M64
    return difference & ~unknown & M64, unknown


def neg(a: Tnum) -> Tnum:
    return sub((0, 0), a)


def and_(a: Tnum, b: Tnum) -> Tnum:
    value = a[0] & b[0]
    return value, (a[0] | a[1]) & (b[0] | b[1]) & ~value


def or_(a: Tnum, b: Tnum) -> Tnum:
    value = a[0] | b[0]
    return value, (a[1] | b[1]) & ~value


def xor(a: Tnum, b: Tnum) -> Tnum:
    unknown = a[1] | b[1]
    return (a[0] ^ b[0]) & ~unknown, unknown


def union(a: Tnum, b: Tnum) -> Tnum:
    """What may be `a` or `b`."""
    unknown = (a[0] ^ b[0]) | a[1] | b[1]
    return a[0] & b[0] & ~unknown, unknown


def mul(a: Tnum, b: Tnum) -> Tnum:
    total: Tnum = (0, 0)
    while a[0] or a[1]:
        if a[0] & 1:
            total = add(total, b)
        elif a[1] & 1:
            total = union(total, add(total, b))
        a, b = rshift(a, 1), lshift(b, 1)
    return total


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """What is both `a` and `b`; nonsense where nothing is."""
    unknown = a[1] & b[1]
    return (a[0] | b[0]) & ~unknown, unknown


def overlap(a: Tnum, b: Tnum) -> bool:
    """Whether a number can be both."""
    known = ~a[1] & ~b[1]
    return a[0] & known == b[0] & known


def contains(a: Tnum, b: Tnum) -> bool:
    """Whether every number that `b` may be, `a` may be (kernel: tnum_in())."""
    return not b[1] & ~a[1] and a[0] == b[0] & ~a[1]


def is_aligned(a: Tnum, size: int) -> bool:
    return not (a[0] | a[1]) & (size - 1)


def following(a: Tnum, number: int) -> int:
    """The smallest member above `number`, or else the largest member (kernel: tnum_step())."""
    value, mask = a
    if number >= value | mask:
        return value | mask
    if number < value:
        return value
    # Counting up in the unknown bits alone: the others are filled with ones, so that a carry goes through them.
    distance = number - value
    filled = distance | (1 << (distance & ~mask).bit_length()) - 1 | ~mask & M64
    return value | filled + 1 & mask


def swap(a: Tnum, size: int) -> Tnum:
    """The low `size` bytes in the opposite order."""
    mask = (1 << 8 * size) - 1
    value, unknown = ((part & mask).to_bytes(size, "little") for part in a)
    return int.from_bytes(value, "big"), int.from_bytes(unknown, "big")


def subreg(a: Tnum) -> Tnum:
    return a[0] & M32, a[1] & M32


def with_subreg(a: Tnum, low: Tnum) -> Tnum:
    """`a` with its low 32 bits from `low`."""
    return a[0] & ~M32 | low[0] & M32, a[1] & ~M32 | low[1] & M32


_DECIMAL = 0xFFFF


def text(a: Tnum) -> str:
    """As the kernel prints it (kernel: kernel/bpf/log.c, tnum_strn())."""
    if a[1]:
        return f"({a[0]:#x}; {a[1]:#x})"
    return str(a[0]) if a[0] <= _DECIMAL else f"{a[0]:#x}"
