"""Values that hold a lock or a timer of the kernel: against maps of the running kernel with the same BTF."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from map_oracle import KernelMap, OurMap

from compilers import Compiler, commands
from object_in_kernel import InKernel
from routebpf.objects.loader import load_object
from routebpf.objects.model import Object

pytestmark = pytest.mark.kernel

SOURCE = """
struct bpf_spin_lock { __u32 val; };
struct bpf_timer { __u64 opaque[2]; } __attribute__((aligned(8)));
struct locked { __u32 before; struct bpf_spin_lock lock; __u64 after; };
struct timed { __u64 before; struct bpf_timer timer; __u32 after; };
#define MAP(name, kind, value_type) \\
  struct { __uint(type, kind); __uint(max_entries, 3); __type(key, __u32); __type(value, value_type); } \\
  name SEC(".maps");
MAP(locked_hash, 1, struct locked)
MAP(locked_array, 2, struct locked)
MAP(timed_hash, 1, struct timed)
MAP(timed_array, 2, struct timed)
MAP(timed_lru, 9, struct timed)
SEC("lwt_xmit") int run(void *skb) { return 0; }
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Object:
    name, (command, big_endian) = next(iter(commands().items()))
    compiler = Compiler(name, command, big_endian, Path(tmp_path_factory.mktemp("locks")))
    return load_object(compiler.compile(SOURCE))


KEYS = st.integers(0, 3).map(lambda number: number.to_bytes(4, "little"))
FLAGS = st.sampled_from((0, 0, 1, 2, 4, 4, 5, 6, 7))


@pytest.mark.parametrize("name", ["locked_hash", "locked_array", "timed_hash", "timed_array", "timed_lru"])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_locks_and_timers_are_left_alone_as_in_the_kernel(loaded: Object, name: str, data: st.DataObject) -> None:
    definition = loaded.maps[name]
    value = st.binary(min_size=definition.value_size, max_size=definition.value_size)
    operations = data.draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("update"), KEYS, value, FLAGS),
                st.tuples(st.just("lookup"), KEYS, FLAGS),
                st.tuples(st.just("delete"), KEYS),
            ),
            max_size=30,
        )
    )
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    try:
        with InKernel(loaded) as kernel:
            ours, theirs = OurMap(definition, loaded.btf), KernelMap(definition, kernel.maps[name])
            for operation, *arguments in operations:
                assert getattr(ours, operation)(*arguments) == getattr(theirs, operation)(*arguments), operation
            assert ours.items() == theirs.items()
            assert ours.freeze() == theirs.freeze()
    finally:
        os.sched_setaffinity(0, before)
