"""Creating a map in the kernel as an object defines it. kernel: kernel/bpf/syscall.c, map_create()."""

from __future__ import annotations

import errno
from contextlib import ExitStack

from routebpf.errors import Error, InputError, MapError
from routebpf.kernel.map_open import open_map
from routebpf.kernel.maps import KernelMap
from routebpf.kernel.permission import permission_error
from routebpf.kernel.running import possible_cpus
from routebpf.kernel.syscall import MapCreate, bpf, kernel_name
from routebpf.objects.model import PROG_ARRAY, MapDefinition, MapKind
from routebpf.spec.map_types import map_type_by_number

_PERF_EVENT_ARRAY = 4
# Their values are the kernel's own; it takes no types for them.
_UNTYPED = frozenset((PROG_ARRAY, _PERF_EVENT_ARRAY, 7, 8, 12, 13, 14, 15, 16, 17, 18, 25))
_KEYLESS_TYPED = frozenset((MapKind.DATA, MapKind.RODATA, MapKind.BSS, MapKind.KCONFIG))
_BLOOM_FILTER = 30
_NET_ADMIN = frozenset((14, 15, 17, 18, 25))


def create_map(definition: MapDefinition, *, btf_fd: int = 0) -> KernelMap:
    """A new map; `btf_fd` is the loaded BTF of the object, 0 if it has none.

    Global data holds its initial value, and is frozen where it is read-only. Slots are empty: see `set_slot`. Raises
    MapError with the kernel's errno and MissingError for a capability that is missing.
    """
    if definition.type == _PERF_EVENT_ARRAY and not definition.max_entries:
        definition = definition._replace(max_entries=possible_cpus())
    with ExitStack() as undo:
        made = undo.enter_context(open_map(_create(definition, btf_fd), definition))
        if definition.data is not None:
            made.update(bytes(4), definition.data)
        if definition.read_only:
            made.freeze()
        undo.pop_all()
    return made


def _create(definition: MapDefinition, btf_fd: int) -> int:
    attributes = _attributes(definition)
    if btf_fd and _is_typed(definition):
        attributes.btf_fd = btf_fd
        attributes.btf_key_type_id = definition.btf_key_type_id
        attributes.btf_value_type_id = definition.btf_value_type_id
    with ExitStack() as prototype:
        if definition.inner:
            # Only its definition counts: the kernel remembers what maps may go in.
            attributes.inner_map_fd = prototype.enter_context(create_map(definition.inner, btf_fd=btf_fd)).fd
        try:
            return bpf(attributes)
        except OSError as error:
            raise _refusal(definition, error.errno or 0) from error


def _is_typed(definition: MapDefinition) -> bool:
    """Whether the kernel takes types for it: of keys too, unless it has none. kernel: map_check_btf()."""
    if not definition.btf_value_type_id or definition.type in _UNTYPED:
        return False
    return bool(definition.btf_key_type_id or definition.kind in _KEYLESS_TYPED or definition.type == _BLOOM_FILTER)


def _attributes(definition: MapDefinition) -> MapCreate:
    try:
        return MapCreate(
            map_type=_u32(definition, "type"),
            key_size=_u32(definition, "key_size"),
            value_size=_u32(definition, "value_size"),
            max_entries=_u32(definition, "max_entries"),
            map_flags=_u32(definition, "flags"),
            numa_node=_u32(definition, "numa_node"),
            map_name=kernel_name(definition.name),
            map_extra=definition.map_extra,
        )
    except OverflowError:
        raise InputError(f"map {definition.name}: its definition has a number beyond 32 bits") from None


def _u32(definition: MapDefinition, field: str) -> int:
    value: int = getattr(definition, field)
    if not 0 <= value < 1 << 32:
        raise OverflowError
    return value


def _refusal(definition: MapDefinition, number: int) -> Error:
    row = map_type_by_number(definition.type)
    name = row.name if row else f"type {definition.type}"
    doing = (
        f"map {definition.name}: create {name} with max_entries {definition.max_entries:,},"
        f" key_size {definition.key_size}, value_size {definition.value_size:,}, flags {definition.flags:#x}"
    )
    if number == errno.EPERM:
        return permission_error(doing, needs(definition))
    advice = _ADVICE.get(number, "")
    if number == errno.EINVAL and row:
        advice = f"{name}: {row.doc}"
    return MapError(number, doing, advice)


_ADVICE = {
    errno.E2BIG: "it would be too large; give it a smaller max_entries or smaller values",
    errno.ENOMEM: "there is no memory for it; give it a smaller max_entries, or more memory (limits of cgroups count)",
}


def needs(definition: MapDefinition) -> dict[str, str]:
    """The capabilities that creating such a map takes, with what for."""
    wanted = {"CAP_BPF": "to create maps"}
    if definition.type in _NET_ADMIN:
        wanted["CAP_NET_ADMIN"] = "to create maps of devices and sockets"
    return wanted
