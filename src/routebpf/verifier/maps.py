"""What the verifier knows of a map: its type, sizes, special fields, and its contents if nothing can change them.

kernel: struct bpf_map, as kernel/bpf/verifier.c uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from routebpf.objects.btf import Btf
from routebpf.objects.model import MapDefinition
from routebpf.spec import MapType, map_type_by_number
from routebpf.verifier.map_fields import Field, FieldKind, fields_of

BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG = 1 << 7, 1 << 8


@dataclass(frozen=True, slots=True, eq=False)
class MapFacts:
    """A map. `index` in the program's maps, None for an inner map. `contents` only of one that is frozen."""

    index: int | None
    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    row: MapType | None
    has_btf: bool
    fields: tuple[Field, ...]
    inner: MapFacts | None
    contents: bytes | None

    def has(self, kinds: Iterable[FieldKind]) -> bool:
        """Whether the value has a field of one of these kinds (kernel: btf_record_has_field())."""
        wanted = frozenset(kinds)
        return any(field.kind in wanted for field in self.fields)

    def field_at(self, offset: int, kinds: Iterable[FieldKind]) -> Field | None:
        """kernel: btf_record_find()."""
        wanted = frozenset(kinds)
        return next((field for field in self.fields if field.offset == offset and field.kind in wanted), None)

    def offset_of(self, kind: FieldKind) -> int:
        """The offset of the field of this kind, -1 if there is none."""
        return next((field.offset for field in self.fields if field.kind is kind), -1)


def map_facts(definition: MapDefinition, index: int | None, btf: Btf | None) -> MapFacts:
    """What is known of a map by its definition; `btf` is that of its object."""
    has_btf = bool(btf is not None and definition.btf_value_type_id)
    fields = fields_of(btf, definition.btf_value_type_id) if btf is not None and has_btf else ()
    row = map_type_by_number(definition.type)
    flags = definition.flags | (BPF_F_RDONLY_PROG if row is not None and row.programs_only_read else 0)
    inner = map_facts(definition.inner, None, btf) if definition.inner is not None else None
    return MapFacts(
        index,
        definition.name if index is not None else "",  # the kernel knows an inner map by its kind alone
        definition.type,
        definition.key_size,
        definition.value_size,
        definition.max_entries,
        flags | (BPF_F_RDONLY_PROG if definition.read_only else 0),
        row,
        has_btf,
        fields,
        inner,
        definition.data if definition.read_only else None,
    )
