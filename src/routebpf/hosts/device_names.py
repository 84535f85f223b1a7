"""Which names devices can have. kernel: net/core/dev.c, dev_valid_name()."""

from __future__ import annotations

LONGEST_NAME = 15  # kernel: IFNAMSIZ, less the NUL


def is_device_name(name: str) -> bool:
    """Whether a device can have that name."""
    is_short = 0 < len(name.encode("utf-8", "surrogateescape")) <= LONGEST_NAME
    return is_short and name not in (".", "..") and not any(one in "/:" or one.isspace() for one in name)
