"""Random packets for scenarios: rows of what a packet may be, to the destinations that a topology has.

Not drawn, as both hosts cannot make the same of it: IPv4 ids that the kernel makes up, IPv4 options that a router fills
in, and what the kernel answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random
from typing import Any

from routebpf.hosts.scenario import ScenarioPacket
from routebpf.hosts.scenario_packets import checksum, packet_bytes

# The fields that a packet may have beside its addresses and length.
UPPER: tuple[tuple[int, dict[str, Any]], ...] = (
    (8, {}),
    (1, {"sport": 0, "dport": 0xFFFF}),
    (3, {"protocol": "tcp"}),
    (2, {"protocol": "tcp", "flags": "syn", "seq": 0xFFFFFFFF}),
    (2, {"protocol": "icmp"}),
    (1, {"protocol": 47}),
    (1, {"protocol": 132}),
    (1, {"protocol": 253}),
    (1, {"protocol": "tcp", "flags": "fin urg ece cwr", "ack": 0, "window": 0}),
    (1, {"protocol": 50}),
    (1, {"protocol": 4}),
)
FIELDS4: tuple[tuple[int, dict[str, Any]], ...] = (
    (12, {}),
    (2, {"tos": 0x10}),
    (1, {"tos": 0xFF}),
    (1, {"tos": 0x08}),
    (2, {"ttl": 1}),
    (1, {"ttl": 0}),
    (1, {"ttl": 2}),
    (1, {"ttl": 255}),
    (3, {"df": True}),
    (1, {"df": True, "id": 0}),
    (1, {"id": 0xFFFF}),
    (1, {"fragment": 8}),
    (1, {"fragment": 64, "df": True}),
    (2, {"options": "01010101"}),
    (1, {"options": "94040000"}),
    (1, {"options": "0100000000000000"}),
    (1, {"options": "01" * 40}),
    (1, {"options": "820b0000000000000000000001"}),
    (1, {"options": "1e0400009e04beef"}),
    (1, {"options": "07070801020304"}),
    (1, {"options": "0703ff00"}),
    (1, {"options": "440c0d00" + "0102030405060708"}),
    (1, {"options": "440c0503" + "0a00000305060708"}),
    (1, {"options": "4403"}),
    (1, {"options": "830704" + "0a000003"}),
    (1, {"options": "890708" + "0a000003"}),
    (1, {"options": "8300"}),
    (1, {"options": "880400010101"}),
    (1, {"options": "9403"}),
    (1, {"options": "94040001"}),
    (1, {"options": "9404000094040000"}),
    (1, {"options": "1e28" + "55" * 38}),
    (1, {"options": "1e29" + "55" * 38}),
    (1, {"options": "8603000001"}),
    (1, {"options": "00ffffff"}),
    (1, {"options": "01010101", "fragment": 16, "df": True}),
    (1, {"fragment": 65528}),
    (1, {"ttl": 1, "df": True}),
    (1, {"tos": 0x1C, "ttl": 2}),
)
FIELDS6: tuple[tuple[int, dict[str, Any]], ...] = (
    (12, {}),
    (2, {"tos": 0x10}),
    (1, {"tos": 0xFF}),
    (1, {"flow_label": 0x12345}),
    (2, {"ttl": 1}),
    (1, {"ttl": 0}),
    (1, {"ttl": 2}),
    (1, {"ttl": 255}),
)
# The extension headers before UDP: the first one's number, and bytes whose next headers are right.
EXTENSIONS: tuple[tuple[int, int, str], ...] = (
    (20, 17, ""),
    (1, 0, "1100010400000000"),
    (1, 60, "1100010400000000"),
    (1, 43, "1100040000000000"),
    (1, 43, "1100040100000000"),
    (1, 44, "1100000012345678"),
    (1, 44, "1100000112345678"),
    (1, 44, "1100001012345678"),
    (1, 0, "3c000104000000001100010400000000"),
    (1, 0, "2c000104000000001100000112345678"),
    (1, 0, "110001020000 0502".replace(" ", "")),
    (1, 59, ""),
    (1, 51, "1104000000000001000000010000000000000000" + "00000000"),
    (1, 0, "2b00010400000000" + "3c00040100000000" + "1100010400000000"),
    (1, 60, "2c00010400000000" + "1100000112345678"),
    (1, 60, "1101010c00000000" + "0000000000000000"),
    (1, 44, "3c00000112345678" + "1100010400000000"),
    (1, 43, "1102040000000000" + "20010db8000000000000000000000001"),
    (1, 43, "1102000100000000" + "20010db8000000000000000000000001"),
    (1, 135, "3b00000000000000"),
    (1, 0, "1100c20400000100"),
    (1, 0, "1100010401020304"),
    (1, 0, "11000502000001" + "00"),
    (1, 0, "11011e0c00000000" + "0000000000000000"),
    (1, 0, "1100"),
    (1, 50, "1234567800000001"),
)
LENGTHS = (
    0, 1, 2, 7, 8, 28, 29, 40, 48, 49, 60, 61, 100, 101, 128, 255, 256, 575, 576, 577, 600, 601, 607, 608, 700, 1000,
    1001, 1279, 1280, 1281, 1299, 1300, 1301, 1399, 1400, 1401, 1470, 1480, 1485, 1486, 1499, 1500, 1501, 1514, 1600,
    8999, 9001,
)  # fmt: skip
SOUND_OPTIONS = ("01", "94040000")  # how those begin that nobody answers
MARKS = (0, 0, 0, 0, 0, 0, 0x77, 0x78)


@dataclass(frozen=True, slots=True)
class Place:
    """Where packets go: `device`: the one that they come in by, None: they are sent. `longest`: what it takes.
    `is_quiet`: no packet is drawn that the kernel answers with an ICMP error. `is_udp`: only UDP, as the host itself
    answers what is more to it."""

    source: str
    destination: str
    device: str | None = None
    longest: int = max(LENGTHS)
    is_quiet: bool = False
    is_udp: bool = False


Damage = Callable[[bytes], bytes]


def _more_fragments(packet: bytes) -> bytes:
    return with_checksum(packet[:6] + bytes((packet[6] | 0x20,)) + packet[7:])


def _reserved_bit(packet: bytes) -> bytes:
    return with_checksum(packet[:6] + bytes((packet[6] | 0x80,)) + packet[7:])


def _wrong_checksum(packet: bytes) -> bytes:
    return packet[:10] + bytes((packet[10] ^ 0x55,)) + packet[11:]


def _wrong_upper_checksum(packet: bytes) -> bytes:
    return packet[:-1] + bytes((packet[-1] ^ 0x55,))


def _bytes_behind(packet: bytes) -> bytes:
    return packet + b"\x01\x02\x03\x04\x05"


def _shorter_length(packet: bytes) -> bytes:
    return with_checksum(_added(packet, 2, -6))


def _longer_length(packet: bytes) -> bytes:
    return with_checksum(_added(packet, 2, 6))


def _less_payload(packet: bytes) -> bytes:
    return _added(packet, 4, -6)


def _more_payload(packet: bytes) -> bytes:
    return _added(packet, 4, 6)


def _added(packet: bytes, at: int, more: int) -> bytes:
    """With so much more in its 16 bits there."""
    value = int.from_bytes(packet[at : at + 2], "big") + more
    return packet[:at] + min(max(value, 0), 0xFFFF).to_bytes(2, "big") + packet[at + 2 :]


def _header_only(packet: bytes) -> bytes:
    return with_checksum(packet[:20])


def _small_header(packet: bytes) -> bytes:
    return with_checksum(b"\x44" + packet[1:])


def _large_header(packet: bytes) -> bytes:
    return b"\x4f" + packet[1:]


def _other_version(packet: bytes) -> bytes:
    return bytes((packet[0] ^ 0x20,)) + packet[1:]


def _cut(packet: bytes) -> bytes:
    return packet[:-4]


def _none(packet: bytes) -> bytes:
    return packet


def with_checksum(packet: bytes) -> bytes:
    """An IPv4 packet with its header's checksum made right."""
    size = (packet[0] & 15) * 4
    header = packet[:10] + b"\0\0" + packet[12:size]
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + packet[size:]


