"""The code of an object: its sections of instructions, the functions in each, and which functions are programs."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.isa.opcodes import CALL, LDDW, PSEUDO_CALL, PSEUDO_FUNC
from routebpf.objects.btf_ext import BtfExt
from routebpf.objects.elf import STB_LOCAL, STT_FUNC, Elf, Relocation, Section, Symbol
from routebpf.spec.program_types import LWT, PROGRAM_TYPES

_SLOT = struct.Struct("<BBhi")

# The section names that say the program type (libbpf: section_defs[]); each may go on with "/name".
_TYPES_BY_SECTION = {row.section: row.name for row in PROGRAM_TYPES}
_SEG6LOCAL = "lwt_seg6local"


class Slot(NamedTuple):
    """One 8-byte slot of code, while it is being relocated. `offset` and `imm` are signed."""

    opcode: int
    dst: int
    src: int
    offset: int
    imm: int


class FunctionCode(NamedTuple):
    """A function of the file: instructions `start` to `end` (exclusive) of section number `section`."""

    name: str
    section: int
    start: int
    end: int
    is_global: bool
    is_hidden: bool
    btf_type_id: int


class CodeSection(NamedTuple):
    """A section of instructions; `functions` by the instruction each starts at; `relocations` by instruction."""

    section: Section
    slots: list[Slot]
    functions: Mapping[int, FunctionCode]
    relocations: Mapping[int, Relocation]


def read_code(elf: Elf, ext: BtfExt | None) -> dict[int, CodeSection]:
    """Every section of instructions, by its number."""
    called = _called_places(elf)
    code: dict[int, CodeSection] = {}
    for section in elf.sections:
        if not section.is_code:
            continue
        where = f"{elf.path}: section {section.name}"
        if section.size % 8:
            raise InputError(f"{where}: {section.size} bytes are no whole number of 8-byte instructions")
        slots = [Slot(code, regs & 15, regs >> 4, off, imm) for code, regs, off, imm in _SLOT.iter_unpack(section.data)]
        relocations: dict[int, Relocation] = {}
        for relocation in elf.relocations.get(section.number, ()):
            if relocation.offset % 8 or relocation.offset >= section.size:
                raise InputError(f"{where}: a relocation at byte {relocation.offset}, which is no instruction")
            relocations[relocation.offset // 8] = relocation
        functions = _functions(elf, section, ext, called.get(section.number, ()), slots)
        code[section.number] = CodeSection(section, slots, functions, relocations)
    return code


def _functions(
    elf: Elf, section: Section, ext: BtfExt | None, called: Iterable[int], slots: list[Slot]
) -> dict[int, FunctionCode]:
    """By function symbols; where there are none (hand-written assembly), what is called starts a function."""
    where = f"{elf.path}: section {section.name}"
    symbols = [symbol for symbol in elf.symbols_in(section) if symbol.type == STT_FUNC]
    starts: dict[int, Symbol | None] = {}
    for symbol in symbols:
        if symbol.value % 8 or symbol.value + symbol.size > section.size or symbol.value >= section.size:
            raise InputError(
                f"{where}: function {symbol.name} is at bytes {symbol.value} to {symbol.value + symbol.size},"
                f" the section has {section.size}"
            )
        starts.setdefault(symbol.value // 8, symbol)
    if not starts:
        starts = dict.fromkeys(sorted({0, *called, *_local_calls(slots)}))
    types = {info.instruction: info.type_id for info in ext.functions.get(section.name, ())} if ext else {}
    labels = {symbol.value // 8: symbol.name for symbol in reversed(elf.symbols_in(section)) if symbol.name}
    functions: dict[int, FunctionCode] = {}
    bounds = [*sorted(starts), len(slots)]
    for start, following in pairwise(bounds):
        found = starts[start]
        name = found.name if found else labels.get(start, f"{section.name}+{start}" if start else section.name)
        end = start + found.size // 8 if found and found.size else following
        is_global = found.binding != STB_LOCAL if found else start == 0
        is_hidden = found is not None and found.is_hidden
        functions[start] = FunctionCode(name, section.number, start, end, is_global, is_hidden, types.get(start, 0))
    return functions


def _called_places(elf: Elf) -> dict[int, set[int]]:
    """By section number, the instructions that some relocation of code refers to."""
    places: dict[int, set[int]] = {}
    for number, relocations in elf.relocations.items():
        section = elf.sections[number]
        if not section.is_code:
            continue
        for relocation in relocations:
            if relocation.offset + 8 > section.size:
                continue
            slot = Slot(*_unpack_slot(section.data, relocation.offset))
            target = relocated_target(slot, relocation)
            symbol_section = relocation.symbol.section
            if target is not None and 0 < symbol_section < len(elf.sections) and target >= 0:
                places.setdefault(symbol_section, set()).add(target)
    return {number: {p for p in found if p * 8 < elf.sections[number].size} for number, found in places.items()}


def _unpack_slot(data: bytes, offset: int) -> tuple[int, int, int, int, int]:
    code, regs, off, imm = _SLOT.unpack_from(data, offset)
    return code, regs & 15, regs >> 4, off, imm


def relocated_target(slot: Slot, relocation: Relocation) -> int | None:
    """The instruction of the symbol's section that a call or an lddw of a function refers to.

    A call has its addend in instructions, less one; an lddw has it in bytes.
    """
    if slot.opcode == CALL:
        return relocation.symbol.value // 8 + slot.imm + 1
    if slot.opcode == LDDW:
        return (relocation.symbol.value + slot.imm) // 8
    return None


def _local_calls(slots: list[Slot]) -> set[int]:
    """Where calls without a relocation go, within the same section."""
    targets = {
        at + slot.imm + 1
        for at, slot in enumerate(slots)
        if (slot.opcode == CALL and slot.src == PSEUDO_CALL) or (slot.opcode == LDDW and slot.src == PSEUDO_FUNC)
    }
    return {target for target in targets if 0 <= target < len(slots)}


def section_program_type(name: str) -> str | None:
    """The program type that a section's name says, or None. A leading "?" (libbpf: no autoload) is skipped."""
    return _TYPES_BY_SECTION.get(name.removeprefix("?").partition("/")[0])


