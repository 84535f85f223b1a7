"""The first pass over a format: is it one that programs may use, and its arguments as the second pass takes them.

kernel: kernel/bpf/helpers.c, bpf_bprintf_prepare(). The arguments become a string of bytes: numbers aligned to 4, text
with its zero byte. The second pass (`text_format`) walks it, so a format that it reads otherwise gives the kernel's
text here, too.
"""

from __future__ import annotations

from routebpf.runtime.ctype import is_digit, is_punctuation, is_space
from routebpf.runtime.errno_values import EINVAL, ENOSPC
from routebpf.runtime.memory import fill, load8, load64, stack, store8, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.probe import probe
from routebpf.runtime.text_output import HEX, SMALL, put, put_number

ARGUMENT_BYTES = 512  # MAX_BPRINTF_BIN_ARGS
ROOM_BYTES = ARGUMENT_BYTES + 128  # and zeros behind, for a second pass that reads more than there is
MAX_ARGUMENTS = 12  # MAX_BPRINTF_VARARGS

# What a conversion takes from its argument. As stored: 4 bytes, 8 bytes, one byte, text.
INT, LONG, CHARACTER, STRING, USER_STRING, SYMBOL, ADDRESS = range(1, 8)

PERCENT, PLUS, MINUS, DOT, COLON, ZERO, SPACE = 0x25, 0x2B, 0x2D, 0x2E, 0x3A, 0x30, 0x20
LETTER_c, LETTER_d, LETTER_i, LETTER_k, LETTER_l = 0x63, 0x64, 0x69, 0x6B, 0x6C
LETTER_p, LETTER_s, LETTER_u, LETTER_x = 0x70, 0x73, 0x75, 0x78
LETTER_B, LETTER_I, LETTER_K, LETTER_S, LETTER_X = 0x42, 0x49, 0x4B, 0x53, 0x58


@native
def prepare(text: int, text_size: int, values: int, count: int, room: int) -> int:
    """Check a format of at most `text_size` bytes and put its `count` 64-bit values into `room` (ROOM_BYTES).

    0; -EINVAL for a format that is not allowed, or with fewer values than it takes; -ENOSPC where they do not fit.
    """
    end = text
    while end < text + text_size and load8(end) != 0:
        end += 1
    if end == text + text_size:
        return -EINVAL
    fill(room + ARGUMENT_BYTES, 0, ROOM_BYTES - ARGUMENT_BYTES)
    free = room
    used = 0
    while text < end:
        character = load8(text)
        if character < 0x80 and (character == 0x7F or (character < SPACE and not is_space(character))):
            return -EINVAL
        text += 1
        if character != PERCENT:
            continue
        if load8(text) == PERCENT:
            text += 1
            continue
        if used >= count:
            return -EINVAL
        text = after_width(text)
        found = conversion(text)
        if found == 0:
            return -EINVAL
        free = store_argument(found & 0xFF, text, load64(values + used * 8), free, room + ARGUMENT_BYTES)
        if free < 0:
            return free
        text += found >> 8
        used += 1
    return 0


@native
def after_width(text: int) -> int:
    """Where the flags and width that start at `text` end."""
    character = load8(text)
    while character == ZERO or character == PLUS or character == MINUS or character == SPACE:
        text += 1
        character = load8(text)
    while is_digit(load8(text)):
        text += 1
    return text


@native
def conversion(text: int) -> int:
    """What the conversion at `text` takes, and its length << 8. 0 for one that is not allowed."""
    character = load8(text)
    if character == LETTER_p:
        return pointer_conversion(text)
    if character == LETTER_s:
        return STRING | 1 << 8 if may_follow(load8(text + 1)) else 0
    if character == LETTER_c:
        return CHARACTER | 1 << 8
    kind = INT
    length = 1
    while character == LETTER_l and length < 3:
        kind = LONG
        character = load8(text + length)
        length += 1
    if character == LETTER_d or character == LETTER_i or character == LETTER_u:
        return kind | length << 8
    if character == LETTER_x or character == LETTER_X:
        return kind | length << 8
    return 0


