"""A map of the running kernel with the interface of ours, and operations whose outcomes can be compared."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kernel_bpf import address, bpf, create_map
from routebpf.errors import MapError
from routebpf.objects.btf import Btf
from routebpf.objects.model import MapDefinition
from routebpf.runtime import maps

LOOKUP, UPDATE, DELETE, NEXT_KEY, LOOKUP_AND_DELETE, FREEZE = 1, 2, 3, 4, 21, 22
POSSIBLE_CPUS = 1 + int(Path("/sys/devices/system/cpu/possible").read_text().split("-")[-1])
PER_CPU = (5, 6, 10)
KEYLESS = (22, 23, 30)

Outcome = bytes | int | None


class KernelMap:
    """A map by bpf(2). Operations give bytes, None for success with nothing to say, or a negative errno."""

    def __init__(self, definition: MapDefinition, fd: int | None = None) -> None:
        """A new map, or the one that `fd` is."""
        self.definition = definition
        size = definition.value_size
        self.value_size = POSSIBLE_CPUS * (size + 7 & ~7) if definition.type in PER_CPU else size
        self.fd = self._create() if fd is None else fd

    def _create(self) -> int:
        definition = self.definition
        inner = KernelMap(definition.inner) if definition.inner else None
        fd, error = create_map(
            definition.type,
            definition.key_size,
            definition.value_size,
            definition.max_entries,
            flags=definition.flags,
            inner_fd=inner.fd if inner else 0,
            map_extra=definition.map_extra,
        )
        if inner:
            inner.close()
        if fd is None:
            raise MapError(error, "create")
        return fd

    def close(self) -> None:
        os.close(self.fd)

    def _call(self, command: int, key: bytes | None, value: bytes | None, flags: int = 0) -> tuple[int, bytes]:
        has_key = key is not None and self.definition.type not in KEYLESS
        k = ctypes.create_string_buffer(key, max(len(key), 1)) if has_key else None
        v = ctypes.create_string_buffer(value, len(value)) if value is not None else None
        attributes = struct.pack("<IIQQQ", self.fd, 0, address(k) if k else 0, address(v) if v else 0, flags)
        _, error, _ = bpf(command, attributes)
        return error, v.raw if v else b""

    def lookup(self, key: bytes, flags: int = 0) -> Outcome:
        error, value = self._call(LOOKUP, key, bytes(self.value_size), flags)
        return -error or value

    def update(self, key: bytes, value: bytes, flags: int = 0) -> Outcome:
        return -self._call(UPDATE, key, value, flags)[0] or None

    def delete(self, key: bytes) -> Outcome:
        return -self._call(DELETE, key, None)[0] or None

    def next_key(self, key: bytes | None) -> Outcome:
        error, found = self._call(NEXT_KEY, key, bytes(self.definition.key_size))
        return -error or found

    def push(self, value: bytes, flags: int = 0) -> Outcome:
        return self.update(b"", value, flags)

    def pop(self) -> Outcome:
        error, value = self._call(LOOKUP_AND_DELETE, b"", bytes(self.value_size))
        return -error or value

    def peek(self) -> Outcome:
        return self.lookup(b"")

    def contains(self, value: bytes) -> Outcome:
        return -self._call(LOOKUP, b"", value)[0] or None

    def freeze(self) -> Outcome:
        return -bpf(FREEZE, struct.pack("<I", self.fd))[1] or None

    def items(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        key = self.next_key(None)
        while isinstance(key, bytes):
            value = self.lookup(key)
            if isinstance(value, bytes):
                found[key] = value
            key = self.next_key(key)
        return found


class OurMap:
    """Ours, with a negative errno where it raises one."""

    def __init__(self, definition: MapDefinition, btf: Btf | None = None) -> None:
        self.map = maps.create_map(definition, cpus=POSSIBLE_CPUS, btf=btf)

    def __getattr__(self, name: str) -> object:
        operation = getattr(self.map, name)

        def call(*arguments: object) -> object:
            try:
                result = operation(*arguments)
            except MapError as error:
                return -error.errno
            if name == "contains":
                return None if result else -2
            return -2 if result is None and name in ("lookup", "next_key", "pop", "peek") else result

        return call

    def items(self) -> dict[bytes, bytes]:
        return dict(self.map.items())


@contextmanager
def both(definition: MapDefinition) -> Iterator[tuple[OurMap, KernelMap]]:
    """The same map twice, while this thread stays on CPU 0."""
    before = os.sched_getaffinity(0)
    theirs = KernelMap(definition)
    try:
        os.sched_setaffinity(0, {0})
        yield OurMap(definition), theirs
    finally:
        os.sched_setaffinity(0, before)
        theirs.close()


def create_outcome(definition: MapDefinition) -> tuple[int, int]:
    """(our errno, the kernel's errno) of a create, 0 where it succeeds."""
    outcomes = []
    for kind in (OurMap, KernelMap):
        outcome = 0
        try:
            made = kind(definition)
            with suppress(AttributeError, TypeError):
                made.close()
        except MapError as error:
            outcome = error.errno
        outcomes.append(outcome)
    return outcomes[0], outcomes[1]
