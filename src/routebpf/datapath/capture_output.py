"""Where a capture is written: beside its place under another name, and there only once it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from routebpf.errors import InputError


class _Compressor(Protocol):
    def compress(self, data: memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Output:
    """A file being written, or standard output for "-". A pipe or a device is written directly.

    Raises InputError wherever the system refuses; what was written is gone then.
    """

    def __init__(self, path: str) -> None:
        """Open it; compressed if the path ends in .gz or .zst."""
        self.path = path
        self._compressor = _compressor_of(path)
        self._temporary: Path | None = None
        try:
            self._file = self._open()
        except OSError as error:
            raise InputError(f"cannot write the capture {path}: {error.strerror}") from None

    def write(self, data: memoryview) -> None:
        """Write bytes; they are copied."""
        try:
            self._file.write(self._compressor.compress(data) if self._compressor else data)
        except OSError as error:
            self._refuse(error)

    def close(self) -> None:
        """Complete the file and put it in its place."""
        try:
            if self._compressor:
                self._file.write(self._compressor.flush())
            self._file.flush()
            self._file.close()
            if self._temporary:
                os.replace(self._temporary, self._target)
        except OSError as error:
            self._refuse(error)

    def abort(self) -> None:
        """Stop: the file's place stays as it was."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._temporary:
            self._temporary.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self.path == "-":
            return open(sys.__stdout__.fileno() if sys.__stdout__ else 1, "wb", closefd=False)
        # A link stays, and what it points to is replaced.
        self._target = Path(os.path.realpath(self.path))
        mode = _mode_of(self._target)
        if mode is not None and not stat.S_ISREG(mode):
            return open(self._target, "wb")
        if mode is not None and not os.access(self._target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        temporary = self._target.with_name(f".{self._target.name}.{secrets.token_hex(4)}")
        file = open(temporary, "xb")  # noqa: SIM115 (close and abort close it)
        self._temporary = temporary
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        return file

    def _refuse(self, error: OSError) -> NoReturn:
        self.abort()
        advice = "; free some space, or write it elsewhere" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise InputError(f"cannot write the capture {self.path} any further: {error.strerror}{advice}") from None


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _compressor_of(path: str) -> _Compressor | None:
    if path.endswith(".gz"):
        import zlib

        return zlib.compressobj(wbits=31)
    if path.endswith(".zst"):
        import zstandard

        return zstandard.ZstdCompressor().compressobj()
    return None
