"""CO-RE against targets that the same compilers made: their own `offsetof`, `sizeof` and constants are the truth."""

import re
import struct

import pytest

from routebpf.errors import InputError
from routebpf.objects.btf import read_btf_file
from routebpf.objects.core_reloc import POISON_HELPER
from routebpf.objects.loader import load_object

LOCAL = """
enum state { IDLE, BUSY = 10, GONE };
struct inner { int a; int b[4]; } PAI;
struct packet {
    __u32 length; __u16 port; struct { __u64 cookie; union { __u32 word; __u16 half; }; };
    struct inner inner; struct inner many[3]; __u8 flag : 2; __s8 sign; __u64 wide; int missing; void *pointer;
    enum state state; int tail[];
} PAI;
struct packet___old { __u32 old_length; } PAI;
struct absent { int x; } PAI;
typedef struct { int z; } only_typedef;
"""

TARGET = """
enum state { FIRST, IDLE = 4, BUSY = 20 };
struct inner { __u64 before; int a; int b[6]; };
struct packet {
    void *pointer; __u8 flag_before : 5; __u8 flag : 3; __s8 sign; __u64 length; __u64 port; struct inner many[5];
    union { struct { __u32 pad; __u64 cookie; }; __u64 other; }; union { __u32 word; __u16 half; }; struct inner inner;
    __u16 wide; enum state state; int tail[];
};
typedef struct { int y; int z; } only_typedef;
"""

KINDS = {"offset": 0, "size": 1, "exists": 2, "signed": 3, "lshift": 4, "rshift": 5}


def info(access: str, kind: str) -> str:
    return f"__builtin_preserve_field_info({access}, {KINDS[kind]})"


def offset(path: str, struct_name: str = "struct packet") -> str:
    return f"__builtin_offsetof({struct_name}, {path})"


# What a local program asks about `p`, and the C that says the same in the target's own types.
QUESTIONS = {
    "offset of a field": (info("p->length", "offset"), offset("length")),
    "size of a field": (info("p->port", "size"), "8"),
    "a field in an anonymous struct": (info("p->cookie", "offset"), offset("cookie")),
    "a field in an anonymous union": (info("p->half", "offset"), offset("half")),
    "a nested field": (info("p->inner.b[2]", "offset"), offset("inner.b[2]")),
    "an element of an array of structs": (info("p->many[2].a", "offset"), offset("many[2].a")),
    "an element beyond a flexible array's start": (info("p->tail[3]", "offset"), offset("tail[3]")),
    "a field that exists": (info("p->wide", "exists"), "1"),
    "a field that does not exist": (info("p->missing", "exists"), "0"),
    "a field that only a flavor has": (info("((struct packet___old *)p)->old_length", "exists"), "0"),
    "a signed field": (info("p->sign", "signed"), "1"),
    "an unsigned field": (info("p->length", "signed"), "0"),
    "right shift of a bitfield": (info("p->flag", "rshift"), "61"),
    "left shift and place of a bitfield": (
        f"{info('p->flag', 'lshift')} + 8 * {info('p->flag', 'offset')}",
        f"64 - 8 + 8 * {offset('sign')} - 8",  # it ends where the byte before `sign` ends
    ),
    "size of the smallest load of a bitfield": (info("p->flag", "size"), "1"),
    "right shift of a plain field": (info("p->wide", "rshift"), "48"),
    "a type that exists": ("__builtin_preserve_type_info(*(struct packet *)0, 0)", "1"),
    "a type that does not exist": ("__builtin_preserve_type_info(*(struct absent *)0, 0)", "0"),
    "size of a type": ("__builtin_preserve_type_info(*(struct packet *)0, 1)", "sizeof(struct packet)"),
    "size of a type that is not there": ("__builtin_preserve_type_info(*(struct absent *)0, 1)", "0"),
    "size of a typedef": ("__builtin_preserve_type_info(*(only_typedef *)0, 1)", "sizeof(only_typedef)"),
    "an enumerator's value": ("__builtin_preserve_enum_value(*(enum state *)BUSY, 1)", "BUSY"),
    "an enumerator that is there": ("__builtin_preserve_enum_value(*(enum state *)IDLE, 0)", "1"),
    "an enumerator that is not there": ("__builtin_preserve_enum_value(*(enum state *)GONE, 0)", "0"),
}


