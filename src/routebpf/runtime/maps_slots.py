"""Maps whose values are maps or programs. kernel: kernel/bpf/arraymap.c, kernel/bpf/map_in_map.c."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import addressof
from itertools import count
from typing import TYPE_CHECKING, Any

from routebpf.errors import InputError
from routebpf.objects.model import MapDefinition
from routebpf.runtime import map_hash
from routebpf.runtime.errno_values import E2BIG, EINVAL, ENOENT
from routebpf.runtime.map_of_maps import SLOT_BYTES, SLOTS
from routebpf.runtime.maps import Map, buffer, user_cpu
from routebpf.runtime.maps_create import BPF_F_INNER_MAP
from routebpf.runtime.maps_hash import HashMap
from routebpf.runtime.memory import Memory

if TYPE_CHECKING:
    import numpy as np

_ARRAY = 2
_program_ids = count(1)
_programs: dict[int, int] = {}  # the id of a program, by its entry's address


class SlotArray(Map):
    """Slots of 8 bytes, empty at first. User space sees what they hold as 4-byte ids."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        self._slots = Memory(definition.max_entries * SLOT_BYTES)
        self._set(SLOTS, self._slots.address)
        self._ids: dict[int, int] = {}

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for index, held in sorted(self._ids.items()):
            yield index.to_bytes(4, "little"), held.to_bytes(4, "little")

    def _put(self, index: int, address: int, held_id: int) -> None:
        self._may_change("set a slot")
        if not 0 <= index < self.definition.max_entries:
            raise self._error(E2BIG, f"set slot {index}; it has {self.definition.max_entries}")
        self._slots.write(index * SLOT_BYTES, address.to_bytes(8, "little"))
        if address:
            self._ids[index] = held_id
        else:
            self._ids.pop(index, None)

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        held = self._ids.get(int.from_bytes(key, "little"))
        return held.to_bytes(4, "little") if held else None

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        raise InputError(f"map {self.name}: its slots hold maps or programs; use set_slot()")

    def _delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index >= self.definition.max_entries:
            return -E2BIG
        if index not in self._ids:
            return -ENOENT
        self._put(index, 0, 0)
        return 0

    def _next_key(self, key: bytes | None) -> bytes | None:
        index = int.from_bytes(key, "little") if key is not None else self.definition.max_entries
        following = index + 1 if index < self.definition.max_entries else 0
        return following.to_bytes(4, "little") if following < self.definition.max_entries else None


class ProgArrayMap(SlotArray):
    """BPF_MAP_TYPE_PROG_ARRAY. `set_slot` takes the address of a program's entry, whose code must live as long."""

    def set_slot(self, index: int, held: Map | int) -> None:
        if isinstance(held, Map):
            raise self._error(EINVAL, f"set slot {index} to a map; it holds programs")
        if held and held not in _programs:
            _programs[held] = next(_program_ids)
        self._put(index, held, _programs.get(held, 0))


class ArrayOfMaps(SlotArray):
    """BPF_MAP_TYPE_ARRAY_OF_MAPS. A map that was ever put into a slot lives as long as this one."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        self._kept: list[Map] = []

    def set_slot(self, index: int, held: Map | int) -> None:
        inner = check_inner(self, held)
        self._kept.append(inner)
        self._put(index, inner.address, inner.id)


class HashOfMaps(HashMap):
    """BPF_MAP_TYPE_HASH_OF_MAPS. A map that was ever put into it lives as long as this one."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        self._kept: dict[int, Map] = {}

    def set_slot(self, index: int, held: Map | int) -> None:
        """`index` is the key, as a little-endian number of the key's size."""
        self.put(index.to_bytes(self.definition.key_size, "little"), held)

    def put(self, key: bytes, held: Map | int, flags: int = 0) -> None:
        """Set a key's map, with the flags of `update`."""
        self._may_change("put a map")
        self._check_key(key)
        inner = check_inner(self, held)
        self._kept[inner.address] = inner
        buffers = buffer(key), buffer(inner.address.to_bytes(SLOT_BYTES, "little"))
        sizes = user_cpu(), self.address, self.definition.key_size, SLOT_BYTES
        result = map_hash.update(*sizes, addressof(buffers[0]), addressof(buffers[1]), flags)
        self._check(result, f"put a map at key {key.hex()} with flags {flags}")

    def regions(self) -> list[tuple[int, int, bool]]:
        return []

    def _value_of(self, element: int, locked: bool = False) -> bytes:
        place = element * self._element_bytes + self._value_offset
        address = int.from_bytes(self._elements.read(place, SLOT_BYTES), "little")
        return self._kept[address].id.to_bytes(4, "little")

    def _pairs(self, elements: np.ndarray[Any, Any]) -> Iterator[tuple[bytes, bytes]]:
        return ((self._key_of(element), self._value_of(element)) for element in elements.tolist())

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        raise InputError(f"map {self.name}: its values are maps; use put()")


def check_inner(outer: Map, held: Map | int) -> Map:
    """The map, if it may go into `outer`. MapError with EINVAL otherwise. kernel: bpf_map_meta_equal()."""
    expected = outer.definition.inner
    assert expected is not None
    if not isinstance(held, Map):
        raise outer._error(EINVAL, "hold something that is not a map")
    given = held.definition
    facts = ["type", "key_size", "value_size", "flags"]
    if expected.type == _ARRAY and not expected.flags & BPF_F_INNER_MAP:
        facts.append("max_entries")
    for fact in facts:
        has, needs = getattr(given, fact), getattr(expected, fact)
        if has != needs:
            raise outer._error(EINVAL, f"hold map {held.name}, whose {fact} is {has}; its maps have {needs}")
    if held.fields != outer.inner_fields:
        raise outer._error(EINVAL, f"hold map {held.name}, whose values have other locks and timers")
    return held
