"""`routebpf list`: what is attached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_json, print_table
from routebpf.cli.route_options import json_option, key_json, namespace_named, namespace_option

if TYPE_CHECKING:
    from routebpf.kernel.attached_routes import AttachedRoute


@click.command(epilog="Example: routebpf list")
@namespace_option
@json_option
def command(namespace: str | None, as_json: bool) -> None:
    """List the routes of a namespace that carry programs, also those of others.

    The state tells of a command that was killed: "interrupted: done" has the new program, "interrupted: not done" what
    was there before; the next attach or detach puts either right.
    """
    from routebpf.kernel.attached_routes import list_attached

    listing = list_attached(namespace_named(namespace))
    if as_json:
        print_json([route_json(one) for one in listing.routes])
    elif not listing.routes:
        click.echo("no route carries a program")
    else:
        rows = [row for one in listing.routes for row in _rows(listing.text(one), one)]
        print_table(["route", "hook", "program", "object", "state"], rows)


def _rows(text: str, one: AttachedRoute) -> list[tuple[str, str, str, str, str]]:
    if not one.programs:
        return [(text, "", "", "", one.state)]
    return [
        (text, hook, name, one.records[hook].object if hook in one.records else "", one.state)
        for hook, name in one.programs.items()
    ]


def route_json(one: AttachedRoute) -> dict[str, Any]:
    """An attached route for JSON."""
    return {
        **key_json(one.key),
        "state": one.state,
        "is_ours": one.is_ours,
        "was_created": one.created,
        "programs": [
            {"hook": hook, "name": name, **(_record_json(one, hook) if hook in one.records else {})}
            for hook, name in one.programs.items()
        ],
    }


def _record_json(one: AttachedRoute, hook: str) -> dict[str, Any]:
    record = one.records[hook]
    return {
        "function": record.function,
        "type": record.program_type,
        "id": record.id,
        "tag": record.tag,
        "object": record.object,
        "pin": record.pin,
        "maps": {name: held.pin for name, held in record.maps.items()},
    }