@pytest.fixture(scope="module")
def answers(compiler):
    """The target's own constants, out of its data section, and its BTF."""
    names = list(QUESTIONS)
    numbers = ", ".join(QUESTIONS[name][1] for name in names)
    path = compiler.compile(
        f"{TARGET} struct packet *p; only_typedef *t; enum state s; __u64 answers[] = {{ {numbers} }};"
        'SEC("lwt_in") int f(void *c) { return answers[(long)c & 7] + (long)p; }'
    )
    data = load_object(path).maps[".data"].data
    expected = dict(zip(names, struct.unpack(f"<{len(names)}Q", data[: 8 * len(names)]), strict=True))
    return expected, read_btf_file(path)


def value_of(program, marker=0x5A5A):
    """The constant that the program stores beside a marker: a mov or an lddw, summed up over additions."""
    total = 0
    for at, one in enumerate(program.instructions):
        if one.opcode in (0xB7, 0xB4) and one.imm != marker and one.dst != 10:
            total += one.imm
        if one.opcode == 0x18 and one.src == 0:
            total += one.imm % 2**32 | program.instructions[at + 1].imm << 32
    return total


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_kind_gives_what_the_target_says(compiler, answers, question):
    expected, target = answers
    ask = QUESTIONS[question][0]
    parts = re.split(r" \+ 8 \* ", ask)
    numbers = []
    for part in parts:
        path = compiler.compile(f'{LOCAL} SEC("lwt_xmit") long f(struct packet *p) {{ return {part}; }}')
        program = load_object(path, target_btf=target).program()
        assert program.poisons == ()
        numbers.append(value_of(program))
    total = numbers[0] + 8 * numbers[1] if len(numbers) == 2 else numbers[0]
    assert total == expected[question]


def loads(program):
    sizes = {0x61: 4, 0x69: 2, 0x71: 1, 0x79: 8}
    return [(sizes[one.opcode], one.offset) for one in program.instructions if one.opcode in sizes]


def compile_access(compiler, body):
    return compiler.compile(f'{LOCAL} SEC("lwt_xmit") long f(struct packet *p) {{ {body} }}')


def test_a_load_of_an_unsigned_field_takes_the_targets_size(compiler, answers):
    target = answers[1]
    assert loads(load_object(compile_access(compiler, "return p->length;")).program()) == [(4, 0)]
    program = load_object(compile_access(compiler, "return p->length;"), target_btf=target).program()
    assert loads(program) == [(8, 16)]
    assert loads(load_object(compile_access(compiler, "return p->wide;"), target_btf=target).program())[0][0] == 2


def test_a_store_moves_with_its_field(compiler, answers):
    expected, target = answers
    program = load_object(compile_access(compiler, "p->word = 5; return 0;"), target_btf=target).program()
    stores = [(one.opcode, one.offset) for one in program.instructions if one.opcode & 7 in (2, 3)]
    assert [place for _, place in stores] == [expected["a field in an anonymous union"]]


def test_a_pointer_is_followed_at_its_new_offset(compiler, answers):
    assert loads(
        load_object(compile_access(compiler, "return (long)p->pointer;"), target_btf=answers[1]).program()
    ) == [(8, 0)]


def test_what_is_missing_poisons_the_instruction_and_says_what_it_is(compiler, answers):
    path = compile_access(compiler, f"if ({info('p->missing', 'exists')}) return p->missing; return 1;")
    program = load_object(path, target_btf=answers[1]).program()
    poisoned = [at for at, one in enumerate(program.instructions) if one.opcode == 0x85 and one.imm == POISON_HELPER]
    assert [poison.instruction for poison in program.poisons] == poisoned
    assert len(poisoned) == 1
    assert re.search(r"has no struct packet\.missing of a compatible type", program.poisons[0].reason)


def test_a_missing_enumerator_poisons_both_halves_of_its_lddw(compiler, answers):
    path = compile_access(compiler, "return __builtin_preserve_enum_value(*(enum state *)GONE, 1);")
    program = load_object(path, target_btf=answers[1]).program()
    at = program.poisons[0].instruction
    assert [one.imm for one in program.instructions[at : at + 2]] == [POISON_HELPER] * 2
    assert "has no GONE in enum state" in program.poisons[0].reason


def test_a_field_of_another_kind_of_type_counts_as_missing(compiler):
    target = read_btf_file(
        compiler.compile("struct packet { struct { int x; } length; }; struct packet *p;"),
    )
    program = load_object(compile_access(compiler, "return p->length;"), target_btf=target).program()
    assert "has no struct packet.length" in program.poisons[0].reason


