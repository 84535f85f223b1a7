"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import click

_NUMBER = re.compile(r"(-?\d[\d,]*(\.\d+)?)?")


def print_json(value: Any) -> None:
    """One JSON value on the standard output; bytes as hex."""
    click.echo(json.dumps(value, indent=2, default=_plain))


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
