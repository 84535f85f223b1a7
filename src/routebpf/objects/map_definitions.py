"""Maps that section `.maps` defines by their BTF: a variable of a struct whose members' types are the attributes.

`int (*max_entries)[16]` says 16; `struct key *key` says the key's type; `values` holds the definition of inner maps
and, by relocations of the section, the maps or programs that slots hold from the start.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Composite, Enum, FuncProto, Kind, Ptr, Var
from routebpf.objects.elf import R_BPF_64_ABS64, R_BPF_NONE, STT_FUNC, Elf, Relocation, Section, Symbol
from routebpf.objects.global_data import find_datasec
from routebpf.objects.model import PROG_ARRAY, MapDefinition

MAPS_OF_MAPS = (12, 13)  # ARRAY_OF_MAPS, HASH_OF_MAPS
_POINTER_BYTES = 8

# Members that are a plain number, and the field of MapDefinition that each becomes.
_RING_BUFFERS = (27, 31)  # BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_USER_RINGBUF
_NUMBERS = {
    "type": "type",
    "key_size": "key_size",
    "value_size": "value_size",
    "max_entries": "max_entries",
    "map_flags": "flags",
    "numa_node": "numa_node",
    "pinning": "pinning",
    "map_extra": "map_extra",
}


def read_map_definitions(elf: Elf, btf: Btf | None) -> list[MapDefinition]:
    """The maps of section .maps in the section's order, without what their slots hold from the start."""
    section = elf.section(".maps")
    if section is None or section.size == 0:
        return []
    where = f"{elf.path}: section .maps"
    datasec = find_datasec(btf, ".maps") if btf else None
    if btf is None or datasec is None:
        raise InputError(f"{where}: the object has no BTF that describes it; compile with -g")
    definitions: list[MapDefinition] = []
    for variable in sorted(datasec[1].variables, key=lambda one: one.offset):
        var = btf.type(variable.type_id)
        if not isinstance(var, Var):
            raise InputError(f"{where}: its BTF holds type {variable.type_id}, which is not a variable")
        if variable.offset + variable.size > section.size:
            raise InputError(
                f"{where}: map {var.name} ends at byte {variable.offset + variable.size} of {section.size}"
            )
        definition = _read_definition(btf, var.name, var.type_id, f"{where}: map {var.name}")
        definitions.append(definition._replace(section=".maps", offset=variable.offset))
    return definitions


def _read_definition(btf: Btf, name: str, type_id: int, where: str, *, is_inner: bool = False) -> MapDefinition:
    _, struct = btf.strip(type_id)
    if not isinstance(struct, Composite) or struct.kind is not Kind.STRUCT:
        raise InputError(f"{where}: it must be a variable of a struct type that lists the map's attributes")
    fields: dict[str, int] = {}
    inner: MapDefinition | None = None
    for member in struct.members:
        what = f"{where}: member {member.name}"
        if member.name in _NUMBERS:
            _set(fields, _NUMBERS[member.name], _number(btf, member.type_id, what), what)
        elif member.name in ("key", "value"):
            pointed = _pointed(btf, member.type_id, what)
            fields[f"btf_{member.name}_type_id"] = pointed
            _set(fields, f"{member.name}_size", btf.size_of(pointed), what)
        elif member.name == "values":
            if is_inner:
                raise InputError(f"{what}: an inner map cannot hold maps or programs itself")
            inner = _read_inner(btf, name, member.type_id, what)
            _set(fields, "value_size", 4, what)
        else:
            known = ", ".join((*_NUMBERS, "key", "value", "values"))
            raise InputError(f"{what}: no such map attribute; there are {known}")
    if not fields.get("type"):
        raise InputError(f"{where}: it has no type; add __uint(type, BPF_MAP_TYPE_…)")
    if inner is not None and fields["type"] not in MAPS_OF_MAPS:
        raise InputError(f"{where}: only an array or hash of maps has inner maps")
    return MapDefinition(
        name=name,
        type=fields["type"],
        key_size=fields.get("key_size", 0),
        value_size=fields.get("value_size", 0),
        max_entries=_whole_pages(fields["type"], fields.get("max_entries", 0)),
        flags=fields.get("flags", 0),
        numa_node=fields.get("numa_node", 0),
        pinning=fields.get("pinning", 0),
        map_extra=fields.get("map_extra", 0),
        btf_key_type_id=fields.get("btf_key_type_id", 0),
        btf_value_type_id=fields.get("btf_value_type_id", 0),
        inner=inner,
    )


