"""Queues: first in, first out. kernel: kernel/bpf/queue_stack_maps.c."""

from __future__ import annotations

from routebpf.runtime.errno_values import E2BIG, EINVAL, ENOENT
from routebpf.runtime.map_layout import MAP_LOCK, MAP_MAX_ENTRIES, MAP_OWN
from routebpf.runtime.map_lock import acquire, release
from routebpf.runtime.map_value import BPF_EXIST, BPF_NOEXIST
from routebpf.runtime.memory import copy, fill, load32, load64, store32, ugt
from routebpf.runtime.native import native

QUEUE_VALUES = MAP_OWN  # 64 bits: the address of a ring of max_entries values
QUEUE_FIRST = MAP_OWN + 64  # 32 bits: where the oldest value is
QUEUE_LENGTH = MAP_OWN + 68  # 32 bits: how many there are


@native
def place_of(map: int, value_size: int, number: int) -> int:
    """The address of a value, counted from the oldest."""
    entries = load32(map + MAP_MAX_ENTRIES)
    place = load32(map + QUEUE_FIRST) + number
    if place >= entries:
        place -= entries
    return load64(map + QUEUE_VALUES) + place * ((value_size + 7) & ~7)


@native
def drop_oldest(map: int) -> int:
    first = load32(map + QUEUE_FIRST) + 1
    store32(map + QUEUE_FIRST, first if first < load32(map + MAP_MAX_ENTRIES) else 0)
    return store32(map + QUEUE_LENGTH, load32(map + QUEUE_LENGTH) - 1)


@native
def push(cpu: int, map: int, key_size: int, value_size: int, value: int, flags: int) -> int:
    """Add a value; with BPF_EXIST a full map drops its oldest. 0, or EINVAL, E2BIG (full)."""
    if flags & BPF_NOEXIST or ugt(flags, BPF_EXIST):
        return -EINVAL
    result = 0
    acquire(map + MAP_LOCK)
    if load32(map + QUEUE_LENGTH) == load32(map + MAP_MAX_ENTRIES):
        if flags & BPF_EXIST:
            drop_oldest(map)
        else:
            result = -E2BIG
    if result == 0:
        length = load32(map + QUEUE_LENGTH)
        copy(place_of(map, value_size, length), value, value_size)
        store32(map + QUEUE_LENGTH, length + 1)
    release(map + MAP_LOCK)
    return result


@native
def pop(cpu: int, map: int, key_size: int, value_size: int, value: int) -> int:
    """Take the oldest value. 0, or ENOENT: then it is zeroed."""
    return get(map, value_size, value, 0, 1)


@native
def peek(cpu: int, map: int, key_size: int, value_size: int, value: int) -> int:
    """The oldest value. 0, or ENOENT: then it is zeroed."""
    return get(map, value_size, value, 0, 0)


@native
def get(map: int, value_size: int, value: int, is_newest: int, is_taken: int) -> int:
    """The oldest or newest value, which may be taken."""
    result = 0
    acquire(map + MAP_LOCK)
    length = load32(map + QUEUE_LENGTH)
    if length == 0:
        fill(value, 0, value_size)
        result = -ENOENT
    else:
        copy(value, place_of(map, value_size, length - 1 if is_newest else 0), value_size)
        if is_taken:
            if is_newest:
                store32(map + QUEUE_LENGTH, length - 1)
            else:
                drop_oldest(map)
    release(map + MAP_LOCK)
    return result
