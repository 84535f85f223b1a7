"""Every helper of the kernel's enum bpf_func_id, ids 1 to 211, found by id or by name."""

from __future__ import annotations

from routebpf.spec import helper_rows_early, helper_rows_late, other_helpers
from routebpf.spec.helper_row import Helper

_OTHERS = (Helper(number, name, since) for number, since, name in other_helpers.ROWS)
HELPERS: tuple[Helper, ...] = tuple(
    sorted((*helper_rows_early.ROWS, *helper_rows_late.ROWS, *_OTHERS), key=lambda row: row.id)
)
_BY_ID = {row.id: row for row in HELPERS}
_BY_NAME = {row.name: row for row in HELPERS}


def helper_by_id(number: int) -> Helper | None:
    """The helper with this id, or None if the kernel has none."""
    return _BY_ID.get(number)


def helper_by_name(name: str) -> Helper | None:
    """The helper of this name ("bpf_…"), or None."""
    return _BY_NAME.get(name)


def helper_name(number: int) -> str | None:
    """The name of the helper with this id ("bpf_…"), or None."""
    row = _BY_ID.get(number)
    return row.name if row else None


def helper_number(name: str) -> int | None:
    """The id of the helper of this name ("bpf_…"), or None."""
    row = _BY_NAME.get(name)
    return row.id if row else None
