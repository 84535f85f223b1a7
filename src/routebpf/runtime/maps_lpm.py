"""LPM tries from user space. kernel: kernel/bpf/lpm_trie.c."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import addressof

from routebpf.objects.model import MapDefinition
from routebpf.runtime import map_lpm as lpm
from routebpf.runtime.errno_values import ENOMEM
from routebpf.runtime.map_layout import MAP_COUNT
from routebpf.runtime.maps import Map, buffer
from routebpf.runtime.memory import Memory, read

_MOST_NODES = (1 << 32) - 1


class LpmTrieMap(Map):
    """BPF_MAP_TYPE_LPM_TRIE. Entries come in the kernel's order: what is below a prefix, then the prefix."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        # An intermediate node for all entries but one; one is there twice while it is replaced.
        capacity = 2 * definition.max_entries + 1
        if capacity > _MOST_NODES:
            raise self._error(ENOMEM, f"create with {definition.max_entries} entries")
        self._value_offset = lpm.NODE_DATA + (definition.key_size - lpm.LENGTH_BYTES + 7 & ~7)
        self._node_bytes = self._value_offset + self.value_stride
        self._nodes = Memory(capacity * self._node_bytes)
        self._set(lpm.LPM_NODES, self._nodes.address)
        self._set(lpm.LPM_UNUSED, 1)
        self._set(lpm.LPM_CAPACITY, capacity)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for node in self._nodes_in_order():
            yield self._key_of(node), self._read_value(node + self._value_offset)

    def __len__(self) -> int:
        return self._get(MAP_COUNT)

    def regions(self) -> list[tuple[int, int, bool]]:
        return [(self._nodes.address, self._nodes.size, self._may_program_write)]

    def _nodes_in_order(self) -> Iterator[int]:
        """The addresses of the nodes with entries."""
        waiting = [(self._link(self.address + lpm.LPM_ROOT), False)]
        while waiting:
            link, is_below_done = waiting.pop()
            node = self._nodes.address + link * self._node_bytes
            if not link:
                continue
            if not is_below_done:
                waiting += [(link, True), (self._link(node + 4), False), (self._link(node), False)]
            elif self._link(node + lpm.NODE_KIND) == lpm.ENTRY:
                yield node

    @staticmethod
    def _link(address: int) -> int:
        return int.from_bytes(read(address, 4), "little")

    def _key_of(self, node: int) -> bytes:
        data = read(node + lpm.NODE_DATA, self.definition.key_size - lpm.LENGTH_BYTES)
        return read(node + lpm.NODE_LENGTH, lpm.LENGTH_BYTES) + data

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        held = buffer(key)
        value = lpm.lookup(*self._sizes(), addressof(held))
        return self._read_value(value) if value else None

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        held = buffer(key), buffer(value)
        return lpm.update(*self._sizes(), addressof(held[0]), addressof(held[1]), flags)

    def _delete(self, key: bytes) -> int:
        held = buffer(key)
        return lpm.delete(*self._sizes(), addressof(held))

    def _next_key(self, key: bytes | None) -> bytes | None:
        keys = [self._key_of(node) for node in self._nodes_in_order()]
        following = keys.index(key) + 1 if key in keys else 0
        return keys[following] if following < len(keys) else None
