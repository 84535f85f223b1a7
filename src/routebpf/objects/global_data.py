"""Global variables: the sections that hold them, as maps of one entry."""

from __future__ import annotations

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Datasec, Kind
from routebpf.objects.elf import SHT_NOBITS, SHT_PROGBITS, Elf, Section
from routebpf.objects.model import MapDefinition, MapKind

BPF_MAP_TYPE_ARRAY = 2
BPF_F_RDONLY_PROG = 1 << 7
_SHF_ALLOC = 2
_MAX_BYTES = (1 << 31) - 1  # kernel: array_map_alloc_check

_KINDS = ((".rodata", MapKind.RODATA), (".data", MapKind.DATA), (".bss", MapKind.BSS))


def data_kind(section: Section) -> MapKind | None:
    """Which kind of global data a section holds: `.data`, `.data.*` and the like; None for any other section."""
    if section.flags & _SHF_ALLOC and section.size and section.type in (SHT_PROGBITS, SHT_NOBITS):
        for name, kind in _KINDS:
            if section.name == name or section.name.startswith(name + "."):
                return kind
    return None


def data_maps(elf: Elf, btf: Btf | None) -> dict[int, MapDefinition]:
    """The maps of the global data, by number of their section; each is called as its section.

    Two sections of one name (clang makes several `.rodata.str1.1`-like ones) get their number added.
    """
    maps: dict[int, MapDefinition] = {}
    names: set[str] = set()
    for section in elf.sections:
        kind = data_kind(section)
        if kind is None:
            continue
        if section.size > _MAX_BYTES:
            raise InputError(f"{elf.path}: section {section.name}: {section.size} bytes are too many for a map value")
        name = section.name if section.name not in names else f"{section.name}.{section.number}"
        names.add(name)
        maps[section.number] = MapDefinition(
            name=name,
            type=BPF_MAP_TYPE_ARRAY,
            key_size=4,
            value_size=section.size,
            max_entries=1,
            flags=BPF_F_RDONLY_PROG if kind is MapKind.RODATA else 0,
            section=section.name,
            kind=kind,
            btf_value_type_id=(btf.find(section.name, Kind.DATASEC) or 0) if btf else 0,
            data=section.data if section.type == SHT_PROGBITS else bytes(section.size),
            read_only=kind is MapKind.RODATA,
        )
    return maps


def find_datasec(btf: Btf, name: str) -> tuple[int, Datasec] | None:
    """The DATASEC of a section, with its id."""
    return next(((type_id, found) for type_id, found in btf.datasecs() if found.name == name), None)
