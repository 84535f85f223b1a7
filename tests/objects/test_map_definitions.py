import mmap
import struct

import pytest

from routebpf.errors import InputError
from routebpf.objects.btf_declare import declare
from routebpf.objects.loader import load_object
from routebpf.objects.model import MapKind

ARRAY, HASH, PROG_ARRAY, ARRAY_OF_MAPS, HASH_OF_MAPS, RINGBUF, QUEUE = 2, 1, 3, 12, 13, 27, 22

SOURCE = """
struct key { __u32 address; __u16 port; }; struct value { __u64 packets, bytes; };
struct { __uint(type, 1); __uint(max_entries, 65536); __type(key, struct key); __type(value, struct value);
         __uint(map_flags, 1 | 4); __uint(numa_node, 0); __uint(pinning, 1); } flows SEC(".maps");
struct { __uint(type, 30); __uint(max_entries, 10); __uint(value_size, 8); __uint(map_extra, 3); } bloom SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, 22); __uint(max_entries, 3); __type(value, __u32); } queue SEC(".maps");
struct inner { __uint(type, 2); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); };
struct inner one SEC(".maps"), two SEC(".maps"); static struct inner hidden SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 8); __type(key, __u32); __array(values, struct inner); }
    by_index SEC(".maps") = { .values = { [1] = &one, [5] = &two, [6] = &hidden } };
struct { __uint(type, 13); __uint(max_entries, 8); __uint(key_size, 8);
         __array(values, struct {
                  __uint(type, 1); __uint(max_entries, 2); __uint(key_size, 4); __uint(value_size, 16); });
} by_name SEC(".maps");
int first(void *ctx); int second(void *ctx);
struct { __uint(type, 3); __uint(max_entries, 4); __uint(key_size, 4); __array(values, int (void *)); }
    jumps SEC(".maps") = { .values = { [0] = (void *)&first, [3] = (void *)&second } };
SEC("lwt_xmit/first") int first(void *ctx) { return 0; }
SEC("lwt_xmit/second") int second(void *ctx) { return 2; }
SEC("lwt_xmit") int run(void *ctx) {
    __u32 key = 1; bpf_tail_call(ctx, &jumps, 3);
    return (long)bpf_map_lookup_elem(&by_index, &key) + (long)bpf_map_lookup_elem(&queue, &key);
}
"""


@pytest.fixture(scope="module")
def loaded(compiler):
    return load_object(compiler.compile(SOURCE))


def test_every_attribute_is_read(loaded):
    flows = loaded.maps["flows"]
    assert (flows.type, flows.key_size, flows.value_size, flows.max_entries) == (HASH, 8, 16, 65536)
    assert (flows.flags, flows.numa_node, flows.pinning, flows.kind) == (5, 0, 1, MapKind.BTF)
    assert declare(loaded.btf, flows.btf_key_type_id) == "struct key"
    assert declare(loaded.btf, flows.btf_value_type_id) == "struct value"
    assert loaded.maps["bloom"].map_extra == 3


def test_what_a_map_does_not_say_is_zero(loaded):
    events, queue = loaded.maps["events"], loaded.maps["queue"]
    assert (events.type, events.key_size, events.value_size, events.max_entries) == (RINGBUF, 0, 0, 4096)
    assert (queue.type, queue.key_size, queue.value_size, queue.max_entries) == (QUEUE, 0, 4, 3)


def test_maps_of_maps_know_their_inner_map(loaded):
    by_index, by_name = loaded.maps["by_index"], loaded.maps["by_name"]
    assert (by_index.type, by_index.value_size) == (ARRAY_OF_MAPS, 4)
    assert (by_index.inner.type, by_index.inner.key_size, by_index.inner.value_size) == (ARRAY, 4, 8)
    assert (by_name.type, by_name.key_size, by_name.value_size) == (HASH_OF_MAPS, 8, 4)
    assert (by_name.inner.type, by_name.inner.value_size, by_name.inner.max_entries) == (HASH, 16, 2)


def test_slots_hold_the_maps_and_programs_that_the_source_puts_there(loaded):
    assert loaded.maps["by_index"].initial_slots == {1: "one", 5: "two", 6: "hidden"}
    assert loaded.maps["by_name"].initial_slots == {}
    assert loaded.maps["jumps"].initial_slots == {0: "first", 3: "second"}
    assert (loaded.maps["jumps"].type, loaded.maps["jumps"].value_size) == (PROG_ARRAY, 4)


