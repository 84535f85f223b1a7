"""Programs by bpf(2): loaded, named, run on a packet, described by the kernel."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from kernel_bpf import bpf
from kernel_view import fdinfo
from routebpf.errors import InputError, MissingError
from routebpf.kernel.kernel_btf import kernel_btf, symbol_address
from routebpf.kernel.object import load_in_kernel, read_for_kernel
from routebpf.kernel.programs import program_by_id
from routebpf.kernel.syscall import ProgramInfoStruct, fill_info

pytestmark = pytest.mark.kernel

EXAMPLES = Path(__file__).parents[2] / "examples"
BPF_ENABLE_STATS = 32
ETHERNET = bytes(12) + b"\x08\x00"
PACKET = ETHERNET + bytes.fromhex("450000640001000040110000 0a000001 0a000002") + bytes(80)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.bpf.c")), ids=lambda path: path.name)
def test_each_example_goes_into_the_kernel(path):
    source = read_for_kernel(path)
    with load_in_kernel(source) as loaded:
        assert set(loaded.maps) == set(source.maps)
        for name, program in loaded.programs.items():
            told = fdinfo(program.fd)
            assert (told["prog_tag"], int(told["prog_id"])) == (program.tag, program.id)
            assert int(told["prog_jited"]) == 1
            assert int(told["prog_type"]) == 12
            assert int(told["verified_insns"]) == program.info().verified_instructions > 0
            assert program.name == name[:15]
            ids = {int(fdinfo(loaded.maps[one].fd)["map_id"]) for one in source.programs[name].maps}
            assert set(program.info().map_ids) == ids
            assert program.run(PACKET).returned in (0, 7)
            debug = ProgramInfoStruct()
            fill_info(program.fd, debug)
            assert debug.nr_func_info == len(source.programs[name].functions)
            assert debug.nr_line_info == len(source.programs[name].lines) > 0


PROGRAMS = {
    "global variables of each kind": (
        """
        __u32 first = 7; static volatile __u32 hidden = 9; int zeroed[5]; const volatile __u32 rate = 1000;
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            zeroed[3] = 2; first++;
            return first + hidden + zeroed[3] + rate;
        }
        """,
        8 + 9 + 2 + 1000,
    ),
    "functions": (
        """
        static __attribute__((noinline)) int inner(int x) { return x * 3; }
        __attribute__((noinline)) int outer(int x) { return inner(x) + 1; }
        SEC("lwt_xmit") int run(struct __sk_buff *skb) { return outer(4) + inner(2); }
        """,
        13 + 6,
    ),
    "callbacks": (
        """
        static long add(__u32 index, void *context) { *(int *)context += index; return 0; }
        struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 3); __type(key, __u32); __type(value, int); }
            numbers SEC(".maps");
        static long count(void *map, __u32 *key, int *value, int *context) { *context += 100 + *value; return 0; }
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            int sum = 0, value = 7; __u32 key = 1;
            bpf_map_update_elem(&numbers, &key, &value, 0);
            bpf_loop(5, add, &sum, 0);
            bpf_for_each_map_elem(&numbers, count, &sum, 0);
            return sum;
        }
        """,
        10 + 300 + 7,
    ),
    "maps in maps": (
        """
        struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);
            __type(value, __u32); };
        struct inner a SEC(".maps"), b SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 8); __type(key, __u64);
            __array(values, struct inner); } outer SEC(".maps") = { .values = { [1] = &a, [5] = &b } };
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            __u64 five = 5, six = 6; __u32 zero = 0, value = 33, *found;
            bpf_map_update_elem(&b, &zero, &value, 0);
            void *inner = bpf_map_lookup_elem(&outer, &five);
            if (!inner) return 1;
            found = bpf_map_lookup_elem(inner, &zero);
            return !found ? 2 : bpf_map_lookup_elem(&outer, &six) ? 3 : *found;
        }
        """,
        33,
    ),
    "tail calls": (
        """
        int last(struct __sk_buff *skb);
        struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __uint(key_size, 4);
            __array(values, int (void *)); } jumps SEC(".maps") = { .values = { [2] = (void *)&last } };
        SEC("lwt_xmit/last") int last(struct __sk_buff *skb) { return 77; }
        SEC("lwt_xmit") int run(struct __sk_buff *skb) { bpf_tail_call(skb, &jumps, 2); return 1; }
        """,
        77,
    ),
    "kfuncs and CO-RE": (
        """
        struct sk_buff { int not_there; unsigned int len; } __attribute__((preserve_access_index));
        SEC("lwt_xmit") int run(struct __sk_buff *ctx) {
            struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
            return __builtin_preserve_field_info(skb->not_there, 2) ? 1 : skb->len;
        }
        """,
        100,
    ),
    "a kernel function by another prototype": (
        """
        extern struct sk_buff *bpf_cast_to_kern_ctx___ours(struct __sk_buff *) __attribute__((section(".ksyms")));
        struct sk_buff { unsigned int len; } __attribute__((preserve_access_index));
        SEC("lwt_xmit") int run(struct __sk_buff *ctx) { return bpf_cast_to_kern_ctx___ours(ctx)->len; }
        """,
        100,
    ),
    "a lock in a map of a map": (
        """
        struct value { struct bpf_spin_lock lock; int count; };
        struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);
            __type(value, struct value); } one SEC(".maps");
        struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 1); __type(key, __u32);
            __array(values, struct inner); } outer SEC(".maps") = { .values = { [0] = &one } };
        SEC("lwt_xmit") int run(struct __sk_buff *skb) {
            __u32 zero = 0; void *inner = bpf_map_lookup_elem(&outer, &zero);
            struct value *value = inner ? bpf_map_lookup_elem(inner, &zero) : 0;
            if (!value) return 1;
            bpf_spin_lock(&value->lock);
            value->count += 12;
            bpf_spin_unlock(&value->lock);
            return value->count;
        }
        """,
        12,
    ),
    "a weak kernel function that is not there": (
        """
        extern int bpf_no_such_kfunc(int) __attribute__((section(".ksyms"))) __attribute__((weak));
        SEC("lwt_xmit") int run(struct __sk_buff *skb) { return bpf_no_such_kfunc ? bpf_no_such_kfunc(3) : 5; }
        """,
        5,
    ),
    "the kernel's version": (
        """
        extern int LINUX_KERNEL_VERSION __attribute__((section(".kconfig")));
        SEC("lwt_xmit") int run(struct __sk_buff *skb) { return LINUX_KERNEL_VERSION > 0x040a00; }
        """,
        1,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_kernel_runs_a_program_to_the_result_of_its_source(read, name):
    source, expected = PROGRAMS[name]
    with load_in_kernel(read(source)) as loaded:
        assert loaded.programs["run"].run(PACKET).returned == expected


@pytest.mark.parametrize("program_type", ["LWT_IN", "LWT_OUT", "LWT_XMIT"])
def test_each_program_type_is_loaded_as_such(read, program_type):
    number = {"LWT_IN": 10, "LWT_OUT": 11, "LWT_XMIT": 12}[program_type]
    source = read(f'SEC("{program_type.lower()}") int run(struct __sk_buff *skb) {{ return 2; }}')
    with load_in_kernel(source) as loaded:
        program = loaded.programs["run"]
        assert int(fdinfo(program.fd)["prog_type"]) == number
        assert program.program_type == program_type
        assert program.run(PACKET).returned == 2


def test_an_untyped_kernel_symbol_has_the_address_that_the_kernel_tells(read):
    source = """
    extern const void _stext __attribute__((section(".ksyms")));
    __u64 address;
    SEC("lwt_xmit") int run(struct __sk_buff *skb) { address = (__u64)&_stext; return 0; }
    """
    lines = Path("/proc/kallsyms").read_text().splitlines()
    expected = next(int(line.split()[0], 16) for line in lines if line.endswith(" _stext"))
    with load_in_kernel(read(source)) as loaded:
        loaded.programs["run"].run(PACKET)
        assert loaded.maps[".bss"].lookup(bytes(4)) == expected.to_bytes(8, "little")


def test_a_symbol_of_a_module_or_program_has_its_address_too(read):
    """/proc/kallsyms names behind a tab what brought it, as it does for each program that is compiled."""
    with load_in_kernel(read('SEC("lwt_xmit") int run(struct __sk_buff *skb) { return 0; }')) as loaded:
        name = f"bpf_prog_{loaded.programs['run'].tag}_run"
        lines = Path("/proc/kallsyms").read_text().splitlines()
        addresses = [int(line.split()[0], 16) for line in lines if line.endswith(f" {name}\t[bpf]")]
        assert symbol_address(name) in addresses


def test_a_program_that_asks_for_none_of_the_kernels_types_does_not_read_them(read):
    kernel_btf.cache_clear()
    with load_in_kernel(read('SEC("lwt_xmit") int run(struct __sk_buff *skb) { return 0; }')):
        assert "data" not in vars(kernel_btf())


CHANGES = """
SEC("lwt_xmit") int run(struct __sk_buff *skb) {
    __u8 byte = 0x7f;
    skb->mark += 5;
    skb->cb[2] = 9;
    bpf_skb_store_bytes(skb, 8, &byte, 1, 0);
    return skb->priority;
}
"""


def test_a_test_run_gives_packet_and_context_as_the_program_left_them(read):
    context = bytearray(192)
    struct.pack_into("<I", context, 8, 37)  # mark
    struct.pack_into("<I", context, 32, 1234)  # priority
    with load_in_kernel(read(CHANGES)) as loaded:
        done = loaded.programs["run"].run(PACKET, context=bytes(context), repeat=3)
    assert done.returned == 1234
    assert done.packet == bytes(14) + PACKET[14:22] + b"\x7f" + PACKET[23:]  # no Ethernet header comes back
    assert struct.unpack_from("<I", done.context, 8) == (37 + 3 * 5,)
    assert struct.unpack_from("<I", done.context, 48 + 2 * 4) == (9,)
    assert done.duration > 0


def test_what_a_test_run_does_not_take_is_named(read):
    with load_in_kernel(read(CHANGES)) as loaded, pytest.raises(InputError, match="test run of program run on 5 bytes"):
        loaded.programs["run"].run(bytes(5))


def test_runs_are_counted_while_somebody_asks_for_it(read):
    with load_in_kernel(read(CHANGES)) as loaded:
        program = loaded.programs["run"]
        program.run(PACKET)
        assert program.info().run_count == 0
        counting, _, _ = bpf(BPF_ENABLE_STATS, bytes(4))
        assert counting >= 0
        program.run(PACKET, repeat=11)
        os.close(counting)
        assert program.info().run_count == 11 == int(fdinfo(program.fd)["run_cnt"])
        assert program.info().run_time == int(fdinfo(program.fd)["run_time_ns"]) > 0


def test_the_kernel_calls_a_program_as_asked(read):
    source = read(CHANGES)
    with load_in_kernel(source, names={"run": "3f2a9c.run_1"}) as loaded:
        program = loaded.programs["run"]
        assert program.name == "3f2a9c.run_1"
        with program_by_id(program.id) as again:
            assert (again.name, again.tag, again.id) == (program.name, program.tag, program.id)
    for name in ("sixteen_bytes_ok", "no-minus"):
        with pytest.raises(InputError, match=f"program name {name}: the kernel takes at most 15 letters"):
            load_in_kernel(source, names={"run": name})


def test_the_same_instructions_have_the_same_tag_whatever_maps_they_use(read):
    source = read(PROGRAMS["global variables of each kind"][0])
    with load_in_kernel(source) as first, load_in_kernel(source) as second:
        assert first.programs["run"].tag == second.programs["run"].tag
        assert first.programs["run"].id != second.programs["run"].id


def test_a_program_that_is_gone_is_not_found_by_its_id(read):
    with load_in_kernel(read(CHANGES)) as loaded:
        number = loaded.programs["run"].id
    with pytest.raises(InputError, match=f"open program {number}: the kernel has no program with this id"):
        program_by_id(number)


def test_a_kernel_function_that_is_not_there_is_named_with_its_place(read):
    source = read('SEC("lwt_xmit") int run(struct __sk_buff *ctx) {\n    return bpf_cast_to_kern_ctx(ctx) != 0;\n}')
    (program,) = source.programs.values()
    without = program._replace(kfuncs=("bpf_no_such_kfunc",))
    changed = source._replace(programs={"run": without})
    with pytest.raises(
        InputError, match=r"program run: .*program\.bpf\.c:3: kernel function bpf_no_such_kfunc is not in"
    ):
        load_in_kernel(changed)


def test_a_kernel_without_types_is_told_of_when_they_are_needed(read, monkeypatch):
    source = read(PROGRAMS["kfuncs and CO-RE"][0])
    monkeypatch.setattr("routebpf.kernel.kernel_btf.VMLINUX", "/nowhere")
    kernel_btf.cache_clear()
    try:
        with pytest.raises(MissingError, match=r"kernel's types from .*CONFIG_DEBUG_INFO_BTF"):
            load_in_kernel(source)
    finally:
        kernel_btf.cache_clear()
