"""The second pass over a format: text from the arguments that the first pass (`text_arguments`) stored; bpf_snprintf.

kernel: lib/vsprintf.c, bstr_printf(); kernel/bpf/helpers.c. A pointer's text (%p, %pK) is a number that stands for it
and differs from the kernel's, which differs from boot to boot; an address is never the name of a kernel function.
"""

from __future__ import annotations

from routebpf.runtime.ctype import is_digit, is_letter
from routebpf.runtime.errno_values import EINVAL
from routebpf.runtime.memory import load8, load32, load64, low32, lshr, sext32, stack, store8, store64, ult
from routebpf.runtime.native import native
from routebpf.runtime.text_arguments import (
    LETTER_K,
    LETTER_S,
    LETTER_X,
    MAX_ARGUMENTS,
    MINUS,
    PERCENT,
    PLUS,
    ROOM_BYTES,
    SPACE,
    ZERO,
    LETTER_c,
    LETTER_d,
    LETTER_i,
    LETTER_l,
    LETTER_p,
    LETTER_s,
    LETTER_x,
    prepare,
    put_symbol,
)
from routebpf.runtime.text_output import (
    HEX,
    LEFT,
    PLUS_SIGN,
    SIGNED,
    SMALL,
    SPACE_SIGN,
    ZERO_PAD,
    put,
    put_number,
    put_padded,
    put_text,
)

# A conversion as it is read, 64 bits each, and the next argument.
_FLAGS, _WIDTH, _KIND, _EXTENSION, _IS_LONG, _NEXT = range(0, 48, 8)
_SPEC_BYTES = 48
_WIDTH_LIMIT = (1 << 23) - 1  # FIELD_WIDTH_MAX
_POINTER_DIGITS = 16
_HASH = 0x1E3779B97F4A7C15  # any odd number
_LAST_ERRNO = 4095  # MAX_ERRNO
_UNLIMITED = 0xFFFFFFFF
_SYMBOL_BYTES = 24


@native
def bpf_snprintf(cpu: int, out: int, size: int, text: int, values: int, values_size: int) -> int:
    """Format `values_size` / 8 values: the bytes that it takes, with the zero byte, be there room for them or not.

    -EINVAL for a format or number of values that is not allowed, -ENOSPC for arguments of more than 512 bytes.
    """
    values_size = low32(values_size)
    if values_size % 8 or values_size > MAX_ARGUMENTS * 8 or (values_size and values == 0):
        return -EINVAL
    arguments = stack(ROOM_BYTES)
    status = prepare(text, _UNLIMITED, values, values_size // 8, arguments)
    if status < 0:
        return status
    return format_text(out, low32(size), text, arguments) + 1


@native
def format_text(out: int, size: int, text: int, arguments: int) -> int:
    """Write at most `size` bytes, the last of them zero: how many it takes without that zero."""
    spec = stack(_SPEC_BYTES)
    store64(spec + _NEXT, arguments)
    start = out
    end = out + size
    character = load8(text)
    while character != 0:
        text += 1
        if character != PERCENT:
            out = put(out, end, character)
        else:
            text = read_conversion(text, spec)
            out = put_conversion(out, end, spec)
        character = load8(text)
    if size > 0:
        store8(min(out, end - 1), 0)
    return out - start


@native
def read_conversion(text: int, spec: int) -> int:
    """Read what comes after a percent sign: where it ends. kernel: format_decode()."""
    flags = 0
    flag = flag_of(load8(text))
    while flag:
        flags |= flag
        text += 1
        flag = flag_of(load8(text))
    width = 0 if is_digit(load8(text)) else -1
    while is_digit(load8(text)):
        width = sext32(width * 10 + load8(text) - ZERO)
        text += 1
    is_long = 0
    while load8(text) == LETTER_l:
        is_long = 1
        text += 1
    kind = load8(text)
    text += 1
    store64(spec + _FLAGS, flags)
    store64(spec + _WIDTH, max(-_WIDTH_LIMIT, min(width, _WIDTH_LIMIT)))
    store64(spec + _KIND, kind)
    store64(spec + _EXTENSION, load8(text) if kind == LETTER_p else 0)
    store64(spec + _IS_LONG, is_long)
    while kind == LETTER_p and (is_digit(load8(text)) or is_letter(load8(text))):
        text += 1
    return text


@native
def flag_of(character: int) -> int:
    """What a flag asks for, 0 for any other character."""
    if character == ZERO:
        return ZERO_PAD
    if character == MINUS:
        return LEFT
    if character == PLUS:
        return PLUS_SIGN
    return SPACE_SIGN if character == SPACE else 0


@native
def put_conversion(out: int, end: int, spec: int) -> int:
    """Write the next argument as `spec` says."""
    kind = load64(spec + _KIND)
    if kind == PERCENT:
        return put(out, end, PERCENT)
    extension = load64(spec + _EXTENSION)
    flags = load64(spec + _FLAGS)
    width = load64(spec + _WIDTH)
    at = load64(spec + _NEXT)
    if kind == LETTER_c:
        store64(spec + _NEXT, at + 1)
        return put_padded(out, end, at, 1, flags, width)
    if kind == LETTER_s:
        size = length(at)
        store64(spec + _NEXT, at + size + 1)
        return put_padded(out, end, at, size, flags, width)
    if kind == LETTER_p and is_text(extension):
        if out >= end:  # the kernel neither counts it nor goes on to the next argument
            return out
        size = length(at)
        store64(spec + _NEXT, at + size + 1)
        return put_text(out, end, at, size)
    at = (at + 3) & ~3
    if kind == LETTER_p or load64(spec + _IS_LONG):
        store64(spec + _NEXT, at + 8)
        value = load64(at)
    else:
        store64(spec + _NEXT, at + 4)
        value = sext32(load32(at)) if kind == LETTER_d or kind == LETTER_i else load32(at)
    if kind == LETTER_p:
        return put_pointer(out, end, value, extension, flags, width)
    return put_number(out, end, value, flags | style_of(kind), width)


@native
def style_of(kind: int) -> int:
    """What the letter of a number asks for."""
    if kind == LETTER_d or kind == LETTER_i:
        return SIGNED
    if kind == LETTER_x:
        return HEX | SMALL
    return HEX if kind == LETTER_X else 0


@native
def is_text(extension: int) -> int:
    """Whether the first pass stored text for %p with that letter, and not the pointer."""
    if extension == LETTER_S or extension == LETTER_s or extension == LETTER_x or extension == LETTER_K:
        return 0
    return is_letter(extension)


@native
def length(text: int) -> int:
    """kernel: strlen()."""
    end = text
    while load8(end) != 0:
        end += 1
    return end - text


@native
def put_pointer(out: int, end: int, value: int, extension: int, flags: int, width: int) -> int:
    """kernel: pointer(). Null and error pointers are shown, others only by %px."""
    if extension == LETTER_s or extension == LETTER_S:
        name = stack(_SYMBOL_BYTES)
        size = put_symbol(name, name + _SYMBOL_BYTES - 1, value) - name
        return put_padded(out, end, name, size, flags, width)
    if extension != LETTER_x and ult(value - 1, -_LAST_ERRNO - 1):
        value = lshr(value * _HASH, 32)
    flags |= HEX | SMALL
    if width == -1:
        width = _POINTER_DIGITS
        flags |= ZERO_PAD
    return put_number(out, end, value, flags, width)
