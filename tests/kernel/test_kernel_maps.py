"""Maps by bpf(2): as defined, with the kernel's answers, and with the face that maps of the embedded host have."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from kernel_bpf import create_map as create_raw
from kernel_view import fdinfo
from routebpf.errors import InputError, MapError
from routebpf.hosts.map_view import MapView
from routebpf.kernel import map_batch
from routebpf.kernel.map_create import create_map
from routebpf.kernel.map_open import differences, map_by_id, types_of
from routebpf.kernel.object import load_in_kernel
from routebpf.kernel.running import possible_cpus
from routebpf.objects.model import MapDefinition, MapKind
from routebpf.runtime.maps import create_map as create_embedded

pytestmark = pytest.mark.kernel

INNER = MapDefinition("inner", 2, 4, 8, 3)
DEFINITIONS = {
    "HASH": MapDefinition("m", 1, 6, 20, 7, flags=1),
    "HASH on a NUMA node": MapDefinition("m", 1, 4, 4, 7, flags=1 << 2, numa_node=0),
    "HASH that programs only read": MapDefinition("m", 1, 4, 4, 7, flags=1 << 7),
    "ARRAY": MapDefinition("m", 2, 4, 3, 9),
    "PROG_ARRAY": MapDefinition("m", 3, 4, 4, 2),
    "PERF_EVENT_ARRAY": MapDefinition("m", 4, 4, 4, 5),
    "PERCPU_HASH": MapDefinition("m", 5, 4, 5, 7),
    "PERCPU_ARRAY": MapDefinition("m", 6, 4, 5, 7),
    "STACK_TRACE": MapDefinition("m", 7, 4, 80, 7),
    "CGROUP_ARRAY": MapDefinition("m", 8, 4, 4, 7),
    "LRU_HASH": MapDefinition("m", 9, 4, 4, 100),
    "LRU_HASH with a list for each CPU": MapDefinition("m", 9, 4, 4, 100, flags=1 << 1),
    "LRU_PERCPU_HASH": MapDefinition("m", 10, 4, 4, 100),
    "LPM_TRIE": MapDefinition("m", 11, 8, 4, 10, flags=1),
    "ARRAY_OF_MAPS": MapDefinition("m", 12, 4, 4, 4, inner=INNER),
    "HASH_OF_MAPS": MapDefinition("m", 13, 7, 4, 4, inner=INNER),
    "DEVMAP": MapDefinition("m", 14, 4, 4, 4),
    "SOCKMAP": MapDefinition("m", 15, 4, 4, 4),
    "CPUMAP": MapDefinition("m", 16, 4, 4, 2),
    "XSKMAP": MapDefinition("m", 17, 4, 4, 4),
    "SOCKHASH": MapDefinition("m", 18, 4, 4, 4),
    "REUSEPORT_SOCKARRAY": MapDefinition("m", 20, 4, 8, 4),
    "QUEUE": MapDefinition("m", 22, 0, 5, 4),
    "STACK": MapDefinition("m", 23, 0, 5, 4),
    "DEVMAP_HASH": MapDefinition("m", 25, 4, 4, 4),
    "RINGBUF": MapDefinition("m", 27, 0, 0, 8192),
    "BLOOM_FILTER": MapDefinition("m", 30, 0, 5, 40, map_extra=3),
    "USER_RINGBUF": MapDefinition("m", 31, 0, 0, 4096),
    "ARENA": MapDefinition("m", 33, 0, 0, 4, flags=1 << 10),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_kernel_has_a_map_of_each_type_as_it_was_defined(name):
    definition = DEFINITIONS[name]
    with create_map(definition) as made:
        told = fdinfo(made.fd)
        assert int(told["map_type"]) == definition.type
        assert int(told["key_size"]) == definition.key_size
        assert int(told["value_size"]) == definition.value_size
        assert int(told["max_entries"]) == definition.max_entries
        own_flags = 1 << 7 if name.startswith("DEVMAP") else 0  # which the kernel adds
        assert int(told["map_flags"], 16) == definition.flags | own_flags
        assert int(told["map_extra"], 16) == definition.map_extra
        assert int(told["map_id"]) == made.id
        assert made.info.name == "m"
        assert differences(made, definition) == []


TYPED = """
struct key { __u32 a; __be32 b; };
struct value { __u64 packets; __u16 ports[3]; };
#define MAP(number, name, more...) struct { __uint(type, number); __uint(max_entries, 4); __type(key, struct key); \\
    __type(value, struct value); more } name SEC(".maps")
