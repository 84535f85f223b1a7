"""An ELF file as sections, symbols and relocations, every size checked against the file.

Tables are plain arrays and are unpacked here: to import pyelftools takes 7 ms, and it 25 µs for each record. It tells
what a file is that is no BPF object.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from routebpf.errors import InputError

ET_REL = 1
EM_NONE, EM_BPF = 0, 247
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 0, 1, 2, 4, 8, 9

R_BPF_NONE = 0
R_BPF_64_64 = 1  # the imm pair of an lddw
R_BPF_64_ABS64 = 2
R_BPF_64_ABS32 = 3
R_BPF_64_NODYLD32 = 4
R_BPF_64_32 = 10  # the imm of a call

STT_OBJECT, STT_FUNC, STT_SECTION = 1, 2, 3
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STV_INTERNAL, STV_HIDDEN = 1, 2
SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
SHF_EXECINSTR = 4

_MAX_NAME_BYTES = 4096  # many names may end with the same bytes: a small file would have gigabytes of them

_HEADER = struct.Struct("<16xHH20xQ10xHHH")
_SECTION = struct.Struct("<IIQ8xQQII16x")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")


class _Header(NamedTuple):
    """What is needed of the header, Elf64_Ehdr: ET_*, EM_*, the place, number and size of the section headers, and
    which section has their names."""

    type: int
    machine: int
    table_at: int
    entry_bytes: int
    sections: int
    names: int


class Section(NamedTuple):
    """A section and its bytes (none for SHT_NOBITS). `type` is SHT_*."""

    number: int
    name: str
    type: int
    flags: int
    size: int
    link: int
    info: int
    data: bytes

    @property
    def is_code(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR) and self.type == SHT_PROGBITS and self.size > 0


class Symbol(NamedTuple):
    """`section` is a number; 0 is an undefined symbol, from 0xff00 on are special ones. `value` is an offset there."""

    name: str
    value: int
    size: int
    type: int
    binding: int
    section: int
    is_hidden: bool


class Relocation(NamedTuple):
    """At byte `offset` of its section; `type` is R_BPF_*."""

    offset: int
    type: int
    symbol: Symbol


class Elf(NamedTuple):
    """A relocatable little-endian BPF ELF file. `relocations`: by number of the section that they change, in order."""

    path: str
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: dict[int, tuple[Relocation, ...]]

    def section(self, name: str) -> Section | None:
        """The first section of this name, or None."""
        return next((section for section in self.sections if section.name == name), None)

    def symbols_in(self, section: Section) -> list[Symbol]:
        """The symbols of a section, in the order of their offsets."""
        inside = [symbol for symbol in self.symbols if symbol.section == section.number]
        return sorted(inside, key=lambda symbol: symbol.value)


def read_elf(data: bytes, path: str) -> Elf:
    """Read a BPF object. Raises InputError for any other file, or where a table or section does not fit the file."""
    header = _header(data, path)
    _require_bpf(header, path)
    sections = tuple(_sections(data, header, path))
    symbols = _symbols(sections, path)
    return Elf(path, sections, symbols, _relocations(sections, symbols, path))


def read_sections(data: bytes, path: str) -> tuple[Section, ...]:
    """The sections of any 64-bit little-endian ELF file, such as a vmlinux."""
    return tuple(_sections(data, _header(data, path), path))


def _header(data: bytes, path: str) -> _Header:
    if data[:4] != b"\x7fELF":
        what = "it is empty" if not data else f"it starts with {data[:4].hex(' ')}, not 7f 45 4c 46"
        raise InputError(f"{path}: not an ELF file: {what}; give an object that clang -target bpf -c made")
    if len(data) < 64:
        raise InputError(f"{path}: cut short: {len(data)} bytes, an ELF header takes 64")
    bits, endianness = data[4], data[5]
    if bits not in (1, 2) or endianness not in (1, 2):
        raise InputError(f"{path}: damaged ELF header: class {bits}, byte order {endianness}")
    if bits == 1:
        raise InputError(f"{path}: a 32-bit ELF file; BPF objects have 64 bits: compile with clang -target bpf")
    if endianness == 2:
        machine = int.from_bytes(data[18:20])
        what = "BPF object" if machine == EM_BPF else f"ELF file for {_machine(machine)}"
        raise InputError(f"{path}: a big-endian {what}; compile with -target bpfel")
    return _Header(*_HEADER.unpack_from(data))


def _machine(number: int) -> str:
    from elftools.elf.enums import ENUM_E_MACHINE

    name = _name(ENUM_E_MACHINE, number)
    return name.removeprefix("EM_") if name else f"machine {number}"


def _name(names: Mapping[str, int], number: int) -> str | None:
    return next((name for name, one in names.items() if one == number), None)


def _require_bpf(header: _Header, path: str) -> None:
    if header.machine not in (EM_BPF, EM_NONE):  # the first compilers for BPF wrote none
        what = _machine(header.machine)
        raise InputError(f"{path}: an ELF file for {what}, not for BPF; compile with clang -target bpf -c")
    if header.type != ET_REL:
        from elftools.elf.enums import ENUM_E_TYPE

        what = _name(ENUM_E_TYPE, header.type) or str(header.type)
        raise InputError(f"{path}: ELF type {what}, not a relocatable object (ET_REL); compile with clang -c")


def _sections(data: bytes, header: _Header, path: str) -> Iterator[Section]:
    count, entry_bytes, table_at = header.sections, header.entry_bytes, header.table_at
    if count == 0:
        raise InputError(f"{path}: it has no sections")
    if entry_bytes != _SECTION.size or table_at + count * entry_bytes > len(data):
        raise InputError(
            f"{path}: cut short or damaged: {count} section headers of {entry_bytes} bytes at byte {table_at},"
            f" the file has {len(data)}"
        )
    headers = list(_SECTION.iter_unpack(data[table_at : table_at + count * entry_bytes]))
    if header.names >= count:
        raise InputError(f"{path}: the section of section names is number {header.names} of {count}")
    _, kind, _, offset, size, _, _ = headers[header.names]
    names = _section_data(data, kind, offset, size, f"{path}: section names")
    held = 0
    for index, (name_at, kind, flags, offset, size, link, info) in enumerate(headers):
        name = _string(names, name_at, f"{path}: name of section {index}")
        inside = _section_data(data, kind, offset, size, f"{path}: section {name or index}")
        held += len(inside)
        if held > len(data):  # a small file would have gigabytes of sections
            raise InputError(f"{path}: damaged: sections up to {name or index} have {held} bytes, the file {len(data)}")
        yield Section(index, name, kind, flags, size, link, info, inside)


def _section_data(data: bytes, kind: int, start: int, size: int, what: str) -> bytes:
    if kind in (SHT_NOBITS, SHT_NULL):
        return b""
    if start + size > len(data):
        raise InputError(f"{what}: cut short: it ends at byte {start + size}, the file has {len(data)}")
    return data[start : start + size]


def _string(strings: bytes, offset: int, what: str) -> str:
    end = strings.find(b"\0", offset, offset + _MAX_NAME_BYTES)
    if offset >= len(strings):
        raise InputError(f"{what}: string offset {offset} is outside a string table of {len(strings)} bytes")
    if end < 0:
        raise InputError(f"{what}: the string at offset {offset} has no end, or more than {_MAX_NAME_BYTES:,} bytes")
    return strings[offset:end].decode(errors="replace")


def _symbols(sections: tuple[Section, ...], path: str) -> tuple[Symbol, ...]:
    table = next((section for section in sections if section.type == SHT_SYMTAB), None)
    if table is None:
        raise InputError(f"{path}: it has no symbol table; strip it with llvm-strip -g, which keeps one")
    if table.link >= len(sections):
        raise InputError(f"{path}: section {table.name}: its names are in section {table.link} of {len(sections)}")
    _require_whole_records(table, _SYMBOL.size, path)
    strings = sections[table.link].data
    symbols: list[Symbol] = []
    for name, info, other, section, value, size in _SYMBOL.iter_unpack(table.data):
        if SHN_UNDEF < section < SHN_LORESERVE and section >= len(sections):
            raise InputError(f"{path}: symbol {len(symbols)} is in section {section} of {len(sections)}")
        text = _string(strings, name, f"{path}: name of symbol {len(symbols)}")
        if info & 15 == STT_SECTION and not text and section < len(sections):
            text = sections[section].name
        is_hidden = other & 3 in (STV_INTERNAL, STV_HIDDEN)
        symbols.append(Symbol(text, value, size, info & 15, info >> 4, section, is_hidden))
    return tuple(symbols)


def _require_whole_records(section: Section, record_bytes: int, path: str) -> None:
    if section.size % record_bytes:
        raise InputError(
            f"{path}: section {section.name}: {section.size} bytes are no whole number of {record_bytes}-byte records"
        )


def _relocations(
    sections: tuple[Section, ...], symbols: tuple[Symbol, ...], path: str
) -> dict[int, tuple[Relocation, ...]]:
    tables: dict[int, tuple[Relocation, ...]] = {}
    for table in sections:
        if table.type == SHT_RELA:
            raise InputError(f"{path}: section {table.name}: relocations with addends (SHT_RELA) are not BPF's")
        if table.type != SHT_REL:
            continue
        if not 0 < table.info < len(sections):
            raise InputError(f"{path}: section {table.name}: it relocates section {table.info} of {len(sections)}")
        target = sections[table.info]
        if target.name.startswith(".debug") or target.name in (".eh_frame", ".BTF", ".BTF.ext"):
            continue
        _require_whole_records(table, _RELOCATION.size, path)
        found = []
        for offset, info in _RELOCATION.iter_unpack(table.data):
            number = info >> 32
            if number >= len(symbols):
                raise InputError(
                    f"{path}: section {table.name}: the relocation at byte {offset} of {target.name} is to symbol"
                    f" {number} of {len(symbols)}"
                )
            found.append(Relocation(offset, info & 0xFFFFFFFF, symbols[number]))
        tables[table.info] = tables.get(table.info, ()) + tuple(sorted(found, key=lambda one: one.offset))
    return tables
