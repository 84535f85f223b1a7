"""Linked programs go into the running kernel, which verifies them and runs them to the result that the C says."""

import os
from pathlib import Path

import pytest

from routebpf.objects.btf import read_btf_file
from routebpf.objects.loader import load_object

pytestmark = pytest.mark.kernel

VMLINUX = Path("/sys/kernel/btf/vmlinux")

PROGRAMS = {
    "global variables": (
        """
        __u32 first = 7; static volatile __u32 hidden = 9; int zeroed[5]; const volatile __u32 rate = 1000;
        static const int table[4] = {1, 20, 300, 4000}; __u32 own SEC(".data.own") = 5;
        SEC("lwt_xmit") int run(void *ctx) {
            zeroed[3] = 2; first++; hidden += own;
            return first + hidden + zeroed[3] + rate + table[zeroed[3] & 3];
        }
        """,
        8 + 14 + 2 + 1000 + 300,
    ),
    "static and global functions": (
        """
        int counter = 4;
        static __noinline int deepest(int x) { return x * 3 + counter; }
        static __noinline int deeper(int x) { return deepest(x) + 1; }
        __noinline int global_function(int x) { return deeper(x) + deepest(x); }
        static __noinline SEC("lwt_xmit") int beside(int x) { return x + counter; }
        SEC("lwt_xmit") int run(void *ctx) { return beside(1) + global_function(2); }
        """,
        5 + 11 + 10,
    ),
    "hidden functions": (
        """
        __attribute__((visibility("hidden"))) __noinline int hidden(int *x) { return *x + 1; }
        SEC("lwt_xmit") int run(void *ctx) { int x = 41; return hidden(&x); }
        """,
        42,
    ),
    "callbacks": (
        """
        static __noinline int square(int x) { return x * x; }
        static long add(__u32 i, void *ctx) { *(int *)ctx += square(i); return 0; }
        struct { __uint(type, 2); __uint(max_entries, 3); __type(key, int); __type(value, int); } m SEC(".maps");
        static long count(void *map, int *key, int *value, int *ctx) { *ctx += 100 + *value; return 0; }
        SEC("lwt_xmit") int run(void *ctx) {
            int sum = 0, key = 1, value = 7;
            bpf_map_update_elem(&m, &key, &value, 0);
            bpf_loop(5, add, &sum, 0);
            bpf_for_each_map_elem(&m, count, &sum, 0);
            return sum;
        }
        """,
        0 + 1 + 4 + 9 + 16 + 300 + 7,
    ),
    "maps in maps": (
        """
        struct inner { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); };
        struct inner a SEC(".maps"), b SEC(".maps");
        struct { __uint(type, 12); __uint(max_entries, 8); __type(key, __u32); __array(values, struct inner); }
            outer SEC(".maps") = { .values = { [1] = &a, [5] = &b } };
        SEC("lwt_xmit") int run(void *ctx) {
            __u32 one = 1, five = 5, zero = 0, value = 33, *found; void *inner;
            bpf_map_update_elem(&b, &zero, &value, 0);
            inner = bpf_map_lookup_elem(&outer, &five);
            if (!inner) return 1;
            found = bpf_map_lookup_elem(inner, &zero);
            if (!found) return 2;
            inner = bpf_map_lookup_elem(&outer, &zero);
            return inner ? 3 : *found;
        }
        """,
        33,
    ),
    "tail calls": (
        """
        int last(void *ctx);
        struct { __uint(type, 3); __uint(max_entries, 4); __uint(key_size, 4); __array(values, int (void *)); }
            jumps SEC(".maps") = { .values = { [2] = (void *)&last } };
        SEC("lwt_xmit/last") int last(void *ctx) { return 77; }
        SEC("lwt_xmit") int run(void *ctx) { bpf_tail_call(ctx, &jumps, 2); return 1; }
        """,
        77,
    ),
    "kernel configuration": (
        """
        extern int LINUX_KERNEL_VERSION __kconfig; extern _Bool CONFIG_NOT_THERE __kconfig __weak;
        SEC("lwt_xmit") int run(void *ctx) { return CONFIG_NOT_THERE ? 1 : LINUX_KERNEL_VERSION >> 8; }
        """,
        None,
    ),
    "weak symbols that are not there": (
        """
        extern int bpf_not_a_kfunc(int) __ksym __weak; extern const int not_a_variable __ksym __weak;
        SEC("lwt_xmit") int run(void *ctx) {
            if (bpf_not_a_kfunc) return bpf_not_a_kfunc(3);
            return &not_a_variable ? 1 : 5;
        }
        """,
        5,
    ),
    "kfuncs": (
        """
        struct bpf_dynptr { __u64 opaque[2]; };
        extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;
        struct sk_buff { unsigned int len; } PAI;
        SEC("lwt_xmit") int run(void *ctx) { struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx); return skb->len; }
        """,
        50,
    ),
    "a weak kfunc that is there": (
        """
        extern void *bpf_rdonly_cast(const void *obj, __u32 id) __ksym __weak;
        extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;
        SEC("lwt_xmit") int run(void *ctx) { return bpf_cast_to_kern_ctx && bpf_cast_to_kern_ctx(ctx) ? 8 : 1; }
        """,
        8,
    ),
    "CO-RE": (
        """
        extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;
        struct net_device { int ifindex; char name[16]; } PAI;
        struct sk_buff { struct net_device *dev; __u16 len; int not_there; __u8 pkt_type : 3; } PAI;
        struct sk_buff___other { __u32 mark; unsigned int data_len; } PAI;
        struct not_a_struct { int a; } PAI;
        enum bpf_map_type { BPF_MAP_TYPE_HASH = 77, BPF_MAP_TYPE_NOT_THERE };
        SEC("lwt_xmit") int run(void *ctx) {
            struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
            int result = skb->len + ((struct sk_buff___other *)skb)->mark;
            if (__builtin_preserve_field_info(skb->not_there, 2)) result += skb->not_there;
            if (__builtin_preserve_type_info(*(struct not_a_struct *)0, 0)) result += 1000;
            if (__builtin_preserve_type_info(*(struct net_device *)0, 0)) result += 2000;
            if (__builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_HASH, 0)) result +=
                __builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_HASH, 1) * 10000;
            if (__builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_NOT_THERE, 0)) result += 5000;
            return result;
        }
        """,
        50 + 2000 + 10000,
    ),
}
LEGACY = """
struct bpf_elf_map { __u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx; };
#define MAP(...) SEC("maps") = { __VA_ARGS__ }
struct bpf_elf_map jumps MAP(.type = 3, .id = 7, .size_key = 4, .size_value = 4, .max_elem = 3);
struct bpf_elf_map outer MAP(.type = 12, .size_key = 4, .size_value = 4, .max_elem = 3, .inner_id = 42);
struct bpf_elf_map inner MAP(.type = 2, .id = 42, .size_key = 4, .size_value = 4, .max_elem = 2, .inner_idx = 2);
SEC("prog") int run(void *ctx) { bpf_tail_call(ctx, &jumps, 1); return 1; }
SEC("7/1") int tail(void *ctx) {
    int two = 2, zero = 0, *found; void *map = bpf_map_lookup_elem(&outer, &two);
    if (!map) return 2;
    found = bpf_map_lookup_elem(map, &zero);
    return found ? 55 + *found : 3;
}
"""
FLAGS = [
    ("-O2", "-g"),
    ("-O1", "-g", "-mcpu=v1"),
    ("-O1", "-g", "-mcpu=v2"),
    ("-Os", "-g", "-mcpu=v3"),
    ("-O2", "-g", "-mcpu=v4"),
]
# A pair that no compiler can make is no test: left out here, not skipped. clang 14 does not know -mcpu=v4.
COMPILED = [(name, flags) for name in ("clang", "zig") for flags in FLAGS if name == "zig" or "-mcpu=v4" not in flags]


