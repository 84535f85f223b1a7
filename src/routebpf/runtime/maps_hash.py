"""Hash maps and per-CPU hash maps from user space. kernel: kernel/bpf/hashtab.c."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import addressof
from typing import TYPE_CHECKING, Any

from routebpf.objects.model import MapDefinition
from routebpf.runtime import map_chain, map_hash, map_percpu_hash
from routebpf.runtime.errno_values import ENOMEM
from routebpf.runtime.maps import Map, buffer
from routebpf.runtime.memory import Memory, read

if TYPE_CHECKING:
    import numpy as np

    from routebpf.runtime.native import Native

_CACHE_LINE = 64
_LINK_BYTES = 4
_ELEMENTS_AT_ONCE = 1 << 14  # that are copied for a listing
# The Python functions of natives: plain arithmetic.
key_offset = map_chain.key_offset.function
value_offset = map_chain.value_offset.function
_MOST_ELEMENTS = map_chain.END - 1


class ChainedMap(Map):
    """A table of `map_chain`: elements with keys, and their values in them or, for each CPU, beside them."""

    natives: dict[str, Native]

    def __init__(self, definition: MapDefinition, cpus: int, extras: int) -> None:
        """`extras`: elements beside max_entries; they are the first ones."""
        super().__init__(definition, cpus)
        key_size = definition.key_size
        capacity = 1 + extras + definition.max_entries
        buckets = 2 << (definition.max_entries - 1).bit_length()
        if capacity > _MOST_ELEMENTS or buckets > _MOST_ELEMENTS:
            raise self._error(ENOMEM, f"create with {definition.max_entries} entries")
        self._key_offset, self._value_offset = key_offset(key_size), value_offset(key_size)
        self._element_bytes = self._value_offset + (0 if self.is_per_cpu else self.value_stride)
        self._capacity = capacity
        self._buckets = Memory(buckets * _LINK_BYTES)
        self._elements = Memory(capacity * self._element_bytes)
        self._cpu_stride = -(-capacity * self.value_stride // _CACHE_LINE) * _CACHE_LINE
        self._values = Memory(cpus * self._cpu_stride) if self.is_per_cpu else None
        for offset, value in (
            (map_chain.HASH_BUCKETS, self._buckets.address),
            (map_chain.HASH_MASK, buckets - 1),
            (map_chain.HASH_ELEMENTS, self._elements.address),
            (map_chain.HASH_VALUES, self._values.address if self._values else 0),
            (map_chain.HASH_CPU_STRIDE, self._cpu_stride),
            (map_chain.HASH_CAPACITY, capacity),
            (map_chain.HASH_USED, 1 + extras),
        ):
            self._set(offset, value)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        live = self._live()
        for first in range(0, len(live), _ELEMENTS_AT_ONCE):
            yield from self._pairs(live[first : first + _ELEMENTS_AT_ONCE])

    def __len__(self) -> int:
        return len(self._live())

    def regions(self) -> list[tuple[int, int, bool]]:
        memory = (self._elements, self._values) if self._values else (self._elements,)
        return [(one.address, one.size, self._may_program_write) for one in memory]

    def _used(self) -> int:
        """Elements from this one on were never used."""
        return self._get(map_chain.HASH_USED)

    def _live(self) -> np.ndarray[Any, Any]:
        """The elements that are in a chain, by number."""
        import numpy as np

        size = self._element_bytes
        rows = self._elements.array[: self._used() * size].reshape(-1, size)
        links = np.ascontiguousarray(rows[:, :_LINK_BYTES]).view(np.uint32)[:, 0]
        found: np.ndarray[Any, Any] = np.nonzero((links != 0) & (links < map_chain.FREE))[0]
        return found

    def _pairs(self, elements: np.ndarray[Any, Any]) -> Iterator[tuple[bytes, bytes]]:
        """Their keys and values, copied all at once."""
        rows = self._elements.array.reshape(-1, self._element_bytes)[elements]
        first, size = self._key_offset, self.definition.key_size
        keys = rows[:, first : first + size].tobytes()
        values = self._values_of(rows, elements)
        width = self.user_value_size
        for number in range(len(elements)):
            yield keys[number * size : (number + 1) * size], values[number * width : (number + 1) * width]

    def _values_of(self, rows: np.ndarray[Any, Any], elements: np.ndarray[Any, Any]) -> bytes:
        """The values of elements, of which `rows` are the bytes, one after the other."""
        import numpy as np

        if self._values is None:
            values = rows[:, self._value_offset : self._value_offset + self.definition.value_size]
            for _, offset, size in self.fields:
                values[:, offset : offset + size] = 0
            return values.tobytes()
        of_cpus = self._values.array.reshape(self.cpus, -1)[:, : self._capacity * self.value_stride]
        return np.stack([one.reshape(-1, self.value_stride)[elements] for one in of_cpus], axis=1).tobytes()

    def _key_of(self, element: int) -> bytes:
        address = self._elements.address + element * self._element_bytes
        return read(address + self._key_offset, self.definition.key_size)

    def _value_of(self, element: int, locked: bool = False) -> bytes:
        if self._values is not None:
            return self._read_cpus(self._values.address + element * self.value_stride, self._cpu_stride)
        address = self._elements.address + element * self._element_bytes
        return self._read_value(address + self._value_offset, locked)

    def _find(self, key: bytes) -> int:
        """The element of a key, 0 if there is none."""
        held = buffer(key)
        return map_chain.find(self.address, self.definition.key_size, self._element_bytes, addressof(held))

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        element = self._find(key)
        return self._value_of(element, locked) if element else None

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        held = buffer(key), buffer(value)
        return self.natives["update"](*self._sizes(), addressof(held[0]), addressof(held[1]), flags)

    def _delete(self, key: bytes) -> int:
        held = buffer(key)
        return self.natives["delete"](*self._sizes(), addressof(held))

    def _next_key(self, key: bytes | None) -> bytes | None:
        live = self._live()
        following = live[live > (self._find(key) if key is not None else 0)]
        return self._key_of(int(following[0])) if len(following) else None


class HashMap(ChainedMap):
    """BPF_MAP_TYPE_HASH or PERCPU_HASH."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus, extras=cpus)
        if self.is_per_cpu:
            self.natives = {"update": map_percpu_hash.update_all, "delete": map_percpu_hash.delete}
            return
        self.natives = {"update": map_hash.update, "delete": map_hash.delete}
        self._extras = Memory(cpus * map_hash.EXTRA_BYTES)
        self._set(map_chain.HASH_EXTRAS, self._extras.address)
        for number in range(cpus):
            self._extras.write(number * map_hash.EXTRA_BYTES, (1 + number).to_bytes(4, "little"))
