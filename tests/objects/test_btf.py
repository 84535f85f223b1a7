import ctypes
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from routebpf.errors import InputError
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_types import (
    Array,
    Composite,
    Datasec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ptr,
    Qualifier,
    Typedef,
    Var,
)

VMLINUX = Path("/sys/kernel/btf/vmlinux")

EVERY_KIND = """
enum colour { RED, GREEN = 7, BLUE = -2 };
enum plain { ONE = 1, MANY = 0x80000000 };
struct unknown; union unknown_union;
typedef struct point { int x; __s8 y; unsigned __int128 wide; } point_t;
union either { float f; double d; _Bool yes; char c; };
struct bits { unsigned a : 3; int b : 5; __u64 c : 40; struct unknown *p; union unknown_union *q; };
struct all {
    point_t p; union either e; struct bits b; const volatile int cv; int *restrict r; char name[16]; int grid[2][3];
    enum colour colour; enum plain plain; int (*callback)(int, const char *, ...); struct { int inner; }; };
struct all everything __attribute__((btf_decl_tag("tagged")));
static int hidden; extern const int outside __ksym;
static __noinline int inner(point_t *p, char c) { return p->x + c + hidden++; }
SEC("lwt_xmit") int run(void *ctx) { return inner(&everything.p, 'a') + (long)&outside; }
"""


def load(path: Path) -> Btf:
    return read_btf_file(path)


@pytest.fixture(scope="module")
def btf(compiler):
    return load(compiler.compile(EVERY_KIND))


def one(btf: Btf, name: str, kind: Kind):
    type_id = btf.find(name, kind)
    assert type_id is not None, name
    return btf.type(type_id)


def test_integers_have_their_size_and_sign(btf):
    assert one(btf, "int", Kind.INT) == Int("int", 4, 32, 0, True, False, False)
    assert one(btf, "unsigned int", Kind.INT) == Int("unsigned int", 4, 32, 0, False, False, False)
    assert one(btf, "signed char", Kind.INT).signed
    assert one(btf, "_Bool", Kind.INT).is_bool
    assert one(btf, "unsigned __int128", Kind.INT).size == 16


def test_floats_have_their_size(btf):
    assert one(btf, "float", Kind.FLOAT) == Float("float", 4)
    assert one(btf, "double", Kind.FLOAT) == Float("double", 8)


def test_struct_members_stand_where_the_c_rules_put_them(btf):
    class Point(ctypes.Structure):
        _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int8))

    point = one(btf, "point", Kind.STRUCT)
    assert [m.name for m in point.members] == ["x", "y", "wide"]
    assert [m.bit_offset for m in point.members] == [8 * Point.x.offset, 8 * Point.y.offset, 128]
    assert point.size == 32
    assert one(btf, "point_t", Kind.TYPEDEF) == Typedef("point_t", btf.find("point", Kind.STRUCT))


def test_members_of_a_large_struct_stand_far_out(any_compiler):
    btf = load(any_compiler.compile("struct large { char before[3 << 20]; int after; } large;"))
    assert one(btf, "large", Kind.STRUCT).members[1].bit_offset == 8 * (3 << 20)


def test_bitfields_have_offset_and_width(btf):
    bits = one(btf, "bits", Kind.STRUCT)
    assert [(m.name, m.bit_offset, m.bits) for m in bits.members[:3]] == [("a", 0, 3), ("b", 3, 5), ("c", 8, 40)]
    assert bits.members[3].bits == 0


def test_unions_share_their_first_byte(btf):
    either = one(btf, "either", Kind.UNION)
    assert (either.size, [m.bit_offset for m in either.members]) == (8, [0, 0, 0, 0])


def test_enums_have_their_values(btf, compiler):
    blue = -2 if compiler.name == "zig" else 2**32 - 2  # compilers before clang 15 do not say that an enum is signed
    assert one(btf, "colour", Kind.ENUM).values == (("RED", 0), ("GREEN", 7), ("BLUE", blue))
    plain = one(btf, "plain", Kind.ENUM)
    assert plain.values == (("ONE", 1), ("MANY", 0x80000000))


def test_forward_declarations_say_struct_or_union(btf):
    assert one(btf, "unknown", Kind.FWD) == Fwd("unknown", False)
    assert one(btf, "unknown_union", Kind.FWD) == Fwd("unknown_union", True)


