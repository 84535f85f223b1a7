"""Digests of what an object defines: whether a map keeps its meaning in another object, and a program all of it."""

from __future__ import annotations

import hashlib
from typing import Any

from routebpf.isa import encode
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Composite, Datasec, Enum, Float, Int, Ptr, Qualifier, Typedef, Var
from routebpf.objects.model import MapDefinition, Object, Program

_DIGEST_CHARACTERS = 32
_MAX_NESTING = 32


def map_digest(definition: MapDefinition, btf: Btf | None) -> str:
    """A digest of all that a map is: type, sizes, flags, layout and names in its types, what data starts with."""
    return _digest(_map_parts(definition, btf))


def program_digest(source: Object, program: Program) -> str:
    """A digest of all that a program runs with: its code and that of the programs it may tail-call, every map."""
    held = {name for one in source.maps.values() for name in one.initial_slots.values()}
    programs = [program, *(one for name, one in source.programs.items() if name in held and one is not program)]
    code = [(one.program_type, encode(one.instructions).hex(), one.maps, one.kfuncs, one.ksyms) for one in programs]
    maps = [(name, _map_parts(source.maps[name], source.btf)) for name in source.maps]
    return _digest((program.name, source.license, code, maps))


def _digest(parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _map_parts(definition: MapDefinition, btf: Btf | None) -> tuple[Any, ...]:
    types = (definition.btf_key_type_id, definition.btf_value_type_id)
    return (
        (definition.type, definition.key_size, definition.value_size, definition.max_entries, definition.flags),
        definition.map_extra,
        definition.data,
        sorted(definition.initial_slots.items()),
        [_layout(btf, one, 0) for one in types if btf is not None and one],
        _map_parts(definition.inner, btf) if definition.inner else None,
    )


def _layout(btf: Btf, type_id: int, depth: int) -> Any:
    """Names, places and kinds, as far as a value reaches: what a pointer points to is no part of it."""
    if depth > _MAX_NESTING:
        return None
    found = btf.type(type_id)
    match found:
        case Int():
            return ("int", found.size, found.bits, found.signed, found.is_bool)
        case Float():
            return ("float", found.size)
        case Ptr():
            return "pointer"
        case Enum():
            return ("enum", found.size, found.values)
        case Array():
            return (found.length, _layout(btf, found.type_id, depth + 1))
        case Composite():
            members = [(one.name, one.bit_offset, one.bits, one.type_id) for one in found.members]
            return (found.kind.name, found.size, [(*one[:3], _layout(btf, one[3], depth + 1)) for one in members])
        case Datasec():
            return [(one.offset, one.size, _layout(btf, one.type_id, depth + 1)) for one in found.variables]
        case Var():
            return (found.name, _layout(btf, found.type_id, depth + 1))
        case Typedef() | Qualifier():
            return _layout(btf, found.type_id, depth + 1)
        case _:
            return type(found).__name__
