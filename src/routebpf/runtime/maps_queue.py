"""Queues, stacks and bloom filters from user space: values without keys.

kernel: kernel/bpf/queue_stack_maps.c, kernel/bpf/bloom_filter.c. bpf(2) calls push an update, peek a lookup and pop a
lookup and delete, all without a key; so do these maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import addressof

from routebpf.objects.model import MapDefinition
from routebpf.runtime import map_bloom, map_queue, map_stack
from routebpf.runtime.errno_values import EINVAL, ENOENT, ENOTSUPP, EOPNOTSUPP
from routebpf.runtime.maps import Map, buffer
from routebpf.runtime.memory import Memory, read

_QUEUE = 22
_WORD_BITS = 64
_HASHES = 5  # where map_extra does not say
_MOST_BITS = 1 << 32


class QueueMap(Map):
    """BPF_MAP_TYPE_QUEUE or STACK."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        self._is_queue = definition.type == _QUEUE
        self._values = Memory(definition.max_entries * self.value_stride)
        self._set(map_queue.QUEUE_VALUES, self._values.address)

    def __len__(self) -> int:
        return int.from_bytes(read(self.address + map_queue.QUEUE_LENGTH, 4), "little")

    def values(self) -> Iterator[bytes]:
        """The values that it holds, in the order in which they would be popped; they stay."""
        first = int.from_bytes(read(self.address + map_queue.QUEUE_FIRST, 4), "little")
        numbers = range(first, first + len(self))
        for number in numbers if self._is_queue else reversed(numbers):
            place = number % self.definition.max_entries
            yield read(self._values.address + place * self.value_stride, self.definition.value_size)

    def _push(self, value: bytes, flags: int) -> int:
        held = buffer(value)
        return map_queue.push(*self._sizes(), addressof(held), flags)

    def _pop(self) -> bytes | None:
        held = buffer(bytes(self.definition.value_size))
        operation = map_queue.pop if self._is_queue else map_stack.pop
        return held.raw if operation(*self._sizes(), addressof(held)) == 0 else None

    def _peek(self) -> bytes | None:
        held = buffer(bytes(self.definition.value_size))
        operation = map_queue.peek if self._is_queue else map_stack.peek
        return held.raw if operation(*self._sizes(), addressof(held)) == 0 else None

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        return self._peek()

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        return self._push(value, flags)


class BloomFilterMap(Map):
    """BPF_MAP_TYPE_BLOOM_FILTER: `push` adds a value, `contains` asks for one."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        hashes = definition.map_extra or _HASHES
        bits = _bits(definition.max_entries, hashes)
        self._bits = Memory(bits // 8)
        self._set(map_bloom.BLOOM_BITS, self._bits.address)
        self._set(map_bloom.BLOOM_MASK, bits - 1)
        self._set(map_bloom.BLOOM_HASHES, hashes)

    def contains(self, value: bytes) -> bool:
        """Whether the value was probably added; False is certain."""
        held = buffer(value)
        return map_bloom.peek(*self._sizes(), addressof(held)) != -ENOENT

    def _push(self, value: bytes, flags: int) -> int:
        held = buffer(value)
        return map_bloom.push(*self._sizes(), addressof(held), flags)

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        return self._push(value, flags)

    def _delete(self, key: bytes) -> int:
        return -EOPNOTSUPP

    def _next_key(self, key: bytes | None) -> bytes | None:
        raise self._error(EOPNOTSUPP, "get next key")

    def _pop(self) -> bytes | None:
        raise self._error(ENOTSUPP, "pop")

    def _peek(self) -> bytes | None:
        raise self._error(EINVAL, "peek without a value; ask `contains(value)`")


def _bits(entries: int, hashes: int) -> int:
    """The best number of bits is entries * hashes / ln 2, of which 7/5 is near; then up to a power of two."""
    wanted = entries * hashes // 5 * 7
    if entries * hashes >= _MOST_BITS or wanted > _MOST_BITS // 2:
        return _MOST_BITS
    return max(_WORD_BITS, 1 << (wanted - 1).bit_length() if wanted else 0)
