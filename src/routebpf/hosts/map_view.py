"""A map as a Python mapping: keys and values as its BTF types say (see objects.btf_values), bytes where it has none."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from routebpf.errors import MapError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_text import member_texts, value_text
from routebpf.objects.btf_values import decode, encode
from routebpf.runtime.errno_values import ENOENT
from routebpf.spec.map_types import map_type_by_number

if TYPE_CHECKING:
    from routebpf.kernel.maps import KernelMap
    from routebpf.runtime.maps import Map


class MapView(MutableMapping[Any, Any]):
    """A map of either host. A value of a per-CPU map is a list, one a CPU. A key that is a struct is a dict.

    `raw` is the map itself, in bytes: flags of updates, push, pop, peek, what ring buffers hold. `holds_maps`: a value
    is the kernel's id of a map, and is set by a file descriptor, as in bpf(2). Raises KeyError for a key that is not
    there, MapError for what the kernel would refuse, InputError for a key or value that does not fit.
    """

    def __init__(self, raw: Map | KernelMap, btf: Btf | None) -> None:
        self.raw = raw
        self._btf = btf
        self._key_type = raw.definition.btf_key_type_id if btf else 0
        self._value_type = raw.definition.btf_value_type_id if btf else 0
        row = map_type_by_number(raw.definition.type)
        self.holds_maps = row is not None and row.holds == "maps"

    @property
    def name(self) -> str:
        return self.raw.name

    def __getitem__(self, key: Any) -> Any:
        data = self.raw.lookup(self._key(key))
        if data is None:
            raise KeyError(key)
        return self._decode_value(data)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.raw.update(self._key(key), self._encode_value(value))

    def __delitem__(self, key: Any) -> None:
        try:
            self.raw.delete(self._key(key))
        except MapError as error:
            if error.errno == ENOENT:
                raise KeyError(key) from None
            raise

    def __iter__(self) -> Iterator[Any]:
        return map(self._decode_key, self.raw.keys())

    def __len__(self) -> int:
        return len(self.raw)

    def items(self) -> ItemsView[Any, Any]:
        """Every key with its value; keys need not be hashable."""
        return _Items(self)

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Every key with its value, read in one go."""
        for key, value in self.raw.items():
            yield self._decode_key(key), self._decode_value(value)

    def filled(self) -> Iterator[tuple[Any, Any]]:
        """The same, but those whose values are all zero: of a large array, what something was put into."""
        for key, value in self.raw.filled():
            yield self._decode_key(key), self._decode_value(value)

    def key_text(self, key: Any) -> str:
        """A key as people read it: an address where its type is one."""
        return self._text(self._key_type, key)

    def value_text(self, value: Any) -> str:
        """A value as people read it; of a per-CPU map, each CPU's; of a map of maps, what `routebpf map` takes."""
        if self.holds_maps:
            return f"id:{value}"
        if self.raw.is_per_cpu:
            return " | ".join(self._text(self._value_type, one) for one in value)
        return self._text(self._value_type, value)

    def value_members(self, value: Any) -> dict[str, str]:
        """The members of a value as people read them, by name; none where it is not one struct."""
        if self._btf is None or not isinstance(value, dict):
            return {}
        return member_texts(self._btf, self._value_type, value)

    def consume(self) -> Any:
        """What a ring buffer or perf event array holds, taken out."""
        return self.raw.consume()  # type: ignore[union-attr]

    def __repr__(self) -> str:
        return f"<map {self.name}>"

    def _text(self, type_id: int, value: Any) -> str:
        if self._btf is None or not type_id:
            return value.hex() if isinstance(value, bytes) else str(value)
        return value_text(self._btf, type_id, value)

    def _key(self, key: Any) -> bytes:
        if isinstance(key, bytes) and len(key) == self.raw.definition.key_size:
            return key
        if self._btf is None or not self._key_type:
            return key.to_bytes(self.raw.definition.key_size, "little") if isinstance(key, int) else bytes(key)
        return encode(self._btf, self._key_type, key)

    def _decode_key(self, key: bytes) -> Any:
        if self._btf is None or not self._key_type:
            return key
        return decode(self._btf, self._key_type, key)

    def _encode_value(self, value: Any) -> bytes:
        if not self.raw.is_per_cpu:
            return self._encode_one(value)
        values = value if isinstance(value, list) else [value] * self.raw.cpus
        return b"".join(self._encode_one(one).ljust(self.raw.value_stride, b"\0") for one in values)

    def _encode_one(self, value: Any) -> bytes:
        size = self.raw.definition.value_size
        if isinstance(value, bytes) and len(value) == size:
            return value
        if self._btf is None or not self._value_type:
            return value.to_bytes(size, "little") if isinstance(value, int) else bytes(value)
        return encode(self._btf, self._value_type, value)

    def _decode_value(self, data: bytes) -> Any:
        if not self.raw.is_per_cpu:
            return self._decode_one(data)
        stride, size = self.raw.value_stride, self.raw.definition.value_size
        return [self._decode_one(data[cpu * stride :][:size]) for cpu in range(self.raw.cpus)]

    def _decode_one(self, data: bytes) -> Any:
        if self.holds_maps:
            return int.from_bytes(data, "little")
        if self._btf is None or not self._value_type:
            return data
        return decode(self._btf, self._value_type, data)


class _Items(ItemsView[Any, Any]):
    """Items of a map: its keys may be dicts, which have no hash."""

    _mapping: MapView

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping.pairs()
