"""A topology applied to the embedded host: what `ip -batch` would do with its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

from routebpf.datapath.devices import KINDS
from routebpf.datapath.fib import RULE_ERRORS, Hop, Prefix, Route, Rule
from routebpf.errors import InputError
from routebpf.hosts import topology_values as lines
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.embedded_routes import hops_of
from routebpf.hosts.load import Engine, LoadedObject, LoadedProgram, load_unchecked
from routebpf.runtime.device import DEVICE_NOARP

_PROGRAM_TYPES = {"in": "LWT_IN", "out": "LWT_OUT", "xmit": "LWT_XMIT"}
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

Apply = Callable[["_Topology", Any], None]


def apply_topology(
    host: EmbeddedHost, commands: Iterable[lines.Command], *, engine: Engine = "jit", where: str = "topology"
) -> list[LoadedObject]:
    """Do what the commands say, in order: the objects that their routes load.

    Raises InputError for the first that cannot be done, with `where` and its line, as the kernel would refuse it or
    because the embedded host does not model it.
    """
    topology = _Topology(host, engine)
    for one in commands:
        try:
            _APPLY[type(one)](topology, one)
        except InputError as error:
            place = f"{where}:{one.line}: " if one.line else ""
            raise InputError(f"{place}{error}") from None
    return list(topology.objects.values())


@dataclass(slots=True)
class _Topology:
    host: EmbeddedHost
    engine: Engine
    objects: dict[tuple[str, str], LoadedObject] = field(default_factory=dict)

    def program(self, hook: str, one: lines.BpfProgram) -> LoadedProgram:
        """The program that an encap names."""
        if one.object is None:
            raise InputError(f"the program {one.pinned} is pinned in a kernel; the embedded host takes obj FILE")
        key = (one.object, hook)
        if key not in self.objects:
            self.objects[key] = load_unchecked(
                one.object, program_type=_PROGRAM_TYPES[hook], engine=self.engine, cpus=self.host.cpus
            )
        return self.objects[key].program(one.program or one.section)


# Devices


def _link(topology: _Topology, link: lines.Link) -> None:
    host = topology.host
    if link.verb == "delete":
        host.delete_device(_name(link))
    elif link.verb == "set" or (link.verb == "replace" and link.name in host.devices):
        _set_link(host, link)
    else:
        _add_link(host, link)
        if link.peer is not None:
            _add_link(host, link.peer)


def _add_link(host: EmbeddedHost, link: lines.Link) -> None:
    kind = link.kind or "veth"
    if kind not in KINDS:
        raise InputError(f"device {link.name}: the embedded host has no devices of type {kind}")
    has_arp = not KINDS[kind].flags & DEVICE_NOARP if link.arp is None else link.arp
    host.add_device(
        link.name or _free_name(host, kind),
        kind=kind,
        mac=link.address if link.address and len(link.address) == 6 else None,
        mtu=link.mtu,
        ifindex=link.ifindex,
        up=bool(link.up),
        arp=has_arp,
    )


def _set_link(host: EmbeddedHost, link: lines.Link) -> None:
    if link.new_name is not None:
        raise InputError(f"device {link.name}: the embedded host renames no devices; give it the name from the start")
    host.set_device(_name(link), up=link.up, mtu=link.mtu, mac=link.address, arp=link.arp)


def _name(link: lines.Link) -> str:
    if link.name is None:
        raise InputError("no device is named")
    return link.name


def _free_name(host: EmbeddedHost, kind: str) -> str:
    return next(name for number in range(1 << 16) if (name := f"{kind}{number}") not in host.devices)


# Addresses and neighbours


def _address(topology: _Topology, one: lines.Address) -> None:
    host, text = topology.host, one.interface.text
    if one.verb == "delete":
        host.delete_address(one.device, text)
        return
    known = host.has_address(one.device, text)
    if one.verb == "change" and not known:
        raise InputError(f"device {one.device}: it has no address {text} (Cannot assign requested address)")
    if known and one.verb in ("replace", "change"):
        host.delete_address(one.device, text)
    local = ip_address(one.interface.address)
    if one.peer is None:
        host.add_address(one.device, text, broadcast=_text(one.broadcast))
    else:
        host.add_address(one.device, f"{local}/{one.interface.length}", peer=_text(one.peer))


def _neighbour(topology: _Topology, one: lines.Neighbour) -> None:
    host, address = topology.host, str(ip_address(one.address))
    if one.proxy:
        raise InputError(f"neighbour {address}: the embedded host is no proxy for neighbours")
    if one.verb == "delete":
        host.delete_neighbour(one.device, address)
    else:
        host.add_neighbour(one.device, address, one.lladdr or bytes(6), state=one.state if one.lladdr else "none")


def _text(address: bytes | None) -> str | None:
    return None if address is None else str(ip_address(address))


# Routes and rules


def _route(topology: _Topology, one: lines.Route) -> None:
    host, prefix = topology.host, _network(one.prefix)
    if one.source is not None and one.source.length:
        raise InputError(f"route {one.text}: the embedded host has no routes by source prefix (from)")
    if one.verb == "delete":
        host.take_route(prefix, one.table, _fits(one))
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


def _hops(topology: _Topology, one: lines.Route, prefix: Prefix) -> Iterator[Hop]:
    for path in one.paths:
        gateway = ip_address(path.via) if path.via else None
        hop = Hop(
            path.device,
            int(gateway) if gateway else None,
            gateway.version if gateway else 0,
            path.weight,
            path.realms or one.hop.realms,
        )
        encap = path.encap or one.hop.encap
        if encap is not None:
            programs = {hook: topology.program(hook, named) for hook, named in encap.programs.items()}
            hop = replace(
                hop, xmit=programs.get("xmit"), in_=programs.get("in"), out=programs.get("out"), headroom=encap.headroom
            )
        yield from hops_of(topology.host, prefix, one.type, hop, None, (hop,), onlink=path.onlink)


def _fits(one: lines.Route) -> Callable[[Route], bool]:
    """Whether a route is one that a delete means. kernel: fib_table_delete(), ip6_route_del()."""

    def fits(route: Route) -> bool:
        wanted = [path for path in one.paths if path.device or path.via]
        hops = {(hop.device, hop.gateway) for hop in route.hops}
        return (
            (one.type in ("unspec", route.type))
            and (one.metric is None or one.metric == route.metric)
            and one.tos == route.tos
            and all(
                any(
                    path.device in (None, device) and (path.via is None or int.from_bytes(path.via, "big") == gateway)
                    for device, gateway in hops
                )
                for path in wanted
            )
        )

    return fits


def _rule(topology: _Topology, one: lines.Rule) -> None:
    for attribute, word in _UNMODELLED.items():
        if getattr(one, attribute):
            raise InputError(f"rule: the embedded host does not model {word}")
    if one.action not in ("lookup", "nop") and one.action not in RULE_ERRORS:
        raise InputError(f"rule: the embedded host does not model {one.action}")
    host = topology.host
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
    )
    return all(same for given, same in checks if given)


def _free_priority(host: EmbeddedHost, family: int) -> int:
    """One before the second rule. kernel: fib_default_rule_pref()."""
    rules = host.rules(family)
    return max(rules[1].priority - 1, 0) if len(rules) > 1 else 0


def _network(prefix: Any) -> Prefix:
    return ip_network((prefix.address, prefix.length), strict=False)


def _flush(_topology: _Topology, one: lines.Flush) -> None:
    if one.cache:
        return
    raise InputError(f"{one.object} flush: a topology starts from a host that has nothing to flush; leave the line out")


_APPLY: dict[type[lines.Command], Apply] = {
    lines.Link: _link,
    lines.Address: _address,
    lines.Neighbour: _neighbour,
    lines.Route: _route,
    lines.Rule: _rule,
    lines.Flush: _flush,
}
