"""Every kfunc that an LWT program may call, found by name."""

from __future__ import annotations

from collections.abc import Mapping

from routebpf.spec.kfunc_row import Kfunc
from routebpf.spec.kfunc_rows import ROWS

KFUNCS: Mapping[str, Kfunc] = {row.name: row for row in ROWS}


def kfunc_by_name(name: str) -> Kfunc | None:
    """The kfunc of this name, or None."""
    return KFUNCS.get(name)
