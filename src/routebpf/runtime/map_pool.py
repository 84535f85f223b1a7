"""The elements of a hash map that are in no chain: a stack of free ones, then those that were never used.

The last one freed is the next one taken, as in the kernel (kernel/bpf/percpu_freelist.c).
"""

from __future__ import annotations

from routebpf.runtime.map_chain import FREE, HASH_CAPACITY, HASH_ELEMENTS, HASH_FREE, HASH_USED, LOCKED
from routebpf.runtime.memory import cmpxchg64, load32, load64, load_acquire64, low32, store32, store_release32
from routebpf.runtime.native import native

_CHANGE = 1 << 32  # one change of the stack, in its high bits: a number that came back is not the same state


@native
def take(map: int, stride: int) -> int:
    """A free element, 0 if there is none."""
    elements = load64(map + HASH_ELEMENTS)
    while True:
        old = load_acquire64(map + HASH_FREE)
        element = low32(old)
        if element == 0:
            break
        below = load32(elements + element * stride) & ~FREE
        if cmpxchg64(map + HASH_FREE, old, (old - element + _CHANGE) | below) == old:
            return element
    capacity = load64(map + HASH_CAPACITY)
    while True:
        used = load_acquire64(map + HASH_USED)
        if used >= capacity:
            return 0
        if cmpxchg64(map + HASH_USED, used, used + 1) == used:
            store32(elements + used * stride, FREE)
            return used


@native
def give(map: int, stride: int, element: int) -> int:
    """Free an element that is in no chain any more. 0."""
    address = load64(map + HASH_ELEMENTS) + element * stride
    while True:
        old = load_acquire64(map + HASH_FREE)
        store32(address, FREE | low32(old))
        if cmpxchg64(map + HASH_FREE, old, (old - low32(old) + _CHANGE) | element) == old:
            return 0


@native
def remove(map: int, stride: int, bucket: int, first: int, place: int) -> int:
    """Free the element that the link at `place` of a locked bucket is to, and unlock it: then its room is there. 0."""
    element = load32(place) & ~LOCKED
    following = load32(load64(map + HASH_ELEMENTS) + element * stride)
    if place == bucket:
        first = following
        store_release32(bucket, following | LOCKED)
    else:
        store_release32(place, following)
    give(map, stride, element)
    return store_release32(bucket, first)
