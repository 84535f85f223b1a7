"""What the running kernel and its machine are: version, CPUs, settings."""

from __future__ import annotations

import os
import re
from functools import cache

_CPU_FOLDER = "/sys/devices/system/cpu"


@cache
def kernel_version() -> tuple[int, int, int]:
    """Major, minor and patch level of the running kernel."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", os.uname().release)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else (0, 0, 0)


@cache
def possible_cpus() -> int:
    """How many CPUs this kernel could ever have: so many values a per-CPU entry has in bpf(2)."""
    cpus = cpu_list(setting(f"{_CPU_FOLDER}/possible") or "")
    return max(cpus) + 1 if cpus else os.cpu_count() or 1


def online_cpus() -> list[int]:
    """The CPUs that run now, by number."""
    return cpu_list(setting(f"{_CPU_FOLDER}/online") or "") or list(range(os.cpu_count() or 1))


def cpu_list(text: str) -> list[int]:
    """The numbers in a list of the kernel's, such as "0-3,8"."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def setting(path: str) -> str | None:
    """The content of a file of /proc or /sys without the newline, None where it cannot be read."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def lockdown() -> str:
    """What the kernel is locked down to: none, integrity or confidentiality (kernel_lockdown(7))."""
    found = re.search(r"\[(\w+)\]", setting("/sys/kernel/security/lockdown") or "")
    return found[1] if found else "none"
