"""What `routebpf run` shows a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_table
from routebpf.datapath.packet_text import packet_text, packets_of, time_text
from routebpf.datapath.verdicts import REASONS, VERDICT_NAMES, reason_of
from routebpf.hosts.report import listed_maps, objects_of

if TYPE_CHECKING:
    from routebpf.hosts.embedded import EmbeddedHost
    from routebpf.hosts.map_view import MapView
    from routebpf.hosts.replay import Replay, Watch

_ROWS_SHOWN = 20


def print_replay(replay: Replay) -> None:
    """Verdicts by route and program, drops by reason, maps, frames, time."""
    report = replay.report()
    _print_routes(report)
    if report["reasons"]:
        click.echo()
        texts = {one.name: one.text for one in REASONS}
        rows = [(name, count, texts[name]) for name, count in report["reasons"].items()]
        print_table(["not simply sent", "packets", ""], rows, right=["packets"])
    for name, view in listed_maps(objects_of(replay)).items():
        _print_map(name, view)
    click.echo()
    if report["frames"]:
        click.echo("frames left: " + ", ".join(f"{count} by {name}" for name, count in report["frames"].items()))
    click.echo(_speed(replay))


def _print_routes(report: dict[str, Any]) -> None:
    rows = [_route_row(one["to"], one["program"] or "-", one) for one in report["routes"]]
    on_routes = sum(one["packets"] for one in report["routes"])
    if on_routes != report["packets"]:
        rest = {
            "packets": report["packets"] - on_routes,
            "bytes": report["bytes"] - sum(one["bytes"] for one in report["routes"]),
            "verdicts": {
                name: report["verdicts"][name] - sum(one["verdicts"][name] for one in report["routes"])
                for name in VERDICT_NAMES
            },
        }
        rows.append(_route_row("no route", "-", rest))
    rows.append(_route_row("all", "", report))
    columns = ["route", "program", "packets", "bytes", *VERDICT_NAMES]
    print_table(columns, rows, right=columns[2:])


def _route_row(name: str, program: str, counts: dict[str, Any]) -> list[Any]:
    return [name, program, counts["packets"], counts["bytes"], *(counts["verdicts"][name] for name in VERDICT_NAMES)]


def _print_map(name: str, view: MapView) -> None:
    """The entries, the largest first."""
    entries = sorted(view.items(), key=lambda entry: _weight(entry[1]), reverse=True)
    rows = [(view.key_text(key), view.value_text(value)) for key, value in entries[:_ROWS_SHOWN] if any(_weight(value))]
    click.echo()
    if not rows:
        click.echo(f"{name}: {f'{len(entries)} entries, all 0' if entries else 'empty'}")
        return
    print_table(["key", "value"], rows, title=f"{name}: {len(entries)} entries")
    if len(entries) > len(rows) == _ROWS_SHOWN:
        click.echo(f"… {len(entries) - len(rows)} more; --json has them all")


def _weight(value: Any) -> tuple[float, ...]:
    """What the size of a value is judged by: its numbers, in order."""
    return tuple(_numbers(value))


def _numbers(value: Any) -> list[float]:
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, dict):
        return [number for one in value.values() for number in _numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in _numbers(one)]
    return []


def _speed(replay: Replay) -> str:
    seconds = replay.seconds
    rate = f" ({replay.packets / seconds:,.0f} packets/s)" if seconds > 0 else ""
    return f"{replay.packets:,} packets in {seconds:.3f} s{rate}"


def watcher(host: EmbeddedHost, *, packets: bool, trace: bool) -> Watch | None:
    """What shows each batch while the capture is replayed: a line a packet, what programs print; None for neither."""
    if not packets and not trace:
        return None
    if trace:
        host.trace()

    def watch(rows: Any, results: Any) -> None:
        for line in host.traced():
            click.echo(str(line), err=True)
        if packets:
            print_packets(rows, results)

    return watch


def print_packets(rows: Any, results: Any) -> None:
    """A line for each packet of a batch, with its verdict."""
    for row, result, packet in zip(rows, results, packets_of(rows), strict=True):
        reason = reason_of(int(result["reason"]))
        verdict = VERDICT_NAMES[reason.verdict]
        why = "" if reason.name == verdict else f" ({reason.name})"
        click.echo(f"{time_text(int(row['time']))} {packet_text(packet)}: {verdict}{why}")
