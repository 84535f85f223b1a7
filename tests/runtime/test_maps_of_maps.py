"""Maps that hold maps and programs: which maps may go in is asked of the running kernel."""

from __future__ import annotations

import ctypes

import pytest
from map_oracle import KernelMap, create_outcome

from routebpf.errors import InputError, MapError
from routebpf.objects.model import MapDefinition
from routebpf.runtime import registry
from routebpf.runtime.maps import Map, create_map, user_cpu

HASH, ARRAY, PROG_ARRAY, PERCPU_ARRAY, LRU_HASH, LPM_TRIE = 1, 2, 3, 6, 9, 11
ARRAY_OF_MAPS, HASH_OF_MAPS, QUEUE, BLOOM_FILTER = 12, 13, 22, 30
NO_PREALLOC, INNER_MAP = 1, 1 << 12
EXPECTED = [
    MapDefinition("inner", HASH, 4, 8, 3),
    MapDefinition("inner", ARRAY, 4, 8, 3),
    MapDefinition("inner", ARRAY, 4, 8, 3, INNER_MAP),
    MapDefinition("inner", PERCPU_ARRAY, 4, 8, 3),
    MapDefinition("inner", LRU_HASH, 4, 8, 3),
    MapDefinition("inner", LPM_TRIE, 8, 8, 3, NO_PREALLOC),
    MapDefinition("inner", QUEUE, 0, 8, 3),
    MapDefinition("inner", BLOOM_FILTER, 0, 8, 3),
]
CHANGES = [{}, {"max_entries": 4}, {"value_size": 16}, {"key_size": 5}, {"flags": 1 << 7}, {"type": HASH, "flags": 0}]


def outcome(outer: Map, inner: Map) -> int:
    try:
        outer.set_slot(1, inner)
    except MapError as error:
        return error.errno
    return 0


@pytest.mark.kernel
@pytest.mark.parametrize("kind", [ARRAY_OF_MAPS, HASH_OF_MAPS])
@pytest.mark.parametrize("expected", EXPECTED, ids=lambda one: f"{one.type}-{one.flags}")
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_inner_maps_that_the_kernel_takes_are_taken(
    kind: int, expected: MapDefinition, change: dict[str, int]
) -> None:
    outer, inner = MapDefinition("outer", kind, 4, 4, 3, inner=expected), expected._replace(**change)
    refused = create_outcome(inner)
    if refused != (0, 0):
        assert refused[0] == refused[1]
        return
    theirs = KernelMap(inner)
    holder = KernelMap(outer)
    try:
        result = holder.update((1).to_bytes(4, "little"), theirs.fd.to_bytes(4, "little"))
    finally:
        holder.close()
        theirs.close()
    assert -outcome(create_map(outer), create_map(inner)) == (result or 0)


@pytest.mark.parametrize("kind", [ARRAY_OF_MAPS, HASH_OF_MAPS])
def test_a_program_finds_the_map_that_was_put_last(kind: int) -> None:
    inner = MapDefinition("inner", HASH, 4, 8, 3)
    outer = create_map(MapDefinition("outer", kind, 4, 4, 3, inner=inner))
    lookup = registry.map_operation("bpf_map_lookup_elem", kind)
    generic = registry.implementation("bpf_map_lookup_elem")
    assert lookup is not None
    assert generic is not None
    key = ctypes.c_uint32(2)
    place = ctypes.addressof(key)
    assert lookup(user_cpu(), outer.address, 4, 4, place) == generic(user_cpu(), outer.address, place) == 0
    for _ in range(2):
        held = create_map(inner)
        outer.set_slot(2, held)
        assert lookup(user_cpu(), outer.address, 4, 4, place) == held.address
        assert generic(user_cpu(), outer.address, place) == held.address
        assert outer.lookup(bytes(key)) == held.id.to_bytes(4, "little")
        assert list(outer.items()) == [(bytes(key), held.id.to_bytes(4, "little"))]
    outer.delete(bytes(key))
    assert lookup(user_cpu(), outer.address, 4, 4, place) == 0
    with pytest.raises(MapError, match="ENOENT"):
        outer.delete(bytes(key))


def test_a_program_array_holds_addresses_and_shows_ids() -> None:
    made = create_map(MapDefinition("jumps", PROG_ARRAY, 4, 4, 3))
    made.set_slot(1, 0x1234560)
    made.set_slot(2, 0x1234560)
    shown = dict(made.items())
    assert set(shown) == {b"\1\0\0\0", b"\2\0\0\0"}
    assert len(set(shown.values())) == 1
    made.set_slot(1, 0)
    assert made.lookup(b"\1\0\0\0") is None
    with pytest.raises(MapError, match="E2BIG"):
        made.set_slot(3, 0x1234560)
    with pytest.raises(InputError, match="set_slot"):
        made.update(bytes(4), bytes(4))


def test_what_a_map_lacks_is_said_with_its_name() -> None:
    made = create_map(MapDefinition("flows", HASH, 4, 8, 1))
    with pytest.raises(InputError, match="map flows: a key of 5 bytes; it takes 4"):
        made.lookup(bytes(5))
    with pytest.raises(InputError, match="map flows: a value of 4 bytes; it takes 8"):
        made.update(bytes(4), bytes(4))
    made.update(bytes(4), bytes(8))
    with pytest.raises(MapError, match=r"map flows: update of key 01000000 with flags 0: E2BIG"):
        made.update(b"\1\0\0\0", bytes(8))
    with pytest.raises(InputError, match="map flows: it holds no maps or programs"):
        made.set_slot(0, 1)
    with pytest.raises(InputError, match="map cpus: type CPUMAP has nothing to hold on the embedded host"):
        create_map(MapDefinition("cpus", 16, 4, 4, 1))
    with pytest.raises(MapError, match="map none: create with max_entries 0; give the number of entries: EINVAL"):
        create_map(MapDefinition("none", HASH, 4, 8, 0))
    with pytest.raises(MapError, match=r"map lru: create with BPF_F_NO_PREALLOC; .*: ENOTSUPP"):
        create_map(MapDefinition("lru", LRU_HASH, 4, 8, 1, NO_PREALLOC))


def test_a_large_map_takes_memory_only_for_what_it_holds() -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    create_map(MapDefinition("small", HASH, 4, 8, 1)).update(bytes(4), bytes(8))
    before = resident()
    made = [
        create_map(MapDefinition("large", kind, 8, 8, 1 << 24, NO_PREALLOC if kind == LPM_TRIE else 0))
        for kind in (HASH, LRU_HASH, LPM_TRIE)
    ]
    for one in made:
        one.update(b"\x08" + bytes(7), bytes(8))
        assert len(one) == 1
    assert resident() - before < 16 << 20
