"""Where the running kernel differs from the tables of `spec`: asked by loading programs, or read in its BTF."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from routebpf.errors import RejectedError
from routebpf.kernel.kernel_btf import kernel_btf
from routebpf.kernel.probe import load_probe
from routebpf.objects.btf_types import DeclTag, Enum, Kind
from routebpf.spec.context import CONTEXT_FIELDS, access_sizes
from routebpf.spec.helpers import HELPERS
from routebpf.spec.kfuncs import KFUNCS
from routebpf.spec.map_types import MAP_TYPES
from routebpf.spec.program_types import PROGRAM_TYPES

_TYPES = tuple(row.name for row in PROGRAM_TYPES)
_NOT_FOR_TYPE = ("program of this type cannot use helper", "unknown func", "invalid func")
# Metadata of XDP is registered for all types, and then refused to those that are bound to no device.
_NOT_CALLABLE = ("is not allowed", "metadata kfuncs")
_ZEROS = "r2 = 0\nr3 = 0\nr4 = 0\nr5 = 0\n"
_END = "r0 = 0\nexit"
_UNSIGNED = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
_MAP_PREFIX = "BPF_MAP_TYPE_"


class Difference(NamedTuple):
    """How the kernel differs from the row of that name, or what it has that the table has no row for."""

    name: str
    what: str


def kernel_differences(table: str) -> list[Difference]:
    """Where the running kernel differs from a table: "context", "helpers", "kfuncs" or "maps".

    Raises MissingError for a capability, or for kernel BTF, that asking takes.
    """
    return list(_FINDERS[table]())


def _context() -> Iterator[Difference]:
    for field in CONTEXT_FIELDS:
        for is_write in (False, True):
            ours = set(access_sizes(field, is_write=is_write))
            theirs = {program_type: _sizes(field.offset, program_type, is_write=is_write) for program_type in _TYPES}
            ways = "writes" if is_write else "reads"
            for program_type in (one for one in _TYPES if theirs[one] != ours):
                sizes = ", ".join(map(str, sorted(theirs[program_type]))) or "no"
                yield Difference(field.name, f"{program_type} {ways} {sizes} bytes")


def _sizes(offset: int, program_type: str, *, is_write: bool) -> set[int]:
    """In how many bytes at once the kernel lets a program of that type read, or write, the context there."""
    place = {size: f"*({kind} *)(r1 + {offset})" for size, kind in _UNSIGNED.items()}
    code = {size: f"r3 = 0\n{one} = r3\n" if is_write else f"r2 = {one}\n" for size, one in place.items()}
    return {size for size, text in code.items() if _log(text + _END, program_type) is None}


def _helpers() -> Iterator[Difference]:
    for row in HELPERS:
        theirs = _callers(f"{_ZEROS}call {row.name}#{row.id}\n{_END}", (), _NOT_FOR_TYPE)
        yield from _of_callers(row.name, row.program_types, theirs)


def _kfuncs() -> Iterator[Difference]:
    btf = kernel_btf()
    tags = map(btf.type, btf.ids_of(Kind.DECL_TAG))
    tagged = {btf.name(one.type_id) for one in tags if isinstance(one, DeclTag) and one.name == "bpf_kfunc"}
    there = tagged | {name for name in KFUNCS if btf.find(name, Kind.FUNC)}  # kernels before 6.10 have no such tags
    for name in sorted(there | KFUNCS.keys()):
        row = KFUNCS.get(name)
        theirs = _callers(f"{_ZEROS}call kfunc#0\n{_END}", (name,), _NOT_CALLABLE) if name in there else frozenset()
        yield from _of_callers(name, row.program_types if row else (), theirs)


def _maps() -> Iterator[Difference]:
    found = kernel_btf().find("bpf_map_type", Kind.ENUM)
    enum = kernel_btf().type(found) if found is not None else None
    values = enum.values if isinstance(enum, Enum) else ()
    theirs = {number: name.removeprefix(_MAP_PREFIX) for name, number in values if name.startswith(_MAP_PREFIX)}
    ours = {row.number: row.name for row in MAP_TYPES}
    yield from (Difference(name, "not there") for number, name in ours.items() if number not in theirs)
    new = theirs.keys() - ours.keys() - {0}
    yield from (Difference(theirs[number], f"there, number {number}") for number in sorted(new))


def _callers(code: str, kfuncs: tuple[str, ...], refusals: tuple[str, ...]) -> frozenset[str]:
    """The program types that may make a call: what else the kernel has against the program does not count."""
    logs = {one: _log(code, one, kfuncs) or "" for one in _TYPES}
    return frozenset(one for one, log in logs.items() if not any(words in log for words in refusals))


def _of_callers(name: str, ours: Iterable[str], theirs: frozenset[str]) -> Iterator[Difference]:
    if theirs != set(ours):
        types = ", ".join(one for one in _TYPES if one in theirs)
        yield Difference(name, f"for {types}" if types else "not there")


def _log(code: str, program_type: str, kfuncs: tuple[str, ...] = ()) -> str | None:
    """What the kernel's verifier says to a program that it refuses; None if it takes it."""
    try:
        load_probe(program_type, code, kfuncs).close()
    except RejectedError as error:
        return error.log
    return None


_FINDERS: dict[str, Callable[[], Iterator[Difference]]] = {
    "context": _context,
    "helpers": _helpers,
    "kfuncs": _kfuncs,
    "maps": _maps,
}
