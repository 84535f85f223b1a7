"""Which route an operator means, and whether it can carry a program at all."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby, repeat
from operator import itemgetter
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.kernel.netlink import Refusal, RouteSocket
from routebpf.kernel.route_bulk import Route, Shape, Shapes, as_listed, list_routes
from routebpf.kernel.route_identity import IPV6_METRIC, Place, RouteKey, prefix_text, read_key, route_text
from routebpf.kernel.routes import RT_TABLE_MAIN, RTA, KernelRoute, NextHop, look_up

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
_TABLES = {253: "default", 254: "main", 255: "local"}
_SHOWN = 4
# By family, then by what stands behind the address: the length, and the bits of the host.
_INET, _INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_LENGTHS = {
    family: {"": (width, 0)} | {f"/{bits}": (bits, (1 << (width - bits)) - 1) for bits in range(width + 1)}
    for family, width in ((_INET, 32), (_INET6, 128))
}


def table_name(table: int) -> str:
    """The name of a table that every system has, the number of any other."""
    return _TABLES.get(table, str(table))


class Prefix(NamedTuple):
    """A destination. `address` in network order, without host bits."""

    family: int
    address: bytes
    bits: int

    def __str__(self) -> str:
        return prefix_text(*self)


class Selection(NamedTuple):
    """Which of a prefix's routes is meant; None: whichever there is."""

    table: int = RT_TABLE_MAIN
    metric: int | None = None
    tos: int | None = None
    device: str | None = None
    source: Prefix | None = None

    def has(self, place: Place) -> bool:
        """Whether the metric, the TOS and the source of a route are those that are meant."""
        return (
            self.metric in (None, place.metric)
            and self.tos in (None, place.tos)
            and (self.source is None or (self.source.bits, _source(self.source)) == (place.src_len, place.src))
        )


def _source(prefix: Prefix) -> bytes:
    """What a key has of a route for packets from a prefix: nothing if they may come from anywhere."""
    return prefix.address if prefix.bits else b""


class NewRoute(NamedTuple):
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


class PrefixError(InputError):
    """`text` is no prefix."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text!r} is no prefix{why}")
        self.text = text


def parse_prefix(text: str) -> Prefix:
    """10.0.0.0/8, 10.0.0.1 (a host), 2001:db8::/32, default (0.0.0.0/0). Raises PrefixError."""
    address, slash, length = text.partition("/")
    plain = _plain_prefixes([address], slash + length)
    return plain[0] if plain else _network(text)


def parse_prefixes(texts: Iterable[str]) -> list[Prefix]:
    """As `parse_prefix`, many: neighbours of one length together, which takes half the time."""
    found: list[Prefix] = []
    for (slash, length), run in groupby((text.partition("/") for text in texts), itemgetter(1, 2)):
        addresses = [address for address, _, _ in run]
        behind = slash + length
        found += _plain_prefixes(addresses, behind) or [parse_prefix(one + behind) for one in addresses]
    return found


def _plain_prefixes(addresses: Sequence[str], behind: str) -> list[Prefix] | None:
    """Prefixes of one family and length, which stands `behind` them; None if one may be wrong, or is written oddly."""
    family = _INET6 if ":" in addresses[0] else _INET
    try:
        bits, of_host = _LENGTHS[family][behind]
        packed = list(map(socket.inet_pton, repeat(family), addresses))
    except (OSError, ValueError, KeyError):
        return None
    if any(map(of_host.__and__, map(int.from_bytes, packed))):
        return None
    return list(map(Prefix, repeat(family), packed, repeat(bits)))


def _network(text: str) -> Prefix:
    """The rarer ways to write a prefix, and the errors."""
    from ipaddress import ip_network

    if text == "default":
        return Prefix(_INET, bytes(4), 0)
    if "%" in text:
        raise PrefixError(text, ": it has a zone; --device says by which device the route goes")
    try:
        network = ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise PrefixError(text, "; one is 10.0.0.0/8 or 2001:db8::/32") from None
        raise PrefixError(text, f": it has bits beyond its length; did you mean {meant}?") from None
    return Prefix(_INET if network.version == 4 else _INET6, network.network_address.packed, network.prefixlen)


def parse_gateway(text: str) -> bytes:
    """An address in network order. Raises InputError."""
    from ipaddress import ip_address

    try:
        return ip_address(text).packed
    except ValueError:
        raise InputError(f"{text!r} is no address of a gateway") from None


class Routes:
    """The routes of some tables as they were listed, in the kernel's order, by prefix and by key."""

    def __init__(self, sock: RouteSocket, tables: Iterable[tuple[int, int | None]], shapes: Shapes) -> None:
        """`tables`: family and table, None for all tables."""
        self._alike = [one for family, table in tables for one in list_routes(sock, family, table, shapes)]

    @property
    def listed(self) -> Iterator[Route]:
        return (Route(shape, dst) for shape, destinations in self._alike for dst in destinations)

    @cached_property
    def by_prefix(self) -> Mapping[tuple[int, bytes, int], tuple[Shape, ...]]:
        """The shapes of the routes of a prefix, by what a `Prefix` is made of."""
        found: dict[tuple[int, bytes, int], tuple[Shape, ...]] = {}
        for shape, destinations in self._alike:
            own = (shape,)
            for prefix in zip(repeat(shape.route.family), destinations, repeat(shape.dst_len)):
                found[prefix] = found[prefix] + own if prefix in found else own
        return found

    @cached_property
    def by_key(self) -> Mapping[bytes, Shape]:
        """The shape of the first route with a key, which is the one that a replace reaches."""
        found: dict[bytes, Shape] = {}
        for shape, destinations in reversed(self._alike):
            found.update(zip(map(shape.place.__add__, destinations), repeat(shape)))
        return found

    def shapes_at(self, keys: Sequence[RouteKey]) -> dict[Shape | None, RouteKey]:
        """The shapes of the routes with these keys, None where there is no route; of each, the first key."""
        return dict(zip(map(self.by_key.get, reversed(keys)), reversed(keys), strict=True))

    def at(self, key: RouteKey) -> Route | None:
        """That route."""
        shape = self.by_key.get(key)
        return None if shape is None else shape.route_at(key)

    def of(self, prefix: Prefix) -> list[Route]:
        """The routes of a prefix."""
        return [Route(shape, prefix.address) for shape in self.by_prefix.get(prefix, ())]


