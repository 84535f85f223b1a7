"""The maps of attached programs, found by name, typed by the BTF that was kept when they were attached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from routebpf.errors import InputError, MissingError
from routebpf.hosts.map_view import MapView
from routebpf.kernel.attached_programs import open_map_of_ours
from routebpf.kernel.ledger import Ledger, identify, read_ledger
from routebpf.kernel.map_open import map_at, map_by_id
from routebpf.kernel.maps import KernelMap
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.object_btf import read_btf
from routebpf.objects.btf import Btf, read_btf_file

_BY_ID = "id:"


@dataclass(frozen=True, slots=True)
class AttachedMap:
    """A map that is pinned. `btf`: the file with the types of its keys and values. `programs`: those that use it,
    several after an upgrade that kept it."""

    name: str
    id: int
    pin: str
    btf: str
    btf_key_type_id: int
    btf_value_type_id: int
    programs: tuple[str, ...]


def list_maps(namespace: Namespace | None) -> list[AttachedMap]:
    """The maps of the programs that are attached in a namespace."""
    return _maps_of(read_ledger(identify(namespace)))


def _maps_of(ledger: Ledger) -> list[AttachedMap]:
    found: dict[int, AttachedMap] = {}
    # The latest program's BTF is the one to read a shared map by.
    for record in sorted(ledger.book.programs.values(), key=lambda one: -one.loaded_at):
        for name, held in record.maps.items():
            earlier = found.get(held.id)
            if earlier is None:
                types = (record.btf, held.btf_key_type_id, held.btf_value_type_id)
                found[held.id] = AttachedMap(name, held.id, held.pin, *types, (record.name,))
            else:
                found[held.id] = replace(earlier, programs=(*earlier.programs, record.name))
    return sorted(found.values(), key=lambda one: (one.programs, one.name))


def find_map(namespace: Namespace | None, name: str, program: str | None) -> AttachedMap:
    """The map of that name. `program`: a function or a program's whole name, where several have one of that name.

    Raises InputError, with what there is.
    """
    there = list_maps(namespace)
    same = [one for one in there if one.name == name]
    found = [one for one in same if program is None or any(_is_called(held, program) for held in one.programs)]
    if len(found) == 1:
        return found[0]
    if found:
        programs = ", ".join(" and ".join(one.programs) for one in found)
        raise InputError(f"map {name}: {len(found)} maps have this name, of {programs}; say which with --program")
    of = f" of program {program}" if program else ""
    known = ", ".join(sorted({one.name for one in there})) or "none: no program is attached"
    raise InputError(f"map {name}{of}: nothing attached has it; there are {known}")


def _is_called(name: str, wanted: str) -> bool:
    return name == wanted or name.partition(":")[0] == wanted


@contextmanager
def open_view(namespace: Namespace | None, reference: str, program: str | None = None) -> Iterator[MapView]:
    """A map by its name, by the path of a pin (`/…`) or by id (`id:12`), typed where its BTF can be had."""
    raw, btf = _open(namespace, reference, program)
    if btf is None:
        raw.definition = raw.definition._replace(btf_key_type_id=0, btf_value_type_id=0)
    with raw:
        yield MapView(raw, btf)


def _open(namespace: Namespace | None, reference: str, program: str | None) -> tuple[KernelMap, Btf | None]:
    if reference.startswith("/"):
        raw = map_at(reference)
        known = next((one for one in list_maps(namespace) if one.id == raw.id), None)
        return _typed(raw, known) if known else (raw, _kernel_btf(raw))
    if reference.startswith(_BY_ID):
        number = reference.removeprefix(_BY_ID)
        if not number.isdecimal():
            raise InputError(f"map {reference}: {number!r} is no id")
        raw = map_by_id(int(number))
        return raw, _kernel_btf(raw)
    found = find_map(namespace, reference, program)
    return _typed(open_map_of_ours(found.pin, found.id), found)


def _typed(raw: KernelMap, known: AttachedMap) -> tuple[KernelMap, Btf | None]:
    """A map with the types that the ledger has of it. The kernel's are of the program that made it, which may be gone;
    and the kernel has the first 15 characters of its name."""
    raw.definition = raw.definition._replace(
        name=known.name, btf_key_type_id=known.btf_key_type_id, btf_value_type_id=known.btf_value_type_id
    )
    try:
        return raw, read_btf_file(known.btf) if known.btf else None
    except InputError:
        return raw, None  # bytes can be shown all the same


def _kernel_btf(raw: KernelMap) -> Btf | None:
    btf_id = raw.info.btf_id
    try:
        return read_btf(btf_id) if btf_id else None
    except MissingError:
        return None  # without CAP_SYS_ADMIN
