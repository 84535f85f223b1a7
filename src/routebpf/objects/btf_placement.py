"""Filling in what compilers leave open in an object's BTF, and making it fit for bpf(2).

A DATASEC of the compiler has size 0 and its global variables have offset 0, in the order of their declaration: the
symbol table knows better. Types keep their ids.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Datasec, Func, FuncProto, Kind, Linkage, SectionVariable, Var
from routebpf.objects.elf import SHN_LORESERVE, STB_LOCAL, STT_FUNC, STT_SECTION, Elf, Section

_TYPE = struct.Struct("<III")
_ITEM = struct.Struct("<III")
_FIELD = struct.Struct("<I")


def place_variables(btf: Btf, elf: Elf) -> Btf:
    """The same BTF with every section's size and its variables' offsets, and hidden functions marked static.

    The compiler's `__hidden` means that the verifier need not look at a function on its own (as libbpf takes it).
    """
    places: dict[str, dict[int, int]] = {}  # symbol: offset by section, the global ones last
    for symbol in sorted(elf.symbols, key=lambda one: one.binding):
        if 0 < symbol.section < SHN_LORESERVE and symbol.type != STT_SECTION:
            places.setdefault(symbol.name, {})[symbol.section] = symbol.value
    changed: dict[int, bytes] = {}
    for type_id, datasec in btf.datasecs():
        section = elf.section(datasec.name)
        if section is not None:
            variables = list(_placed(btf, datasec, section, places))
            changed[type_id] = _datasec(btf, type_id, datasec.size or section.size, variables)
    for symbol in elf.symbols:
        if symbol.is_hidden and symbol.type == STT_FUNC and symbol.binding != STB_LOCAL:
            function = btf.find(symbol.name, Kind.FUNC)
            if function is not None:
                changed[function] = _func(btf, function, Linkage.STATIC)
    return _rebuilt(btf, changed)


def _placed(
    btf: Btf, datasec: Datasec, section: Section, places: Mapping[str, Mapping[int, int]]
) -> Iterable[SectionVariable]:
    """The variables of a section where they are; those aside that the compiler moved to another one.

    Clang lists a constant text under .rodata and puts it into .rodata.str1.1, where equal texts are merged.
    """
    for variable in datasec.variables:
        var = btf.type(variable.type_id)
        known = places.get(var.name, {}) if isinstance(var, Var) else {}
        if isinstance(var, Var) and var.linkage != Linkage.STATIC:
            yield variable._replace(offset=known.get(section.number, variable.offset))
        elif not known or section.number in known:
            yield variable


def place_kconfig(btf: Btf, offsets: Mapping[str, int], size: int) -> Btf:
    """The same BTF with section .kconfig as a map of values has it: no longer extern, each value at its offset."""
    changed: dict[int, bytes] = {}
    for type_id, datasec in btf.datasecs():
        if datasec.name != ".kconfig":
            continue
        placed = []
        for variable in datasec.variables:
            changed[variable.type_id] = _var(btf, variable.type_id, Linkage.GLOBAL)
            var_bytes = btf.size_of(variable.type_id)
            placed.append(variable._replace(offset=offsets[btf.name(variable.type_id)], size=var_bytes))
        changed[type_id] = _datasec(btf, type_id, size, placed)
    return _rebuilt(btf, changed)


def btf_for_kernel(btf: Btf) -> bytes:
    """The BTF as BPF_BTF_LOAD takes it: section .ksyms, which the kernel does not know, becomes variables of type int.

    As libbpf does (bpf_object__collect_externs): functions in it give way to a variable, since a DATASEC holds nothing
    else, and become global with names for all their parameters.
    """
    found = next(((type_id, one) for type_id, one in btf.datasecs() if one.name == ".ksyms"), None)
    if found is None:
        return btf.data
    int_id, dummy_id = len(btf), len(btf) + 1
    name_offset = btf.end_of_strings
    changed: dict[int, bytes] = {}
    placed = []
    for position, variable in enumerate(found[1].variables):
        function = btf.type(variable.type_id)
        if isinstance(function, Func):
            changed[variable.type_id] = _func(btf, variable.type_id, Linkage.GLOBAL)
            proto = btf.type(function.type_id)
            if isinstance(proto, FuncProto):
                changed[function.type_id] = _named_parameters(btf, function.type_id, proto, name_offset)
        else:
            changed[variable.type_id] = _var(btf, variable.type_id, Linkage.GLOBAL, int_id)
        var_id = dummy_id if isinstance(function, Func) else variable.type_id
        placed.append(SectionVariable(var_id, 4 * position, 4))
    changed[found[0]] = _datasec(btf, found[0], 4 * len(placed), placed)
    integer = struct.pack("<IIII", name_offset, Kind.INT << 24, 4, 1 << 24 | 32)
    dummy = struct.pack("<IIII", name_offset, Kind.VAR << 24, int_id, Linkage.GLOBAL)
    return btf.rebuilt(changed, integer + dummy, b"ksym\0")


def _rebuilt(btf: Btf, changed: Mapping[int, bytes]) -> Btf:
    different = {type_id: content for type_id, content in changed.items() if content != btf.raw(type_id)}
    return Btf(btf.rebuilt(different), where=btf.where) if different else btf


def _datasec(btf: Btf, type_id: int, size: int, variables: list[SectionVariable]) -> bytes:
    """The kernel wants the variables in the order of their offsets."""
    name, _, _ = _TYPE.unpack_from(btf.raw(type_id))
    head = _TYPE.pack(name, Kind.DATASEC << 24 | len(variables), size & 0xFFFFFFFF)
    ordered = sorted(variables, key=lambda one: one.offset)
    return head + b"".join(_ITEM.pack(one.type_id, one.offset & 0xFFFFFFFF, one.size) for one in ordered)


def _var(btf: Btf, var_id: int, linkage: int, type_id: int | None = None) -> bytes:
    name, info, old_type_id = _TYPE.unpack_from(btf.raw(var_id))
    return _TYPE.pack(name, info, old_type_id if type_id is None else type_id) + _FIELD.pack(linkage)


def _func(btf: Btf, function_id: int, linkage: int) -> bytes:
    name, _, type_id = _TYPE.unpack_from(btf.raw(function_id))
    return _TYPE.pack(name, Kind.FUNC << 24 | linkage, type_id)


def _named_parameters(btf: Btf, proto_id: int, proto: FuncProto, name_offset: int) -> bytes:
    content = bytearray(btf.raw(proto_id))
    for index, parameter in enumerate(proto.parameters):
        if parameter.type_id and not parameter.name:
            _FIELD.pack_into(content, _TYPE.size + 8 * index, name_offset)
    return bytes(content)
