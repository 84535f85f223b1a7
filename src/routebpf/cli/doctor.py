"""`routebpf doctor`: whether this machine can put programs on routes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from routebpf.cli.output import print_json, print_table
from routebpf.cli.route_options import json_option
from routebpf.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routebpf.kernel.features import Finding

_WIDTH = 100


@click.command(epilog="Example: routebpf doctor")
@json_option
def command(as_json: bool) -> None:
    """Check what attach, map and the kernel backend need of this machine and of this process.

    Nothing is changed. Exits with 3 if something is missing without which no program goes on a route.
    """
    from routebpf.hosts.kernel_probe import HOST
    from routebpf.kernel.features import FEATURES, probe_features
    from routebpf.kernel.route_probe import ENCAP

    findings = probe_features([*FEATURES, ENCAP, HOST])
    if as_json:
        print_json(
            [
                {
                    "name": one.feature.name,
                    "is_there": one.is_there,
                    "is_required": one.feature.is_required,
                    "detail": one.detail,
                    "use": one.feature.doc,
                    "mend": one.mend or None,
                }
                for one in findings
            ]
        )
    else:
        _print(findings)
    missing = [one.feature.name for one in findings if one.feature.is_required and not one.is_there]
    if missing:
        raise MissingError(f"this machine cannot put programs on routes; missing: {', '.join(missing)}")


def _print(findings: Sequence[Finding]) -> None:
    """The findings, and below them what would mend the bad ones: each remedy once."""
    rows, remedies = [], dict[str, list[str]]()
    for one in findings:
        state = "yes" if one.is_there else "MISSING" if one.feature.is_required else "no"
        rows.append((one.feature.name, state, one.detail))
        if one.mend:
            remedies.setdefault(one.mend, []).append(one.feature.name)
    print_table(["feature", "there", "found"], rows)
    for remedy, names in remedies.items():
        click.echo()
        click.echo(textwrap.fill(f"to have {', '.join(names)}:", _WIDTH))
        click.echo(f"  {remedy}")
