"""An ELF file as sections, symbols and relocations, every size checked against the file.

The headers are read by pyelftools. Symbol and relocation tables are plain arrays and are unpacked here, because a large
object has thousands of records and pyelftools takes 25 µs for one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple

from routebpf.errors import InputError

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

_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")


class Section(NamedTuple):
    """A section and its bytes (none for SHT_NOBITS). `type` is a name, such as "SHT_PROGBITS"."""

    number: int
    name: str
    type: str
    flags: int
    size: int
    link: int
    info: int
    data: bytes

    @property
    def is_code(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR) and self.type == "SHT_PROGBITS" and self.size > 0


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


def _structs(little_endian: bool) -> Any:
    # Importing this much of pyelftools takes 25 ms, all of it 35.
    from elftools.elf.structs import ELFStructs

    structs = ELFStructs(little_endian=little_endian, elfclass=64)
    structs.create_basic_structs()
    structs.create_advanced_structs()
    return structs


def _header(data: bytes, path: str) -> Any:
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
    structs = _structs(endianness == 1)
    header = structs.Elf_Ehdr.parse(data)
    if endianness == 2:
        machine = "BPF object" if header.e_machine == "EM_BPF" else f"ELF file for {_machine(header)}"
        raise InputError(f"{path}: a big-endian {machine}; compile with -target bpfel")
    return header


def _machine(header: Any) -> str:
    machine = header.e_machine
    return f"machine {machine}" if isinstance(machine, int) else str(machine).removeprefix("EM_")


def _require_bpf(header: Any, path: str) -> None:
    if header.e_machine not in ("EM_BPF", "EM_NONE"):  # the first compilers for BPF wrote none
        raise InputError(f"{path}: an ELF file for {_machine(header)}, not for BPF; compile with clang -target bpf -c")
    if header.e_type != "ET_REL":
        raise InputError(f"{path}: ELF type {header.e_type}, not a relocatable object (ET_REL); compile with clang -c")


def _sections(data: bytes, header: Any, path: str) -> Iterator[Section]:
    count, entry_bytes, table_at = header.e_shnum, header.e_shentsize, header.e_shoff
    if count == 0:
        raise InputError(f"{path}: it has no sections")
    if entry_bytes != 64 or table_at + count * entry_bytes > len(data):
        raise InputError(
            f"{path}: cut short or damaged: {count} section headers of {entry_bytes} bytes at byte {table_at},"
            f" the file has {len(data)}"
        )
    parse = _structs(True).Elf_Shdr.parse_stream
    stream = BytesIO(data)
    stream.seek(table_at)
    headers = [parse(stream) for _ in range(count)]
    if header.e_shstrndx >= count:
        raise InputError(f"{path}: the section of section names is number {header.e_shstrndx} of {count}")
    names = _section_data(data, headers[header.e_shstrndx], "section names", path)
    for index, one in enumerate(headers):
        name = _string(names, one.sh_name, f"{path}: name of section {index}")
        yield Section(
            number=index,
            name=name,
            type=str(one.sh_type),
            flags=one.sh_flags,
            size=one.sh_size,
            link=one.sh_link,
            info=one.sh_info,
            data=_section_data(data, one, f"section {name or index}", path),
        )


def _section_data(data: bytes, header: Any, what: str, path: str) -> bytes:
    if header.sh_type in ("SHT_NOBITS", "SHT_NULL"):
        return b""
    start, end = header.sh_offset, header.sh_offset + header.sh_size
    if end > len(data):
        raise InputError(f"{path}: {what}: cut short: it ends at byte {end}, the file has {len(data)}")
    return data[start:end]


def _string(strings: bytes, offset: int, what: str) -> str:
    end = strings.find(b"\0", offset)
    if offset >= len(strings) or end < 0:
        raise InputError(f"{what}: string offset {offset} is outside a string table of {len(strings)} bytes")
    return strings[offset:end].decode(errors="replace")


def _symbols(sections: tuple[Section, ...], path: str) -> tuple[Symbol, ...]:
    table = next((section for section in sections if section.type == "SHT_SYMTAB"), None)
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
        if table.type == "SHT_RELA":
            raise InputError(f"{path}: section {table.name}: relocations with addends (SHT_RELA) are not BPF's")
        if table.type != "SHT_REL":
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
