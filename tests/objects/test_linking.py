import re
import shutil
import struct
import subprocess

import pytest

from routebpf.errors import InputError
from routebpf.objects.btf_types import Kind, Linkage
from routebpf.objects.elf import read_elf
from routebpf.objects.loader import load_object

FLAGS = [
    ("-O2", "-g"),
    ("-O2", "-g", "-mcpu=v4"),
    ("-O1", "-g"),
    ("-Os", "-g"),
    ("-O2", "-g", "-mcpu=v1"),
    ("-O2", "-g", "-mcpu=v2"),
    ("-O2",),
]

SOURCE = """
int counter;
static __noinline int deepest(int x) { return x * 3 + counter; }
static __noinline int deeper(int x) { return deepest(x) + 1; }
__noinline int global_function(int x) { return deeper(x) + deepest(x); }
static long callback(__u32 i, void *ctx) { *(int *)ctx += deepest(i); return 0; }
__noinline int other_global(int x) { return global_function(x) + deepest(x); }
SEC("lwt_xmit/b") int second(void *ctx) { return other_global(5); }
SEC("lwt_xmit/b") int third(void *ctx) { return 0; }
static __noinline SEC("lwt_xmit/a") int beside(int x) { return x + counter; }
SEC("lwt_xmit/a") int first(void *ctx) {
    int sum = beside(1);
    bpf_loop(4, callback, &sum, 0);
    bpf_loop(5, callback, &sum, 0);
    return sum + global_function(sum) + deeper(2);
}
SEC("lwt_in") int incoming(void *ctx) { return 0; }
SEC("lwt_out/x") int outgoing(void *ctx) { return 2; }
"""
CALL, LDDW = 0x85, 0x18


@pytest.fixture(scope="module", params=FLAGS, ids=lambda flags: " ".join(flags))
def loaded(compiler, request):
    if "-mcpu=v4" in request.param and compiler.name == "clang":
        pytest.skip("clang 14 does not know -mcpu=v4")
    return load_object(compiler.compile(SOURCE, *request.param))


@pytest.fixture(scope="module")
def source_lines(compiler):
    return (compiler.prelude + SOURCE).splitlines()


def callees(program, function):
    """The functions that a function calls or passes as a callback, as the linked instructions say."""
    starts = {f.start: f.name for f in program.functions}
    return {
        starts[at + 1 + one.imm]
        for at, one in enumerate(program.instructions)
        if function.start <= at < function.end and (one.opcode, one.src) in ((CALL, 1), (LDDW, 4))
    }


def test_programs_have_the_type_that_their_section_says(loaded):
    assert {(p.name, p.section, p.program_type) for p in loaded.programs.values()} == {
        ("first", "lwt_xmit/a", "LWT_XMIT"),
        ("second", "lwt_xmit/b", "LWT_XMIT"),
        ("third", "lwt_xmit/b", "LWT_XMIT"),
        ("incoming", "lwt_in", "LWT_IN"),
        ("outgoing", "lwt_out/x", "LWT_OUT"),
    }


def test_every_function_used_is_linked_in_once(loaded):
    first = loaded.programs["first"]
    assert first.functions[0].name == "first"
    names = [function.name for function in first.functions]
    assert sorted(names) == ["beside", "callback", "deeper", "deepest", "first", "global_function"]
    assert [f.name for f in loaded.programs["third"].functions] == ["third"]
    assert {f.name for f in loaded.programs["second"].functions} == {
        "second",
        "other_global",
        "global_function",
        "deeper",
        "deepest",
    }
    assert callees(loaded.programs["second"], loaded.programs["second"].functions[0]) == {"other_global"}


def test_calls_and_callbacks_lead_to_the_function_of_the_source(loaded):
    program = loaded.programs["first"]
    by_name = {function.name: callees(program, function) for function in program.functions}
    assert by_name == {
        "first": {"beside", "callback", "global_function", "deeper"},
        "beside": set(),
        "callback": {"deepest"},
        "global_function": {"deeper", "deepest"},
        "deeper": {"deepest"},
        "deepest": set(),
    }


def test_functions_are_laid_out_without_gaps(loaded):
    for program in loaded.programs.values():
        assert [f.end for f in program.functions][:-1] == [f.start for f in program.functions][1:]
        assert (program.functions[0].start, program.functions[-1].end) == (0, len(program.instructions))


def test_global_functions_are_told_from_static_ones(loaded):
    assert {f.name: f.is_global for f in loaded.programs["first"].functions} == {
        "first": True,
        "global_function": True,
        "beside": False,
        "callback": False,
        "deeper": False,
        "deepest": False,
    }


