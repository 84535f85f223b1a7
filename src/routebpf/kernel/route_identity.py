"""What tells one route from another, whether two are the same but for their programs, and a route in words.

kernel: net/ipv4/fib_trie.c, fib_table_insert(); net/ipv6/ip6_fib.c, fib6_add_rt2node().
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, NewType

from routebpf.kernel.routes import RT_TABLE_MAIN, RTA, RTNH_F_ONLINK, KernelRoute, NextHop

IPV6_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of no metric
RouteKey = NewType("RouteKey", bytes)  # what a netlink replace finds a route by: `Place`, its source, its destination

_PLACE = struct.Struct("=BBBBBII")
_ENCAP = (RTA.ENCAP_TYPE, RTA.ENCAP)
# Counters and ages, which change by themselves, and what a route has in either of two places.
_PASSING = (RTA.CACHEINFO, RTA.EXPIRES, RTA.TABLE, RTA.DST, *_ENCAP)
_OF_HOPS = (RTA.OIF, RTA.GATEWAY, RTA.VIA, RTA.FLOW, RTA.MULTIPATH)
_USER_FLAGS = 2 | RTNH_F_ONLINK
_TYPES = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit",
          9: "throw"}  # fmt: skip


class Place(NamedTuple):
    """A key, read. Addresses in network order; empty `src`: a route for any source. `has_gateway` is only told of IPv6
    routes: those with a gateway and those without do not replace one another (rt6_qualify_for_ecmp())."""

    family: int
    dst_len: int
    src_len: int
    tos: int
    has_gateway: int
    table: int
    metric: int
    src: bytes
    dst: bytes

    @property
    def prefix(self) -> str:
        """The destination, as 10.0.0.0/8."""
        return prefix_text(self.family, self.dst, self.dst_len)

    @property
    def source(self) -> str | None:
        """Where packets come from, in the same form; None: from anywhere."""
        return prefix_text(self.family, self.src, self.src_len) if self.src_len else None


def place_of(route: KernelRoute) -> bytes:
    """What the key of a route begins with: all but its destination."""
    source = route.attribute(RTA.SRC) or b"" if route.src_len else b""
    has_gateway = route.family == socket.AF_INET6 and any(hop.gateway is not None for hop in route.hops)
    place = Place(
        route.family, route.dst_len, route.src_len, route.tos, has_gateway, route.table, route.metric, source, b""
    )
    return place_bytes(place)


def place_bytes(place: Place) -> bytes:
    """What keys begin with: all of a place but its destination."""
    *numbers, source, _ = place
    return _PLACE.pack(*numbers) + source


def read_key(key: RouteKey) -> Place:
    """The parts of a key."""
    family, dst_len, src_len, tos, has_gateway, table, metric = _PLACE.unpack_from(key)
    addresses = key[_PLACE.size :]
    size = 4 if family == socket.AF_INET else 16
    return Place(family, dst_len, src_len, tos, has_gateway, table, metric, addresses[:-size], addresses[-size:])


def tables_of(keys: Iterable[RouteKey]) -> set[tuple[int, int]]:
    """The families and tables of keys."""
    places = [_PLACE.unpack(place) for place in {key[: _PLACE.size] for key in keys}]
    return {(family, table) for family, _, _, _, _, table, _ in places}


def runs(items: Iterable[Any], *of: Callable[[Any], Any]) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    """Neighbours for which each of the functions `of` gives the same: what they give, and the items. Routes of a table
    come in few such runs, so that functions of C are called for each route, and Python's for each run."""
    items = list(items)
    rows = zip(*(map(one, items) for one in of), items, strict=True)
    for same, run in groupby(rows, itemgetter(slice(len(of)))):
        yield same, [row[-1] for row in run]


def key_text(key: RouteKey) -> str:
    """A key in words: 10.0.0.0/8 table 100 metric 5."""
    place = read_key(key)
    words = [place.prefix]
    if place.source:
        words.append(f"from {place.source}")
    if place.tos:
        words.append(f"tos {place.tos:#04x}")
    if place.table != RT_TABLE_MAIN:
        words.append(f"table {place.table}")
    if place.metric and (place.family, place.metric) != (socket.AF_INET6, IPV6_METRIC):
        words.append(f"metric {place.metric}")
    return " ".join(words)


def prefix_text(family: int, address: bytes, bits: int) -> str:
    """An address in network order and a length, as 10.0.0.0/8."""
    return f"{socket.inet_ntop(family, address)}/{bits}"


def essence(route: KernelRoute) -> tuple[Any, ...]:
    """All of a route that a user may say, but its destination and its programs, in a form to compare."""
    own = sorted(pair for pair in route.attributes if pair[0] not in _PASSING and pair[0] not in _OF_HOPS)
    hops = [_hop_essence(hop) for hop in route.hops]
    fields = (route.family, route.dst_len, route.src_len, route.tos, route.table, route.protocol, route.scope)
    return (*fields, route.type, own, hops)


def _hop_essence(hop: NextHop) -> tuple[Any, ...]:
    own = sorted(pair for pair in hop.attributes if pair[0] not in _PASSING)
    return hop.ifindex, hop.weight, hop.flags & _USER_FLAGS, own


def route_text(route: KernelRoute, devices: Mapping[int, str]) -> str:
    """A route in the words of `ip route`, the essential ones. `devices`: names by ifindex."""
    dst = route.attribute(RTA.DST) or bytes(4 if route.family == socket.AF_INET else 16)
    words = [_TYPES.get(route.type, ""), key_text(RouteKey(place_of(route) + dst))]
    hops = route.hops
    for hop in hops:
        if len(hops) > 1:
            words.append("nexthop")
        if hop.gateway is not None:
            words.append(f"via {hop.gateway}")
        words.append(f"dev {devices.get(hop.ifindex, hop.ifindex)}")
        if len(hops) > 1:
            words.append(f"weight {hop.weight}")
    return " ".join(filter(None, words))
