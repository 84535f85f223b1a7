"""What people are shown of a map: its largest entries, a column for each member of a struct."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_table

if TYPE_CHECKING:
    from routebpf.hosts.map_view import MapView

_ROWS_SHOWN = 20
_ARRAYS = frozenset({2, 6})  # ARRAY, PERCPU_ARRAY: every index is there, whether anything was put there or not
_GLOBAL_DATA = frozenset({"data", "bss", "rodata", "kconfig"})


def print_map(name: str, view: MapView) -> None:
    """The entries, the largest first; of an array, those that are not all zero; of global data, its variables."""
    if view.raw.definition.kind in _GLOBAL_DATA:
        members = [item for value in view.values() for item in view.value_members(value).items()]
        if members:
            click.echo(f"{name}:")
            print_table(["variable", "value"], members)
        return
    is_array = view.raw.definition.type in _ARRAYS
    listed = 0

    def counted() -> Iterator[tuple[Any, Any]]:
        nonlocal listed
        for entry in view.filled() if is_array else view.items():
            listed += 1
            yield entry

    largest = heapq.nlargest(_ROWS_SHOWN, counted(), key=lambda entry: _numbers(entry[1]))
    entries = len(view) if is_array else listed
    click.echo(f"{name}: {entries:,} {'entry' if entries == 1 else 'entries'}")
    if largest:
        _print_entries(view, largest)
    elif is_array:
        click.echo("all are 0")
    if listed > _ROWS_SHOWN:
        click.echo(f"… {listed - _ROWS_SHOWN:,} more; --json has them all")


def _print_entries(view: MapView, entries: list[tuple[Any, Any]]) -> None:
    keys = [view.key_text(key) for key, _ in entries]
    members = [view.value_members(value) for _, value in entries]
    if members[0]:
        print_table(["key", *members[0]], [(key, *one.values()) for key, one in zip(keys, members, strict=True)])
    else:
        texts = [view.value_text(value) for _, value in entries]
        print_table(["key", "value"], list(zip(keys, texts, strict=True)))


def _numbers(value: Any) -> tuple[float, ...]:
    """What the size of a value is judged by: its numbers, in order. Text is more than nothing."""
    match value:
        case int() | float():
            return (value,)
        case str():
            return (1,)
        case bytes():
            return (int.from_bytes(value, "little"),)
        case dict():
            return tuple(number for one in value.values() for number in _numbers(one))
        case list():
            return tuple(number for one in value for number in _numbers(one))
    return ()
