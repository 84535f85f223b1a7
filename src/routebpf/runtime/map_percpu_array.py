"""Arrays with one value for each CPU. kernel: kernel/bpf/arraymap.c, percpu_array_map_ops.

Each CPU's values stand together, so CPUs do not write to the same cache line.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.errno_values import E2BIG, EEXIST, EINVAL
from routebpf.runtime.map_array import ARRAY_CPU_STRIDE, ARRAY_VALUES
from routebpf.runtime.map_layout import MAP_CPUS, MAP_MAX_ENTRIES
from routebpf.runtime.map_value import BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST, copy_value
from routebpf.runtime.memory import call6, load32, load64, low32, stack, store32, ugt
from routebpf.runtime.native import native


@native
def value_of(map: int, value_size: int, index: int, cpu_number: int) -> int:
    """The address of a CPU's value of an entry that exists."""
    values = load64(map + ARRAY_VALUES) + cpu_number * load64(map + ARRAY_CPU_STRIDE)
    return values + index * ((value_size + 7) & ~7)


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of this CPU's value, 0 beyond the end."""
    index = load32(key)
    if index >= load32(map + MAP_MAX_ENTRIES):
        return 0
    return value_of(map, value_size, index, load32(cpu + CPU_ID))


@native
def lookup_percpu(cpu: int, map: int, key_size: int, value_size: int, key: int, cpu_number: int) -> int:
    """The address of that CPU's value, 0 beyond the end or for a CPU that is not there."""
    index = load32(key)
    number = low32(cpu_number)
    if index >= load32(map + MAP_MAX_ENTRIES) or number >= load32(map + MAP_CPUS):
        return 0
    return value_of(map, value_size, index, number)


@native
def update(cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int) -> int:
    """This CPU's value. 0, or EINVAL, E2BIG (beyond the end), EEXIST (all entries exist)."""
    if ugt(flags & ~BPF_F_LOCK, BPF_EXIST):
        return -EINVAL
    to = lookup(cpu, map, key_size, value_size, key)
    if to == 0:
        return -E2BIG
    if flags & BPF_NOEXIST:
        return -EEXIST
    if flags & BPF_F_LOCK:
        return -EINVAL
    return copy_value(map, to, value, value_size)


@native
def delete(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """EINVAL: an array's entries cannot go."""
    return -EINVAL


@native
def for_each(cpu: int, map: int, key_size: int, value_size: int, callback: int, context: int, flags: int) -> int:
    """Call `callback(map, key, value of this CPU, context)` for each entry until it returns 1: how often it was."""
    if flags != 0:
        return -EINVAL
    key = stack(8)
    entries = load32(map + MAP_MAX_ENTRIES)
    for index in range(entries):
        store32(key, index)
        value = value_of(map, value_size, index, load32(cpu + CPU_ID))
        if call6(callback, cpu, map, key, value, context, 0) != 0:
            return index + 1
    return entries
