"""Fields of a map's value that belong to the kernel: locks, timers, lists. kernel: kernel/bpf/btf.c.

User space reads them as zero and its updates leave them alone.
"""

from __future__ import annotations

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Composite
from routebpf.runtime.map_layout import MAX_FIELDS

_FIELDS = frozenset(
    (
        *("bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work", "bpf_refcount"),
        *("bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node"),
    )
)
_MAX_NESTING = 4  # kernel: MAX_RESOLVE_DEPTH of fields


def kernel_fields(btf: Btf, value_type_id: int) -> tuple[tuple[str, int, int], ...]:
    """(struct's name, offset, bytes) of each such field of a value of that type, by offset."""
    if not value_type_id:
        return ()
    found: list[tuple[str, int, int]] = []
    _collect(btf, value_type_id, 0, found, 0)
    return tuple(sorted(found, key=lambda one: one[1])[:MAX_FIELDS])


def _collect(btf: Btf, type_id: int, offset: int, found: list[tuple[str, int, int]], depth: int) -> None:
    _, kind = btf.strip(type_id)
    if isinstance(kind, Array):
        _, element = btf.strip(kind.type_id)
        if isinstance(element, Composite) and kind.length <= MAX_FIELDS:
            for number in range(kind.length):
                _collect(btf, kind.type_id, offset + number * element.size, found, depth)
    if not isinstance(kind, Composite):
        return
    if kind.name in _FIELDS:
        found.append((kind.name, offset, kind.size))
    elif depth < _MAX_NESTING:
        for member in kind.members:
            if not member.bits:
                _collect(btf, member.type_id, offset + member.bit_offset // 8, found, depth + 1)
