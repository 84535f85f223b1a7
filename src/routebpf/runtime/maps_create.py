"""What a map must be to be created. kernel: map_create() and each type's map_alloc_check()."""

from __future__ import annotations

from collections.abc import Callable

from routebpf.errors import MapError
from routebpf.objects.model import MapDefinition
from routebpf.runtime.errno_values import E2BIG, EINVAL, ENOTSUPP

(
    BPF_F_NO_PREALLOC,
    BPF_F_NO_COMMON_LRU,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_WRONLY,
) = (1 << bit for bit in range(5))
BPF_F_ZERO_SEED, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG = 1 << 6, 1 << 7, 1 << 8
BPF_F_MMAPABLE, BPF_F_PRESERVE_ELEMS, BPF_F_INNER_MAP = 1 << 10, 1 << 11, 1 << 12
_ACCESS = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG
_PROGRAM_ACCESS = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG
_LRU = frozenset((9, 10))
_OF_MAPS = frozenset((12, 13))
_PER_CPU = frozenset((5, 6, 10))
_PER_CPU_LIMIT = 32 << 10  # bytes of a CPU's value: PCPU_MIN_UNIT_SIZE
_KMALLOC_MAX = 4 << 20  # bytes: KMALLOC_MAX_SIZE with pages of 4 KB
_INT_MAX = (1 << 31) - 1
_PAGE_BYTES = 4096
_HASH_ELEMENT, _LPM_NODE = 48, 24  # bytes: sizeof(struct htab_elem), sizeof(struct lpm_trie_node)
_LPM_KEY = 4  # bytes of the prefix length before the data
_LPM_DATA_MAX = 256


def check_definition(definition: MapDefinition) -> None:
    """Raise MapError, with the kernel's errno, for a map that the kernel would not create."""
    check = _CHECKS.get(definition.type)
    if check is None:
        return
    if definition.map_extra and definition.type != 30:
        _refuse(definition, EINVAL, f"map_extra {definition.map_extra}; only a bloom filter has one")
    for forbidden in (BPF_F_RDONLY | BPF_F_WRONLY, _PROGRAM_ACCESS):
        if definition.flags & forbidden == forbidden:
            _refuse(definition, EINVAL, f"flags {definition.flags:#x}; it cannot be both read-only and write-only")
    check(definition)


def _refuse(definition: MapDefinition, errno: int, what: str) -> None:
    raise MapError(errno, f"map {definition.name}: create with {what}")


def _check_flags(definition: MapDefinition, allowed: int) -> None:
    wrong = definition.flags & ~allowed
    if wrong:
        _refuse(definition, EINVAL, f"flags {definition.flags:#x}; {wrong:#x} is not for this map type")


def _check_sizes(definition: MapDefinition) -> None:
    """At least one entry, and a value of at least a byte."""
    if definition.max_entries == 0:
        _refuse(definition, EINVAL, "max_entries 0; give the number of entries")
    if definition.value_size == 0:
        _refuse(definition, EINVAL, "value_size 0; give the value's type or size")


def _check_key(definition: MapDefinition, size: int) -> None:
    if definition.key_size != size:
        _refuse(definition, EINVAL, f"key_size {definition.key_size}; this map type has {size}")


def _check_node(definition: MapDefinition) -> None:
    is_of_cpus = definition.type in _PER_CPU or definition.flags & BPF_F_NO_COMMON_LRU
    if is_of_cpus and definition.flags & BPF_F_NUMA_NODE:
        _refuse(definition, EINVAL, "BPF_F_NUMA_NODE; what each CPU has for itself is on no other node")


def _check_per_cpu_size(definition: MapDefinition) -> None:
    if definition.type in _PER_CPU and (definition.value_size + 7) & ~7 > _PER_CPU_LIMIT:
        _refuse(definition, E2BIG, f"value_size {definition.value_size}; a per-CPU value has at most {_PER_CPU_LIMIT}")


def _check_array(definition: MapDefinition) -> None:
    _check_sizes(definition)
    _check_key(definition, 4)
    is_plain = definition.type == 2
    _check_flags(definition, BPF_F_NUMA_NODE | _ACCESS | (BPF_F_MMAPABLE | BPF_F_INNER_MAP if is_plain else 0))
    _check_node(definition)
    if definition.value_size > _INT_MAX:
        _refuse(definition, E2BIG, f"value_size {definition.value_size}; at most {_INT_MAX}")
    _check_per_cpu_size(definition)


