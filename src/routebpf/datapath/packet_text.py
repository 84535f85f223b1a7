"""A packet in one line, as tcpdump -q has it: `IP 10.0.0.1.40000 > 10.0.0.2.25: tcp 12`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from routebpf.datapath.link_layer import LAYER_OFFSET_MASK, network_layer
from routebpf.datapath.packet_rows import ROW_BYTES
from routebpf.runtime.memory import read

if TYPE_CHECKING:
    import numpy as np

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_NAMES = {_TCP: "tcp", _UDP: "UDP", _ICMP: "ICMP", _ICMP6: "ICMP6", 47: "GREv0", 4: "IP", 41: "IP6", 132: "sctp"}
# IPv6 extension headers that are passed over, and where a header's length stands: in units of 8 bytes, less one.
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60


def time_text(nanoseconds: int) -> str:
    """The time of day in UTC, to the microsecond."""
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).strftime("%H:%M:%S") + (
        f".{nanoseconds // 1000 % 1_000_000:06}"
    )


def packets_of(rows: np.ndarray[Any, Any]) -> Iterator[bytes]:
    """The packets of rows (PACKET_ROW), as far as they were captured, from behind their link header on."""
    layer = network_layer.as_callable()
    for number, row in enumerate(rows):
        size = int(row["size"])
        offset = min(layer(rows.ctypes.data + number * ROW_BYTES) & LAYER_OFFSET_MASK, size)
        yield read(int(row["address"]) + offset, size - offset)


def packet_text(packet: bytes) -> str:
    """The line for a packet from its IP header on. What is cut short or no IP says so."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return _ipv4(packet)
    if version == 6 and len(packet) >= 40:
        return _ipv6(packet)
    return f"no IP header, {len(packet)} bytes"


def _ipv4(packet: bytes) -> str:
    header = (packet[0] & 15) * 4
    length = int.from_bytes(packet[2:4], "big")
    offset = (int.from_bytes(packet[6:8], "big") & 0x1FFF) * 8
    source, destination = (socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (12, 16))
    return "IP " + _upper(source, destination, packet[9], packet[header:], length - header, offset)


def _ipv6(packet: bytes) -> str:
    source, destination = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
    protocol, at, offset = packet[6], 40, 0
    while protocol in (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION) and len(packet) >= at + 8:
        if protocol == _FRAGMENT:
            offset = int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF8
        step = 8 if protocol == _FRAGMENT else (packet[at + 1] + 1) * 8
        protocol, at = packet[at], at + step
    length = 40 + int.from_bytes(packet[4:6], "big")
    return "IP6 " + _upper(source, destination, protocol, packet[at:], length - at, offset)


def _upper(source: str, destination: str, protocol: int, payload: bytes, length: int, offset: int) -> str:
    name = _NAMES.get(protocol, f"proto-{protocol}")
    if offset:
        return f"{source} > {destination}: {name} fragment at {offset}, length {length}"
    if protocol == _TCP and len(payload) >= 20:
        header = (payload[12] >> 4) * 4
        return f"{_with_ports(source, destination, payload)}: tcp {max(length - header, 0)}"
    if protocol == _UDP and len(payload) >= 8:
        return f"{_with_ports(source, destination, payload)}: UDP, length {int.from_bytes(payload[4:6], 'big') - 8}"
    return f"{source} > {destination}: {name}, length {length}"


def _with_ports(source: str, destination: str, payload: bytes) -> str:
    return f"{source}.{int.from_bytes(payload[:2], 'big')} > {destination}.{int.from_bytes(payload[2:4], 'big')}"
