"""Routes between a kernel host and its kernel: what is asked for becomes attributes, what is read becomes a `Route`.

The defaults are those of `ip route` (iproute2's ip/iproute.c), so that a topology means the same.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from routebpf.datapath.fib import ERROR_TYPES, ROUTE_TYPES, TABLE_LOCAL, TABLE_MAIN, Hop, Prefix, Route
from routebpf.errors import InputError
from routebpf.hosts.arguments import address_of
from routebpf.kernel.lwt_encap import BpfEncap, EncapProgram
from routebpf.kernel.netlink import attributes, read_attributes
from routebpf.kernel.routes import RTA, RTNH_F_ONLINK, KernelRoute, NextHop

# kernel: include/uapi/linux/rtnetlink.h, RTAX_*
RTAX = {
    "mtu": 2, "window": 3, "rtt": 4, "rttvar": 5, "ssthresh": 6, "cwnd": 7, "advmss": 8, "reordering": 9,
    "hoplimit": 10, "initcwnd": 11, "features": 12, "rto_min": 13, "initrwnd": 14, "quickack": 15, "congctl": 16,
    "fastopen_no_cookie": 17,
}  # fmt: skip
_HEADROOM_MARK = " headroom "  # behind the name of a program on a route
_RTAX_LOCK = 1
_PROTOCOL_BOOT = 3
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_SCOPES = {"local": _SCOPE_HOST, "broadcast": _SCOPE_LINK, "multicast": _SCOPE_LINK, "anycast": _SCOPE_LINK}
_IN_LOCAL_TABLE = frozenset({"local", "broadcast", "anycast"})
_TYPE_NAMES = {number: name for name, number in ROUTE_TYPES.items()}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEADROOM_MOST = 256


class Metric(NamedTuple):
    """One of RTA_METRICS, by a name of RTAX."""

    name: str
    value: int | str
    is_locked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A route that is asked for. `None` is "not said". `onlink` is of all its ways; `type` None in a delete: any."""

    prefix: Prefix
    hops: Sequence[Hop] = ()
    type: str | None = "unicast"
    table: int | None = None
    metric: int | None = None
    tos: int = 0
    source: bytes | None = None
    source_prefix: tuple[bytes, int] | None = None
    protocol: int = _PROTOCOL_BOOT
    scope: int | None = None
    metrics: Sequence[Metric] = ()
    onlink: Sequence[bool] = ()
    expires_seconds: int | None = None
    preference: int | None = None
    ttl_propagate: bool | None = None

    @property
    def has_onlink(self) -> tuple[bool, ...]:
        return tuple(self.onlink) + (False,) * (len(self.hops) - len(self.onlink))


def table_of(kind: str, table: int) -> int:
    """The table of a route of a type: those of the host's own addresses go to the local one."""
    return TABLE_LOCAL if kind in _IN_LOCAL_TABLE and table == TABLE_MAIN else table


def kernel_route(wanted: Wanted, ifindexes: Mapping[str, int], program: Callable[[Any], EncapProgram]) -> KernelRoute:
    """The route as the kernel takes it. `program`: what puts a loaded program on a route.

    Raises InputError for a device that is not there, a headroom or a weight that no route has.
    """
    family = wanted.prefix.version
    kind = wanted.type or "unicast"
    hops = [
        _next_hop(hop, family, ifindexes, program, onlink=onlink)
        for hop, onlink in zip(wanted.hops, wanted.has_onlink, strict=True)
    ]
    table = table_of(kind, TABLE_MAIN) if wanted.table is None else wanted.table
    scope = wanted.scope
    if scope is None:
        bare = kind == "unicast" and not any(hop.gateway for hop in wanted.hops)
        scope = _SCOPE_LINK if bare else _SCOPES.get(kind, _SCOPE_UNIVERSE)
    bare_route = KernelRoute(
        family=_FAMILIES[family],
        dst_len=wanted.prefix.prefixlen,
        src_len=wanted.source_prefix[1] if wanted.source_prefix else 0,
        tos=wanted.tos,
        rtm_table=table,
        protocol=wanted.protocol,
        scope=scope,
        type=ROUTE_TYPES[kind] if wanted.type else 0,
        attributes=tuple(_own_attributes(wanted, table)),
    )
    return bare_route if kind in ERROR_TYPES else bare_route.with_hops(hops)


