"""Maps from user space against the running kernel: the same operations, the same answers and errno."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from map_oracle import POSSIBLE_CPUS, both, create_outcome

from routebpf.objects.model import MapDefinition

pytestmark = pytest.mark.kernel

HASH, ARRAY, PROG_ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE = 1, 2, 3, 5, 6, 9, 10, 11
ARRAY_OF_MAPS, HASH_OF_MAPS, QUEUE, STACK, BLOOM_FILTER = 12, 13, 22, 23, 30
NO_PREALLOC, NO_COMMON_LRU, ZERO_SEED = 1, 2, 1 << 6
RDONLY, WRONLY = 1 << 3, 1 << 4
FLAGS = st.sampled_from((0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 16, 1 << 32, 1 << 63))
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def sequences(operations: st.SearchStrategy[tuple[object, ...]]) -> st.SearchStrategy[list[tuple[object, ...]]]:
    return st.lists(operations, max_size=60)


def keyed(keys: st.SearchStrategy[bytes], values: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.one_of(
        st.tuples(st.just("update"), keys, values, FLAGS),
        st.tuples(st.just("update"), keys, values, st.just(0)),
        st.tuples(st.just("lookup"), keys),
        st.tuples(st.just("lookup"), keys, FLAGS),
        st.tuples(st.just("delete"), keys),
    )


def numbers(limit: int, size: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, limit).map(lambda number: number.to_bytes(size, "little"))


def compare(definition: MapDefinition, operations: list[tuple[object, ...]]) -> None:
    with both(definition) as (ours, theirs):
        for name, *arguments in operations:
            assert getattr(ours, name)(*arguments) == getattr(theirs, name)(*arguments), (name, arguments)
        if definition.type not in (QUEUE, STACK, BLOOM_FILTER) and not definition.flags & WRONLY:
            assert ours.items() == theirs.items()


def value_bytes(definition: MapDefinition) -> int:
    is_per_cpu = definition.type in (PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH)
    return POSSIBLE_CPUS * (definition.value_size + 7 & ~7) if is_per_cpu else definition.value_size


def values_of(definition: MapDefinition) -> st.SearchStrategy[bytes]:
    """Values whose padding is zero, as the kernel gives it back."""
    size, total = definition.value_size, value_bytes(definition)
    if total == size:
        return st.integers(0, 255).map(lambda byte: bytes([byte]) * size)
    padded = size + 7 & ~7
    return st.lists(st.integers(0, 255), min_size=total // padded, max_size=total // padded).map(
        lambda parts: b"".join((bytes([part]) * size).ljust(padded, b"\0") for part in parts)
    )


@pytest.mark.parametrize(
    "definition",
    [
        MapDefinition("hash", HASH, 4, 8, 5),
        MapDefinition("hash", HASH, 8, 12, 5, NO_PREALLOC),
        MapDefinition("hash", HASH, 1, 3, 4),
        MapDefinition("hash", HASH, 13, 1, 1),
        MapDefinition("hash", HASH, 16, 64, 7, RDONLY),
        MapDefinition("hash", HASH, 20, 8, 7, WRONLY),
        MapDefinition("percpu", PERCPU_HASH, 4, 5, 5),
        MapDefinition("percpu", PERCPU_HASH, 6, 16, 3, NO_PREALLOC),
        MapDefinition("array", ARRAY, 4, 6, 5),
        MapDefinition("percpu_array", PERCPU_ARRAY, 4, 12, 3),
        MapDefinition("lru", LRU_HASH, 4, 8, 6),
        MapDefinition("lru", LRU_HASH, 4, 8, 1),
        MapDefinition("lru", LRU_HASH, 4, 8, 5, NO_COMMON_LRU),
        MapDefinition("lru", LRU_PERCPU_HASH, 5, 3, 6),
        MapDefinition("lru", LRU_PERCPU_HASH, 4, 8, 6, NO_COMMON_LRU),
    ],
    ids=lambda one: f"{one.name}-{one.key_size}-{one.value_size}-{one.max_entries}-{one.flags}",
)
@quick
@given(data=st.data())
def test_keyed_maps_answer_as_the_kernel(definition: MapDefinition, data: st.DataObject) -> None:
    keys = numbers(9, definition.key_size)
    compare(definition, data.draw(sequences(keyed(keys, values_of(definition)))))


def prefixes(size: int) -> st.SearchStrategy[bytes]:
    """Few different bits, so that prefixes meet; some too long."""
    byte = st.sampled_from((0x00, 0x01, 0x80, 0xC0, 0xFF))
    data = st.lists(byte, min_size=size, max_size=size).map(bytes)
    lengths = st.one_of(st.integers(0, 8 * size), st.sampled_from((8 * size, 8 * size + 1, 1 << 31)))
    return st.tuples(lengths, data).map(lambda pair: pair[0].to_bytes(4, "little") + pair[1])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 16, 21])
@pytest.mark.parametrize("entries", [3, 40])
@quick
@given(data=st.data())
def test_an_lpm_trie_answers_as_the_kernel(size: int, entries: int, data: st.DataObject) -> None:
    definition = MapDefinition("lpm", LPM_TRIE, 4 + size, 5, entries, NO_PREALLOC)
    operations = data.draw(sequences(keyed(prefixes(size), values_of(definition))))
    compare(definition, operations)


@quick
@given(operations=sequences(keyed(prefixes(2), values_of(MapDefinition("lpm", LPM_TRIE, 6, 1, 1)))))
def test_an_lpm_trie_lists_its_entries_in_the_order_of_the_kernel(operations: list[tuple[object, ...]]) -> None:
    with both(MapDefinition("lpm", LPM_TRIE, 6, 1, 50, NO_PREALLOC)) as (ours, theirs):
        for name, *arguments in operations:
            getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments)
        assert list(ours.items().items()) == list(theirs.items().items())


@pytest.mark.parametrize("kind", [QUEUE, STACK])
@pytest.mark.parametrize("entries", [1, 3])
@quick
@given(data=st.data())
def test_queues_and_stacks_answer_as_the_kernel(kind: int, entries: int, data: st.DataObject) -> None:
    definition = MapDefinition("queue", kind, 0, 5, entries)
    value = values_of(definition)
    compare(
        definition,
        data.draw(
            sequences(
                st.one_of(
                    st.tuples(st.just("push"), value, FLAGS),
                    st.tuples(st.just("push"), value),
                    st.sampled_from([("pop",), ("peek",), ("delete", b"")]),
                )
            )
        ),
    )


@pytest.mark.parametrize("size", [1, 3, 4, 8, 11, 12, 13, 24, 25, 36])
@pytest.mark.parametrize(("entries", "hashes"), [(5, 0), (40, 1), (300, 15)])
def test_a_bloom_filter_has_the_false_positives_of_the_kernel_with_seed_0(size: int, entries: int, hashes: int) -> None:
    definition = MapDefinition("bloom", BLOOM_FILTER, 0, size, entries, ZERO_SEED, map_extra=hashes)
    added = [(number * 2654435761 % (1 << 32)).to_bytes(40, "little")[:size] for number in range(entries)]
    asked = [(number * 7919).to_bytes(40, "little") for number in range(400)]
    with both(definition) as (ours, theirs):
        for value in added:
            assert ours.push(value, 0) == theirs.push(value, 0) is None
        answers = [theirs.contains(value[:size]) for value in asked]
        assert [ours.contains(value[:size]) for value in asked] == answers
        assert all(ours.contains(value) is None for value in added)


@quick
@given(flags=FLAGS)
def test_a_bloom_filter_refuses_what_the_kernel_refuses(flags: int) -> None:
    definition = MapDefinition("bloom", BLOOM_FILTER, 0, 4, 5)
    with both(definition) as (ours, theirs):
        assert ours.push(bytes(4), flags) == theirs.push(bytes(4), flags)
        assert ours.delete(b"") == theirs.delete(b"")
        assert ours.pop() == theirs.pop()
        assert ours.next_key(None) == theirs.next_key(None)


@pytest.mark.parametrize(
    "definition",
    [
        MapDefinition("lru", LRU_HASH, 4, 8, 40),
        MapDefinition("lru", LRU_HASH, 4, 8, 1000),
        MapDefinition("lru", LRU_PERCPU_HASH, 4, 8, 100),
        MapDefinition("lru", LRU_HASH, 4, 8, 41, NO_COMMON_LRU),
        MapDefinition("lru", LRU_PERCPU_HASH, 4, 8, 100, NO_COMMON_LRU),
    ],
    ids=lambda one: f"{one.type}-{one.max_entries}-{one.flags}",
)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 32), spread=st.integers(2, 6), updates=st.integers(1, 4))
def test_an_lru_hash_forgets_the_same_keys_as_the_kernel(
    definition: MapDefinition, seed: int, spread: int, updates: int
) -> None:
    random = Random(seed)
    keys = definition.max_entries * spread
    with both(definition) as (ours, theirs):
        size = value_bytes(definition)
        for turn in range(definition.max_entries * 6):
            key = min(random.randrange(keys), random.randrange(keys)).to_bytes(4, "little")
            action = random.randrange(6)
            if action < updates:
                outcome = [one.update(key, turn.to_bytes(8, "little") * (size // 8), 0) for one in (ours, theirs)]
            elif action == 5:
                outcome = [one.delete(key) for one in (ours, theirs)]
            else:
                outcome = [one.lookup(key) for one in (ours, theirs)]
            assert outcome[0] == outcome[1], turn
        assert ours.items() == theirs.items()


@pytest.mark.parametrize("kind", [HASH, ARRAY, LPM_TRIE, QUEUE])
def test_a_frozen_map_is_read_only_for_user_space_as_in_the_kernel(kind: int) -> None:
    definition = MapDefinition("frozen", kind, {QUEUE: 0, LPM_TRIE: 5}.get(kind, 4), 4, 3, int(kind == LPM_TRIE))
    key = bytes(definition.key_size)
    operations = [("freeze",), ("update", key, bytes(4), 0), ("lookup", key), ("freeze",)]
    compare(definition, [("update", key, b"abcd", 0), *operations, ("pop",) if kind == QUEUE else ("delete", key)])


@pytest.mark.parametrize("kind", [ARRAY, PERCPU_ARRAY, PROG_ARRAY])
def test_the_keys_of_an_array_come_as_in_the_kernel(kind: int) -> None:
    keys: list[bytes | None] = [None, *(number.to_bytes(4, "little") for number in (0, 1, 2, 3, 4, 1 << 31))]
    compare(MapDefinition("array", kind, 4, 4, 3), [("next_key", key) for key in keys])


INNER = MapDefinition("inner", HASH, 4, 4, 2)
SIZES = st.sampled_from(
    (0, 1, 3, 4, 5, 8, 12, 260, 261, 32768, 32769, (4 << 20) - 300, 4 << 20, (4 << 20) + 1, 1 << 31)
)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from((1, 2, 3, 5, 6, 9, 10, 11, 12, 13, 22, 23, 30)),
    key_size=st.one_of(st.sampled_from((0, 4, 5)), SIZES),
    value_size=st.one_of(st.sampled_from((4, 4, 8)), SIZES),
    entries=st.sampled_from((0, 1, 1, 2, 3)),
    flags=st.one_of(
        st.sampled_from((0, 0, 0, 1)),
        st.integers(0, 13).map(lambda bit: 1 << bit),
        st.tuples(st.integers(0, 13), st.integers(0, 13)).map(lambda bits: 1 << bits[0] | 1 << bits[1]),
    ),
    extra=st.sampled_from((0, 0, 0, 1, 15, 16)),
)
@example(HASH, 4, (4 << 20) - 48 - 5, 1, 0, 0)
@example(HASH, 4, (4 << 20) - 48 - 4, 1, 0, 0)
@example(LPM_TRIE, 5, (4 << 20) - 256 - 24, 1, 1, 0)
@example(LPM_TRIE, 5, (4 << 20) - 256 - 23, 1, 1, 0)
def test_a_map_is_created_or_refused_as_in_the_kernel(
    kind: int, key_size: int, value_size: int, entries: int, flags: int, extra: int
) -> None:
    definition = MapDefinition("new", kind, key_size, value_size, entries, flags, map_extra=extra)
    if kind in (ARRAY_OF_MAPS, HASH_OF_MAPS):
        definition = definition._replace(inner=INNER)
    ours, theirs = create_outcome(definition)
    assert ours == theirs


@pytest.mark.parametrize("kind", [ARRAY_OF_MAPS, HASH_OF_MAPS])
@pytest.mark.parametrize(
    "inner",
    [
        MapDefinition("inner", PROG_ARRAY, 4, 4, 1),
        MapDefinition("inner", ARRAY_OF_MAPS, 4, 4, 1, inner=INNER),
        MapDefinition("inner", HASH, 4, 4, 0),
        MapDefinition("inner", QUEUE, 0, 4, 1),
        MapDefinition("inner", BLOOM_FILTER, 0, 4, 1),
        MapDefinition("inner", LPM_TRIE, 8, 4, 1, NO_PREALLOC),
    ],
    ids=lambda one: str(one.type),
)
def test_inner_maps_are_of_the_types_that_the_kernel_takes(kind: int, inner: MapDefinition) -> None:
    ours, theirs = create_outcome(MapDefinition("outer", kind, 4, 4, 3, inner=inner))
    assert ours == theirs
