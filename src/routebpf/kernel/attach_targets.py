"""Which route an operator means, and whether it can carry a program at all."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.kernel.lwt_encap import LWTUNNEL_ENCAP_BPF
from routebpf.kernel.netlink import Refusal, RouteSocket
from routebpf.kernel.route_identity import RouteKey, key_of, prefix_text, route_text
from routebpf.kernel.routes import RT_TABLE_MAIN, RTA, KernelRoute, NextHop, look_up, read_routes

_RTPROT_STATIC = 4
_RT_SCOPE_LINK = 253
_FIRST_WIDE_TABLE = 256
# kernel: enum lwtunnel_encap_types
_ENCAPS = {
    1: "mpls",
    2: "ip",
    3: "ila",
    4: "ip6",
    5: "seg6",
    6: "bpf",
    7: "seg6local",
    8: "rpl",
    9: "ioam6",
    10: "xfrm",
}
_SHOWN = 4


class Prefix(NamedTuple):
    """A destination. `address` in network order, without host bits."""

    family: int
    address: bytes
    bits: int

    def __str__(self) -> str:
        return prefix_text(*self)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of a prefix's routes is meant; None: whichever there is."""

    table: int = RT_TABLE_MAIN
    metric: int | None = None
    tos: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class NewRoute:
    """Where a route goes that has to be made. Neither: where packets to the prefix go now."""

    gateway: bytes | None = None
    device: str | None = None


class Devices:
    """Names of a namespace's devices, by ifindex and the other way round."""

    def __init__(self, rows: Iterable[tuple[int, str]]) -> None:
        self.names: Mapping[int, str] = dict(rows)
        self._indexes = {name: index for index, name in self.names.items()}

    def index(self, name: str) -> int:
        """Raises InputError for a name that no device has."""
        if name not in self._indexes:
            raise InputError(f"there is no device {name}; there are {', '.join(sorted(self._indexes))}")
        return self._indexes[name]


