"""Writing text into memory that may be too small: what does not fit is counted and not written.

Each function takes where to write (`out`) and where the memory ends, and gives where the next byte would go.
kernel: lib/vsprintf.c, number(), string(), widen_string().
"""

from __future__ import annotations

from routebpf.runtime.memory import copy, fill, stack, store8, udiv, urem
from routebpf.runtime.native import native

# What a conversion asks for.
SIGNED, LEFT, PLUS_SIGN, SPACE_SIGN, ZERO_PAD, SMALL, HEX = (1 << bit for bit in range(7))
_SPACE, _PLUS, _MINUS, _ZERO = 0x20, 0x2B, 0x2D, 0x30
_MAX_DIGITS = 24


@native
def put(out: int, end: int, character: int) -> int:
    """One byte."""
    if out < end:
        store8(out, character)
    return out + 1


@native
def put_text(out: int, end: int, source: int, size: int) -> int:
    """`size` bytes."""
    if out < end:
        copy(out, source, min(size, end - out))
    return out + size


@native
def pad(out: int, end: int, character: int, count: int) -> int:
    """A byte `count` times; none if that is negative."""
    if count <= 0:
        return out
    if out < end:
        fill(out, character, min(count, end - out))
    return out + count


@native
def put_padded(out: int, end: int, source: int, size: int, flags: int, width: int) -> int:
    """`size` bytes, with spaces to make them as wide as `width`."""
    if flags & LEFT:
        return pad(put_text(out, end, source, size), end, _SPACE, width - size)
    return put_text(pad(out, end, _SPACE, width - size), end, source, size)


@native
def put_number(out: int, end: int, value: int, flags: int, width: int) -> int:
    """A 64-bit number, as `flags` say."""
    sign = 0
    if flags & SIGNED:
        if value < 0:
            sign = _MINUS
            value = -value
        elif flags & PLUS_SIGN:
            sign = _PLUS
        elif flags & SPACE_SIGN:
            sign = _SPACE
    digits = stack(_MAX_DIGITS)
    first = write_digits(digits + _MAX_DIGITS, value, flags)
    count = digits + _MAX_DIGITS - first
    padding = width - count - (1 if sign else 0)
    if not flags & (LEFT | ZERO_PAD):
        out = pad(out, end, _SPACE, padding)
    if sign:
        out = put(out, end, sign)
    if not flags & LEFT and flags & ZERO_PAD:
        out = pad(out, end, _ZERO, padding)
    out = put_text(out, end, first, count)
    if flags & LEFT:
        out = pad(out, end, _SPACE, padding)
    return out


@native
def write_digits(end: int, value: int, flags: int) -> int:
    """Write the digits of an unsigned number so that they end at `end`: where they start."""
    base = 16 if flags & HEX else 10
    letters = (0x61 if flags & SMALL else 0x41) - 10
    while True:
        digit = urem(value, base)
        value = udiv(value, base)
        end -= 1
        store8(end, digit + (letters if digit > 9 else _ZERO))
        if value == 0:
            return end
