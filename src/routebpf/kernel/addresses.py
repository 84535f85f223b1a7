"""Addresses of devices, neighbours and routing rules of the kernel.

kernel: net/ipv4/devinet.c, net/ipv6/addrconf.c, net/core/neighbour.c, net/core/fib_rules.c. Neighbours are encoded
here, as they come in thousands; the other messages are pyroute2's.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from routebpf.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Refusal,
    Requests,
    RouteSocket,
    attribute,
    read_attributes,
)

_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_IFADDRMSG = struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTM_NEWNEIGH, _RTM_DELNEIGH = 28, 29
_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_NDMSG = struct.Struct("=BxHiHBB")
_NDA_DST, _NDA_LLADDR = 1, 2
_HEADER_BYTES = 16
_FOREVER = 0xFFFFFFFF

# kernel: include/uapi/linux/neighbour.h
NUD = {
    "none": 0, "incomplete": 1, "reachable": 2, "stale": 4, "delay": 8, "probe": 16, "failed": 32, "noarp": 64,
    "permanent": 128,
}  # fmt: skip
# kernel: include/uapi/linux/if_addr.h
ADDRESS_FLAGS = {
    "secondary": 0x01, "temporary": 0x01, "nodad": 0x02, "optimistic": 0x04, "dadfailed": 0x08, "home": 0x10,
    "deprecated": 0x20, "tentative": 0x40, "permanent": 0x80, "mngtmpaddr": 0x100, "noprefixroute": 0x200,
    "autojoin": 0x400,
}  # fmt: skip
_TENTATIVE = ADDRESS_FLAGS["tentative"]
_LINK_LOCAL = b"\xfe\x80"
# kernel: include/uapi/linux/fib_rules.h
_RULE_ACTIONS = {"any": 0, "lookup": 1, "goto": 2, "nop": 3, "blackhole": 6, "unreachable": 7, "prohibit": 8}
_RULE_INVERT = 2
_COMPAT_TABLE = 252


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAddress:
    """An address of a device, in network order, with its prefix length; with `peer` that is the peer's."""

    ifindex: int
    address: bytes
    length: int
    peer: bytes | None = None
    broadcast: bytes | None = None
    anycast: bytes | None = None
    scope: int = 0
    label: str | None = None
    metric: int | None = None
    valid_seconds: int | None = None
    preferred_seconds: int | None = None
    flags: int = 0


@dataclass(frozen=True, slots=True)
class KernelNeighbour:
    """A neighbour of a device. `state`: a key of NUD."""

    ifindex: int
    address: bytes
    mac: bytes | None = None
    state: str = "permanent"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRule:
    """A routing rule. Prefixes are (address, length); what is None is not said, which counts in a delete."""

    family: int
    action: str = "lookup"
    table: int | None = None
    priority: int | None = None
    invert: bool = False
    source: tuple[bytes, int] | None = None
    destination: tuple[bytes, int] | None = None
    iif: str | None = None
    oif: str | None = None
    tos: int = 0
    fwmark: int | None = None
    fwmask: int | None = None
    realms: int = 0
    protocol: int = 0
    ip_protocol: int | None = None
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    uid_range: tuple[int, int] | None = None
    tunnel_id: int | None = None
    l3mdev: bool = False
    suppress_prefix_length: int | None = None
    suppress_group: int | None = None
    target: int | None = None


def add_address(sock: RouteSocket, address: KernelAddress, *, replace: bool = False) -> None:
    """Give a device an address. Raises NetlinkError, of one that is there already with EEXIST unless `replace`."""
    flags = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    doing = f"address {ip_address(address.address)}/{address.length}"
    sock.request(_RTM_NEWADDR, _address_body(address), f"{doing}: adding it", flags=flags)


def delete_address(sock: RouteSocket, address: KernelAddress, *, any_length: bool = False) -> None:
    """Take an address from a device, of IPv4 with `any_length` whatever its prefix length and its peer. Raises
    NetlinkError with EADDRNOTAVAIL if it has none like that. kernel: net/ipv4/devinet.c, inet_rtm_deladdr()."""
    doing = f"address {ip_address(address.address)}/{address.length}"
    sock.request(_RTM_DELADDR, _address_body(address, local_only=any_length), f"{doing}: deleting it")


def read_addresses(sock: RouteSocket) -> list[KernelAddress]:
    """All addresses of the namespace: each with its device, length and flags."""
    found = []
    for one in sock.dump(_RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), "listing addresses"):
        _, length, flags, scope, ifindex = _IFADDRMSG.unpack_from(one.body)
        values = dict(read_attributes(one.body[_IFADDRMSG.size :]))
        address = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS, b""))
        flags = int.from_bytes(values.get(_IFA_FLAGS, bytes([flags])), "little")
        found.append(KernelAddress(ifindex=ifindex, address=address, length=length, scope=scope, flags=flags))
    return found


