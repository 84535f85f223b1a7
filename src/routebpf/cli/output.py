"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import click

_AT_ONCE = 1000
_NUMBER = re.compile(r"(-?\d[\d,]*(\.\d+)?)?")


def print_json(value: Any) -> None:
    """One JSON value on the standard output."""
    click.echo(json_text(value, indent=2))


def print_json_list(values: Iterable[Any]) -> None:
    """The same for a list of so many values that they should not be in memory together."""
    left = iter(values)
    before = "[\n"
    while some := list(islice(left, _AT_ONCE)):
        click.echo(before + json_text(some, indent=2)[2:-2], nl=False)  # without its own brackets
        before = ",\n"
    click.echo("[]" if before == "[\n" else "\n]")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A JSON value; bytes as hex, and by their names the numbers that JSON does not have (nan, inf)."""
    try:
        return json.dumps(value, indent=indent, default=_plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, default=_plain)


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {name: _finite(one) for name, one in value.items()}
        case list() | tuple():
            return [_finite(one) for one in value]
        case float() if not math.isfinite(value):
            return str(value)
    return value


def _plain(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table with one line a row. A column of numbers, or `-` for none, is aligned to the right."""
    lines = list(rows)
    place = []
    for heading, *cells in zip(columns, *lines, strict=True):
        numbers = [cell for cell in cells if cell != "-"]
        side = ">" if numbers and all(map(_NUMBER.fullmatch, numbers)) else "<"
        place.append(f"{{:{side}{max(map(len, [heading, *cells]))}}}")
    layout = "  ".join(place)
    click.secho(layout.format(*columns).rstrip(), bold=True)
    for line in lines:
        click.echo(layout.format(*line).rstrip())
