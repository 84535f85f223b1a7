"""A topology's lines on a kernel host: what they say goes to the kernel; see topology_apply for the rest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from routebpf.datapath.fib import Hop
from routebpf.hosts import topology_values as lines
from routebpf.hosts.kernel_routes import Metric, Wanted
from routebpf.hosts.topology_apply import TopologyApplier
from routebpf.kernel import routes
from routebpf.kernel.addresses import ADDRESS_FLAGS, KernelRule
from routebpf.kernel.devices import TunnelSettings

if TYPE_CHECKING:
    from routebpf.hosts.kernel import KernelHost

_HOW: dict[str, routes.How] = {
    "add": "add",
    "replace": "replace",
    "change": "change",
    "append": "append",
    "prepend": "prepend",
}


class KernelTopology(TopologyApplier):
    """What does a topology's commands on a kernel host."""

    called = "a kernel host"

    def __init__(self, host: KernelHost) -> None:
        super().__init__()
        self.host = host

    @property
    def target(self) -> KernelHost:
        return self.host

    def add_link(self, link: lines.Link) -> None:
        if link.tunnel is None:
            super().add_link(link)
            return
        tunnel = link.tunnel
        settings = TunnelSettings(
            tunnel.local,
            tunnel.remote,
            self.host.device(tunnel.device).ifindex if tunnel.device else 0,
            tunnel.ttl,
            tunnel.tos,
            tunnel.input_key,
            tunnel.output_key,
            tunnel.path_mtu_discovery,
        )
        kind = link.kind or ""
        name = link.name or self.free_name(kind)
        self.host.add_device(
            name, kind=kind, mtu=link.mtu, ifindex=link.ifindex, up=bool(link.up), tunnel=settings
        )  # fmt: skip

    def address(self, one: lines.Address) -> None:
        if one.verb == "delete" or one.peer is not None:
            super().address(one)
            return
        flags = sum(ADDRESS_FLAGS.get(flag, 0) for flag in one.flags) or None
        values: dict[str, Any] = {
            "scope": one.scope or None,
            "label": one.label,
            "metric": one.metric,
            "valid_seconds": one.valid_seconds,
            "preferred_seconds": one.preferred_seconds,
            "anycast": one.anycast,
            "flags": flags,
        }
        self.host.add_address(
            one.device,
            one.interface.text,
            replace=one.verb in ("replace", "change"),
            broadcast=str(ip_address(one.broadcast)) if one.broadcast else None,
            **{key: value for key, value in values.items() if value is not None},
        )

    def route(self, one: lines.Route) -> None:
        wanted = Wanted(
            prefix=ip_network((one.prefix.address, one.prefix.length), strict=False),
            hops=tuple(self._hops(one)),
            type=None if one.type == "unspec" else one.type,
            table=one.table,
            metric=one.metric,
            tos=one.tos,
            source=one.preferred_source,
            source_prefix=(one.source.address, one.source.length) if one.source and one.source.length else None,
            protocol=one.protocol,
            scope=one.scope,
            metrics=[Metric(*_metric(rtax)) for rtax in one.rtax],
            onlink=[path.onlink for path in _ways(one)],
            expires_seconds=one.expires_seconds,
            preference=one.preference,
            ttl_propagate=one.ttl_propagate,
        )
        if one.verb == "delete":
            self.host.take_route(wanted)
        else:
            self.host.put_route(wanted, _HOW[one.verb])

    def _hops(self, one: lines.Route) -> Iterator[Hop]:
        for path in _ways(one):
            gateway = ip_address(path.via) if path.via else None
            programs: dict[str, Any] = {}
            if path.encap is not None:  # the kernel ignores one that stands before nexthops
                programs = {hook: self.program(hook, named) for hook, named in path.encap.programs.items()}
            yield Hop(
                path.device,
                int(gateway) if gateway else None,
                gateway.version if gateway else 0,
                path.weight,
                path.realms,
                programs.get("xmit"),
                programs.get("in"),
                programs.get("out"),
                path.encap.headroom if path.encap else 0,
            )

    def rule(self, one: lines.Rule) -> None:
        rule = KernelRule(
            family=socket.AF_INET if one.family == 4 else socket.AF_INET6,
            action="any" if one.verb == "delete" and one.action == "lookup" else one.action,
            table=one.table,
            priority=one.priority,
            invert=one.invert,
            source=_prefix(one.source),
            destination=_prefix(one.destination),
            iif=one.iif,
            oif=one.oif,
            tos=one.tos,
            fwmark=one.fwmark,
            fwmask=one.fwmask,
            realms=one.realms,
            protocol=one.protocol,
            ip_protocol=one.ip_protocol,
            source_ports=one.source_ports,
            destination_ports=one.destination_ports,
            uid_range=one.uid_range,
            tunnel_id=one.tunnel_id,
            l3mdev=one.l3mdev,
            suppress_prefix_length=one.suppress_prefix_length,
            suppress_group=one.suppress_group,
            target=one.target,
        )
        if one.verb == "delete":
            self.host.delete_rule(rule)
        else:
            self.host.add_rule(rule)


def _ways(one: lines.Route) -> tuple[lines.Nexthop, ...]:
    """The ways that the line names: a delete or a blackhole may name none."""
    return tuple(path for path in one.paths if path.device or path.via or path.encap)


def _metric(rtax: lines.Rtax) -> tuple[str, int | str, bool]:
    return rtax.name, rtax.value, rtax.locked


def _prefix(one: Any) -> tuple[bytes, int] | None:
    return (one.address, one.length) if one is not None and one.length else None