def _own_attributes(wanted: Wanted, table: int) -> Iterator[tuple[int, bytes]]:
    yield RTA.TABLE, struct.pack("=I", table)
    if wanted.prefix.prefixlen:
        yield RTA.DST, wanted.prefix.network_address.packed
    if wanted.source_prefix:
        yield RTA.SRC, wanted.source_prefix[0]
    numbers = (
        (RTA.PRIORITY, "=I", wanted.metric),
        (RTA.EXPIRES, "=I", wanted.expires_seconds),
        (RTA.PREF, "=B", wanted.preference),
        (RTA.TTL_PROPAGATE, "=B", wanted.ttl_propagate),
    )
    for key, form, value in numbers:
        if value is not None:
            yield key, struct.pack(form, value)
    if wanted.source:
        yield RTA.PREFSRC, wanted.source
    if wanted.metrics:
        yield RTA.METRICS, attributes(_metrics(wanted.metrics))


def _metrics(metrics: Sequence[Metric]) -> Iterator[tuple[int, bytes]]:
    locks = 0
    for one in metrics:
        locks |= one.is_locked << RTAX[one.name]
        value = one.value
        yield RTAX[one.name], value.encode() + b"\0" if isinstance(value, str) else struct.pack("=I", value)
    if locks:
        yield _RTAX_LOCK, struct.pack("=I", locks)


def _next_hop(
    hop: Hop, family: int, ifindexes: Mapping[str, int], program: Callable[[Any], EncapProgram], *, onlink: bool
) -> NextHop:
    if hop.device is not None and hop.device not in ifindexes:
        raise InputError(f"there is no device {hop.device}; there are {', '.join(ifindexes)}")
    if not 0 <= hop.headroom <= _HEADROOM_MOST:
        raise InputError(
            f"a headroom of {hop.headroom}; it is at most {_HEADROOM_MOST} (Numerical result out of range)"
        )
    if not 1 <= hop.weight <= 256:
        raise InputError(f"a weight of {hop.weight}; it is 1 to 256")
    own = tuple(_hop_attributes(hop, family))
    found = NextHop(ifindexes[hop.device] if hop.device else 0, own, hop.weight, RTNH_F_ONLINK if onlink else 0)
    if not hop.programs:
        return found

    def named(held: Any) -> EncapProgram | None:
        """The kernel takes two encaps for one that differ in nothing but their headroom, unless the names do."""
        if not held:
            return None
        on_route = program(held)
        return on_route._replace(name=f"{on_route.name}{_HEADROOM_MARK}{hop.headroom}") if hop.headroom else on_route

    return found.with_encap(BpfEncap(named(hop.in_), named(hop.out), named(hop.xmit), hop.headroom))


def _hop_attributes(hop: Hop, family: int) -> Iterator[tuple[int, bytes]]:
    if hop.gateway is not None:
        size = 4 if hop.gateway_family == 4 else 16
        packed = hop.gateway.to_bytes(size, "big")
        if hop.gateway_family == family:
            yield RTA.GATEWAY, packed
        else:
            yield RTA.VIA, struct.pack("=H", _FAMILIES[hop.gateway_family]) + packed
    if hop.realm:
        yield RTA.FLOW, struct.pack("=I", hop.realm)


# Back


def route_of(found: KernelRoute, names: Mapping[int, str], programs: Callable[[str], Any]) -> Route:
    """A route that was read. `names`: of devices by ifindex; `programs`: the program that a name on a route means."""
    kind = _TYPE_NAMES.get(found.type, str(found.type))
    hops = () if kind in ERROR_TYPES else tuple(_hop_of(hop, names, programs) for hop in found.hops)
    values = dict(read_attributes(found.attribute(RTA.METRICS) or b""))
    source = found.attribute(RTA.PREFSRC)
    return Route(
        found.prefix,
        hops,
        kind,
        found.table,
        found.metric,
        found.tos,
        int.from_bytes(values.get(RTAX["mtu"], b""), "little"),
        int.from_bytes(source, "big") if source else 0,
    )


def _hop_of(hop: NextHop, names: Mapping[int, str], programs: Callable[[str], Any]) -> Hop:
    gateway = hop.gateway
    encap = hop.encap
    held: dict[str, Any] = {}
    if encap is not None:
        held = {hook: programs(one.name.partition(_HEADROOM_MARK)[0]) for hook, one in encap.programs.items()}
    return Hop(
        names.get(hop.ifindex),
        int(gateway) if gateway else None,
        gateway.version if gateway else 0,
        hop.weight,
        hop.number(RTA.FLOW) or 0,
        held.get("xmit"),
        held.get("in"),
        held.get("out"),
        encap.headroom if encap else 0,
    )


def gateway_hop(device: str | None, via: str | None, hop: Hop) -> Hop:
    """A hop by a device and, if it is said, a gateway."""
    if via is None:
        return hop
    gateway = address_of(via, "via")
    return Hop(device, int(gateway), gateway.version, 1, hop.realm, hop.xmit, hop.in_, hop.out, hop.headroom)