def choose_programs(
    elf: Elf, code: Mapping[int, CodeSection], program_type: str | None
) -> list[tuple[FunctionCode, str]]:
    """The functions that are programs of the types we run, each with its type.

    With a `program_type`, every section whose name says no type is of that type (iproute2 lets authors name sections as
    they like), but not .text, unless there is nothing else. Raises InputError that lists the sections if there is none.
    """
    if program_type is not None and program_type not in LWT:
        raise InputError(f"program type {program_type} is not known; there are {', '.join(_TYPES_BY_SECTION.values())}")
    chosen: list[tuple[FunctionCode, str]] = []
    for one in code.values():
        name = one.section.name
        kind = section_program_type(name)
        if kind is None and program_type and name != ".text" and not name.startswith(_SEG6LOCAL):
            kind = program_type
        if kind is not None and program_type in (None, kind):
            chosen.extend((function, kind) for function in _entries(one))
    only = next(iter(code.values())) if len(code) == 1 else None
    if not chosen and program_type and only and only.section.name == ".text":
        chosen = [(function, program_type) for function in _entries(only)]
    if not chosen:
        raise InputError(f"{elf.path}: {_no_program(code, program_type)}")
    return chosen


def _entries(code: CodeSection) -> list[FunctionCode]:
    """The global functions of a section; the first function where all are static."""
    functions = [function for _, function in sorted(code.functions.items())]
    return [function for function in functions if function.is_global] or functions[:1]


def _no_program(code: Mapping[int, CodeSection], program_type: str | None) -> str:
    names = [one.section.name for one in code.values() if one.section.name != ".text"]
    if not names:
        return 'it has no program: no section but .text holds instructions; put SEC("lwt_xmit") before the function'
    there = f"its sections are {', '.join(names)}"
    if all(name.startswith(_SEG6LOCAL) for name in names):
        return f"{there}: programs of type LWT_SEG6LOCAL belong to an SRv6 End.BPF action and do not run on a route"
    if program_type:
        return f"no program of type {program_type}; {there}"
    return (
        f"no section is named lwt_in, lwt_out or lwt_xmit; {there}: say which program type is meant"
        " (--type, program_type)"
    )
