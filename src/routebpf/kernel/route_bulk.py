"""Many routes at once: listed and replaced without a Python object for each of their attributes.

Routes of a table are alike: all but the destination is one of a few shapes. What is found out of a shape, or made of
it, holds for every route of it; a route is a shape and a destination.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from routebpf.kernel.lwt_encap import LWTUNNEL_ENCAP_BPF, BpfEncap, encode_encap
from routebpf.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkError,
    Refusal,
    Requests,
    Rest,
    RouteSocket,
    attributes,
)
from routebpf.kernel.route_identity import RouteKey, essence, place_of
from routebpf.kernel.routes import (
    RTA,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    RTN_ERRORS,
    KernelRoute,
    read_route,
    route_request,
)

_RTMSG = struct.Struct("=BBBBBBBBI")
_HEADER = struct.Struct("=IHHII")
DST_BYTES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
# A route in a dump begins with these: its header, struct rtmsg, its table, its destination.
_BEGIN = struct.Struct("=16s12s4s4s4s")
_TABLE_HEADER = struct.pack("=HH", 8, RTA.TABLE)
# Multicast groups that tell of changes while routes are listed. kernel: net/ipv6/ip6_fib.c, fib6_dump_table(): a dump
# of IPv6 that meets a change begins anew and skips as many routes as it has told, which may be others by then. That of
# IPv4 goes on behind the destination where it was.
_GROUPS = {int(socket.AF_INET6): 11}  # RTNLGRP_IPV6_ROUTE
_ATTEMPTS = 8
_DST_HEADERS = {family: struct.pack("=HH", 4 + size, RTA.DST) for family, size in DST_BYTES.items()}


class Shape:
    """All of a route but its destination. `route`: with a destination of zeros."""

    def __init__(self, route: KernelRoute) -> None:
        self.route = route
        self.table, self.dst_len = route.table, route.dst_len
        self.dst_bytes = DST_BYTES[route.family]
        self._requests: dict[int, tuple[BpfEncap | None, bytes, bytes]] = {}

    @cached_property
    def place(self) -> bytes:
        """What the keys of its routes begin with."""
        return place_of(self.route)

    @cached_property
    def essence(self) -> object:
        """Equal for shapes that are equal in all that a user may say, whatever programs are on them."""
        return essence(self.route)

    def is_same_but_programs(self, other: Shape) -> bool:
        """Whether the two are equal in all that a user may say, whatever programs are on them."""
        return self is other or self.essence == other.essence

    @cached_property
    def other_encap(self) -> int | None:
        """The type of an encap that is not one of BPF, None if there is none."""
        return next((hop.encap_type for hop in self.route.hops if hop.encap_type not in (0, LWTUNNEL_ENCAP_BPF)), None)

    @cached_property
    def can_carry(self) -> bool:
        """Whether programs can be put on its routes."""
        leads_somewhere = bool(self.route.hops) and self.route.type not in RTN_ERRORS
        return leads_somewhere and self.can_be_named and not self.route.nexthop_id and self.other_encap is None

    @cached_property
    def can_be_named(self) -> bool:
        """Whether a request reaches its routes. IPv6 takes metric 0, which routes to the kernel's own addresses have,
        for 1024: net/ipv6/route.c, ip6_route_info_create()."""
        return self.route.family != socket.AF_INET6 or bool(self.route.metric)

    @cached_property
    def programs(self) -> dict[str, str]:
        """What its routes call the programs on all their ways, by hook. Those of some ways are named side by side."""
        encaps = [hop.encap or BpfEncap() for hop in self.route.hops]
        found: dict[str, list[str]] = {}
        for encap in encaps:
            for hook, program in encap.programs.items():
                found.setdefault(hook, []).append(program.name)
        programs: dict[str, str] = {}
        for one, names in found.items():
            is_everywhere = len(names) == len(encaps) and len(set(names)) == 1
            programs[one] = names[0] if is_everywhere else f"{', '.join(names)} (on some ways)"
        return programs

    def route_at(self, key: RouteKey) -> Route:
        """The route of this shape with that key."""
        return Route(self, key[-self.dst_bytes :])

    def full(self, dst: bytes) -> KernelRoute:
        """A route of this shape."""
        if not self.route.dst_len:
            return self.route
        pairs = tuple((kind, dst if kind == RTA.DST else value) for kind, value in self.route.attributes)
        return replace(self.route, attributes=pairs)

    def listed_bytes(self, encap: BpfEncap) -> int:
        """How long the kernel's message of a route of this shape is, with that encap on each of its ways."""
        bare = self.route.with_encap(None)
        # Its type; itself, in which the kernel does not tell the programs' fds.
        of_hop = 8 + 4 + len(encode_encap(encap)) - 8 * len(encap.programs)
        return _HEADER.size + _RTMSG.size + len(attributes(bare.attributes)) + len(bare.hops) * of_hop

    def request(self, encap: BpfEncap | None) -> tuple[bytes, bytes]:
        """What stands before and behind the destination in a request for a route of this shape with that encap."""
        made = self._requests.get(id(encap))
        if made is None or made[0] is not encap:
            made = (encap, *self._make_request(encap))
            self._requests[id(encap)] = made
        return made[1:]

    def _make_request(self, encap: BpfEncap | None) -> tuple[bytes, bytes]:
        route = self.route.with_encap(encap)
        if not route.dst_len:
            return route_request(route), b""
        pairs = sorted(route.attributes, key=lambda pair: pair[0] != RTA.DST)  # the destination first
        body = route_request(replace(route, attributes=tuple(pairs)))
        at = _RTMSG.size + 4
        return body[:at], body[at + self.dst_bytes :]


