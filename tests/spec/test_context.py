"""The fields of struct __sk_buff against the running kernel: layout by its BTF, accesses by loading programs."""

from __future__ import annotations

import os
from itertools import groupby

import pytest

from kernel_bpf import PROGRAM_TYPES, instruction, load_program
from routebpf.objects.btf import read_btf_file
from routebpf.objects.btf_types import Composite, Kind
from routebpf.spec import CONTEXT_BYTES, CONTEXT_FIELDS, ContextField, Register, context_accesses
from routebpf.spec.socket import SOCKET_BYTES, sock_common_accesses

LOADS = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
STORES = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}
END = instruction(0xB7, 0) + instruction(0x95)


def takes(code: bytes, program_type: str) -> bool:
    fd, _, _ = load_program(code + END, program_type=PROGRAM_TYPES[program_type], log_level=0)
    if fd is None:
        return False
    os.close(fd)
    return True


@pytest.mark.kernel
@pytest.mark.parametrize("program_type", PROGRAM_TYPES)
def test_the_kernel_lets_through_exactly_the_accesses_of_the_table(program_type: str) -> None:
    number = instruction(0xB7, 3)
    theirs = set()
    for size in LOADS:
        for offset in range(CONTEXT_BYTES + 8):
            if takes(instruction(LOADS[size], 2, 1, offset), program_type):
                theirs.add((offset, size, False))
            if takes(number + instruction(STORES[size], 1, 3, offset), program_type):
                theirs.add((offset, size, True))
    assert set(context_accesses(program_type)) == theirs


@pytest.mark.kernel
def test_the_kernel_lets_through_exactly_the_reads_of_a_socket_that_the_table_has() -> None:
    found = next(field for field in CONTEXT_FIELDS if field.name == "sk").offset
    # Gone on with where the socket is null: to the end, behind the load.
    socket = instruction(LOADS[8], 1, 1, found) + instruction(0x15, 1, 0, 1)
    theirs = {
        (offset, size)
        for size in LOADS
        for offset in range(-8, SOCKET_BYTES + 8)
        if takes(socket + instruction(LOADS[size], 2, 1, offset), "LWT_XMIT")
    }
    assert sock_common_accesses() == theirs


@pytest.mark.kernel
def test_offsets_and_sizes_are_the_kernel_s() -> None:
    kernel = read_btf_file("/sys/kernel/btf/vmlinux")
    context = kernel.type(kernel.find("__sk_buff", Kind.STRUCT) or 0)
    assert isinstance(context, Composite)
    theirs = {}
    for member in context.members:
        name = member.name
        if not name:  # a pointer, in a union that makes it 8 bytes
            _, union = kernel.strip(member.type_id)
            assert isinstance(union, Composite)
            name = union.members[0].name
        theirs[name] = (member.bit_offset // 8, kernel.size_of(member.type_id))
    ours = {}
    for name, group in groupby(CONTEXT_FIELDS, key=lambda field: field.name.partition("[")[0]):
        fields = list(group)
        ours[name] = (fields[0].offset, sum(field.size for field in fields))
    assert ours == theirs
    assert context.size == CONTEXT_BYTES


@pytest.mark.kernel
@pytest.mark.parametrize("field", [one for one in CONTEXT_FIELDS if one.read], ids=lambda field: field.name)
def test_a_load_gives_what_the_row_says(field: ContextField) -> None:
    code = instruction(LOADS[field.size], 2, 1, field.offset)
    # R2 is shown where the verifier stops: at an access through r2 that nothing allows.
    _, _, log = load_program(code + instruction(0x79, 3, 2, 0x4000) + END, log_level=2)
    shown = {
        Register.SCALAR: "R2=scalar(",
        Register.PTR_TO_PACKET: "R2=pkt(",
        Register.PTR_TO_PACKET_END: "R2=pkt_end(",
        Register.PTR_TO_SOCK_COMMON_OR_NULL: "R2=sock_common_or_null(",
    }
    assert shown[field.register] in log


def test_pointers_come_only_from_whole_fields() -> None:
    pointers = {place for place, is_pointer in context_accesses("LWT_XMIT").items() if is_pointer}
    assert pointers == {(76, 4, False), (80, 4, False), (168, 8, False)}


def test_a_program_type_that_is_not_of_a_route_has_no_accesses() -> None:
    assert context_accesses("XDP") == {}
