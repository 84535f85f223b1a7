"""An object in the kernel: its maps created, its constants frozen, its programs loaded, its slots filled."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from routebpf.errors import InputError, RejectedError
from routebpf.kernel.handle import Handle
from routebpf.kernel.kernel_btf import kernel_btf
from routebpf.kernel.map_create import create_map
from routebpf.kernel.map_open import differences, open_map
from routebpf.kernel.maps import KernelMap
from routebpf.kernel.object_btf import load_btf
from routebpf.kernel.programs import KernelProgram, load_program
from routebpf.kernel.running import kernel_version
from routebpf.objects.model import PROG_ARRAY, MapDefinition, Object, Program


class KernelObject:
    """An object's programs and maps in the kernel, by the names that they have in the object.

    Close it, or use it in a `with`: what is then neither pinned nor on a route goes.
    """

    def __init__(
        self, source: Object, programs: dict[str, KernelProgram], maps: dict[str, KernelMap], held: ExitStack
    ) -> None:
        self.object = source
        self.programs: Mapping[str, KernelProgram] = programs
        self.maps: Mapping[str, KernelMap] = maps
        self._held = held

    def open_perf_buffers(self, besides: Collection[str] = ()) -> None:
        """Keep what programs put out to perf event arrays from now on, until `consume()` of the map takes it out.

        `besides`: names of maps that are left alone, as they have their buffers already.
        """
        from routebpf.kernel.perf_reader import PerfEventArrayMap

        for name, one in self.maps.items():
            if isinstance(one, PerfEventArrayMap) and name not in besides:
                one.open()

    def close(self) -> None:
        """Close every fd; a second time does nothing."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<object {self.object.path} in the kernel: {', '.join(self.programs)}>"


def read_for_kernel(
    path: str | os.PathLike[str],
    *,
    program_type: str | None = None,
    clang: str | None = None,
    flags: Sequence[str] = (),
) -> Object:
    """Read a program file, C source or object, relocated for the running kernel: `load_in_kernel` takes what it gives.

    `program_type`: of programs whose section name says none. Raises what `load_program_file` raises.
    """
    from routebpf.objects.source import load_program_file

    return load_program_file(
        path,
        program_type=program_type,
        target_btf=kernel_btf(),
        kernel_version=kernel_version(),
        clang=clang,
        flags=flags,
    )


def load_in_kernel(
    source: Object,
    *,
    programs: Collection[str] | None = None,
    names: Mapping[str, str] | None = None,
    reuse_maps: Mapping[str, KernelMap] | None = None,
) -> KernelObject:
    """Put an object into the running kernel, which verifies its programs.

    `programs`: which, by name; all if None. Those that their program arrays hold from the start come with them, and
    only maps that these use are created then. `names`: what the kernel shall call a program, by its name here: 15
    bytes at most. `reuse_maps`: open maps to use in place of new ones, by name; the caller keeps them, and they what
    maps they hold.

    Raises RejectedError for a program that the kernel refuses, MapError for a map, MissingError for what the machine
    lacks, InputError for a map that cannot be reused; then nothing stays behind.
    """
    wanted = _wanted_programs(source, programs)
    used = list(source.maps) if programs is None else _used_maps(source, wanted)
    names, reuse_maps = names or {}, reuse_maps or {}
    # What is loaded keeps the BTF: nobody needs to hold it after that.
    with ExitStack() as loading, ExitStack() as held:
        btf = _load_btf(source)
        if btf is not None:
            loading.enter_context(btf)
        maps: dict[str, KernelMap] = {}
        for name in used:
            maps[name] = held.enter_context(_map(source.maps[name], reuse_maps.get(name), btf))
        loaded: dict[str, KernelProgram] = {}
        for one in wanted:
            loaded[one.name] = held.enter_context(
                load_program(
                    one,
                    license=source.license,
                    maps=maps,
                    btf=btf,
                    name=names.get(one.name, ""),
                    path=source.path,
                )
            )
        for name in used:
            if name not in reuse_maps or source.maps[name].type == PROG_ARRAY:
                _fill_slots(source.maps[name], maps, loaded)
        return KernelObject(source, loaded, maps, held.pop_all())
    raise AssertionError("an ExitStack hides no error")


def _load_btf(source: Object) -> Handle | None:
    """The object's BTF in the kernel. One that it does not take (an older kernel, an unnamed parameter) is done
    without, as by libbpf: programs run all the same, but the kernel's messages quote no source."""
    if source.btf is None:
        return None
    try:
        return load_btf(source.btf)
    except RejectedError as error:
        import logging  # only here: it takes 5 ms to import

        logging.getLogger(__name__).warning("%s; the kernel goes without its types and source lines", error)
        return None


def _map(definition: MapDefinition, held: KernelMap | None, btf: Handle | None) -> KernelMap:
    if held is None:
        return create_map(definition, btf_fd=btf.fd if btf else 0)
    wrong = differences(held, definition)
    if wrong:
        raise InputError(f"map {definition.name}: the map to be reused is another: {', '.join(wrong)}")
    return open_map(held.duplicate_fd(), definition._replace(max_entries=held.info.max_entries))


def _wanted_programs(source: Object, names: Collection[str] | None) -> list[Program]:
    """The programs of these names, and those that the program arrays that they use hold, and so on."""
    if names is None:
        return list(source.programs.values())
    wanted: dict[str, Program] = {}
    waiting = [source.program(name) for name in names]
    while waiting:
        one = waiting.pop(0)
        if one.name in wanted:
            continue
        wanted[one.name] = one
        arrays = (source.maps[name] for name in one.maps)
        held = (name for array in arrays if array.type == PROG_ARRAY for name in array.initial_slots.values())
        waiting += [source.programs[name] for name in held]
    return list(wanted.values())


def _used_maps(source: Object, programs: Collection[Program]) -> list[str]:
    """The maps that programs use, and the maps in those, in the file's order."""
    used: set[str] = set()
    waiting = [name for one in programs for name in one.maps]
    while waiting:
        name = waiting.pop()
        if name in used:
            continue
        used.add(name)
        definition = source.maps[name]
        if definition.type != PROG_ARRAY:
            waiting += definition.initial_slots.values()
    return [name for name in source.maps if name in used]


def _fill_slots(
    definition: MapDefinition, maps: Mapping[str, KernelMap], programs: Mapping[str, KernelProgram]
) -> None:
    held: Mapping[str, Handle] = programs if definition.type == PROG_ARRAY else maps
    for index, name in definition.initial_slots.items():
        maps[definition.name].set_slot(index, held[name])
