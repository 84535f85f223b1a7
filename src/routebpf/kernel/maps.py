"""A map in the kernel, as `runtime.maps.Map` is one of the embedded host: bytes in, bytes out, the kernel's errno.

kernel: kernel/bpf/syscall.c, map_lookup_elem() and its like.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from routebpf.errors import InputError, MapError
from routebpf.kernel.handle import Handle
from routebpf.kernel.map_batch import list_entries
from routebpf.kernel.running import possible_cpus
from routebpf.kernel.syscall import (
    ENOTSUPP,
    Buffer,
    MapDelete,
    MapElement,
    MapFreeze,
    MapInfoStruct,
    MapLookup,
    MapNextKey,
    MapTake,
    MapUpdate,
    bpf,
    buffer,
    fill_info,
)
from routebpf.objects.model import MapDefinition
from routebpf.spec.map_types import map_type_by_number

BPF_F_LOCK = 4
_QUEUE, _STACK, _BLOOM_FILTER = 22, 23, 30
_PER_CPU = frozenset((5, 6, 10))


class MapInfo(NamedTuple):
    """What the kernel tells of a map; sizes in bytes, `btf_id` 0 if it has no types."""

    id: int
    type: int
    name: str
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    map_extra: int
    btf_id: int
    btf_key_type_id: int
    btf_value_type_id: int


class KernelMap(Handle):
    """A map, open. `cpus`: how many values an entry of a per-CPU map has, one for each possible CPU.

    Values of per-CPU maps are those of all CPUs, each padded to `value_stride` bytes, one after the other.
    """

    def __init__(self, fd: int, definition: MapDefinition) -> None:
        super().__init__(fd)
        self.definition = definition
        self.cpus = possible_cpus()
        self.is_per_cpu = definition.type in _PER_CPU
        self.value_stride = (definition.value_size + 7) & ~7

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def type_name(self) -> str:
        """HASH, LPM_TRIE and the like."""
        row = map_type_by_number(self.definition.type)
        return row.name if row else f"type {self.definition.type}"

    @property
    def user_value_size(self) -> int:
        """Bytes of a value as bpf(2) has it: those of all CPUs."""
        return self.cpus * self.value_stride if self.is_per_cpu else self.definition.value_size

    @property
    def id(self) -> int:
        """The kernel's id of the map."""
        return self.info.id

    @cached_property
    def info(self) -> MapInfo:
        return read_map_info(self.fd)

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value, None if there is none. `flags`: BPF_F_LOCK reads while holding the value's lock."""
        self._check_key(key)
        value = buffer(self.user_value_size)
        if not self._may_be_absent(MapLookup(), key, value, flags, "lookup"):
            return None
        return value.raw[: self.user_value_size]

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set a value. `flags`: BPF_ANY 0, BPF_NOEXIST 1, BPF_EXIST 2, BPF_F_LOCK 4."""
        self._check_key(key)
        self._check_value(value, self.user_value_size)
        self._call(MapUpdate(), key, buffer(value), flags, f"update of key {_text(key)} with flags {flags}")

    def delete(self, key: bytes) -> None:
        """Delete an entry. MapError with ENOENT if there is none."""
        self._check_key(key)
        self._call(MapDelete(), key, None, 0, f"delete of key {_text(key)}")

    def next_key(self, key: bytes | None) -> bytes | None:
        """The key after `key`; the first for None or a key that is not there; None after the last."""
        if key is not None:
            self._check_key(key)
        found = buffer(self.definition.key_size)
        if not self._may_be_absent(MapNextKey(), key, found, 0, "get next key"):
            return None
        return found.raw[: self.definition.key_size]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, in the kernel's order, read many at a time where the kernel can.

        An entry that comes or goes meanwhile may be there or not.
        """
        if not self.definition.key_size:
            raise self._error(errno.EINVAL, "list entries")
        return list_entries(self)

    def filled(self) -> Iterator[tuple[bytes, bytes]]:
        """The entries whose values are not all zero: of an array, those that something was put into."""
        return ((key, value) for key, value in self.items() if any(value))

    def keys(self) -> Iterator[bytes]:
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        """How many entries it holds now."""
        return sum(1 for _ in self.items())

    def push(self, value: bytes, flags: int = 0) -> None:
        """Add to a queue, stack or bloom filter. BPF_EXIST: a full one drops its oldest value."""
        self._check_value(value, self.definition.value_size)
        self._call(MapUpdate(), None, buffer(value), flags, f"push with flags {flags}")

    def pop(self) -> bytes | None:
        """Take the value that is next from a queue or stack, None if it is empty."""
        return self._next_value(MapTake(), "pop")

    def peek(self) -> bytes | None:
        """The value that is next in a queue or stack, which stays; None if it is empty."""
        return self._next_value(MapLookup(), "peek")

    def contains(self, value: bytes) -> bool:
        """Whether a value was probably added to a bloom filter; False is certain."""
        if self.definition.type != _BLOOM_FILTER:
            raise self._error(errno.EINVAL, "ask for a value; only a bloom filter tells")
        self._check_value(value, self.definition.value_size)
        return self._may_be_absent(MapLookup(), None, buffer(value), 0, "ask for a value")

    def freeze(self) -> None:
        """No changes by user space from now on; programs still may. kernel: map_freeze()."""
        try:
            bpf(MapFreeze(map_fd=self.fd))
        except OSError as error:
            raise self._error(error.errno or 0, "freeze") from error

    def set_slot(self, index: int, held: Handle) -> None:
        """Put a map into a map of maps, or a program into a program array. `index` is the key as a number."""
        try:
            key = index.to_bytes(self.definition.key_size, "little")
        except OverflowError:
            raise InputError(
                f"map {self.name}: slot {index} does not fit a key of {self.definition.key_size} bytes"
            ) from None
        self._call(MapUpdate(), key, buffer(held.fd.to_bytes(4, "little")), 0, f"set slot {index}")

    def _next_value(self, attributes: MapElement, doing: str) -> bytes | None:
        if self.definition.type not in (_QUEUE, _STACK):
            raise self._error(ENOTSUPP, f"{doing}; only queues and stacks can")
        value = buffer(self.definition.value_size)
        return value.raw if self._may_be_absent(attributes, None, value, 0, doing) else None

    def _may_be_absent(self, attributes: MapElement, key: bytes | None, value: Buffer, flags: int, doing: str) -> bool:
        """Make a call; False if it found nothing."""
        try:
            self._call(attributes, key, value, flags, doing)
        except MapError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _call(self, attributes: MapElement, key: bytes | None, value: Buffer | None, flags: int, doing: str) -> None:
        held_key = buffer(key) if key else None
        attributes.map_fd = self.fd
        attributes.key = ctypes.addressof(held_key) if held_key else 0
        attributes.value = ctypes.addressof(value) if value else 0
        attributes.flags = flags
        try:
            bpf(attributes)
        except OSError as error:
            raise self._error(error.errno or 0, doing) from error

    def _error(self, number: int, doing: str) -> MapError:
        return MapError(number, f"map {self.name}: {doing}", self._advice(number))

    def _advice(self, number: int) -> str:
        if number == errno.E2BIG:
            return f"its max_entries is {self.definition.max_entries:,}"
        if number == errno.EPERM:
            return "it is frozen, as constants are, or this process lacks CAP_BPF"
        row = map_type_by_number(self.definition.type)
        return f"{row.name}: {row.doc}" if number in (errno.EINVAL, ENOTSUPP) and row else ""

    def _check_key(self, key: bytes) -> None:
        if len(key) != self.definition.key_size:
            raise InputError(f"map {self.name}: a key of {len(key)} bytes; it takes {self.definition.key_size}")

    def _check_value(self, value: bytes, size: int) -> None:
        if len(value) != size:
            raise InputError(f"map {self.name}: a value of {len(value)} bytes; it takes {size}")

    def __repr__(self) -> str:
        return f"<{self.type_name} map {self.name} of the kernel>"


def read_map_info(fd: int) -> MapInfo:
    """What the kernel tells of the map that `fd` is. Raises OSError."""
    info = MapInfoStruct()
    fill_info(fd, info)
    return MapInfo(
        id=info.id,
        type=info.type,
        name=info.name.decode(errors="replace"),
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        flags=info.map_flags,
        map_extra=info.map_extra,
        btf_id=info.btf_id,
        btf_key_type_id=info.btf_key_type_id,
        btf_value_type_id=info.btf_value_type_id,
    )


def _text(key: bytes) -> str:
    return key.hex() or "(none)"