def wait_for_addresses(sock: RouteSocket, link_local: Iterable[int] = (), *, seconds: float = 3.0) -> None:
    """Wait until no IPv6 address is tentative and the devices `link_local` (ifindexes) have their link-local ones, for
    so long at most: the kernel sees to both a moment after a device is up, even without duplicate address detection."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = read_addresses(sock)
        have = {one.ifindex for one in found if one.address[:2] == _LINK_LOCAL and not one.flags & _TENTATIVE}
        if not any(one.flags & _TENTATIVE for one in found) and have.issuperset(link_local):
            return
        time.sleep(0.001)


def put_neighbours(sock: RouteSocket, neighbours: Iterable[KernelNeighbour]) -> dict[int, Refusal]:
    """Add neighbours, or change those that are there: those that were refused, by their place in `neighbours`."""
    requests = (Requests(_RTM_NEWNEIGH, b"", [_neighbour_body(one)]) for one in neighbours)
    return sock.batch(requests, flags=NLM_F_CREATE | NLM_F_REPLACE)


def put_neighbour(sock: RouteSocket, neighbour: KernelNeighbour, *, flags: int = NLM_F_CREATE | NLM_F_REPLACE) -> None:
    """Add or change a neighbour."""
    doing = f"neighbour {ip_address(neighbour.address)}: adding it"
    sock.request(_RTM_NEWNEIGH, _neighbour_body(neighbour), doing, flags=flags)


def delete_neighbour(sock: RouteSocket, neighbour: KernelNeighbour) -> None:
    """Forget a neighbour. Raises NetlinkError with ENOENT if there is none."""
    doing = f"neighbour {ip_address(neighbour.address)}: deleting it"
    sock.request(_RTM_DELNEIGH, _neighbour_body(neighbour), doing)


def add_rule(sock: RouteSocket, rule: KernelRule) -> None:
    """Add a routing rule."""
    sock.request(_RTM_NEWRULE, _rule_body(rule), "rule: adding it", flags=NLM_F_CREATE | NLM_F_EXCL)


def delete_rule(sock: RouteSocket, rule: KernelRule) -> None:
    """Delete the first rule that has all that is said. Raises NetlinkError with ENOENT if none has."""
    sock.request(_RTM_DELRULE, _rule_body(rule), "rule: deleting it")


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _address_body(one: KernelAddress, *, local_only: bool = False) -> bytes:
    def text(address: bytes | None) -> str | None:
        return None if address is None else str(ip_address(address))

    lives = one.valid_seconds is not None or one.preferred_seconds is not None
    cache = {
        "ifa_prefered": _FOREVER if one.preferred_seconds is None else one.preferred_seconds,
        "ifa_valid": _FOREVER if one.valid_seconds is None else one.valid_seconds,
        "cstamp": 0,
        "tstamp": 0,
    }
    values: Sequence[tuple[str, Any]] = (
        ("IFA_LOCAL", text(one.address)),
        ("IFA_ADDRESS", None if local_only else text(one.peer or one.address)),
        ("IFA_BROADCAST", text(one.broadcast)),
        ("IFA_ANYCAST", text(one.anycast)),
        ("IFA_LABEL", one.label),
        ("IFA_RT_PRIORITY", one.metric),
        ("IFA_FLAGS", one.flags or None),
        ("IFA_CACHEINFO", cache if lives else None),
    )
    message = ifaddrmsg()
    message.update(
        {
            "family": _family(one.address),
            "prefixlen": one.length,
            "flags": one.flags & 0xFF,
            "scope": one.scope,
            "index": one.ifindex,
            "attrs": [(key, value) for key, value in values if value is not None],
        }
    )
    return _body(message)


def _neighbour_body(one: KernelNeighbour) -> bytes:
    body = _NDMSG.pack(_family(one.address), 0, one.ifindex, NUD[one.state], 0, 0) + attribute(_NDA_DST, one.address)
    return body + attribute(_NDA_LLADDR, one.mac) if one.mac is not None else body


def _rule_body(rule: KernelRule) -> bytes:
    def text(prefix: tuple[bytes, int] | None) -> str | None:
        return None if prefix is None else str(ip_address(prefix[0]))

    def span(ports: tuple[int, int] | None) -> str | None:
        return None if ports is None else f"{ports[0]}:{ports[1]}"

    values: Sequence[tuple[str, Any]] = (
        ("FRA_SRC", text(rule.source)),
        ("FRA_DST", text(rule.destination)),
        ("FRA_IIFNAME", rule.iif),
        ("FRA_OIFNAME", rule.oif),
        ("FRA_GOTO", rule.target),
        ("FRA_PRIORITY", rule.priority),
        ("FRA_FWMARK", rule.fwmark),
        ("FRA_FWMASK", rule.fwmask),
        ("FRA_FLOW", rule.realms or None),
        ("FRA_TUN_ID", rule.tunnel_id),
        ("FRA_SUPPRESS_IFGROUP", rule.suppress_group),
        ("FRA_SUPPRESS_PREFIXLEN", rule.suppress_prefix_length),
        ("FRA_TABLE", rule.table),
        ("FRA_L3MDEV", 1 if rule.l3mdev else None),
        ("FRA_UID_RANGE", span(rule.uid_range)),
        ("FRA_PROTOCOL", rule.protocol or None),
        ("FRA_IP_PROTO", rule.ip_protocol),
        ("FRA_SPORT_RANGE", span(rule.source_ports)),
        ("FRA_DPORT_RANGE", span(rule.destination_ports)),
    )
    table = rule.table or 0
    message = fibmsg()
    message.update(
        {
            "family": rule.family,
            "dst_len": rule.destination[1] if rule.destination else 0,
            "src_len": rule.source[1] if rule.source else 0,
            "tos": rule.tos,
            "table": table if table < 256 else _COMPAT_TABLE,
            "action": _RULE_ACTIONS[rule.action],
            "flags": _RULE_INVERT if rule.invert else 0,
            "attrs": [(key, value) for key, value in values if value is not None],
        }
    )
    return _body(message)


def _body(message: Any) -> bytes:
    """What stands behind the header of a pyroute2 message."""
    message.encode()
    return bytes(message.data)[_HEADER_BYTES:]