def _check_slots(definition: MapDefinition) -> None:
    """A value names a program or map: 4 bytes, and no program writes it."""
    if definition.value_size != 4:
        _refuse(definition, EINVAL, f"value_size {definition.value_size}; slots have 4")
    if definition.type not in _OF_MAPS:
        return
    if definition.inner is None:
        _refuse(definition, EINVAL, "no inner map; give one by __array(values, …)")
    elif definition.inner.type in _OF_MAPS:
        _refuse(definition, EINVAL, "inner maps that hold maps; only one level goes")
    elif definition.inner.type == 3:
        _refuse(definition, ENOTSUPP, "inner maps that hold programs")
    else:
        check_definition(definition.inner)


def _check_slot_array(definition: MapDefinition) -> None:
    _check_slots(definition)
    _check_flags(definition, ~_PROGRAM_ACCESS)
    _check_array(definition)


def _check_perf_event_array(definition: MapDefinition) -> None:
    """max_entries 0 stands for the number of CPUs, as it does in libbpf."""
    flags = definition.flags & ~BPF_F_PRESERVE_ELEMS
    _check_slot_array(definition._replace(flags=flags, max_entries=definition.max_entries or 1))


def _check_ring(definition: MapDefinition) -> None:
    _check_flags(definition, BPF_F_NUMA_NODE)
    if definition.key_size or definition.value_size:
        _refuse(definition, EINVAL, "a key or value; a ring buffer has none")
    size = definition.max_entries
    if size == 0 or size & (size - 1) or size % _PAGE_BYTES:
        _refuse(definition, EINVAL, f"max_entries {size}; give bytes: a power of two, at least {_PAGE_BYTES}")


def _check_hash(definition: MapDefinition) -> None:
    is_lru = definition.type in _LRU
    _check_flags(definition, BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | _ACCESS | BPF_F_ZERO_SEED)
    if definition.flags & BPF_F_NO_COMMON_LRU and not is_lru:
        _refuse(definition, EINVAL, "BPF_F_NO_COMMON_LRU; only an LRU hash takes it")
    if definition.flags & BPF_F_NO_PREALLOC and is_lru:
        _refuse(definition, ENOTSUPP, "BPF_F_NO_PREALLOC; an LRU hash does not take it")
    _check_node(definition)
    _check_sizes(definition)
    if definition.key_size == 0:
        _refuse(definition, EINVAL, "key_size 0; give the key's type or size")
    if definition.key_size + definition.value_size >= _KMALLOC_MAX - _HASH_ELEMENT:
        _refuse(definition, E2BIG, f"an entry of {definition.key_size + definition.value_size} bytes")
    _check_per_cpu_size(definition)
    if definition.max_entries > 1 << 31:
        _refuse(definition, E2BIG, f"max_entries {definition.max_entries}")


def _check_hash_of_maps(definition: MapDefinition) -> None:
    _check_slots(definition)
    _check_hash(definition)


def _check_lpm(definition: MapDefinition) -> None:
    if not definition.flags & BPF_F_NO_PREALLOC:
        _refuse(definition, EINVAL, "no BPF_F_NO_PREALLOC; an LPM trie needs that flag")
    _check_flags(definition, BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | _ACCESS)
    _check_sizes(definition)
    if not _LPM_KEY < definition.key_size <= _LPM_KEY + _LPM_DATA_MAX:
        _refuse(definition, EINVAL, f"key_size {definition.key_size}; 4 for the prefix length, then 1 to 256")
    if definition.value_size > _KMALLOC_MAX - _LPM_DATA_MAX - _LPM_NODE:
        _refuse(definition, EINVAL, f"value_size {definition.value_size}")


def _check_queue(definition: MapDefinition) -> None:
    _check_key(definition, 0)
    _check_sizes(definition)
    _check_flags(definition, BPF_F_NUMA_NODE | _ACCESS)
    if definition.value_size > _KMALLOC_MAX:
        _refuse(definition, E2BIG, f"value_size {definition.value_size}; at most {_KMALLOC_MAX}")


def _check_bloom(definition: MapDefinition) -> None:
    if definition.value_size > _KMALLOC_MAX:
        _refuse(definition, E2BIG, f"value_size {definition.value_size}; at most {_KMALLOC_MAX}")
    _check_key(definition, 0)
    _check_sizes(definition)
    _check_flags(definition, BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | _ACCESS)
    if definition.map_extra & ~0xF:
        _refuse(definition, EINVAL, f"map_extra {definition.map_extra}; it is the number of hash functions, at most 15")


_CHECKS: dict[int, Callable[[MapDefinition], None]] = {
    1: _check_hash,
    2: _check_array,
    3: _check_slot_array,
    4: _check_perf_event_array,
    5: _check_hash,
    6: _check_array,
    9: _check_hash,
    10: _check_hash,
    11: _check_lpm,
    12: _check_slot_array,
    13: _check_hash_of_maps,
    22: _check_queue,
    23: _check_queue,
    27: _check_ring,
    30: _check_bloom,
    31: _check_ring,
}
