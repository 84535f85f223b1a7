"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

_WIDE = 1000  # columns, where the output is a file: no line is folded


def print_json(value: Any) -> None:
    """One JSON value on the standard output; bytes as hex."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if hasattr(value, "item"):
        return value.item()  # a number of numpy's
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, right: Iterable[str] = ()
) -> None:
    """A table with one line a row; columns named in `right` are aligned to the right."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numbers = set(right)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    terminal = Console()
    is_terminal = sys.stdout.isatty()
    room = StringIO()
    Console(
        file=room,
        width=terminal.width if is_terminal else _WIDE,
        force_terminal=is_terminal,
        color_system="auto" if is_terminal else None,
        highlight=False,
    ).print(table)
    for line in room.getvalue().splitlines():
        click.echo(line.rstrip())
