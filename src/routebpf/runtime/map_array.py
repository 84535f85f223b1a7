"""Arrays. kernel: kernel/bpf/arraymap.c."""

from __future__ import annotations

from routebpf.runtime.errno_values import E2BIG, EEXIST, EINVAL
from routebpf.runtime.map_layout import MAP_MAX_ENTRIES, MAP_OWN, MAP_SPIN_LOCK
from routebpf.runtime.map_value import BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST, copy_value, copy_value_locked
from routebpf.runtime.memory import call6, load32, load64, stack, store32, ugt
from routebpf.runtime.native import native

ARRAY_VALUES = MAP_OWN  # 64 bits: the address of the first value
ARRAY_CPU_STRIDE = MAP_OWN + 8  # 64 bits: bytes from the values of one CPU to those of the next


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of a value, 0 beyond the end."""
    index = load32(key)
    if index >= load32(map + MAP_MAX_ENTRIES):
        return 0
    return load64(map + ARRAY_VALUES) + index * ((value_size + 7) & ~7)


@native
def update(cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int) -> int:
    """0, or EINVAL, E2BIG (beyond the end), EEXIST (all entries exist)."""
    if ugt(flags & ~BPF_F_LOCK, BPF_EXIST):
        return -EINVAL
    to = lookup(cpu, map, key_size, value_size, key)
    if to == 0:
        return -E2BIG
    if flags & BPF_NOEXIST:
        return -EEXIST
    if flags & BPF_F_LOCK == 0:
        return copy_value(map, to, value, value_size)
    if load32(map + MAP_SPIN_LOCK) == 0:
        return -EINVAL
    return copy_value_locked(map, to, value, value_size)


@native
def delete(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """EINVAL: an array's entries cannot go."""
    return -EINVAL


@native
def for_each(cpu: int, map: int, key_size: int, value_size: int, callback: int, context: int, flags: int) -> int:
    """Call `callback(map, key, value, context)` for each entry until it returns 1: how often it was called."""
    if flags != 0:
        return -EINVAL
    key = stack(8)
    entries = load32(map + MAP_MAX_ENTRIES)
    for index in range(entries):
        store32(key, index)
        value = load64(map + ARRAY_VALUES) + index * ((value_size + 7) & ~7)
        if call6(callback, cpu, map, key, value, context, 0) != 0:
            return index + 1
    return entries
