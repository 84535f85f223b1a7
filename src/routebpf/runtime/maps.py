"""Maps of the embedded host, as user space has them by bpf(2): bytes in, bytes out, the kernel's errno.

`create_map` makes one of any type; what programs do with it is in the modules that `runtime.registry` names.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING

from routebpf.errors import InputError, MapError
from routebpf.objects.model import MapDefinition
from routebpf.runtime import map_layout as layout
from routebpf.runtime.cpu import new_cpu
from routebpf.runtime.errno_values import EINVAL, ENOTSUPP, EPERM
from routebpf.runtime.map_lock import acquire, release
from routebpf.runtime.maps_create import check_definition
from routebpf.runtime.maps_fields import kernel_fields
from routebpf.runtime.memory import Memory, read
from routebpf.spec.map_types import map_type_by_number

if TYPE_CHECKING:
    from routebpf.objects.btf import Btf

BPF_F_LOCK = 4
BPF_F_RDONLY, BPF_F_WRONLY, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG = 1 << 3, 1 << 4, 1 << 7, 1 << 8
_PER_CPU = frozenset((5, 6, 10))

# By map type: the module and the class of its maps.
_CLASSES = {
    1: "maps_hash:HashMap",
    2: "maps_array:ArrayMap",
    3: "maps_slots:ProgArrayMap",
    4: "perf:PerfEventArrayMap",
    5: "maps_hash:HashMap",
    6: "maps_array:ArrayMap",
    9: "maps_lru:LruHashMap",
    10: "maps_lru:LruHashMap",
    11: "maps_lpm:LpmTrieMap",
    12: "maps_slots:ArrayOfMaps",
    13: "maps_slots:HashOfMaps",
    22: "maps_queue:QueueMap",
    23: "maps_queue:QueueMap",
    27: "ringbuf:RingBufMap",
    30: "maps_queue:BloomFilterMap",
    31: "ringbuf:UserRingBufMap",
}
_ids = count(1)


def create_map(definition: MapDefinition, *, cpus: int = 1, btf: Btf | None = None) -> Map:
    """A new map for `cpus` CPUs (each CPU that touches it has a CPU_ID below that).

    Global data holds its initial value, and is frozen where it is read-only. Slots are empty: see `Map.set_slot`.
    `btf` is the object's: it tells which bytes of a value are locks and timers. Raises MapError with the errno that
    the kernel's map_create() has for the same attributes, and InputError for a type that this host does not have.
    """
    place = _CLASSES.get(definition.type)
    if place is None:
        raise InputError(f"map {definition.name}: {_type_name(definition.type)}; use a type that `spec maps` lists")
    check_definition(definition)
    module, _, name = place.partition(":")
    kind = getattr(import_module(f"routebpf.runtime.{module}"), name)
    try:
        made: Map = kind(definition, cpus)
    except (MemoryError, ValueError, OverflowError) as error:
        raise MapError(12, f"map {definition.name}: create with {definition.max_entries} entries") from error
    made._set_fields(kernel_fields(btf, definition.btf_value_type_id) if btf else ())
    if btf and definition.inner:
        made.inner_fields = kernel_fields(btf, definition.inner.btf_value_type_id)
    if definition.data is not None:
        made.update(bytes(4), definition.data)
    if definition.read_only:
        made.freeze()
    return made


def has_map_type(number: int) -> bool:
    """Whether this host has maps of the type with the kernel's number."""
    return number in _CLASSES


def _type_name(number: int) -> str:
    known = map_type_by_number(number)
    if known is None:
        return f"there is no map type {number}"
    return f"type {known.name} has nothing to hold on the embedded host"


