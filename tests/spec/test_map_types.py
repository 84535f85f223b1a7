"""The map types and program types against the running kernel."""

from __future__ import annotations

import os

import pytest

from kernel_bpf import create_map, instruction, load_program
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_types import Enum, Kind
from routebpf.spec import HELPERS, MAP_TYPES, PROGRAM_TYPES, RETURN_CODES, ArgKind, Helper, MapType, map_type_by_number
from routebpf.spec import program_type_number as number_of

NO_PREALLOC = 1
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
# Not by a plain create: they want BTF, or a cgroup's key.
NEEDS_MORE = ("CGROUP_STORAGE", "PERCPU_CGROUP_STORAGE", "SK_STORAGE", "STRUCT_OPS", "INODE_STORAGE", "TASK_STORAGE")
NEEDS_MORE += ("CGRP_STORAGE", "ARENA", "ARRAY_OF_MAPS", "HASH_OF_MAPS")
CREATABLE = [row for row in MAP_TYPES if row.name not in NEEDS_MORE]


@pytest.fixture(scope="module")
def kernel() -> Btf:
    return read_btf_file("/sys/kernel/btf/vmlinux")


def values(kernel: Btf, name: str, prefix: str) -> dict[str, int]:
    enum = kernel.type(kernel.find(name, Kind.ENUM) or 0)
    assert isinstance(enum, Enum)
    return {one.removeprefix(prefix): value for one, value in enum.values if one.startswith(prefix)}


def can_create(row: MapType, key_size: int, value_size: int, max_entries: int) -> bool:
    flags = NO_PREALLOC if row.name == "LPM_TRIE" else 0
    fd, _ = create_map(row.number, key_size, value_size, max_entries, flags=flags)
    if fd is None:
        return False
    os.close(fd)
    return True


def good_sizes(row: MapType) -> tuple[int, int, int]:
    key_size = row.key_size if row.key_size is not None else 8
    entries = row.max_entries if row.max_entries is not None else PAGE if "RINGBUF" in row.name else 1
    return key_size, row.value_size if row.value_size is not None else 8, entries


@pytest.mark.kernel
def test_numbers_and_names_are_the_kernel_s_and_none_is_missing(kernel: Btf) -> None:
    theirs = values(kernel, "bpf_map_type", "BPF_MAP_TYPE_")
    ours = {row.name: row.number for row in MAP_TYPES}
    assert ours.items() <= theirs.items()
    assert set(ours.values()) == set(theirs.values()) - {0}


@pytest.mark.kernel
@pytest.mark.parametrize("row", CREATABLE, ids=lambda row: row.name)
def test_a_map_is_made_with_the_sizes_of_its_row_and_with_no_others(row: MapType) -> None:
    key_size, value_size, entries = good_sizes(row)
    assert can_create(row, key_size, value_size, entries)
    assert can_create(row, 12, value_size, entries) is (row.key_size is None)
    if row.value_size is not None:
        assert not can_create(row, key_size, value_size + 4, entries)
    assert not can_create(row, key_size, value_size, 0)


@pytest.mark.kernel
def test_program_types_and_return_codes_are_the_kernel_s(kernel: Btf) -> None:
    theirs = values(kernel, "bpf_prog_type", "BPF_PROG_TYPE_")
    assert {row.name: row.number for row in PROGRAM_TYPES}.items() <= theirs.items()
    assert {row.name: row.number for row in RETURN_CODES}.items() <= values(kernel, "bpf_ret_code", "").items()
    attributes = {"LWT_IN": 1, "LWT_OUT": 2, "LWT_XMIT": 3}
    assert {row.name: row.route_attribute for row in PROGRAM_TYPES} == attributes


# A call's arguments but the map: what the verifier needs to see to have nothing else to refuse.
KEY_AT, VALUE_AT = -8, -24
STORED = b"".join(instruction(0x7A, 10, 0, at) for at in (-8, -16, -24, -32))
TAKING_A_MAP = [
    row
    for row in HELPERS
    if any(one.kind is ArgKind.CONST_MAP_PTR for one in row.arguments)
    and not any(one.kind in (ArgKind.PTR_TO_FUNC, ArgKind.PTR_TO_TIMER) for one in row.arguments)
]


def is_taken(helper: Helper, map_fd: int) -> bool:
    code = instruction(0xBF, 6, 1) + STORED
    for register, argument in enumerate(helper.arguments, start=1):
        match argument.kind:
            case ArgKind.CONST_MAP_PTR:
                code += instruction(0x18, register, 1, 0, map_fd) + instruction(0)
            case ArgKind.PTR_TO_CTX:
                code += instruction(0xBF, register, 6)
            case ArgKind.PTR_TO_MAP_KEY | ArgKind.PTR_TO_MAP_VALUE | ArgKind.PTR_TO_MEM | ArgKind.PTR_TO_DYNPTR:
                at = KEY_AT if argument.kind is ArgKind.PTR_TO_MAP_KEY else VALUE_AT
                code += instruction(0xBF, register, 10) + instruction(0x07, register, imm=at)
            case ArgKind.CONST_SIZE | ArgKind.CONST_SIZE_OR_ZERO | ArgKind.CONST_ALLOC_SIZE_OR_ZERO:
                # bpf_perf_event_read_value takes no size but this one.
                code += instruction(0xB7, register, imm=24)
            case _:
                code += instruction(0xB7, register)
    code += instruction(0x85, imm=helper.id) + given_back(helper) + instruction(0xB7, 0) + instruction(0x95)
    fd, _, _ = load_program(code)
    if fd is not None:
        os.close(fd)
    return fd is not None


def given_back(helper: Helper) -> bytes:
    """What was reserved must be given back before the end."""
    if helper.name == "bpf_ringbuf_reserve":
        discard = instruction(0xBF, 1, 0) + instruction(0xB7, 2) + instruction(0x85, imm=133)
        return instruction(0x15, 0, 0, 3) + discard
    if helper.name == "bpf_ringbuf_reserve_dynptr":
        place = instruction(0xBF, 1, 10) + instruction(0x07, 1, imm=VALUE_AT)
        return place + instruction(0xB7, 2) + instruction(0x85, imm=200)
    return b""


@pytest.mark.kernel
@pytest.mark.parametrize("row", CREATABLE, ids=lambda row: row.name)
def test_the_kernel_takes_a_map_for_exactly_the_helpers_of_its_row(row: MapType) -> None:
    key_size, value_size, entries = good_sizes(row)
    flags = NO_PREALLOC if row.name == "LPM_TRIE" else 0
    fd, _ = create_map(row.number, key_size, value_size, entries, flags=flags)
    assert fd is not None
    theirs = {one.name for one in TAKING_A_MAP if is_taken(one, fd)}
    os.close(fd)
    ours = {f"bpf_{one}" for one in row.helpers} - {"bpf_for_each_map_elem", "bpf_user_ringbuf_drain"}
    assert theirs == ours


def test_the_helpers_of_a_map_type_are_helpers() -> None:
    known = {row.name for row in HELPERS if row.program_types}
    for row in MAP_TYPES:
        assert {f"bpf_{one}" for one in row.helpers} <= known


def test_types_are_found_by_number() -> None:
    assert (map_type_by_number(27) or MAP_TYPES[0]).name == "RINGBUF"
    assert map_type_by_number(999) is None
    assert number_of("LWT_XMIT") == 12
    assert number_of("XDP") is None
