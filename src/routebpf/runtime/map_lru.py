"""LRU hash maps. kernel: kernel/bpf/hashtab.c, htab_lru_map_ops. Which element goes: see map_lru_list."""

from __future__ import annotations

from routebpf.runtime import map_hash
from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.errno_values import EEXIST, EINVAL, ENOENT, ENOMEM
from routebpf.runtime.map_chain import (
    FREE,
    HASH_BUCKETS,
    HASH_ELEMENTS,
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
from routebpf.runtime.map_hash import element_bytes
from routebpf.runtime.map_layout import MAP_CPUS
from routebpf.runtime.map_lru_list import free_element, mark, take_element
from routebpf.runtime.map_value import BPF_EXIST, BPF_NOEXIST, set_value
from routebpf.runtime.memory import copy, load32, load64, store32, store_release32, ugt
from routebpf.runtime.native import native

for_each = map_hash.for_each


@native
def lookup(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """The address of a key's value, which is now in use; 0 if it is not there."""
    stride = element_bytes(key_size, value_size)
    element = find(map, key_size, stride, key)
    if element == 0:
        return 0
    mark(map, element)
    return load64(map + HASH_ELEMENTS) + element * stride + value_offset(key_size)


@native
def update(cpu: int, map: int, key_size: int, value_size: int, key: int, value: int, flags: int) -> int:
    """0, or EINVAL, ENOMEM (nothing could go), EEXIST (with BPF_NOEXIST), ENOENT (with BPF_EXIST)."""
    if ugt(flags, BPF_EXIST):
        return -EINVAL
    stride = element_bytes(key_size, value_size)
    bucket = bucket_of(map, key, key_size)
    number = (bucket - load64(map + HASH_BUCKETS)) >> 2
    element = take_element(map, stride, load32(cpu + CPU_ID), load32(map + MAP_CPUS), number)
    if element == 0:
        return -ENOMEM
    address = load64(map + HASH_ELEMENTS) + element * stride
    copy(address + key_offset(key_size), key, key_size)
    set_value(map, address + value_offset(key_size), value, value_size)
    first = lock_bucket(bucket)
    place = find_link(map, key_size, stride, bucket, key)
    result = 0
    if place == 0 and flags == BPF_EXIST:
        result = -ENOENT
    elif place != 0 and flags == BPF_NOEXIST:
        result = -EEXIST
    elif place == 0:
        store_release32(address, chain_end(map, bucket, first))
        return store_release32(bucket, element)
    if result != 0:
        store_release32(bucket, first)
        free_element(map, element)
        return result
    mark(map, element)
    old = load32(place) & ~LOCKED
    old_address = load64(map + HASH_ELEMENTS) + old * stride
    store_release32(address, load32(old_address))
    store32(old_address, FREE)
    set_link(bucket, first, place, element)
    return free_element(map, old)


@native
def delete(cpu: int, map: int, key_size: int, value_size: int, key: int) -> int:
    """0, or ENOENT."""
    return delete_element(map, key_size, element_bytes(key_size, value_size), key)


@native
def delete_element(map: int, key_size: int, stride: int, key: int) -> int:
    """`delete`, for elements of that many bytes."""
    bucket = bucket_of(map, key, key_size)
    first = lock_bucket(bucket)
    place = find_link(map, key_size, stride, bucket, key)
    if place == 0:
        store_release32(bucket, first)
        return -ENOENT
    element = load32(place) & ~LOCKED
    address = load64(map + HASH_ELEMENTS) + element * stride
    following = load32(address)
    store32(address, FREE)
    set_link(bucket, first, place, following)
    return free_element(map, element)
