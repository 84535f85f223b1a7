"""Perf event arrays: a buffer of samples for each CPU, open from the start."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from routebpf.errors import InputError
from routebpf.objects.model import MapDefinition
from routebpf.runtime.errno_values import E2BIG, ENOENT, ENOTSUPP
from routebpf.runtime.maps import Map
from routebpf.runtime.memory import Memory
from routebpf.runtime.perf_output import (
    BUFFER_BYTES,
    BUFFER_CPU,
    BUFFER_DATA,
    BUFFER_HEAD,
    BUFFER_LOST,
    BUFFER_MASK,
    BUFFER_TAIL,
    HEADER_BYTES,
    PERF_SLOTS,
    RECORD_SAMPLE,
)
from routebpf.runtime.ring_memory import RingMemory

PAGE_BYTES = 4096
DEFAULT_PAGES = 64  # of a CPU's buffer
_HEADER = struct.Struct("<IHH")  # type, misc, size


class _Buffer:
    """The buffer of a CPU."""

    def __init__(self, cpu: int, pages: int) -> None:
        self.cpu = cpu
        self.ring = RingMemory(pages * PAGE_BYTES)
        self.fields = Memory(BUFFER_BYTES)
        for offset, value in (
            (BUFFER_DATA, self.ring.address),
            (BUFFER_MASK, self.ring.size - 1),
            (BUFFER_CPU, cpu),
        ):
            self.write(offset, value)

    def read(self, offset: int) -> int:
        return int.from_bytes(self.fields.read(offset, 8), "little")

    def write(self, offset: int, value: int) -> None:
        self.fields.write(offset, value.to_bytes(8, "little"))

    def samples(self) -> Iterator[bytes]:
        """Take the samples out."""
        tail, head = self.read(BUFFER_TAIL), self.read(BUFFER_HEAD)
        while tail < head:
            start = tail & self.ring.size - 1
            kind, _, size = _HEADER.unpack(self.ring.read(start, HEADER_BYTES))
            if kind == RECORD_SAMPLE:
                raw_size = int.from_bytes(self.ring.read(start + HEADER_BYTES, 4), "little")
                yield self.ring.read(start + HEADER_BYTES + 4, raw_size)
            tail += size
            self.write(BUFFER_TAIL, tail)


class PerfEventArrayMap(Map):
    """BPF_MAP_TYPE_PERF_EVENT_ARRAY: slot N holds the buffer of CPU N; slots beyond the CPUs are empty.

    max_entries 0 stands for the number of CPUs. `pages`: of 4096 bytes, a power of two, for each buffer.
    """

    def __init__(self, definition: MapDefinition, cpus: int = 1, *, pages: int = DEFAULT_PAGES) -> None:
        super().__init__(definition._replace(max_entries=definition.max_entries or cpus), cpus)
        slots = self.definition.max_entries
        self._slots = Memory(8 * slots)
        self._set(PERF_SLOTS, self._slots.address)
        self._buffers = [_Buffer(cpu, pages) for cpu in range(min(cpus, slots))]
        for one in self._buffers:
            self._put(one.cpu, one.fields.address)

    def consume(self) -> list[tuple[int, bytes]]:
        """Take the samples out: CPU by CPU, in order.

        As the kernel gives them: bytes follow the data, up to 4 bytes below a multiple of 8. Here they are zero.
        """
        return [(one.cpu, sample) for one in self._buffers for sample in one.samples()]

    @property
    def lost(self) -> int:
        """How many samples found no room."""
        return sum(one.read(BUFFER_LOST) for one in self._buffers)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Nothing: what slots hold are no values."""
        return iter(())

    def _put(self, index: int, address: int) -> None:
        self._slots.write(8 * index, address.to_bytes(8, "little"))

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        raise self._error(ENOTSUPP, "lookup, but its slots hold perf buffers")

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        raise InputError(f"map {self.name}: its slots hold the perf buffers of the CPUs from the start")

    def _delete(self, key: bytes) -> int:
        """Close a slot."""
        index = int.from_bytes(key, "little")
        if index >= self.definition.max_entries:
            return -E2BIG
        if self._slots.read(8 * index, 8) == bytes(8):
            return -ENOENT
        self._put(index, 0)
        return 0

    def _next_key(self, key: bytes | None) -> bytes | None:
        index = int.from_bytes(key, "little") + 1 if key is not None else 0
        if index > self.definition.max_entries:
            return bytes(4)
        return index.to_bytes(4, "little") if index < self.definition.max_entries else None
