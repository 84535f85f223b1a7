"""Text: bpf_strncmp, bpf_strtol, bpf_strtoul. kernel: kernel/bpf/helpers.c, lib/kstrtox.c."""

from __future__ import annotations

from routebpf.runtime.ctype import is_space
from routebpf.runtime.errno_values import EINVAL, ERANGE
from routebpf.runtime.memory import load8, load64, low32, store64, udiv, ugt
from routebpf.runtime.native import native

_BASE_MASK = 0x1F  # BPF_STRTOX_BASE_MASK: the flags are the base, 0 (as the text says), 8, 10 or 16
_MAX_DIGITS = 63  # more are not read
_ZERO, _MINUS, _LETTER_x, _LOWER_CASE = 0x30, 0x2D, 0x78, 0x20
_NO_DIGIT = 16


@native
def bpf_strncmp(cpu: int, text: int, size: int, other: int) -> int:
    """-1, 0 or 1: how at most `size` bytes compare with the text at `other`."""
    end = text + low32(size)
    while text < end:
        left = load8(text)
        right = load8(other)
        if left != right:
            return -1 if left < right else 1
        if left == 0:
            return 0
        text += 1
        other += 1
    return 0


@native
def bpf_strtol(cpu: int, text: int, size: int, flags: int, result: int) -> int:
    """Put the number at the start of the text into 64 bits at `result`: how many bytes it takes.

    -EINVAL for a wrong base, another flag, or no digit; -ERANGE for a number beyond 64 bits. Then the result is 0.
    """
    taken = parse(text, size, flags, result)
    if taken < 0:
        return taken
    value = load64(result)
    if is_negative(text, size):
        value = -value
        if value > 0:
            store64(result, 0)
            return -ERANGE
        store64(result, value)
    elif value < 0:
        store64(result, 0)
        return -ERANGE
    return taken


@native
def bpf_strtoul(cpu: int, text: int, size: int, flags: int, result: int) -> int:
    """The same for an unsigned number: -EINVAL for a negative one."""
    taken = parse(text, size, flags, result)
    if taken >= 0 and is_negative(text, size):
        store64(result, 0)
        return -EINVAL
    return taken


@native
def parse(text: int, size: int, flags: int, result: int) -> int:
    """The number without its sign. kernel: __bpf_strtoull(), _parse_integer()."""
    store64(result, 0)
    base = flags & _BASE_MASK
    if flags & ~_BASE_MASK or (base != 0 and base != 8 and base != 10 and base != 16):
        return -EINVAL
    end = text + size
    at = skip_space(text, end)
    if at < end and load8(at) == _MINUS:
        at += 1
    if at == end:
        return -EINVAL
    end = min(end, at + _MAX_DIGITS)
    if base == 0:
        base = 10
        if load8(at) == _ZERO:
            base = 16 if has_hex_prefix(at, end) and at + 2 < end and digit_at(at + 2) < 16 else 8
    if base == 16 and has_hex_prefix(at, end):
        at += 2
    first = at
    value = 0
    overflow = 0
    while at < end and digit_at(at) < base:
        digit = digit_at(at)
        if ugt(value, udiv(-1 - digit, base)):
            overflow = 1
        value = value * base + digit
        at += 1
    if overflow:
        return -ERANGE
    if at == first:
        return -EINVAL
    store64(result, value)
    return at - text


@native
def skip_space(at: int, end: int) -> int:
    while at < end and is_space(load8(at)):
        at += 1
    return at


@native
def is_negative(text: int, size: int) -> int:
    """Whether the number that was parsed has a minus sign."""
    return 1 if load8(skip_space(text, text + size)) == _MINUS else 0


@native
def has_hex_prefix(at: int, end: int) -> int:
    """Whether the text goes on with 0x."""
    if at + 1 >= end or load8(at) != _ZERO:
        return 0
    return 1 if load8(at + 1) | _LOWER_CASE == _LETTER_x else 0


@native
def digit_at(at: int) -> int:
    """The value of a digit in base 16, 16 for any other character."""
    character = load8(at)
    if 0x30 <= character <= 0x39:
        return character - _ZERO
    letter = character | _LOWER_CASE
    return letter - 0x57 if 0x61 <= letter <= 0x66 else _NO_DIGIT