def test_hidden_functions_are_verified_with_their_callers(compiler):
    source = """
    __attribute__((visibility("hidden"))) __noinline int hidden(int *x) { return *x + 1; }
    SEC("lwt_xmit") int run(void *ctx) { int x = 41; return hidden(&x); }
    """
    loaded = load_object(compiler.compile(source))
    assert {f.name: f.is_global for f in loaded.program().functions} == {"run": True, "hidden": False}
    assert loaded.btf.type(loaded.btf.find("hidden", Kind.FUNC)).linkage == Linkage.STATIC


def test_lines_are_those_of_the_source(loaded, source_lines):
    program = loaded.programs["first"]
    if loaded.btf is None:
        assert program.lines == ()
        return
    for function in program.functions:
        assert function.name in loaded.btf.name(function.btf_type_id)
        line = program.line_at(function.start)
        assert line is not None
        assert function.name in line.text or function.name == "first"  # whose body starts on the next line
    assert all(source_lines[line.line - 1] == line.text and line.file.endswith(".c") for line in program.lines)
    assert [line.instruction for line in program.lines] == sorted(line.instruction for line in program.lines)
    call = next(i for i, one in enumerate(program.instructions) if one.opcode == CALL and one.imm == 181)
    assert "bpf_loop(4, callback, &sum, 0)" in program.line_at(call).text
    assert program.line_at(len(program.instructions)) is None
    assert program.function_at(-1) is None


@pytest.mark.skipif(not shutil.which("llvm-objdump"), reason="no llvm-objdump here")
@pytest.mark.parametrize("flags", [("-O2", "-g"), ("-O2", "-g", "-mcpu=v3"), ("-O1", "-g", "-mcpu=v1")])
def test_instructions_are_those_that_llvm_objdump_prints(any_compiler, flags):
    path = any_compiler.compile(SOURCE, *flags)
    text = subprocess.run(["llvm-objdump", "-d", path], capture_output=True, text=True, check=True).stdout
    dumped: dict[str, bytearray] = {}
    for line in text.splitlines():
        if found := re.match(r"[0-9a-f]{16} <(\w+)>:", line):
            name = found[1]
        elif (found := re.match(r"\s+\d+:((?: [0-9a-f]{2})+)\s", line.replace("\t", " "))) and not name.startswith(
            "LBB"
        ):
            dumped.setdefault(name, bytearray()).extend(bytes.fromhex(found[1].replace(" ", "")))
        elif found:
            dumped[list(dumped)[-1]].extend(bytes.fromhex(found[1].replace(" ", "")))
    program = load_object(path).programs["first"]
    for function in program.functions:
        code = dumped[function.name]
        ours = program.instructions[function.start : function.end]
        assert len(code) == 8 * len(ours)
        for position, one in enumerate(ours):
            assert (one.opcode, one.dst) == (code[8 * position], code[8 * position + 1] & 15)


def test_the_license_and_version_are_read(any_compiler):
    source = 'int _version SEC("version") = 394752; SEC("lwt_in") int f(void *c) { return 0; }'
    loaded = load_object(any_compiler.compile(source))
    assert (loaded.license, loaded.version) == ("GPL", 394752)


def test_any_section_name_will_do_when_the_type_is_given(any_compiler):
    path = any_compiler.compile(
        'SEC("push_ll") int push(void *c) { return 0; } SEC("drop") int dropper(void *c) { return 2; }'
    )
    loaded = load_object(path, program_type="LWT_XMIT")
    assert {p.name: p.program_type for p in loaded.programs.values()} == {"push": "LWT_XMIT", "dropper": "LWT_XMIT"}
    with pytest.raises(
        InputError, match="no section is named lwt_in, lwt_out or lwt_xmit; its sections are push_ll, drop"
    ):
        load_object(path)


def test_a_type_that_no_section_has_is_refused_with_the_sections_there(any_compiler):
    path = any_compiler.compile(
        'SEC("lwt_in") int a(void *c) { return 0; } SEC("lwt_out/b") int b(void *c) { return 0; }'
    )
    with pytest.raises(InputError, match="no program of type LWT_XMIT; its sections are lwt_in, lwt_out/b"):
        load_object(path, program_type="LWT_XMIT")


def test_an_unknown_program_type_is_named(any_compiler):
    with pytest.raises(InputError, match="program type XDP is not known; there are LWT_IN, LWT_OUT, LWT_XMIT"):
        load_object(any_compiler.compile(SOURCE), program_type="XDP")


def test_seg6local_programs_are_refused_by_name(any_compiler):
    path = any_compiler.compile('SEC("lwt_seg6local") int f(void *c) { return 0; }')
    with pytest.raises(InputError, match=r"LWT_SEG6LOCAL belong to an SRv6 End\.BPF action"):
        load_object(path)
    with pytest.raises(InputError, match="LWT_SEG6LOCAL"):
        load_object(path, program_type="LWT_XMIT")


