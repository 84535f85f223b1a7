"""What a program does with maps: the same helper calls by the running kernel's programs and by ours."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from random import Random

import pytest
from call_oracle import At, Call, Held, Program, in_kernel, in_ours
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from map_oracle import POSSIBLE_CPUS, both

from compilers import Compiler, commands
from object_in_kernel import InKernel
from routebpf.objects.loader import load_object
from routebpf.objects.model import MapDefinition
from routebpf.runtime import registry
from routebpf.runtime.maps import create_map, user_cpu
from routebpf.runtime.memory import Memory, load32, load64, store64
from routebpf.runtime.native import native

pytestmark = pytest.mark.kernel

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH, LPM_TRIE = 1, 2, 5, 6, 9, 10, 11
QUEUE, STACK, BLOOM_FILTER = 22, 23, 30
KEYS, KEY_ROOM = 5, 24
VALUES = KEYS * KEY_ROOM
VALUE_ROOM = 16
RESULTS = VALUES + 4 * VALUE_ROOM
STEPS = 14
FLAGS = (0, 0, 0, 1, 2, 3, 4, 5, 8, 1 << 32)
few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def key_bytes(definition: MapDefinition, number: int) -> bytes:
    if definition.type == LPM_TRIE:
        lengths = (32, 24, 8, 0, 33)
        return struct.pack("<I", lengths[number]) + bytes((10, 1, number & 1, number))
    return number.to_bytes(definition.key_size, "little") if definition.key_size else b""


def memory_of(definition: MapDefinition) -> bytes:
    keys = b"".join(key_bytes(definition, number).ljust(KEY_ROOM, b"\0") for number in range(KEYS))
    values = b"".join(bytes([65 + number]) * VALUE_ROOM for number in range(4))
    return keys + values + bytes(STEPS * VALUE_ROOM)


@st.composite
def calls(draw: st.DrawFn, definition: MapDefinition, names: tuple[str, ...]) -> list[Call]:
    made = []
    for number in range(draw(st.integers(1, STEPS))):
        name = draw(st.sampled_from(names))
        key = At(KEY_ROOM * draw(st.integers(0, KEYS - 1)))
        value = At(VALUES + VALUE_ROOM * draw(st.integers(0, 3)))
        found = At(RESULTS + VALUE_ROOM * number)
        flags = draw(st.sampled_from(FLAGS))
        asked = value if definition.type == BLOOM_FILTER else found
        cpu_number = draw(st.sampled_from((0, POSSIBLE_CPUS - 1, POSSIBLE_CPUS, 1 << 31)))
        arguments = {
            "bpf_map_lookup_elem": (key,),
            "bpf_map_lookup_percpu_elem": (key, cpu_number),
            "bpf_map_update_elem": (key, value, flags),
            "bpf_map_delete_elem": (key,),
            "bpf_map_push_elem": (value, flags),
            "bpf_map_pop_elem": (found,),
            "bpf_map_peek_elem": (asked,),
        }[name]
        touch, fill = (definition.value_size, draw(st.sampled_from((None, number)))) if "lookup" in name else (0, None)
        made.append(Call(name, (Held("map"), *arguments), touch=touch, fill=fill, copy_to=found))
    return made


KEYED = ("bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_delete_elem")
QUEUED = ("bpf_map_push_elem", "bpf_map_push_elem", "bpf_map_pop_elem", "bpf_map_peek_elem")


@pytest.mark.parametrize(
    ("definition", "names"),
    [
        (MapDefinition("hash", HASH, 4, 8, 3), KEYED),
        (MapDefinition("hash", HASH, 17, 5, 3), KEYED),
        (MapDefinition("array", ARRAY, 4, 6, 3), KEYED),
        (MapDefinition("percpu_hash", PERCPU_HASH, 8, 8, 3), (*KEYED, "bpf_map_lookup_percpu_elem")),
        (MapDefinition("percpu_array", PERCPU_ARRAY, 4, 8, 3), (*KEYED, "bpf_map_lookup_percpu_elem")),
        (MapDefinition("lru", LRU_HASH, 4, 8, 3), KEYED),
        (MapDefinition("percpu_lru", LRU_PERCPU_HASH, 4, 8, 3), (*KEYED, "bpf_map_lookup_percpu_elem")),
        (MapDefinition("lpm", LPM_TRIE, 8, 8, 3, 1), KEYED),
        (MapDefinition("queue", QUEUE, 0, 7, 3), QUEUED),
        (MapDefinition("stack", STACK, 0, 7, 3), QUEUED),
        (MapDefinition("bloom", BLOOM_FILTER, 0, 16, 30, 1 << 6), ("bpf_map_push_elem", "bpf_map_peek_elem")),
    ],
    ids=lambda one: f"{one.name}-{one.key_size}" if isinstance(one, MapDefinition) else "",
)
@few
@given(data=st.data())
def test_helpers_answer_as_in_the_kernel(
    definition: MapDefinition, names: tuple[str, ...], data: st.DataObject
) -> None:
    steps = data.draw(calls(definition, names))
    memory = memory_of(definition)
    with both(definition) as (ours, theirs):
        expected = in_kernel(Program(steps, memory, maps={"map": theirs.fd}))
        found = in_ours(Program(steps, memory, maps={"map": ours.map.address}))
        assert [hex(one) for one in found.results] == [hex(one) for one in expected.results]
        assert found.memory == expected.memory
        if definition.key_size:
            assert ours.items() == theirs.items()


@pytest.mark.parametrize("kind", [LRU_HASH, LRU_PERCPU_HASH])
@pytest.mark.parametrize("flags", [0, 2])
def test_what_programs_look_up_stays_in_an_lru_hash_as_in_the_kernel(kind: int, flags: int) -> None:
    definition = MapDefinition("lru", kind, 4, 8, 24, flags)
    random = Random(kind + flags)
    keys = 60
    memory = b"".join(number.to_bytes(4, "little") for number in range(keys)) + bytes(8)
    with both(definition) as (ours, theirs):
        for _ in range(25):
            steps = []
            for _ in range(20):
                key = At(4 * min(random.randrange(keys), random.randrange(keys)))
                steps.append(Call("bpf_map_lookup_elem", (Held("map"), key), touch=8))
                if random.randrange(2):
                    key = At(4 * random.randrange(keys))
                    steps.append(Call("bpf_map_update_elem", (Held("map"), key, At(4 * keys), 0)))
            expected = in_kernel(Program(steps, memory, maps={"map": theirs.fd}))
            found = in_ours(Program(steps, memory, maps={"map": ours.map.address}))
            assert found.results == expected.results
        assert ours.items() == theirs.items()


FOR_EACH = """
struct { __uint(type, %d); __uint(max_entries, 6); __uint(key_size, 4); __uint(value_size, 8); } map SEC(".maps");
__u64 calls, keys;
static long each(void *map, __u32 *key, __u64 *value, __u64 *stop) {
  calls++;
  keys += *key * 3 + *value;
  *value += 100;
  return calls == *stop;
}
SEC("lwt_xmit") int run(void *skb) {
  __u64 stop = %d;
  for (__u32 number = 0; number < 4; number++) {
    __u32 key = number;
    __u64 value = number;
    bpf_map_update_elem(&map, &key, &value, 0);
  }
  long visited = bpf_for_each_map_elem(&map, each, &stop, %d);
  return visited * 1000 + calls * 10000 + (stop ? 0 : keys);
}
"""


@native
def each(cpu: int, map: int, key: int, value: int, context: int, unused: int) -> int:
    calls = load64(context) + 1
    store64(context, calls)
    store64(context + 8, load64(context + 8) + load32(key) * 3 + load64(value))
    store64(value, load64(value) + 100)
    return 1 if calls == load64(context + 16) else 0


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    name, (command, big_endian) = next(iter(commands().items()))
    return Compiler(name, command, big_endian, Path(tmp_path_factory.mktemp("maps")))


@pytest.mark.parametrize("kind", [HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH])
@pytest.mark.parametrize(("stop", "flags"), [(0, 0), (2, 0), (4, 0), (0, 1)])
def test_for_each_visits_as_in_the_kernel(compiler: Compiler, kind: int, stop: int, flags: int) -> None:
    loaded = load_object(compiler.compile(FOR_EACH % (kind, stop, flags)))
    definition = loaded.maps["map"]
    with InKernel(loaded) as kernel:
        expected = kernel.run("run")
    ours = create_map(definition)
    context, value = Memory(24), Memory(8)
    context.write(16, struct.pack("<Q", stop))
    update = registry.implementation("bpf_map_update_elem")
    for_each = registry.implementation("bpf_for_each_map_elem")
    assert update is not None
    assert for_each is not None
    for key in range(4):
        held = ctypes.c_uint32(key)
        value.write(0, struct.pack("<Q", key))
        assert update(user_cpu(), ours.address, ctypes.addressof(held), value.address, 0) == 0
    address = ctypes.cast(each.as_callable(), ctypes.c_void_p).value or 0
    visited = for_each(user_cpu(), ours.address, address, context.address, flags)
    calls, keys, _ = struct.unpack("<QQQ", context.read(0, 24))
    assert visited * 1000 + calls * 10000 + (0 if stop else keys) == expected
    added = {100} if not stop else {0, 100}
    if definition.type == ARRAY and not flags:
        assert {int.from_bytes(one, "little") // 100 * 100 for _, one in ours.items()} == added


def test_a_pointer_to_a_value_stays_good_while_its_key_is_replaced_and_deleted() -> None:
    """Kernel: the old element is not touched before another key needs it."""
    for kind in (HASH, LRU_HASH):
        ours = create_map(MapDefinition("map", kind, 4, 8, 10))
        key = ctypes.c_uint32(7)
        ours.update(bytes(key), b"original")
        lookup = registry.implementation("bpf_map_lookup_elem")
        assert lookup is not None
        value = lookup(user_cpu(), ours.address, ctypes.addressof(key))
        ours.update(bytes(key), b"replaced")
        assert ctypes.string_at(value, 8) == b"original"
        assert ours.lookup(bytes(key)) == b"replaced"
        ours.delete(bytes(key))
        assert ctypes.string_at(value, 8) == b"original"
