"""What `routebpf bench` measures: nanoseconds a packet on the embedded host, beside those of the program alone in the
kernel, and a capture beside tcpdump.

Each figure is the best of several rounds: other work on the machine only ever makes a round slower.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from routebpf.datapath.capture_link_types import LINKTYPE_RAW
from routebpf.datapath.packet_rows import PACKET_ROW
from routebpf.errors import MissingError
from routebpf.hosts.load import load
from routebpf.hosts.one_route import one_route_host

_PROGRAMS = Path(__file__).parent / "bench_programs"
_PACKET_BYTES = 64
_BATCH = 1 << 17
_PORTS = (80, 443, 25, 53)
_FILTER = "ip and tcp dst port 25"
_ETHERNET_HEADER = bytes(12) + b"\x08\x00"


@dataclass(frozen=True, slots=True)
class Case:
    """`program` on packets to so many destinations."""

    name: str
    program: str
    destinations: int


CASES = (
    Case("return only", "pass", 256),
    Case("parse headers, filter", "filter", 256),
    Case("count by destination, 256", "count", 256),
    Case("count by destination, 4,096", "count", 4096),
    Case("count by destination, 65,536", "count", 65536),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured: `nanoseconds` a packet. `kernel_nanoseconds`: of the program alone in the kernel, if asked."""

    name: str
    nanoseconds: float
    packets: int
    kernel_nanoseconds: int | None = None


def packet_rates(packets: int, rounds: int) -> Iterator[Figure]:
    """Nanoseconds of one 64-byte packet in memory, all of its path included, on one CPU.

    Beside it what the program alone takes in the kernel. That runs one packet again and again, so it knows no number of
    destinations: it is asked once a program, and not where this process may not load programs.
    """
    in_kernel: set[str] = set()
    for case in CASES:
        path = _PROGRAMS / f"{case.program}.bpf.c"
        loaded = load(path)
        host = one_route_host(loaded.program())
        data = _packets(_BATCH, case.destinations)
        rows = _rows(data)
        best = float("inf")
        for _ in range(rounds):
            batches = max(1, packets // _BATCH)
            start = time.perf_counter()
            for _ in range(batches):
                host.replay(rows, columns=False)
            best = min(best, (time.perf_counter() - start) / (batches * _BATCH))
        theirs = None if path.stem in in_kernel else _kernel_nanoseconds(path, data[0].tobytes(), packets, rounds)
        in_kernel.add(path.stem)
        yield Figure(case.name, best * 1e9, max(1, packets // _BATCH) * _BATCH, theirs)


def _kernel_nanoseconds(path: Path, packet: bytes, packets: int, rounds: int) -> int | None:
    from routebpf.kernel.object import load_in_kernel, read_for_kernel

    try:
        source = read_for_kernel(path)
        with load_in_kernel(source) as there:
            program = there.programs[source.program().name]
            runs = [program.run(_ETHERNET_HEADER + packet, repeat=packets).duration for _ in range(rounds)]
            return min(runs)
    except MissingError:
        return None


def capture_rates(capture: Path, packets: int, rounds: int) -> Iterator[Figure]:
    """The filter program over a capture, and tcpdump with the same filter, where there is one."""
    loaded = load(_PROGRAMS / "filter.bpf.c")
    host = one_route_host(loaded.program())
    tcpdump = shutil.which("tcpdump")
    command = [str(tcpdump), "-r", str(capture), "-w", "/dev/null", _FILTER]
    ours = theirs = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        host.replay(capture, columns=False)
        ours = min(ours, time.perf_counter() - start)
        if tcpdump:
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            theirs = min(theirs, time.perf_counter() - start)
    yield Figure(f"capture, {_FILTER}: routebpf", ours / packets * 1e9, packets)
    if tcpdump:
        yield Figure(f"capture, {_FILTER}: tcpdump", theirs / packets * 1e9, packets)


def write_capture(path: Path, packets: int) -> None:
    """A capture of so many 64-byte packets behind Ethernet headers, a microsecond apart."""
    record = np.dtype(
        [
            ("seconds", "<u4"),
            ("micros", "<u4"),
            ("size", "<u4"),
            ("wire_size", "<u4"),
            ("frame", "u1", 14 + _PACKET_BYTES),
        ]
    )
    header = np.array([(0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)], dtype="<u4,<u2,<u2,<u4,<u4,<u4,<u4")
    pattern = _packets(_BATCH, 4096)
    with path.open("wb") as file:
        file.write(header.tobytes())
        for first in range(0, packets, _BATCH):
            records = np.zeros(min(_BATCH, packets - first), record)
            number = np.arange(first, first + len(records))
            records["seconds"], records["micros"] = 1_700_000_000 + number // 1_000_000, number % 1_000_000
            records["size"] = records["wire_size"] = 14 + _PACKET_BYTES
            records["frame"][:, 12] = 8  # ETH_P_IP
            records["frame"][:, 14:] = pattern[: len(records)]
            file.write(records.tobytes())


def _packets(count: int, destinations: int) -> np.ndarray[Any, Any]:
    """IPv4 and TCP headers to so many destinations in 10.0.0.0/8, the same at every call."""
    packets = np.zeros((count, _PACKET_BYTES), np.uint8)
    packets[:, :20] = np.frombuffer(bytes.fromhex("450000400001400040060000c0a8000100000000"), np.uint8)
    number = np.random.default_rng(1).integers(0, destinations, count, dtype=np.uint32) + (10 << 24)
    packets[:, 16:20] = number.astype(">u4").view(np.uint8).reshape(-1, 4)
    packets[:, 20:40] = np.frombuffer(bytes.fromhex("9c40000000000000000000005018ffff00000000"), np.uint8)
    total = packets[:, :20].copy().view(">u2").sum(axis=1, dtype=np.uint32)  # RFC 1071
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    packets[:, 10:12] = checksum.astype(">u2").view(np.uint8).reshape(-1, 2)
    ports = np.array(_PORTS, ">u2")[np.arange(count) % len(_PORTS)]
    packets[:, 22:24] = ports.view(np.uint8).reshape(-1, 2)
    return packets


def _rows(packets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows = np.zeros(len(packets), PACKET_ROW)
    rows["address"] = packets.ctypes.data + np.arange(len(packets), dtype=np.uint64) * _PACKET_BYTES
    rows["size"] = rows["wire_size"] = _PACKET_BYTES
    rows["time"] = np.arange(len(packets)) * 1000
    rows["link"] = LINKTYPE_RAW
    return rows
