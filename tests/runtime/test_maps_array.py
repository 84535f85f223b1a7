"""Large arrays from user space."""

from __future__ import annotations

import time

import pytest

from routebpf.objects.model import MapDefinition
from routebpf.runtime.maps import Map, create_map

ARRAY, PERCPU_ARRAY = 2, 6


@pytest.mark.parametrize("kind", [ARRAY, PERCPU_ARRAY])
@pytest.mark.parametrize("value_size", [3, 8, 24])
def test_the_filled_entries_of_an_array_are_those_that_are_not_all_zero(kind: int, value_size: int) -> None:
    entries = (1 << 20) + 5  # more than are looked at in one go
    one: Map = create_map(MapDefinition("array", kind, 4, value_size, entries), cpus=2)
    keys = [index.to_bytes(4, "little") for index in (0, 77, (1 << 20) - 1, 1 << 20, entries - 1)]
    for key in keys:
        value = b"\0" * (value_size - 1) + b"\1"
        values = b"\0" * one.value_stride + value.ljust(one.value_stride, b"\0") if kind == PERCPU_ARRAY else value
        one.update(key, values)
    assert list(one.filled()) == [(key, one.lookup(key)) for key in keys]


def test_an_array_of_gigabytes_is_looked_through_in_seconds() -> None:
    """One Python step an entry would take minutes."""
    one: Map = create_map(MapDefinition("array", ARRAY, 4, 8, 200_000_000))
    one.update((123_456_789).to_bytes(4, "little"), b"\1" * 8)
    start = time.monotonic()
    assert [int.from_bytes(key, "little") for key, _ in one.filled()] == [123_456_789]
    assert time.monotonic() - start < 20
