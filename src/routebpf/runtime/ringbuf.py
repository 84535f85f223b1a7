"""Maps that are ring buffers, as user space has them."""

from __future__ import annotations

from collections.abc import Iterator

from routebpf.objects.model import MapDefinition
from routebpf.runtime.errno_values import E2BIG, ENOSPC, ENOTSUPP
from routebpf.runtime.maps import Map
from routebpf.runtime.memory import write
from routebpf.runtime.ring_memory import RingMemory
from routebpf.runtime.ringbuf_records import (
    HEADER_BYTES,
    RING_CONSUMER,
    RING_DATA,
    RING_MASK,
    RING_PRODUCER,
    next_record,
    pass_record,
    record_bytes,
)


class _Ring(Map):
    """A ring of `max_entries` bytes."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        self._ring = RingMemory(definition.max_entries)
        self._set(RING_DATA, self._ring.address)
        self._set(RING_MASK, definition.max_entries - 1)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Nothing: records have no keys."""
        return iter(())

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        raise self._error(ENOTSUPP, "lookup, but it is a ring buffer")

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        return -ENOTSUPP

    def _delete(self, key: bytes) -> int:
        return -ENOTSUPP

    def _next_key(self, key: bytes | None) -> bytes | None:
        raise self._error(ENOTSUPP, "get next key, but it is a ring buffer")


class RingBufMap(_Ring):
    """BPF_MAP_TYPE_RINGBUF: records of programs."""

    def consume(self) -> list[bytes]:
        """Take the records that programs submitted, in order, up to the first that is still reserved."""
        found = []
        while header := next_record(self.address):
            offset = header - self._ring.address
            size = int.from_bytes(self._ring.read(offset, 4), "little")
            found.append(self._ring.read(offset + HEADER_BYTES, size))
            pass_record(self.address, size)
        return found


class UserRingBufMap(_Ring):
    """BPF_MAP_TYPE_USER_RINGBUF: records for programs."""

    def submit(self, record: bytes) -> None:
        """Put a record into the ring. MapError as libbpf's user_ring_buffer__reserve(): ENOSPC if it is full now."""
        needed = record_bytes(len(record))
        if needed > self._ring.size:
            raise self._error(E2BIG, f"submit {len(record)} bytes, but it holds {self._ring.size - HEADER_BYTES}")
        producer = self._get(RING_PRODUCER)
        if needed > self._ring.size - (producer - self._get(RING_CONSUMER)):
            raise self._error(ENOSPC, f"submit {len(record)} bytes, but it is full; run a program that drains it")
        start = self._ring.address + (producer & (self._ring.size - 1))
        write(start, len(record).to_bytes(HEADER_BYTES, "little") + record)
        self._set(RING_PRODUCER, producer + needed)
