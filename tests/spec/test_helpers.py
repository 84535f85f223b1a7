"""Every row of the helpers against the running kernel: ids and names by its BTF, the rest by loading programs."""

from __future__ import annotations

import os
import re

import pytest

from kernel_bpf import PROGRAM_TYPES, instruction, load_program
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_types import Enum, Kind
from routebpf.spec import HELPERS, ArgKind, Extent, Helper, helper_by_id, helper_by_name, helper_name, helper_number

CALL, EXIT, MOV_IMM, MOV_REG = 0x85, 0x95, 0xB7, 0xBF
LWT_HELPERS = [row for row in HELPERS if row.program_types]


def by_name(row: Helper) -> str:
    return row.name


@pytest.fixture(scope="module")
def kernel() -> Btf:
    return read_btf_file("/sys/kernel/btf/vmlinux")


def log_of_call(number: int, program_type: str, *, licence: str = "GPL", before: bytes = b"") -> str:
    """What the verifier says to a program that calls a helper with the context and zeros; "" if it takes it."""
    zeros = b"".join(instruction(MOV_IMM, register) for register in range(2, 6))
    code = before + zeros + instruction(CALL, imm=number) + instruction(MOV_IMM, 0) + instruction(EXIT)
    fd, _, log = load_program(code, program_type=PROGRAM_TYPES[program_type], licence=licence)
    if fd is not None:
        os.close(fd)
        return ""
    return log


@pytest.mark.kernel
def test_ids_and_names_are_the_kernel_s_and_none_is_missing(kernel: Btf) -> None:
    found = kernel.find("bpf_func_id", Kind.ENUM)
    assert found is not None
    ids = kernel.type(found)
    assert isinstance(ids, Enum)
    theirs = {
        f"bpf_{name.removeprefix('BPF_FUNC_')}": number
        for name, number in ids.values
        if name.startswith("BPF_FUNC_") and number
    }
    assert {row.name: row.id for row in HELPERS} == theirs


@pytest.mark.kernel
@pytest.mark.parametrize("program_type", PROGRAM_TYPES)
def test_a_helper_is_known_to_exactly_the_program_types_of_its_row(program_type: str) -> None:
    wrong = []
    for row in HELPERS:
        log = log_of_call(row.id, program_type)
        refused = f"program of this type cannot use helper {row.name}#{row.id}" in log
        assert "invalid func" not in log
        if refused is (program_type in row.program_types):
            wrong.append((row.name, log))
    assert wrong == []


@pytest.mark.kernel
def test_no_helper_has_an_id_beyond_the_table() -> None:
    last = max(row.id for row in HELPERS)
    assert f"invalid func unknown#{last + 1}" in log_of_call(last + 1, "LWT_XMIT")


@pytest.mark.kernel
def test_a_licence_is_asked_for_by_exactly_the_gpl_only_helpers() -> None:
    wrong = []
    for row in LWT_HELPERS:
        refused = "cannot call GPL-restricted function" in log_of_call(row.id, "LWT_XMIT", licence="Proprietary")
        if refused is not row.gpl_only:
            wrong.append(row.name)
    assert wrong == []


@pytest.mark.kernel
def test_the_kernel_says_of_exactly_the_sleeping_helpers_that_they_might_sleep() -> None:
    saying = {row.name for row in LWT_HELPERS if "might sleep" in log_of_call(row.id, "LWT_XMIT")}
    assert saying == {row.name for row in LWT_HELPERS if row.might_sleep}


# The verifier's words for the registers that it would take, by what the row says is taken.
EXPECTED = {
    ArgKind.CONST_MAP_PTR: "map_ptr",
    ArgKind.PTR_TO_MAP_KEY: "fp",
    ArgKind.PTR_TO_MAP_VALUE: "fp",
    ArgKind.PTR_TO_MEM: "fp",
    ArgKind.PTR_TO_CTX: "ctx",
    ArgKind.PTR_TO_SPIN_LOCK: "map_value",
    ArgKind.PTR_TO_TIMER: "map_value",
    ArgKind.PTR_TO_SOCK_COMMON: "sock_common",
    ArgKind.PTR_TO_BTF_ID: "ptr_",
    ArgKind.PTR_TO_BTF_ID_SOCK_COMMON: "sock_common",
    ArgKind.PTR_TO_PERCPU_BTF_ID: "percpu_ptr_",
    ArgKind.PTR_TO_RINGBUF_MEM: "ringbuf_mem",
    ArgKind.PTR_TO_FUNC: "func",
    ArgKind.PTR_TO_STACK: "fp",
    ArgKind.PTR_TO_CONST_STR: "map_value",
    ArgKind.KPTR_XCHG_DEST: "map_value",
    ArgKind.PTR_TO_DYNPTR: "fp",
}
TAKES_A_POINTER = [row for row in LWT_HELPERS if row.arguments and not row.might_sleep]


@pytest.mark.kernel
@pytest.mark.parametrize("row", TAKES_A_POINTER, ids=by_name)
def test_the_kernel_wants_of_the_first_argument_what_the_row_says(row: Helper) -> None:
    kind = row.arguments[0].kind
    # The context where something else is wanted, and a number where the context is.
    before = instruction(MOV_IMM, 1, imm=1) if kind is ArgKind.PTR_TO_CTX else b""
    log = log_of_call(row.id, "LWT_XMIT", before=before)
    if kind is ArgKind.ANYTHING:
        assert not re.search(r"^R1 type=", log, re.MULTILINE)
    else:
        said = re.search(r"^R1 type=\w+ expected=(.*)$", log, re.MULTILINE)
        assert said is not None, log
        assert said[1].split(", ")[0] == EXPECTED[kind]


