"""Instructions and their bytes. The layout is RFC 9669, section 3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routebpf.errors import InputError
from routebpf.isa import FORMS, Instruction, decode, encode, load_wide, wide_immediate


def test_the_fields_of_a_slot_stand_where_the_rfc_says() -> None:
    # opcode, src:4 dst:4, offset (16, little endian), imm (32, little endian)
    assert decode(bytes.fromhex("db 21 feff 01000000")) == [Instruction(0xDB, 1, 2, -2, 1)]
    assert encode([Instruction(0xDB, 1, 2, -2, 1)]) == bytes.fromhex("db 21 feff 01000000")


def test_a_64_bit_immediate_is_two_slots_low_half_first() -> None:
    slots = decode(bytes.fromhex("1801000088776655 0000000044332211"))
    assert wide_immediate(*slots) == 0x1122334455667788
    assert load_wide(1, 0x1122334455667788) == tuple(slots)
    assert wide_immediate(*load_wide(0, -2)) == 0xFFFFFFFFFFFFFFFE


@given(st.binary(max_size=64).map(lambda data: data[: len(data) // 8 * 8]))
def test_any_slots_survive_decoding_and_encoding(code: bytes) -> None:
    assert encode(decode(code)) == code


def test_exactly_the_opcodes_of_the_rfc_and_the_kernel_have_a_form() -> None:
    # kernel/bpf/core.c BPF_INSN_MAP and the legacy loads: counted from the tables of RFC 9669, section 4 and 5.
    alu = 2 * (11 * 2 + 2 + 1) + 3
    jumps = 2 * 11 * 2 + 2 + 1 + 2  # conditional, ja and gotol, may_goto, call and exit
    memory = 4 + 3 + 4 + 4 + 4 + 1 + 6  # ldx, ldsx, st, stx, atomic, lddw, legacy
    assert sum(form is not None for form in FORMS) == alu + jumps + memory
    for opcode in (0x00, 0x8D, 0x0D, 0xC0, 0xFF, 0x99, 0x06 | 0x80, 0x06 | 0x90, 0xDF):
        assert FORMS[opcode] is None


def test_a_cut_slot_is_an_error_that_counts_bytes() -> None:
    with pytest.raises(InputError, match="11 bytes are no whole number of 8-byte instructions; the last 3"):
        decode(bytes(11))


@pytest.mark.parametrize(
    "bad", [Instruction(0xB7, 16), Instruction(0xB7, imm=1 << 31), Instruction(0xB7, offset=40000)]
)
def test_a_field_that_does_not_fit_is_an_error_that_names_the_instruction(bad: Instruction) -> None:
    with pytest.raises(InputError, match="encoding instruction 1"):
        encode([Instruction(0x95), bad])