class Map:
    """A map. `address` is what programs hold, `cpus` the number of CPUs it was made for.

    Its memory, and so every address of it, lives as long as this object.
    """

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        self.definition = definition
        self.cpus = cpus
        self.is_per_cpu = definition.type in _PER_CPU
        self.is_frozen = False
        self.fields: tuple[tuple[str, int, int], ...] = ()
        self.inner_fields: tuple[tuple[str, int, int], ...] = ()
        self.value_stride = (definition.value_size + 7) & ~7
        self._header = Memory(layout.MAP_BYTES)
        self.address = self._header.address
        self.id = next(_ids)
        for offset, value in (
            (layout.MAP_TYPE, definition.type),
            (layout.MAP_FLAGS, definition.flags),
            (layout.MAP_KEY_SIZE, definition.key_size),
            (layout.MAP_VALUE_SIZE, definition.value_size),
            (layout.MAP_MAX_ENTRIES, definition.max_entries),
            (layout.MAP_ID, self.id),
            (layout.MAP_CPUS, cpus),
        ):
            self._header.write(offset, value.to_bytes(4, "little"))
        self._set(layout.MAP_VALUE_STRIDE, self.value_stride)

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def user_value_size(self) -> int:
        """Bytes of a value as user space sees it: those of all CPUs, each padded to 8 bytes, one after the other."""
        return self.cpus * self.value_stride if self.is_per_cpu else self.definition.value_size

    # What user space does by bpf(2).

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value, None if there is none. `flags`: BPF_F_LOCK reads while holding the value's lock."""
        self._check_key(key)
        if flags & ~BPF_F_LOCK:
            raise self._error(EINVAL, f"lookup with flags {flags:#x}; only BPF_F_LOCK goes")
        self._may(BPF_F_WRONLY, "lookup")
        if flags and not self._lock_offset:
            raise self._error(EINVAL, "lookup with BPF_F_LOCK, but its values have no bpf_spin_lock")
        return self._lookup(key, bool(flags))

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """Set a value. `flags`: BPF_ANY 0, BPF_NOEXIST 1, BPF_EXIST 2, BPF_F_LOCK 4."""
        self._may_change("update")
        self._check_key(key)
        if len(value) != self.user_value_size:
            raise InputError(f"map {self.name}: a value of {len(value)} bytes; it takes {self.user_value_size}")
        if flags & BPF_F_LOCK and not self._lock_offset:
            raise self._error(EINVAL, "update with BPF_F_LOCK, but its values have no bpf_spin_lock")
        self._check(self._update(key, value, flags), f"update of key {key.hex() or '(none)'} with flags {flags}")

    def delete(self, key: bytes) -> None:
        """Delete an entry. MapError with ENOENT if there is none."""
        self._may_change("delete")
        self._check_key(key)
        self._check(self._delete(key), f"delete of key {key.hex() or '(none)'}")

    def next_key(self, key: bytes | None) -> bytes | None:
        """The key after `key`; the first for None or a key that is not there; None after the last."""
        self._may(BPF_F_WRONLY, "get next key")
        if key is not None:
            self._check_key(key)
        return self._next_key(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, in an order that depends only on what was done to the map."""
        raise self._error(EINVAL, "list entries")

    def filled(self) -> Iterator[tuple[bytes, bytes]]:
        """The entries whose values are not all zero: of an array, those that something was put into."""
        return ((key, value) for key, value in self.items() if any(value))

    def keys(self) -> Iterator[bytes]:
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        """How many entries it holds."""
        return sum(1 for _ in self.items())

    def push(self, value: bytes, flags: int = 0) -> None:
        """Add to a queue, stack or bloom filter. BPF_EXIST: a full one drops its oldest value."""
        self._may_change("push")
        if len(value) != self.definition.value_size:
            raise InputError(f"map {self.name}: a value of {len(value)} bytes; it takes {self.definition.value_size}")
        self._check(self._push(value, flags), f"push with flags {flags}")

    def pop(self) -> bytes | None:
        """Take the value that is next from a queue or stack, None if it is empty."""
        self._may_change("pop")
        self._may(BPF_F_WRONLY, "pop")
        return self._pop()

    def peek(self) -> bytes | None:
        """The value that is next in a queue or stack, which stays; None if it is empty."""
        self._may(BPF_F_WRONLY, "peek")
        return self._peek()

    def freeze(self) -> None:
        """No changes by user space from now on; programs still may. kernel: map_freeze()."""
        if self.fields:
            raise self._error(ENOTSUPP, "freeze, but its values have locks or timers")
        self._may_change("freeze")
        self.is_frozen = True

    def set_slot(self, index: int, held: Map | int) -> None:
        """Put a map into a map of maps, or the address of a program's entry into a program array."""
        raise InputError(f"map {self.name}: it holds no maps or programs")

    def value_address(self) -> int:
        """The address of an array's first value, as programs have it with `lddw r1, map[id:N][0]`."""
        raise InputError(f"map {self.name}: a program cannot have the address of its value; only an array's")

    def regions(self) -> list[tuple[int, int, bool]]:
        """(address, bytes, writable) of the memory that a program may touch by a pointer to a value or key."""
        return []

    # What each type does. The natives' results are 0 or a negative errno.

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        raise self._error(EINVAL, "lookup")

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        return -EINVAL

    def _delete(self, key: bytes) -> int:
        return -EINVAL

    def _next_key(self, key: bytes | None) -> bytes | None:
        raise self._error(EINVAL, "get next key")

    def _push(self, value: bytes, flags: int) -> int:
        return -EINVAL

    def _pop(self) -> bytes | None:
        raise self._error(ENOTSUPP, "pop")

    def _peek(self) -> bytes | None:
        raise self._error(ENOTSUPP, "peek")

    # For the classes of the types.

    @property
    def _may_program_write(self) -> bool:
        return not self.definition.flags & BPF_F_RDONLY_PROG

    def _set(self, offset: int, value: int) -> None:
        """Set 64 bits of the header."""
        self._header.write(offset, value.to_bytes(8, "little"))

    def _get(self, offset: int) -> int:
        return int.from_bytes(self._header.read(offset, 8), "little")

    def _sizes(self) -> tuple[int, int, int, int]:
        """The first arguments of a native operation."""
        return user_cpu(), self.address, self.definition.key_size, self.definition.value_size

    def _read_value(self, address: int, locked: bool = False) -> bytes:
        """A value as user space gets it: kernel fields are zero."""
        lock = address + self._lock_offset - 1
        if locked:
            acquire(lock)
        value = read(address, self.definition.value_size)
        if locked:
            release(lock)
        for _, offset, size in self.fields:
            value = value[:offset] + bytes(size) + value[offset + size :]
        return value

    def _read_cpus(self, first: int, cpu_stride: int) -> bytes:
        """The values of all CPUs of an entry, whose first CPU's is at `first`."""
        size = self.definition.value_size
        values = (read(first + number * cpu_stride, size) for number in range(self.cpus))
        return b"".join(value.ljust(self.value_stride, b"\0") for value in values)

    def _error(self, errno: int, doing: str) -> MapError:
        return MapError(errno, f"map {self.name}: {doing}")

    @property
    def _lock_offset(self) -> int:
        return 1 + next((offset for name, offset, _ in self.fields if name == "bpf_spin_lock"), -1)

    def _set_fields(self, fields: tuple[tuple[str, int, int], ...]) -> None:
        self.fields = fields
        self._header.write(layout.MAP_FIELD_COUNT, len(fields).to_bytes(4, "little"))
        self._header.write(layout.MAP_SPIN_LOCK, self._lock_offset.to_bytes(4, "little"))
        for number, (_, offset, size) in enumerate(fields):
            pair = offset.to_bytes(4, "little") + size.to_bytes(4, "little")
            self._header.write(layout.MAP_FIELDS + 8 * number, pair)

    def _check(self, result: int, doing: str) -> None:
        if result < 0:
            raise self._error(-result, doing)

    def _check_key(self, key: bytes) -> None:
        if len(key) != self.definition.key_size:
            raise InputError(f"map {self.name}: a key of {len(key)} bytes; it takes {self.definition.key_size}")

    def _may(self, forbidden: int, doing: str) -> None:
        if self.definition.flags & forbidden:
            raise self._error(
                EPERM, f"{doing}, but it was created {'write' if forbidden == BPF_F_WRONLY else 'read'}-only"
            )

    def _may_change(self, doing: str) -> None:
        self._may(BPF_F_RDONLY, doing)
        if self.is_frozen:
            raise self._error(EPERM, f"{doing}, but it is frozen")


@cache
def _user_cpu() -> tuple[Memory, Memory]:
    return new_cpu(0)


def user_cpu() -> int:
    """The address of the CPU as which user space calls native operations."""
    return _user_cpu()[0].address


def buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """A copy of `data` that native code may read and write: pass `ctypes.addressof` of it."""
    return ctypes.create_string_buffer(data, max(len(data), 1))