def choose_shape(there: Sequence[Shape], prefix: Prefix, wanted: Selection, devices: Devices) -> Shape | None:
    """Which of the routes of a prefix is meant: its shape, None if there is none. Raises InputError if several may be,
    or for one that a replace would not reach."""
    ifindex = devices.index(wanted.device) if wanted.device is not None else None
    found = [
        one for one in there if wanted.has(read_key(RouteKey(one.place + prefix.address))) and goes_by(one, ifindex)
    ]
    if len(found) > 1:
        lines = [route_text(one.full(prefix.address), devices.names) for one in found[:_SHOWN]]
        raise InputError(
            f"{prefix}: {len(found)} routes of table {table_name(wanted.table)} have it: {'; '.join(lines)}; say"
            " which with --metric, --tos, --source or --device"
        )
    if found and len(there) > 1:
        _check_reach(found[0], there, prefix, devices)
    return found[0] if found else None


def goes_by(shape: Shape | None, ifindex: int | None) -> bool:
    """Whether routes of a shape, None: those that are not there, go by a device; None: by any."""
    return ifindex is None or (shape is not None and any(hop.ifindex == ifindex for hop in shape.route.hops))


def _check_reach(chosen: Shape, there: Sequence[Shape], prefix: Prefix, devices: Devices) -> None:
    """Raise InputError if another route of the same key stands before this one, so that a replace would take that, or
    if the replace would hide another."""

    def text(one: Shape) -> str:
        return route_text(one.full(prefix.address), devices.names)

    first = next(one for one in there if one.place == chosen.place)
    if first is not chosen:
        raise InputError(
            f"route {text(chosen)}: the kernel's replace reaches only the first route of a prefix and metric, which is"
            f" {text(first)}; give one of them another metric"
        )
    behind = there[there.index(chosen) + 1 :]
    hidden = next((one for one in behind if _is_hidden_by(chosen, one)), None)
    if hidden is not None:
        raise InputError(
            f"route {text(chosen)}: once it was replaced the kernel would no longer list {text(hidden)}, which has no"
            " gateway; give one of them another metric"
        )


def _is_hidden_by(shape: Shape, other: Shape) -> bool:
    """Whether a replaced IPv6 route of several next hops has one that stood behind it between them. A dump leaves that
    out. kernel: net/ipv6/ip6_fib.c, fib6_add_rt2node(), fib6_dump_node()."""
    one, two = shape.route, other.route
    return (
        one.family == socket.AF_INET6
        and len(one.hops) > 1
        and (one.metric, one.src_len, one.attribute(RTA.SRC)) == (two.metric, two.src_len, two.attribute(RTA.SRC))
        and other.place != shape.place
    )


