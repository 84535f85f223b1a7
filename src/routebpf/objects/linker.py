"""Linking: a program and every function it uses become one array of instructions, its references made symbolic.

As libbpf does it (bpf_object__reloc_code): the functions follow the program in the order in which they are first met,
each once; what each `lddw` and `call` then says is in the docstring of `model`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.isa.opcodes import (
    CALL,
    LDDW,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
)
from routebpf.objects.btf import Btf
from routebpf.objects.btf_ext import BtfExt, LineRecord
from routebpf.objects.code import (
    CodeSection,
    FunctionCode,
    Slot,
    relocated_target,
)
from routebpf.objects.elf import R_BPF_64_32, R_BPF_64_64, R_BPF_NONE, SHN_LORESERVE, SHN_UNDEF, Elf, Relocation
from routebpf.objects.externs import Kconfig
from routebpf.objects.model import Extern, ExternKind, Function, LineInfo, MapDefinition, Poison, Program

# The helper id that a call of a missing weak kfunc becomes, as libbpf's POISON_CALL_KFUNC_BASE: no kernel has it.
POISON_KFUNC_CALL = 2_002_000_000


class Symbols(NamedTuple):
    """Everything that code can refer to. Places are (section number, byte offset)."""

    elf: Elf
    code: Mapping[int, CodeSection]
    map_at: Mapping[tuple[int, int], str]
    data_maps: Mapping[int, MapDefinition]
    kconfig: Kconfig | None
    externs: Mapping[str, Extern]
    is_present: Callable[[Extern], bool]
    is_complete: bool  # whether what is not present exists nowhere: then a strong reference to it is an error
    poisons: Mapping[tuple[int, int], str]  # by section number and instruction


@dataclass(slots=True)
class _Link:
    """A program on its way: what has been laid out so far."""

    slots: list[Slot] = field(default_factory=list)
    placed: dict[FunctionCode, int] = field(default_factory=dict)  # where each function's first instruction is
    waiting: list[FunctionCode] = field(default_factory=list)
    references: list[tuple[int, FunctionCode]] = field(
        default_factory=list
    )  # instruction: the function it calls or names
    maps: dict[str, int] = field(default_factory=dict)
    kfuncs: dict[str, int] = field(default_factory=dict)
    ksyms: dict[str, int] = field(default_factory=dict)
    poisons: list[Poison] = field(default_factory=list)

    def want(self, function: FunctionCode) -> None:
        if function not in self.placed:
            self.placed[function] = -1
            self.waiting.append(function)


def link_program(
    main: FunctionCode, program_type: str, symbols: Symbols, ext: BtfExt | None, btf: Btf | None
) -> Program:
    """Link `main`. Raises InputError for a reference to something that is not there or cannot be referred to."""
    from routebpf.isa import Instruction

    link = _Link()
    link.want(main)
    for function in link.waiting:  # grows while functions that use others are laid out
        _place(function, link, symbols)
    for at, function in link.references:
        link.slots[at] = link.slots[at]._replace(imm=link.placed[function] - at - 1)
    return Program(
        name=main.name,
        section=symbols.code[main.section].section.name,
        program_type=program_type,
        instructions=tuple([Instruction(*slot) for slot in link.slots]),
        functions=tuple(
            Function(one.name, start, start + one.end - one.start, one.btf_type_id, one.is_global and not one.is_hidden)
            for one, start in link.placed.items()
        ),
        lines=tuple(_lines(link, symbols, ext, btf)) if ext and btf else (),
        maps=tuple(link.maps),
        kfuncs=tuple(link.kfuncs),
        ksyms=tuple(link.ksyms),
        poisons=tuple(link.poisons),
    )


def _place(function: FunctionCode, link: _Link, symbols: Symbols) -> None:
    code = symbols.code[function.section]
    start = link.placed[function] = len(link.slots)
    link.slots.extend(code.slots[function.start : function.end])
    at = function.start
    while at < function.end:
        slot = code.slots[at]
        here = start + at - function.start
        reason = symbols.poisons.get((function.section, at))
        if reason is not None:
            link.poisons.append(Poison(here, reason))
        relocation = code.relocations.get(at)
        if relocation is not None and relocation.type != R_BPF_NONE:
            where = f"{symbols.elf.path}: section {code.section.name}, instruction {at} ({function.name})"
            _relocate(relocation, slot, here, link, symbols, where)
        elif (slot.src == PSEUDO_CALL and slot.opcode == CALL) or (slot.src == PSEUDO_FUNC and slot.opcode == LDDW):
            where = f"{symbols.elf.path}: section {code.section.name}, instruction {at} ({function.name})"
            _refer(_function_at(symbols, function.section, at + slot.imm + 1, where), here, link)
        at += 2 if slot.opcode == LDDW else 1


def _relocate(relocation: Relocation, slot: Slot, here: int, link: _Link, symbols: Symbols, where: str) -> None:
    symbol = relocation.symbol
    if relocation.type == R_BPF_64_32 and slot.opcode == CALL:
        if symbol.section == SHN_UNDEF:
            _call_kfunc(_extern(relocation, symbols, where), here, link, symbols, where)
        else:
            target = relocated_target(slot, relocation)
            assert target is not None
            link.slots[here] = slot._replace(src=PSEUDO_CALL)
            _refer(_function_at(symbols, symbol.section, target, where), here, link)
    elif relocation.type == R_BPF_64_64 and slot.opcode == LDDW:
        if here + 1 >= len(link.slots):
            raise InputError(f"{where}: the function ends within a 64-bit immediate")
        if symbol.section == SHN_UNDEF:
            _load_extern(_extern(relocation, symbols, where), here, link, symbols, where)
        else:
            _load_address(relocation, slot, here, link, symbols, where)
    else:
        raise InputError(
            f"{where}: relocation of type {relocation.type} to {symbol.name or symbol.section} on opcode"
            f" 0x{slot.opcode:02x}: BPF has it for a call (type {R_BPF_64_32}) and an lddw (type {R_BPF_64_64}) only"
        )


def _load_address(relocation: Relocation, slot: Slot, here: int, link: _Link, symbols: Symbols, where: str) -> None:
    """`lddw` of a map, a global variable or a function."""
    symbol = relocation.symbol
    offset = symbol.value + slot.imm
    if symbol.section in symbols.code:
        target = relocated_target(slot, relocation)
        assert target is not None
        _set_lddw(link, here, PSEUDO_FUNC, 0, 0)
        _refer(_function_at(symbols, symbol.section, target, where), here, link)
    elif symbol.section in symbols.data_maps:
        data_map = symbols.data_maps[symbol.section]
        _set_lddw(link, here, PSEUDO_MAP_IDX_VALUE, _index(link.maps, data_map.name), offset)
    elif (symbol.section, offset) in symbols.map_at:
        _set_lddw(link, here, PSEUDO_MAP_IDX, _index(link.maps, symbols.map_at[symbol.section, offset]), 0)
    else:
        raise InputError(
            f"{where}: it refers to {symbol.name or 'byte'}+{slot.imm} in {_section_name(symbols, symbol.section)},"
            " which is neither a map, a global variable nor a function"
        )


def _section_name(symbols: Symbols, number: int) -> str:
    if number >= SHN_LORESERVE:
        return "no section (a common symbol: compile with -fno-common)"
    return f"section {symbols.elf.sections[number].name}"


def _extern(relocation: Relocation, symbols: Symbols, where: str) -> Extern:
    name = relocation.symbol.name
    extern = symbols.externs.get(name)
    if extern is None:
        raise InputError(
            f"{where}: {name or 'a symbol without a name'} is not defined in this object, and not declared extern with"
            " __ksym or __kconfig; is it a helper that was declared as a function, or must two objects be linked first?"
        )
    return extern


def _call_kfunc(extern: Extern, here: int, link: _Link, symbols: Symbols, where: str) -> None:
    if extern.kind is not ExternKind.KFUNC:
        raise InputError(f"{where}: it calls {extern.name}, which is declared as a variable")
    slot = link.slots[here]
    if _is_absent(extern, symbols, f"{where}: it calls kfunc"):
        link.slots[here] = slot._replace(src=0, offset=0, imm=POISON_KFUNC_CALL)
        link.poisons.append(Poison(here, f"kfunc {extern.name} is declared __weak and is not there"))
    else:
        link.slots[here] = slot._replace(src=PSEUDO_KFUNC_CALL, offset=0, imm=_index(link.kfuncs, extern.name))


def _is_absent(extern: Extern, symbols: Symbols, doing: str) -> bool:
    """Whether a weak extern resolves to nothing. BTF does not list untyped variables: strong ones may be there."""
    if symbols.is_present(extern):
        return False
    if not extern.weak and extern.typed and symbols.is_complete:
        raise InputError(f"{doing} {extern.name}, which the target kernel does not have")
    return extern.weak


def _load_extern(extern: Extern, here: int, link: _Link, symbols: Symbols, where: str) -> None:
    if extern.kind is ExternKind.KCONFIG:
        assert symbols.kconfig is not None
        index = _index(link.maps, symbols.kconfig.definition.name)
        _set_lddw(link, here, PSEUDO_MAP_IDX_VALUE, index, symbols.kconfig.offsets[extern.name])
    elif _is_absent(extern, symbols, f"{where}: it refers to"):
        _set_lddw(link, here, 0, 0, 0)
    else:
        _set_lddw(link, here, PSEUDO_BTF_ID, _index(link.ksyms, extern.name), 0)


def _set_lddw(link: _Link, here: int, src: int, imm: int, second_imm: int) -> None:
    link.slots[here] = link.slots[here]._replace(src=src, offset=0, imm=imm)
    link.slots[here + 1] = Slot(0, 0, 0, 0, (second_imm + (1 << 31)) % (1 << 32) - (1 << 31))


def _index(names: dict[str, int], name: str) -> int:
    return names.setdefault(name, len(names))


def _refer(function: FunctionCode, here: int, link: _Link) -> None:
    link.references.append((here, function))
    link.want(function)


def _function_at(symbols: Symbols, section: int, instruction: int, where: str) -> FunctionCode:
    code = symbols.code.get(section)
    function = code.functions.get(instruction) if code else None
    if function is None:
        raise InputError(
            f"{where}: it refers to instruction {instruction} of {_section_name(symbols, section)},"
            " where no function starts"
        )
    return function


def _lines(link: _Link, symbols: Symbols, ext: BtfExt, btf: Btf) -> Iterator[LineInfo]:
    """The line records of every function. Line 0 is code of the compiler's own: it stays with the line before it."""
    text = cache(btf.string)
    for function, start in link.placed.items():
        shift = start - function.start
        records = ext.lines.get(symbols.code[function.section].section.name, ())
        first = bisect_left(records, function.start, key=_record_instruction)
        for record in records[first : bisect_left(records, function.end, key=_record_instruction)]:
            if record.line or record.instruction == function.start:
                yield LineInfo(
                    instruction=record.instruction + shift,
                    file=text(record.file_offset),
                    line=record.line,
                    column=record.column,
                    text=text(record.text_offset),
                    file_offset=record.file_offset,
                    text_offset=record.text_offset,
                )


def _record_instruction(record: LineRecord) -> int:
    return record.instruction