def test_qualifiers_stand_around_types(btf):
    members = {m.name: m.type_id for m in one(btf, "all", Kind.STRUCT).members}
    outer = btf.type(members["cv"])
    assert isinstance(outer, Qualifier)
    inner = btf.type(outer.type_id)
    assert {outer.kind, inner.kind} == {Kind.CONST, Kind.VOLATILE}
    assert btf.strip(members["cv"])[1] == one(btf, "int", Kind.INT)
    assert btf.type(members["r"]).kind is Kind.RESTRICT


def test_arrays_have_element_and_length(btf):
    members = {m.name: m.type_id for m in one(btf, "all", Kind.STRUCT).members}
    grid = btf.type(members["grid"])
    assert isinstance(grid, Array)
    lengths = [grid.length]
    while isinstance(inner := btf.type(grid.type_id), Array):
        lengths.append(inner.length)
        grid = inner
    assert lengths in ([2, 3], [6])
    assert btf.size_of(members["grid"]) == 24


def test_functions_have_prototype_and_linkage(btf):
    run, inner = one(btf, "run", Kind.FUNC), one(btf, "inner", Kind.FUNC)
    assert isinstance(run, Func)
    assert (run.linkage, inner.linkage) == (1, 0)
    proto = btf.type(inner.type_id)
    assert isinstance(proto, FuncProto)
    assert [p.name for p in proto.parameters] == ["p", "c"]
    assert btf.strip(proto.type_id)[1] == one(btf, "int", Kind.INT)


def test_a_variadic_prototype_ends_in_a_parameter_of_type_0(btf):
    members = {m.name: m.type_id for m in one(btf, "all", Kind.STRUCT).members}
    pointer = btf.type(members["callback"])
    assert isinstance(pointer, Ptr)
    assert [p.type_id == 0 for p in btf.type(pointer.type_id).parameters] == [False, False, True]


def test_variables_and_sections(btf):
    everything = one(btf, "everything", Kind.VAR)
    assert isinstance(everything, Var)
    assert everything.linkage == 1
    sections = {section.name: section for _, section in btf.datasecs()}
    assert isinstance(sections[".bss"], Datasec)
    assert {btf.name(v.type_id) for v in sections[".bss"].variables} == {"everything", "hidden"}
    assert [btf.name(v.type_id) for v in sections[".ksyms"].variables] == ["outside"]


def test_declaration_tags_point_at_what_they_tag(btf):
    assert one(btf, "tagged", Kind.DECL_TAG) == DeclTag("tagged", btf.find("everything", Kind.VAR), -1)


def test_type_tags_and_64_bit_enums(compiler):
    if compiler.name == "clang":
        pytest.skip("needs a clang newer than 14 for ENUM64")
    btf = load(
        compiler.compile("""
        enum wide { SMALL = 1, BIG = 0x123456789abcLL }; enum negative { MINUS = -5000000000LL };
        struct tagged { int __attribute__((btf_type_tag("user"))) *p; };
        enum wide w; enum negative n; struct tagged t;
        """)
    )
    assert one(btf, "wide", Kind.ENUM64) == Enum(Kind.ENUM64, "wide", 8, False, (("SMALL", 1), ("BIG", 0x123456789ABC)))
    assert one(btf, "negative", Kind.ENUM64).values == (("MINUS", -5000000000),)
    assert one(btf, "user", Kind.TYPE_TAG).kind is Kind.TYPE_TAG


def test_every_type_of_an_object_can_be_read(btf):
    assert len(list(btf.types())) == len(btf) - 1 > 40
    assert {btf.kind(type_id) for type_id, _ in btf.types()} >= set(Kind) - {
        Kind.VOID,
        Kind.TYPE_TAG,
        Kind.ENUM64,
    }


def test_big_endian_btf_is_refused():
    with pytest.raises(InputError, match="big-endian BTF"):
        Btf(bytes.fromhex("eb9f0100") + bytes(20), where="x")


def test_btf_that_is_cut_short_is_an_input_error(any_compiler):
    data = load(any_compiler.compile(EVERY_KIND)).data
    for end in range(len(data)):
        with pytest.raises(InputError):
            Btf(data[:end], where="cut")


def test_an_unknown_kind_is_named():
    types = struct.pack("<III", 0, 25 << 24, 0)
    data = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), 1) + types + b"\0"
    with pytest.raises(InputError, match="type 1 has kind 25, which is not known"):
        Btf(data, where="x")


