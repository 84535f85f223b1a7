"""Several threads on one map, each a CPU in native code without the GIL: nothing is lost, doubled or out of order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from routebpf.errors import MapError
from routebpf.objects.model import MapDefinition
from routebpf.runtime import map_chain, map_hash, map_lru_list, map_percpu_hash, map_queue
from routebpf.runtime import map_lru as lru
from routebpf.runtime.cpu import CPU_ID, CPU_RANDOM, new_cpu
from routebpf.runtime.map_lpm import delete as lpm_delete
from routebpf.runtime.map_lpm import lookup as lpm_lookup
from routebpf.runtime.map_lpm import update as lpm_update
from routebpf.runtime.map_pool import give, take
from routebpf.runtime.maps import Map, create_map
from routebpf.runtime.memory import Memory, atomic_add64, load32, load64, lshr, read, stack, store32, store64
from routebpf.runtime.native import Native, native

HASH, PERCPU_HASH, LRU_HASH, LPM_TRIE, QUEUE = 1, 5, 9, 11, 22
THREADS = 4
OPERATIONS = 1_000_000
BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2

hash_lookup, hash_update, hash_delete = map_hash.lookup, map_hash.update, map_hash.delete
percpu_lookup, percpu_update = map_percpu_hash.lookup, map_percpu_hash.update
lru_lookup, lru_update, lru_delete = lru.lookup, lru.update, lru.delete
queue_push, queue_pop = map_queue.push, map_queue.pop


def in_threads(
    function: Native, made: Map, *arguments: Callable[[int], int], cpus: Sequence[int] = range(THREADS)
) -> list[int]:
    """`function(cpu, map, argument…)` in each thread at once, as those CPUs: what each returned."""
    call = function.as_callable()
    structs = [new_cpu(number, seed=thread + 7) for thread, number in enumerate(cpus)]
    results = [0] * THREADS
    start = threading.Barrier(THREADS)

    def run(number: int) -> None:
        start.wait()
        results[number] = call(structs[number][0].address, made.address, *(one(number) for one in arguments))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return results


def always(value: int) -> Callable[[int], int]:
    return lambda _: value


@native
def random_below(cpu: int, limit: int) -> int:
    state = load64(cpu + CPU_RANDOM)
    state ^= state << 13
    state ^= lshr(state, 7)
    state ^= state << 17
    store64(cpu + CPU_RANDOM, state)
    return lshr(state, 33) % limit


@native
def count_keys(cpu: int, map: int, operations: int, keys: int) -> int:
    """Count random keys, as programs do: look up, insert what is missing, add. How often a key was not found."""
    key = stack(8)
    zero = stack(8)
    store64(zero, 0)
    missing = 0
    for _ in range(operations):
        store32(key, random_below(cpu, keys))
        value = hash_lookup(cpu, map, 4, 8, key)
        if value == 0:
            hash_update(cpu, map, 4, 8, key, zero, BPF_NOEXIST)
            value = hash_lookup(cpu, map, 4, 8, key)
        if value == 0:
            missing += 1
        else:
            atomic_add64(value, 1)
    return missing


def test_counters_in_a_hash_are_exact() -> None:
    made = create_map(MapDefinition("counters", HASH, 4, 8, 1024), cpus=THREADS)
    assert in_threads(count_keys, made, always(OPERATIONS), always(1000)) == [0] * THREADS
    counts = [int.from_bytes(value, "little") for _, value in made.items()]
    assert len(counts) == len(dict(made.items())) == 1000
    assert sum(counts) == THREADS * OPERATIONS


@native
def count_on_cpu(cpu: int, map: int, operations: int, keys: int) -> int:
    """The same in values of each CPU, without atomics."""
    key = stack(8)
    zero = stack(8)
    store64(zero, 0)
    for _ in range(operations):
        store32(key, random_below(cpu, keys))
        value = percpu_lookup(cpu, map, 4, 8, key)
        if value == 0:
            percpu_update(cpu, map, 4, 8, key, zero, BPF_NOEXIST)
            value = percpu_lookup(cpu, map, 4, 8, key)
        store64(value, load64(value) + 1)
    return 0


def test_counters_of_each_cpu_are_exact() -> None:
    made = create_map(MapDefinition("counters", PERCPU_HASH, 4, 8, 1024), cpus=THREADS)
    in_threads(count_on_cpu, made, always(OPERATIONS), always(1000))
    values = np.array([np.frombuffer(value, np.uint64) for _, value in made.items()])
    assert values.sum(axis=0).tolist() == [OPERATIONS] * THREADS


@native
def come_and_go(cpu: int, map: int, operations: int, keys: int, net: int) -> int:
    """Insert, replace and delete random keys; at `net` stays how often each was inserted more than deleted.

    The key 2**32 - 1 must be there all the time. How often it was not, or an insert failed for want of room.
    """
    key = stack(8)
    value = stack(16)
    failures = 0
    store64(key, 0)
    for number in range(operations):
        index = random_below(cpu, keys)
        store64(key, index)
        store64(value, number)
        store64(value + 8, index)
        action = random_below(cpu, 4)
        if action == 0:
            result = hash_update(cpu, map, 8, 16, key, value, BPF_NOEXIST)
            if result == 0:
                atomic_add64(net + index * 8, 1)
            elif result != -17:
                failures += 1
        elif action == 1:
            if hash_delete(cpu, map, 8, 16, key) == 0:
                atomic_add64(net + index * 8, -1)
        else:
            if action == 2:
                hash_update(cpu, map, 8, 16, key, value, BPF_EXIST)
            store64(key, 0xFFFFFFFF)
            if number & 15 == 0:
                hash_update(cpu, map, 8, 16, key, value, BPF_EXIST)
            if hash_lookup(cpu, map, 8, 16, key) == 0:
                failures += 1
    return failures


@pytest.mark.parametrize("keys", [3, 500])
@pytest.mark.parametrize("cpus", [range(THREADS), (0, 0, 0, 0)], ids=["own CPUs", "one CPU"])
def test_keys_that_come_and_go_in_a_hash_are_neither_lost_nor_doubled(keys: int, cpus: Sequence[int]) -> None:
    """Three keys: all threads in the same buckets. One CPU: as user space is beside CPU 0."""
    made = create_map(MapDefinition("hash", HASH, 8, 16, keys + 1), cpus=THREADS)
    permanent = (0xFFFFFFFF).to_bytes(8, "little")
    made.update(permanent, bytes(16))
    net = Memory(8 * keys)
    arguments = always(OPERATIONS), always(keys), always(net.address)
    assert in_threads(come_and_go, made, *arguments, cpus=cpus) == [0] * THREADS
    expected = [index for index, count in enumerate(net.array.view(np.int64).tolist()) if count]
    assert set(net.array.view(np.int64).tolist()) <= {0, 1}
    found = [int.from_bytes(key, "little") for key, _ in made.items() if key != permanent]
    assert sorted(found) == expected
    assert all(
        int.from_bytes(value[8:], "little") == int.from_bytes(key, "little")
        for key, value in made.items()
        if key != permanent
    )
    for key in range(keys):
        made.update((1000 + key).to_bytes(8, "little") if key not in found else key.to_bytes(8, "little"), bytes(16))
    assert len(made) == keys + 1
    with pytest.raises(MapError, match="E2BIG"):
        made.update(b"one more", bytes(16))


@native
def take_and_give(cpu: int, map: int, operations: int, owners: int) -> int:
    """Take two free elements, and give them back in either order. How often one was taken that another had."""
    doubled = 0
    for number in range(operations):
        a = take(map, 16)
        b = take(map, 16)
        if atomic_add64(owners + a * 8, 1) != 0 or atomic_add64(owners + b * 8, 1) != 0:
            doubled += 1
        atomic_add64(owners + a * 8, -1)
        atomic_add64(owners + b * 8, -1)
        give(map, 16, a if number & 1 else b)
        give(map, 16, b if number & 1 else a)
    return doubled


def test_a_free_element_is_taken_by_one_thread_only() -> None:
    made = create_map(MapDefinition("hash", HASH, 4, 8, 2 * THREADS), cpus=THREADS)
    owners = Memory(8 * 64)
    assert in_threads(take_and_give, made, always(OPERATIONS), always(owners.address)) == [0] * THREADS


@native
def churn(cpu: int, map: int, operations: int, keys: int) -> int:
    """Look up, insert and delete random keys of an LRU hash. How many inserts failed."""
    key = stack(8)
    value = stack(8)
    failures = 0
    for _ in range(operations):
        index = random_below(cpu, keys)
        store32(key, index)
        store64(value, index)
        action = random_below(cpu, 8)
        if action < 5:
            lru_lookup(cpu, map, 4, 8, key)
        elif action < 7:
            if lru_update(cpu, map, 4, 8, key, value, BPF_ANY) != 0:
                failures += 1
        else:
            lru_delete(cpu, map, 4, 8, key)
    return failures


@pytest.mark.parametrize("flags", [0, 2])
@pytest.mark.parametrize(("entries", "keys"), [(64, 100), (1000, 3000)])
def test_each_element_of_an_lru_hash_stays_in_one_list(flags: int, entries: int, keys: int) -> None:
    made = create_map(MapDefinition("lru", LRU_HASH, 4, 8, entries, flags), cpus=THREADS)
    failures = in_threads(churn, made, always(OPERATIONS // 4), always(keys))
    assert sum(failures) < OPERATIONS // 100
    found = Counter(int.from_bytes(key, "little") for key, _ in made.items())
    assert max(found.values()) == 1
    assert len(found) <= made.definition.max_entries
    assert all(key == value[:4] for key, value in made.items())
    lists = lists_of(made)
    members = [node for nodes in lists.values() for node in nodes]
    assert len(members) == len(set(members))
    assert len(members) == used_elements(made)
    in_use = {node for (_, kind), nodes in lists.items() for node in nodes if kind in ("active", "inactive", "pending")}
    assert in_use == set(made._live())


def lists_of(made: Map) -> dict[tuple[int, str], list[int]]:
    """The nodes of each list of an LRU hash, by the number of its head and what it is."""
    address = word(made.address + map_chain.HASH_LRU, 8)
    nodes = word(address + map_lru_list.LRU_NODES, 8)
    heads: list[tuple[int, str]] = []
    for number in range(1 if word(address + map_lru_list.LRU_LOCALS, 8) else THREADS):
        first = word(address + map_lru_list.LRU_LISTS + number * map_lru_list.LIST_BYTES + map_lru_list.LIST_HEADS)
        heads += [(first, "active"), (first + 1, "inactive"), (first + 2, "free")]
    if local := word(address + map_lru_list.LRU_LOCALS, 8):
        for number in range(THREADS):
            first = word(local + number * map_lru_list.LOCAL_BYTES + map_lru_list.LOCAL_HEADS)
            heads += [(first, "local free"), (first + 1, "pending")]
    found = {}
    for head, kind in heads:
        members = []
        node = word(nodes + head * map_lru_list.NODE_BYTES + map_lru_list.NODE_NEXT)
        while node != head:
            members.append(node)
            following = word(nodes + node * map_lru_list.NODE_BYTES + map_lru_list.NODE_NEXT)
            assert word(nodes + following * map_lru_list.NODE_BYTES + map_lru_list.NODE_PREVIOUS) == node
            node = following
        found[head, kind] = members
    return found


def used_elements(made: Map) -> int:
    address = word(made.address + map_chain.HASH_LRU, 8) + map_lru_list.LRU_LISTS
    if word(address - map_lru_list.LRU_LISTS + map_lru_list.LRU_LOCALS, 8):
        return word(address + map_lru_list.LIST_UNUSED) - 1
    share = made.definition.max_entries // THREADS
    return sum(
        word(address + number * map_lru_list.LIST_BYTES + map_lru_list.LIST_UNUSED) - 1 - number * share
        for number in range(THREADS)
    )


def word(address: int, size: int = 4) -> int:
    return int.from_bytes(read(address, size), "little")


@native
def route_changes(cpu: int, map: int, operations: int, prefixes: int, net: int) -> int:
    """Insert and delete prefixes of 16 to 32 bits below 10/8, and look up beside them.

    10.0.0.0/8 holds 8 and 10.0.255.255/32 holds 32 all the time. How often a lookup gave something else.
    """
    key = stack(8)
    value = stack(8)
    failures = 0
    for _ in range(operations):
        index = random_below(cpu, prefixes)
        store32(key, 16 + index % 17)
        store32(key + 4, 10 | (index & 3) << 8 | (index & 7) << 16 | (index & 15) << 24)
        store64(value, 100 + index)
        action = random_below(cpu, 4)
        if action == 0:
            if lpm_update(cpu, map, 8, 8, key, value, BPF_NOEXIST) == 0:
                atomic_add64(net + index * 8, 1)
        elif action == 1:
            if lpm_delete(cpu, map, 8, 8, key) == 0:
                atomic_add64(net + index * 8, -1)
        else:
            store32(key, 32)
            wanted = 8
            if action == 2:
                store32(key + 4, 10 | 77 << 8)
            else:
                store32(key + 4, 10 | 255 << 16 | 255 << 24)
                wanted = 32
            found = lpm_lookup(cpu, map, 8, 8, key)
            if found == 0 or load64(found) != wanted:
                failures += 1
    return failures


@pytest.mark.parametrize(("prefixes", "entries"), [(300, 1000), (4, 6)])
def test_a_trie_that_changes_never_hides_a_prefix(prefixes: int, entries: int) -> None:
    """Few entries: nodes are reused soon."""
    made = create_map(MapDefinition("lpm", LPM_TRIE, 8, 8, entries, 1), cpus=THREADS)
    made.update(b"\x08\0\0\0\x0a\0\0\0", (8).to_bytes(8, "little"))
    made.update(b"\x20\0\0\0\x0a\0\xff\xff", (32).to_bytes(8, "little"))
    net = Memory(8 * prefixes)
    wrong = in_threads(route_changes, made, always(OPERATIONS // 2), always(prefixes), always(net.address))
    assert wrong == [0] * THREADS
    there = int(net.array.view(np.int64).sum())
    assert len(made) == len(list(made.items())) == len(dict(made.items())) == there + 2
    for key, _ in made.items():
        assert made.lookup(b"\x20\0\0\0" + key[4:]) is not None
        made.delete(key)
    assert len(made) == 0
    assert list(made.items()) == []


@native
def pass_on(cpu: int, map: int, operations: int, taken: int) -> int:
    """Push numbered values and pop as many, into the array at `taken`. How many were popped."""
    value = stack(8)
    pushed = 0
    popped = 0
    while popped < operations:
        if pushed < operations:
            store64(value, load32(cpu + CPU_ID) << 32 | pushed)
            if queue_push(cpu, map, 0, 8, value, BPF_ANY) == 0:
                pushed += 1
        if queue_pop(cpu, map, 0, 8, value) == 0:
            store64(taken + popped * 8, load64(value))
            popped += 1
    return popped


def test_a_queue_gives_each_value_once_and_in_order() -> None:
    operations = OPERATIONS // 4
    made = create_map(MapDefinition("queue", QUEUE, 0, 8, 7), cpus=THREADS)
    taken = [Memory(8 * operations) for _ in range(THREADS)]
    in_threads(pass_on, made, always(operations), lambda number: taken[number].address)
    values = [memory.array.view(np.uint64) for memory in taken]
    for one in values:
        for producer in range(THREADS):
            numbers = one[one >> 32 == producer] & 0xFFFFFFFF
            assert (np.diff(numbers.astype(np.int64)) > 0).all()
    everything = np.sort(np.concatenate(values))
    expected = np.concatenate([np.arange(operations, dtype=np.uint64) | number << 32 for number in range(THREADS)])
    assert (everything == expected).all()
    assert made.pop() is None
