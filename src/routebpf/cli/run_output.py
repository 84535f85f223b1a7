"""What `routebpf run` shows a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.map_output import print_map
from routebpf.cli.output import print_table
from routebpf.datapath.packet_text import packet_text, packets_of, time_text
from routebpf.datapath.verdicts import REASONS, VERDICT_NAMES, reason_of
from routebpf.hosts.report import listed_maps, objects_of, reported_routes

if TYPE_CHECKING:
    from routebpf.hosts.host import Host
    from routebpf.hosts.replay import Replay, Watch

_NO_ROUTE = 0  # its row in a replay's counts


def print_replay(replay: Replay, written: str | None) -> None:
    """Verdicts by route and program, drops by reason, maps, frames, time. `written`: the capture with the frames."""
    print_table(["route", "program", "verdict", "packets", "bytes"], list(_route_rows(replay)))
    if replay.reasons:
        texts = {one.name: one.text for one in REASONS}
        click.echo()
        print_table(
            ["reason", "packets", "what became of them"],
            [(name, f"{count:,}", texts[name]) for name, count in replay.reasons.items()],
        )
    for name, view in listed_maps(objects_of(replay)).items():
        click.echo()
        print_map(name, view)
    click.echo()
    for name, count in replay.frames.items():
        click.echo(f"{_frames(count)}, {replay.frame_bytes[name]:,} bytes left by {name}")
    if written is not None:
        click.echo(f"{_frames(sum(replay.frames.values()))} written to {written}")
    rate = f" ({replay.packets / replay.seconds:,.0f} packets/s)" if replay.seconds else ""
    click.echo(f"{replay.packets:,} packets, {replay.bytes:,} bytes in {replay.seconds:.3f} s{rate}")


def _frames(count: int) -> str:
    return f"{count:,} frame{'' if count == 1 else 's'}"


def _route_rows(replay: Replay) -> Iterator[tuple[str, ...]]:
    """A row for each verdict on each route: those with a program first, then what no route took, then all."""
    for route, counts in sorted(reported_routes(replay), key=lambda one: not one[0].programs):
        names = dict.fromkeys(program.name for program in route.programs)
        yield from _verdict_rows(str(route.prefix), ", ".join(names) or "-", counts)
    if replay.route_counts[_NO_ROUTE, :, 0].any():
        yield from _verdict_rows("no route", "-", replay.route_counts[_NO_ROUTE])
    yield from _verdict_rows("all", "", replay.route_counts.sum(axis=0))


def _verdict_rows(route: str, program: str, counts: Any) -> Iterator[tuple[str, ...]]:
    """`counts`: [verdict, packets or bytes]."""
    seen = [(name, pair) for name, pair in zip(VERDICT_NAMES, counts, strict=True) if pair[0]]
    for verdict, (packets, size) in seen or [("", (0, 0))]:
        yield route, program, verdict, f"{packets:,}", f"{size:,}"
        route = program = ""


def watcher(host: Host, *, packets: bool, trace: bool) -> Watch | None:
    """What shows each batch while the capture is replayed: a line a packet, what programs print; None for neither."""
    if not packets and not trace:
        return None
    if trace:
        host.trace()

    def watch(rows: Any, results: Any) -> None:
        print_traced(host)
        if packets:
            print_packets(rows, results)

    return watch


def print_traced(host: Host) -> None:
    """The lines that programs printed since the last call, on standard error."""
    for line in host.traced():
        click.echo(str(line), err=True)


def print_packets(rows: Any, results: Any) -> None:
    """A line for each packet of a batch, with its verdict."""
    for row, result, packet in zip(rows, results, packets_of(rows), strict=True):
        reason = reason_of(int(result["reason"]))
        verdict = VERDICT_NAMES[reason.verdict]
        why = "" if reason.name == verdict else f" ({reason.name})"
        click.echo(f"{time_text(int(row['time']))} {packet_text(packet)}: {verdict}{why}")
