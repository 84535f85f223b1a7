"""Memory of a ring: its start is to be seen again behind its end, so that no record is ever in two pieces."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref

from routebpf.runtime.memory import Memory, read

_MAP_FIXED = 0x10
_MAP_FAILED = ctypes.c_void_p(-1).value


class RingMemory:
    """Zeroed memory of `size` bytes at `address`, and the same bytes again behind them.

    Where the system cannot map memory twice, other bytes are behind them. A record that starts before the end and goes
    beyond it is whole all the same; only what is left there from older records differs.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory: Memory | None = None
        mapped = _map_twice(size)
        if mapped is None:
            self._memory = Memory(2 * size)
            mapped = self._memory.address
        else:
            weakref.finalize(self, _unmap, mapped, 2 * size)
        self.address = mapped

    def read(self, offset: int, size: int) -> bytes:
        return read(self.address + offset, size)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


def _map_twice(size: int) -> int | None:
    """The address of memory that is mapped twice, one after the other; None if this system cannot."""
    if not hasattr(os, "memfd_create") or size % mmap.PAGESIZE:
        return None
    try:
        fd = os.memfd_create("routebpf-ring")
    except OSError:
        return None
    try:
        os.ftruncate(fd, size)
        return _map_halves(fd, size)
    except OSError:
        return None
    finally:
        os.close(fd)


def _map_halves(fd: int, size: int) -> int | None:
    libc = _libc()
    start = libc.mmap(None, 2 * size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if start is None or start == _MAP_FAILED:
        return None
    access = mmap.PROT_READ | mmap.PROT_WRITE
    for half in (start, start + size):
        if libc.mmap(half, size, access, mmap.MAP_SHARED | _MAP_FIXED, fd, 0) != half:
            _unmap(start, 2 * size)
            return None
    return int(start)


def _unmap(address: int, size: int) -> None:
    _libc().munmap(address, size)