def test_every_argument_of_memory_says_how_far_it_goes() -> None:
    for row in LWT_HELPERS:
        for position, argument in enumerate(row.arguments):
            if argument.kind is ArgKind.PTR_TO_MEM and argument.extent is Extent.ARGUMENT:
                size = row.arguments[position + 1]
                assert argument.size_argument == position + 1
                assert size.kind in (ArgKind.CONST_SIZE, ArgKind.CONST_SIZE_OR_ZERO), row.name
            if argument.kind in (ArgKind.PTR_TO_MAP_KEY, ArgKind.PTR_TO_MAP_VALUE):
                assert any(one.kind is ArgKind.CONST_MAP_PTR for one in row.arguments), row.name
            if argument.extent is not Extent.NONE:
                assert argument.reads or argument.writes, (row.name, argument.name)


def test_a_helper_is_found_by_id_and_by_name() -> None:
    assert helper_name(1) == "bpf_map_lookup_elem"
    assert helper_number("bpf_redirect") == 23
    assert helper_by_id(23) is helper_by_name("bpf_redirect")
    assert helper_by_id(0) is None
    assert helper_by_id(9999) is None
    assert helper_name(9999) is None
    assert helper_number("redirect") is None


# A packet pointer kept over a call; the packet is read through it after.
KEPT = (
    instruction(MOV_REG, 6, 1)
    + instruction(0x61, 7, 6, 76)
    + instruction(0x61, 8, 6, 80)
    + instruction(MOV_REG, 2, 7)
    + instruction(0x07, 2, imm=1)
    + instruction(0x3D, 8, 2, 2)
    + instruction(MOV_IMM, 0)
    + instruction(EXIT)
)
READ_AFTER = instruction(0x71, 0, 7) + instruction(EXIT)
STACK = instruction(0x7A, 10, 0, -8)


def call_with_good_arguments(row: Helper) -> bytes:
    """A call that the verifier takes, of a helper whose arguments are the context, numbers, memory and sizes."""
    code = STACK
    for register, argument in enumerate(row.arguments, start=1):
        if argument.kind is ArgKind.PTR_TO_CTX:
            code += instruction(MOV_REG, register, 6)
        elif argument.kind is ArgKind.PTR_TO_MEM:
            code += instruction(MOV_REG, register, 10) + instruction(0x07, register, imm=-8)
        else:
            is_size = argument.kind in (ArgKind.CONST_SIZE, ArgKind.CONST_SIZE_OR_ZERO)
            code += instruction(MOV_IMM, register, imm=8 if is_size else 0)
    return code + instruction(CALL, imm=row.id)


SIMPLE = (
    ArgKind.PTR_TO_CTX,
    ArgKind.ANYTHING,
    ArgKind.PTR_TO_MEM,
    ArgKind.CONST_SIZE,
    ArgKind.CONST_SIZE_OR_ZERO,
)
SIMPLE_ROWS = [row for row in LWT_HELPERS if all(one.kind in SIMPLE for one in row.arguments) and not row.might_sleep]


@pytest.mark.kernel
@pytest.mark.parametrize("row", SIMPLE_ROWS, ids=by_name)
def test_packet_pointers_are_void_after_exactly_the_helpers_that_move_it(row: Helper) -> None:
    code = KEPT + call_with_good_arguments(row) + READ_AFTER
    fd, _, log = load_program(code)
    if fd is not None:
        os.close(fd)
    assert fd is not None or "R7 invalid mem access 'scalar'" in log, log
    assert (fd is None) is row.moves_packet


WITH_MEMORY = [row for row in SIMPLE_ROWS if any(one.kind is ArgKind.PTR_TO_MEM for one in row.arguments)]


@pytest.mark.kernel
@pytest.mark.parametrize("row", WITH_MEMORY, ids=by_name)
def test_memory_of_the_packet_is_taken_by_exactly_the_helpers_that_say_so(row: Helper) -> None:
    first = next(number for number, one in enumerate(row.arguments, start=1) if one.kind is ArgKind.PTR_TO_MEM)
    kept = KEPT.replace(instruction(0x07, 2, imm=1), instruction(0x07, 2, imm=8))
    good = call_with_good_arguments(row)
    code = kept + good[:-8] + instruction(MOV_REG, first, 7) + good[-8:] + instruction(MOV_IMM, 0) + instruction(EXIT)
    fd, _, log = load_program(code)
    if fd is not None:
        os.close(fd)
    assert fd is not None or "helper access to the packet is not allowed" in log, log
    assert (fd is not None) is row.packet_access


@pytest.mark.kernel
@pytest.mark.parametrize("row", WITH_MEMORY, ids=by_name)
def test_what_lies_in_memory_is_known_no_more_after_exactly_the_helpers_that_write_it(row: Helper) -> None:
    """The zero that was stored on the stack may be added to a pointer as long as the verifier knows it."""
    code = instruction(MOV_REG, 6, 1) + call_with_good_arguments(row)
    code += instruction(0x79, 3, 10, -8) + instruction(MOV_REG, 1, 10) + instruction(0x0F, 1, 3)
    code += instruction(0x71, 0, 1, -8) + instruction(EXIT)
    fd, _, _ = load_program(code)
    if fd is not None:
        os.close(fd)
    assert (fd is None) is any(one.writes for one in row.arguments if one.kind is ArgKind.PTR_TO_MEM)