def blob(types: bytes, strings: bytes) -> bytes:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def test_split_btf_goes_on_where_its_base_ends():
    integer = struct.pack("<IIII", 1, Kind.INT << 24, 4, 1 << 24 | 32)
    base = Btf(blob(integer, b"\0int\0"), where="base")
    pointer = struct.pack("<III", 0, Kind.PTR << 24, 1)
    alias = struct.pack("<III", 5, Kind.TYPEDEF << 24, 2)  # the base has 5 bytes of strings
    again = struct.pack("<III", 1, Kind.TYPEDEF << 24, 1)  # a name out of the base
    split = Btf(blob(pointer + alias + again, b"int_p\0"), where="split", base=base)
    assert len(split) == 5
    assert split.type(1) == Int("int", 4, 32, 0, True, False, False)
    assert split.type(3) == Typedef("int_p", 2)
    assert split.find("int_p") == 3
    assert split.find_all("int") == [1, 4]
    assert split.size_of(3) == 8


def test_names_may_be_the_tails_of_longer_ones():
    integer = struct.pack("<IIII", 4, Kind.INT << 24, 4, 32)
    assert Btf(blob(integer, b"\0my_int\0"), where="x").find("int") == 1


def test_an_endless_chain_of_typedefs_is_an_input_error():
    data = blob(struct.pack("<III", 1, Kind.TYPEDEF << 24, 1), b"\0t\0")
    with pytest.raises(InputError, match="without an end"):
        Btf(data, where="x").size_of(1)


@pytest.mark.skipif(not VMLINUX.exists(), reason="no kernel BTF here")
def test_the_kernels_btf_is_opened_and_searched_fast():
    start = time.perf_counter()
    btf = read_btf_file(VMLINUX)
    type_id = btf.find("sk_buff", Kind.STRUCT)
    assert time.perf_counter() - start < 0.5
    assert len(btf) > 50_000
    assert {"len", "sk"} <= {member.name for member in btf.type(type_id).members}


@pytest.mark.skipif(not VMLINUX.exists(), reason="no kernel BTF here")
def test_every_type_of_the_kernel_can_be_read():
    btf = read_btf_file(VMLINUX)
    assert sum(1 for _ in btf.types()) == len(btf) - 1


@pytest.mark.skipif(not VMLINUX.exists(), reason="no kernel BTF here")
def test_struct_utsname_of_the_kernel_has_the_size_that_uname_uses():
    btf = read_btf_file(VMLINUX)
    found = btf.type(btf.find("new_utsname", Kind.STRUCT))
    assert isinstance(found, Composite)
    assert found.size == 6 * 65
    assert [m.name for m in found.members][:3] == ["sysname", "nodename", "release"]
    assert len(os.uname().release) < btf.size_of(found.members[2].type_id)


def test_a_file_without_btf_says_how_to_get_some(any_compiler):
    path = any_compiler.compile("int f(void) { return 1; }", "-O2")
    with pytest.raises(InputError, match=r"it has no section \.BTF; compile with -g"):
        read_btf_file(path)
    with pytest.raises(InputError, match="cannot read BTF from /nowhere: No such file"):
        read_btf_file("/nowhere")


def test_struct_sizes_are_those_of_the_hosts_compiler(any_compiler, tmp_path):
    """Types of fixed width have one layout; the machine's own compiler says which."""
    types = """
    struct a { __u8 x; __u32 y; __u16 z[3]; }; struct b { struct a one; __u64 two; __u8 three : 3; __u16 four : 9; };
    union c { struct b b; __u8 raw[50]; }; struct __attribute__((packed)) d { __u8 x; __u64 y; };
    """
    names = ["struct a", "struct b", "union c", "struct d"]
    btf = load(any_compiler.compile(types + "struct a a; struct b b; union c c; struct d d;"))
    program = tmp_path / "sizes.c"
    prints = "".join(f'__builtin_printf("%d ", (int)sizeof({name}));' for name in names)
    typedefs = "typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned __u32;"
    program.write_text(f"{typedefs} typedef unsigned long long __u64; {types} int main() {{ {prints} }}")
    native = any_compiler.command[: any_compiler.command.index("-target")]
    subprocess.run([*native, program, "-o", tmp_path / "sizes"], check=True, capture_output=True)
    expected = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout.split()
    kinds = {"struct": Kind.STRUCT, "union": Kind.UNION}
    sizes = [btf.size_of(btf.find(name.split()[1], kinds[name.split()[0]])) for name in names]
    assert [str(size) for size in sizes] == expected
