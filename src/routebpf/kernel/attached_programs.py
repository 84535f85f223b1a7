"""Programs that we put on routes: loaded once, pinned with their maps, shared by routes, gone when no route has them.

Pins are below /sys/fs/bpf/routebpf, a folder for each namespace, called as its inode, and in it one for each program:
`program`, and `maps/NAME`. A map that several programs share is pinned with each of them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple, TypeVar

from routebpf.errors import Error, InputError
from routebpf.kernel.bpffs import MOUNT_POINT, make_folder, mount_bpffs, pin
from routebpf.kernel.definition_digest import map_digest, program_digest
from routebpf.kernel.handle import Handle
from routebpf.kernel.ledger import Ledger, MapRecord, ProgramRecord, remove_folder
from routebpf.kernel.map_open import map_at, map_by_id
from routebpf.kernel.maps import KernelMap
from routebpf.kernel.object import KernelObject, load_in_kernel
from routebpf.kernel.programs import KernelProgram, program_at, program_by_id
from routebpf.objects.model import PROG_ARRAY, MapDefinition, Object, Program
from routebpf.spec.program_types import PROGRAM_TYPES

_TAG_CHARACTERS = 8
_Held = TypeVar("_Held", KernelProgram, KernelMap)
HOOKS = {row.name: row.hook for row in PROGRAM_TYPES}  # LWT_XMIT: xmit


class LoadedProgram(NamedTuple):
    """A program that is in the kernel and not pinned yet, with what of the maps came from an earlier one."""

    name: str
    source: Object
    program: Program
    kernel: KernelProgram
    maps: Mapping[str, KernelMap]
    kept_maps: tuple[str, ...]


def namespace_folder(inode: int) -> str:
    """Where the pins of a namespace are."""
    return f"{MOUNT_POINT}/routebpf/{inode}"


def remove_all_pins(inode: int) -> None:
    """Remove the pins of a namespace that is gone."""
    remove_folder(namespace_folder(inode))


def find_loaded(ledger: Ledger, source: Object, program: Program) -> list[ProgramRecord]:
    """The programs of the ledger that are just this one, the latest first, and still in the kernel."""
    digest = program_digest(source, program)
    same = [one for one in ledger.book.programs.values() if one.digest == digest]
    return [one for one in sorted(same, key=lambda one: -one.loaded_at) if _is_in_kernel(partial(open_program, one))]


def open_program(record: ProgramRecord) -> KernelProgram:
    """A program of ours. A route holds it, so it is found by its id where its pin is gone: with a BPF file system that
    was unmounted, or that was mounted in the mount namespace that a command of `ip netns exec` has.

    Raises InputError if it is in the kernel no more, MissingError if finding it takes CAP_SYS_ADMIN.
    """
    return _open(program_at, program_by_id, record.pin, record.id)


def open_map_of_ours(pin: str, map_id: int) -> KernelMap:
    """A map of a program of ours, found as that is: see `open_program`."""
    return _open(map_at, map_by_id, pin, map_id)


def _open(at: Callable[[str], _Held], by_id: Callable[[int], _Held], pin: str, number: int) -> _Held:
    with contextlib.suppress(InputError):
        pinned = at(pin)
        if pinned.id == number:
            return pinned
        pinned.close()
    try:
        return by_id(number)
    except Error as error:
        raise type(error)(f"the pin {pin} is gone; {error}") from error


def _is_in_kernel(opening: Callable[[], Handle]) -> bool:
    try:
        opening().close()
    except Error:
        return False
    return True


def keepable_maps(source: Object, earlier: Iterable[ProgramRecord]) -> dict[str, MapRecord]:
    """The maps of earlier programs that can stand for those of an object, by name: whose definition is unchanged.

    Program arrays are the program's own. A map that holds maps from the start is kept if all of them are.
    """
    kept: dict[str, MapRecord] = {}
    for record in earlier:
        for name, held in record.maps.items():
            definition = source.maps.get(name)
            if definition is None or definition.type == PROG_ARRAY:
                continue
            if map_digest(definition, source.btf) == held.digest and _is_in_kernel(
                partial(open_map_of_ours, held.pin, held.id)
            ):
                kept.setdefault(name, held)
    return {name: held for name, held in kept.items() if _is_whole(source.maps[name], kept)}


def _is_whole(definition: MapDefinition, kept: Mapping[str, MapRecord]) -> bool:
    return all(name in kept for name in definition.initial_slots.values())


def load(source: Object, program: Program, kept: Mapping[str, MapRecord], held: ExitStack) -> LoadedProgram:
    """Load a program with maps of earlier ones; `held` closes its fds. Raises what `load_in_kernel` raises."""
    maps: dict[str, KernelMap] = {}
    for name, record in kept.items():
        with contextlib.suppress(Error):  # it went meanwhile
            maps[name] = held.enter_context(open_map_of_ours(record.pin, record.id))
    loaded: KernelObject = held.enter_context(load_in_kernel(source, programs=[program.name], reuse_maps=maps))
    kernel = loaded.programs[program.name]
    kept_maps = tuple(name for name in loaded.maps if name in maps)
    return LoadedProgram(encap_name(program.name, kernel), source, program, kernel, loaded.maps, kept_maps)


def encap_name(function: str, kernel: KernelProgram) -> str:
    """What routes call a program: the kernel tells encaps apart by it alone, so the id, which is unique, is in it."""
    return f"{function}:{kernel.tag[:_TAG_CHARACTERS]}:{kernel.id}"


def pin_program(ledger: Ledger, loaded: LoadedProgram) -> ProgramRecord:
    """Pin a program and its maps, keep its types: the record, which is in the ledger's book then, not yet on disk.

    Raises MissingError, InputError.
    """
    mount_bpffs()
    source, kernel = loaded.source, loaded.kernel
    folder = f"{namespace_folder(ledger.identity.inode)}/{loaded.program.name}-{kernel.id}"
    make_folder(f"{folder}/maps")
    maps = {}
    for name, one in loaded.maps.items():
        path = f"{folder}/maps/{name.replace('.', '-')}"
        pin(one, path)
        defined = source.maps[name]
        digest = map_digest(defined, source.btf)
        maps[name] = MapRecord(path, digest, one.id, defined.btf_key_type_id, defined.btf_value_type_id)
    pin(kernel, f"{folder}/program")
    record = ProgramRecord(
        name=loaded.name,
        function=loaded.program.name,
        program_type=loaded.program.program_type,
        tag=kernel.tag,
        id=kernel.id,
        digest=program_digest(source, loaded.program),
        object=os.path.abspath(source.path),
        folder=folder,
        btf=ledger.add_btf(f"{loaded.program.name}-{kernel.id}", bytes(source.btf.data)) if source.btf else "",
        loaded_at=time.time(),
        maps=maps,
    )
    ledger.book.programs[record.name] = record
    return record


def forget_unused(ledger: Ledger) -> None:
    """Take programs that no route has out of the book."""
    used = ledger.book.used_programs()
    for name in [name for name in ledger.book.programs if name not in used]:
        del ledger.book.programs[name]


def remove_unused_pins(ledger: Ledger) -> None:
    """Remove the pins and the types of programs that are not in the book, and what else a killed command left."""
    folder = namespace_folder(ledger.identity.inode)
    known = {os.path.basename(one.folder) for one in ledger.book.programs.values()}
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            if name not in known:
                remove_folder(os.path.join(folder, name))
        if not known:
            os.rmdir(folder)
    ledger.remove_unused_files()
