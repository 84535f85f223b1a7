"""`routebpf bench`: nanoseconds a packet."""

from __future__ import annotations

import click

from routebpf.cli.output import print_json, print_table


@click.command(epilog="Example: routebpf bench --packets 10000000")
@click.option("--packets", type=click.IntRange(1), default=3_000_000, show_default=True, help="Packets of each round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="The best of so many counts.")
@click.option(
    "--routes", type=click.IntRange(1, 1 << 16), help="Measure attaching to so many routes instead; needs root."
)
@click.option("--verifier", is_flag=True, help="Measure verifying programs instead, beside the kernel as root.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(packets: int, rounds: int, routes: int | None, verifier: bool, as_json: bool) -> None:
    """Measure what a packet costs on the embedded host, on one CPU.

    First 64-byte packets in memory, by program, and as root beside it what the program alone takes in the kernel; then
    a capture of as many packets, beside tcpdump with the same filter.
    With --routes, what attaching a program to many routes costs, beside ip -batch with a pinned program. With
    --verifier, what verifying costs.
    """
    if verifier:
        _measure_verifier(rounds, as_json=as_json)
        return
    if routes is not None:
        _measure_attach(routes, rounds, as_json=as_json)
        return
    import tempfile
    from pathlib import Path

    from routebpf.hosts.benchmark import capture_rates, packet_rates, write_capture

    figures = list(packet_rates(packets, rounds))
    with tempfile.TemporaryDirectory(prefix="routebpf-bench-") as folder:
        capture = Path(folder) / "bench.pcap"
        write_capture(capture, packets)
        figures += capture_rates(capture, packets, rounds)
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "nanoseconds": round(one.nanoseconds, 2),
                    "kernel_nanoseconds": one.kernel_nanoseconds,
                }
                for one in figures
            ]
        )
        return
    rows = [
        (
            one.name,
            f"{one.nanoseconds:.1f}",
            f"{1e3 / one.nanoseconds:.1f}",
            "-" if one.kernel_nanoseconds is None else str(one.kernel_nanoseconds),
        )
        for one in figures
    ]
    print_table(["what", "ns a packet", "million packets/s", "kernel, program alone, ns"], rows)


def _measure_attach(routes: int, rounds: int, *, as_json: bool) -> None:
    from routebpf.hosts.attach_benchmark import attach_rates

    figures = list(attach_rates(routes, rounds))
    if as_json:
        print_json([{"name": one.name, "seconds": round(one.seconds, 4), "routes": one.routes} for one in figures])
        return
    rows = [(one.name, f"{one.seconds * 1e3:.0f}", f"{one.seconds / one.routes * 1e6:.1f}") for one in figures]
    print_table([f"{routes:,} routes", "ms", "µs a route"], rows)


def _measure_verifier(rounds: int, *, as_json: bool) -> None:
    from dataclasses import asdict

    from routebpf.hosts.verifier_benchmark import verifier_rates

    figures = list(verifier_rates(rounds))
    if as_json:
        print_json([asdict(one) for one in figures])
        return
    rows = [
        (
            one.name,
            f"{one.instructions:,}",
            f"{one.processed:,}",
            f"{one.seconds * 1e3:.1f}",
            f"{one.processed / one.seconds:,.0f}",
            "-" if one.kernel_seconds is None else f"{one.kernel_seconds * 1e3:.2f}",
        )
        for one in figures
    ]
    print_table(["program", "instructions", "processed", "ms", "processed/s", "kernel, ms"], rows)
