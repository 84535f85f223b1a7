"""The map types of the kernel: numbers, what a create of one must say, and the helpers that take one.

kernel: include/uapi/linux/bpf.h, enum bpf_map_type; map_alloc_check() of each type; kernel/bpf/verifier.c,
check_map_func_compatibility().
"""

from __future__ import annotations

from typing import NamedTuple


class MapType(NamedTuple):
    """A map type: the kernel's number, the kernel that brought it, and its rules.

    `key_size` and `value_size` are the sizes in bytes that a create must give, None where any goes. `max_entries` is
    what a create must give, None where any above zero goes. `is_per_cpu`: a value for each CPU. `holds` is what its
    values name if they are not the user's data. `helpers` are those that an LWT program may call on it with
    well-formed arguments, without "bpf_"; `direct_value`: a program may hold the address of its value;
    `programs_only_read`: programs cannot write to values, whatever the flags of the map.
    """

    name: str
    number: int
    since: tuple[int, int]
    key_size: int | None
    value_size: int | None
    helpers: tuple[str, ...]
    doc: str
    max_entries: int | None = None
    is_per_cpu: bool = False
    holds: str = ""
    direct_value: bool = False
    programs_only_read: bool = False

    @property
    def is_open(self) -> bool:
        """Whether helpers take it that are not for some types only (kernel: check_map_func_compatibility())."""
        return "map_update_elem" in self.helpers or (self.direct_value and not self.helpers)

    @property
    def kernel_struct(self) -> str:
        """The kernel's struct of such a map, which a program may read."""
        return _KERNEL_STRUCTS.get(self.name, "")


_ELEMENTS = ("map_lookup_elem", "map_update_elem", "map_delete_elem", "for_each_map_elem")
_PER_CPU = (*_ELEMENTS, "map_lookup_percpu_elem")
_PLAIN = ("map_lookup_elem", "map_update_elem", "map_delete_elem")
_QUEUE = ("map_push_elem", "map_pop_elem", "map_peek_elem")
_RINGBUF = ("ringbuf_output", "ringbuf_reserve", "ringbuf_query", "ringbuf_reserve_dynptr")
_PERF = ("perf_event_output", "perf_event_read", "perf_event_read_value")
_CGROUP = ("skb_under_cgroup", "current_task_under_cgroup")
_TASK = ("task_storage_get", "task_storage_delete")
_CGRP = ("cgrp_storage_get", "cgrp_storage_delete")
_LOOKUP = ("map_lookup_elem",)
_ANY = None

_KERNEL_STRUCTS = {
    **dict.fromkeys(("HASH", "PERCPU_HASH", "LRU_HASH", "LRU_PERCPU_HASH", "HASH_OF_MAPS"), "bpf_htab"),
    **dict.fromkeys(
        ("ARRAY", "PERCPU_ARRAY", "PROG_ARRAY", "PERF_EVENT_ARRAY", "CGROUP_ARRAY", "ARRAY_OF_MAPS"), "bpf_array"
    ),
    **dict.fromkeys(("SK_STORAGE", "INODE_STORAGE", "TASK_STORAGE", "CGRP_STORAGE"), "bpf_local_storage_map"),
    **dict.fromkeys(("QUEUE", "STACK"), "bpf_queue_stack"),
    **dict.fromkeys(("DEVMAP", "DEVMAP_HASH"), "bpf_dtab"),
    **dict.fromkeys(("RINGBUF", "USER_RINGBUF"), "bpf_ringbuf_map"),
    "LPM_TRIE": "lpm_trie",
    "STACK_TRACE": "bpf_stack_map",
    "CPUMAP": "bpf_cpu_map",
    "XSKMAP": "xsk_map",
    "BLOOM_FILTER": "bpf_bloom_filter",
    "ARENA": "bpf_arena",
}

