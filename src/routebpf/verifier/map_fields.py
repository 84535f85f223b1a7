"""The special fields of a map's value: locks, timers, kernel pointers, by its BTF type.

kernel: kernel/bpf/btf.c, btf_parse_fields(), struct btf_record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Composite, Datasec, Kind, Ptr, Qualifier, Var


class FieldKind(Enum):
    """By the name of the C type (kernel: btf_field_type_name())."""

    SPIN_LOCK = "bpf_spin_lock"
    RES_SPIN_LOCK = "bpf_res_spin_lock"
    TIMER = "bpf_timer"
    WORKQUEUE = "bpf_wq"
    TASK_WORK = "bpf_task_work"
    LIST_HEAD = "bpf_list_head"
    LIST_NODE = "bpf_list_node"
    RB_ROOT = "bpf_rb_root"
    RB_NODE = "bpf_rb_node"
    REFCOUNT = "bpf_refcount"
    KPTR_UNREF = "kptr"
    KPTR_REF = "kptr "
    KPTR_PERCPU = "percpu_kptr"
    UPTR = "uptr"

    @property
    def label(self) -> str:
        return self.value.strip()


# Of the kernel's structs; one of another size is no special field (kernel: btf_find_struct()).
_SIZES = {
    FieldKind.SPIN_LOCK: 4,
    FieldKind.RES_SPIN_LOCK: 4,
    FieldKind.TIMER: 16,
    FieldKind.WORKQUEUE: 16,
    FieldKind.TASK_WORK: 8,
    FieldKind.LIST_HEAD: 16,
    FieldKind.LIST_NODE: 24,
    FieldKind.RB_ROOT: 16,
    FieldKind.RB_NODE: 32,
    FieldKind.REFCOUNT: 4,
}
KERNEL_POINTERS = frozenset({FieldKind.KPTR_UNREF, FieldKind.KPTR_REF, FieldKind.KPTR_PERCPU, FieldKind.UPTR})
LOCKS = frozenset({FieldKind.SPIN_LOCK, FieldKind.RES_SPIN_LOCK})
_STRUCTS = {kind.value: kind for kind in FieldKind if kind.value.startswith("bpf_")}
_TAGS = {
    "kptr_untrusted": FieldKind.KPTR_UNREF,
    "kptr": FieldKind.KPTR_REF,
    "percpu_kptr": FieldKind.KPTR_PERCPU,
    "uptr": FieldKind.UPTR,
}
_MOST_FIELDS = 11
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Field:
    """A special field: byte `offset` and `size`; `pointee` is the name of the struct that a kernel pointer is to."""

    kind: FieldKind
    offset: int
    size: int
    pointee: str = ""


def fields_of(btf: Btf, type_id: int) -> tuple[Field, ...]:
    """The special fields of a type, by offset."""
    found = sorted(_walk(btf, type_id, 0, 0), key=lambda field: field.offset)
    return tuple(found[:_MOST_FIELDS])


def _walk(btf: Btf, type_id: int, offset: int, depth: int) -> Iterator[Field]:
    if depth > _DEEPEST:
        return
    _, held = btf.strip(type_id)
    if isinstance(held, Composite):
        for member in held.members:
            if not member.bits:
                yield from _field(btf, member.type_id, offset + member.bit_offset // 8, depth)
    elif isinstance(held, Datasec):
        for variable in held.variables:
            var = btf.type(variable.type_id)
            if isinstance(var, Var):
                yield from _field(btf, var.type_id, offset + variable.offset, depth)


def _field(btf: Btf, type_id: int, offset: int, depth: int) -> Iterator[Field]:
    tagged = _kernel_pointer(btf, type_id)
    if tagged is not None:
        yield Field(tagged[0], offset, 8, tagged[1])
        return
    stripped_id, held = btf.strip(type_id)
    if isinstance(held, Array):
        size = btf.size_of(held.type_id)
        for index in range(min(held.length, _MOST_FIELDS + 1)):
            yield from _field(btf, held.type_id, offset + index * size, depth)
    elif isinstance(held, Composite):
        kind = _STRUCTS.get(held.name)
        if kind is not None and held.size == _SIZES[kind]:
            yield Field(kind, offset, held.size)
        elif kind is None:
            yield from _walk(btf, stripped_id, offset, depth + 1)


def _kernel_pointer(btf: Btf, type_id: int) -> tuple[FieldKind, str] | None:
    """(kind, name of the struct) of a pointer whose target is tagged."""
    held = btf.type(type_id)
    while isinstance(held, Qualifier) and held.kind is not Kind.TYPE_TAG:
        held = btf.type(held.type_id)
    if not isinstance(held, Ptr):
        return None
    target = btf.type(held.type_id)
    if not isinstance(target, Qualifier) or target.kind is not Kind.TYPE_TAG or target.name not in _TAGS:
        return None
    return _TAGS[target.name], btf.name(btf.strip(target.type_id)[0])
