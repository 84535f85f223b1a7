"""Memory that grows: records are taken from it and filled in, and stay where they are as long as it lives."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from routebpf.runtime.memory import Memory, write

_CHUNK_BYTES = 1 << 16
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


class Image:
    """Records in memory, zeroed when taken."""

    def __init__(self) -> None:
        self._chunks: list[Memory] = []
        self._free = 0
        self._used = 0

    def take(self, size: int) -> int:
        """The address of `size` bytes, aligned to 8."""
        size = -(-size // 8) * 8
        if not self._chunks or self._used + size > self._chunks[-1].size:
            self._chunks.append(Memory(max(size, _CHUNK_BYTES)))
            self._used = 0
        address = self._chunks[-1].address + self._used
        self._used += size
        return address

    def put64(self, record: int, fields: Mapping[int, int]) -> None:
        """Write 64-bit fields, by offset."""
        for offset, value in fields.items():
            write(record + offset, _U64.pack(value & 0xFFFFFFFFFFFFFFFF))

    def put32(self, record: int, fields: Mapping[int, int]) -> None:
        """Write 32-bit fields, by offset."""
        for offset, value in fields.items():
            write(record + offset, _U32.pack(value & 0xFFFFFFFF))
