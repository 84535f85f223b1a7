"""Properties of every valid instruction, made from RFC 9669 and uapi/linux/bpf.h, not from `isa`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routebpf.isa import Instruction, Kind, assemble, decode, disassemble, encode

register = st.integers(0, 10)
s16 = st.integers(-0x8000, 0x7FFF)
s32 = st.integers(-0x80000000, 0x7FFFFFFF)
u32 = st.integers(0, 0x7FFFFFFF)
_CLASSES = (0x04, 0x07)
_ADD_TO_XOR = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xC0)
_JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
_SIZES = (0x00, 0x08, 0x10, 0x18)


def _one(opcodes: st.SearchStrategy[int], **fields: st.SearchStrategy[int]) -> st.SearchStrategy[list[Instruction]]:
    return st.builds(lambda **f: [Instruction(**f)], opcode=opcodes, **fields)


def _opcodes(*parts: tuple[int, ...]) -> st.SearchStrategy[int]:
    return st.tuples(*(st.sampled_from(part) for part in parts)).map(sum)


def _pair(src: int, low: st.SearchStrategy[int], high: st.SearchStrategy[int]) -> st.SearchStrategy[list[Instruction]]:
    return st.builds(
        lambda dst, lo, hi: [Instruction(0x18, dst, src, 0, lo), Instruction(0, imm=hi)], register, low, high
    )


zero = st.just(0)
arithmetic = st.one_of(
    _one(_opcodes(_CLASSES, _ADD_TO_XOR), dst=register, imm=s32),
    _one(_opcodes(_CLASSES, _ADD_TO_XOR, (8,)), dst=register, src=register),
    _one(_opcodes(_CLASSES, (0x30, 0x90)), dst=register, offset=st.just(1), imm=s32),
    _one(_opcodes(_CLASSES, (0x30, 0x90), (8,)), dst=register, src=register, offset=st.just(1)),
    _one(_opcodes(_CLASSES, (0x80,)), dst=register),
    _one(_opcodes(_CLASSES, (0xB0,)), dst=register, imm=s32),
    _one(st.just(0xBF), dst=register, src=register, offset=st.sampled_from((0, 8, 16, 32))),
    _one(st.just(0xBC), dst=register, src=register, offset=st.sampled_from((0, 8, 16))),
    _one(st.sampled_from((0xD4, 0xDC, 0xD7)), dst=register, imm=st.sampled_from((16, 32, 64))),
)
memory = st.one_of(
    _one(_opcodes((0x61,), _SIZES), dst=register, src=register, offset=s16),
    _one(_opcodes((0x81,), (0x00, 0x08, 0x10)), dst=register, src=register, offset=s16),
    _one(_opcodes((0x62,), _SIZES), dst=register, offset=s16, imm=s32),
    _one(_opcodes((0x63,), _SIZES), dst=register, src=register, offset=s16),
    _one(
        _opcodes((0xC3,), (0x00, 0x18)),
        dst=register,
        src=register,
        offset=s16,
        imm=st.sampled_from((0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1, 0x100, 0x110)),
    ),
    _one(_opcodes((0xC3,), (0x08, 0x10)), dst=register, src=register, offset=s16, imm=st.sampled_from((0x100, 0x110))),
    _one(_opcodes((0x20,), (0x00, 0x08, 0x10)), imm=s32),
    _one(_opcodes((0x40,), (0x00, 0x08, 0x10)), src=register, imm=s32),
)
wide = st.one_of(
    _pair(0, s32, s32), _pair(1, u32, zero), _pair(2, u32, s32), _pair(3, u32, zero), _pair(4, s32, zero),
    _pair(5, u32, zero), _pair(6, u32, s32),
)  # fmt: skip
jumps = st.one_of(
    _one(_opcodes((0x05, 0x06), _JUMPS), dst=register, offset=s16, imm=s32),
    _one(_opcodes((0x05, 0x06), _JUMPS, (8,)), dst=register, src=register, offset=s16),
    _one(st.just(0x05), offset=s16),
    _one(st.just(0x06), imm=s32),
    _one(st.just(0xE5), offset=s16),
    _one(st.just(0x95)),
)
calls = st.one_of(
    _one(st.just(0x85), imm=st.integers(1, 211)),
    _one(st.just(0x85), src=st.just(1), imm=s32),
    _one(st.just(0x85), src=st.just(2), imm=u32, offset=st.integers(0, 100)),
)
addr_space_cast = st.builds(
    lambda dst, src, to: [Instruction(0xBF, dst, src, 1, to)], register, register, st.sampled_from((1, 1 << 16))
)
instruction = st.one_of(arithmetic, memory, wide, jumps, calls, addr_space_cast)
program = st.lists(instruction, max_size=12).map(lambda parts: [one for part in parts for one in part])


@given(program)
def test_any_valid_program_survives_encoding_and_decoding(program: list[Instruction]) -> None:
    assert decode(encode(program)) == program


@given(instruction)
def test_every_valid_instruction_has_a_form(slots: list[Instruction]) -> None:
    assert slots[0].form is not None
    assert (slots[0].form.kind is Kind.LDDW) == (len(slots) == 2) == slots[0].is_wide


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@pytest.mark.kernel
@given(slots=arithmetic | memory)
def test_the_kernel_prints_any_instruction_as_we_do(
    kernel_text: Callable[[bytes], dict[int, str]], slots: list[Instruction]
) -> None:
    printed = kernel_text(encode([*assemble("r0 = 0"), *slots, *assemble("r0 = 0 \n exit")]))
    assert printed.get(1, disassemble(slots)) == disassemble(slots)


@given(program)
def test_what_is_disassembled_assembles_to_the_same(program: list[Instruction]) -> None:
    assert assemble(disassemble(program)) == program


@given(instruction)
def test_every_valid_instruction_has_words(slots: list[Instruction]) -> None:
    assert ".insn" not in disassemble(slots)