def test_an_object_without_a_program_says_so(any_compiler):
    with pytest.raises(InputError, match=r"it has no program: no section but \.text holds instructions"):
        load_object(any_compiler.compile("int f(void *c) { return 0; }"))


def test_programs_are_chosen_by_function_or_by_section(any_compiler):
    loaded = load_object(any_compiler.compile(SOURCE))
    assert loaded.program("first") is loaded.program("lwt_xmit/a") is loaded.programs["first"]
    assert loaded.program("third").name == "third"
    with pytest.raises(InputError, match=r"section lwt_xmit/b holds 2 programs; choose one of second, third"):
        loaded.program("lwt_xmit/b")
    with pytest.raises(
        InputError, match=r"no section or function named fourth; it has .*first \(section lwt_xmit/a, LWT"
    ):
        loaded.program("fourth")
    with pytest.raises(InputError, match="it holds 5 programs; choose one"):
        loaded.program(None)


def test_hand_written_assembly_is_one_program_a_section(any_compiler):
    source = """asm(".section lwt_xmit,\\"ax\\"\\n r1 = 5\\n call helper\\n exit\\n helper:\\n r0 = r1\\n exit\\n");"""
    program = load_object(any_compiler.compile(source)).program()
    assert (program.name, program.section) == ("lwt_xmit", "lwt_xmit")
    assert [f.start for f in program.functions] == [0, 3]
    assert callees(program, program.functions[0]) == {program.functions[1].name}


def test_code_in_text_alone_runs_when_the_type_is_given(any_compiler):
    loaded = load_object(any_compiler.compile("int f(void *c) { return 0; }", "-O2"), program_type="LWT_OUT")
    assert loaded.program().program_type == "LWT_OUT"


def test_the_bytes_of_a_file_will_do(any_compiler):
    data = any_compiler.compile(SOURCE).read_bytes()
    assert load_object(data).programs["first"].name == "first"


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"cannot read object /nowhere/x\.o: No such file or directory"):
        load_object("/nowhere/x.o")


def test_a_call_to_a_function_that_is_not_there_is_explained(any_compiler):
    path = any_compiler.compile('extern int missing(int); SEC("lwt_xmit") int f(void *c) { return missing(1); }')
    with pytest.raises(
        InputError, match=r"section lwt_xmit, instruction 1 \(f\): missing is not defined in this object"
    ):
        load_object(path)


def with_relocation(path, **changes):
    """The object with its first relocation of section lwt_xmit/a changed: `offset`, `type` or `symbol`."""
    data = bytearray(path.read_bytes())
    table = read_elf(bytes(data), "o").section(".rellwt_xmit/a")
    at = data.find(table.data)
    offset, info = struct.unpack_from("<QQ", data, at)
    symbol, kind = changes.get("symbol", info >> 32), changes.get("type", info & 0xFFFFFFFF)
    struct.pack_into("<QQ", data, at, changes.get("offset", offset), symbol << 32 | kind)
    return bytes(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": 2}, r"section lwt_xmit/a, instruction \d+ \(\w+\): relocation of type 2 to \S+ on opcode 0x\w+"),
        ({"type": 99}, r"relocation of type 99"),
        ({"offset": 3}, r"section lwt_xmit/a: a relocation at byte 3, which is no instruction"),
        ({"offset": 1 << 40}, r"section lwt_xmit/a: a relocation at byte 1099511627776, which is no instruction"),
        ({"symbol": 12345}, r"section \.rellwt_xmit/a: the relocation at byte \d+ of lwt_xmit/a is to symbol 12345 of"),
        ({"symbol": 0}, r"instruction \d+ \(\w+\): a symbol without a name is not defined in this object"),
    ],
)
def test_a_relocation_that_leads_nowhere_is_named(any_compiler, changes, message):
    with pytest.raises(InputError, match=message):
        load_object(with_relocation(any_compiler.compile(SOURCE), **changes))


def test_a_call_into_the_middle_of_a_function_is_refused(any_compiler):
    path = any_compiler.compile(SOURCE)
    data = bytearray(path.read_bytes())
    text = read_elf(bytes(data), "o").section(".text")
    call = next(at for at in range(0, text.size, 8) if text.data[at : at + 2] == b"\x85\x10")
    struct.pack_into("<i", data, data.find(text.data) + call + 4, 0)
    with pytest.raises(InputError, match=r"it refers to instruction \d+ of section \.text, where no function starts"):
        load_object(bytes(data))