def check_route(route: Route, devices: Devices) -> None:
    """Raise InputError for a route that cannot carry a program."""
    shape = route.shape
    if shape.can_carry:
        return
    what = f"route {route_text(route.full, devices.names)}"
    if shape.route.nexthop_id:
        raise InputError(
            f"{what}: it goes by nexthop object {shape.route.nexthop_id}, and the encap is the object's, not the"
            " route's; give the route a way of its own (ip route replace … via … dev …)"
        )
    if shape.other_encap is not None:
        name = _ENCAPS.get(shape.other_encap, f"type {shape.other_encap}")
        raise InputError(
            f"{what}: it has encap {name}, and a route has one encap only; make the encap's work the program's"
            " (bpf_lwt_push_encap), or put the program on the route that the encap's packets take"
        )
    if not shape.can_be_named:
        raise InputError(f"{what}: the kernel made it, with metric 0, which in a request stands for {IPV6_METRIC}")
    raise InputError(f"{what}: it leads nowhere, so there is nothing to put a program on")


def missing_route(sock: RouteSocket, prefix: Prefix, wanted: Selection, devices: Devices) -> InputError:
    """The error for a prefix that has no route: what there is instead, and what to do."""
    elsewhere = Routes(sock, [(prefix.family, None)], {}).of(prefix)
    limits = _limits(wanted)
    if elsewhere:
        lines = "; ".join(route_text(one.full, devices.names) for one in elsewhere[:_SHOWN])
        return InputError(f"{prefix}: no route {limits}; there is {lines}")
    covering = look_up(sock, prefix.address, source=_from(prefix, wanted), match=True)
    by = "" if isinstance(covering, Refusal) else f" (packets to it take {route_text(covering, devices.names)})"
    return InputError(f"{prefix}: no route {limits}{by}; --create makes one")


def _from(prefix: Prefix, wanted: Selection) -> bytes:
    """The address that packets to a prefix come from, where it matters which way they go."""
    source = wanted.source
    return _source(source) if source is not None and source.family == prefix.family == socket.AF_INET6 else b""


def _limits(wanted: Selection) -> str:
    words = [f"in table {table_name(wanted.table)}"]
    words += [f"with metric {wanted.metric}"] if wanted.metric is not None else []
    words += [f"with tos {wanted.tos:#x}"] if wanted.tos is not None else []
    words += [f"from {wanted.source}"] if wanted.source else []
    words += [f"by device {wanted.device}"] if wanted.device else []
    return " ".join(words)


def new_route(sock: RouteSocket, prefix: Prefix, wanted: Selection, way: NewRoute, devices: Devices) -> Route:
    """A route to add: with the gateway and device given, or those that packets to the prefix take now."""
    if way.gateway is not None and len(way.gateway) != len(prefix.address):
        raise InputError(f"{prefix}: the gateway is of the other family")
    source = wanted.source if wanted.source is not None and wanted.source.bits else None
    if source is not None and not source.family == prefix.family == socket.AF_INET6:
        raise InputError(f"{prefix} from {source}: only IPv6 routes have a source")
    device = wanted.device if way.device is None else way.device
    if way.gateway is None and device is None:
        gateway, ifindex = _present_way(sock, prefix, _from(prefix, wanted))
    else:
        gateway, ifindex = way.gateway, devices.index(device) if device is not None else 0
    pairs: list[tuple[int, bytes]] = [(int(RTA.TABLE), struct.pack("=I", wanted.table))]
    if prefix.bits:
        pairs.insert(0, (int(RTA.DST), prefix.address))
    if source is not None:
        pairs.append((int(RTA.SRC), source.address))
    metric = wanted.metric or (IPV6_METRIC if prefix.family == socket.AF_INET6 else 0)
    if metric:
        pairs.append((int(RTA.PRIORITY), struct.pack("=I", metric)))
    hop = NextHop(ifindex, ((int(RTA.GATEWAY), gateway),) if gateway else ())
    is_direct = gateway is None and prefix.family == socket.AF_INET
    made = KernelRoute(
        family=prefix.family,
        dst_len=prefix.bits,
        src_len=source.bits if source is not None else 0,
        tos=wanted.tos or 0,
        rtm_table=wanted.table if wanted.table < _FIRST_WIDE_TABLE else 0,
        protocol=_RTPROT_STATIC,
        scope=_RT_SCOPE_LINK if is_direct else 0,
        attributes=tuple(pairs),
    )
    return as_listed(made.with_hops([hop]))


def _present_way(sock: RouteSocket, prefix: Prefix, source: bytes) -> tuple[bytes | None, int]:
    found = look_up(sock, prefix.address, source=source)
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
