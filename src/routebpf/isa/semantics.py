"""What arithmetic and comparison compute: RFC 9669, sections 4.1 to 4.3.

Values are unsigned Python integers of 64 bits, or of 32 for the 32-bit forms. A division by zero gives 0, a remainder
by zero leaves dst, the smallest number divided by -1 is itself, and a shift counts by its low 6 (or 5) bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

MASK64 = (1 << 64) - 1
MASK32 = (1 << 32) - 1

Binary = Callable[[int, int], int]
Comparison = Callable[[int, int], bool]


def sign_extend(value: int, bits: int) -> int:
    """The low `bits` of `value` as a signed number."""
    sign = 1 << bits - 1
    return ((value & (sign << 1) - 1) ^ sign) - sign


def swap_bytes(value: int, bits: int) -> int:
    """The low `bits` (16, 32, 64) of `value`, in the other byte order; the rest is zero."""
    size = bits // 8
    return int.from_bytes((value & (1 << bits) - 1).to_bytes(size, "little"), "big")


def truncate(value: int, bits: int) -> int:
    """The low `bits` of `value`; the rest is zero."""
    return value & (1 << bits) - 1


# By the operator of `Kind.END`, on a little-endian machine.
BYTE_ORDER: dict[str, Binary] = {"le": truncate, "be": swap_bytes, "bswap": swap_bytes}


def _arithmetic(bits: int) -> dict[str, Binary]:
    mask = (1 << bits) - 1
    count = bits - 1

    def divide_signed(a: int, b: int) -> int:
        a, b = sign_extend(a, bits), sign_extend(b, bits)
        if b == 0:
            return 0
        quotient = abs(a) // abs(b)
        return (quotient if (a < 0) == (b < 0) else -quotient) & mask

    def remainder_signed(a: int, b: int) -> int:
        dividend, divisor = sign_extend(a, bits), sign_extend(b, bits)
        if divisor == 0:
            return a
        remainder = abs(dividend) % abs(divisor)
        return (-remainder if dividend < 0 else remainder) & mask

    return {
        "+=": lambda a, b: (a + b) & mask,
        "-=": lambda a, b: (a - b) & mask,
        "*=": lambda a, b: (a * b) & mask,
        "/=": lambda a, b: a // b if b else 0,
        "%=": lambda a, b: a % b if b else a,
        "s/=": divide_signed,
        "s%=": remainder_signed,
        "|=": operator.or_,
        "&=": operator.and_,
        "^=": operator.xor,
        "<<=": lambda a, b: (a << (b & count)) & mask,
        ">>=": lambda a, b: a >> (b & count),
        "s>>=": lambda a, b: (sign_extend(a, bits) >> (b & count)) & mask,
    }


def _signed(compare: Comparison, bits: int) -> Comparison:
    # Flipping the sign bit maps signed order to unsigned order.
    sign = 1 << bits - 1
    return lambda a, b: compare(a ^ sign, b ^ sign)


def _comparisons(bits: int) -> dict[str, Comparison]:
    table: dict[str, Comparison] = {
        "==": operator.eq,
        "!=": operator.ne,
        ">": operator.gt,
        ">=": operator.ge,
        "<": operator.lt,
        "<=": operator.le,
        "&": lambda a, b: bool(a & b),
    }
    for text in (">", ">=", "<", "<="):
        table["s" + text] = _signed(table[text], bits)
    return table


# By the kernel's operator; operands and result fit the width.
ARITHMETIC64 = _arithmetic(64)
ARITHMETIC32 = _arithmetic(32)
COMPARISONS64 = _comparisons(64)
COMPARISONS32 = _comparisons(32)
