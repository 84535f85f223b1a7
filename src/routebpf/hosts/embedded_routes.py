"""The routes that addresses and devices bring, and what the next hops of a new route are.

kernel: net/ipv4/fib_frontend.c, fib_add_ifaddr(); net/ipv6/addrconf.c; net/ipv4/fib_semantics.c, fib_check_nh().
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_network
from typing import Protocol

from routebpf.datapath.devices import KINDS, Device
from routebpf.datapath.fib import ERROR_TYPES, TABLE_LOCAL, TABLE_MAIN, Fib, Hop, Prefix, Route
from routebpf.errors import InputError
from routebpf.hosts.arguments import address_of
from routebpf.hosts.embedded_gateway import Gateway, device_of_gateway
from routebpf.runtime.device import DEVICE_ETHERNET, DEVICE_LOOPBACK

_IPV6_METRIC = 256  # of the routes that addrconf makes
_LINK_LOCAL = 0xFE80 << 112
_IPV6_MIN_MTU = 1280  # RFC 8200, 5; a device of a smaller MTU has no IPv6
_OF_THE_HOST = frozenset({"local", "anycast"})


class Links(Protocol):
    """What next hops are checked against: a host."""

    def device(self, name: str) -> Device: ...
    def fib(self, family: int) -> Fib: ...

    @property
    def devices(self) -> Mapping[str, Device]: ...


@dataclass(frozen=True, slots=True)
class HostAddress:
    """An address of a device. `link`: the network of its link, a peer's if it has one. `routes`: what it brings."""

    interface: IPv4Interface | IPv6Interface
    link: Prefix
    routes: tuple[Route, ...]


def host_address(
    device: Device,
    interface: IPv4Interface | IPv6Interface,
    peer: str | None,
    broadcast: str | None,
    others: Sequence[HostAddress] = (),
) -> HostAddress:
    """An address with the routes that it brings: itself, its link, of IPv4 the broadcast addresses of both, of IPv6
    that of any router on the link (RFC 4291, 2.6.1; kernel: addrconf_join_anycast()). `others`: what the device has
    already; an IPv4 address of a link that it has is a secondary one, reached as the first of that link is."""
    hops = (Hop(device.name),)
    width = interface.max_prefixlen
    metric = 0 if interface.version == 4 else _IPV6_METRIC
    network = ip_network(f"{peer}/{interface.network.prefixlen}", strict=False) if peer else interface.network
    primary = next((one.interface for one in others if one.link == network and network.version == 4), interface)
    is_secondary = primary is not interface
    own = int(primary.ip)
    routes = [Route(ip_network((int(interface.ip), width)), hops, "local", TABLE_LOCAL, source=own)]
    is_loopback = bool(KINDS[device.kind].flags & DEVICE_LOOPBACK)
    if (network.prefixlen < width or peer) and not is_secondary:
        is_own = is_loopback and interface.version == 4 and network.prefixlen < width
        kind, table = ("local", TABLE_LOCAL) if is_own else ("unicast", TABLE_MAIN)
        routes.append(Route(network, hops, kind, table, metric, source=own))
    if interface.version == 4:
        ends = [ip_network(broadcast)] if broadcast else []
        ends += [ip_network(network.broadcast_address)] if network.prefixlen < 31 and not is_secondary else []
        routes += (Route(one, hops, "broadcast", TABLE_LOCAL, source=own) for one in dict.fromkeys(ends))
    if interface.version == 6 and interface.network.prefixlen < 127 and not is_loopback:
        first = int(interface.network.network_address)
        routes.append(Route(ip_network((first, width)), hops, "anycast", TABLE_LOCAL))
    return HostAddress(interface, network, tuple(routes))


def link_local_routes(device: Device) -> tuple[Route, ...]:
    """The IPv6 routes that a device brings: multicast; of Ethernet and tun the prefix of link-local addresses, and of
    Ethernet its own one. (That of a tun is random.)"""
    flags = KINDS[device.kind].flags
    if flags & DEVICE_LOOPBACK or device.mtu < _IPV6_MIN_MTU:
        return ()
    hops = (Hop(device.name),)
    multicast = Route(ip_network("ff00::/8"), hops, "multicast", TABLE_LOCAL, _IPV6_METRIC)
    anycast = Route(ip_network("fe80::/128"), hops, "anycast", TABLE_LOCAL)
    prefix = Route(ip_network("fe80::/64"), hops, metric=_IPV6_METRIC)
    if device.kind == "tun":
        return (multicast, anycast, prefix)
    if not flags & DEVICE_ETHERNET:
        return (multicast,)
    own = _LINK_LOCAL | int.from_bytes(_eui64(device.mac), "big")
    own_address = Route(ip_network((IPv6Address(own), 128)), hops, "local", TABLE_LOCAL, source=own)
    return (multicast, own_address, anycast, replace(prefix, source=own))


