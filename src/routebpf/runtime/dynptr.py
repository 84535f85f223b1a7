"""Dynptrs, helpers: bpf_dynptr_from_mem, _read, _write, _data. kernel: kernel/bpf/helpers.c.

A dynptr of a packet keeps no address into it: each use starts at the packet's first byte of that moment.
"""

from __future__ import annotations

from routebpf.runtime.dynptr_layout import (
    DYNPTR_DATA,
    DYNPTR_OFFSET,
    LOCAL,
    MAX_SIZE,
    SKB,
    check_range,
    clear_dynptr,
    init_dynptr,
    is_read_only,
    type_of_dynptr,
)
from routebpf.runtime.errno_values import E2BIG, EINVAL
from routebpf.runtime.memory import load32, load64, low32, move
from routebpf.runtime.native import native
from routebpf.runtime.skb_bytes import bpf_skb_load_bytes, bpf_skb_store_bytes


@native
def bpf_dynptr_from_mem(cpu: int, data: int, size: int, flags: int, dynptr: int) -> int:
    """0, or -E2BIG (16 MB or more) or -EINVAL (any flag): then the dynptr holds nothing."""
    size = low32(size)
    clear_dynptr(dynptr)
    if size > MAX_SIZE:
        return -E2BIG
    if flags:
        return -EINVAL
    return init_dynptr(dynptr, data, LOCAL, size)


@native
def bpf_dynptr_read(cpu: int, destination: int, size: int, dynptr: int, offset: int, flags: int) -> int:
    """0, or -EINVAL (any flag, or it holds nothing), -E2BIG (beyond it), -EFAULT (beyond the packet)."""
    size = low32(size)
    offset = low32(offset)
    data = load64(dynptr + DYNPTR_DATA)
    if data == 0 or flags:
        return -EINVAL
    if check_range(dynptr, offset, size):
        return -E2BIG
    offset += load32(dynptr + DYNPTR_OFFSET)
    if type_of_dynptr(dynptr) == SKB:
        return bpf_skb_load_bytes(cpu, data, offset, destination, size)
    return move(destination, data + offset, size)


@native
def bpf_dynptr_write(cpu: int, dynptr: int, offset: int, source: int, size: int, flags: int) -> int:
    """0, or -EINVAL (read-only, it holds nothing, a flag that only a packet's takes), -E2BIG, -EFAULT as reading."""
    size = low32(size)
    offset = low32(offset)
    data = load64(dynptr + DYNPTR_DATA)
    if data == 0 or is_read_only(dynptr):
        return -EINVAL
    if check_range(dynptr, offset, size):
        return -E2BIG
    offset += load32(dynptr + DYNPTR_OFFSET)
    if type_of_dynptr(dynptr) == SKB:
        return bpf_skb_store_bytes(cpu, data, offset, source, size, flags)
    if flags:
        return -EINVAL
    return move(data + offset, source, size)


@native
def bpf_dynptr_data(cpu: int, dynptr: int, offset: int, size: int) -> int:
    """The address of `size` bytes at `offset`; 0 beyond its end, for a read-only one, and for a packet."""
    size = low32(size)
    offset = low32(offset)
    data = load64(dynptr + DYNPTR_DATA)
    if data == 0 or check_range(dynptr, offset, size) or is_read_only(dynptr) or type_of_dynptr(dynptr) == SKB:
        return 0
    return data + load32(dynptr + DYNPTR_OFFSET) + offset
