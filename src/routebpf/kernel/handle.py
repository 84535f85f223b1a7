"""A file descriptor of the kernel's that has an owner."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType
from typing import Self


class Handle:
    """A file descriptor, closed with `close()`, at the end of a `with`, or at the latest when nobody holds this.

    What the kernel keeps by itself (a pinned map, a program on a route) outlives it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it; a second time does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def duplicate_fd(self) -> int:
        """A second file descriptor of the same thing, which the caller closes."""
        return fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if "fd" in vars(self):
            self.close()
