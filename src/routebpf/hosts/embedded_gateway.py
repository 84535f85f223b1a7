"""The device by which the gateway of a new route is reached: by the rules and routes that are there.

kernel: net/ipv4/fib_semantics.c, fib_check_nh_v4_gw(); net/ipv6/route.c, ip6_validate_gw().
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from routebpf.datapath.devices import KINDS, Device
from routebpf.datapath.fib import ERROR_TYPES, RULE_ERRORS, TABLE_LOCAL, TABLE_MAIN, Fib, Hop, Prefix, Route, Rule
from routebpf.errors import InputError
from routebpf.runtime.device import DEVICE_LOOPBACK

_LOOPBACK = "lo"
_REFUSALS4 = {"blackhole": "Invalid argument", "prohibit": "Permission denied", "unreachable": "Network is unreachable"}
_REFUSALS6 = dict.fromkeys(RULE_ERRORS, "No route to host")
_REACHED4 = frozenset({"unicast", "local"})


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is looked for: by a device, if one is said, of a route of a table."""

    where: str
    address: int
    device: str | None
    table: int
    fib: Fib
    devices: Mapping[str, Device]

    def __str__(self) -> str:
        shown = IPv6Address(self.address) if self.fib.family == 6 else ip_address(self.address)
        return f"{self.where}: its gateway {shown}"

    def hops(self, route: Route) -> Iterator[Hop]:
        """The next hops of a route that can lead there."""
        for hop in route.hops:
            if self.device in (None, hop.device) and hop.device and self.devices[hop.device].is_up:
                yield hop

    def around(self, table: int) -> Iterator[list[Route]]:
        """The routes of a table to the prefixes around it, the longest first."""
        routes = self.fib.tables.get(table)
        if not routes:
            return
        for length in range(128 if self.fib.family == 6 else 32, -1, -1):
            found = routes.get(self._network(length))
            if found:
                yield found

    def meets(self, rule: Rule, input_device: str | None) -> bool:
        """Whether a rule is for it: from nowhere, without mark and TOS."""
        fits = (
            (rule.destination is None or self._network(rule.destination.prefixlen) == rule.destination)
            and (rule.source is None or int(rule.source.network_address) == 0)
            and not rule.mark & rule.mark_mask
            and not rule.tos
            and rule.input_device in (None, input_device)
        )
        return fits != rule.invert

    def _network(self, length: int) -> Prefix:
        width = 128 if self.fib.family == 6 else 32
        first = self.address >> (width - length) << (width - length)
        return ip_network((first.to_bytes(width // 8, "big"), length))


def device_of_gateway(gateway: Gateway, *, onlink: bool) -> str:
    """The device. Raises InputError where the kernel refuses the gateway."""
    if onlink and gateway.device is None:
        raise InputError(f"{gateway.where}: onlink without a device (Nexthop device required for onlink); say dev")
    return (_device6 if gateway.fib.family == 6 else _device4)(gateway, onlink=onlink)


def _lookups(gateway: Gateway, input_device: str | None, refusals: Mapping[str, str]) -> Iterator[tuple[Rule, int]]:
    """The rules that lead to a table, with that. Raises InputError at one that refuses, in the kernel's words."""
    for rule in gateway.fib.rules:
        if not gateway.meets(rule, input_device):
            continue
        if rule.action in RULE_ERRORS:
            raise InputError(
                f"{gateway}: is refused by the rule of priority {rule.priority} ({refusals[rule.action]});"
                " add the route before the rule, or say onlink"
            )
        if rule.action == "lookup" and rule.table is not None:
            yield rule, rule.table


# IPv4


def _device4(gateway: Gateway, *, onlink: bool) -> str:
    if onlink and gateway.device is not None:
        if gateway.address >> 28 >= 0xE or gateway.address >> 24 == 0 or _on_link4(gateway, TABLE_LOCAL, 0):
            raise InputError(f"{gateway}: is no address of another host (Nexthop has invalid gateway)")
        return gateway.device
    found = None if gateway.table == TABLE_MAIN else _on_link4(gateway, gateway.table, 0)
    found = found or _by_rules4(gateway)
    if found is None or found[0].type not in _REACHED4:
        raise _no_link(gateway)
    return str(found[1].device)


def _on_link4(gateway: Gateway, table: int, longer_than: int) -> tuple[Route, Hop] | None:
    """The route of a table that leads there without another gateway. Routes that are errors are passed over, as all of
    global scope."""
    for routes in gateway.around(table):
        for route in routes:
            if route.type in ERROR_TYPES or route.tos or any(hop.gateway is not None for hop in route.hops):
                continue
            for hop in gateway.hops(route):
                return (route, hop) if route.prefix.prefixlen >= longer_than else None
    return None


def _by_rules4(gateway: Gateway) -> tuple[Route, Hop] | None:
    for rule, table in _lookups(gateway, _LOOPBACK, _REFUSALS4):
        shortest = 0 if rule.suppress_prefix_length is None else rule.suppress_prefix_length + 1
        found = _on_link4(gateway, table, shortest)
        if found:
            return found
    return None


# IPv6


def _device6(gateway: Gateway, *, onlink: bool) -> str:
    address = IPv6Address(gateway.address)
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise InputError(f"{gateway}: is no address of a router (Invalid gateway address)")
    device = gateway.device
    if not address.is_link_local and onlink:
        _check_onlink6(gateway)
    elif not address.is_link_local:
        device = _by_table6(gateway) or _by_rules6(gateway)
        if device is None or gateway.device not in (None, device):
            raise _no_link(gateway)
    if device is None:
        raise InputError(f"{gateway}: is on every link (Egress device not specified); say dev")
    if KINDS[gateway.devices[device].kind].flags & DEVICE_LOOPBACK:
        raise InputError(f"{gateway}: no gateway is behind {device} (Egress device can not be loopback device)")
    own = [route for routes in gateway.around(TABLE_LOCAL) for route in routes if route.source == gateway.address]
    if any(not address.is_link_local or hop.device == device for route in own for hop in route.hops):
        raise InputError(f"{gateway}: is the host's own (Gateway can not be a local address)")
    return device


def _first6(gateway: Gateway, table: int) -> Route | None:
    """The route that a table has, errors among them unless a device is asked for."""
    for routes in gateway.around(table):
        for route in routes:
            if any(True for _ in gateway.hops(route)) or (route.type in ERROR_TYPES and gateway.device in (None, "lo")):
                return route
    return None


def _on_link6(gateway: Gateway, route: Route | None) -> str | None:
    """The device of a route without another gateway."""
    if route is None or route.type in ERROR_TYPES or any(hop.gateway is not None for hop in route.hops):
        return None
    return next(gateway.hops(route)).device


def _by_table6(gateway: Gateway) -> str | None:
    return _on_link6(gateway, _first6(gateway, gateway.table))


def _by_rules6(gateway: Gateway) -> str | None:
    """kernel: fib6_lookup(), which suppresses no route."""
    for _, table in _lookups(gateway, None, _REFUSALS6):
        route = _first6(gateway, table)
        if route is not None:
            return _on_link6(gateway, route)
    return None


def _check_onlink6(gateway: Gateway) -> None:
    """kernel: ip6_route_check_nh_onlink()."""
    for routes in gateway.around(TABLE_MAIN):
        one = next((one for one in routes if one.type in ERROR_TYPES or any(hop.device for hop in one.hops)), None)
        if one is None:
            continue
        other = one.type != "unicast" or all(hop.device != gateway.device for hop in one.hops)
        if one.type not in ERROR_TYPES and one.prefix.prefixlen and other:
            raise InputError(
                f"{gateway}: is on the link of another device than {gateway.device} (Nexthop has invalid gateway or"
                " device mismatch)"
            )
        return


def _no_link(gateway: Gateway) -> InputError:
    of = f" of {gateway.device}" if gateway.device else ""
    return InputError(
        f"{gateway} is on no link{of} that the host has (Nexthop has invalid gateway); give the device an address in"
        " the gateway's network, or say onlink"
    )
