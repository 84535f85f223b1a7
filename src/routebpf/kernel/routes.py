"""Routes of the kernel: read, looked up, added, replaced and deleted, with every attribute as the kernel has it.

A route is its struct rtmsg and its attributes in order, raw, so that a route that is read, given a program and put back
is otherwise the same. kernel: net/ipv4/fib_frontend.c, net/ipv6/route.c, include/uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from routebpf.kernel.lwt_encap import LWTUNNEL_ENCAP_BPF, BpfEncap, encap_of, encode_encap
from routebpf.kernel.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    NetlinkError,
    Refusal,
    Requests,
    RouteSocket,
    attributes,
    read_attributes,
)

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RT_TABLE_COMPAT, RT_TABLE_MAIN = 252, 254
RTNH_F_ONLINK = 4
RTN_ERRORS = frozenset((6, 7, 8, 9))  # blackhole, unreachable, prohibit, throw: types of routes that lead nowhere
_RTM_F_FIB_MATCH = 0x2000
_RTNH_F_KEPT = 2 | RTNH_F_ONLINK  # pervasive and onlink: what a user may say; all else is the kernel's to say

_RTMSG = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=HBBi")
_CACHEINFO = struct.Struct("=IIiIIIII")
_CACHEINFO_EXPIRES = 2
_CLOCK_TICKS = 100  # USER_HZ, in every kernel


class RTA(IntEnum):
    """Attributes of a route. kernel: enum rtattr_type_t."""

    DST = 1
    SRC = 2
    IIF = 3
    OIF = 4
    GATEWAY = 5
    PRIORITY = 6
    PREFSRC = 7
    METRICS = 8
    MULTIPATH = 9
    FLOW = 11
    CACHEINFO = 12
    TABLE = 15
    MARK = 16
    VIA = 18
    PREF = 20
    ENCAP_TYPE = 21
    ENCAP = 22
    EXPIRES = 23
    UID = 25
    TTL_PROPAGATE = 26
    NH_ID = 30


_OF_A_HOP = (RTA.OIF, RTA.GATEWAY, RTA.VIA, RTA.FLOW, RTA.ENCAP_TYPE, RTA.ENCAP)
How = Literal["add", "replace", "change", "append", "prepend"]
_FLAGS: dict[How, int] = {
    "add": NLM_F_CREATE | NLM_F_EXCL,
    "replace": NLM_F_CREATE | NLM_F_REPLACE,
    "change": NLM_F_REPLACE,
    "append": NLM_F_CREATE | NLM_F_APPEND,
    "prepend": NLM_F_CREATE,
}


class _HasAttributes:
    """What looks into `attributes`."""

    __slots__ = ()
    attributes: Attributes

    def attribute(self, kind: int) -> bytes | None:
        """The value of the last attribute of that kind, which is the one that counts."""
        return next((value for one, value in reversed(self.attributes) if one == kind), None)

    def number(self, kind: int) -> int | None:
        """The value of an attribute that is a number in host byte order."""
        value = self.attribute(kind)
        return None if value is None else int.from_bytes(value, "little")

    @property
    def encap_type(self) -> int:
        """LWTUNNEL_ENCAP_*, 0 for none."""
        return self.number(RTA.ENCAP_TYPE) or 0

    @property
    def encap(self) -> BpfEncap | None:
        """The programs, if the encap is one of BPF."""
        value = self.attribute(RTA.ENCAP)
        return encap_of(value) if value is not None and self.encap_type == LWTUNNEL_ENCAP_BPF else None

    @property
    def gateway(self) -> IPv4Address | IPv6Address | None:
        """The gateway, of either family."""
        value = self.attribute(RTA.GATEWAY) or (self.attribute(RTA.VIA) or b"")[2:]
        if not value:
            return None
        from ipaddress import ip_address

        return ip_address(value)


@dataclass(frozen=True, slots=True)
class NextHop(_HasAttributes):
    """One way that a route goes: by the device `ifindex`. `weight` counts from 1; `flags`: RTNH_F_*."""

    ifindex: int
    attributes: Attributes = ()
    weight: int = 1
    flags: int = 0

    def with_encap(self, encap: BpfEncap | None) -> NextHop:
        """The way with these programs, or with none; all else as it is."""
        kept = tuple(one for one in self.attributes if one[0] not in (RTA.ENCAP_TYPE, RTA.ENCAP))
        if encap is None:
            return replace(self, attributes=kept)
        kind = struct.pack("=H", LWTUNNEL_ENCAP_BPF)
        return replace(self, attributes=(*kept, (int(RTA.ENCAP_TYPE), kind), (int(RTA.ENCAP), encode_encap(encap))))


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRoute(_HasAttributes):
    """A route: the fields of struct rtmsg, and its attributes. `family`: AF_INET or AF_INET6; lengths in bits."""

    family: int
    dst_len: int = 0
    src_len: int = 0
    tos: int = 0
    rtm_table: int = RT_TABLE_MAIN
    protocol: int = 0
    scope: int = 0
    type: int = 1
    flags: int = 0
    attributes: Attributes = ()

    @property
    def table(self) -> int:
        return self.number(RTA.TABLE) or self.rtm_table

    @property
    def metric(self) -> int:
        """RTA_PRIORITY."""
        return self.number(RTA.PRIORITY) or 0

    @property
    def prefix(self) -> IPv4Network | IPv6Network:
        from ipaddress import ip_network

        address = self.attribute(RTA.DST) or bytes(4 if self.family == socket.AF_INET else 16)
        return ip_network((address, self.dst_len), strict=False)

    @property
    def nexthop_id(self) -> int:
        """The nexthop object that the route goes by, which has its own encap; 0 for none."""
        return self.number(RTA.NH_ID) or 0

    @property
    def hops(self) -> tuple[NextHop, ...]:
        """The ways it goes; none of an IPv4 blackhole and its like, while those of IPv6 go by `lo`."""
        several = self.attribute(RTA.MULTIPATH)
        if several is not None:
            return tuple(_read_hops(several))
        ifindex = self.number(RTA.OIF)
        if ifindex is None and self.gateway is None:
            return ()
        own = tuple(one for one in self.attributes if one[0] in _OF_A_HOP and one[0] != RTA.OIF)
        return (NextHop(ifindex or 0, own, 1, self.flags & 0xFF),)

    def with_hops(self, hops: Sequence[NextHop]) -> KernelRoute:
        """The route with other ways to go."""
        kept = tuple(one for one in self.attributes if one[0] not in _OF_A_HOP and one[0] != RTA.MULTIPATH)
        if len(hops) == 1:
            hop = hops[0]
            oif = ((int(RTA.OIF), struct.pack("=i", hop.ifindex)),) if hop.ifindex else ()
            return replace(self, attributes=kept + oif + hop.attributes, flags=self.flags & ~0xFF | hop.flags)
        several = ((int(RTA.MULTIPATH), b"".join(_hop(one) for one in hops)),) if hops else ()
        return replace(self, attributes=kept + several)

    def with_encap(self, encap: BpfEncap | None) -> KernelRoute:
        """The route with these programs on each of its ways, or with none; all else as it is."""
        hops = [hop.with_encap(encap) for hop in self.hops]
        return self.with_hops(hops) if hops else self


def read_routes(sock: RouteSocket, family: int = socket.AF_UNSPEC, *, table: int | None = None) -> list[KernelRoute]:
    """All routes of a family (AF_INET, AF_INET6; AF_UNSPEC: both), or those of one table."""
    families = (socket.AF_INET, socket.AF_INET6) if family == socket.AF_UNSPEC else (family,)
    filters = attributes([(RTA.TABLE, struct.pack("=I", table))]) if table is not None else b""
    found = []
    for one in families:
        body = _RTMSG.pack(one, 0, 0, 0, 0, 0, 0, 0, 0) + filters
        try:
            answers = list(sock.dump(RTM_GETROUTE, body, "listing routes"))
        except NetlinkError:
            if table is None:
                raise
            continue  # there is no such table
        found += [read_route(answer.body) for answer in answers if answer.type == RTM_NEWROUTE]
    return [one for one in found if table is None or one.table == table]


def look_up(
    sock: RouteSocket, destination: bytes, *, source: bytes = b"", tos: int = 0, mark: int = 0, iif: int = 0,
    match: bool = False,
) -> KernelRoute | Refusal:  # fmt: skip
    """The route that a packet would take, which the kernel resolves to one way; or why it takes none.

    Addresses in network order. `iif`: the ifindex that the packet comes in by, 0: the host sends it. `match`: the route
    as it stands in its table instead.
    """
    family = socket.AF_INET if len(destination) == 4 else socket.AF_INET6
    bits = len(destination) * 8
    pairs = [(RTA.DST, destination)]
    if source:
        pairs.append((RTA.SRC, source))
    if iif:
        pairs.append((RTA.IIF, struct.pack("=i", iif)))
    if mark:
        pairs.append((RTA.MARK, struct.pack("=I", mark)))
    flags = _RTM_F_FIB_MATCH if match else 0
    body = _RTMSG.pack(family, bits, bits if source else 0, tos, 0, 0, 0, 0, flags) + attributes(pairs)
    answers, refusal = sock.ask(RTM_GETROUTE, body)
    return refusal if refusal is not None else read_route(answers[0].body)


def put_route(sock: RouteSocket, route: KernelRoute, how: How = "add") -> None:
    """Add a route, or put it in the place of the one with the same prefix, TOS, metric and table.

    Raises NetlinkError with the kernel's errno (EEXIST, ENOENT, EINVAL…), NetlinkMissingError.
    """
    sock.request(RTM_NEWROUTE, route_request(route), f"{how} route {route.prefix}", flags=_FLAGS[how])


def put_routes(sock: RouteSocket, routes: Sequence[KernelRoute], how: How = "add") -> dict[int, Refusal]:
    """As `put_route`, many at once: those that were refused, by their place in `routes`."""
    return sock.batch((Requests(RTM_NEWROUTE, b"", [route_request(one)]) for one in routes), flags=_FLAGS[how])


def delete_route(sock: RouteSocket, route: KernelRoute) -> None:
    """Delete the first route that fits all that `route` says: its prefix, table, TOS, and what else is given.
    Raises NetlinkError with ESRCH if none does."""
    sock.request(RTM_DELROUTE, route_request(route), f"delete route {route.prefix}")


# To and from bytes


def read_route(body: bytes) -> KernelRoute:
    """A route of a message's body."""
    family, dst_len, src_len, tos, table, protocol, scope, kind, flags = _RTMSG.unpack_from(body)
    return KernelRoute(
        family=family, dst_len=dst_len, src_len=src_len, tos=tos, rtm_table=table, protocol=protocol, scope=scope,
        type=kind, flags=flags, attributes=tuple(read_attributes(body[_RTMSG.size :])),
    )  # fmt: skip


