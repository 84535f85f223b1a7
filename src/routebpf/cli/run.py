"""`routebpf run`: the main job."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from routebpf.cli.output import print_json
from routebpf.cli.program_argument import ProgramReference, engine_option, parse_program, type_option, verify_option

if TYPE_CHECKING:
    from routebpf.hosts.backend import Backend
    from routebpf.hosts.host import Host
    from routebpf.hosts.load import Engine

_STANDARD_OUTPUT = "-"


def _clock(_ctx: click.Context, _param: click.Parameter, value: str) -> str | int:
    if value in ("capture", "machine"):
        return value
    if not value.isdecimal() or int(value) >= 1 << 63:
        raise click.BadParameter(f"{value!r} is neither capture, machine nor a number of nanoseconds")
    return int(value)


@click.command(
    epilog="Example: routebpf run examples/drop_smtp.bpf.c --to 10.0.0.0/8 --pcap captures/mail-and-dns.pcapng"
)
@click.argument("prog", callback=parse_program, required=False)
@click.option(
    "--to", "prefixes", metavar="PREFIX", multiple=True, help="The route's prefix; 0.0.0.0/0 and ::/0 if not given."
)
@click.option("--pcap", required=True, metavar="IN", help="The capture: pcap or pcapng, also .gz and .zst; - reads it.")
@click.option(
    "--write",
    metavar="OUT",
    help="Write the frames that leave: .pcapng, with verdicts as comments, or .pcap, also .gz and .zst. To - goes"
    " pcapng, and all else to the error output.",
)
@click.option(
    "--topology", metavar="FILE", help="Devices, addresses, neighbours and routes, as for ip -batch; - reads it."
)
@click.option(
    "--in",
    "ingress",
    metavar="DEVICE",
    help="Packets come in by this device instead of being sent. It is veth0 without --topology, where it goes without"
    " saying for an LWT_IN program.",
)
@click.option(
    "--backend",
    type=click.Choice(["embedded", "kernel"]),
    default="embedded",
    show_default=True,
    help="Where packets go: through this process, or as root through a network namespace made for this run.",
)
@engine_option(default="jit")
@verify_option
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
    backend: Backend,
    engine: Engine,
    verify: bool,
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
    if (prog is None) == (topology is None):
        raise click.UsageError("give either PROG or --topology FILE, whose routes name their programs")
    if topology is not None and (prefixes or program_type):
        raise click.UsageError("--to and --type go with PROG; the routes of --topology say both themselves")
    if backend == "kernel" and engine != "jit":
        raise click.UsageError("--engine goes with --backend embedded: the kernel runs programs itself")
    if not verify and engine != "interpreter":
        raise click.UsageError("--no-verify goes with --engine interpreter, which checks every access")
    from routebpf.hosts.backend import host_for

    with host_for(backend, seed=seed, clock=clock, cpus=cpus, verify=verify) as host:  # type: ignore[arg-type]
        if topology is not None:
            way_in = None
            _apply_topology(host, topology, engine)
        else:
            assert prog is not None
            way_in = _add_one_route(host, prog, prefixes, engine, program_type)
        _replay(
            host,
            pcap,
            write,
            way_in if ingress is None else ingress,
            list_packets=list_packets,
            verbose=verbose,
            as_json=as_json,
        )


def _replay(
    host: Host,
    pcap: str,
    write: str | None,
    way_in: str | None,
    *,
    list_packets: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    from routebpf.cli.progress import progress_bar
    from routebpf.cli.run_output import print_replay, print_traced, watcher

    with redirect_stdout(sys.stderr if write == _STANDARD_OUTPUT else sys.stdout):
        with progress_bar(pcap, is_alone=not list_packets and not verbose) as progress:
            try:
                replay = host.replay(
                    pcap,
                    write=write,
                    device=way_in,
                    keep_packets=list_packets and as_json,
                    columns=list_packets and as_json,
                    progress=progress,
                    watch=watcher(host, packets=list_packets and not as_json, trace=verbose),
                )
            finally:
                print_traced(host)  # what a program printed before it was stopped tells why
        if as_json:
            print_json(replay.report())
        else:
            print_replay(replay, write)
    if replay.damage is not None:
        raise replay.damage


def _apply_topology(host: Host, path: str, engine: Engine) -> None:
    from routebpf.hosts.topology import read_topology
    from routebpf.hosts.topology_apply import apply_topology

    apply_topology(host, read_topology(path), engine=engine, where=path)


def _add_one_route(
    host: Host, prog: ProgramReference, prefixes: tuple[str, ...], engine: Engine, program_type: str | None
) -> str | None:
    """Make the host that of the one route: the device that packets come in by if they are not sent. Those are all that
    meet LWT_IN."""
    from routebpf.hosts.one_route import DEVICE, add_one_route

    program = host.load(prog.path, program_type=program_type, engine=engine).program(prog.selector)
    add_one_route(host, program, prefixes)
    return DEVICE if program.program_type == "LWT_IN" else None
