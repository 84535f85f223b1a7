"""Hash maps with a value for each CPU. kernel: kernel/bpf/hashtab.c, htab_percpu_map_ops.

An element holds the key; each CPU's values stand together, so CPUs do not write to the same cache line.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.errno_values import E2BIG, EEXIST, EINVAL, ENOENT
from routebpf.runtime.map_chain import (
    END,
    HASH_BUCKETS,
    HASH_CPU_STRIDE,
    HASH_ELEMENTS,
    HASH_MASK,
    HASH_VALUES,
    LOCKED,
    bucket_of,
    chain_end,
    find,
    find_link,
    key_offset,
    lock_bucket,
    value_offset,
)
from routebpf.runtime.map_layout import MAP_CPUS
from routebpf.runtime.map_pool import remove, take
from routebpf.runtime.map_value import BPF_EXIST, BPF_NOEXIST
from routebpf.runtime.memory import call6, copy, fill, load32, load64, load_acquire32, low32, store_release32, ugt
from routebpf.runtime.native import native

ALL_CPUS = 1 << 31  # instead of a CPU's number: the value holds those of all CPUs, 8 bytes aligned


@native
def value_of(map: int, value_size: int, element: int, cpu_number: int) -> int:
    """The address of a CPU's value of an element."""
    values = load64(map + HASH_VALUES) + cpu_number * load64(map + HASH_CPU_STRIDE)
    return values + element * ((value_size + 7) & ~7)


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of this CPU's value of a key, 0 if it is not there."""
    element = find(map, key_size, value_offset(key_size), key)
    if element == 0:
        return 0
    return value_of(map, value_size, element, load32(cpu + CPU_ID))


@native
def lookup_percpu(cpu: int, map: int, key_size: int, value_size: int, key: int, cpu_number: int) -> int:
    """The address of that CPU's value of a key, 0 if the key or the CPU is not there."""
    number = low32(cpu_number)
    if number >= load32(map + MAP_CPUS):
        return 0
    element = find(map, key_size, value_offset(key_size), key)
    if element == 0:
        return 0
    return value_of(map, value_size, element, number)


@native
def write_value(map: int, value_size: int, element: int, value: int, cpu_number: int) -> int:
    """A CPU's value, or those of ALL_CPUS. 0."""
    if cpu_number != ALL_CPUS:
        return copy(value_of(map, value_size, element, cpu_number), value, value_size)
    for number in range(load32(map + MAP_CPUS)):
        copy(value_of(map, value_size, element, number), value + number * ((value_size + 7) & ~7), value_size)
    return 0


@native
def start_values(map: int, value_size: int, element: int, value: int, cpu_number: int) -> int:
    """The values of a new element: those that are not given are zero. 0."""
    if cpu_number != ALL_CPUS:
        for number in range(load32(map + MAP_CPUS)):
            fill(value_of(map, value_size, element, number), 0, value_size)
    return write_value(map, value_size, element, value, cpu_number)


@native
def update(cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int) -> int:
    """This CPU's value. 0, or EINVAL, E2BIG (full), EEXIST (with BPF_NOEXIST), ENOENT (with BPF_EXIST)."""
    return update_cpu(map, key_size, value_size, key, value, flags, load32(cpu + CPU_ID))


@native
def update_all(cpu: int, map: int, key_size: int, value_size: int, key: int, values: int, flags: int) -> int:
    """The values of all CPUs, as bpf(2) sets them."""
    return update_cpu(map, key_size, value_size, key, values, flags, ALL_CPUS)


@native
def update_cpu(map: int, key_size: int, value_size: int, key: int, value: int, flags: int, cpu_number: int) -> int:
    """The value of a CPU, or of ALL_CPUS."""
    if ugt(flags, BPF_EXIST):
        return -EINVAL
    stride = value_offset(key_size)
    bucket = bucket_of(map, key, key_size)
    first = lock_bucket(bucket)
    place = find_link(map, key_size, stride, bucket, key)
    if place != 0:
        result = -EEXIST
        if flags != BPF_NOEXIST:
            result = write_value(map, value_size, load32(place) & ~LOCKED, value, cpu_number)
        store_release32(bucket, first)
        return result
    result = -E2BIG
    element = 0
    if flags == BPF_EXIST:
        result = -ENOENT
    else:
        element = take(map, stride)
    if element == 0:
        store_release32(bucket, first)
        return result
    address = load64(map + HASH_ELEMENTS) + element * stride
    copy(address + key_offset(key_size), key, key_size)
    start_values(map, value_size, element, value, cpu_number)
    store_release32(address, chain_end(map, bucket, first))
    return store_release32(bucket, element)


@native
def delete(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """0, or ENOENT."""
    stride = value_offset(key_size)
    bucket = bucket_of(map, key, key_size)
    first = lock_bucket(bucket)
    place = find_link(map, key_size, stride, bucket, key)
    if place == 0:
        store_release32(bucket, first)
        return -ENOENT
    return remove(map, stride, bucket, first, place)


@native
def for_each(cpu: int, map: int, key_size: int, value_size: int, callback: int, context: int, flags: int) -> int:
    """Call `callback(map, key, value of this CPU, context)` for each entry until it returns 1: how often it was."""
    if flags != 0:
        return -EINVAL
    elements = load64(map + HASH_ELEMENTS)
    calls = 0
    for bucket in range(load64(map + HASH_MASK) + 1):
        link = load_acquire32(load64(map + HASH_BUCKETS) + bucket * 4) & ~LOCKED
        while link != 0 and link < END:
            address = elements + link * value_offset(key_size)
            value = value_of(map, value_size, link, load32(cpu + CPU_ID))
            link = load_acquire32(address)
            calls += 1
            if call6(callback, cpu, map, address + key_offset(key_size), value, context, 0) != 0:
                return calls
    return calls