class Route(NamedTuple):
    """A route as it was listed: `dst` is its destination in network order."""

    shape: Shape
    dst: bytes

    @property
    def key(self) -> RouteKey:
        return RouteKey(self.shape.place + self.dst)

    @property
    def full(self) -> KernelRoute:
        """The route with every attribute."""
        return self.shape.full(self.dst)


class Alike(NamedTuple):
    """Routes that are the same but for their destinations, in network order."""

    shape: Shape
    destinations: list[bytes]


def as_listed(route: KernelRoute) -> Route:
    """A route that was read or made alone."""
    size = 4 if route.family == socket.AF_INET else 16
    dst = route.attribute(RTA.DST) or bytes(size)
    pairs = tuple((kind, bytes(size) if kind == RTA.DST else value) for kind, value in route.attributes)
    return Route(Shape(replace(route, attributes=pairs)), dst)


Shapes = dict[tuple[bytes, bytes, bytes], Shape]


def list_routes(sock: RouteSocket, family: int, table: int | None, shapes: Shapes) -> list[Alike]:
    """The routes of a family and table (None: all tables), in the kernel's order. `shapes`: those known so far.

    A list that changes disturbed, which may lack some or have some twice, is made anew; if all are, they are put
    together."""
    found: list[Alike] = []
    for _ in range(_ATTEMPTS):
        listed, is_whole = _dump(sock, family, table, shapes)
        if is_whole:
            return listed
        found = _put_together(listed, found)
    return found


def _dump(sock: RouteSocket, family: int, table: int | None, shapes: Shapes) -> tuple[list[Alike], bool]:
    """The routes as the kernel lists them, and whether nothing changed meanwhile."""
    filters = attributes([(RTA.TABLE, struct.pack("=I", table))]) if table is not None else b""
    found: list[Alike] = []
    try:
        is_whole = sock.dump_datagrams(
            RTM_GETROUTE,
            _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + filters,
            "listing routes",
            lambda data: _read_datagram(data, family, shapes, found),
            group=_GROUPS.get(family, 0),
        )
    except NetlinkError:
        if table is None:
            raise
        return [], True  # there is no such table
    return [one for one in found if table in (None, one.shape.table)], is_whole


def _put_together(listed: Iterable[Alike], before: Iterable[Alike]) -> list[Alike]:
    """Routes of a list, each once, and those that only stood in the one before."""
    found: list[Alike] = []
    routes = dict.fromkeys(Route(shape, dst) for shape, destinations in listed for dst in destinations)
    keys = {one.key for one in routes}
    earlier = (Route(shape, dst) for shape, destinations in before for dst in destinations)
    for one in (*routes, *(one for one in earlier if one.key not in keys)):
        _add(found, one)
    return found


def _read_datagram(data: bytes, family: int, shapes: Shapes, found: list[Alike]) -> Rest:
    """Add the routes of a datagram to `found`: what else is in it."""
    size = _HEADER.unpack_from(data)[0]
    if size % 4 == 0 and len(data) % size == 0:
        alike = _read_alike(data, size, family, shapes)
        if alike is not None:
            found += alike
            return []
    return _read_one_by_one(data, family, shapes, found)


