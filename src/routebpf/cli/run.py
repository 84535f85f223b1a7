"""`routebpf run`: the main job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_json
from routebpf.cli.program_argument import ProgramReference, parse_program, type_option

if TYPE_CHECKING:
    from routebpf.hosts.embedded import EmbeddedHost
    from routebpf.hosts.load import Engine


def _clock(_ctx: click.Context, _param: click.Parameter, value: str) -> str | int:
    if value in ("capture", "machine"):
        return value
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither capture, machine nor a number of nanoseconds") from None


@click.command(
    epilog="Example: routebpf run examples/drop_smtp.bpf.c --to 10.0.0.0/8 --pcap captures/mail-and-dns.pcapng"
)
@click.argument("prog", callback=parse_program, required=False)
@click.option("--to", "prefixes", metavar="PREFIX", multiple=True, help="The route's prefix; all packets if not given.")
@click.option("--pcap", required=True, metavar="IN", help="The capture: pcap or pcapng, also .gz and .zst; - reads it.")
@click.option(
    "--write", metavar="OUT", help="Write the frames that leave: .pcapng, with verdicts as comments, or .pcap."
)
@click.option("--topology", metavar="FILE", help="Devices, addresses, neighbours and routes, as for ip -batch.")
@click.option("--in", "ingress", metavar="DEVICE", help="Packets come in by this device instead of being sent.")
@click.option("--engine", type=click.Choice(["jit", "interpreter"]), default="jit", show_default=True)
@click.option("--cpus", type=click.IntRange(1, 256), default=1, show_default=True, help="Worker threads, each a CPU.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the programs' random numbers.")
@click.option(
    "--clock", callback=_clock, default="capture", show_default=True, help="capture, machine, or a time in ns."
)
@type_option
@click.option("--packets", "list_packets", is_flag=True, help="List each packet with its verdict.")
@click.option("-v", "--verbose", is_flag=True, help="Show what programs print with bpf_printk.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    prog: ProgramReference | None,
    prefixes: tuple[str, ...],
    pcap: str,
    write: str | None,
    topology: str | None,
    ingress: str | None,
    engine: Engine,
    cpus: int,
    seed: int,
    clock: str | int,
    program_type: str | None,
    list_packets: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Send every packet of a capture down a route that carries PROG, and show what became of each.

    PROG is a .c file or a compiled object, with :SECTION or :FUNCTION for one program of several. Without --topology
    the route is one of a host with one device; packets to other destinations take a route without a program.
    """
    settings: dict[str, Any] = {"seed": seed, "clock": clock, "cpus": cpus}
    host = _host(prog, prefixes, topology, engine, program_type, settings)
    from routebpf.cli.progress import progress_bar
    from routebpf.cli.run_output import print_replay, watcher

    with progress_bar(pcap) as progress:
        replay = host.replay(
            pcap,
            write=write,
            device=ingress,
            keep_packets=list_packets and as_json,
            columns=list_packets and as_json,
            progress=progress,
            watch=watcher(host, packets=list_packets and not as_json, trace=verbose),
        )
    if as_json:
        print_json(replay.report())
    else:
        print_replay(replay)
    if replay.damage is not None:
        raise replay.damage


def _host(
    prog: ProgramReference | None,
    prefixes: tuple[str, ...],
    topology: str | None,
    engine: Engine,
    program_type: str | None,
    settings: dict[str, Any],
) -> EmbeddedHost:
    if (prog is None) == (topology is None):
        raise click.UsageError("give either PROG or --topology FILE, whose routes name their programs")
    if topology is not None:
        if prefixes:
            raise click.UsageError("--to goes with PROG; with --topology, the file has the routes")
        from routebpf.hosts.embedded_topology import topology_host

        return topology_host(topology, engine=engine, **settings)
    assert prog is not None
    from routebpf.hosts.load import load
    from routebpf.hosts.one_route import one_route_host

    loaded = load(prog.path, program_type=program_type, engine=engine, cpus=settings["cpus"])
    return one_route_host(loaded.program(prog.selector), prefixes, **settings)