# Of packets that are sent, and of those that come in.
DAMAGES4: tuple[tuple[int, int, Damage], ...] = (
    (20, 20, _none),
    (1, 1, _more_fragments),
    (1, 1, _reserved_bit),
    (1, 1, _wrong_checksum),
    (1, 1, _wrong_upper_checksum),
    (0, 1, _bytes_behind),
    (0, 1, _cut),
    (1, 1, _shorter_length),
    (1, 1, _longer_length),
    (1, 1, _header_only),
    (1, 1, _small_header),
    (1, 1, _large_header),
    (1, 1, _other_version),
)
DAMAGES6: tuple[tuple[int, int, Damage], ...] = (
    (20, 20, _none),
    (1, 1, _wrong_upper_checksum),
    (0, 1, _bytes_behind),
    (0, 1, _cut),
    (1, 1, _less_payload),
    (1, 1, _more_payload),
    (1, 1, _other_version),
)


def draw_packet(chance: Random, places: tuple[Place, ...]) -> ScenarioPacket:
    """A packet to one of the places."""
    place = chance.choice(places)
    is_ipv4 = ip_address(place.destination).version == 4
    described: dict[str, Any] = {"src": place.source, "dst": place.destination}
    described |= _one_of(chance, FIELDS4 if is_ipv4 else FIELDS6) | ({} if place.is_udp else _one_of(chance, UPPER))
    if place.is_quiet:
        described = {key: value for key, value in described.items() if key not in ("ttl", "df")}
        if not described.get("options", SOUND_OPTIONS[0]).startswith(SOUND_OPTIONS):
            del described["options"]
    if described.get("protocol") == "icmp" and not is_ipv4:
        described["protocol"] = 253  # what a program could make of ICMPv6 is mostly what the kernel says by itself
    length = min(chance.choice(LENGTHS), place.longest)
    described["payload"] = max(length - _headers(described, is_ipv4), 0)
    if not is_ipv4 and not place.is_udp:
        described |= _extended(chance, described)
    packet = packet_bytes(described)
    damages = DAMAGES4 if is_ipv4 else DAMAGES6
    damage = chance.choices(damages, [one[place.device is not None] for one in damages])[0][2]
    mark = chance.choice(MARKS) if place.device is None else 0
    return ScenarioPacket(damage(packet)[: place.longest], mark, place.device)


def _one_of(chance: Random, rows: tuple[tuple[int, dict[str, Any]], ...]) -> dict[str, Any]:
    return chance.choices(rows, [weight for weight, _ in rows])[0][1]


def _headers(described: dict[str, Any], is_ipv4: bool) -> int:
    """How many bytes the headers have."""
    return len(packet_bytes({**described, "payload": 0}))


def _extended(chance: Random, described: dict[str, Any]) -> dict[str, Any]:
    """The fields of the packet with extension headers, if it gets some."""
    _, first, extension = chance.choices(EXTENSIONS, [one[0] for one in EXTENSIONS])[0]
    if first == 17:
        return {}
    upper = packet_bytes(described)[40:]
    return {"protocol": first, "payload": extension + upper.hex()}
