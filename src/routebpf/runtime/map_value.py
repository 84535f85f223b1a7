"""Copying values whose locks, timers and lists belong to the kernel. kernel: include/linux/bpf.h, bpf_obj_memcpy()."""

from __future__ import annotations

from routebpf.runtime.map_layout import MAP_FIELD_COUNT, MAP_FIELDS, MAP_SPIN_LOCK
from routebpf.runtime.map_lock import acquire, release
from routebpf.runtime.memory import copy, fill, load32
from routebpf.runtime.native import native

BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK = 0, 1, 2, 4


@native
def copy_value(map: int, to: int, value: int, value_size: int) -> int:
    """A value over another one, whose kernel fields stay. 0."""
    done = 0
    for number in range(load32(map + MAP_FIELD_COUNT)):
        field = map + MAP_FIELDS + number * 8
        offset = load32(field)
        copy(to + done, value + done, offset - done)
        done = offset + load32(field + 4)
    return copy(to + done, value + done, value_size - done)


@native
def set_value(map: int, to: int, value: int, value_size: int) -> int:
    """A value into a new entry: kernel fields are zero. 0."""
    for number in range(load32(map + MAP_FIELD_COUNT)):
        field = map + MAP_FIELDS + number * 8
        fill(to + load32(field), 0, load32(field + 4))
    return copy_value(map, to, value, value_size)


@native
def copy_value_locked(map: int, to: int, value: int, value_size: int) -> int:
    """`copy_value` while holding the lock of the value that is written. 0."""
    lock = to + load32(map + MAP_SPIN_LOCK) - 1
    acquire(lock)
    copy_value(map, to, value, value_size)
    return release(lock)
