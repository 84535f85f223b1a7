"""Many routes at once: listed and replaced without a Python object for each of their attributes.

Routes of a table are alike: all but the destination is one of a few shapes. What is found out of a shape, or made of
it, holds for every route of it; a route is a shape and a destination.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from routebpf.kernel.lwt_encap import LWTUNNEL_ENCAP_BPF, BpfEncap
from routebpf.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkError,
    Refusal,
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
# A route in a dump begins with these: its header, struct rtmsg, its table, its destination.
_TABLE_HEADER = struct.pack("=HH", 8, RTA.TABLE)
_BEGIN: dict[int, tuple[struct.Struct, bytes]] = {
    socket.AF_INET: (struct.Struct("=IHHII12s4s4s4s4s"), struct.pack("=HH", 8, RTA.DST)),
    socket.AF_INET6: (struct.Struct("=IHHII12s4s4s4s16s"), struct.pack("=HH", 20, RTA.DST)),
}


class Shape:
    """All of a route but its destination. `route`: with a destination of zeros."""

    def __init__(self, route: KernelRoute) -> None:
        self.route = route
        self.table, self.dst_len = route.table, route.dst_len
        self.dst_bytes = 4 if route.family == socket.AF_INET else 16
        self._requests: dict[int, tuple[BpfEncap | None, bytes, bytes]] = {}

    @cached_property
    def place(self) -> bytes:
        """What the keys of its routes begin with."""
        return place_of(self.route)

    @cached_property
    def essence(self) -> object:
        """Equal for shapes that are equal in all that a user may say, whatever programs are on them."""
        return essence(self.route)

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

    def full(self, dst: bytes) -> KernelRoute:
        """A route of this shape."""
        if not self.route.dst_len:
            return self.route
        pairs = tuple((kind, dst if kind == RTA.DST else value) for kind, value in self.route.attributes)
        return replace(self.route, attributes=pairs)

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

    def is_same_but_programs(self, other: Route) -> bool:
        """Whether the two are equal in all that a user may say, whatever programs are on them."""
        one, two = self.shape, other.shape
        return self.dst == other.dst and (one is two or one.essence == two.essence)


def as_listed(route: KernelRoute) -> Route:
    """A route that was read or made alone."""
    size = 4 if route.family == socket.AF_INET else 16
    dst = route.attribute(RTA.DST) or bytes(size)
    pairs = tuple((kind, bytes(size) if kind == RTA.DST else value) for kind, value in route.attributes)
    return Route(Shape(replace(route, attributes=pairs)), dst)


Shapes = dict[tuple[bytes, bytes, bytes], Shape]


def list_routes(sock: RouteSocket, family: int, table: int | None, shapes: Shapes) -> list[Route]:
    """The routes of a family and table (None: all tables), in the kernel's order. `shapes`: those known so far."""
    filters = attributes([(RTA.TABLE, struct.pack("=I", table))]) if table is not None else b""
    found: list[Route] = []
    try:
        sock.dump_datagrams(
            RTM_GETROUTE,
            _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + filters,
            "listing routes",
            lambda data: _read_datagram(data, family, shapes, found),
        )
    except NetlinkError:
        if table is None:
            raise
        return []  # there is no such table
    if table is None:
        return found
    return [one for one in found if one.shape.table == table]


def _read_datagram(data: bytes, family: int, shapes: Shapes, found: list[Route]) -> Rest:
    """Add the routes of a datagram to `found`: what else is in it."""
    size = _HEADER.unpack_from(data)[0]
    if size % 4 or len(data) % size or not _read_alike(data, size, family, shapes, found):
        return _read_one_by_one(data, family, shapes, found)
    return []


def _read_alike(data: bytes, size: int, family: int, shapes: Shapes, found: list[Route]) -> bool:
    """Add routes whose messages all have that size, 0.5 µs each; False, and nothing is added, for any that has not."""
    layout, dst_header = _BEGIN[family]
    if size < layout.size:
        return False
    whole = struct.Struct(f"{layout.format}{size - layout.size}s")
    added: list[Route] = []
    new, last = tuple.__new__, None
    for one, kind, _, _, _, rtm, table_header, table, one_header, dst, rest in whole.iter_unpack(data):
        if one != size or kind != RTM_NEWROUTE or table_header != _TABLE_HEADER or one_header != dst_header:
            return False
        known = (rtm, table, rest)
        if known != last:
            shape, last = _shape_of(known, one_header + dst, shapes), known
        added.append(new(Route, (shape, dst)))
    found += added
    return True


def _shape_of(known: tuple[bytes, bytes, bytes], destination: bytes, shapes: Shapes) -> Shape:
    """The shape of routes that begin and end so."""
    shape = shapes.get(known)
    if shape is None:
        rtm, table, rest = known
        body = rtm + _TABLE_HEADER + table + destination + rest
        shape = shapes[known] = as_listed(read_route(body)).shape
    return shape


def _read_one_by_one(data: bytes, family: int, shapes: Shapes, found: list[Route]) -> Rest:
    layout, dst_header = _BEGIN[family]
    unpack, begin = layout.unpack_from, layout.size
    rest: Rest = []
    at, end = 0, len(data)
    while at < end:
        size, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        if kind != RTM_NEWROUTE:
            rest.append((kind, flags, data[at + _HEADER.size : at + size]))
        elif size >= begin:
            *_, rtm, table_header, table, one_header, dst = unpack(data, at)
            if table_header == _TABLE_HEADER and one_header == dst_header:
                known = (rtm, table, data[at + begin : at + size])
                found.append(Route(_shape_of(known, one_header + dst, shapes), dst))
            else:
                found.append(_read_odd(data[at + _HEADER.size : at + size], shapes))
        else:
            found.append(_read_odd(data[at + _HEADER.size : at + size], shapes))
        at += size + -size % 4
    return rest


def _read_odd(body: bytes, shapes: Shapes) -> Route:
    """A route that begins with something else, as a default route, which has no destination."""
    route = as_listed(read_route(body))
    shape = shapes.setdefault((body, b"", b""), route.shape)
    return Route(shape, route.dst)


def replace_routes(sock: RouteSocket, routes: Iterable[tuple[Route, BpfEncap | None]]) -> list[Refusal | None]:
    """Put each in the place of the route with its key, with that encap: the refusal of each."""
    return sock.batch([(RTM_NEWROUTE, _body(one, encap)) for one, encap in routes], flags=NLM_F_REPLACE)


def add_routes(sock: RouteSocket, routes: Iterable[tuple[Route, BpfEncap | None]]) -> list[Refusal | None]:
    """Add routes that are not there, with that encap: the refusal of each."""
    return sock.batch([(RTM_NEWROUTE, _body(one, encap)) for one, encap in routes], flags=NLM_F_CREATE | NLM_F_EXCL)


def remove_routes(sock: RouteSocket, routes: Iterable[Route]) -> list[Refusal | None]:
    """Delete routes, whatever programs are on them: the refusal of each."""
    # An encap could only be named with the fds of its programs.
    return sock.batch([(RTM_DELROUTE, _body(one, None)) for one in routes])


def _body(route: Route, encap: BpfEncap | None) -> bytes:
    shape, dst = route
    head, tail = shape.request(encap)
    return head + dst + tail if shape.route.dst_len else head
