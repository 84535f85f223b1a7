"""`routebpf attach`: a program on routes that are there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_json
from routebpf.cli.program_argument import ProgramReference, parse_program, type_option
from routebpf.cli.route_options import (
    dry_run_option,
    from_option,
    json_option,
    key_json,
    namespace_named,
    namespace_option,
    read_prefixes,
    selection,
    selection_options,
)
from routebpf.errors import RejectedError

if TYPE_CHECKING:
    from routebpf.kernel.attach import Attached
    from routebpf.kernel.attach_targets import Prefix
    from routebpf.kernel.route_identity import RouteKey

_SHOWN = 20
# What was done, and what would be.
_WORDS = {
    "attach": ("attached", "would attach"),
    "replace": ("replaced", "would replace"),
    "create": ("made the route, attached", "would make the route, and attach"),
    "unchanged": ("unchanged", "unchanged"),
}


@click.command(epilog="Example: routebpf attach examples/account.bpf.c 192.168.253.0/24")
@click.argument("prog", callback=parse_program)
@click.argument("prefixes", metavar="[PREFIX]...", nargs=-1)
@from_option
@selection_options
@click.option("--create", is_flag=True, help="Make the route where there is none, going as packets to it go now.")
@click.option("--via", metavar="ADDRESS", help="With --create: the new route's gateway. Its device: --device.")
@click.option("--headroom", type=click.IntRange(0, 256), help="Bytes that the program may push; lowers the MTU.")
@click.option("--reset-maps", is_flag=True, help="Start with new maps, where the program before had the same ones.")
@click.option("--force", is_flag=True, help="Replace also what others attached.")
@type_option
@click.option("-v", "--verbose", is_flag=True, help="Of a program that the kernel rejects, show all that it says.")
@namespace_option
@dry_run_option
@json_option
def command(
    prog: ProgramReference,
    prefixes: tuple[str, ...],
    file: str | None,
    table: int,
    metric: int | None,
    tos: int | None,
    device: str | None,
    source: Prefix | None,
    create: bool,
    via: str | None,
    headroom: int | None,
    reset_maps: bool,
    force: bool,
    program_type: str | None,
    verbose: bool,
    namespace: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put PROG on the routes of each PREFIX, keeping all else of them; at no moment is a route missing.

    All of them or none. A route that carries a program of routebpf's is given the new one, and maps whose definition
    is unchanged keep their content. The program and its maps stay when the command has ended: see list, map, detach.
    """
    from routebpf.kernel.attach import AttachOptions, attach
    from routebpf.kernel.attach_targets import NewRoute, parse_gateway
    from routebpf.kernel.object import read_for_kernel

    if via is not None and not create:
        raise click.UsageError("--via goes with --create: a route that is there keeps its way")
    wanted = read_prefixes(prefixes, file)
    if not wanted:
        raise click.UsageError("give a PREFIX, or --from FILE with some")
    obj = read_for_kernel(prog.path, program_type=program_type)
    options = AttachOptions(
        selection=selection(table, metric, tos, None if create else device, source),
        create=NewRoute(parse_gateway(via) if via is not None else None, device) if create else None,
        reset_maps=reset_maps,
        headroom=headroom,
        force=force,
        dry_run=dry_run,
    )
    try:
        done = attach(obj, obj.program(prog.selector), wanted, options, namespace=namespace_named(namespace))
    except RejectedError as error:
        if verbose:
            click.echo(error.log, err=True)
        raise
    if as_json:
        print_json({"dry_run": dry_run, "routes": [_as_json(key, one) for key, one in done.items()]})
    else:
        _print(done, dry_run=dry_run)


def _as_json(key: RouteKey, one: Attached) -> dict[str, Any]:
    return {
        **key_json(key),
        "what": one.what,
        "hook": one.hook,
        "program": one.program,
        "had": one.had,
        "kept_maps": list(one.kept_maps),
    }


def _print(done: dict[RouteKey, Attached], *, dry_run: bool) -> None:
    if len(done) > _SHOWN:
        for what, count in Counter(one.what for one in done.values()).items():
            click.echo(f"{_WORDS[what][dry_run]}: {count:,} routes")
    else:
        for key, one in done.items():
            click.echo(_line(key, one, dry_run=dry_run))
    kept = sorted({name for one in done.values() for name in one.kept_maps})
    if kept:
        click.echo(f"maps that keep their content: {', '.join(kept)}")


def _line(key: RouteKey, one: Attached, *, dry_run: bool) -> str:
    from routebpf.kernel.route_identity import key_text

    route = key_text(key)
    others = ", ".join(f"{name} ({hook})" for hook, name in one.had.items() if hook != one.hook)
    beside = f", beside {others}" if others else ""
    if one.what == "unchanged":
        return f"{route}: unchanged, it carries {one.program} ({one.hook}) already"
    if one.hook in one.had:
        return f"{route}: {_WORDS['replace'][dry_run]} {one.had[one.hook]} by {one.program} ({one.hook}){beside}"
    what = "create" if one.what == "create" else "attach"
    return f"{route}: {_WORDS[what][dry_run]} {one.program} ({one.hook}){beside}"
