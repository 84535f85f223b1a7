"""Every entry of a map, many in a call where the kernel can (kernel: kernel/bpf/syscall.c, bpf_map_do_batch(), 5.6)."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from routebpf.errors import MapError
from routebpf.kernel.syscall import ENOTSUPP, Buffer, MapLookupBatch, bpf, buffer

if TYPE_CHECKING:
    from routebpf.kernel.maps import KernelMap

_BATCH_BYTES = 1 << 20
_NO_BATCHES = frozenset((errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP))


def list_entries(source: KernelMap) -> Iterator[tuple[bytes, bytes]]:
    """Every key and value of a map that has keys, by batches or else one by one."""
    try:
        first = _Batches(source)
        entries = first.next()
    except MapError as error:
        if error.errno not in _NO_BATCHES:
            raise
        yield from _one_by_one(source)
        return
    while entries is not None:
        yield from entries
        entries = first.next()


class _Batches:
    """Where listing a map by batches stands."""

    def __init__(self, source: KernelMap) -> None:
        self._map = source
        self._key_size = source.definition.key_size
        self._value_size = source.user_value_size
        entries = _BATCH_BYTES // (self._key_size + self._value_size)
        self._count = max(1, min(entries, source.definition.max_entries))
        self._is_over = False
        self._place: Buffer | None = None

    def next(self) -> list[tuple[bytes, bytes]] | None:
        """The entries that come next, None after the last."""
        while not self._is_over:
            keys, values = buffer(self._count * self._key_size), buffer(self._count * self._value_size)
            # A hash wants 4 bytes to note its place, others a key.
            following = buffer(max(self._key_size, 4))
            attributes = MapLookupBatch(
                in_batch=ctypes.addressof(self._place) if self._place else 0,
                out_batch=ctypes.addressof(following),
                keys=ctypes.addressof(keys),
                values=ctypes.addressof(values),
                count=self._count,
                map_fd=self._map.fd,
            )
            if self._is_filled(attributes):
                self._place = following
                return self._entries(keys, values, attributes.count)
        return None

    def _is_filled(self, attributes: MapLookupBatch) -> bool:
        """Make the call; False for a hash's bucket with more entries than fit."""
        try:
            bpf(attributes)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._count *= 2
                return False
            if error.errno != errno.ENOENT:
                raise MapError(error.errno or 0, f"map {self._map.name}: list entries") from error
            self._is_over = True
        return True

    def _entries(self, keys: Buffer, values: Buffer, count: int) -> list[tuple[bytes, bytes]]:
        k, v = self._key_size, self._value_size
        all_keys, all_values = memoryview(keys), memoryview(values)
        return [
            (bytes(all_keys[at * k : (at + 1) * k]), bytes(all_values[at * v : (at + 1) * v])) for at in range(count)
        ]


def _one_by_one(source: KernelMap) -> Iterator[tuple[bytes, bytes]]:
    """A key that is deleted meanwhile makes the kernel begin anew, so there is an end to it."""
    key = None
    for _ in range(source.definition.max_entries):
        key = source.next_key(key)
        if key is None:
            return
        value = source.lookup(key)
        if value is not None:
            yield key, value
