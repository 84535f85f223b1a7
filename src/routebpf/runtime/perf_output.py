"""bpf_perf_event_output: samples into the perf buffer of a CPU. kernel: net/core/filter.c, bpf_skb_event_output().

A buffer holds records as a perf_event of type PERF_COUNT_SW_BPF_OUTPUT does that asks for PERF_SAMPLE_RAW: samples,
and, before the next one that finds room, a record of how many were lost. kernel: kernel/events/ring_buffer.c,
perf_output_begin(); kernel/events/core.c, perf_output_sample().
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.errno_values import E2BIG, EFAULT, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP
from routebpf.runtime.map_layout import MAP_MAX_ENTRIES, MAP_OWN
from routebpf.runtime.memory import copy, fill, load32, load64, load_acquire64, lshr, store32, store64, store_release64
from routebpf.runtime.native import native
from routebpf.runtime.skb import SKB_DATA, SKB_LEN

PERF_SLOTS = MAP_OWN  # 64 bits: the address of the slots, each 64 bits: the address of a buffer or 0

# A buffer, 64 bits each. Positions only grow: a place is a position & mask.
BUFFER_DATA = 0  # the address of the records
BUFFER_MASK = 8  # its size - 1
BUFFER_CPU = 16  # the CPU that writes to it
BUFFER_PENDING = 24  # samples lost since the last record
BUFFER_LOST = 32  # samples lost in all
BUFFER_HEAD = 64  # where the next record goes
BUFFER_TAIL = 128  # up to where they were read
BUFFER_BYTES = 192

# A record: its type (32 bits), 16 bits, its size with this header (16 bits); for a sample, bytes (32 bits) and data.
RECORD_LOST, RECORD_SAMPLE = 2, 9
HEADER_BYTES = 8
LOST_BYTES = 24
_SIZE_SHIFT = 48
_LIMIT = 0xFFFF  # bytes of a record; the kernel writes larger ones so that no reader finds their end

BPF_F_INDEX_MASK = BPF_F_CURRENT_CPU = 0xFFFFFFFF
BPF_F_CTXLEN_MASK = 0xFFFFF << 32


@native
def bpf_perf_event_output(cpu: int, skb: int, map: int, flags: int, data: int, size: int) -> int:
    """A sample of `size` bytes, and of as many of the packet as `flags` say. `flags` has the slot, too.

    0, or -EINVAL (another flag), -EFAULT (more than the packet has), -E2BIG (no such slot), -ENOENT (an empty one),
    -EOPNOTSUPP (another CPU's), -ENOSPC (no room: it is lost).
    """
    of_packet = lshr(flags & BPF_F_CTXLEN_MASK, 32)
    if flags & ~(BPF_F_CTXLEN_MASK | BPF_F_INDEX_MASK):
        return -EINVAL
    if of_packet > load32(skb + SKB_LEN):
        return -EFAULT
    own = load32(cpu + CPU_ID)
    index = flags & BPF_F_INDEX_MASK
    if index == BPF_F_CURRENT_CPU:
        index = own
    if index >= load32(map + MAP_MAX_ENTRIES):
        return -E2BIG
    buffer = load64(load64(map + PERF_SLOTS) + index * 8)
    if buffer == 0:
        return -ENOENT
    if load64(buffer + BUFFER_CPU) != own:
        return -EOPNOTSUPP
    return put_sample(buffer, data, size, load64(skb + SKB_DATA), of_packet)


@native
def put_sample(buffer: int, data: int, size: int, more: int, more_size: int) -> int:
    """Write a sample of two parts: 0, or -ENOSPC."""
    raw_size = ((size + more_size + 4 + 7) & ~7) - 4
    record_size = HEADER_BYTES + 4 + raw_size
    place = begin(buffer, record_size)
    if place == 0:
        return -ENOSPC
    store64(place, RECORD_SAMPLE | record_size << _SIZE_SHIFT)
    store32(place + HEADER_BYTES, raw_size)
    place += HEADER_BYTES + 4
    copy(place, data, size)
    copy(place + size, more, more_size)
    fill(place + size + more_size, 0, raw_size - size - more_size)
    head = load64(buffer + BUFFER_HEAD) + record_size
    return store_release64(buffer + BUFFER_HEAD, head)


@native
def begin(buffer: int, size: int) -> int:
    """Where a record of `size` bytes goes, 0 if there is no room: it counts as lost.

    If some were lost before, a record says so first, and needs room, too. One byte is always free.
    """
    mask = load64(buffer + BUFFER_MASK)
    head = load64(buffer + BUFFER_HEAD)
    free = mask - (head - load_acquire64(buffer + BUFFER_TAIL))
    pending = load64(buffer + BUFFER_PENDING)
    if size > _LIMIT or size + (LOST_BYTES if pending else 0) > free:
        store64(buffer + BUFFER_PENDING, pending + 1)
        store64(buffer + BUFFER_LOST, load64(buffer + BUFFER_LOST) + 1)
        return 0
    if pending:
        place = load64(buffer + BUFFER_DATA) + (head & mask)
        store64(place, RECORD_LOST | LOST_BYTES << _SIZE_SHIFT)
        store64(place + 8, 0)
        store64(place + 16, pending)
        store64(buffer + BUFFER_PENDING, 0)
        head += LOST_BYTES
        store_release64(buffer + BUFFER_HEAD, head)
    return load64(buffer + BUFFER_DATA) + (head & mask)
