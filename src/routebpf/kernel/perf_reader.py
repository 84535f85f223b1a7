"""Reading the samples that programs put out to a perf event array: a buffer for each CPU.

kernel: kernel/events/core.c, include/uapi/linux/perf_event.h. A buffer is a page of its state, then a ring of pages.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import select
import struct
from collections.abc import Iterator

from routebpf.errors import Error, InputError
from routebpf.kernel.handle import Handle
from routebpf.kernel.maps import KernelMap
from routebpf.kernel.permission import permission_error
from routebpf.kernel.running import online_cpus
from routebpf.kernel.syscall import MapDelete, bpf, buffer, syscall_numbers
from routebpf.objects.model import MapDefinition

DEFAULT_PAGES = 64  # of a CPU's buffer
_SOFTWARE, _BPF_OUTPUT = 1, 10  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT
_SAMPLE_RAW = 1 << 10
_CLOEXEC = 1 << 3
_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE
_RECORD_LOST, _RECORD_SAMPLE = 2, 9
_HEADER = struct.Struct("=IHH")  # type, misc, size
_HEAD, _TAIL = 1024 // 8, 1032 // 8  # of the state, in 8 bytes
_NEEDS = {"CAP_PERFMON": "to open perf events of a CPU"}
_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct perf_event_attr as it first was (PERF_ATTR_SIZE_VER0)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
    )


class _Buffer(Handle):
    """The buffer of a CPU. `lost`: how many samples found no room, as far as its records tell."""

    def __init__(self, cpu: int, pages: int) -> None:
        super().__init__(_open_event(cpu))
        self.cpu = cpu
        self.lost = 0
        self._size = pages * mmap.PAGESIZE
        try:
            self._memory = mmap.mmap(self.fd, mmap.PAGESIZE + self._size)
            fcntl.ioctl(self.fd, _ENABLE, 0)
        except OSError:
            self.close()
            raise
        # Positions count bytes. A view reads and writes them whole, as the kernel does.
        self._state = memoryview(self._memory).cast("B")[: mmap.PAGESIZE].cast("Q")

    def samples(self) -> Iterator[bytes]:
        """Take the samples out."""
        tail = self._state[_TAIL]
        while tail < self._state[_HEAD]:
            kind, _, size = _HEADER.unpack(self._read(tail, _HEADER.size))
            body = self._read(tail + _HEADER.size, size - _HEADER.size)
            tail += size
            self._state[_TAIL] = tail
            if kind == _RECORD_SAMPLE:
                yield body[4 : 4 + int.from_bytes(body[:4], "little")]
            elif kind == _RECORD_LOST:
                self.lost += int.from_bytes(body[8:16], "little")

    def _read(self, position: int, size: int) -> bytes:
        start = position % self._size
        first = self._memory[mmap.PAGESIZE + start : mmap.PAGESIZE + min(start + size, self._size)]
        rest = size - len(first)
        return first + self._memory[mmap.PAGESIZE : mmap.PAGESIZE + rest] if rest else first

    def close(self) -> None:
        if "_state" in vars(self):
            self._state.release()
        if "_memory" in vars(self):
            self._memory.close()
        super().close()


class PerfReader(Handle):
    """Buffers for the online CPUs, put into the slots of a perf event array. Close it, or use it in a `with`.

    `pages`: of each CPU's buffer, a power of two. Raises MissingError without CAP_PERFMON.
    """

    def __init__(self, array: KernelMap, *, pages: int = DEFAULT_PAGES) -> None:
        if pages < 1 or pages & (pages - 1):
            raise InputError(f"map {array.name}: {pages} pages for a buffer; give a power of two")
        super().__init__(array.duplicate_fd())
        self._events = select.epoll(1)
        self._buffers: list[_Buffer] = []
        try:
            for cpu in online_cpus():
                if cpu < array.definition.max_entries:
                    self._add(array, cpu, pages)
        except OSError as error:
            self.close()
            raise _refusal(array, error) from error
        except Error:
            self.close()
            raise

    def _add(self, array: KernelMap, cpu: int, pages: int) -> None:
        try:
            one = _Buffer(cpu, pages)
        except OSError as error:
            if error.errno == errno.ENODEV:  # it went offline meanwhile
                return
            raise
        self._buffers.append(one)
        self._events.register(one.fd, select.EPOLLIN)
        array.set_slot(cpu, one)

    @property
    def lost(self) -> int:
        """How many samples found no room. A buffer tells with the first sample that finds room again."""
        return sum(one.lost for one in self._buffers)

    def consume(self) -> list[tuple[int, bytes]]:
        """Take out the samples that are there: (CPU, data), CPU by CPU, in order.

        Zero bytes follow the data, up to 4 bytes below a multiple of 8.
        """
        return list(self._take())

    def samples(self, timeout_seconds: float | None = None) -> Iterator[tuple[int, bytes]]:
        """Take out samples as they come, until none comes for that long; None waits for ever."""
        while True:
            some = False
            for sample in self._take():
                some = True
                yield sample
            if not some and not self._events.poll(timeout_seconds):
                return

    def _empty_slot(self, cpu: int) -> None:
        """The array would keep the event, and programs would put out samples to nobody."""
        key = buffer(cpu.to_bytes(4, "little"))
        with contextlib.suppress(OSError):  # somebody else may have done so
            bpf(MapDelete(map_fd=self.fd, key=ctypes.addressof(key)))

    def _take(self) -> Iterator[tuple[int, bytes]]:
        return ((one.cpu, sample) for one in self._buffers for sample in one.samples())

    def close(self) -> None:
        """Close the buffers; programs that put out samples from then on get ENOENT."""
        if "_buffers" in vars(self):
            self._events.close()
            for one in self._buffers:
                self._empty_slot(one.cpu)
                one.close()
        super().close()


class PerfEventArrayMap(KernelMap):
    """A BPF_MAP_TYPE_PERF_EVENT_ARRAY. Samples are kept from when `open` is called, or it is first read."""

    def __init__(self, fd: int, definition: MapDefinition) -> None:
        super().__init__(fd, definition)
        self._reader: PerfReader | None = None

    def open(self, *, pages: int = DEFAULT_PAGES) -> PerfReader:
        """Open a buffer for each CPU, once; the reader closes with this map."""
        if self._reader is None:
            self._reader = PerfReader(self, pages=pages)
        return self._reader

    def consume(self) -> list[tuple[int, bytes]]:
        """Take out the samples that are there: (CPU, data)."""
        return self.open().consume()

    @property
    def lost(self) -> int:
        """How many samples found no room, as far as what was taken out tells."""
        return self._reader.lost if self._reader else 0

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Nothing: what slots hold are no values."""
        return iter(())

    def close(self) -> None:
        if vars(self).get("_reader"):
            self.open().close()
        super().close()


def _open_event(cpu: int) -> int:
    attributes = _Attributes(
        type=_SOFTWARE,
        size=ctypes.sizeof(_Attributes),
        config=_BPF_OUTPUT,
        sample_period=1,
        sample_type=_SAMPLE_RAW,
        wakeup_events=1,
    )
    fd: int = _libc.syscall(
        ctypes.c_long(syscall_numbers()[1]), ctypes.byref(attributes), -1, cpu, -1, ctypes.c_ulong(_CLOEXEC)
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd


def _refusal(array: KernelMap, error: OSError) -> Error:
    doing = f"map {array.name}: open perf buffers"
    if error.errno in (errno.EPERM, errno.EACCES):
        return permission_error(doing, _NEEDS)
    return InputError(f"{doing}: {error.strerror}")
