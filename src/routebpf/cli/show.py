"""`routebpf show`: all about what is attached to a prefix."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.list_routes import route_json
from routebpf.cli.output import print_json
from routebpf.cli.route_options import (
    json_option,
    namespace_named,
    namespace_option,
    selection,
    selection_options,
)
from routebpf.errors import InputError, MissingError, RejectedError

if TYPE_CHECKING:
    from routebpf.kernel.attach_targets import Prefix, Selection
    from routebpf.kernel.attached_routes import AttachedRoute, Listing
    from routebpf.kernel.ledger import ProgramRecord


@click.command(epilog="Example: routebpf show 192.168.253.0/24")
@click.argument("prefix")
@selection_options
@namespace_option
@json_option
def command(
    prefix: str,
    table: int,
    metric: int | None,
    tos: int | None,
    device: str | None,
    source: Prefix | None,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Show the programs on the routes of PREFIX: where they came from, their maps, what the routes were before."""
    from routebpf.kernel.attach_targets import table_name
    from routebpf.kernel.attached_routes import list_attached

    listing = list_attached(namespace_named(namespace))
    found = _choose(listing, prefix, selection(table, metric, tos, device, source))
    if not found:
        raise RejectedError(
            f"show {prefix}: no route of it in table {table_name(table)} carries a program; routebpf list has all"
        )
    if as_json:
        print_json([_as_json(listing, one) for one in found])
        return
    for number, one in enumerate(found):
        if number:
            click.echo()
        _print(listing, one)


def _choose(listing: Listing, prefix: str, wanted: Selection) -> list[AttachedRoute]:
    from routebpf.kernel.attach_targets import goes_by, parse_prefix
    from routebpf.kernel.route_identity import read_key

    meant = parse_prefix(prefix)
    ifindex = listing.devices.index(wanted.device) if wanted.device is not None else None
    found = []
    for one in listing.routes:
        place = read_key(one.key)
        if (
            (place.family, place.dst, place.dst_len, place.table) == (*meant, wanted.table)
            and wanted.has(place)
            and goes_by(one.route.shape if one.route else None, ifindex)
        ):
            found.append(one)
    return found


def _as_json(listing: Listing, one: AttachedRoute) -> dict[str, Any]:
    return {
        **route_json(one),
        "route": listing.text(one),
        "was": _was(listing, one),
    }


def _was(listing: Listing, one: AttachedRoute) -> str | None:
    from routebpf.kernel.route_identity import route_text

    return route_text(one.was.full, listing.devices.names) if one.was else None


def _print(listing: Listing, one: AttachedRoute) -> None:
    click.secho(listing.text(one), bold=True)
    click.echo(f"state    {one.state}")
    if one.created:
        click.echo("was      not there: attach --create made it")
    elif one.entry is not None:
        click.echo(f"was      {_was(listing, one)}")
    for hook, name in one.programs.items():
        click.echo(f"{hook:<8} {name}")
        if hook in one.records:
            _print_program(listing, one.records[hook])
        elif not one.is_ours:
            click.echo("         the kernel tells only this name of it")


def _print_program(listing: Listing, record: ProgramRecord) -> None:
    from routebpf.kernel.attached_programs import open_program

    click.echo(f"         {record.program_type} {record.function} of {record.object}")
    click.echo(f"         id {record.id}, tag {record.tag}, attached {time.ctime(record.loaded_at)}")
    try:
        with open_program(record) as program:
            info = program.info()
        jited = f"{info.jited_bytes:,} bytes of machine code" if info.jited_bytes else "interpreted"
        click.echo(f"         {info.verified_instructions:,} instructions verified, {jited}")
        if info.run_count:
            click.echo(f"         {info.run_count:,} runs, {info.run_time / info.run_count:.0f} ns each")
        is_gone = "" if os.path.exists(record.pin) else ", which is gone"
        click.echo(f"         pinned at {record.pin}{is_gone}")
    except (InputError, MissingError) as error:
        click.echo(f"         {error}")
    programs = listing.ledger.book.programs.values()
    for name, held in record.maps.items():
        is_alone = all(one.maps.get(name, held).id == held.id for one in programs)
        of = "" if is_alone else f" --program {record.name}"
        click.echo(f"         map {name}, id {held.id}: routebpf map dump {name}{of}")
