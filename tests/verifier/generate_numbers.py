"""Random programs that only compute: numbers of every width and sign, compared and combined, in assembler text."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

_NUMBERS = (0, 1, 2, 3, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100, 127, 128, 255, 256, 1000, 65535, 65536, 0x7FFFFFFF)
_NUMBERS += (-1, -2, -3, -8, -100, -128, -255, -32768, -65536, -0x80000000, 0x7FFFFFFE, -0x7FFFFFFF)
_OPERATORS = ("+=", "-=", "*=", "/=", "%=", "|=", "&=", "^=", "<<=", ">>=", "s>>=", "s/=", "s%=")
_COMPARISONS = ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")
_SHIFTS = {"w": (0, 1, 3, 7, 8, 16, 24, 31), "r": (0, 1, 3, 7, 8, 16, 24, 31, 32, 32, 32, 33, 40, 48, 56, 63)}
_SOURCES = (
    "r{0} = *(u32 *)(r6 +8)",
    "r{0} = *(u32 *)(r6 +8)\nr{0} <<= 32\nr{0} s>>= 40",
    "r{0} = *(s8 *)(r10 -8)",
    "r{0} = *(s16 *)(r10 -8)",
    "r{0} = *(s32 *)(r10 -8)",
    "r{0} = *(u64 *)(r10 -8)",
    "r{0} = {1}",
)
_ONE = (
    *("w{0} = w{1}", "r{0} = r{1}", "r{0} = (s8)r{1}", "r{0} = (s16)r{1}", "r{0} = (s32)r{1}", "w{0} = (s8)w{1}"),
    *(
        "w{0} = (s16)w{1}",
        "r{0} = -r{0}",
        "w{0} = -w{0}",
        "r{0} = bswap32 r{0}",
        "r{0} = be16 r{0}",
        "r{0} = le32 r{0}",
    ),
)
_SIZES = ("u64", "u32", "s32", "u16", "s16", "u8", "s8")
_REGISTERS = (2, 3, 4, 5)


def _with_constant(random: Random, a: int, _: int) -> str:
    letter, operator = random.choice("rrw"), random.choice(_OPERATORS)
    value = random.choice(_NUMBERS)
    if operator in ("<<=", ">>=", "s>>="):
        value = random.choice(_SHIFTS[letter])
    if operator in ("/=", "%=", "s/=", "s%="):
        value = value or 3
    return f"{letter}{a} {operator} {value}"


def _with_register(random: Random, a: int, b: int) -> str:
    letter = random.choice("rrw")
    return f"{letter}{a} {random.choice(_OPERATORS)} {letter}{b}"


def _of_one(random: Random, a: int, b: int) -> str:
    return random.choice(_ONE).format(a, b)


def _over_stack(random: Random, a: int, b: int) -> str:
    return f"*(u64 *)(r10 -16) = r{a}\nr{b} = *({random.choice(_SIZES)} *)(r10 -16)"


def _comparison(random: Random, a: int, b: int) -> str:
    letter = random.choice("rrw")
    other = f"{letter}{b}" if random.random() < 0.4 else random.choice(_NUMBERS)
    target = "out" if random.random() < 0.8 else "+0"
    return f"if {letter}{a} {random.choice(_COMPARISONS)} {other} goto {target}"


_MOVES: tuple[Callable[[Random, int, int], str], ...] = (
    *(_with_constant, _with_constant, _with_constant, _with_register, _with_register),
    *(_of_one, _over_stack, _comparison, _comparison),
)


def program(random: Random) -> str:
    """The text of a program."""
    lines = ["r6 = r1", *(random.choice(_SOURCES).format(one, random.choice(_NUMBERS)) for one in _REGISTERS)]
    for _ in range(random.randrange(4, 16)):
        lines.append(random.choice(_MOVES)(random, random.choice(_REGISTERS), random.choice(_REGISTERS)))
    return "\n".join([*lines, "out: r0 = 0", "exit"])
