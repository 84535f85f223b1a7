"""Dynptrs, kfuncs: of a packet, parts, copies. kernel: kernel/bpf/helpers.c; net/core/filter.c, bpf_dynptr_from_skb().

A packet is linear here, so a slice of it is always the packet's own memory and no buffer is filled.
"""

from __future__ import annotations

from routebpf.runtime.dynptr import bpf_dynptr_read, bpf_dynptr_write
from routebpf.runtime.dynptr_layout import (
    DYNPTR_BYTES,
    DYNPTR_DATA,
    DYNPTR_OFFSET,
    DYNPTR_SIZE,
    MAX_SIZE,
    READ_ONLY,
    SKB,
    check_range,
    clear_dynptr,
    init_dynptr,
    is_read_only,
    size_of_dynptr,
    type_of_dynptr,
)
from routebpf.runtime.errno_values import E2BIG, EFAULT, EINVAL, ERANGE
from routebpf.runtime.memory import copy, fill, load32, load64, low32, move, store32
from routebpf.runtime.native import native
from routebpf.runtime.skb import SKB_DATA, SKB_LEN


@native
def bpf_dynptr_from_skb(cpu: int, skb: int, flags: int, dynptr: int) -> int:
    """A dynptr of the whole packet. 0, or -EINVAL for any flag: then it holds nothing."""
    if flags:
        clear_dynptr(dynptr)
        return -EINVAL
    return init_dynptr(dynptr, skb, SKB, load32(skb + SKB_LEN))


@native
def bpf_dynptr_from_skb_rdonly(cpu: int, skb: int, flags: int, dynptr: int) -> int:
    """The same, read-only: what LWT_IN and LWT_OUT programs get when they call bpf_dynptr_from_skb."""
    result = bpf_dynptr_from_skb(cpu, skb, flags, dynptr)
    if result == 0:
        store32(dynptr + DYNPTR_SIZE, load32(dynptr + DYNPTR_SIZE) | READ_ONLY)
    return result


@native
def bpf_dynptr_slice(cpu: int, dynptr: int, offset: int, buffer: int, size: int) -> int:
    """The address of `size` bytes at `offset`, 0 where they are not there."""
    offset = low32(offset)
    size = low32(size)
    data = load64(dynptr + DYNPTR_DATA)
    if data == 0 or check_range(dynptr, offset, size):
        return 0
    offset += load32(dynptr + DYNPTR_OFFSET)
    if type_of_dynptr(dynptr) != SKB:
        return data + offset
    return load64(data + SKB_DATA) + offset if offset + size <= load32(data + SKB_LEN) else 0


@native
def bpf_dynptr_slice_rdwr(cpu: int, dynptr: int, offset: int, buffer: int, size: int) -> int:
    """The same, 0 for a read-only one."""
    return 0 if is_read_only(dynptr) else bpf_dynptr_slice(cpu, dynptr, offset, buffer, size)


@native
def bpf_dynptr_adjust(cpu: int, dynptr: int, start: int, end: int) -> int:
    """Narrow it to the bytes from `start` to `end`. 0, or -EINVAL (start after end, nothing in it), -ERANGE."""
    start = low32(start)
    end = low32(end)
    if load64(dynptr + DYNPTR_DATA) == 0 or start > end:
        return -EINVAL
    if end > size_of_dynptr(dynptr):
        return -ERANGE
    kind = load32(dynptr + DYNPTR_SIZE) & ~MAX_SIZE
    store32(dynptr + DYNPTR_OFFSET, load32(dynptr + DYNPTR_OFFSET) + start)
    return store32(dynptr + DYNPTR_SIZE, kind | (end - start))


@native
def bpf_dynptr_is_null(cpu: int, dynptr: int) -> int:
    """Whether it holds nothing."""
    return 1 if load64(dynptr + DYNPTR_DATA) == 0 else 0


@native
def bpf_dynptr_is_rdonly(cpu: int, dynptr: int) -> int:
    """Whether it is read-only; one that holds nothing is not."""
    return is_read_only(dynptr) if load64(dynptr + DYNPTR_DATA) != 0 else 0


@native
def bpf_dynptr_size(cpu: int, dynptr: int) -> int:
    """Its bytes, 32 bits; -EINVAL in 32 bits for one that holds nothing."""
    return size_of_dynptr(dynptr) if load64(dynptr + DYNPTR_DATA) != 0 else low32(-EINVAL)


@native
def bpf_dynptr_clone(cpu: int, dynptr: int, clone: int) -> int:
    """A second dynptr of the same bytes. 0, or -EINVAL where there are none: then it holds nothing either."""
    if load64(dynptr + DYNPTR_DATA) == 0:
        clear_dynptr(clone)
        return -EINVAL
    return copy(clone, dynptr, DYNPTR_BYTES)


@native
def bpf_dynptr_copy(cpu: int, to: int, to_offset: int, source: int, source_offset: int, size: int) -> int:
    """Copy `size` bytes. 0, or -E2BIG beyond one of them, -EINVAL into a read-only one, -EFAULT beyond a packet."""
    size = low32(size)
    there = bpf_dynptr_slice(cpu, source, source_offset, 0, size)
    here = bpf_dynptr_slice_rdwr(cpu, to, to_offset, 0, size)
    if there != 0 and here != 0:
        return move(here, there, size)
    if there != 0:
        return bpf_dynptr_write(cpu, to, to_offset, there, size, 0)
    if here != 0:
        return bpf_dynptr_read(cpu, here, size, source, source_offset, 0)
    if check_range(to, low32(to_offset), size) or check_range(source, low32(source_offset), size):
        return -E2BIG
    return -EFAULT if size else 0


@native
def bpf_dynptr_memset(cpu: int, dynptr: int, offset: int, size: int, byte: int) -> int:
    """Fill `size` bytes at `offset`. 0, or -EINVAL (read-only), -E2BIG (beyond it), -EFAULT (beyond the packet)."""
    size = low32(size)
    place = bpf_dynptr_slice_rdwr(cpu, dynptr, offset, 0, size)
    if place != 0:
        return fill(place, byte, size)
    if is_read_only(dynptr):
        return -EINVAL
    if check_range(dynptr, low32(offset), size):
        return -E2BIG
    return -EFAULT if size else 0
