"""`routebpf detach`: routes become what they were."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_json
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

if TYPE_CHECKING:
    from routebpf.kernel.attach_targets import Prefix
    from routebpf.kernel.detach import Detached
    from routebpf.kernel.route_identity import RouteKey

_SHOWN = 20
# What was done, and what would be.
_WORDS = {
    "detach": ("detached", "would detach"),
    "delete": ("deleted the route that attach made", "would delete the route that attach made"),
    "gone": ("the route is gone; forgotten", "the route is gone; would forget it"),
    "changed": ("others have changed the route, it stays; forgotten", "others have changed the route; would forget it"),
}


@click.command(epilog="Example: routebpf detach 192.168.253.0/24")
@click.argument("prefixes", metavar="[PREFIX]...", nargs=-1)
@from_option
@click.option("--all", "everything", is_flag=True, help="Every route of the namespace that routebpf attached to.")
@selection_options
@click.option("--hook", type=click.Choice(["in", "out", "xmit"]), help="Only the program of this hook.")
@click.option("--force", is_flag=True, help="Take off also what others attached.")
@namespace_option
@dry_run_option
@json_option
def command(
    prefixes: tuple[str, ...],
    file: str | None,
    everything: bool,
    table: int,
    metric: int | None,
    tos: int | None,
    device: str | None,
    source: Prefix | None,
    hook: str | None,
    force: bool,
    namespace: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take the programs off the routes of each PREFIX: they are then exactly what they were.

    All of them or none. A route that attach --create made is deleted. Programs and maps that no route has any more go.
    """
    from routebpf.kernel.detach import detach

    wanted = read_prefixes(prefixes, file)
    if everything == bool(wanted):
        raise click.UsageError("give a PREFIX, --from FILE with some, or --all")
    done = detach(
        None if everything else wanted,
        selection(table, metric, tos, device, source),
        hook=hook,
        force=force,
        dry_run=dry_run,
        namespace=namespace_named(namespace),
    )
    if as_json:
        print_json({"dry_run": dry_run, "routes": [_as_json(key, one) for key, one in done.items()]})
        return
    if not done:
        click.echo("nothing is attached" if hook is None else f"nothing is attached to hook {hook}")
    elif len(done) > _SHOWN:
        for what, count in Counter(one.what for one in done.values()).items():
            click.echo(f"{_WORDS[what][dry_run]}: {count:,} routes")
    else:
        for key, one in done.items():
            click.echo(_line(key, one, dry_run=dry_run))


def _as_json(key: RouteKey, one: Detached) -> dict[str, Any]:
    return {**key_json(key), "what": one.what, "had": one.had, "left": one.left, "is_as_before": one.is_as_before}


def _line(key: RouteKey, one: Detached, *, dry_run: bool) -> str:
    from routebpf.kernel.route_identity import key_text

    names = ", ".join(f"{name} ({hook})" for hook, name in one.had.items() if hook not in one.left)
    changed = "" if one.is_as_before else "; not as it was: others have changed it since, or had a program on it"
    return f"{key_text(key)}: {_WORDS[one.what][dry_run]}{f' {names}' if one.what == 'detach' else ''}{changed}"
