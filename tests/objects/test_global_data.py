import struct

import pytest

from routebpf.errors import InputError
from routebpf.objects.btf_types import Kind
from routebpf.objects.btf_values import decode
from routebpf.objects.elf import read_elf
from routebpf.objects.loader import load_object
from routebpf.objects.model import MapKind

SOURCE = """
struct limits { __u32 low; __u64 high; };
__u32 first = 7; struct limits limits = { 1, 2 }; static volatile __u32 hidden = 9;
int zeroed[5]; static volatile __u64 hidden_zero;
const volatile __u32 rate = 1000; static const char greeting[] = "hello";
__u32 own SEC(".data.own") = 5; const volatile __u32 set SEC(".rodata.set") = 6; __u32 more SEC(".bss.more");
SEC("lwt_xmit") int run(void *ctx) {
    return first + limits.high + hidden + zeroed[2] + hidden_zero + rate + greeting[(long)ctx & 3] + own + set + more;
}
"""


@pytest.fixture(scope="module")
def loaded(compiler):
    return load_object(compiler.compile(SOURCE))


def variables(loaded, name):
    definition = loaded.maps[name]
    return decode(loaded.btf, definition.btf_value_type_id, definition.data)


def test_initial_values_are_those_of_the_c_source(loaded):
    data = variables(loaded, ".data")
    assert (data["first"], data["limits"], data["hidden"]) == (7, {"low": 1, "high": 2}, 9)
    assert variables(loaded, ".rodata")["rate"] == 1000
    assert variables(loaded, ".data.own") == {"own": 5}
    assert variables(loaded, ".rodata.set") == {"set": 6}
    assert variables(loaded, ".bss")["zeroed"] == [0] * 5


def test_each_section_is_an_array_of_one_entry(loaded):
    for name, kind, read_only in [
        (".data", MapKind.DATA, False),
        (".bss", MapKind.BSS, False),
        (".rodata", MapKind.RODATA, True),
        (".data.own", MapKind.DATA, False),
        (".rodata.set", MapKind.RODATA, True),
        (".bss.more", MapKind.BSS, False),
    ]:
        one = loaded.maps[name]
        assert (one.type, one.key_size, one.max_entries, one.kind, one.read_only) == (2, 4, 1, kind, read_only)
        assert len(one.data) == one.value_size


def test_constants_are_read_only_for_the_program(loaded):
    bpf_f_rdonly_prog = 1 << 7
    assert loaded.maps[".rodata"].flags == bpf_f_rdonly_prog
    assert loaded.maps[".data"].flags == 0


def test_references_lead_to_the_variable(loaded):
    """Every lddw of a global variable names its map and the offset at which the map's BTF has a variable."""
    program = loaded.program()
    seen = set()
    for at, instruction in enumerate(program.instructions):
        if instruction.opcode == 0x18 and instruction.src == 6:
            definition = loaded.maps[program.maps[instruction.imm]]
            offset = program.instructions[at + 1].imm
            section = loaded.btf.type(definition.btf_value_type_id) if definition.btf_value_type_id else None
            for variable in section.variables if section else ():
                if variable.offset <= offset < variable.offset + variable.size:
                    seen.add(loaded.btf.name(variable.type_id))
    assert seen >= {"first", "limits", "hidden", "zeroed", "hidden_zero", "rate", "own", "set", "more"}


def test_variables_of_a_section_are_in_the_order_of_their_place(any_compiler):
    """The kernel takes no other; the order of declaration is another where the linker moved symbols."""
    path = any_compiler.compile('int a = 1, b = 2; SEC("lwt_xmit") int f(void *c) { return a + b; }')
    data = bytearray(path.read_bytes())
    elf = read_elf(bytes(data), "o")
    table = elf.section(".symtab")
    at = data.find(table.data)
    for position, symbol in enumerate(elf.symbols):
        if symbol.name in ("a", "b"):
            struct.pack_into("<Q", data, at + 24 * position + 8, 4 - symbol.value)
    loaded = load_object(bytes(data))
    section = loaded.btf.type(loaded.maps[".data"].btf_value_type_id)
    assert [(loaded.btf.name(v.type_id), v.offset) for v in section.variables] == [("b", 0), ("a", 4)]


def test_the_btf_of_a_section_has_its_size(loaded):
    for type_id, section in loaded.btf.datasecs():
        if section.name in loaded.maps:
            assert loaded.btf.size_of(type_id) == loaded.maps[section.name].value_size
    assert loaded.btf.find(".data", Kind.DATASEC)


def test_without_btf_the_data_is_still_there(any_compiler):
    loaded = load_object(any_compiler.compile(SOURCE, "-O2"))
    assert loaded.btf is None
    assert struct.pack("<I", 7) in loaded.maps[".data"].data
    assert loaded.maps[".data"].btf_value_type_id == 0


def test_a_common_symbol_says_how_to_compile(any_compiler):
    if any_compiler.name != "clang":
        pytest.skip("needs -fcommon")
    path = any_compiler.compile('int common; SEC("lwt_xmit") int f(void *c) { return common; }', "-O2", "-fcommon")
    with pytest.raises(InputError, match="-fno-common"):
        load_object(path)