MAP(BPF_MAP_TYPE_HASH, hash); MAP(BPF_MAP_TYPE_LRU_HASH, lru); MAP(BPF_MAP_TYPE_PERCPU_HASH, percpu_hash);
MAP(BPF_MAP_TYPE_LPM_TRIE, trie, __uint(map_flags, BPF_F_NO_PREALLOC););
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, struct value); }
    array SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 4); __type(value, struct value); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 4); __type(value, struct value); }
    bloom SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __uint(key_size, 4); __type(value, struct value); }
    keys_without_type SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int);
    __type(value, struct value); } task SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, __u32); __type(value, __u32); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); }
    jumps SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32);
    __array(values, struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);
        __type(value, struct value); }); } outer SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_DEVMAP_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); }
    devices SEC(".maps");
struct locked { struct bpf_spin_lock lock; __u32 count; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, struct locked); }
    locks SEC(".maps");
SEC("lwt_xmit") int run(struct __sk_buff *skb) { return 0; }
"""


def test_maps_with_types_are_taken_and_tell_their_types(read):
    source = read(TYPED)
    with load_in_kernel(source) as loaded:
        assert set(loaded.maps) == set(source.maps)
        for name in ("hash", "lru", "percpu_hash", "trie", "array", "bloom", "task", "locks"):
            info = loaded.maps[name].info
            assert info.btf_id
            assert info.btf_value_type_id == source.maps[name].btf_value_type_id
        assert loaded.maps["perf"].definition.max_entries == possible_cpus()
        locks = loaded.maps["locks"]
        locks.update(bytes(4), bytes(4) + b"\5\0\0\0", 4)
        assert locks.lookup(bytes(4), 4) == bytes(4) + b"\5\0\0\0"


def test_a_map_brings_its_types_to_whoever_opens_it_later(read):
    with load_in_kernel(read(TYPED)) as loaded:
        loaded.maps["hash"].update(bytes(8), struct.pack("<Q3H2x", 7, 80, 443, 25))
        with map_by_id(loaded.maps["hash"].id) as again, map_by_id(loaded.maps["queue"].id) as untyped:
            types = types_of(again)
            assert types is not None
            assert types.name(again.definition.btf_key_type_id) == "key"
            view = MapView(again, types)
            assert list(view.items()) == [({"a": 0, "b": 0}, {"packets": 7, "ports": [80, 443, 25]})]
            assert types_of(untyped) is None
            del view[{"a": 0, "b": 0}]
        assert len(loaded.maps["hash"]) == 0


def outcome(operation: Callable[..., Any], *arguments: Any) -> Any:
    """What an operation gives: a value, or its errno, or that the input was wrong."""
    try:
        return operation(*arguments)
    except MapError as error:
        return f"errno {error.errno}"
    except InputError:
        return "input"


KEYED = [
    *("HASH", "ARRAY", "PERCPU_HASH", "PERCPU_ARRAY", "LRU_HASH", "LRU_PERCPU_HASH", "LPM_TRIE"),
]


@pytest.mark.parametrize("name", KEYED)
def test_both_hosts_answer_each_operation_on_entries_alike(name):
    definition = DEFINITIONS[name]
    trie_bits = struct.pack("<I", 20) if name == "LPM_TRIE" else b""

    def key(number: int) -> bytes:
        return (trie_bits + bytes([number])).ljust(definition.key_size, b"\0")

    with create_map(definition) as ours:
        embedded = create_embedded(definition, cpus=possible_cpus())
        assert ours.user_value_size == embedded.user_value_size
        value = bytes(range(definition.value_size)).ljust(ours.value_stride if ours.is_per_cpu else 0, b"\0")
        value = value * (possible_cpus() if ours.is_per_cpu else 1)
        steps: list[tuple[Any, ...]] = [
            ("lookup", key(1)),
            ("next_key", None),
            ("delete", key(1)),
            ("update", key(1), value, 2),
            ("update", key(1), value),
            ("update", key(1), value, 1),
            ("update", key(1), value, 2),
            ("update", key(1), value, 99),
            ("update", key(2), bytes(len(value))),
            ("lookup", key(1)),
            ("lookup", key(2)),
            ("lookup", key(200)),
            ("lookup", key(1), 4),
            ("lookup", key(1), 64),
            ("lookup", key(1) + b"x"),
            ("update", key(1), value + b"x"),
            ("delete", key(1)),
            ("lookup", key(1)),
            *(("update", key(number), value) for number in range(12)),
            ("pop",),
            ("peek",),
            ("freeze",),
            ("update", key(2), value),
            ("delete", key(2)),
            ("lookup", key(2)),
        ]
        for step in steps:
            assert outcome(getattr(ours, step[0]), *step[1:]) == outcome(getattr(embedded, step[0]), *step[1:]), step
        assert sorted(ours.items()) == sorted(embedded.items())
        assert sorted(ours.keys()) == sorted(embedded.keys())
        assert len(ours) == len(embedded)
        assert fdinfo(ours.fd)["frozen"] == "1"


@pytest.mark.parametrize("name", ["QUEUE", "STACK"])
def test_both_hosts_answer_each_operation_on_queues_alike(name):
    definition = DEFINITIONS[name]
    with create_map(definition) as ours:
        embedded = create_embedded(definition)
        pushes = [("push", bytes([number] * 5)) for number in range(5)]
        for step in [
            ("peek",),
            ("pop",),
            *pushes,
            ("push", b"12345", 2),
            ("push", b"12345", 1),
            ("push", b"123"),
            ("peek",),
            *[("pop",)] * 5,
            ("next_key", None),
            ("items",),
        ]:
            assert outcome(getattr(ours, step[0]), *step[1:]) == outcome(getattr(embedded, step[0]), *step[1:]), step


def test_a_bloom_filter_tells_what_was_added():
    with create_map(MapDefinition("m", 30, 0, 4, 1000)) as bloom:
        bloom.push(b"abcd")
        assert bloom.contains(b"abcd")
        assert not bloom.contains(b"efgh")
        with pytest.raises(MapError, match=r"map m: peek; only queues and stacks can"):
            bloom.peek()


@pytest.mark.parametrize("name", ["HASH", "PERCPU_HASH", "LRU_HASH", "LPM_TRIE", "ARRAY"])
@pytest.mark.parametrize("batch_bytes", [1, 300, 1 << 20])
def test_every_entry_is_listed_once_however_many_fit_a_batch(monkeypatch, name, batch_bytes):
    monkeypatch.setattr(map_batch, "_BATCH_BYTES", batch_bytes)
    flags = 1 if name == "LPM_TRIE" else 0
    kind = {"HASH": 1, "ARRAY": 2, "PERCPU_HASH": 5, "LRU_HASH": 9, "LPM_TRIE": 11}[name]
    key_size = 8 if name == "LPM_TRIE" else 4
    with create_map(MapDefinition("m", kind, key_size, 8, 1000, flags=flags)) as made:
        value = struct.Struct("<Q")
        given = {}
        for number in range(300 if name != "ARRAY" else 1000):
            key = struct.pack("<I", number) if key_size == 4 else struct.pack("<II", 32, number)
            given[key] = value.pack(number) * (possible_cpus() if made.is_per_cpu else 1)
            made.update(key, given[key])
        listed = list(made.items())
        assert dict(listed) == given
        assert len(listed) == len(given)


def test_a_map_that_the_kernel_does_not_list_by_batches_is_listed_all_the_same(read):
    source = read(
        """
        int first(struct __sk_buff *skb); int second(struct __sk_buff *skb);
        struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 9); __uint(key_size, 4);
            __array(values, int (void *)); } jumps SEC(".maps") =
            { .values = { [2] = (void *)&first, [7] = (void *)&second } };
        SEC("lwt_xmit/a") int first(struct __sk_buff *skb) { return 1; }
        SEC("lwt_xmit/b") int second(struct __sk_buff *skb) { return 2; }
        """
    )
    with load_in_kernel(source) as loaded:
        ids = {
            int.from_bytes(key, "little"): int.from_bytes(value, "little")
            for key, value in loaded.maps["jumps"].items()
        }
        assert ids == {2: loaded.programs["first"].id, 7: loaded.programs["second"].id}
        assert ids == {
            2: int(fdinfo(loaded.programs["first"].fd)["prog_id"]),
            7: int(fdinfo(loaded.programs["second"].fd)["prog_id"]),
        }


def test_a_slot_of_a_map_of_maps_holds_the_id_of_what_was_put_in():
    for name in ("ARRAY_OF_MAPS", "HASH_OF_MAPS"):
        definition = DEFINITIONS[name]
        with create_map(definition) as outer, create_map(INNER) as inner, create_map(DEFINITIONS["HASH"]) as other:
            outer.set_slot(3, inner)
            key = b"\3".ljust(definition.key_size, b"\0")
            assert outer.lookup(key) == inner.id.to_bytes(4, "little")
            assert dict(outer.items()) == {key: inner.id.to_bytes(4, "little")}
            with pytest.raises(MapError, match=r"map m: set slot 1: EINVAL"):
                outer.set_slot(1, other)


def test_global_data_starts_with_its_values_and_constants_are_frozen():
    data = MapDefinition(".data", 2, 4, 5, 1, kind=MapKind.DATA, data=b"hello")
    constants = MapDefinition(".rodata", 2, 4, 5, 1, flags=1 << 7, kind=MapKind.RODATA, data=b"world", read_only=True)
    with create_map(data) as ours, create_map(constants) as frozen:
        assert ours.lookup(bytes(4)) == b"hello"
        assert frozen.lookup(bytes(4)) == b"world"
        ours.update(bytes(4), b"other")
        with pytest.raises(MapError, match=r"EPERM .*; it is frozen, as constants are") as caught:
            frozen.update(bytes(4), b"other")
        assert caught.value.errno == 1
        assert fdinfo(frozen.fd)["frozen"] == "1"


@pytest.mark.parametrize(
    ("definition", "text"),
    [
        (
            MapDefinition("flows", 1, 4, 8, (1 << 31) + 1),
            r"map flows: create HASH with max_entries 2,147,483,649, key_size 4, value_size 8, flags 0x0: E2BIG .*; it"
            " would be too large; give it a smaller max_entries",
        ),
        (MapDefinition("flows", 2, 4, 1 << 20, 0xFFFFFFFF), r"create ARRAY .*: ENOMEM .*; there is no memory for it"),
        (MapDefinition("routes", 11, 8, 4, 10), r"create LPM_TRIE .*: EINVAL .*Needs BPF_F_NO_PREALLOC"),
        (
            MapDefinition("ring", 27, 0, 0, 5000),
            r"create RINGBUF with max_entries 5,000.*EINVAL.*a power of two of pages",
        ),
        (MapDefinition("far", 1, 4, 4, 4, flags=1 << 2, numa_node=1 << 10), r"map far: create HASH .*EINVAL"),
        (MapDefinition("odd", 99, 4, 4, 4), r"map odd: create type 99 .*EINVAL"),
        (MapDefinition("outer", 12, 4, 4, 4, inner=MapDefinition("in", 2, 5, 4, 4)), r"map in: create ARRAY .*EINVAL"),
    ],
)
def test_a_map_that_cannot_be_created_says_what_was_asked_and_what_to_do(definition, text):
    with pytest.raises(MapError, match=text):
        create_map(definition)


def test_a_number_beyond_32_bits_is_refused():
    with pytest.raises(InputError, match="map big: its definition has a number beyond 32 bits"):
        create_map(MapDefinition("big", 1, 4, 4, 1 << 32))


def test_a_map_is_opened_by_its_id_as_somebody_else_made_it():
    fd, _ = create_raw(1, 6, 24, 77, flags=1)
    assert fd is not None
    with map_by_id(int(fdinfo(fd)["map_id"])) as made:
        found = made.definition
        assert (found.name, found.type, found.key_size, found.value_size) == ("test", 1, 6, 24)
        assert (found.max_entries, found.flags) == (77, 1)
        made.update(b"abcdef", bytes(24))
        assert len(made) == 1
    os.close(fd)
    with create_map(DEFINITIONS["BLOOM_FILTER"]) as bloom, map_by_id(bloom.id) as again:
        assert again.definition.map_extra == 3
    with pytest.raises(InputError, match="the kernel has no map with this id"):
        map_by_id(0x7FFFFFFF)


def test_a_map_differs_from_a_definition_in_what_cannot_be_changed_later():
    with create_map(DEFINITIONS["HASH"]) as made:
        other = MapDefinition("m", 1, 6, 24, 7, flags=1)
        assert differences(made, other) == ["value_size is 20, not 24"]
    constants = MapDefinition(".rodata", 2, 4, 5, 1, flags=1 << 7, data=b"world", read_only=True)
    with create_map(constants) as made:
        assert differences(made, constants) == []
        changed = MapDefinition(".rodata", 2, 4, 5, 1, flags=1 << 7, data=b"other", read_only=True)
        assert differences(made, changed) == ["its constants have other values"]
