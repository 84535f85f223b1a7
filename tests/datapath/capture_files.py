"""Captures made block by block, for what no recorder makes; and captures as Wireshark and as our reader see them."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from routebpf.datapath.capture_reader import open_capture

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "captures").glob("*.pcap*"))


class Packet(NamedTuple):
    time: int  # ns
    wire_size: int
    data: bytes


def ours(path: str | Path, max_packets: int = 65_536) -> Iterator[Packet]:
    """The packets of a capture by our reader; raises as it does."""
    with open_capture(path) as capture:
        for batch in capture.batches(max_packets):
            for index, row in enumerate(batch.rows):
                yield Packet(int(row["time"]), int(row["wire_size"]), batch.packet(index))


def dissected(path: str | Path) -> list[dict[str, Any]]:
    """The layers of each packet by tshark."""
    command = ["tshark", "-n", "-r", str(path), "-T", "json", "-x"]
    text = subprocess.run(command, check=True, capture_output=True).stdout.decode(errors="replace")
    return [one["_source"]["layers"] for one in json.loads(text)]


def of_tshark(path: str | Path) -> list[Packet]:
    """The packets of a capture by tshark. It shows custom blocks, too: they are on no link."""
    packets = []
    for layers in dissected(path):
        frame = layers["frame"]
        if "frame.encap_type" not in frame:
            continue
        seconds, _, fraction = frame.get("frame.time_epoch", "0.0").partition(".")
        data = bytes.fromhex(layers["frame_raw"][0]) if "frame_raw" in layers else b""
        assert len(data) == int(frame["frame.cap_len"])
        packets.append(Packet(int(seconds) * 10**9 + int(fraction), int(frame["frame.len"]), data))
    return packets


def pcap(
    packets: Sequence[Packet], *, order: str = "<", unit: int = 1000, link: int = 1, snaplen: int = 262_144
) -> bytes:
    """A pcap file with times in units of 1000 ns or 1 ns."""
    magic = {1000: 0xA1B2C3D4, 1: 0xA1B23C4D}[unit]
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snaplen, link)]
    for time, wire_size, data in packets:
        seconds, nanoseconds = divmod(time, 10**9)
        parts += [struct.pack(f"{order}IIII", seconds, nanoseconds // unit, len(data), wire_size), data]
    return b"".join(parts)


def option(code: int, value: bytes, *, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


class Pcapng:
    """The blocks of a pcapng section, in one byte order."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def block(self, kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(f"{self.order}I", 12 + len(body))
        return struct.pack(f"{self.order}I", kind) + size + body + size

    def section(self, options: bytes = b"") -> bytes:
        return self.block(0x0A0D0D0A, struct.pack(f"{self.order}IHHq", 0x1A2B3C4D, 1, 0, -1) + options)

    def interface(
        self, link: int = 1, *, snaplen: int = 0, resolution: int | None = None, offset: int | None = None
    ) -> bytes:
        options = option(2, b"eth0", order=self.order)
        options += option(2988, struct.pack(f"{self.order}I", 32473) + b"custom option", order=self.order)
        if resolution is not None:
            options += option(9, bytes([resolution]), order=self.order)
        if offset is not None:
            options += option(14, struct.pack(f"{self.order}q", offset), order=self.order)
        return self.block(1, struct.pack(f"{self.order}HHI", link, 0, snaplen) + options + bytes(4))

    def enhanced(
        self, data: bytes, *, ticks: int = 0, wire_size: int | None = None, interface: int = 0, options: bytes = b""
    ) -> bytes:
        size = len(data) if wire_size is None else wire_size
        head = struct.pack(f"{self.order}IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), size)
        return self.block(6, head + data + bytes(-len(data) % 4) + options)

    def simple(self, data: bytes, *, wire_size: int | None = None) -> bytes:
        return self.block(3, struct.pack(f"{self.order}I", len(data) if wire_size is None else wire_size) + data)

    def obsolete(self, data: bytes, *, ticks: int = 0, wire_size: int | None = None, interface: int = 0) -> bytes:
        size = len(data) if wire_size is None else wire_size
        head = struct.pack(f"{self.order}HHIIII", interface, 7, ticks >> 32, ticks & 0xFFFFFFFF, len(data), size)
        return self.block(2, head + data)

    def custom(self, size: int = 100) -> bytes:
        return self.block(0x0BAD, bytes(range(256)) * (size // 256) + bytes(size % 256))
