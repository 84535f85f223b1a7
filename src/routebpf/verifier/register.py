"""What a register holds: its type, as the kernel names types, and what is known of it. Values, never changed.

kernel: include/linux/bpf.h, enum bpf_reg_type, enum bpf_type_flag; include/linux/bpf_verifier.h, struct bpf_reg_state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from routebpf.verifier.scalar import UNKNOWN, ZERO, Range, constant

if TYPE_CHECKING:
    from routebpf.verifier.maps import MapFacts

# Types: plain integers, because they are compared at every step.
NOT_INIT, SCALAR_VALUE, PTR_TO_CTX, CONST_PTR_TO_MAP, PTR_TO_MAP_VALUE, PTR_TO_MAP_KEY, PTR_TO_STACK = range(7)
PTR_TO_PACKET, PTR_TO_PACKET_END, PTR_TO_SOCK_COMMON, PTR_TO_XDP_SOCK, PTR_TO_BTF_ID, PTR_TO_MEM = range(7, 13)
PTR_TO_FUNC, CONST_PTR_TO_DYNPTR, PTR_TO_ARENA = range(13, 16)
BASE: Final = 0xFF
# Flags, beside the type.
PTR_MAYBE_NULL: Final = 1 << 8
MEM_RDONLY: Final = 1 << 9
MEM_RINGBUF: Final = 1 << 10
MEM_USER: Final = 1 << 11
MEM_PERCPU: Final = 1 << 12
PTR_UNTRUSTED: Final = 1 << 13
PTR_TRUSTED: Final = 1 << 14
MEM_RCU: Final = 1 << 15
MEM_ALLOC: Final = 1 << 16
DYNPTR_TYPE_LOCAL: Final = 1 << 17
DYNPTR_TYPE_RINGBUF: Final = 1 << 18
DYNPTR_TYPE_SKB: Final = 1 << 19
DYNPTR_TYPES: Final = DYNPTR_TYPE_LOCAL | DYNPTR_TYPE_RINGBUF | DYNPTR_TYPE_SKB
NON_OWN_REF: Final = 1 << 20

# In `id` of a scalar: it is `off` more than the others of that id, added in 64 bits, or in 32.
ADD_CONST64: Final = 1 << 31
ADD_CONST32: Final = 1 << 30
ADD_CONST: Final = ADD_CONST64 | ADD_CONST32
# `extra` of a packet pointer: it is known to be there, or beyond (kernel: mark_pkt_end()).
AT_PKT_END, BEYOND_PKT_END = -1, -2
MAX_VAR_OFF: Final = 1 << 29
MAX_VAR_SIZ: Final = 1 << 29
MAX_PACKET_OFF: Final = 0xFFFF

_NAMES = {
    NOT_INIT: "?",
    SCALAR_VALUE: "scalar",
    PTR_TO_CTX: "ctx",
    CONST_PTR_TO_MAP: "map_ptr",
    PTR_TO_MAP_VALUE: "map_value",
    PTR_TO_MAP_KEY: "map_key",
    PTR_TO_STACK: "fp",
    PTR_TO_PACKET: "pkt",
    PTR_TO_PACKET_END: "pkt_end",
    PTR_TO_SOCK_COMMON: "sock_common",
    PTR_TO_XDP_SOCK: "xdp_sock",
    PTR_TO_BTF_ID: "ptr_",
    PTR_TO_MEM: "mem",
    PTR_TO_FUNC: "func",
    CONST_PTR_TO_DYNPTR: "dynptr_ptr",
    PTR_TO_ARENA: "arena",
}
_PREFIXES = (
    (MEM_RDONLY, "rdonly_"),
    (MEM_RINGBUF, "ringbuf_"),
    (MEM_USER, "user_"),
    (MEM_PERCPU, "percpu_"),
    (MEM_RCU, "rcu_"),
    (PTR_UNTRUSTED, "untrusted_"),
    (PTR_TRUSTED, "trusted_"),
)


def type_text(kind: int) -> str:
    """As the kernel writes a type (kernel: kernel/bpf/log.c, reg_type_str())."""
    base = kind & BASE
    prefix = "".join(text for flag, text in _PREFIXES if kind & flag)
    postfix = ""
    if kind & PTR_MAYBE_NULL:
        postfix = "or_null_" if base == PTR_TO_BTF_ID else "_or_null"
    return f"{prefix}{_NAMES[base]}{postfix}"


class MapOf(NamedTuple):
    """`extra` of CONST_PTR_TO_MAP, PTR_TO_MAP_VALUE and _KEY: the map, and which inner map it is (0: not one)."""

    map: MapFacts
    uid: int = 0


class Memory(NamedTuple):
    """`extra` of PTR_TO_MEM: its bytes, and the dynptr that it is a slice of (0: none)."""

    size: int
    dynptr_id: int = 0


class Register:
    """A value in a register or spilled to the stack.

    `off` is the fixed offset of a pointer, beyond `range`; `id` joins what is the same, or null at once; `ref` is the
    reference it belongs to. `extra`, by type: `MapOf`, `Memory`, the bytes of packet known to be there (int), the
    number of the frame (int) of a stack pointer, the id of its BTF type, the number of a function, the type of a
    dynptr.
    """

    __slots__ = ("extra", "id", "off", "range", "ref", "type")

    type: Final[int]
    range: Final[Range]
    off: Final[int]
    id: Final[int]
    ref: Final[int]
    extra: Final[Any]

    def __init__(self, kind: int, range: Range, off: int = 0, id: int = 0, ref: int = 0, extra: Any = None) -> None:
        self.type = kind
        self.range = range
        self.off = off
        self.id = id
        self.ref = ref
        self.extra = extra

    def with_type(self, kind: int) -> Register:
        return Register(kind, self.range, self.off, self.id, self.ref, self.extra)

    def with_id(self, id: int) -> Register:
        return Register(self.type, self.range, self.off, id, self.ref, self.extra)

    def with_ref(self, ref: int) -> Register:
        return Register(self.type, self.range, self.off, self.id, ref, self.extra)

    def with_range(self, range: Range) -> Register:
        return Register(self.type, range, self.off, self.id, self.ref, self.extra)

    def with_extra(self, extra: Any) -> Register:
        return Register(self.type, self.range, self.off, self.id, self.ref, extra)

    @property
    def is_null(self) -> bool:
        """kernel: register_is_null()."""
        return self.type == SCALAR_VALUE and self.range is ZERO

    @property
    def base(self) -> int:
        return self.type & BASE

    @property
    def may_be_null(self) -> bool:
        return bool(self.type & PTR_MAYBE_NULL)

    def is_same(self, other: Register) -> bool:
        """Equal in all but identities (kernel: memcmp() up to `id`)."""
        return self is other or (
            self.type == other.type
            and self.range is other.range
            and self.off == other.off
            and self.extra == other.extra
        )


UNSET: Final = Register(NOT_INIT, UNKNOWN)
UNKNOWN_SCALAR: Final = Register(SCALAR_VALUE, UNKNOWN)
NULL: Final = Register(SCALAR_VALUE, ZERO)

_constants: dict[int, Register] = {0: NULL}
_MOST_CONSTANTS = 100_000


def known(value: int) -> Register:
    """A scalar that is one number."""
    found = _constants.get(value)
    if found is None:
        if len(_constants) > _MOST_CONSTANTS:
            _constants.clear()
        found = _constants[value] = Register(SCALAR_VALUE, constant(value))
    return found


def forget_unused() -> None:
    """Between two verifications: `scalar.forget_unused` has made the ranges in this table others than new ones."""
    _constants.clear()
    _constants[0] = NULL


def pointer(kind: int, *, off: int = 0, id: int = 0, ref: int = 0, extra: Any = None) -> Register:
    """A pointer with no variable part."""
    return Register(kind, ZERO, off, id, ref, extra)


_PACKET_TYPES = (PTR_TO_PACKET, PTR_TO_PACKET_END)
_SPILLABLE = frozenset(
    {
        PTR_TO_MAP_VALUE,
        PTR_TO_STACK,
        PTR_TO_CTX,
        PTR_TO_PACKET,
        PTR_TO_PACKET_END,
        CONST_PTR_TO_MAP,
        PTR_TO_SOCK_COMMON,
        PTR_TO_XDP_SOCK,
        PTR_TO_BTF_ID,
        PTR_TO_MEM,
        PTR_TO_FUNC,
        PTR_TO_MAP_KEY,
        PTR_TO_ARENA,
    }
)
_ALWAYS_TRUSTED = (PTR_TO_SOCK_COMMON, CONST_PTR_TO_MAP)
_TRUSTED = MEM_ALLOC | PTR_TRUSTED
_SAFE_FLAGS = _TRUSTED | NON_OWN_REF
_FLAGS = ~BASE


def is_packet(register: Register) -> bool:
    """A pointer to the packet or its end (kernel: reg_is_pkt_pointer_any())."""
    return register.type in _PACKET_TYPES


def is_spillable(kind: int) -> bool:
    """kernel: is_spillable_regtype()."""
    return kind & BASE in _SPILLABLE


def has_unsafe_flags(kind: int) -> bool:
    """kernel: bpf_type_has_unsafe_modifiers()."""
    return bool(kind & _FLAGS & ~_SAFE_FLAGS)


def is_trusted(register: Register) -> bool:
    """kernel: is_trusted_reg()."""
    kind = register.type
    if register.ref:
        return True
    if has_unsafe_flags(kind):
        return False
    return kind & BASE in _ALWAYS_TRUSTED or bool(kind & _TRUSTED)


def is_not_null(register: Register) -> bool:
    """kernel: reg_not_null()."""
    kind = register.type
    if kind & PTR_MAYBE_NULL:
        return False
    base = kind & BASE
    if base == PTR_TO_BTF_ID:
        return is_trusted(register)
    if base == PTR_TO_MEM:
        return not kind & PTR_UNTRUSTED
    return base in (PTR_TO_MAP_VALUE, PTR_TO_MAP_KEY, PTR_TO_SOCK_COMMON, CONST_PTR_TO_MAP)
