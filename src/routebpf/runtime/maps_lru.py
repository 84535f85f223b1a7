"""LRU hash maps from user space: the lists of map_lru_list, made. kernel: kernel/bpf/hashtab.c."""

from __future__ import annotations

from routebpf.objects.model import MapDefinition
from routebpf.runtime import map_lru, map_percpu_lru
from routebpf.runtime import map_lru_list as lru
from routebpf.runtime.map_chain import HASH_LRU
from routebpf.runtime.maps_create import BPF_F_NO_COMMON_LRU
from routebpf.runtime.maps_hash import ChainedMap
from routebpf.runtime.memory import Memory

_SCANS, _MOST_TARGET = 128, 128
_CPU_SCANS, _CPU_TARGET = 4, 4  # with lists of each CPU
_LIST_HEADS, _LOCAL_HEADS = 3, 2


class LruHashMap(ChainedMap):
    """BPF_MAP_TYPE_LRU_HASH or LRU_PERCPU_HASH. With BPF_F_NO_COMMON_LRU, max_entries is a multiple of the CPUs."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        is_common = not definition.flags & BPF_F_NO_COMMON_LRU
        entries = definition.max_entries if is_common else -(-definition.max_entries // cpus) * cpus
        super().__init__(definition._replace(max_entries=entries), cpus, extras=0)
        natives = map_percpu_lru if self.is_per_cpu else map_lru
        update = map_percpu_lru.update_all if self.is_per_cpu else map_lru.update
        self.natives = {"update": update, "delete": natives.delete}
        lists = 1 if is_common else cpus
        self._lists = lists
        self._lru = Memory(lru.LRU_LISTS + lists * lru.LIST_BYTES)
        heads = lists * _LIST_HEADS + (cpus * _LOCAL_HEADS if is_common else 0)
        self._nodes = Memory((1 + entries + heads) * lru.NODE_BYTES)
        self._locals = Memory(cpus * lru.LOCAL_BYTES)
        self._lru.write(lru.LRU_NODES, self._nodes.address.to_bytes(8, "little"))
        self._lru.write(lru.LRU_LOCALS, (self._locals.address if is_common else 0).to_bytes(8, "little"))
        self._put(self._lru, lru.LRU_SCANS, _SCANS if is_common else _CPU_SCANS)
        target = min(max(entries // cpus // 2, 1), _MOST_TARGET)
        self._put(self._lru, lru.LRU_TARGET, target if is_common else _CPU_TARGET)
        self._next_head = 1 + entries
        for number in range(lists):
            self._make_lists(number, entries // lists)
        for number in range(cpus if is_common else 0):
            self._put(self._locals, number * lru.LOCAL_BYTES + lru.LOCAL_HEADS, self._make_heads(_LOCAL_HEADS))
            self._put(self._locals, number * lru.LOCAL_BYTES + lru.LOCAL_NEXT_STEAL, number)
        self._set(HASH_LRU, self._lru.address)

    @staticmethod
    def _put(memory: Memory, offset: int, value: int) -> None:
        memory.write(offset, value.to_bytes(4, "little"))

    def _make_lists(self, number: int, entries: int) -> None:
        """Empty lists, all their elements never used."""
        place = lru.LRU_LISTS + number * lru.LIST_BYTES
        heads = self._make_heads(_LIST_HEADS)
        self._put(self._lru, place + lru.LIST_HEADS, heads)
        self._put(self._lru, place + lru.LIST_CURSOR, heads + lru.INACTIVE)
        self._put(self._lru, place + lru.LIST_UNUSED, 1 + number * entries)
        self._put(self._lru, place + lru.LIST_UNUSED_END, 1 + (number + 1) * entries)

    def _make_heads(self, count: int) -> int:
        """The heads of that many empty lists: the number of the first."""
        first = self._next_head
        for head in range(first, first + count):
            self._put(self._nodes, head * lru.NODE_BYTES + lru.NODE_PREVIOUS, head)
            self._put(self._nodes, head * lru.NODE_BYTES + lru.NODE_NEXT, head)
        self._next_head = first + count
        return first

    def _used(self) -> int:
        last = lru.LRU_LISTS + (self._lists - 1) * lru.LIST_BYTES
        places = [place + lru.LIST_UNUSED for place in range(lru.LRU_LISTS, last + 1, lru.LIST_BYTES)]
        return max(int.from_bytes(self._lru.read(place, 4), "little") for place in places)