def parse_prefix(text: str) -> Prefix:
    """10.0.0.0/8, 10.0.0.1 (a host), 2001:db8::/32, default (0.0.0.0/0). Raises InputError."""
    try:
        network = ip_network("0.0.0.0/0" if text == "default" else text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise InputError(f"{text!r} is no prefix; one is 10.0.0.0/8 or 2001:db8::/32") from None
        raise InputError(f"{text!r} is no prefix: it has bits beyond its length; did you mean {meant}?") from None
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    return Prefix(family, network.network_address.packed, network.prefixlen)


def parse_gateway(text: str) -> bytes:
    """An address in network order. Raises InputError."""
    try:
        return ip_address(text).packed
    except ValueError:
        raise InputError(f"{text!r} is no address of a gateway") from None


class RoutesByPrefix:
    """The routes of a table, as the kernel orders them, by prefix."""

    def __init__(self, sock: RouteSocket, families: Iterable[int], table: int | None) -> None:
        self.by_prefix: dict[Prefix, list[KernelRoute]] = {}
        self.by_key: dict[RouteKey, list[KernelRoute]] = {}
        for family in sorted(set(families)):
            for route in read_routes(sock, family, table=table):
                key = key_of(route)
                self.by_key.setdefault(key, []).append(route)
                self.by_prefix.setdefault(Prefix(key.family, key.dst, key.dst_len), []).append(route)

    def at(self, key: RouteKey) -> KernelRoute | None:
        """The first route with that key, which is the one that a replace reaches."""
        return next(iter(self.by_key.get(key, ())), None)


def choose_route(routes: RoutesByPrefix, prefix: Prefix, wanted: Selection, devices: Devices) -> KernelRoute | None:
    """The route of a prefix that is meant, None if there is none. Raises InputError if several may be."""
    ifindex = devices.index(wanted.device) if wanted.device else None
    found = [one for one in routes.by_prefix.get(prefix, ()) if _fits(one, wanted, ifindex)]
    if len(found) > 1:
        lines = [route_text(one, devices.names) for one in found[:_SHOWN]]
        raise InputError(
            f"{prefix}: {len(found)} routes of table {wanted.table} have it: {'; '.join(lines)}; say which one with"
            " --metric, --tos or --device"
        )
    return found[0] if found else None


def _fits(route: KernelRoute, wanted: Selection, ifindex: int | None) -> bool:
    return (
        (wanted.metric is None or route.metric == wanted.metric)
        and (wanted.tos is None or route.tos == wanted.tos)
        and (ifindex is None or any(hop.ifindex == ifindex for hop in route.hops))
    )


def check_route(route: KernelRoute, routes: RoutesByPrefix, devices: Devices) -> None:
    """Raise InputError for a route that cannot carry a program, or that a replace would not reach."""
    what = f"route {route_text(route, devices.names)}"
    if route.nexthop_id:
        raise InputError(
            f"{what}: it goes by nexthop object {route.nexthop_id}, and the encap is the object's, not the route's;"
            " give the route a way of its own (ip route replace … via … dev …)"
        )
    hops = route.hops
    if not hops:
        raise InputError(f"{what}: it leads nowhere, so there is nothing to put a program on")
    for hop in hops:
        if hop.encap_type not in (0, LWTUNNEL_ENCAP_BPF):
            name = _ENCAPS.get(hop.encap_type, f"type {hop.encap_type}")
            raise InputError(
                f"{what}: it has encap {name}, and a route has one encap only; make the encap's work the program's"
                " (bpf_lwt_push_encap), or put the program on the route that the encap's packets take"
            )
    first = next(one for one in routes.by_key[key_of(route)] if _is_reached_like(one, route))
    if first is not route:
        raise InputError(
            f"{what}: the kernel's replace reaches the first route of a prefix and metric only, which is"
            f" {route_text(first, devices.names)}; give one of them another metric"
        )


def _is_reached_like(one: KernelRoute, other: KernelRoute) -> bool:
    """IPv6 routes with a gateway and those without do not replace one another (rt6_qualify_for_ecmp())."""
    return one.family == socket.AF_INET or _has_gateway(one) == _has_gateway(other)


def _has_gateway(route: KernelRoute) -> bool:
    return any(hop.gateway is not None for hop in route.hops)


def missing_route(sock: RouteSocket, prefix: Prefix, wanted: Selection, devices: Devices) -> InputError:
    """The error for a prefix that has no route: what there is instead, and what to do."""
    elsewhere = [one for one in read_routes(sock, prefix.family) if _is_of(one, prefix)]
    limits = _limits(wanted)
    if elsewhere:
        lines = "; ".join(route_text(one, devices.names) for one in elsewhere[:_SHOWN])
        return InputError(f"{prefix}: no route {limits}; there is {lines}")
    covering = look_up(sock, prefix.address, match=True)
    by = "" if isinstance(covering, Refusal) else f" (packets to it take {route_text(covering, devices.names)})"
    return InputError(f"{prefix}: no route {limits}{by}; --create makes one")


def _is_of(route: KernelRoute, prefix: Prefix) -> bool:
    key = key_of(route)
    return (key.dst, key.dst_len) == (prefix.address, prefix.bits)


def _limits(wanted: Selection) -> str:
    words = [f"in table {wanted.table}"]
    words += [f"with metric {wanted.metric}"] if wanted.metric is not None else []
    words += [f"with tos {wanted.tos:#x}"] if wanted.tos is not None else []
    words += [f"by device {wanted.device}"] if wanted.device else []
    return " ".join(words)


def new_route(sock: RouteSocket, prefix: Prefix, wanted: Selection, way: NewRoute, devices: Devices) -> KernelRoute:
    """A route to add: with the gateway and device given, or those that packets to the prefix take now."""
    if way.gateway is not None and len(way.gateway) != len(prefix.address):
        raise InputError(f"{prefix}: the gateway is of the other family")
    device = way.device or wanted.device
    if way.gateway is None and device is None:
        gateway, ifindex = _present_way(sock, prefix)
    else:
        gateway, ifindex = way.gateway, devices.index(device) if device else 0
    pairs: list[tuple[int, bytes]] = [(int(RTA.TABLE), struct.pack("=I", wanted.table))]
    if prefix.bits:
        pairs.insert(0, (int(RTA.DST), prefix.address))
    if wanted.metric:
        pairs.append((int(RTA.PRIORITY), struct.pack("=I", wanted.metric)))
    hop = NextHop(ifindex, ((int(RTA.GATEWAY), gateway),) if gateway else ())
    is_direct = gateway is None and prefix.family == socket.AF_INET
    return KernelRoute(
        family=prefix.family,
        dst_len=prefix.bits,
        tos=wanted.tos or 0,
        rtm_table=wanted.table if wanted.table < _FIRST_WIDE_TABLE else 0,
        protocol=_RTPROT_STATIC,
        scope=_RT_SCOPE_LINK if is_direct else 0,
        attributes=tuple(pairs),
    ).with_hops([hop])


def _present_way(sock: RouteSocket, prefix: Prefix) -> tuple[bytes | None, int]:
    found = look_up(sock, prefix.address)
    if isinstance(found, Refusal) or not found.hops or not found.hops[0].ifindex:
        raise InputError(f"{prefix}: no route leads there now; say with --via or --device where the new one goes")
    hop = found.hops[0]
    return (hop.gateway.packed if hop.gateway else None), hop.ifindex


def problems(errors: Sequence[InputError], total: int) -> InputError:
    """One error for what is wrong with several of many prefixes."""
    if len(errors) == 1:
        return errors[0]
    lines = "".join(f"\n  {one}" for one in errors[:_SHOWN])
    more = f"\n  and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
    return InputError(f"{len(errors)} of {total} prefixes cannot be done, so none was:{lines}{more}")
