"""The map helpers for a map whose type is not known when the program is compiled: each goes by the map's header."""

from __future__ import annotations

from routebpf.runtime import (
    map_array,
    map_bloom,
    map_hash,
    map_lpm,
    map_lru,
    map_of_maps,
    map_of_maps_hash,
    map_percpu_array,
    map_percpu_hash,
    map_percpu_lru,
    map_queue,
    map_stack,
)
from routebpf.runtime.errno_values import EINVAL, EOPNOTSUPP
from routebpf.runtime.map_layout import MAP_KEY_SIZE, MAP_TYPE, MAP_VALUE_SIZE
from routebpf.runtime.memory import load32
from routebpf.runtime.native import native

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE = 1, 2, 5, 6, 9, 10, 11
ARRAY_OF_MAPS, HASH_OF_MAPS, QUEUE, STACK, BLOOM_FILTER = 12, 13, 22, 23, 30

# A native function names its callees by global names.
array_lookup, array_update = map_array.lookup, map_array.update
hash_lookup, hash_update, hash_delete = map_hash.lookup, map_hash.update, map_hash.delete
percpu_array_lookup, percpu_array_update = map_percpu_array.lookup, map_percpu_array.update
percpu_hash_lookup, percpu_hash_update = map_percpu_hash.lookup, map_percpu_hash.update
percpu_hash_delete = map_percpu_hash.delete
lru_lookup, lru_update, lru_delete = map_lru.lookup, map_lru.update, map_lru.delete
percpu_lru_lookup, percpu_lru_update = map_percpu_lru.lookup, map_percpu_lru.update
percpu_lru_delete = map_percpu_lru.delete
lpm_lookup, lpm_update, lpm_delete = map_lpm.lookup, map_lpm.update, map_lpm.delete
of_maps_lookup, of_maps_hash_lookup = map_of_maps.lookup, map_of_maps_hash.lookup
queue_push, queue_pop, queue_peek = map_queue.push, map_queue.pop, map_queue.peek
stack_pop, stack_peek = map_stack.pop, map_stack.peek
bloom_push, bloom_peek = map_bloom.push, map_bloom.peek
array_for_each, percpu_array_for_each = map_array.for_each, map_percpu_array.for_each
hash_for_each, percpu_hash_for_each = map_hash.for_each, map_percpu_hash.for_each
percpu_array_lookup_cpu = map_percpu_array.lookup_percpu
percpu_hash_lookup_cpu = map_percpu_hash.lookup_percpu
percpu_lru_lookup_cpu = map_percpu_lru.lookup_percpu


@native
def bpf_map_lookup_elem(cpu: int, map: int, key: int) -> int:
    """The address of a key's value (of a map of maps: the map), 0 if there is none."""
    kind = load32(map + MAP_TYPE)
    key_size = load32(map + MAP_KEY_SIZE)
    value_size = load32(map + MAP_VALUE_SIZE)
    if kind == ARRAY:
        return array_lookup(cpu, map, key_size, value_size, key)
    if kind == HASH:
        return hash_lookup(cpu, map, key_size, value_size, key)
    if kind == PERCPU_ARRAY:
        return percpu_array_lookup(cpu, map, key_size, value_size, key)
    if kind == PERCPU_HASH:
        return percpu_hash_lookup(cpu, map, key_size, value_size, key)
    if kind == LRU_HASH:
        return lru_lookup(cpu, map, key_size, value_size, key)
    if kind == LRU_PERCPU_HASH:
        return percpu_lru_lookup(cpu, map, key_size, value_size, key)
    if kind == LPM_TRIE:
        return lpm_lookup(cpu, map, key_size, value_size, key)
    if kind == ARRAY_OF_MAPS:
        return of_maps_lookup(cpu, map, key_size, value_size, key)
    if kind == HASH_OF_MAPS:
        return of_maps_hash_lookup(cpu, map, key_size, value_size, key)
    return 0


@native
def bpf_map_update_elem(cpu: int, map: int, key: int, value: int, flags: int) -> int:
    """Set a key's value: 0, or a negative errno."""
    kind = load32(map + MAP_TYPE)
    key_size = load32(map + MAP_KEY_SIZE)
    value_size = load32(map + MAP_VALUE_SIZE)
    if kind == ARRAY:
        return array_update(cpu, map, key_size, value_size, key, value, flags)
    if kind == HASH:
        return hash_update(cpu, map, key_size, value_size, key, value, flags)
    if kind == PERCPU_ARRAY:
        return percpu_array_update(cpu, map, key_size, value_size, key, value, flags)
    if kind == PERCPU_HASH:
        return percpu_hash_update(cpu, map, key_size, value_size, key, value, flags)
    if kind == LRU_HASH:
        return lru_update(cpu, map, key_size, value_size, key, value, flags)
    if kind == LRU_PERCPU_HASH:
        return percpu_lru_update(cpu, map, key_size, value_size, key, value, flags)
    if kind == LPM_TRIE:
        return lpm_update(cpu, map, key_size, value_size, key, value, flags)
    return -EINVAL


