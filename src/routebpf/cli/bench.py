"""`routebpf bench`: nanoseconds a packet."""

from __future__ import annotations

import click

from routebpf.cli.output import print_json, print_table


@click.command(epilog="Example: routebpf bench --packets 10000000")
@click.option("--packets", type=click.IntRange(1), default=3_000_000, show_default=True, help="Packets of each round.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="The best of so many counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(packets: int, rounds: int, as_json: bool) -> None:
    """Measure what a packet costs on the embedded host, on one CPU.

    First 64-byte packets in memory, by program; then a capture of as many packets, beside tcpdump with the same filter.
    """
    import tempfile
    from pathlib import Path

    from routebpf.hosts.benchmark import capture_rates, packet_rates, write_capture

    figures = list(packet_rates(packets, rounds))
    with tempfile.TemporaryDirectory(prefix="routebpf-bench-") as folder:
        capture = Path(folder) / "bench.pcap"
        write_capture(capture, packets)
        figures += capture_rates(capture, packets, rounds)
    if as_json:
        print_json([{"name": one.name, "nanoseconds": round(one.nanoseconds, 2)} for one in figures])
        return
    rows = [(one.name, f"{one.nanoseconds:.1f}", f"{1e3 / one.nanoseconds:.1f}") for one in figures]
    print_table(["what", "ns a packet", "million packets/s"], rows)
