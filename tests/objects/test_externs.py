import struct

import pytest

from routebpf.errors import InputError
from routebpf.objects.btf import read_btf_file
from routebpf.objects.btf_values import decode
from routebpf.objects.linker import POISON_KFUNC_CALL
from routebpf.objects.loader import load_object
from routebpf.objects.model import ExternKind, MapKind

CALL, LDDW, PSEUDO_KFUNC, PSEUDO_BTF_ID, PSEUDO_MAP_VALUE = 0x85, 0x18, 2, 3, 6

SOURCE = """
extern _Bool CONFIG_A __kconfig __weak; extern int LINUX_KERNEL_VERSION __kconfig;
extern char CONFIG_B __kconfig __weak; extern __u64 CONFIG_C __kconfig __weak;
extern const char CONFIG_D[5] __kconfig __weak;
extern int present(int) __ksym; extern int present_too(int) __ksym __weak; extern int absent(int) __ksym __weak;
extern const int known_variable __ksym; extern const void untyped __ksym __weak; extern const int gone __ksym __weak;
SEC("lwt_xmit") int run(void *ctx) {
    int result = LINUX_KERNEL_VERSION + CONFIG_A + CONFIG_B + CONFIG_C + CONFIG_D[1] + present(1);
    if (present_too) result += present_too(2);
    if (absent) result += absent(3);
    if (&untyped) result += 1;
    if (&gone) result += 2;
    return result + (long)&known_variable;
}
"""
TARGET = """
int known_variable SEC(".data");
__noinline int present(int a) { return a; } __noinline int present_too(int a) { return a; }
SEC("lwt_xmit") int f(void *c) { return known_variable + present(1) + present_too(2); }
"""


@pytest.fixture(scope="module")
def target(compiler):
    return read_btf_file(compiler.compile(TARGET))


@pytest.fixture(scope="module")
def loaded(compiler, target):
    return load_object(compiler.compile(SOURCE), target_btf=target, kernel_version=(6, 1, 300))


def instructions(loaded, opcode, src):
    program = loaded.program()
    return [(at, one) for at, one in enumerate(program.instructions) if (one.opcode, one.src) == (opcode, src)]


def test_externs_are_listed_with_kind_and_weakness(loaded):
    assert {e.name: (e.kind, e.weak, e.typed) for e in loaded.externs.values()} == {
        "CONFIG_A": (ExternKind.KCONFIG, True, True),
        "LINUX_KERNEL_VERSION": (ExternKind.KCONFIG, False, True),
        "CONFIG_B": (ExternKind.KCONFIG, True, True),
        "CONFIG_C": (ExternKind.KCONFIG, True, True),
        "CONFIG_D": (ExternKind.KCONFIG, True, True),
        "present": (ExternKind.KFUNC, False, True),
        "present_too": (ExternKind.KFUNC, True, True),
        "absent": (ExternKind.KFUNC, True, True),
        "known_variable": (ExternKind.KSYM, False, True),
        "untyped": (ExternKind.KSYM, True, False),
        "gone": (ExternKind.KSYM, True, True),
    }


def test_the_kernel_version_is_that_of_linux_version_code(loaded):
    one = loaded.maps[".kconfig"]
    assert (one.kind, one.read_only, one.key_size, one.max_entries) == (MapKind.KCONFIG, True, 4, 1)
    values = decode(loaded.btf, one.btf_value_type_id, one.data)
    # KERNEL_VERSION(6, 1, 300): the last number is cut at 255.
    assert values == {"CONFIG_A": False, "LINUX_KERNEL_VERSION": 0x0601FF, "CONFIG_B": 0, "CONFIG_C": 0, "CONFIG_D": ""}


def test_each_configuration_value_is_aligned_and_referred_to(loaded):
    program = loaded.program()
    _, section = next((i, s) for i, s in loaded.btf.datasecs() if s.name == ".kconfig")
    offsets = {variable.offset: loaded.btf.name(variable.type_id) for variable in section.variables}
    assert all(variable.offset % min(variable.size, 4) == 0 for variable in section.variables if variable.size != 5)
    used = {
        program.instructions[at + 1].imm
        for at, one in instructions(loaded, LDDW, PSEUDO_MAP_VALUE)
        if program.maps[one.imm] == ".kconfig"
    }
    named = {offsets.get(offset, "CONFIG_D") for offset in used}
    assert named == {"CONFIG_A", "LINUX_KERNEL_VERSION", "CONFIG_B", "CONFIG_C", "CONFIG_D"}


