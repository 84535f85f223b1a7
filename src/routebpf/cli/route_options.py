"""What the commands on real routes take: which namespace, which route, many of them from a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from routebpf.errors import InputError

if TYPE_CHECKING:
    from routebpf.kernel.attach_targets import Prefix, Selection
    from routebpf.kernel.namespaces import Namespace
    from routebpf.kernel.route_identity import RouteKey

_F = TypeVar("_F", bound=Callable[..., Any])
_STANDARD_INPUT = "-"
_MAIN, _MAIN_TABLE = "main", 254

namespace_option = click.option(
    "--namespace", metavar="NAME", help="The network namespace, as ip netns lists it; this process's if not given."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would change.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
from_option = click.option(
    "--from", "file", metavar="FILE", help="Prefixes from a file, one a line, # starts a comment; - reads them."
)


def _table(_ctx: click.Context, _param: click.Parameter, value: str) -> int:
    if value == _MAIN:
        return _MAIN_TABLE
    from routebpf.hosts.topology_names import TABLES

    number = TABLES.number(value)
    if not number:
        raise click.BadParameter(f"{value!r} is neither the number nor the name of a routing table")
    return number


def _prefix(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Prefix | None:
    if value is None:
        return None
    from routebpf.kernel.attach_targets import parse_prefix

    return parse_prefix(value)


def selection_options(command: _F) -> _F:
    """--table, --metric, --tos, --device, --source: which of a prefix's routes is meant."""
    for option in reversed(
        (
            click.option("--table", callback=_table, default=_MAIN, show_default=True, help="Its routing table."),
            click.option("--metric", type=click.IntRange(0, 0xFFFFFFFF), help="Its metric, where several have one."),
            click.option("--tos", type=click.IntRange(0, 255), help="Its TOS."),
            click.option("--device", metavar="DEVICE", help="A device that it goes by."),
            click.option(
                "--source",
                metavar="PREFIX",
                callback=_prefix,
                help="Of an IPv6 route: from where packets come; ::/0: all.",
            ),
        )
    ):
        command = option(command)
    return command


def selection(table: int, metric: int | None, tos: int | None, device: str | None, source: Prefix | None) -> Selection:
    """The options of `selection_options` as one value."""
    from routebpf.kernel.attach_targets import Selection

    return Selection(table, metric, tos, device, source)


def namespace_named(name: str | None) -> Namespace | None:
    """The namespace of that name. Raises InputError if there is none."""
    if name is None:
        return None
    from routebpf.kernel.namespaces import existing_namespace

    return existing_namespace(name)


def read_prefixes(given: tuple[str, ...], file: str | None) -> list[Prefix]:
    """The prefixes of arguments and a file; what is written twice counts once. Raises InputError, with the line, for
    what is none."""
    from routebpf.kernel.attach_targets import PrefixError, parse_prefix, parse_prefixes

    found = [parse_prefix(one) for one in dict.fromkeys(given)]
    if file is None:
        return found
    lines = _lines(file)
    try:
        return found + parse_prefixes(filter(None, dict.fromkeys(lines)))
    except PrefixError as error:
        raise InputError(f"{file}:{lines.index(error.text) + 1}: {error}") from None


def _lines(file: str) -> list[str]:
    """The lines of a file without comments and white space around them."""
    try:
        # By number: Python has no sys.stdin where that is closed.
        with open(0 if file == _STANDARD_INPUT else file, encoding="utf-8", errors="surrogateescape") as opened:
            text = opened.read()
    except OSError as error:
        raise InputError(f"cannot read prefixes from {file}: {error.strerror}") from error
    return [line.strip() for line in re.sub("#.*", "", text).splitlines()]


def key_json(key: RouteKey) -> dict[str, Any]:
    """What tells a route from others, for JSON."""
    from routebpf.kernel.route_identity import read_key

    place = read_key(key)
    return {
        "prefix": place.prefix,
        "source": place.source,
        "table": place.table,
        "tos": place.tos,
        "metric": place.metric,
    }