@pytest.fixture(scope="module")
def kernel():
    return read_btf_file(VMLINUX)


def kernel_version() -> tuple[int, int, int]:
    major, minor, patch = os.uname().release.split("-")[0].split(".")[:3]
    return int(major), int(minor), int(patch)


@pytest.mark.parametrize(
    ("compiler", "flags"),
    COMPILED,
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
    indirect=["compiler"],
)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_kernel_runs_a_linked_program_to_the_result_of_the_source(compiler, kernel, in_kernel, name, flags):
    source, expected = PROGRAMS[name]
    loaded = load_object(compiler.compile(source, *flags), target_btf=kernel, kernel_version=kernel_version())
    if expected is None:
        expected = kernel_version()[0] << 8 | kernel_version()[1]
    with in_kernel(loaded, kernel) as inside:
        assert inside.run("run") == expected


def test_the_kernel_runs_iproute2s_maps_and_tail_calls(compiler, in_kernel):
    for flags in (("-O2",), ("-O2", "-g")):
        loaded = load_object(compiler.compile(LEGACY, *flags), program_type="LWT_XMIT")
        with in_kernel(loaded) as inside:
            assert inside.run("run") == 55


def test_the_kernel_gives_the_address_of_a_typed_variable(compiler, kernel, in_kernel):
    source = """
    extern const int bpf_prog_active __ksym;
    SEC("lwt_xmit") int run(void *ctx) { return &bpf_prog_active ? 9 : 1; }
    """
    if kernel.find("bpf_prog_active") is None:
        pytest.skip("this kernel's BTF has no bpf_prog_active")
    with in_kernel(load_object(compiler.compile(source), target_btf=kernel), kernel) as inside:
        assert inside.run("run") == 9


def test_the_kernel_refuses_a_poisoned_instruction_that_can_be_reached(compiler, kernel, in_kernel):
    source = """
    extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym; struct sk_buff { int not_there; } PAI;
    SEC("lwt_xmit") int run(void *ctx) { struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx); return skb->not_there; }
    """
    loaded = load_object(compiler.compile(source), target_btf=kernel)
    assert "has no struct sk_buff.not_there" in loaded.program().poisons[0].reason
    with pytest.raises(AssertionError, match="invalid func unknown#195896080"):
        in_kernel(loaded, kernel)


def test_the_kernel_takes_the_line_records(compiler, kernel, in_kernel):
    """The verifier's log, which the kernel writes from the line records, quotes the source."""
    source = 'SEC("lwt_xmit") int run(__u32 *ctx) {\n    return *(volatile __u32 *)((char *)ctx + 9999);\n}'
    with pytest.raises(AssertionError, match=r"; return \*\(volatile __u32 \*\)"):
        in_kernel(load_object(compiler.compile(source), target_btf=kernel), kernel)
