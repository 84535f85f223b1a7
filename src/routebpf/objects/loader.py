"""Loading: a file becomes an `Object`."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_ext import BtfExt, read_btf_ext
from routebpf.objects.btf_placement import place_kconfig, place_variables
from routebpf.objects.code import CodeSection, choose_programs, read_code
from routebpf.objects.elf import Elf, read_elf
from routebpf.objects.externs import find_externs, is_in_kernel, kconfig_map
from routebpf.objects.global_data import data_maps
from routebpf.objects.legacy_maps import read_legacy_maps, tail_call_slot
from routebpf.objects.linker import Symbols, link_program
from routebpf.objects.map_definitions import fill_slots, read_map_definitions
from routebpf.objects.model import Extern, ExternKind, MapDefinition, Object, Program

# What LINUX_KERNEL_VERSION is where nobody says: the kernel that the embedded host is held against.
KERNEL_VERSION = (6, 18, 0)
LAST_MAP_TYPE = 33  # BPF_MAP_TYPE_ARENA


def load_object(
    source: str | os.PathLike[str] | bytes,
    *,
    program_type: str | None = None,
    target_btf: Btf | None = None,
    kernel_version: tuple[int, int, int] | None = None,
    name: str = "object",
) -> Object:
    """Read an object file, or its bytes: relocate it and link its programs.

    `name` is what bytes are called in messages and in `Object.path`.

    `program_type` ("LWT_XMIT"…) is the type of programs whose section name says none. CO-RE relocations and weak
    externs are resolved against `target_btf`, the BTF of a kernel; without one, against the object's own types, and a
    weak extern is there if the embedded host has it. Raises InputError, with file, section and instruction, for
    anything that is wrong.
    """
    data, path = (source, name) if isinstance(source, bytes) else _read(source)
    elf = read_elf(data, path)
    btf, ext = _read_btf(elf)
    code = read_code(elf, ext)
    chosen = choose_programs(elf, code, program_type)
    poisons = {}
    if btf and ext and ext.relocations:
        from routebpf.objects.core_reloc import apply_core_relocations  # only here: most objects have none

        poisons = apply_core_relocations(code, ext, btf, btf if target_btf is None else target_btf, path)
    definitions, program_arrays = _map_definitions(elf, btf, code)
    globals_by_section = data_maps(elf, btf)
    externs = find_externs(elf, btf)
    kconfig = kconfig_map(externs, btf, kernel_version or KERNEL_VERSION, path)
    if btf and kconfig:
        btf = place_kconfig(btf, kconfig.offsets, kconfig.definition.value_size)
    symbols = Symbols(
        elf=elf,
        code=code,
        map_at={
            (section.number, one.offset): one.name
            for section in elf.sections
            for one in definitions
            if section.name == one.section
        },
        data_maps=globals_by_section,
        kconfig=kconfig,
        externs=externs,
        is_present=_presence(target_btf),
        is_complete=target_btf is not None,
        poisons=poisons,
    )
    programs = {main.name: link_program(main, kind, symbols, ext, btf) for main, kind in chosen}
    definitions = _fill_tail_calls(definitions, program_arrays, programs)
    maps = [*definitions, *globals_by_section.values(), *([kconfig.definition] if kconfig else [])]
    for one in maps:
        _require_known_type(one, path)
    return Object(
        path=path,
        license=_license(elf),
        version=_version(elf),
        programs=programs,
        maps={one.name: one for one in maps},
        btf=btf,
        externs=externs,
        sections={one.section.name: tuple(f.name for f in one.functions.values()) for one in code.values()},
    )


def _read(source: str | os.PathLike[str]) -> tuple[bytes, str]:
    try:
        with open(source, "rb") as file:
            return file.read(), os.fspath(source)
    except OSError as error:
        raise InputError(f"cannot read object {source}: {error.strerror}") from error


def _read_btf(elf: Elf) -> tuple[Btf | None, BtfExt | None]:
    section = elf.section(".BTF")
    if section is None or section.size == 0:
        return None, None
    btf = place_variables(Btf(section.data, where=f"{elf.path}: section .BTF"), elf)
    ext = elf.section(".BTF.ext")
    if ext is None or ext.size == 0:
        return btf, None
    return btf, read_btf_ext(ext.data, btf, f"{elf.path}: section .BTF.ext")


def _map_definitions(
    elf: Elf, btf: Btf | None, code: Mapping[int, CodeSection]
) -> tuple[list[MapDefinition], dict[int, str]]:
    function_at = {
        (number, start * 8): function.name for number, one in code.items() for start, function in one.functions.items()
    }
    definitions = fill_slots(read_map_definitions(elf, btf), elf, btf, function_at)
    legacy, program_arrays = read_legacy_maps(elf, btf)
    return definitions + legacy, program_arrays


def _require_known_type(definition: MapDefinition, path: str) -> None:
    for one in (definition, definition.inner):
        if one is not None and not 1 <= one.type <= LAST_MAP_TYPE:
            raise InputError(
                f"{path}: section {definition.section}: map {one.name}: map type {one.type} is not known;"
                f" the last one is {LAST_MAP_TYPE}"
            )


def _fill_tail_calls(
    definitions: list[MapDefinition], program_arrays: Mapping[int, str], programs: Mapping[str, Program]
) -> list[MapDefinition]:
    """Put each program whose section is called "id/slot" into that slot of the program array, as iproute2 does."""
    slots: dict[str, dict[int, str]] = {}
    for program in programs.values():
        place = tail_call_slot(program.section)
        if place and place[0] in program_arrays:
            slots.setdefault(program_arrays[place[0]], {})[place[1]] = program.name
    return [one._replace(initial_slots=slots[one.name]) if one.name in slots else one for one in definitions]


def _presence(target_btf: Btf | None) -> Callable[[Extern], bool]:
    """Tells whether the target has an extern: a kernel, or the embedded host with its kfuncs and no variables."""
    if target_btf is not None:
        return lambda extern: is_in_kernel(extern, target_btf)

    def is_embedded(extern: Extern) -> bool:
        from routebpf.spec import KFUNCS

        return extern.kind is ExternKind.KFUNC and extern.name.partition("___")[0] in KFUNCS

    return is_embedded


def _license(elf: Elf) -> str:
    section = elf.section("license")
    return section.data.partition(b"\0")[0].decode(errors="replace") if section else ""


def _version(elf: Elf) -> int:
    section = elf.section("version")
    if section is None or section.size == 0:
        return 0
    if section.size != 4:
        raise InputError(f"{elf.path}: section version: {section.size} bytes, it must be a u32")
    return int(struct.unpack("<I", section.data)[0])