# fmt: off
MAP_TYPES: tuple[MapType, ...] = (
    MapType("HASH", 1, (3, 19), _ANY, _ANY, _ELEMENTS, "Keys of any bytes."),
    MapType("ARRAY", 2, (3, 19), 4, _ANY, _ELEMENTS, "Values by index, all there from the start, zeroed.",
            direct_value=True),
    MapType("PROG_ARRAY", 3, (4, 2), 4, 4, ("tail_call",), "Programs to go on in.", holds="programs"),
    MapType("PERF_EVENT_ARRAY", 4, (4, 3), 4, 4, _PERF, "Perf buffers or counters, one for each CPU.",
            holds="perf events"),
    MapType("PERCPU_HASH", 5, (4, 6), _ANY, _ANY, _PER_CPU, "Keys of any bytes, a value for each CPU.",
            is_per_cpu=True),
    MapType("PERCPU_ARRAY", 6, (4, 6), 4, _ANY, _PER_CPU, "Values by index, one for each CPU.", is_per_cpu=True),
    MapType("STACK_TRACE", 7, (4, 6), 4, _ANY, (), "Call stacks by their hash."),
    MapType("CGROUP_ARRAY", 8, (4, 8), 4, 4, _CGROUP, "Cgroups.", holds="cgroups"),
    MapType("LRU_HASH", 9, (4, 10), _ANY, _ANY, _ELEMENTS, "A hash that makes room by forgetting the least used."),
    MapType("LRU_PERCPU_HASH", 10, (4, 10), _ANY, _ANY, _PER_CPU, "The same, a value for each CPU.", is_per_cpu=True),
    MapType("LPM_TRIE", 11, (4, 11), _ANY, _ANY, _PLAIN,
            "Prefixes, found by the longest match: a u32 of bits, then 1 to 256 bytes. Needs BPF_F_NO_PREALLOC."),
    MapType("ARRAY_OF_MAPS", 12, (4, 12), 4, 4, _LOOKUP, "Maps by index.", holds="maps"),
    MapType("HASH_OF_MAPS", 13, (4, 12), _ANY, 4, _LOOKUP, "Maps by key.", holds="maps"),
    MapType("DEVMAP", 14, (4, 14), 4, _ANY, _LOOKUP, "Devices, for XDP.", holds="devices",
            programs_only_read=True),
    MapType("SOCKMAP", 15, (4, 14), 4, _ANY, (), "Sockets by index.", holds="sockets"),
    MapType("CPUMAP", 16, (4, 15), 4, _ANY, (), "CPUs, for XDP.", holds="CPUs"),
    MapType("XSKMAP", 17, (4, 18), 4, 4, _LOOKUP, "AF_XDP sockets.", holds="sockets"),
    MapType("SOCKHASH", 18, (4, 18), _ANY, _ANY, (), "Sockets by key.", holds="sockets"),
    MapType("CGROUP_STORAGE", 19, (4, 19), _ANY, _ANY, (), "A value for each cgroup and attach type.", 0),
    MapType("REUSEPORT_SOCKARRAY", 20, (4, 19), 4, _ANY, (), "Sockets of a reuseport group.", holds="sockets"),
    MapType("PERCPU_CGROUP_STORAGE", 21, (4, 20), _ANY, _ANY, (), "The same as CGROUP_STORAGE for each CPU.", 0, True),
    MapType("QUEUE", 22, (4, 20), 0, _ANY, _QUEUE, "Values, first in first out."),
    MapType("STACK", 23, (4, 20), 0, _ANY, _QUEUE, "Values, last in first out."),
    MapType("SK_STORAGE", 24, (5, 2), 4, _ANY, (), "A value for each socket. Needs BTF.", 0),
    MapType("DEVMAP_HASH", 25, (5, 4), 4, _ANY, _LOOKUP, "Devices by key, for XDP.", holds="devices",
            programs_only_read=True),
    MapType("STRUCT_OPS", 26, (5, 6), 4, _ANY, (), "Functions of a kernel interface. Needs BTF.", 1),
    MapType("RINGBUF", 27, (5, 8), 0, 0, _RINGBUF,
            "Records for user space; max_entries is its bytes, a power of two of pages."),
    MapType("INODE_STORAGE", 28, (5, 10), 4, _ANY, (), "A value for each inode. Needs BTF.", 0),
    MapType("TASK_STORAGE", 29, (5, 11), 4, _ANY, _TASK, "A value for each task. Needs BTF.", 0),
    MapType("BLOOM_FILTER", 30, (5, 16), 0, _ANY, ("map_push_elem", "map_peek_elem"),
            "Whether a value was ever added: no, or probably."),
    MapType("USER_RINGBUF", 31, (6, 1), 0, 0, ("user_ringbuf_drain",),
            "Records from user space; max_entries is its bytes, a power of two of pages."),
    MapType("CGRP_STORAGE", 32, (6, 2), 4, _ANY, _CGRP, "A value for each cgroup. Needs BTF.", 0),
    MapType("ARENA", 33, (6, 9), 0, 0, (), "Memory shared with user space; max_entries is its pages.",
            direct_value=True),
)
# fmt: on
_BY_NUMBER = {row.number: row for row in MAP_TYPES}


def map_type_by_number(number: int) -> MapType | None:
    """The map type with this number of enum bpf_map_type, or None."""
    return _BY_NUMBER.get(number)
