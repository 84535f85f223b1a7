"""struct bpf_dynptr, as the kernel lays it out: 16 bytes on the program's stack. kernel: struct bpf_dynptr_kern."""

from __future__ import annotations

from routebpf.runtime.errno_values import E2BIG
from routebpf.runtime.memory import load32, store32, store64
from routebpf.runtime.native import native

DYNPTR_DATA = 0  # 64 bits: an address, of memory or of an skb; 0 for a dynptr that holds nothing
DYNPTR_SIZE = 8  # 32 bits: the size, the type from bit 28 on, bit 31: read-only
DYNPTR_OFFSET = 12  # 32 bits
DYNPTR_BYTES = 16

LOCAL, RINGBUF, SKB = 1, 2, 3  # enum bpf_dynptr_type
TYPE_SHIFT, TYPE_MASK = 28, 7
READ_ONLY = 1 << 31
MAX_SIZE = (1 << 24) - 1


@native
def init_dynptr(dynptr: int, data: int, kind: int, size: int) -> int:
    """kernel: bpf_dynptr_init(). 0."""
    store64(dynptr + DYNPTR_DATA, data)
    store32(dynptr + DYNPTR_SIZE, size | kind << TYPE_SHIFT)
    return store32(dynptr + DYNPTR_OFFSET, 0)


@native
def clear_dynptr(dynptr: int) -> int:
    """Make it hold nothing. kernel: bpf_dynptr_set_null(). 0."""
    store64(dynptr, 0)
    return store64(dynptr + 8, 0)


@native
def size_of_dynptr(dynptr: int) -> int:
    return load32(dynptr + DYNPTR_SIZE) & MAX_SIZE


@native
def type_of_dynptr(dynptr: int) -> int:
    return load32(dynptr + DYNPTR_SIZE) >> TYPE_SHIFT & TYPE_MASK


@native
def check_range(dynptr: int, offset: int, size: int) -> int:
    """0, or -E2BIG where `size` bytes at `offset` are not within it. kernel: bpf_dynptr_check_off_len()."""
    return 0 if offset + size <= size_of_dynptr(dynptr) else -E2BIG


@native
def is_read_only(dynptr: int) -> int:
    return load32(dynptr + DYNPTR_SIZE) >> 31