def _read_hops(data: bytes) -> Iterator[NextHop]:
    at = 0
    while at + _NEXTHOP.size <= len(data):
        size, flags, hops, ifindex = _NEXTHOP.unpack_from(data, at)
        if size < _NEXTHOP.size:
            return
        own = tuple(read_attributes(data[at + _NEXTHOP.size : at + size]))
        yield NextHop(ifindex, own, hops + 1, flags)
        at += size + -size % 4


def _hop(hop: NextHop) -> bytes:
    own = attributes(hop.attributes)
    return _NEXTHOP.pack(_NEXTHOP.size + len(own), hop.flags & _RTNH_F_KEPT, hop.weight - 1, hop.ifindex) + own


def route_request(route: KernelRoute) -> bytes:
    """The route as the kernel takes it: what only it says is left out, the time that is left becomes a lifetime."""
    table = route.rtm_table if route.rtm_table < 256 else RT_TABLE_COMPAT
    head = _RTMSG.pack(
        route.family, route.dst_len, route.src_len, route.tos, table, route.protocol, route.scope, route.type,
        route.flags & _RTNH_F_KEPT,
    )  # fmt: skip
    return head + attributes(_requested(route))


def _requested(route: KernelRoute) -> Iterator[tuple[int, bytes]]:
    for kind, value in route.attributes:
        if kind == RTA.MULTIPATH:
            # Each way anew, without the flags that only the kernel sets.
            yield kind, b"".join(_hop(one) for one in _read_hops(value))
        elif kind == RTA.CACHEINFO:
            ticks = _CACHEINFO.unpack_from(value.ljust(_CACHEINFO.size, b"\0"))[_CACHEINFO_EXPIRES]
            if ticks > 0:
                yield RTA.EXPIRES, struct.pack("=I", -(-ticks // _CLOCK_TICKS))
        else:
            yield kind, value
