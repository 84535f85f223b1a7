"""Packets of scenarios: described by their headers' fields, or given in hex. RFC 791, 8200, 768, 9293, 792, 4443."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from routebpf.errors import InputError

_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
_ECHO_REQUEST, _ECHO_REQUEST_V6 = 8, 128
_TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
_DONT_FRAGMENT = 0x4000
_FIELDS = frozenset({
    "src", "dst", "protocol", "payload", "ttl", "tos", "df", "id", "options", "fragment", "sport", "dport", "flags",
    "seq", "ack", "window", "flow_label",
})  # fmt: skip


def packet_bytes(described: Mapping[str, Any]) -> bytes:
    """A packet, from its IP header on, with right lengths and checksums.

    `hex`: all of it. Else `src`, `dst`; `protocol`: udp (if not said), tcp, icmp, icmpv6 or a number; `payload`: how
    many bytes, or what in hex; `ttl`, `tos`, `df`, `id`, `options` (hex), `fragment` (offset in bytes), `sport`,
    `dport`, of TCP `flags`, `seq`, `ack`, `window`, of IPv6 `flow_label`. Raises InputError for what does not fit.
    """
    if "hex" in described:
        return _hex(described["hex"], "hex")
    unknown = described.keys() - _FIELDS
    if unknown:
        raise InputError(f"a packet has no {', '.join(sorted(unknown))}; it has hex, or {', '.join(sorted(_FIELDS))}")
    if "src" not in described or "dst" not in described:
        raise InputError("a packet needs src and dst, or hex")
    try:
        source, destination = ip_address(described["src"]), ip_address(described["dst"])
    except ValueError as error:
        raise InputError(f"a packet's address: {error}") from None
    if source.version != destination.version:
        raise InputError(f"a packet from {source} to {destination}: they are of different families")
    name = described.get("protocol", "udp")
    number = _PROTOCOLS.get(name, name)
    if not isinstance(number, int) or not 0 <= number <= 255:
        raise InputError(f"a packet's protocol {name!r}: it is one of {', '.join(_PROTOCOLS)}, or a number up to 255")
    make = _UPPER.get(number, _plain)
    pseudo = source.packed + destination.packed
    body = make(described, _payload(described.get("payload", 32)), pseudo, number)
    if isinstance(source, IPv4Address):
        return _ipv4(described, pseudo, number, body)
    assert isinstance(source, IPv6Address)
    return _ipv6(described, pseudo, number, body)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ipv4(described: Mapping[str, Any], addresses: bytes, protocol: int, body: bytes) -> bytes:
    options = _hex(described.get("options", ""), "options")
    options += bytes(-len(options) % 4)
    size = 20 + len(options)
    offset = described.get("fragment", 0) // 8 | (_DONT_FRAGMENT if described.get("df") else 0)
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | size // 4, described.get("tos", 0), size + len(body), described.get("id", 0x1234), offset,
        described.get("ttl", 64), protocol, 0,
    )  # fmt: skip
    whole = head + addresses + options
    return whole[:10] + struct.pack("!H", checksum(whole)) + whole[12:] + body


def _ipv6(described: Mapping[str, Any], addresses: bytes, protocol: int, body: bytes) -> bytes:
    first = 6 << 28 | described.get("tos", 0) << 20 | described.get("flow_label", 0)
    return struct.pack("!IHBB", first, len(body), protocol, described.get("ttl", 64)) + addresses + body


def _udp(described: Mapping[str, Any], payload: bytes, addresses: bytes, protocol: int) -> bytes:
    ports = described.get("sport", 40000), described.get("dport", 9)
    head = struct.pack("!HHHH", *ports, 8 + len(payload), 0)
    return _with_checksum(head + payload, 6, addresses, protocol, zero=0xFFFF)


def _tcp(described: Mapping[str, Any], payload: bytes, addresses: bytes, protocol: int) -> bytes:
    flags = 0
    for name in described.get("flags", "ack").split():
        if name not in _TCP_FLAGS:
            raise InputError(f"a packet's flags: {name!r} is none of {', '.join(_TCP_FLAGS)}")
        flags |= _TCP_FLAGS[name]
    head = struct.pack(
        "!HHIIBBHHH",
        described.get("sport", 40000), described.get("dport", 80), described.get("seq", 1), described.get("ack", 1),
        0x50, flags, described.get("window", 1024), 0, 0,
    )  # fmt: skip
    return _with_checksum(head + payload, 16, addresses, protocol)


def _icmp(described: Mapping[str, Any], payload: bytes, addresses: bytes, protocol: int) -> bytes:  # noqa: ARG001
    return _with_checksum(struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 1, 1) + payload, 2, b"", 0)


def _icmpv6(described: Mapping[str, Any], payload: bytes, addresses: bytes, protocol: int) -> bytes:  # noqa: ARG001
    return _with_checksum(struct.pack("!BBHHH", _ECHO_REQUEST_V6, 0, 0, 1, 1) + payload, 2, addresses, protocol)


def _plain(described: Mapping[str, Any], payload: bytes, addresses: bytes, protocol: int) -> bytes:  # noqa: ARG001
    return payload


_Make = Callable[[Mapping[str, Any], bytes, bytes, int], bytes]
_UPPER: dict[int, _Make] = {1: _icmp, 6: _tcp, 17: _udp, 58: _icmpv6}


def _with_checksum(data: bytes, at: int, addresses: bytes, protocol: int, *, zero: int = 0) -> bytes:
    """The checksum put in, over the pseudo-header too if there is one. `zero`: what stands for 0."""
    pseudo = addresses + struct.pack("!II", len(data), protocol) if addresses else b""
    value = checksum(pseudo + data) or zero
    return data[:at] + struct.pack("!H", value) + data[at + 2 :]


def _payload(value: int | str) -> bytes:
    """So many bytes, no two neighbours alike; or those in hex."""
    return bytes(n * 7 & 0xFF for n in range(value)) if isinstance(value, int) else _hex(value, "payload")


def _hex(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError(f"a packet's {what} is not hexadecimal: {text[:40]!r}") from None
