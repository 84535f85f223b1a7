"""Compressed captures as streams of their content: gzip (RFC 1952) and zstd (RFC 8878), told by their first bytes.

A stream gives everything before damage, then raises `DamagedStreamError`. Its memory does not grow with what it reads.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from zlib import _Decompress

_INPUT_BYTES = 1 << 16
_GZIP_WINDOW = 31  # zlib's wbits for a gzip header and 32 KiB of history
_ZSTD_SLICE = 512  # zstandard gives all that its input holds at once, up to 32,768 times as much

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # of the magic 0x184D2A50 to …5F, little-endian, without its first byte


class DamagedStreamError(Exception):
    """What is wrong with a compressed stream."""


class ByteStream(Protocol):
    """Where bytes come from: a raw file, or what decompresses one."""

    def readinto(self, room: memoryview, /) -> int | None:
        """Fill some of `room`, wait for at least one byte: how many; 0 at the end."""


def decompressed(file: io.RawIOBase, head: bytes) -> ByteStream | None:
    """The content of a file that starts with `head`, which was read already; None: it is not compressed."""
    if head.startswith(GZIP_MAGIC):
        return _Gzip(file, head)
    if head.startswith(ZSTD_MAGIC) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] >> 4 == 5):
        return _Zstd(file, head)
    return None


class _Gzip:
    """All members of a gzip file, one after the other; zeros behind the last are padding."""

    def __init__(self, file: io.RawIOBase, head: bytes) -> None:
        import zlib

        self._zlib = zlib
        self._file = file
        self._input = head
        self._decoder = zlib.decompressobj(_GZIP_WINDOW)
        self._damage = ""

    def readinto(self, room: memoryview, /) -> int:
        while not self._damage:
            if self._decoder.eof and not self._next_member():
                return 0
            data = self._decode(len(room))
            if data:
                room[: len(data)] = data
                return len(data)
            if not self._input and not self._decoder.eof and not self._damage:
                self._input = self._file.read(_INPUT_BYTES) or b""
                if not self._input:
                    self._damage = "the gzip stream is cut short"
        raise DamagedStreamError(self._damage)

    def _decode(self, most: int) -> bytes:
        if not self._input:
            return self._decoder.decompress(b"", most)
        before = self._decoder.copy()
        try:
            data = self._decoder.decompress(self._input, most)
        except self._zlib.error as error:
            self._damage = f"the gzip stream is damaged ({error})"
            return self._before_damage(before, most)
        self._input = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
        return data

    def _before_damage(self, decoder: _Decompress, most: int) -> bytes:
        """What the input holds before the byte that zlib stumbles at: zlib itself gives nothing of the whole."""
        parts: list[bytes] = []
        for number in range(len(self._input)):
            try:
                part = decoder.decompress(self._input[number : number + 1], most)
            except self._zlib.error:
                break
            parts.append(part)
            most -= len(part)
            if most == 0:
                break
        return b"".join(parts)

    def _next_member(self) -> bool:
        while not self._input.strip(b"\0"):
            self._input = self._file.read(_INPUT_BYTES) or b""
            if not self._input:
                return False
        self._input = self._input.lstrip(b"\0")
        self._decoder = self._zlib.decompressobj(_GZIP_WINDOW)
        return True


class _Zstd:
    """All frames of a zstd file, one after the other."""

    def __init__(self, file: io.RawIOBase, head: bytes) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._new_decoder: Callable[[], zstandard.ZstdDecompressionObj] = zstandard.ZstdDecompressor().decompressobj
        self._file = file
        self._input = memoryview(head)
        self._decoder = self._new_decoder()
        self._is_in_frame = False
        self._output = memoryview(b"")

    def readinto(self, room: memoryview, /) -> int:
        while not self._output:
            if not self._input:
                self._input = memoryview(self._file.read(_INPUT_BYTES) or b"")
                if not self._input:
                    if self._is_in_frame:
                        raise DamagedStreamError("the zstd stream is cut short")
                    return 0
            self._decode()
        size = min(len(room), len(self._output))
        room[:size] = self._output[:size]
        self._output = self._output[size:]
        return size

    def _decode(self) -> None:
        piece = self._input[:_ZSTD_SLICE]
        try:
            self._output = memoryview(self._decoder.decompress(piece))
        except self._error as error:
            raise DamagedStreamError(f"the zstd stream is damaged ({error})") from None
        self._input = self._input[len(piece) - len(self._decoder.unused_data) :]
        self._is_in_frame = not self._decoder.eof
        if self._decoder.eof:
            self._decoder = self._new_decoder()
