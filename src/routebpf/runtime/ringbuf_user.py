"""Ring buffers that user space fills: bpf_user_ringbuf_drain. kernel: kernel/bpf/ringbuf.c."""

from __future__ import annotations

from routebpf.runtime.dynptr_layout import DYNPTR_BYTES, LOCAL, MAX_SIZE, init_dynptr
from routebpf.runtime.errno_values import E2BIG, EAGAIN, EBUSY, EINVAL, ENODATA
from routebpf.runtime.memory import (
    call6,
    cmpxchg32,
    load64,
    load_acquire32,
    load_acquire64,
    stack,
    store_release32,
)
from routebpf.runtime.native import native
from routebpf.runtime.ringbuf_records import (
    BUSY_BIT,
    DISCARD_BIT,
    HEADER_BYTES,
    RING_BUSY,
    RING_CONSUMER,
    RING_DATA,
    RING_MASK,
    RING_PRODUCER,
    WAKEUP_FLAGS,
    pass_record,
    record_bytes,
)

_MAX_SAMPLES = 128 * 1024  # BPF_MAX_USER_RINGBUF_SAMPLES


@native
def bpf_user_ringbuf_drain(cpu: int, map: int, callback: int, context: int, flags: int) -> int:
    """Call `callback(dynptr, context)` for each record until it returns 1: for how many it was called.

    -EINVAL for unknown flags or a ring that makes no sense, -E2BIG for a record beyond the ring, -EBUSY where another
    drains it.
    """
    if flags & ~WAKEUP_FLAGS:
        return -EINVAL
    if cmpxchg32(map + RING_BUSY, 0, 1) != 0:
        return -EBUSY
    dynptr = stack(DYNPTR_BYTES)
    called = 0
    seen = 0
    stop = 0
    size = 0
    while seen < _MAX_SAMPLES and stop == 0:
        size = peek(map)
        if size == -EAGAIN:
            seen += 1
            continue
        if size < 0:
            break
        position = load64(map + RING_CONSUMER)
        header = load64(map + RING_DATA) + (position & load64(map + RING_MASK))
        init_dynptr(dynptr, header + HEADER_BYTES, LOCAL, size)
        stop = call6(callback, cpu, dynptr, context, 0, 0, 0)
        pass_record(map, size)
        called += 1
        seen += 1
    store_release32(map + RING_BUSY, 0)
    return size if size < 0 and size != -ENODATA and size != -EAGAIN else called


@native
def peek(map: int) -> int:
    """The size of the oldest record; -ENODATA: there is none; -EAGAIN: it was thrown away, and is passed."""
    producer = load_acquire64(map + RING_PRODUCER)
    if producer & 7:
        return -EINVAL
    consumer = load_acquire64(map + RING_CONSUMER)
    if consumer >= producer:
        return -ENODATA
    mask = load64(map + RING_MASK)
    word = load_acquire32(load64(map + RING_DATA) + (consumer & mask))
    size = word & ~(BUSY_BIT | DISCARD_BIT)
    if record_bytes(size) > producer - consumer:
        return -EINVAL
    if record_bytes(size) > mask + 1 or size > MAX_SIZE:
        return -E2BIG
    if word & DISCARD_BIT:
        pass_record(map, size)
        return -EAGAIN
    return -ENODATA if word & BUSY_BIT else size
