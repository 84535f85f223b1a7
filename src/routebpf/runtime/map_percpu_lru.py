"""LRU hash maps with a value for each CPU. kernel: kernel/bpf/hashtab.c, htab_lru_percpu_map_ops."""

from __future__ import annotations

from routebpf.runtime import map_percpu_hash
from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.errno_values import EEXIST, EINVAL, ENOENT, ENOMEM
from routebpf.runtime.map_chain import (
    HASH_BUCKETS,
    HASH_ELEMENTS,
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
from routebpf.runtime.map_lru import delete_element
from routebpf.runtime.map_lru_list import free_element, mark, take_element
from routebpf.runtime.map_percpu_hash import ALL_CPUS, start_values, value_of, write_value
from routebpf.runtime.map_value import BPF_EXIST, BPF_NOEXIST
from routebpf.runtime.memory import copy, load32, load64, low32, store_release32, ugt
from routebpf.runtime.native import native

for_each = map_percpu_hash.for_each


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of this CPU's value of a key, which is now in use; 0 if it is not there."""
    return lookup_percpu(cpu, map, key_size, value_size, key, load32(cpu + CPU_ID))


@native
def lookup_percpu(cpu: int, map: int, key_size: int, value_size: int, key: int, cpu_number: int) -> int:
    """The address of that CPU's value of a key, which is now in use; 0 if the key or the CPU is not there."""
    number = low32(cpu_number)
    if number >= load32(map + MAP_CPUS):
        return 0
    element = find(map, key_size, value_offset(key_size), key)
    if element == 0:
        return 0
    mark(map, element)
    return value_of(map, value_size, element, number)


@native
def update(cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int) -> int:
    """This CPU's value. 0, or EINVAL, ENOMEM (nothing could go), EEXIST (BPF_NOEXIST), ENOENT (BPF_EXIST)."""
    number = load32(cpu + CPU_ID)
    return update_cpu(cpu, map, key_size, value_size, key, value, flags, number)


@native
def update_all(cpu: int, map: int, key_size: int, value_size: int, key: int, values: int, flags: int) -> int:
    """The values of all CPUs, as bpf(2) sets them."""
    return update_cpu(cpu, map, key_size, value_size, key, values, flags, ALL_CPUS)


@native
def update_cpu(
    cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int, cpu_number: int
) -> int:
    """The value of a CPU, or of ALL_CPUS. Without BPF_EXIST room is made before it is known whether it is needed."""
    if ugt(flags, BPF_EXIST):
        return -EINVAL
    stride = value_offset(key_size)
    bucket = bucket_of(map, key, key_size)
    element = 0
    if flags != BPF_EXIST:
        number = (bucket - load64(map + HASH_BUCKETS)) >> 2
        element = take_element(map, stride, load32(cpu + CPU_ID), load32(map + MAP_CPUS), number)
        if element == 0:
            return -ENOMEM
    first = lock_bucket(bucket)
    place = find_link(map, key_size, stride, bucket, key)
    if place == 0 and element != 0:
        address = load64(map + HASH_ELEMENTS) + element * stride
        copy(address + key_offset(key_size), key, key_size)
        start_values(map, value_size, element, value, cpu_number)
        store_release32(address, chain_end(map, bucket, first))
        return store_release32(bucket, element)
    result = -ENOENT
    if place != 0 and flags == BPF_NOEXIST:
        result = -EEXIST
    elif place != 0:
        mark(map, load32(place) & ~LOCKED)
        result = write_value(map, value_size, load32(place) & ~LOCKED, value, cpu_number)
    store_release32(bucket, first)
    if element != 0:
        free_element(map, element)
    return result


@native
def delete(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """0, or ENOENT."""
    return delete_element(map, key_size, value_offset(key_size), key)