def test_a_signed_field_of_another_size_poisons_the_load(compiler):
    target = read_btf_file(compiler.compile("struct packet { __s64 sign; }; struct packet *p;"))
    program = load_object(compile_access(compiler, "return p->sign;"), target_btf=target).program()
    assert "the field has 1 bytes here and 8 in the target" in program.poisons[0].reason


def test_candidates_that_differ_are_ambiguous(compiler):
    target = read_btf_file(
        compiler.compile(
            "struct packet { int length; }; struct packet___2 { int x; int length; };"
            "struct packet *p; struct packet___2 *q;"
        )
    )
    with pytest.raises(InputError, match=r"CO-RE relocation \(FIELD_BYTE_OFFSET\) of struct packet: ambiguous"):
        load_object(compile_access(compiler, "return p->length;"), target_btf=target)


def test_flavors_of_the_target_that_agree_are_no_ambiguity(compiler):
    target = read_btf_file(
        compiler.compile(
            "struct packet___1 { int x; int length; }; struct packet___2 { int y; int length; };"
            "struct packet___1 *p; struct packet___2 *q;"
        )
    )
    assert loads(load_object(compile_access(compiler, "return p->length;"), target_btf=target).program()) == [(4, 4)]


def test_an_offset_that_no_load_can_have_is_refused(compiler):
    target = read_btf_file(compiler.compile("struct packet { char before[40000]; __u32 length; }; struct packet *p;"))
    with pytest.raises(InputError, match="offset 40000 does not fit a load or store"):
        load_object(compile_access(compiler, "return p->length;"), target_btf=target)


def test_without_a_target_the_program_stays_as_it_is(compiler):
    path = compile_access(compiler, "return p->length + p->inner.b[2] + p->tail[1];")
    own = load_object(path).program()
    again = load_object(path, target_btf=read_btf_file(path)).program()
    assert own.instructions == again.instructions
    assert own.poisons == ()


MATCHES = [
    ("struct s { int a; }", "struct s { int a; __u64 more; }", 1),
    ("struct s { int a; __u64 more; }", "struct s { int a; }", 0),
    ("struct s { int a; }", "struct s { __u32 a; }", 0),
    ("struct s { int a; }", "union s { int a; }", 0),
    ("struct s { int a[3]; }", "struct s { int a[3]; }", 1),
    ("struct s { int a[3]; }", "struct s { int a[4]; }", 0),
    ("struct t; struct s { struct t *a; }", "struct t { int x; }; struct s { struct t *a; }", 1),
    ("union t; struct s { union t *a; }", "struct t { int x; }; struct s { struct t *a; }", 0),
    ("enum e { A, B }; struct s { enum e a; }", "enum e { B = 7, A, C }; struct s { enum e a; }", 1),
    ("enum e { A, D }; struct s { enum e a; }", "enum e { B = 7, A, C }; struct s { enum e a; }", 0),
    ("struct s { int (*f)(int, char *); }", "struct s { int (*f)(int, char *); }", 1),
    ("struct s { int (*f)(int); }", "struct s { int (*f)(int, char *); }", 0),
    ("struct s { int (*f)(int); }", "struct s { int (*f)(__u64); }", 0),
    ("struct s { const int a; }", "struct s { volatile int a; }", 1),
]


@pytest.mark.parametrize(("local", "other", "expected"), MATCHES)
def test_types_match_where_the_target_has_all_that_the_local_type_has(compiler, local, other, expected):
    if compiler.name == "clang":
        pytest.skip("clang 14 does not know __builtin_preserve_type_info(…, 2)")
    target = read_btf_file(compiler.compile(f"{other}; {user(other)}"))
    path = compiler.compile(
        f'{local}; SEC("lwt_xmit") long f(void *p) {{ return __builtin_preserve_type_info(*(struct s *)0, 2); }}'
    )
    assert value_of(load_object(path, target_btf=target).program()) == expected


def user(definition: str) -> str:
    """Uses of every struct, union and enum of a definition, so that the compiler writes them into the BTF."""
    names = dict.fromkeys(re.findall(r"\b((?:struct|union|enum) \w+) \{", definition))
    return " ".join(f"{name} use_{position};" for position, name in enumerate(names))