def test_without_a_version_it_is_that_of_the_reference_kernel(any_compiler):
    path = any_compiler.compile(
        'extern int LINUX_KERNEL_VERSION __kconfig; SEC("lwt_in") int f(void *c) { return LINUX_KERNEL_VERSION; }'
    )
    assert struct.unpack("<i", load_object(path).maps[".kconfig"].data) == (0x061200,)


def test_kfuncs_are_called_by_index(loaded):
    program = loaded.program()
    assert [program.kfuncs[one.imm] for _, one in instructions(loaded, CALL, PSEUDO_KFUNC)] == [
        "present",
        "present_too",
    ]


def test_kernel_variables_and_existing_kfuncs_are_loaded_by_index(loaded):
    program = loaded.program()
    names = {program.ksyms[one.imm] for _, one in instructions(loaded, LDDW, PSEUDO_BTF_ID)}
    assert names == {"present_too", "known_variable"}


def test_a_weak_kfunc_that_is_not_there_is_poisoned_and_tests_false(loaded):
    program = loaded.program()
    calls = [(at, one) for at, one in instructions(loaded, CALL, 0) if one.imm == POISON_KFUNC_CALL]
    assert len(calls) == 1
    assert [(p.instruction, p.reason) for p in program.poisons] == [
        (calls[0][0], "kfunc absent is declared __weak and is not there")
    ]
    zeros = [at for at, one in instructions(loaded, LDDW, 0) if one.imm == program.instructions[at + 1].imm == 0]
    assert len(zeros) == 3  # absent, untyped, gone


def test_a_strong_kfunc_that_is_not_there_is_refused(any_compiler):
    target = read_btf_file(any_compiler.compile(TARGET))
    path = any_compiler.compile('extern int nope(void) __ksym; SEC("lwt_xmit") int f(void *c) { return nope(); }')
    with pytest.raises(InputError, match=r"instruction 0 \(f\): it calls kfunc nope, which the target kernel does not"):
        load_object(path, target_btf=target)


def test_a_strong_variable_that_is_not_there_is_refused(any_compiler):
    target = read_btf_file(any_compiler.compile(TARGET))
    path = any_compiler.compile('extern const int nope __ksym; SEC("lwt_xmit") int f(void *c) { return (long)&nope; }')
    with pytest.raises(InputError, match=r"instruction 0 \(f\): it refers to nope, which the target kernel does not"):
        load_object(path, target_btf=target)


def test_a_strong_configuration_value_is_refused(any_compiler):
    path = any_compiler.compile('extern int CONFIG_HZ __kconfig; SEC("lwt_xmit") int f(void *c) { return CONFIG_HZ; }')
    with pytest.raises(
        InputError, match="extern CONFIG_HZ __kconfig: no configuration to take its value from; declare it"
    ):
        load_object(path)


def test_a_configuration_value_of_a_struct_type_is_refused(any_compiler):
    path = any_compiler.compile(
        "struct s { int a; }; extern struct s CONFIG_S __kconfig __weak;"
        'SEC("lwt_xmit") int f(void *c) { return CONFIG_S.a; }'
    )
    with pytest.raises(InputError, match="extern CONFIG_S: a __kconfig value must be an integer"):
        load_object(path)


def test_without_a_target_kfuncs_are_those_of_the_embedded_host(any_compiler):
    path = any_compiler.compile(
        "extern void *bpf_cast_to_kern_ctx(void *) __ksym __weak; extern int bpf_not_a_kfunc(void) __ksym __weak;"
        'SEC("lwt_xmit") int f(void *c) { if (bpf_not_a_kfunc) return bpf_not_a_kfunc();'
        " return bpf_cast_to_kern_ctx ? (long)bpf_cast_to_kern_ctx(c) : 0; }"
    )
    program = load_object(path).program()
    assert program.kfuncs == ("bpf_cast_to_kern_ctx",)
    assert ["bpf_not_a_kfunc" in poison.reason for poison in program.poisons] == [True]


def test_a_variable_cannot_be_called(any_compiler):
    """The object's BTF says variable, its code calls the symbol."""
    path = any_compiler.compile(
        "extern const int known_variable __ksym;"
        'SEC("lwt_xmit") int f(void *c) { return (long)&known_variable; }'
        'asm(".section lwt_out,\\"ax\\"\\n call known_variable\\n exit\\n");'
    )
    with pytest.raises(InputError, match="it calls known_variable, which is declared as a variable"):
        load_object(path)
