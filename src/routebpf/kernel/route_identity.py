"""What tells one route from another, whether two are the same but for their programs, and a route in words.

kernel: net/ipv4/fib_trie.c, fib_table_insert(); net/ipv6/ip6_fib.c, fib6_add_rt2node().
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from routebpf.kernel.netlink import Attributes
from routebpf.kernel.routes import RT_TABLE_MAIN, RTA, RTNH_F_ONLINK, KernelRoute, NextHop

IPV6_METRIC = 1024  # IP6_RT_PRIO_USER: what the kernel makes of no metric
_ENCAP = (RTA.ENCAP_TYPE, RTA.ENCAP)
# Counters and ages, which change by themselves, and what a route has in either of two places.
_PASSING = (RTA.CACHEINFO, RTA.EXPIRES, RTA.TABLE, *_ENCAP)
_USER_FLAGS = 2 | RTNH_F_ONLINK
_TYPES = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable", 8: "prohibit",
          9: "throw"}  # fmt: skip


class RouteKey(NamedTuple):
    """What a netlink replace finds a route by. Addresses in network order; empty `src`: a route for any source."""

    family: int
    table: int
    dst: bytes
    dst_len: int
    src: bytes = b""
    src_len: int = 0
    tos: int = 0
    metric: int = 0

    @property
    def prefix(self) -> str:
        """The destination, as 10.0.0.0/8."""
        return prefix_text(self.family, self.dst, self.dst_len)

    def __str__(self) -> str:
        words = [self.prefix]
        if self.src_len:
            words.append(f"from {prefix_text(self.family, self.src, self.src_len)}")
        if self.tos:
            words.append(f"tos {self.tos:#04x}")
        if self.table != RT_TABLE_MAIN:
            words.append(f"table {self.table}")
        if self.metric and (self.family, self.metric) != (socket.AF_INET6, IPV6_METRIC):
            words.append(f"metric {self.metric}")
        return " ".join(words)


def key_of(route: KernelRoute) -> RouteKey:
    """The key of a route that was read."""
    found = dict(route.attributes)
    table, metric = found.get(RTA.TABLE), found.get(RTA.PRIORITY)
    return RouteKey(
        route.family,
        int.from_bytes(table, "little") if table else route.rtm_table,
        found.get(RTA.DST) or bytes(4 if route.family == socket.AF_INET else 16),
        route.dst_len,
        found.get(RTA.SRC, b"") if route.src_len else b"",
        route.src_len,
        route.tos,
        int.from_bytes(metric, "little") if metric else 0,
    )


def prefix_text(family: int, address: bytes, bits: int) -> str:
    """An address in network order and a length, as 10.0.0.0/8."""
    return f"{socket.inet_ntop(family, address)}/{bits}"


def is_same_but_programs(one: KernelRoute, other: KernelRoute) -> bool:
    """Whether two routes are equal in all that a user may say, whatever programs are on them."""
    return _is_equal_as_read(one, other) or _essence(one) == _essence(other)


def is_same(one: KernelRoute, other: KernelRoute) -> bool:
    """Whether two routes are equal in all that a user may say, with their encap."""
    return is_same_but_programs(one, other) and _encaps(one) == _encaps(other)


def _is_equal_as_read(one: KernelRoute, other: KernelRoute) -> bool:
    """The cheap case: the kernel lists attributes in the same order always."""
    return _fields(one) == _fields(other) and _without_encap(one.attributes) == _without_encap(other.attributes)


def _fields(route: KernelRoute) -> tuple[int, ...]:
    place = route.family, route.dst_len, route.src_len, route.tos, route.rtm_table
    return (*place, route.protocol, route.scope, route.type, route.flags)


def _without_encap(attributes: Attributes) -> Attributes:
    return tuple(pair for pair in attributes if pair[0] not in _ENCAP)


def _essence(route: KernelRoute) -> tuple[Any, ...]:
    own = sorted(pair for pair in route.attributes if pair[0] not in _PASSING and pair[0] not in _OF_HOPS)
    hops = [_hop_essence(hop) for hop in route.hops]
    fields = (route.family, route.dst_len, route.src_len, route.tos, route.table, route.protocol, route.scope)
    return (*fields, route.type, own, hops)


_OF_HOPS = (RTA.OIF, RTA.GATEWAY, RTA.VIA, RTA.FLOW, RTA.MULTIPATH)


def _hop_essence(hop: NextHop) -> tuple[Any, ...]:
    own = sorted(pair for pair in hop.attributes if pair[0] not in _PASSING)
    return hop.ifindex, hop.weight, hop.flags & _USER_FLAGS, own


def _encaps(route: KernelRoute) -> list[tuple[int, bytes | None]]:
    return [(hop.encap_type, hop.attribute(RTA.ENCAP)) for hop in route.hops]


def route_text(route: KernelRoute, devices: Mapping[int, str]) -> str:
    """A route in the words of `ip route`, the essential ones. `devices`: names by ifindex."""
    words = [_TYPES.get(route.type, ""), str(key_of(route))]
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
