"""One instruction, and instructions to and from bytes (RFC 9669, section 3: little endian)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from routebpf.errors import InputError
from routebpf.isa.opcodes import FORMS, LDDW, Form

_SLOT = struct.Struct("<BBhi")
SLOT_BYTES = _SLOT.size


@dataclass(frozen=True, slots=True)
class Instruction:
    """One 8-byte slot. `offset` is a signed 16-bit number, `imm` a signed 32-bit one.

    A 64-bit immediate load takes two: the second has opcode 0 and the upper half in `imm`. So the index in a list is
    the kernel's instruction number.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    imm: int = 0

    @property
    def form(self) -> Form | None:
        """What the opcode means, or None if it is none (the second slot of a 64-bit immediate is none, too)."""
        return FORMS[self.opcode]

    @property
    def is_wide(self) -> bool:
        """Whether the next slot belongs to this instruction."""
        return self.opcode == LDDW


def decode(code: bytes) -> list[Instruction]:
    """Instructions of `code`, one a slot. Raises InputError if it is no whole number of slots; checks nothing else."""
    if len(code) % SLOT_BYTES:
        raise InputError(
            f"decoding BPF instructions: {len(code)} bytes are no whole number of {SLOT_BYTES}-byte instructions;"
            f" the last {len(code) % SLOT_BYTES} are left over"
        )
    return [
        Instruction(opcode, registers & 15, registers >> 4, offset, imm)
        for opcode, registers, offset, imm in _SLOT.iter_unpack(code)
    ]


def encode(instructions: Iterable[Instruction]) -> bytes:
    """The bytes of `instructions`. Raises InputError that names the first whose field does not fit."""
    slots = bytearray()
    for number, one in enumerate(instructions):
        if not (0 <= one.dst <= 15 and 0 <= one.src <= 15):
            raise InputError(f"encoding instruction {number}: registers r{one.dst} and r{one.src} must be 0 to 15")
        try:
            slots += _SLOT.pack(one.opcode, one.src << 4 | one.dst, one.offset, one.imm)
        except struct.error as error:
            raise InputError(f"encoding instruction {number}: {one} does not fit its slot: {error}") from None
    return bytes(slots)


def wide_immediate(first: Instruction, second: Instruction) -> int:
    """The 64-bit value of a load of two slots, unsigned."""
    return (second.imm & 0xFFFFFFFF) << 32 | first.imm & 0xFFFFFFFF


def load_wide(dst: int, value: int, src: int = 0) -> tuple[Instruction, Instruction]:
    """The two slots of `dst = value` (64 bits, signed or not); `src` is its pseudo source."""
    return Instruction(LDDW, dst, src, 0, signed32(value)), Instruction(0, imm=signed32(value >> 32))


def signed32(value: int) -> int:
    """The low 32 bits of `value` as a signed number."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
