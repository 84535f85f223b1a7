"""A program with something small changed: an immediate, a register, a size, an operator, an instruction left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from routebpf.isa import Instruction
from routebpf.isa.instruction import signed32
from routebpf.isa.opcodes import CALL, PSEUDO_CALL, PSEUDO_KFUNC_CALL

_IMMEDIATES = (0, 1, -1, 2, 4, 7, 8, 16, 31, 32, 63, 64, 255, 256, 512, 65535, 0x7FFFFFFF, -0x80000000, -8, -16)
_ALU, _ALU64, _JMP, _JMP32 = 4, 7, 5, 6
_MEMORY = (0, 1, 2, 3)
_SIZES = (0x00, 0x08, 0x10, 0x18)
Change = Callable[[Instruction, Random], Instruction]


def _immediate(one: Instruction, random: Random) -> Instruction:
    if random.random() < 0.5:
        value = one.imm + random.choice((-8, -4, -2, -1, 1, 2, 4, 8))
    else:
        value = random.choice(_IMMEDIATES)
    return replace(one, imm=signed32(value & 0xFFFFFFFF))


def _offset(one: Instruction, random: Random) -> Instruction:
    value = one.offset + random.choice((-16, -8, -4, -2, -1, 1, 2, 4, 8, 16))
    return replace(one, offset=max(-0x8000, min(0x7FFF, value)))


def _dst(one: Instruction, random: Random) -> Instruction:
    return replace(one, dst=random.randrange(11))


def _src(one: Instruction, random: Random) -> Instruction:
    return replace(one, src=random.randrange(11))


def _operator(one: Instruction, random: Random) -> Instruction:
    if one.opcode & 7 in (_ALU, _ALU64, _JMP, _JMP32):
        return replace(one, opcode=one.opcode & 0x0F | random.randrange(16) << 4)
    return replace(one, opcode=one.opcode & ~0x18 | random.choice(_SIZES))


_WIDTHS = {_ALU: _ALU64, _ALU64: _ALU, _JMP: _JMP32, _JMP32: _JMP}


def _width(one: Instruction, random: Random) -> Instruction:
    kind = one.opcode & 7
    if kind in _WIDTHS:
        return replace(one, opcode=one.opcode & ~7 | _WIDTHS[kind])
    return replace(one, opcode=one.opcode & ~0x18 | random.choice(_SIZES))


def _source(one: Instruction, random: Random) -> Instruction:
    """An immediate becomes a register, a register an immediate."""
    if one.opcode & 8:
        return replace(one, opcode=one.opcode & ~8, src=0, imm=random.choice(_IMMEDIATES))
    return replace(one, opcode=one.opcode | 8, src=random.randrange(10), imm=0)


def _left_out(one: Instruction, random: Random) -> Instruction:
    return Instruction(0x05)


_CHANGES: tuple[Change, ...] = (
    *(_immediate, _immediate, _immediate, _offset, _offset, _dst, _src, _src),
    *(_operator, _operator, _width, _left_out, _left_out, _source),
)


def _calls_function(one: Instruction) -> bool:
    """A call of a BPF function or a kfunc: what it calls is told apart from the instruction."""
    return one.opcode == CALL and one.src in (PSEUDO_CALL, PSEUDO_KFUNC_CALL)


def mutated(instructions: tuple[Instruction, ...], random: Random) -> tuple[Instruction, ...]:
    """`instructions` with one to three changes. As many instructions as before: what jumps where stays."""
    found = list(instructions)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(found))
        if found[at].is_wide or (at and found[at - 1].is_wide):
            continue
        way = random.random()
        if way < 0.1 and at + 1 < len(found) and not found[at + 1].is_wide:
            found[at], found[at + 1] = found[at + 1], found[at]
        elif way < 0.2:
            other = random.choice(found)
            if (
                not other.is_wide
                and other.opcode
                and other.opcode & 7 not in (_JMP, _JMP32)
                and not _calls_function(found[at])
            ):
                found[at] = other
        else:
            changed = random.choice(_CHANGES)(found[at], random)
            if not _calls_function(found[at]) and not _calls_function(changed):
                found[at] = changed
    return tuple(found)
