"""What a register or a slot of the stack holds, in words."""

from __future__ import annotations

from collections.abc import Callable

from routebpf.verifier.bounds import S64_MAX, S64_MIN
from routebpf.verifier.register import (
    AT_PKT_END,
    BASE,
    BEYOND_PKT_END,
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    MEM_PERCPU,
    MEM_RDONLY,
    MEM_RINGBUF,
    MEM_USER,
    PTR_MAYBE_NULL,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_END,
    PTR_TO_SOCK_COMMON,
    PTR_TO_STACK,
    PTR_TO_XDP_SOCK,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    Register,
    type_text,
)
from routebpf.verifier.scalar import Range
from routebpf.verifier.tnum import M32, M64

_HEX_FROM = 1 << 20  # larger numbers are shown in hexadecimal


def value_text(register: Register, struct_name: str = "") -> str:
    """What the register holds, as a phrase: "a number from 0 to 60", "a pointer into the packet, 14 bytes after data…".

    `struct_name`: of the kernel object that it points to, where it is one.
    """
    if register.type == SCALAR_VALUE:
        return number_text(register.range)
    base = register.type & BASE
    words = _WORDS[base](register) if base in _WORDS else f"a {type_text(register.type)} pointer"
    if base == PTR_TO_BTF_ID and struct_name:
        words = words.replace("a kernel object", f"struct {struct_name} of the kernel")
    if register.type & PTR_MAYBE_NULL:
        words += ", or NULL"
    return words


def number_text(r: Range) -> str:
    """A number, by the narrowest of its bounds."""
    if r.is_const:
        return f"the number {_number(r.smin)}"
    if r.umin == 0 and r.umax == M64 and r.smin == S64_MIN and r.smax == S64_MAX:
        return _of_low_bits(r) if r.u32min or r.u32max != M32 else "a number of which nothing is known"
    multiple = _multiple_text(r)
    if r.umin == r.smin and r.umax == r.smax:
        return f"a number from {_number(r.umin)} to {_number(r.umax)}{multiple}"
    if r.smin == S64_MIN and r.smax < S64_MAX:
        return f"a number that may be negative, and is at most {_number(r.smax)}{multiple}"
    if r.smin > S64_MIN:
        return f"a number from {_number(r.smin)} to {_number(r.smax)}, signed{multiple}"
    return f"a number from {_number(r.umin)} to {_number(r.umax)}, unsigned{multiple}"


def _of_low_bits(r: Range) -> str:
    return f"a number whose low 32 bits are {_number(r.u32min)} to {_number(r.u32max)}; nothing is known of the others"


def _multiple_text(r: Range) -> str:
    value, mask = r.bits
    known = ~(value | mask) & M64
    step = 1
    while known & step and step < 1 << 12:
        step <<= 1
    return f", a multiple of {step}" if step > 1 else ""


def _number(value: int) -> str:
    return str(value) if abs(value) < _HEX_FROM else f"{value:#x}"


def offset_text(register: Register) -> str:
    """How far a pointer is from where it points by its type: "14", "14 to 74", "a number of bytes not known"."""
    r = register.range
    if r.is_const:
        return _bytes(register.off + r.smin)
    low, high = r.smin, r.smax
    if low == S64_MIN or high == S64_MAX:
        return "a number of bytes that has no bound"
    return f"{_number(low + register.off)} to {_number(high + register.off)} bytes"


def _bytes(count: int) -> str:
    return f"{_number(count)} byte{'' if abs(count) == 1 else 's'}"


def _packet(register: Register) -> str:
    start = "at data" if register.range.is_const and not register.off else f"{offset_text(register)} after data"
    return f"a pointer into the packet, {start}; {_packet_known(register)}"


def _packet_known(register: Register) -> str:
    known = register.extra
    if known in (AT_PKT_END, BEYOND_PKT_END):
        return "it is known to be at the end of the packet or beyond"
    left = max(known - register.off, 0)
    if left == 0:
        return "no byte there is known to be inside the packet"
    return f"{_bytes(left)} from there on {'is' if left == 1 else 'are'} known to be inside the packet"


def _map_value(register: Register) -> str:
    one = register.extra.map
    name = f"map {one.name}" if one.name else "a map in a map"
    at = "" if register.range.is_const and not register.off else f", {offset_text(register)} into it"
    return f"a pointer to a value of {name} ({_bytes(one.value_size)}){at}"


def _map_key(register: Register) -> str:
    one = register.extra.map
    return f"a pointer to a key of map {one.name} ({_bytes(one.key_size)})"


def _map(register: Register) -> str:
    return f"map {register.extra.map.name}"


def _stack(register: Register) -> str:
    whose = "" if not register.extra else f" of frame {register.extra}"
    if register.range.is_const and not register.off + register.range.smin:
        return f"the frame pointer{whose}: the end of the stack"
    r = register.range
    if r.is_const:
        return f"a pointer to the stack{whose}, {_bytes(-register.off - r.smin)} below its end"
    return f"a pointer to the stack{whose}, {offset_text(register)} from its end"


def _memory(register: Register) -> str:
    kind = "a ring buffer record" if register.type & MEM_RINGBUF else "memory"
    if register.type & MEM_RDONLY:
        kind = "read-only memory"
    at = "" if register.range.is_const and not register.off else f", {offset_text(register)} into it"
    return f"a pointer to {kind} of {_bytes(register.extra.size)}{at}"


def _object(register: Register) -> str:
    words = "a pointer to a kernel object"
    if register.type & PTR_UNTRUSTED:
        words += " that may be gone by now"
    if register.type & MEM_USER:
        words += " in user memory"
    if register.type & MEM_PERCPU:
        words += " of each CPU"
    return words


def _context(register: Register) -> str:
    if register.range.is_const and not register.off:
        return "the context (struct __sk_buff *)"
    return f"the context (struct __sk_buff *) moved by {offset_text(register)}"


_WORDS: dict[int, Callable[[Register], str]] = {
    PTR_TO_PACKET: _packet,
    PTR_TO_PACKET_END: lambda _: "the end of the packet (data_end)",
    PTR_TO_CTX: _context,
    PTR_TO_MAP_VALUE: _map_value,
    PTR_TO_MAP_KEY: _map_key,
    CONST_PTR_TO_MAP: _map,
    PTR_TO_STACK: _stack,
    PTR_TO_MEM: _memory,
    PTR_TO_BTF_ID: _object,
    PTR_TO_SOCK_COMMON: lambda _: "a pointer to a socket",
    PTR_TO_XDP_SOCK: lambda _: "a pointer to an XDP socket",
    PTR_TO_FUNC: lambda _: "the address of a function",
    CONST_PTR_TO_DYNPTR: lambda _: "a pointer to a dynptr",
    PTR_TO_ARENA: lambda _: "a pointer into the arena",
}