def test_maps_keep_the_order_of_the_section(loaded):
    maps = [one for one in loaded.maps.values() if one.section == ".maps"]
    assert [one.offset for one in maps] == sorted(one.offset for one in maps)


def test_a_program_names_only_the_maps_it_uses(loaded):
    assert set(loaded.programs["run"].maps) == {"jumps", "by_index", "queue"}
    assert loaded.programs["first"].maps == ()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("__uint(max_entries, 1);", r"map m: it has no type; add __uint\(type"),
        (
            "__uint(type, 2); __uint(colour, 1);",
            r"map m: member colour: no such map attribute; there are type, key_size",
        ),
        (
            "__uint(type, 2); int max_entries;",
            r"map m: member max_entries: it must be written __uint\(max_entries, num",
        ),
        ("__uint(type, 2); int key;", r"map m: member key: it must be written __type\(key, the type\)"),
        ("__uint(type, 2); __uint(key_size, 8); __type(key, int);", r"member key: it says key_size is 4, another.* 8"),
        ("__uint(type, 2); __array(values, struct { __uint(type, 2); });", "only an array or hash of maps has inner"),
        ("__uint(type, 12); int values;", r"map m: member values: it must be written __array\(values"),
        ("__uint(type, 12); __type(value, struct unknown);", r"unknown\) has no size: its definition is missing"),
    ],
)
def test_a_definition_that_is_wrong_is_named(any_compiler, body, message):
    path = any_compiler.compile(
        f'struct unknown; struct {{ {body} }} m SEC(".maps"); SEC("lwt_xmit") int f(void *c) {{ return 0; }}'
    )
    with pytest.raises(InputError, match=message):
        load_object(path)


def test_an_unknown_map_type_is_named(any_compiler):
    path = any_compiler.compile(
        'struct { __uint(type, 250); __uint(max_entries, 1); } m SEC(".maps");'
        'SEC("lwt_xmit") int f(void *c) { return 0; }'
    )
    with pytest.raises(InputError, match=r"section \.maps: map m: map type 250 is not known"):
        load_object(path)


def test_maps_without_btf_say_how_to_compile(any_compiler):
    path = any_compiler.compile(SOURCE, "-O2")
    with pytest.raises(InputError, match=r"section \.maps: the object has no BTF that describes it; compile with -g"):
        load_object(path)


LEGACY = """
struct bpf_elf_map { __u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx; };
#define MAP(...) SEC("maps") = { __VA_ARGS__ }
struct bpf_elf_map counts MAP(.type = 1, .size_key = 4, .size_value = 8, .max_elem = 100, .flags = 1, .pinning = 2);
struct bpf_elf_map jumps MAP(.type = 3, .id = 7, .size_key = 4, .size_value = 4, .max_elem = 3);
struct bpf_elf_map outer MAP(.type = 12, .size_key = 4, .size_value = 4, .max_elem = 3, .inner_id = 42);
struct bpf_elf_map in0 MAP(.type = 2, .id = 42, .size_key = 4, .size_value = 4, .max_elem = 2, .inner_idx = 0);
struct bpf_elf_map in2 MAP(.type = 2, .id = 42, .size_key = 4, .size_value = 4, .max_elem = 2, .inner_idx = 2);
struct ____btf_map_counts { __u32 key; __u64 value; };
struct ____btf_map_counts SEC(".maps.counts") counts_types;
SEC("prog") int run(void *ctx) { __u32 key = 0; bpf_tail_call(ctx, &jumps, 1);
    return (long)bpf_map_lookup_elem(&counts, &key) + (long)bpf_map_lookup_elem(&outer, &key); }
SEC("7/1") int tail(void *ctx) { return 2; }
"""


@pytest.fixture(scope="module")
def legacy(compiler):
    return load_object(compiler.compile(LEGACY), program_type="LWT_XMIT")


def test_iproute2s_struct_is_read(legacy):
    counts = legacy.maps["counts"]
    assert (counts.type, counts.key_size, counts.value_size, counts.max_entries) == (HASH, 4, 8, 100)
    assert (counts.flags, counts.pinning, counts.section, counts.kind) == (1, 2, "maps", MapKind.LEGACY)
    assert declare(legacy.btf, counts.btf_value_type_id) == "__u64"