def _read_alike(data: bytes, size: int, family: int, shapes: Shapes) -> list[Alike] | None:
    """Routes whose messages all have that size, 0.3 µs each; None if any has not."""
    rest_bytes = size - _BEGIN.size - DST_BYTES[family]
    if rest_bytes < 0:
        return None
    messages = struct.Struct(f"={_BEGIN.size}s{DST_BYTES[family]}s{rest_bytes}s").iter_unpack(data)
    found = []
    for (begin, rest), same in groupby(messages, itemgetter(0, 2)):
        header, rtm, table_header, table, dst_header = _BEGIN.unpack(begin)
        one, kind, *_ = _HEADER.unpack(header)
        known = table_header == _TABLE_HEADER and dst_header == _DST_HEADERS[family]
        if one != size or kind != RTM_NEWROUTE or not known:
            return None
        destinations = [dst for _, dst, _ in same]
        shape = _shape_of((rtm, table, rest), dst_header + destinations[0], shapes)
        found.append(Alike(shape, destinations))
    return found


def _shape_of(known: tuple[bytes, bytes, bytes], destination: bytes, shapes: Shapes) -> Shape:
    """The shape of routes that begin and end so."""
    shape = shapes.get(known)
    if shape is None:
        rtm, table, rest = known
        body = rtm + _TABLE_HEADER + table + destination + rest
        shape = shapes[known] = as_listed(read_route(body)).shape
    return shape


def _read_one_by_one(data: bytes, family: int, shapes: Shapes, found: list[Alike]) -> Rest:
    dst_header, begin_bytes = _DST_HEADERS[family], _BEGIN.size + DST_BYTES[family]
    rest: Rest = []
    at, end = 0, len(data)
    while at < end:
        size, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        body = data[at + _HEADER.size : at + size]
        if kind != RTM_NEWROUTE:
            rest.append((kind, flags, body))
        elif size < begin_bytes:
            _add(found, _read_odd(body, shapes))
        else:
            _, rtm, table_header, table, one_header = _BEGIN.unpack_from(data, at)
            if table_header == _TABLE_HEADER and one_header == dst_header:
                dst = data[at + _BEGIN.size : at + begin_bytes]
                known = (rtm, table, data[at + begin_bytes : at + size])
                _add(found, Route(_shape_of(known, one_header + dst, shapes), dst))
            else:
                _add(found, _read_odd(body, shapes))
        at += size + -size % 4
    return rest


def _add(found: list[Alike], route: Route) -> None:
    if found and found[-1].shape is route.shape:
        found[-1].destinations.append(route.dst)
    else:
        found.append(Alike(route.shape, [route.dst]))


def _read_odd(body: bytes, shapes: Shapes) -> Route:
    """A route that begins with something else, as a default route, which has no destination."""
    route = as_listed(read_route(body))
    shape = shapes.setdefault((body, b"", b""), route.shape)
    return Route(shape, route.dst)


# Changes of many routes at once: those that were refused, by their place among all.


def replace_routes(sock: RouteSocket, routes: Iterable[tuple[Alike, BpfEncap | None]]) -> dict[int, Refusal]:
    """Put each in the place of the route with its key, with that encap."""
    return sock.batch(_requests(RTM_NEWROUTE, routes), flags=NLM_F_REPLACE)


def add_routes(sock: RouteSocket, routes: Iterable[tuple[Alike, BpfEncap | None]]) -> dict[int, Refusal]:
    """Add routes that are not there, with that encap."""
    return sock.batch(_requests(RTM_NEWROUTE, routes), flags=NLM_F_CREATE | NLM_F_EXCL)


def remove_routes(sock: RouteSocket, routes: Iterable[Alike]) -> dict[int, Refusal]:
    """Delete routes, whatever programs are on them."""
    # An encap could only be named with the fds of its programs.
    return sock.batch(_requests(RTM_DELROUTE, ((one, None) for one in routes)))


def _requests(kind: int, routes: Iterable[tuple[Alike, BpfEncap | None]]) -> Iterator[Requests]:
    for (shape, destinations), encap in routes:
        before, behind = shape.request(encap)
        named = destinations if shape.dst_len else [b""] * len(destinations)
        yield Requests(kind, before, named, behind)