def _whole_pages(map_type: int, size: int) -> int:
    """The size of a ring buffer in bytes, up to what the kernel takes: pages, a power of two of them. As libbpf does
    (adjust_ringbuf_sz), so that an object says how much it needs and runs with any size of pages."""
    if map_type not in _RING_BUFFERS or not size:
        return size
    pages = -(-size // mmap.PAGESIZE)
    return (1 << (pages - 1).bit_length()) * mmap.PAGESIZE


def _set(fields: dict[str, int], name: str, value: int, what: str) -> None:
    if fields.setdefault(name, value) != value:
        raise InputError(f"{what}: it says {name} is {value}, another member says {fields[name]}")


def _number(btf: Btf, type_id: int, what: str) -> int:
    """The number that `__uint(name, number)` (a pointer to an array) or `__ulong` (an enum of one value) stands for."""
    _, found = btf.strip(type_id)
    if isinstance(found, Ptr):
        _, array = btf.strip(found.type_id)
        if isinstance(array, Array):
            return array.length
    if isinstance(found, Enum) and len(found.values) == 1:
        return found.values[0][1]
    raise InputError(f"{what}: it must be written __uint({what.rpartition(' ')[2]}, number)")


def _pointed(btf: Btf, type_id: int, what: str) -> int:
    _, found = btf.strip(type_id)
    if not isinstance(found, Ptr):
        raise InputError(f"{what}: it must be written __type({what.rpartition(' ')[2]}, the type)")
    return found.type_id


def _read_inner(btf: Btf, name: str, type_id: int, what: str) -> MapDefinition | None:
    """The inner map's definition, or None where the slots are programs."""
    _, array = btf.strip(type_id)
    if isinstance(array, Array):
        _, pointer = btf.strip(array.type_id)
        if isinstance(pointer, Ptr):
            target_id, target = btf.strip(pointer.type_id)
            if isinstance(target, FuncProto):
                return None
            return _read_definition(btf, f"{name}.inner", target_id, f"{what}: inner map", is_inner=True)
    raise InputError(f"{what}: it must be written __array(values, a map's struct or a program's type)")


def fill_slots(
    definitions: list[MapDefinition], elf: Elf, btf: Btf | None, function_at: Mapping[tuple[int, int], str]
) -> list[MapDefinition]:
    """The definitions with what relocations of section .maps put into their slots.

    `function_at` names the function at (section number, byte offset).
    """
    section = elf.section(".maps")
    if section is None or btf is None:
        return definitions
    slots: dict[str, dict[int, str]] = {}
    for relocation in elf.relocations.get(section.number, ()):
        if relocation.type == R_BPF_NONE:
            continue
        where = f"{elf.path}: section .maps: the relocation at byte {relocation.offset}"
        outer = max((d for d in definitions if d.offset <= relocation.offset), key=lambda d: d.offset, default=None)
        if outer is None or relocation.type != R_BPF_64_ABS64 or relocation.offset + 8 > section.size:
            raise InputError(f"{where}: type {relocation.type} to {relocation.symbol.name}: no such relocation of maps")
        first = outer.offset + _values_offset(btf, outer, where)
        if relocation.offset < first or (relocation.offset - first) % _POINTER_BYTES:
            raise InputError(f"{where}: it is not in the values of map {outer.name}")
        held = _held(definitions, section, relocation, outer, function_at, where)
        slots.setdefault(outer.name, {})[(relocation.offset - first) // _POINTER_BYTES] = held
    return [one._replace(initial_slots=slots.get(one.name, one.initial_slots)) for one in definitions]


def _values_offset(btf: Btf, definition: MapDefinition, where: str) -> int:
    var_id = btf.find(definition.name, Kind.VAR)
    var = btf.type(var_id) if var_id else None
    struct = btf.strip(var.type_id)[1] if isinstance(var, Var) else None
    for member in struct.members if isinstance(struct, Composite) else ():
        if member.name == "values":
            return member.bit_offset // 8
    raise InputError(f"{where}: map {definition.name} has no values")


def _held(
    definitions: list[MapDefinition],
    section: Section,
    relocation: Relocation,
    outer: MapDefinition,
    function_at: Mapping[tuple[int, int], str],
    where: str,
) -> str:
    """The name of the map or program that a slot of `outer` points to."""
    symbol: Symbol = relocation.symbol
    addend = int.from_bytes(section.data[relocation.offset : relocation.offset + 8], "little")
    target = symbol.value + addend
    if outer.type == PROG_ARRAY:
        name = function_at.get((symbol.section, target))
        if name is None:
            raise InputError(f"{where}: a slot of {outer.name} holds {symbol.name}, which is not a function")
        return name
    if symbol.section == section.number and symbol.type != STT_FUNC:
        for definition in definitions:
            if definition.offset == target:
                return definition.name
    raise InputError(f"{where}: a slot of {outer.name} holds {symbol.name}, which is not a map")