def check_has_ipv6(device: Device, family: int, errno: str) -> None:
    """Raises InputError for IPv6 on a device of too small an MTU."""
    if family == 6 and device.mtu < _IPV6_MIN_MTU:
        raise InputError(
            f"device {device.name}: it has no IPv6, as its MTU of {device.mtu} is less than {_IPV6_MIN_MTU} ({errno});"
            " give it a larger one"
        )


def lose_ipv4_routes(fib: Fib, devices: Mapping[str, Device], connected: Container[Route]) -> None:
    """A device has gone down: take away the routes that have no other device. Those that addresses bring
    (`connected`) come back with it. kernel: fib_sync_down_dev(), fib_flush()."""
    for route in list(fib.routes()):
        is_dead = route.hops and not any(devices[hop.device].is_up for hop in route.hops if hop.device)
        if is_dead and route.type not in _OF_THE_HOST and replace(route, number=0) not in connected:
            fib.delete(route.prefix, route.table, partial(is_same_route, route))


def lose_routes_of_address(fib: Fib, address: int | None, device: str | None) -> None:
    """An IPv4 address is no longer the host's: take away the routes that have it as source; and, where the device has
    no other, those by it alone. None: neither. kernel: fib_sync_down_addr(), fib_disable_ip()."""
    for route in list(fib.routes()):
        is_dead = route.hops and all(hop.device == device for hop in route.hops)
        if is_dead or (address and route.source == address):
            fib.delete(route.prefix, route.table, partial(is_same_route, route))


def lose_ipv6_routes(fib: Fib, devices: Mapping[str, Device], device: Device) -> None:
    """A device has gone down, or its MTU is too small for IPv6: take away the routes by it, but for those that it
    brings itself, and those that go on by another while it is down. kernel: addrconf_ifdown(), fib6_ifdown()."""
    kept = link_local_routes(device)
    for route in [one for one in fib.routes() if any(hop.device == device.name for hop in one.hops)]:
        others = tuple(hop for hop in route.hops if hop.device != device.name)
        goes_on = not device.is_up and any(devices[hop.device].is_up for hop in others if hop.device)
        if goes_on or replace(route, number=0) in kept:
            continue
        fib.delete(route.prefix, route.table, partial(is_same_route, route))
        if others:
            fib.add(replace(route, hops=others), append=True)


def is_same_route(one: Route, other: Route) -> bool:
    """Whether two routes are the same but for their number."""
    return replace(one, number=0) == replace(other, number=0)


def _eui64(mac: bytes) -> bytes:
    """RFC 4291, appendix A."""
    return bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]


def hops_of(
    links: Links,
    network: Prefix,
    kind: str,
    hop: Hop,
    via: str | None,
    nexthops: Sequence[Hop],
    table: int,
    *,
    onlink: bool,
) -> tuple[Hop, ...]:
    """The next hops of a route: those that are given, checked, or the one that `via` and the hop's device make."""
    where = f"route {network}"
    if kind in ERROR_TYPES:
        return ()
    if not nexthops:
        if via:
            gateway = address_of(via, f"{where}: via")
            hop = with_gateway(hop, int(gateway), gateway.version)
        nexthops = (hop,)
    for one in nexthops:
        if one.device is not None:
            check_has_ipv6(links.device(one.device), network.version, "No such device")
    return tuple(_checked(links, where, one, table, onlink=onlink) for one in nexthops)


def with_gateway(hop: Hop, gateway: int, family: int) -> Hop:
    """The hop by way of a gateway."""
    return Hop(hop.device, gateway, family, hop.weight, hop.realm, hop.xmit, hop.in_, hop.out, hop.headroom)


def _checked(links: Links, where: str, hop: Hop, table: int, *, onlink: bool) -> Hop:
    if hop.device is not None:
        device = links.device(hop.device)
        if not device.is_up:
            raise InputError(f"{where}: device {device.name} is down (Network is down)")
    if not 0 <= hop.headroom <= 256:
        raise InputError(f"{where}: a headroom of {hop.headroom}; it is at most 256 (Numerical result out of range)")
    if not 1 <= hop.weight <= 256:
        raise InputError(f"{where}: a weight of {hop.weight}; it is 1 to 256")
    if hop.gateway is None:
        if hop.device is None:
            raise InputError(f"{where}: neither a gateway nor a device: say via or dev (No such device)")
        return hop
    gateway = Gateway(where, hop.gateway, hop.device, table, links.fib(hop.gateway_family), links.devices)
    return replace(hop, device=device_of_gateway(gateway, onlink=onlink))
