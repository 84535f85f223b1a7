"""A topology's routes and rules on the embedded host; see topology_apply for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from routebpf.datapath.fib import RULE_ERRORS, Hop, Prefix, Route, Rule
from routebpf.errors import InputError
from routebpf.hosts import topology_values as lines
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.embedded_routes import hops_of
from routebpf.hosts.load import Engine
from routebpf.hosts.topology_apply import TopologyApplier

_DEFAULT_METRIC = {4: 0, 6: 1024}
# What a rule can ask for that no packet's way here depends on, or that is not modelled: attribute, and what it is.
_UNMODELLED = {
    "oif": "oif",
    "ip_protocol": "ipproto",
    "source_ports": "sport",
    "destination_ports": "dport",
    "uid_range": "uidrange",
    "tunnel_id": "tun_id",
    "l3mdev": "l3mdev",
    "suppress_group": "suppress_ifgroup",
    "target": "goto",
}


class EmbeddedTopology(TopologyApplier):
    """What does a topology's commands on an embedded host."""

    called = "the embedded host"

    def __init__(self, host: EmbeddedHost, engine: Engine) -> None:
        super().__init__(engine)
        self.host = host

    @property
    def target(self) -> EmbeddedHost:
        return self.host

    def route(self, one: lines.Route) -> None:
        _route(self, one)

    def rule(self, one: lines.Rule) -> None:
        _rule(self.host, one)


# Routes and rules


def _route(topology: EmbeddedTopology, one: lines.Route) -> None:
    host, prefix = topology.host, _network(one.prefix)
    if one.source is not None and one.source.length:
        raise InputError(f"route {one.text}: the embedded host has no routes by source prefix (from)")
    if one.verb == "delete":
        taken = host.take_route(prefix, one.table, _fits(one))
        kept = tuple(hop for hop in taken.hops if not any(_means(path, hop) for path in one.paths if path.via))
        if one.family == 6 and len(kept) not in (0, len(taken.hops)):
            host.put_route(replace(taken, hops=kept), append=True)
        return
    metric = _DEFAULT_METRIC[one.family] if one.metric is None else one.metric
    mtu = one.rtax_of("mtu")
    route = Route(
        prefix,
        tuple(_hops(topology, one, prefix)),
        one.type,
        one.table,
        metric,
        one.tos,
        int(mtu.value) if mtu else 0,
        int.from_bytes(one.preferred_source or b"", "big"),
        is_mtu_locked=any(value.name == "mtu" and value.locked for value in one.rtax),
    )
    if one.verb == "change" and not any(
        known.prefix == prefix and known.order == route.order and known.table == route.table
        for known in host.routes(one.family)
    ):
        raise InputError(f"route {one.text}: there is none to change (No such file or directory)")
    host.put_route(
        route, replace=one.verb in ("replace", "change"), append=one.verb in ("append", "prepend"),
        first=one.verb == "prepend",
    )  # fmt: skip


def _hops(topology: EmbeddedTopology, one: lines.Route, prefix: Prefix) -> Iterator[Hop]:
    for path in one.paths:
        gateway = ip_address(path.via) if path.via else None
        hop = Hop(
            path.device,
            int(gateway) if gateway else None,
            gateway.version if gateway else 0,
            path.weight,
            path.realms,
        )
        encap = path.encap
        if encap is not None:  # the kernel ignores one that stands before nexthops
            programs = {hook: topology.program(hook, named) for hook, named in encap.programs.items()}
            hop = replace(
                hop, xmit=programs.get("xmit"), in_=programs.get("in"), out=programs.get("out"), headroom=encap.headroom
            )
        yield from hops_of(topology.host, prefix, one.type, hop, None, (hop,), one.table, onlink=path.onlink)


def _fits(one: lines.Route) -> Callable[[Route], bool]:
    """Whether a route is one that a delete means: of IPv4 by type, MTU, and next hops in order or the first; of
    IPv6 by one of them. kernel: fib_table_delete(), fib_nh_match(); ip6_route_del()."""
    wanted = [path for path in one.paths if path.device or path.via]

    def fits(route: Route) -> bool:
        if (one.metric is not None and one.metric != route.metric) or one.tos != route.tos:
            return False
        if one.family == 6:
            return all(any(_means(path, hop) for hop in route.hops) for path in wanted)
        mtu = one.rtax_of("mtu")
        if one.type not in ("unspec", route.type) or (mtu is not None and int(mtu.value) != route.mtu):
            return False
        hops = route.hops if one.nexthops else route.hops[: len(wanted)]
        return bool(hops) == bool(wanted) and len(wanted) >= len(hops) and all(map(_means, wanted, hops))

    return fits


def _means(path: lines.Nexthop, hop: Hop) -> bool:
    """Whether a next hop is the one that a line names."""
    return path.device in (None, hop.device) and (path.via is None or int.from_bytes(path.via, "big") == hop.gateway)


def _rule(host: EmbeddedHost, one: lines.Rule) -> None:
    for attribute, word in _UNMODELLED.items():
        if getattr(one, attribute):
            raise InputError(f"rule: the embedded host does not model {word}")
    if one.action not in ("lookup", "nop") and one.action not in RULE_ERRORS:
        raise InputError(f"rule: the embedded host does not model {one.action}")
    mask = one.fwmask if one.fwmask is not None else (0xFFFFFFFF if one.fwmark is not None else 0)
    rule = Rule(
        _free_priority(host, one.family) if one.priority is None else one.priority,
        one.table,
        one.action,
        _network(one.source) if one.source and one.source.length else None,
        _network(one.destination) if one.destination and one.destination.length else None,
        one.fwmark or 0,
        mask,
        one.iif,
        one.tos,
        one.invert,
        one.suppress_prefix_length,
    )
    if one.verb == "delete":
        host.delete_rule(lambda known: _is_meant(one, rule, known), one.family)
    else:
        host.add_rule(rule, one.family)


def _is_meant(one: lines.Rule, wanted: Rule, known: Rule) -> bool:
    """Whether a rule is the one that a delete means: all that is given is the same."""
    checks = (
        (one.priority is not None, known.priority == wanted.priority),
        (one.table is not None, known.table == wanted.table),
        (one.source is not None, known.source == wanted.source),
        (one.destination is not None, known.destination == wanted.destination),
        (one.fwmark is not None, (known.mark, known.mark_mask) == (wanted.mark, wanted.mark_mask)),
        (one.iif is not None, known.input_device == wanted.input_device),
        (bool(one.tos), known.tos == wanted.tos),
        (one.action != "lookup", known.action == wanted.action),
        (
            one.suppress_prefix_length is not None,
            known.suppress_prefix_length == wanted.suppress_prefix_length,
        ),
    )
    return all(same for given, same in checks if given)


def _free_priority(host: EmbeddedHost, family: int) -> int:
    """One before the second rule. kernel: fib_default_rule_pref()."""
    rules = host.rules(family)
    return max(rules[1].priority - 1, 0) if len(rules) > 1 else 0


def _network(prefix: Any) -> Prefix:
    return ip_network((prefix.address, prefix.length), strict=False)