def test_iproute2s_inner_maps_are_found_by_id(legacy):
    outer = legacy.maps["outer"]
    assert (outer.inner.type, outer.inner.value_size, outer.value_size) == (ARRAY, 4, 4)
    assert outer.initial_slots == {0: "in0", 2: "in2"}


def test_iproute2s_tail_call_sections_fill_the_program_array(legacy):
    assert legacy.maps["jumps"].initial_slots == {1: "tail"}
    assert legacy.program().name == "run"


def test_legacy_maps_need_no_btf(any_compiler):
    loaded = load_object(any_compiler.compile(LEGACY, "-O2"), program_type="LWT_XMIT")
    assert loaded.program().maps == ("jumps", "counts", "outer")
    assert loaded.maps["counts"].btf_key_type_id == 0


@pytest.mark.parametrize("fields", [4, 5, 7, 9])
def test_shorter_structs_leave_the_rest_zero(any_compiler, fields):
    names = ["type", "size_key", "size_value", "max_elem", "flags", "id", "pinning", "inner_id", "inner_idx"][:fields]
    source = f"""
    struct map {{ __u32 {", ".join(names)}; }};
    struct map a SEC("maps") = {{ 1, 4, 8, 16 }}; struct map b SEC("maps") = {{ 2, 4, 2, 3 }};
    SEC("lwt_in") int f(void *c) {{ int k = 0; bpf_map_lookup_elem(&a, &k); return (long)bpf_map_lookup_elem(&b, &k); }}
    """
    loaded = load_object(any_compiler.compile(source))
    assert [(m.type, m.key_size, m.value_size, m.max_entries) for m in loaded.maps.values()] == [
        (1, 4, 8, 16),
        (2, 4, 2, 3),
    ]
    assert loaded.program().maps == ("a", "b")


def test_structs_of_different_sizes_are_refused(any_compiler):
    source = """
    struct { __u32 f[4]; } a SEC("maps") = { {1, 4, 8, 16} }; struct { __u32 f[9]; } b SEC("maps") = { {1, 4, 8, 16} };
    SEC("lwt_in") int f(void *c) { return 0; }
    """
    with pytest.raises(InputError, match=r"section maps: 52 bytes for 2 maps|section maps: map b is at byte 16"):
        load_object(any_compiler.compile(source))


def test_an_inner_id_that_no_map_has_is_refused(any_compiler):
    source = 'struct { __u32 f[9]; } a SEC("maps") = { {12, 4, 4, 16, 0, 0, 0, 99, 0} };'
    with pytest.raises(InputError, match="map a: no map has its inner_id 99"):
        load_object(any_compiler.compile(source + 'SEC("lwt_in") int f(void *c) { return 0; }'))


def test_a_relocation_into_the_middle_of_a_map_is_refused(any_compiler):
    path = any_compiler.compile(SOURCE)
    data = bytearray(path.read_bytes())
    loaded = load_object(path)
    at = next(i for i, one in enumerate(loaded.program("run").instructions) if one.opcode == 0x18 and one.src == 5)
    from routebpf.objects.elf import read_elf

    section = read_elf(bytes(data), "o").section("lwt_xmit")
    place = data.find(section.data) + 8 * at + 4
    struct.pack_into("<i", data, place, 3)
    with pytest.raises(InputError, match=rf"section lwt_xmit, instruction {at} \(run\): it refers to .*\+3 in section"):
        load_object(bytes(data))


@pytest.mark.kernel
@pytest.mark.parametrize("size", [1, 4096, 4097, 100_000, 1 << 20])
def test_a_ring_buffer_of_any_size_is_one_that_the_kernel_takes(any_compiler, in_kernel, size) -> None:
    loaded = load_object(
        any_compiler.compile(
            f'struct {{ __uint(type, 27); __uint(max_entries, {size}); }} ring SEC(".maps");'
            'SEC("lwt_xmit") int p(void *ctx) { return (long)&ring ? 1 : 0; }'
        )
    )
    with in_kernel(loaded) as kernel:
        assert kernel.maps["ring"]
    assert size <= loaded.maps["ring"].max_entries < 2 * max(size, mmap.PAGESIZE)
