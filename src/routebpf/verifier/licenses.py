"""Licences that let a program call what the kernel keeps for the GPL (kernel: include/linux/license.h)."""

from __future__ import annotations

_COMPATIBLE = frozenset({"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"})


def is_gpl(license: str) -> bool:
    """Whether the kernel takes this for GPL-compatible."""
    return license in _COMPATIBLE
