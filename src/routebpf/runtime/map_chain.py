"""Hash tables that are read without locks: buckets of chains of elements, which all hash maps are made of.

A link is 32 bits: an element's number, counted from 1, or END with the number of the bucket whose chain ends here. An
element starts with its link to the next one; FREE is set in it while it is in no chain. Elements are reused at once,
so a reader may be led astray, to a free element or into another chain; either way it comes to a link that is not the
end of its own chain, and starts again. Writers hold their bucket: LOCKED is set in its link. All memory zeroed is an
empty table. kernel: kernel/bpf/hashtab.c, lookup_nulls_elem_raw(), does the same.
"""

from __future__ import annotations

from routebpf.runtime.map_layout import MAP_OWN
from routebpf.runtime.map_lock import SPINS
from routebpf.runtime.memory import (
    cmpxchg32,
    load8,
    load16,
    load32,
    load64,
    load_acquire32,
    low32,
    lshr,
    store_release32,
    yield_cpu,
)
from routebpf.runtime.native import native

# 64 bits each. What readers use is in a cache line that nobody writes.
HASH_BUCKETS = MAP_OWN  # the address of the links of the buckets
HASH_MASK = MAP_OWN + 8  # buckets - 1
HASH_ELEMENTS = MAP_OWN + 16  # the address of element 0, which is never used
HASH_VALUES = MAP_OWN + 24  # per-CPU maps: the address of the first CPU's value of element 0
HASH_CPU_STRIDE = MAP_OWN + 32  # per-CPU maps: bytes from the values of one CPU to those of the next
HASH_EXTRAS = MAP_OWN + 40  # see map_hash
HASH_CAPACITY = MAP_OWN + 48  # elements there are, with element 0
HASH_LRU = MAP_OWN + 56  # see lru_list
HASH_FREE = MAP_OWN + 64  # the first free element; the high 32 bits count the changes
HASH_USED = MAP_OWN + 72  # elements from this one on were never used

END, LOCKED, FREE = 1 << 30, 1 << 31, 1 << 31

_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)
_FINISH = 0xBF58476D1CE4E5B9 - (1 << 64)


@native
def key_offset(key_size: int) -> int:
    """Where the key is in an element: an 8-byte key is aligned, so that it is read whole."""
    return 4 if key_size <= 4 else 8


@native
def value_offset(key_size: int) -> int:
    """Where the value is in an element."""
    return ((4 if key_size <= 4 else 8) + key_size + 7) & ~7


@native
def hash_of(key: int, key_size: int) -> int:
    """A hash of a key; its low bits count, at most 32."""
    if key_size == 4:
        narrow = load32(key) * _MULTIPLIER
        return narrow ^ lshr(narrow, 32)
    state = key_size
    done = 0
    while done + 8 <= key_size:
        state = (state ^ load64(key + done)) * _MULTIPLIER
        state ^= lshr(state, 32)
        done += 8
    rest = 0
    if key_size & 4:
        rest = load32(key + done)
        done += 4
    if key_size & 2:
        rest = rest << 16 | load16(key + done)
        done += 2
    if key_size & 1:
        rest = rest << 8 | load8(key + done)
    if key_size & 7:
        state = (state ^ rest) * _MULTIPLIER
        state ^= lshr(state, 32)
    state *= _FINISH
    return state ^ lshr(state, 29)


@native
def key_equal(a: int, b: int, key_size: int) -> int:
    """Whether two keys are equal."""
    if key_size == 4:
        return 1 if load32(a) == load32(b) else 0
    done = 0
    while done + 8 <= key_size:
        if load64(a + done) != load64(b + done):
            return 0
        done += 8
    if key_size & 4:
        if load32(a + done) != load32(b + done):
            return 0
        done += 4
    if key_size & 2:
        if load16(a + done) != load16(b + done):
            return 0
        done += 2
    if key_size & 1 and load8(a + done) != load8(b + done):
        return 0
    return 1


@native
def bucket_of(map: int, key: int, key_size: int) -> int:
    """The address of the link of a key's bucket."""
    return load64(map + HASH_BUCKETS) + (low32(hash_of(key, key_size)) & load64(map + HASH_MASK)) * 4


@native
def find(map: int, key_size: int, stride: int, key: int) -> int:
    """The element of a key, 0 if there is none. Takes no lock. `stride`: bytes of an element."""
    bucket = bucket_of(map, key, key_size)
    end = END | (bucket - load64(map + HASH_BUCKETS)) >> 2
    elements = load64(map + HASH_ELEMENTS)
    while True:
        link = load_acquire32(bucket) & ~LOCKED
        if link == 0:
            return 0
        while link < END:
            element = elements + link * stride
            if key_equal(element + key_offset(key_size), key, key_size):
                return link
            link = load_acquire32(element)
        if link == end:
            return 0


@native
def lock_bucket(bucket: int) -> int:
    """Wait for a bucket and lock it: the link that it holds."""
    spins = 0
    while True:
        link = load_acquire32(bucket)
        if link < LOCKED and cmpxchg32(bucket, link, link | LOCKED) == link:
            return link
        spins += 1
        if spins == SPINS:
            yield_cpu()
            spins = 0


@native
def find_link(map: int, key_size: int, stride: int, bucket: int, key: int) -> int:
    """The address of the link to the element of a key, in a locked bucket; 0 if there is none."""
    elements = load64(map + HASH_ELEMENTS)
    place = bucket
    link = load32(bucket) & ~LOCKED
    while link != 0 and link < END:
        element = elements + link * stride
        if key_equal(element + key_offset(key_size), key, key_size):
            return place
        place = element
        link = load32(element)
    return 0


@native
def set_link(bucket: int, first: int, place: int, link: int) -> int:
    """Change the link at `place` in the chain of a locked bucket, and unlock it. `first`: what the bucket held. 0."""
    if place == bucket:
        return store_release32(bucket, link)
    store_release32(place, link)
    return store_release32(bucket, first)


@native
def chain_end(map: int, bucket: int, first: int) -> int:
    """The link that follows a new first element: to what was the first one, or the end."""
    if first != 0:
        return first
    return END | (bucket - load64(map + HASH_BUCKETS)) >> 2
