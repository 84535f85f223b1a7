"""What the kernel itself tells of a map or program that is open here: /proc/self/fdinfo."""

from __future__ import annotations

from pathlib import Path


def fdinfo(fd: int) -> dict[str, str]:
    """The fields by name, such as map_type, max_entries, frozen, prog_tag."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
