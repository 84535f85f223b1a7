"""Hash maps. kernel: kernel/bpf/hashtab.c, htab_map_ops.

An update of a key that is there puts a new element into the old one's place in one store, so a concurrent reader
finds one of the two. As in the kernel, each CPU keeps one element for that beside `max_entries`.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.errno_values import E2BIG, EEXIST, EINVAL, ENOENT
from routebpf.runtime.map_chain import (
    END,
    FREE,
    HASH_BUCKETS,
    HASH_ELEMENTS,
    HASH_EXTRAS,
    HASH_MASK,
    LOCKED,
    bucket_of,
    chain_end,
    find,
    find_link,
    key_offset,
    lock_bucket,
    set_link,
    value_offset,
)
from routebpf.runtime.map_layout import MAP_SPIN_LOCK
from routebpf.runtime.map_lock import SPINS
from routebpf.runtime.map_pool import remove, take
from routebpf.runtime.map_value import BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST, copy_value_locked, set_value
from routebpf.runtime.memory import (
    atomic_xchg32,
    call6,
    copy,
    load32,
    load64,
    load_acquire32,
    store32,
    store_release32,
    ugt,
    yield_cpu,
)
from routebpf.runtime.native import native

EXTRA_BYTES = 64  # from one CPU's extra element to the next one's: a cache line


@native
def element_bytes(key_size: int, value_size: int) -> int:
    return (value_offset(key_size) + value_size + 7) & ~7


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of a key's value, 0 if it is not there."""
    stride = element_bytes(key_size, value_size)
    element = find(map, key_size, stride, key)
    if element == 0:
        return 0
    return load64(map + HASH_ELEMENTS) + element * stride + value_offset(key_size)


@native
def update(cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int) -> int:
    """0, or EINVAL, E2BIG (full), EEXIST (with BPF_NOEXIST), ENOENT (with BPF_EXIST)."""
    if ugt(flags & ~BPF_F_LOCK, BPF_EXIST) or (flags & BPF_F_LOCK and load32(map + MAP_SPIN_LOCK) == 0):
        return -EINVAL
    stride = element_bytes(key_size, value_size)
    bucket = bucket_of(map, key, key_size)
    first = lock_bucket(bucket)
    place = find_link(map, key_size, stride, bucket, key)
    if place == 0:
        return insert(map, key_size, value_size, bucket, first, key, value, flags)
    if flags & BPF_NOEXIST:
        store_release32(bucket, first)
        return -EEXIST
    if flags & BPF_F_LOCK:
        old = load64(map + HASH_ELEMENTS) + (load32(place) & ~LOCKED) * stride
        copy_value_locked(map, old + value_offset(key_size), value, value_size)
        return store_release32(bucket, first)
    return replace(cpu, map, key_size, value_size, bucket, first, place, key, value)


@native
def insert(map: int, key_size: int, value_size: int, bucket: int, first: int, key: int, value: int, flags: int) -> int:
    """Add a key that is not there to a locked bucket, and unlock it."""
    stride = element_bytes(key_size, value_size)
    result = -E2BIG
    element = 0
    if flags & BPF_EXIST:
        result = -ENOENT
    else:
        element = take(map, stride)
    if element == 0:
        store_release32(bucket, first)
        return result
    address = load64(map + HASH_ELEMENTS) + element * stride
    copy(address + key_offset(key_size), key, key_size)
    set_value(map, address + value_offset(key_size), value, value_size)
    store_release32(address, chain_end(map, bucket, first))
    return store_release32(bucket, element)


@native
def replace(
    cpu: int, map: int, key_size: int, value_size: int, bucket: int, first: int, place: int, key: int, value: int
) -> int:
    """Put a new element at the link at `place` of a locked bucket, and unlock it. The old one is the next extra."""
    stride = element_bytes(key_size, value_size)
    elements = load64(map + HASH_ELEMENTS)
    extra = load64(map + HASH_EXTRAS) + load32(cpu + CPU_ID) * EXTRA_BYTES
    spins = 0
    element = atomic_xchg32(extra, 0)
    while element == 0:  # another thread is this CPU, too: user space beside CPU 0
        spins += 1
        if spins == SPINS:
            yield_cpu()
            spins = 0
        element = atomic_xchg32(extra, 0)
    address = elements + element * stride
    old = load32(place) & ~LOCKED
    copy(address + key_offset(key_size), key, key_size)
    set_value(map, address + value_offset(key_size), value, value_size)
    store_release32(address, load32(elements + old * stride))
    set_link(bucket, first, place, element)
    store32(elements + old * stride, FREE)
    return store_release32(extra, old)


@native
def delete(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """0, or ENOENT."""
    stride = element_bytes(key_size, value_size)
    bucket = bucket_of(map, key, key_size)
    first = lock_bucket(bucket)
    place = find_link(map, key_size, stride, bucket, key)
    if place == 0:
        store_release32(bucket, first)
        return -ENOENT
    return remove(map, stride, bucket, first, place)


@native
def for_each(cpu: int, map: int, key_size: int, value_size: int, callback: int, context: int, flags: int) -> int:
    """Call `callback(map, key, value, context)` for each entry until it returns 1: how often it was called."""
    if flags != 0:
        return -EINVAL
    stride = element_bytes(key_size, value_size)
    elements = load64(map + HASH_ELEMENTS)
    calls = 0
    for bucket in range(load64(map + HASH_MASK) + 1):
        link = load_acquire32(load64(map + HASH_BUCKETS) + bucket * 4) & ~LOCKED
        while link != 0 and link < END:
            address = elements + link * stride
            link = load_acquire32(address)
            calls += 1
            key = address + key_offset(key_size)
            if call6(callback, cpu, map, key, address + value_offset(key_size), context, 0) != 0:
                return calls
    return calls
