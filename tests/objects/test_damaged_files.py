"""Damaged objects and BTF: an InputError in good time, and never anything else."""

import contextlib
import struct
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routebpf.errors import InputError
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_declare import declare
from routebpf.objects.btf_placement import btf_for_kernel
from routebpf.objects.btf_values import decode
from routebpf.objects.elf import read_elf
from routebpf.objects.loader import load_object

SOURCE = """
enum state { IDLE, BUSY = 10 }; struct value { __u64 count; struct { char name[8]; enum state state : 8; }; void *p; };
struct inner { __uint(type, 2); __uint(max_entries, 4); __type(key, __u32); __type(value, struct value); };
struct inner one SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 8); __type(key, __u32); __array(values, struct inner); }
    outer SEC(".maps") = { .values = { [1] = &one } };
struct { __u32 f[9]; } legacy SEC("maps") = { {1, 4, 4, 16} };
extern int LINUX_KERNEL_VERSION __kconfig; extern int kfunc(int) __ksym __weak;
struct sk_buff { unsigned int len; struct { int in; }; } PAI;
int counter = 3; struct value stored; static const volatile char text[] = "text";
static __noinline int sub(int x) { return x * counter; }
static long callback(__u32 i, void *ctx) { *(int *)ctx += sub(i); return 0; }
SEC("lwt_xmit") int run(struct sk_buff *skb) {
    int sum = LINUX_KERNEL_VERSION + skb->len + skb->in + text[1] + stored.count;
    bpf_loop(3, callback, &sum, 0); bpf_map_lookup_elem(&outer, &sum); bpf_map_lookup_elem(&legacy, &sum);
    if (kfunc) sum += kfunc(1);
    return sum + __builtin_preserve_enum_value(*(enum state *)BUSY, 1);
}
"""
SECONDS = 1.0
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Edits of a file: which part of it, how far into the part (0 to 1), and what is done to the aligned u32 there.
words = st.one_of(st.integers(0, 80), st.integers(0, 2**32 - 1), st.sampled_from([2**32 - 1, 2**31 - 1, 2**31, 0]))
edits = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["set", "add", "flip", "kind", "byte"]),
        words,
    ),
    min_size=1,
    max_size=3,
)


def damaged(data: bytes, changes, parts: list[tuple[int, int]] | None = None) -> bytes:
    out = bytearray(data)
    parts = parts or [(0, len(data))]
    for part, place, how, number in changes:
        start, size = parts[part % len(parts)]
        at = start + int(place * size)
        if how == "byte":
            out[at] = number % 256
            continue
        at = min(at & ~3, len(out) - 4)
        (old,) = struct.unpack_from("<I", out, at)
        new = {
            "set": number,
            "add": old + number % 9 - 4,
            "flip": old ^ 1 << number % 32,
            "kind": old & 0xFFFFFF | number % 32 << 24,
        }[how]
        struct.pack_into("<I", out, at, new % 2**32)
    return bytes(out)


def parts_of(data: bytes) -> list[tuple[int, int]]:
    """Where the sections that are read stand in an object, and its headers."""
    names = [".BTF", ".BTF.ext", ".symtab", ".strtab", ".rellwt_xmit", ".rel.maps", ".rel.text", ".maps", "lwt_xmit"]
    sections = [read_elf(data, "o").section(name) for name in (*names, "maps", ".text")]
    table_at = struct.unpack_from("<Q", data, 0x28)[0]
    found = [(data.find(section.data), section.size) for section in sections if section and section.size]
    return [*found, (0, 64), (table_at, len(data) - table_at)]


def use_everything(data: bytes, target: Btf | None = None) -> None:
    loaded = load_object(data, program_type="LWT_XMIT", target_btf=target)
    for program in loaded.programs.values():
        for at in range(len(program.instructions)):
            program.line_at(at)
    if loaded.btf:
        read_all(loaded.btf)
        for one in loaded.maps.values():
            if one.data is not None and one.btf_value_type_id:
                decode(loaded.btf, one.btf_value_type_id, one.data)
        btf_for_kernel(loaded.btf)


def read_all(btf: Btf) -> None:
    for type_id, _ in btf.types():
        declare(btf, type_id)
        btf.name(type_id)


def only_input_error(action, *arguments) -> None:
    start = time.perf_counter()
    with contextlib.suppress(InputError):
        action(*arguments)
    assert time.perf_counter() - start < SECONDS


@pytest.fixture(scope="module")
def good(compiler) -> bytes:
    return compiler.compile(SOURCE).read_bytes()


@pytest.fixture(scope="module")
def target(any_compiler) -> Btf:
    return read_btf_file(any_compiler.compile(SOURCE.replace("unsigned int len", "__u64 more; unsigned int len")))


def test_the_undamaged_object_is_fine(good, target):
    use_everything(good)
    use_everything(good, target)


@quick
@given(edits)
def test_an_object_with_changes_in_any_part(good, target, changes):
    data = damaged(good, changes, parts_of(good))
    only_input_error(use_everything, data)
    only_input_error(use_everything, data, target)


@quick
@given(edits)
def test_an_object_with_changes_anywhere(good, changes):
    only_input_error(use_everything, damaged(good, changes))


@quick
@given(st.floats(0, 1))
def test_an_object_that_is_cut(good, place):
    only_input_error(use_everything, good[: int(place * len(good))])


@quick
@given(edits)
def test_btf_with_changes(good, changes):
    data = read_elf(good, "o").section(".BTF").data
    only_input_error(lambda: read_all(Btf(damaged(data, changes), where="x")))


@quick
@given(edits)
def test_a_target_with_changes(good, target, changes):
    def load() -> None:
        load_object(good, target_btf=Btf(damaged(target.data, changes), where="target"))

    only_input_error(load)


@given(st.binary(max_size=200))
def test_any_bytes(data):
    only_input_error(use_everything, data)
    only_input_error(use_everything, b"\x7fELF" + data)
    only_input_error(lambda: read_all(Btf(data, where="x")))
