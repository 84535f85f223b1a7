"""Maps of the pre-BTF section `maps`: iproute2's `struct bpf_elf_map` and libbpf's old `struct bpf_map_def`.

Both are arrays of u32 that start alike, so the size of one record tells what it has. As iproute2 reads it
(lib/bpf_legacy.c): every record of the section has the same size; an outer map names its inner maps by their id.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Composite, Kind
from routebpf.objects.elf import STT_FUNC, STT_SECTION, Elf, Section
from routebpf.objects.map_definitions import MAPS_OF_MAPS
from routebpf.objects.model import PROG_ARRAY, MapDefinition, MapKind

# struct bpf_elf_map of iproute2 (include/bpf_elf.h), each a u32. Older and shorter ones leave the last fields zero.
_FIELDS = ("type", "size_key", "size_value", "max_elem", "flags", "id", "pinning", "inner_id", "inner_idx")
_MIN_FIELDS = 4
_NO_INDEX = 0xFFFFFFFF
_TAIL_CALL_SECTION = re.compile(r"(0x[0-9a-fA-F]+|\d+)/(0x[0-9a-fA-F]+|\d+)")


class _Record(NamedTuple):
    name: str
    offset: int
    fields: Mapping[str, int]


def read_legacy_maps(elf: Elf, btf: Btf | None) -> tuple[list[MapDefinition], dict[int, str]]:
    """The maps of section `maps` in the section's order, and the program arrays among them by their id."""
    section = elf.section("maps")
    if section is None or section.size == 0:
        return [], {}
    records = _read_records(elf, section)
    by_id = {record.fields["id"]: record for record in reversed(records)}
    definitions = []
    for record in records:
        definition = _definition(record, btf)
        if definition.type in MAPS_OF_MAPS and record.fields["inner_id"]:
            template = by_id.get(record.fields["inner_id"])
            if template is None:
                raise InputError(
                    f"{elf.path}: section maps: map {record.name}: no map has its inner_id {record.fields['inner_id']}"
                )
            definition = definition._replace(
                value_size=4, inner=_definition(template, btf), initial_slots=_slots(record, records)
            )
        definitions.append(definition)
    program_arrays = {
        record.fields["id"]: record.name
        for record in reversed(records)
        if record.fields["type"] == PROG_ARRAY and record.fields["id"]
    }
    return definitions, program_arrays


def tail_call_slot(section: str) -> tuple[int, int] | None:
    """The (map id, slot) that iproute2 reads from a section name such as "2/0", or None."""
    found = _TAIL_CALL_SECTION.fullmatch(section)
    return (int(found[1], 0), int(found[2], 0)) if found else None


def _read_records(elf: Elf, section: Section) -> list[_Record]:
    where = f"{elf.path}: section maps"
    symbols = [s for s in elf.symbols_in(section) if s.type not in (STT_FUNC, STT_SECTION) and s.name]
    if not symbols:
        raise InputError(f"{where}: no symbol names a map in it")
    if len(section.data) != section.size:
        raise InputError(f"{where}: it has no content (type {section.type})")
    record_bytes = section.size // len(symbols)
    if section.size % len(symbols) or record_bytes % 4 or record_bytes < 4 * _MIN_FIELDS:
        raise InputError(f"{where}: {section.size} bytes for {len(symbols)} maps: not one struct for each")
    records = []
    for index, symbol in enumerate(symbols):
        if symbol.value != index * record_bytes:
            raise InputError(f"{where}: map {symbol.name} is at byte {symbol.value}, not {index * record_bytes}")
        values = struct.unpack_from(f"<{record_bytes // 4}I", section.data, symbol.value)
        if any(values[len(_FIELDS) :]):
            raise InputError(f"{where}: map {symbol.name}: a struct of {record_bytes} bytes says more than is known")
        padded = values + (0,) * (len(_FIELDS) - len(values))
        fields = dict(zip(_FIELDS, padded, strict=False))
        records.append(_Record(symbol.name, symbol.value, fields))
    return records


def _definition(record: _Record, btf: Btf | None) -> MapDefinition:
    fields = record.fields
    key_type, value_type = _annotation(record.name, btf)
    return MapDefinition(
        name=record.name,
        type=fields["type"],
        key_size=fields["size_key"],
        value_size=fields["size_value"],
        max_entries=fields["max_elem"],
        flags=fields["flags"],
        pinning=fields["pinning"],
        section="maps",
        offset=record.offset,
        kind=MapKind.LEGACY,
        btf_key_type_id=key_type,
        btf_value_type_id=value_type,
    )


def _annotation(name: str, btf: Btf | None) -> tuple[int, int]:
    """Key and value type of `struct ____btf_map_NAME { key; value; }` (BPF_ANNOTATE_KV_PAIR), 0 if it is not there."""
    type_id = btf.find(f"____btf_map_{name}", Kind.STRUCT) if btf else None
    found = btf.type(type_id) if btf and type_id else None
    if isinstance(found, Composite) and [member.name for member in found.members] == ["key", "value"]:
        return found.members[0].type_id, found.members[1].type_id
    return 0, 0


def _slots(outer: _Record, records: Iterable[_Record]) -> dict[int, str]:
    return {
        record.fields["inner_idx"]: record.name
        for record in records
        if record.fields["id"] == outer.fields["inner_id"]
        and not record.fields["inner_id"]
        and record.fields["inner_idx"] != _NO_INDEX
    }