@native
def bpf_map_delete_elem(cpu: int, map: int, key: int) -> int:
    """Delete a key: 0, or a negative errno."""
    kind = load32(map + MAP_TYPE)
    key_size = load32(map + MAP_KEY_SIZE)
    value_size = load32(map + MAP_VALUE_SIZE)
    if kind == HASH:
        return hash_delete(cpu, map, key_size, value_size, key)
    if kind == PERCPU_HASH:
        return percpu_hash_delete(cpu, map, key_size, value_size, key)
    if kind == LRU_HASH:
        return lru_delete(cpu, map, key_size, value_size, key)
    if kind == LRU_PERCPU_HASH:
        return percpu_lru_delete(cpu, map, key_size, value_size, key)
    if kind == LPM_TRIE:
        return lpm_delete(cpu, map, key_size, value_size, key)
    return -EINVAL


@native
def bpf_map_push_elem(cpu: int, map: int, value: int, flags: int) -> int:
    """Add a value to a queue, stack or bloom filter: 0, or a negative errno."""
    if load32(map + MAP_TYPE) == BLOOM_FILTER:
        return bloom_push(cpu, map, 0, load32(map + MAP_VALUE_SIZE), value, flags)
    return queue_push(cpu, map, 0, load32(map + MAP_VALUE_SIZE), value, flags)


@native
def bpf_map_pop_elem(cpu: int, map: int, value: int) -> int:
    """Take the next value of a queue or stack: 0, or a negative errno."""
    kind = load32(map + MAP_TYPE)
    if kind == QUEUE:
        return queue_pop(cpu, map, 0, load32(map + MAP_VALUE_SIZE), value)
    if kind == STACK:
        return stack_pop(cpu, map, 0, load32(map + MAP_VALUE_SIZE), value)
    return -EOPNOTSUPP


@native
def bpf_map_peek_elem(cpu: int, map: int, value: int) -> int:
    """The next value of a queue or stack, or whether a bloom filter has the value: 0, or a negative errno."""
    kind = load32(map + MAP_TYPE)
    if kind == QUEUE:
        return queue_peek(cpu, map, 0, load32(map + MAP_VALUE_SIZE), value)
    if kind == STACK:
        return stack_peek(cpu, map, 0, load32(map + MAP_VALUE_SIZE), value)
    return bloom_peek(cpu, map, 0, load32(map + MAP_VALUE_SIZE), value)


@native
def bpf_map_lookup_percpu_elem(cpu: int, map: int, key: int, cpu_number: int) -> int:
    """The address of a CPU's value of a key, 0 if there is none."""
    kind = load32(map + MAP_TYPE)
    key_size = load32(map + MAP_KEY_SIZE)
    value_size = load32(map + MAP_VALUE_SIZE)
    if kind == PERCPU_ARRAY:
        return percpu_array_lookup_cpu(cpu, map, key_size, value_size, key, cpu_number)
    if kind == PERCPU_HASH:
        return percpu_hash_lookup_cpu(cpu, map, key_size, value_size, key, cpu_number)
    if kind == LRU_PERCPU_HASH:
        return percpu_lru_lookup_cpu(cpu, map, key_size, value_size, key, cpu_number)
    return 0


@native
def bpf_for_each_map_elem(cpu: int, map: int, callback: int, context: int, flags: int) -> int:
    """Call `callback(map, key, value, context)` for each entry until it returns 1: how often it was called."""
    kind = load32(map + MAP_TYPE)
    key_size = load32(map + MAP_KEY_SIZE)
    value_size = load32(map + MAP_VALUE_SIZE)
    if kind == ARRAY:
        return array_for_each(cpu, map, key_size, value_size, callback, context, flags)
    if kind == HASH or kind == LRU_HASH:
        return hash_for_each(cpu, map, key_size, value_size, callback, context, flags)
    if kind == PERCPU_ARRAY:
        return percpu_array_for_each(cpu, map, key_size, value_size, callback, context, flags)
    if kind == PERCPU_HASH or kind == LRU_PERCPU_HASH:
        return percpu_hash_for_each(cpu, map, key_size, value_size, callback, context, flags)
    return -EINVAL
