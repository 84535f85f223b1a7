"""Opening a map that is in the kernel, by its fd, id or pin; whether it can stand for one that an object defines."""

from __future__ import annotations

import errno
from importlib import import_module

from routebpf.errors import InputError
from routebpf.kernel.bpffs import open_pin
from routebpf.kernel.handle import Handle
from routebpf.kernel.maps import KernelMap, MapInfo, read_map_info
from routebpf.kernel.object_btf import read_btf
from routebpf.kernel.permission import permission_error
from routebpf.kernel.syscall import MapById, bpf
from routebpf.objects.btf import Btf
from routebpf.objects.model import MapDefinition, MapKind

# By map type: the module and the class of its maps, where they do more than hold entries.
_CLASSES = {4: "perf_reader:PerfEventArrayMap", 27: "ringbuf_reader:RingBufMap"}
# The kernel gives these a flag of its own: programs must not write what they hold.
_DEVICES, _RDONLY_PROG = frozenset((14, 25)), 1 << 7
_LAST_ID = 0xFFFFFFFF
_SECTIONS = ((".rodata", MapKind.RODATA), (".data", MapKind.DATA), (".bss", MapKind.BSS), (".kconfig", MapKind.KCONFIG))


def open_map(fd: int, definition: MapDefinition) -> KernelMap:
    """The map that `fd` is, which owns it from now on."""
    module, _, name = _CLASSES.get(definition.type, "maps:KernelMap").partition(":")
    made: KernelMap = getattr(import_module(f"routebpf.kernel.{module}"), name)(fd, definition)
    return made


def map_at(path: str) -> KernelMap:
    """The map that is pinned at a path. Raises InputError if there is none."""
    return _map_of(open_pin(path, "map"))


def map_by_id(map_id: int) -> KernelMap:
    """The map with this id. Raises InputError if there is none, MissingError without CAP_SYS_ADMIN."""
    if map_id > _LAST_ID:  # a call would take its last 32 bits
        raise _no_such_id(map_id)
    try:
        return _map_of(bpf(MapById(id=map_id)))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise permission_error(f"open map {map_id}", {"CAP_SYS_ADMIN": "to open maps by their id"}) from error
        raise _no_such_id(map_id) from error


def _no_such_id(map_id: int) -> InputError:
    return InputError(f"open map {map_id}: the kernel has no map with this id")


def _map_of(fd: int) -> KernelMap:
    """Definitions that the kernel does not tell (of the maps in it, the initial slots) are left out."""
    with Handle(fd) as held:
        definition = definition_of(read_map_info(fd))
        return open_map(held.duplicate_fd(), definition)


def types_of(held: KernelMap) -> Btf | None:
    """The types of a map's keys and values, which its definition refers to; None if it was created without.

    Raises MissingError without CAP_SYS_ADMIN.
    """
    return read_btf(held.info.btf_id) if held.info.btf_id else None


def definition_of(info: MapInfo) -> MapDefinition:
    """What the kernel tells of a map, as a definition. Maps of global data are called as their section."""
    return MapDefinition(
        name=info.name,
        type=info.type,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        flags=info.flags,
        map_extra=info.map_extra,
        kind=next((kind for section, kind in _SECTIONS if info.name.startswith(section)), MapKind.BTF),
        btf_key_type_id=info.btf_key_type_id,
        btf_value_type_id=info.btf_value_type_id,
    )


def differences(held: KernelMap, definition: MapDefinition) -> list[str]:
    """How a map differs from a definition, in words; nothing if it can stand for a new one.

    That of constants must hold the same values, since nobody can change them any more.
    """
    wanted = {
        "type": definition.type,
        "key_size": definition.key_size,
        "value_size": definition.value_size,
        "max_entries": definition.max_entries or held.info.max_entries,
        "flags": definition.flags | (_RDONLY_PROG if definition.type in _DEVICES else 0),
        "map_extra": definition.map_extra,
    }
    found = [
        f"{what} is {getattr(held.info, what)}, not {value}"
        for what, value in wanted.items()
        if getattr(held.info, what) != value
    ]
    if not found and definition.read_only and held.lookup(bytes(4)) != definition.data:
        found.append("its constants have other values")
    return found
