"""Objects in the kernel: which programs and maps, which are kept, and that nothing stays behind when it fails."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import pytest

from kernel_bpf import bpf
from kernel_view import fdinfo
from routebpf.errors import InputError, MapError, RejectedError
from routebpf.kernel.map_create import create_map
from routebpf.kernel.map_open import map_by_id
from routebpf.kernel.object import load_in_kernel

pytestmark = pytest.mark.kernel

PACKET = bytes(64)
TWO = """
struct counter { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); };
struct counter runs SEC(".maps"), others SEC(".maps");
const volatile __u32 step = 1;
int last(struct __sk_buff *skb);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __uint(key_size, 4);
    __array(values, int (void *)); } jumps SEC(".maps") = { .values = { [0] = (void *)&last } };
static void count(void *map) {
    __u32 zero = 0; __u64 *value = bpf_map_lookup_elem(map, &zero);
    if (value) *value += step;
}
SEC("lwt_xmit/last") int last(struct __sk_buff *skb) { return 5; }
SEC("lwt_xmit/first") int first(struct __sk_buff *skb) { count(&runs); bpf_tail_call(skb, &jumps, 0); return 0; }
SEC("lwt_xmit/second") int second(struct __sk_buff *skb) { count(&others); return 0; }
"""


def runs(loaded) -> int:
    return int.from_bytes(loaded.maps["runs"].lookup(bytes(4)), "little")


def test_a_chosen_program_comes_with_what_it_uses_and_nothing_else(read):
    with load_in_kernel(read(TWO), programs=["first"]) as loaded:
        assert set(loaded.programs) == {"first", "last"}
        assert set(loaded.maps) == {"runs", "jumps", ".rodata"}
        assert loaded.programs["first"].run(PACKET).returned == 5
    with load_in_kernel(read(TWO), programs=["second"]) as loaded:
        assert set(loaded.programs) == {"second"}
        assert set(loaded.maps) == {"others", ".rodata"}
    with pytest.raises(InputError, match="no section or function named third"):
        load_in_kernel(read(TWO), programs=["third"])


def test_maps_that_stand_in_a_map_of_maps_come_with_it(read):
    source = read(
        """
        struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);
            __type(value, __u32); };
        struct inner first SEC(".maps"), unused SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, __u32);
            __array(values, struct inner); } outer SEC(".maps") = { .values = { [1] = &first } };
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            __u32 one = 1;
            return bpf_map_lookup_elem(&outer, &one) ? 8 : 1;
        }
        """
    )
    with load_in_kernel(source, programs=["run"]) as loaded:
        assert set(loaded.maps) == {"first", "outer"}
        assert loaded.programs["run"].run(PACKET).returned == 8


def test_a_reused_map_keeps_what_it_holds(read):
    source = read(TWO)
    with load_in_kernel(source) as old:
        old.programs["first"].run(PACKET, repeat=3)
        with load_in_kernel(source, reuse_maps=old.maps) as new:
            assert new.maps["runs"].id == old.maps["runs"].id
            assert new.programs["first"].id != old.programs["first"].id
            new.programs["first"].run(PACKET)
            assert runs(new) == runs(old) == 4
        assert runs(old) == 4
        changed = read(TWO.replace("step = 1", "step = 10"))
        with pytest.raises(
            InputError, match=r"map \.rodata: the map to be reused is another: its constants have other"
        ):
            load_in_kernel(changed, reuse_maps=old.maps)
        with map_by_id(old.maps["runs"].id) as found, load_in_kernel(source, reuse_maps={"runs": found}) as new:
            assert new.maps["runs"].definition == source.maps["runs"] != found.definition
        with load_in_kernel(changed, reuse_maps={"runs": old.maps["runs"]}) as new:
            new.programs["first"].run(PACKET)
        assert runs(old) == 14


def test_a_map_of_another_definition_is_not_reused(read):
    larger = read(TWO.replace("max_entries, 1); __type(key", "max_entries, 2); __type(key"))
    with (
        load_in_kernel(read(TWO)) as old,
        pytest.raises(InputError, match=r"map runs: the map to be reused is another: max_entries is 1, not 2"),
    ):
        load_in_kernel(larger, reuse_maps={"runs": old.maps["runs"]})


def alive(kind: str) -> set[int]:
    """The ids of all maps or programs in the kernel."""
    found = set()
    number = 0
    while True:
        result, _, after = bpf({"prog": 11, "map": 12}[kind], number.to_bytes(4, "little") + bytes(8))
        if result < 0:
            return found
        number = ctypes.c_uint32.from_buffer_copy(after, 4).value
        found.add(number)


def test_what_an_object_put_into_the_kernel_goes_with_it(read):
    with load_in_kernel(read(TWO)) as loaded:
        maps = {one.id for one in loaded.maps.values()}
        programs = {one.id for one in loaded.programs.values()}
        assert maps <= alive("map")
        assert programs <= alive("prog")
    loaded.close()
    for _ in range(200):  # the kernel waits until nobody can be running them
        if not programs & alive("prog") and not maps & alive("map"):
            return
        time.sleep(0.01)
    pytest.fail("programs or maps are still there")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (TWO + 'SEC("lwt_xmit/bad") int bad(struct __sk_buff *skb) { skb->len = 1; return 0; }', RejectedError),
        (TWO.replace("max_entries, 1); __type(key", "max_entries, 4000000000); __type(key"), MapError),
    ],
    ids=["a program is refused", "there is no room for a map"],
)
def test_a_load_that_fails_leaves_nothing_open(read, source, error):
    """The fixture of all these tests compares the open descriptors."""
    with pytest.raises(error):
        load_in_kernel(read(source))


def test_maps_are_created_by_the_objects_names_and_shown_by_the_kernels(read):
    with load_in_kernel(read(TWO)) as loaded:
        assert {one.info.name for one in loaded.maps.values()} == {"runs", "others", "jumps", ".rodata"}
        assert fdinfo(loaded.maps[".rodata"].fd)["frozen"] == "1"
        held = loaded.maps["jumps"].lookup(bytes(4))
        assert held == loaded.programs["last"].id.to_bytes(4, "little")


def test_a_handle_that_is_forgotten_is_closed(read):
    made = create_map(read(TWO).maps["runs"])
    path = Path(f"/proc/self/fd/{made.fd}")
    assert path.is_symlink()
    del made
    assert not path.is_symlink()
