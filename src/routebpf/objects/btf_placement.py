"""Filling in what compilers leave open in an object's BTF, and making it fit for bpf(2).

A DATASEC of the compiler has size 0 and its global variables have offset 0, in the order of their declaration: the
symbol table knows better. Types keep their ids.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Func, FuncProto, Kind, Linkage, SectionVariable, Var
from routebpf.objects.elf import SHN_LORESERVE, STB_LOCAL, STT_FUNC, Elf

_ITEM = struct.Struct("<III")
_TYPE_BYTES = 12


def place_variables(btf: Btf, elf: Elf) -> Btf:
    """The same BTF with every section's size and its variables' offsets, and hidden functions marked static.

    The compiler's `__hidden` means that the verifier need not look at a function on its own (as libbpf takes it).
    """
    data = bytearray(btf.data)
    offsets = {
        (symbol.section, symbol.name): symbol.value
        for symbol in elf.symbols
        if symbol.binding != STB_LOCAL and 0 < symbol.section < SHN_LORESERVE
    }
    for type_id, datasec in btf.datasecs():
        section = elf.section(datasec.name)
        if section is None:
            continue
        placed = []
        for variable in datasec.variables:
            var = btf.type(variable.type_id)
            if isinstance(var, Var) and var.linkage != Linkage.STATIC:
                variable = variable._replace(offset=offsets.get((section.number, var.name), variable.offset))
            placed.append(variable)
        _write_datasec(data, btf, type_id, datasec.size or section.size, placed)
    for symbol in elf.symbols:
        if symbol.is_hidden and symbol.type == STT_FUNC and symbol.binding != STB_LOCAL:
            function = btf.find(symbol.name, Kind.FUNC)
            if function is not None:
                _write_func_linkage(data, btf, function, Linkage.STATIC)
    return _changed(btf, data)


def place_kconfig(btf: Btf, offsets: Mapping[str, int], size: int) -> Btf:
    """The same BTF with section .kconfig as a map of values has it: no longer extern, each value at its offset."""
    data = bytearray(btf.data)
    for type_id, datasec in btf.datasecs():
        if datasec.name != ".kconfig":
            continue
        placed = []
        for variable in datasec.variables:
            _write_var(data, btf, variable.type_id, Linkage.GLOBAL)
            var_bytes = btf.size_of(variable.type_id)
            placed.append(variable._replace(offset=offsets[btf.name(variable.type_id)], size=var_bytes))
        _write_datasec(data, btf, type_id, size, placed)
    return _changed(btf, data)


def btf_for_kernel(btf: Btf) -> bytes:
    """The BTF as BPF_BTF_LOAD takes it: section .ksyms, which the kernel does not know, becomes variables of type int.

    As libbpf does (bpf_object__collect_externs): functions in it give way to a variable, since a DATASEC holds nothing
    else, and become global with names for all their parameters.
    """
    found = next(((type_id, one) for type_id, one in btf.datasecs() if one.name == ".ksyms"), None)
    if found is None:
        return btf.data
    data = bytearray(btf.data)
    int_id, dummy_id = len(btf), len(btf) + 1
    name_offset = btf.end_of_strings
    placed = []
    for position, variable in enumerate(found[1].variables):
        function = btf.type(variable.type_id)
        if isinstance(function, Func):
            _write_func_linkage(data, btf, variable.type_id, Linkage.GLOBAL)
            _name_parameters(data, btf, function.type_id, name_offset)
        else:
            _write_var(data, btf, variable.type_id, Linkage.GLOBAL, int_id)
        var_id = dummy_id if isinstance(function, Func) else variable.type_id
        placed.append(SectionVariable(var_id, 4 * position, 4))
    _write_datasec(data, btf, found[0], 4 * len(placed), placed)
    integer = struct.pack("<IIII", name_offset, Kind.INT << 24, 4, 1 << 24 | 32)
    dummy = struct.pack("<IIII", name_offset, Kind.VAR << 24, int_id, Linkage.GLOBAL)
    return btf.extended(bytes(data), integer + dummy, b"ksym\0")


def _changed(btf: Btf, data: bytearray) -> Btf:
    return btf if data == btf.data else Btf(bytes(data), where=btf.where)


def _write_datasec(data: bytearray, btf: Btf, type_id: int, size: int, variables: list[SectionVariable]) -> None:
    """The kernel wants the variables in the order of their offsets."""
    at = btf.position(type_id)
    struct.pack_into("<I", data, at + 8, size & 0xFFFFFFFF)
    for index, variable in enumerate(sorted(variables, key=lambda one: one.offset)):
        type_id, offset, var_size = variable
        _ITEM.pack_into(data, at + _TYPE_BYTES + _ITEM.size * index, type_id, offset & 0xFFFFFFFF, var_size)


def _write_var(data: bytearray, btf: Btf, var_id: int, linkage: int, type_id: int | None = None) -> None:
    at = btf.position(var_id)
    if type_id is not None:
        struct.pack_into("<I", data, at + 8, type_id)
    struct.pack_into("<I", data, at + _TYPE_BYTES, linkage)


def _write_func_linkage(data: bytearray, btf: Btf, function_id: int, linkage: int) -> None:
    struct.pack_into("<I", data, btf.position(function_id) + 4, Kind.FUNC << 24 | linkage)


def _name_parameters(data: bytearray, btf: Btf, proto_id: int, name_offset: int) -> None:
    proto = btf.type(proto_id)
    for index, parameter in enumerate(proto.parameters if isinstance(proto, FuncProto) else ()):
        if parameter.type_id and not parameter.name:
            struct.pack_into("<I", data, btf.position(proto_id) + _TYPE_BYTES + 8 * index, name_offset)
