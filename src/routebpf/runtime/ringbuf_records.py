"""Ring buffers as programs use them: bpf_ringbuf_reserve, _submit, _discard, _output, _query, and with dynptrs.

A record is a header of 8 bytes and its data, padded to 8 bytes. kernel: kernel/bpf/ringbuf.c. Nobody sleeps until a
record comes, so the flags about waking up make no difference.
"""

from __future__ import annotations

from routebpf.runtime.dynptr_layout import (
    DYNPTR_DATA,
    MAX_SIZE,
    RINGBUF,
    clear_dynptr,
    init_dynptr,
)
from routebpf.runtime.errno_values import E2BIG, EAGAIN, EINVAL
from routebpf.runtime.map_layout import MAP_LOCK, MAP_OWN
from routebpf.runtime.map_lock import acquire, release
from routebpf.runtime.memory import (
    atomic_xchg32,
    copy,
    load32,
    load64,
    load_acquire32,
    load_acquire64,
    low32,
    store32,
    store_release64,
    ugt,
)
from routebpf.runtime.native import native

# Of the map, 64 bits each.
RING_DATA = MAP_OWN  # the address of the records
RING_MASK = MAP_OWN + 8  # the size of the ring - 1
RING_BUSY = MAP_OWN + 16  # 32 bits: whether bpf_user_ringbuf_drain runs
RING_PRODUCER = MAP_OWN + 64  # positions only grow: a place in the ring is a position & mask
RING_CONSUMER = MAP_OWN + 72

# A record's header: its size with these bits (32 bits), then its page in the kernel's struct bpf_ringbuf (32 bits).
# Nothing needs the page here; but who reads a record that was not written in full sees it in what older ones left.
BUSY_BIT, DISCARD_BIT = 1 << 31, 1 << 30
HEADER_BYTES = 8

BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP = 1, 2
WAKEUP_FLAGS = BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP
BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE, BPF_RB_CONS_POS, BPF_RB_PROD_POS = range(4)
_MAX_RECORD = 0xFFFFFFFF // 4
_FIRST_PAGE, _PAGE_SHIFT = 3, 12


@native
def record_bytes(size: int) -> int:
    """What a record of `size` bytes takes of the ring."""
    return (size + HEADER_BYTES + 7) & ~7


@native
def reserve(map: int, size: int) -> int:
    """The address of `size` bytes of a new record, 0 if there is no room. One byte of the ring is always free."""
    mask = load64(map + RING_MASK)
    if ugt(size, _MAX_RECORD) or record_bytes(size) > mask + 1:
        return 0
    acquire(map + MAP_LOCK)
    position = load64(map + RING_PRODUCER)
    end = position + record_bytes(size)
    record = 0
    if end - load_acquire64(map + RING_CONSUMER) <= mask:
        header = load64(map + RING_DATA) + (position & mask)
        store32(header, size | BUSY_BIT)
        store32(header + 4, _FIRST_PAGE + ((position & mask) >> _PAGE_SHIFT))
        store_release64(map + RING_PRODUCER, end)
        record = header + HEADER_BYTES
    release(map + MAP_LOCK)
    return record


@native
def commit(record: int, discard_bit: int) -> int:
    """Hand a record to the reader, or throw it away. 0."""
    header = record - HEADER_BYTES
    atomic_xchg32(header, load32(header) ^ BUSY_BIT | discard_bit)
    return 0


@native
def bpf_ringbuf_reserve(cpu: int, map: int, size: int, flags: int) -> int:
    """The address of a record's data, 0 if there is no room or for any flag."""
    return reserve(map, size) if flags == 0 else 0


@native
def bpf_ringbuf_submit(cpu: int, record: int, flags: int) -> int:
    return commit(record, 0)


@native
def bpf_ringbuf_discard(cpu: int, record: int, flags: int) -> int:
    return commit(record, DISCARD_BIT)


@native
def bpf_ringbuf_output(cpu: int, map: int, data: int, size: int, flags: int) -> int:
    """0, -EINVAL for unknown flags, -EAGAIN where there is no room."""
    if flags & ~WAKEUP_FLAGS:
        return -EINVAL
    record = reserve(map, size)
    if record == 0:
        return -EAGAIN
    copy(record, data, size)
    return commit(record, 0)


@native
def bpf_ringbuf_query(cpu: int, map: int, flags: int) -> int:
    """Bytes not yet read, the ring's size, a position; 0 for any other flag."""
    consumer = load_acquire64(map + RING_CONSUMER)
    producer = load_acquire64(map + RING_PRODUCER)
    if flags == BPF_RB_AVAIL_DATA:
        return producer - consumer
    if flags == BPF_RB_RING_SIZE:
        return low32(load64(map + RING_MASK) + 1)
    if flags == BPF_RB_CONS_POS:
        return consumer
    return producer if flags == BPF_RB_PROD_POS else 0


@native
def bpf_ringbuf_reserve_dynptr(cpu: int, map: int, size: int, flags: int, dynptr: int) -> int:
    """0, or -EINVAL (any flag, no room) or -E2BIG (16 MB or more): then the dynptr holds nothing."""
    size = low32(size)
    clear_dynptr(dynptr)
    if flags:
        return -EINVAL
    if size > MAX_SIZE:
        return -E2BIG
    record = reserve(map, size)
    if record == 0:
        return -EINVAL
    return init_dynptr(dynptr, record, RINGBUF, size)


@native
def bpf_ringbuf_submit_dynptr(cpu: int, dynptr: int, flags: int) -> int:
    return commit_dynptr(dynptr, 0)


@native
def bpf_ringbuf_discard_dynptr(cpu: int, dynptr: int, flags: int) -> int:
    return commit_dynptr(dynptr, DISCARD_BIT)


@native
def commit_dynptr(dynptr: int, discard_bit: int) -> int:
    """The same for the record that a dynptr holds, if any; it holds nothing after that. 0."""
    record = load64(dynptr + DYNPTR_DATA)
    if record != 0:
        commit(record, discard_bit)
        clear_dynptr(dynptr)
    return 0


@native
def next_record(map: int) -> int:
    """The address of the header of the oldest record, if it is there: those thrown away are passed. Else 0."""
    position = load64(map + RING_CONSUMER)
    while position < load_acquire64(map + RING_PRODUCER):
        header = load64(map + RING_DATA) + (position & load64(map + RING_MASK))
        size = load_acquire32(header)
        if size & BUSY_BIT:
            return 0
        if not size & DISCARD_BIT:
            return header
        position += record_bytes(size & ~DISCARD_BIT)
        store_release64(map + RING_CONSUMER, position)
    return 0


@native
def pass_record(map: int, size: int) -> int:
    """Give the oldest record, of `size` bytes, back to the ring. 0."""
    return store_release64(map + RING_CONSUMER, load64(map + RING_CONSUMER) + record_bytes(size))
