"""`routebpf spec`: the tables of what a program may use."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from shutil import get_terminal_size
from typing import Any

import click

from routebpf.cli.output import print_json
from routebpf.errors import RejectedError

_INDENT = " " * 7


def _context(row: dict[str, Any]) -> tuple[str, str, str]:
    ways = [f"{way} {_listed(row[way])}" for way in ("read", "write") if row[way]]
    return row["offset"], f"{row['type']} {row['name']}", f"{' and '.join(ways)} bytes" if ways else "no access"


def _helper(row: dict[str, Any]) -> tuple[str, str, str]:
    licence = ", for GPL programs only" if row["gpl_only"] else ""
    note = f"{_listed(row['program_types'])} since {row['since']}{licence}{_where(row)}"
    return row["id"], row["prototype"], note


def _kfunc(row: dict[str, Any]) -> tuple[str, str, str]:
    return "", row["prototype"], f"{_listed(row['program_types'])} since {row['since']}{_where(row)}"


def _map_type(row: dict[str, Any]) -> tuple[str, str, str]:
    helpers = f", with {_listed(row['helpers'])}" if row["helpers"] else ""
    return row["number"], f"BPF_MAP_TYPE_{row['name']}", f"since {row['since']}{helpers}{_where(row)}"


def _where(row: dict[str, Any]) -> str:
    return "" if row["embedded"] else ", not on the embedded host"


# How people are shown a row of each table: its number, its name, and what is to be known; then comes its `doc`.
_SHOWN: dict[str, Callable[[dict[str, Any]], tuple[str, str, str]]] = {
    "context": _context,
    "helpers": _helper,
    "kfuncs": _kfunc,
    "maps": _map_type,
}


@click.command(epilog="Example: routebpf spec helpers --find csum")
@click.argument("tables", nargs=-1, type=click.Choice(list(_SHOWN)))
@click.option("--find", metavar="TEXT", default="", help="Only rows that hold this text.")
@click.option("--kernel", is_flag=True, help="Ask the running kernel too: where it differs comes last. Needs root.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(tables: tuple[str, ...], find: str, kernel: bool, as_json: bool) -> None:
    """Show what programs of the types LWT_IN, LWT_OUT and LWT_XMIT may use.

    TABLES: context, helpers, kfuncs, maps; all of them where none is named.
    """
    differences = _differences(tables, find) if kernel else []
    found = {
        name: [row for row in _rows(name) if find.lower() in str(list(row.values())).lower()]
        for name in tables or _SHOWN
    }
    if as_json:
        print_json(found | ({"kernel": differences} if kernel else {}))
    elif not any(found.values()) and not differences:
        raise RejectedError(f"spec: no row of {_listed(found)} holds {find!r}")
    else:
        for name, lines in found.items():
            if lines:
                _print(name, lines)
        if kernel:
            _print_differences(differences)


def _differences(tables: tuple[str, ...], find: str) -> list[dict[str, str]]:
    """Where the running kernel differs: `table`, `name` and `difference` of each."""
    from routebpf.kernel.spec_differences import kernel_differences

    return [
        {"table": table, "name": one.name, "difference": one.what}
        for table in tables or _SHOWN
        for one in kernel_differences(table)
        if find.lower() in one.name.lower()
    ]


def _print_differences(differences: list[dict[str, str]]) -> None:
    from routebpf.kernel.running import kernel_version

    click.secho(f"Linux {'.'.join(map(str, kernel_version()))}, which runs here", bold=True)
    for one in differences:
        click.echo(f"{_INDENT}{one['name']}: {one['difference']}")
    if not differences:
        click.echo(f"{_INDENT}as these tables have it")


def _rows(table: str) -> list[dict[str, Any]]:
    """The rows of a table, each with whether the embedded host has what it is about."""
    from routebpf.runtime.maps import has_map_type
    from routebpf.runtime.registry import is_implemented
    from routebpf.spec.tables import rows

    has: dict[str, Callable[[dict[str, Any]], bool]] = {
        "helpers": lambda row: is_implemented(row["name"]),
        "kfuncs": lambda row: is_implemented(row["name"]),
        "maps": lambda row: has_map_type(row["number"]),
    }
    return [row | ({"embedded": has[table](row)} if table in has else {}) for row in rows(table)]


def _print(table: str, rows: list[dict[str, Any]]) -> None:
    click.secho(table, bold=True)
    width = get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else sys.maxsize
    for row in rows:
        number, name, note = _SHOWN[table](row)
        click.echo(f"{number:>5}  {name}")
        click.echo(textwrap.fill(f"{note}. {row['doc']}", width, initial_indent=_INDENT, subsequent_indent=_INDENT))


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))
