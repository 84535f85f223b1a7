"""Reading a BPF ring buffer: records in the order in which programs reserved them, each taken out once.

kernel: kernel/bpf/ringbuf.c. Two pages with positions stand before the data, which is mapped twice in a row, so a
record never wraps.
"""

from __future__ import annotations

import mmap
import select
import struct
from collections.abc import Iterator

from routebpf.errors import InputError
from routebpf.kernel.handle import Handle
from routebpf.kernel.maps import KernelMap
from routebpf.kernel.permission import permission_error
from routebpf.objects.model import MapDefinition

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_HEADER = struct.Struct("=I")
_HEADER_BYTES = 8


class RingBufReader(Handle):
    """The consumer of a ring buffer; there may be one. Close it, or use it in a `with`."""

    def __init__(self, ring: KernelMap) -> None:
        size = ring.definition.max_entries
        super().__init__(ring.duplicate_fd())
        self._mask = size - 1
        try:
            self._own_page = mmap.mmap(self.fd, mmap.PAGESIZE)
            self._data = mmap.mmap(self.fd, mmap.PAGESIZE + 2 * size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE)
            self._events = select.epoll(1)
            self._events.register(self.fd, select.EPOLLIN)
        except OSError as error:
            self.close()
            if isinstance(error, PermissionError):
                raise permission_error(f"map {ring.name}: read its records", {}) from error
            raise InputError(f"map {ring.name}: cannot map its records: {error.strerror}") from error
        # Positions count bytes since the ring was made. A view reads and writes them whole, as the kernel does.
        self._consumed = memoryview(self._own_page).cast("B")[:8].cast("Q")
        self._produced = memoryview(self._data).cast("B")[:8].cast("Q")

    def consume(self) -> list[bytes]:
        """Take out the records that are there."""
        return list(self._take())

    def records(self, timeout_seconds: float | None = None) -> Iterator[bytes]:
        """Take out records as they come, until none comes for that long; None waits for ever."""
        while True:
            some = False
            for record in self._take():
                some = True
                yield record
            if not some and not self._events.poll(timeout_seconds):
                return

    def _take(self) -> Iterator[bytes]:
        position = self._consumed[0]
        while position < self._produced[0]:
            place = mmap.PAGESIZE + (position & self._mask)
            (head,) = _HEADER.unpack_from(self._data, place)
            if head & _BUSY:
                return
            size = head & ~_DISCARDED
            start = place + _HEADER_BYTES
            record = None if head & _DISCARDED else self._data[start : start + size]
            position += _HEADER_BYTES + (size + 7 & ~7)
            self._consumed[0] = position
            if record is not None:
                yield record

    def close(self) -> None:
        """Give back its memory; what was not taken out stays in the ring."""
        for name in ("_consumed", "_produced"):
            if name in vars(self):
                getattr(self, name).release()
        for name in ("_events", "_own_page", "_data"):
            if name in vars(self):
                getattr(self, name).close()
        super().close()


class RingBufMap(KernelMap):
    """A BPF_MAP_TYPE_RINGBUF, which is read from when first asked."""

    def __init__(self, fd: int, definition: MapDefinition) -> None:
        super().__init__(fd, definition)
        self._reader: RingBufReader | None = None

    @property
    def reader(self) -> RingBufReader:
        if self._reader is None:
            self._reader = RingBufReader(self)
        return self._reader

    def consume(self) -> list[bytes]:
        """Take out the records that are there."""
        return self.reader.consume()

    def close(self) -> None:
        if "_reader" in vars(self) and self._reader is not None:
            self._reader.close()
        super().close()
