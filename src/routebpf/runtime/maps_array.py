"""Arrays and per-CPU arrays from user space. kernel: kernel/bpf/arraymap.c."""

from __future__ import annotations

from collections.abc import Iterator

from routebpf.objects.model import MapDefinition
from routebpf.runtime.errno_values import E2BIG, EEXIST, EINVAL
from routebpf.runtime.map_array import ARRAY_CPU_STRIDE, ARRAY_VALUES
from routebpf.runtime.map_lock import acquire, release
from routebpf.runtime.map_value import BPF_EXIST, BPF_NOEXIST
from routebpf.runtime.maps import BPF_F_LOCK, Map
from routebpf.runtime.memory import Memory, write

_CACHE_LINE = 64
_CHUNK = 1 << 20  # values that are looked at in one go


class ArrayMap(Map):
    """An array; each CPU's values of a per-CPU one stand together."""

    def __init__(self, definition: MapDefinition, cpus: int = 1) -> None:
        super().__init__(definition, cpus)
        size = definition.max_entries * self.value_stride
        self._cpu_stride = -(-size // _CACHE_LINE) * _CACHE_LINE
        self._values = Memory(self._cpu_stride * (cpus if self.is_per_cpu else 1))
        self._set(ARRAY_VALUES, self._values.address)
        self._set(ARRAY_CPU_STRIDE, self._cpu_stride)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for index in range(self.definition.max_entries):
            yield index.to_bytes(4, "little"), self._value(index)

    def filled(self) -> Iterator[tuple[bytes, bytes]]:
        import numpy as np

        shape = (-1, self._cpu_stride // 8)
        words = self._values.array[: self._values.size // 8 * 8].view("u8").reshape(shape)
        step = self.value_stride // 8
        for first in range(0, self.definition.max_entries, _CHUNK):
            end = min(first + _CHUNK, self.definition.max_entries)
            values = words[:, first * step : end * step].reshape(len(words), end - first, step)
            for index in np.flatnonzero(values.any(axis=(0, 2))).tolist():
                yield (first + index).to_bytes(4, "little"), self._value(first + index)

    def __len__(self) -> int:
        return self.definition.max_entries

    def value_address(self) -> int:
        return self._values.address

    def regions(self) -> list[tuple[int, int, bool]]:
        return [(self._values.address, self._values.size, self._may_program_write)]

    def _address(self, index: int) -> int:
        return self._values.address + index * self.value_stride

    def _value(self, index: int, locked: bool = False) -> bytes:
        if self.is_per_cpu:
            return self._read_cpus(self._address(index), self._cpu_stride)
        return self._read_value(self._address(index), locked)

    def _lookup(self, key: bytes, locked: bool) -> bytes | None:
        index = int.from_bytes(key, "little")
        return self._value(index, locked) if index < self.definition.max_entries else None

    def _update(self, key: bytes, value: bytes, flags: int) -> int:
        index = int.from_bytes(key, "little")
        if flags & ~BPF_F_LOCK > BPF_EXIST or (self.is_per_cpu and flags > BPF_EXIST):
            return -EINVAL
        if index >= self.definition.max_entries:
            return -E2BIG
        if flags & BPF_NOEXIST:
            return -EEXIST
        if self.is_per_cpu:
            for number in range(self.cpus):
                first = number * self.value_stride
                part = value[first : first + self.definition.value_size]
                write(self._address(index) + number * self._cpu_stride, part)
        else:
            self._write(self._address(index), value, bool(flags & BPF_F_LOCK))
        return 0

    def _write(self, address: int, value: bytes, locked: bool) -> None:
        lock = address + self._lock_offset - 1
        if locked:
            acquire(lock)
        done = 0
        for _, offset, size in self.fields:
            write(address + done, value[done:offset])
            done = offset + size
        write(address + done, value[done:])
        if locked:
            release(lock)

    def _next_key(self, key: bytes | None) -> bytes | None:
        index = int.from_bytes(key, "little") if key is not None else self.definition.max_entries
        if index >= self.definition.max_entries:
            return bytes(4)
        return (index + 1).to_bytes(4, "little") if index + 1 < self.definition.max_entries else None
