"""Running code as root without some capabilities, in a child of this process."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def without(names: tuple[str, ...], work: Callable[[], str]) -> str:
    """What `work` returns in a process that lacks these capabilities."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _drop(names)
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read().decode()
    os.waitpid(child, 0)
    return answer


def _drop(names: tuple[str, ...]) -> None:
    header = ctypes.create_string_buffer(struct.pack("<Ii", _VERSION, 0))
    data = ctypes.create_string_buffer(24)
    assert _libc.capget(header, data) == 0
    words = list(struct.unpack("<6I", data.raw))  # effective, permitted, inheritable; twice 32 bits
    for name in names:
        word, bit = divmod(NUMBERS[name], 32)
        words[3 * word] &= ~(1 << bit)
    data = ctypes.create_string_buffer(struct.pack("<6I", *words), 24)
    assert _libc.capset(header, data) == 0