@native
def may_follow(character: int) -> int:
    """Whether a conversion that letters could extend may end before that character."""
    return 1 if character == 0 or is_space(character) or is_punctuation(character) else 0


@native
def pointer_conversion(text: int) -> int:
    """The same for one that starts with p."""
    first = load8(text + 1)
    second = load8(text + 2) if first != 0 else 0
    if may_follow(first):
        return LONG | 1 << 8
    if (first == LETTER_k or first == LETTER_u) and second == LETTER_s:
        if not may_follow(load8(text + 3)):
            return 0
        return (STRING if first == LETTER_k else USER_STRING) | 3 << 8
    if first == LETTER_K or first == LETTER_x or first == LETTER_s or first == LETTER_S:
        return LONG | 2 << 8
    if first == LETTER_B:
        return SYMBOL | 2 << 8
    if (first == LETTER_i or first == LETTER_I) and (second == ZERO + 4 or second == ZERO + 6):
        return ADDRESS | 3 << 8
    return 0


@native
def store_argument(kind: int, text: int, value: int, free: int, end: int) -> int:
    """Put one value at `free`: where the next goes, or -ENOSPC. `text` is the conversion."""
    if kind == INT or kind == LONG:
        size = 4 if kind == INT else 8
        free = (free + 3) & ~3
        if end - free < size:
            return -ENOSPC
        if kind == INT:
            store32(free, value)
        else:
            store64(free, value)
        return free + size
    if kind == ADDRESS:
        return store_address(load8(text + 1), load8(text + 2) - ZERO, value, free, end)
    if kind == SYMBOL:
        return min(end, put_symbol(free, end - 1, value) + 1) if free < end else end
    if free == end:
        return -ENOSPC
    if kind == CHARACTER:
        store8(free, value)
        return free + 1
    if kind == STRING:
        return store_string(value, free, end)
    store8(free, 0)  # a string of user space, and no process runs here
    return free + 1


@native
def store_string(source: int, free: int, end: int) -> int:
    """Text up to its zero byte, cut off where the room ends; none where it cannot be read."""
    there = probe(free, source, end - free)
    at = free
    while at < free + there:
        if load8(at) == 0:
            return at + 1
        at += 1
    if at == end:
        store8(end - 1, 0)
        return end
    store8(free, 0)
    return free + 1


@native
def put_symbol(out: int, end: int, value: int) -> int:
    """The name of a kernel function: none has a name here, and the kernel then writes the address. With a zero byte."""
    out = put(out, end, ZERO)
    out = put_number(put(out, end, LETTER_x), end, value, HEX | SMALL, -1)
    store8(min(out, end), 0)
    return out


@native
def store_address(style: int, version: int, source: int, free: int, end: int) -> int:
    """An IPv4 or IPv6 address as text: %pI4 1.2.3.4, %pi4 001.002.003.004, %pI6 in full with colons, %pi6 without."""
    size = 4 if version == 4 else 16
    if end - free < size:
        return -ENOSPC
    address = stack(16)
    if probe(address, source, size) != size:
        fill(address, 0, size)
    out = free
    last = end - 1
    for index in range(size):
        byte = load8(address + index)
        if version == 4:
            out = put(out, last, DOT) if index else out
            out = put_decimal_byte(out, last, byte, 1 if style == LETTER_i else 0)
        else:
            out = put(out, last, COLON) if index and index % 2 == 0 and style == LETTER_I else out
            out = put_hex_digit(put_hex_digit(out, last, byte >> 4), last, byte & 15)
    store8(min(out, last), 0)
    return min(end, out + 1)


@native
def put_decimal_byte(out: int, end: int, byte: int, in_full: int) -> int:
    """One to three digits; always three where it is to be `in_full`."""
    if byte >= 100 or in_full:
        out = put(out, end, ZERO + byte // 100)
    if byte >= 10 or in_full:
        out = put(out, end, ZERO + byte // 10 % 10)
    return put(out, end, ZERO + byte % 10)


@native
def put_hex_digit(out: int, end: int, digit: int) -> int:
    return put(out, end, (ZERO if digit < 10 else LETTER_c - 12) + digit)
