"""Routing tables and rules: Python values, and the records in memory that they become.

kernel: net/ipv4/fib_semantics.c, fib_trie.c, fib_rules.c; net/ipv6/route.c. `Fib` keeps the routes of one family as
the kernel does: in a table by prefix, there by TOS (IPv4) and metric.
"""

from __future__ import annotations

from bisect import insort, insort_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Protocol

from routebpf.datapath import fib_records as at
from routebpf.datapath.fib_image import Image
from routebpf.datapath.run_records import ROUTE_COUNT_BYTES
from routebpf.datapath.short_ways import Way
from routebpf.datapath.verdicts import BLACKHOLE, PROHIBITED, RULE_UNREACHABLE, UNREACHABLE
from routebpf.errors import InputError

Prefix = IPv4Network | IPv6Network

TABLE_DEFAULT, TABLE_MAIN, TABLE_LOCAL = 253, 254, 255
ROUTE_TYPES = {
    "unicast": at.RTN_UNICAST,
    "local": at.RTN_LOCAL,
    "broadcast": at.RTN_BROADCAST,
    "anycast": at.RTN_ANYCAST,
    "multicast": at.RTN_MULTICAST,
    "blackhole": at.RTN_BLACKHOLE,
    "unreachable": at.RTN_UNREACHABLE,
    "prohibit": at.RTN_PROHIBIT,
    "throw": at.RTN_THROW,
}
RULE_ERRORS = {"blackhole": BLACKHOLE, "unreachable": RULE_UNREACHABLE, "prohibit": PROHIBITED}
ERROR_TYPES = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBITED, "throw": 0}
_LOCAL_TYPES = frozenset({"local", "anycast"})


class RouteProgram(Protocol):
    """A program that a route can carry: `hosts.load.LoadedProgram` is one."""

    @property
    def name(self) -> str: ...

    @property
    def program_type(self) -> str: ...

    @property
    def entry(self) -> int:
        """The address of its machine code."""

    @property
    def is_plain(self) -> bool:
        """Whether it leaves packet and context as they are, and redirects nothing."""

    def take_fault(self, cpu: int) -> BaseException | None:
        """Why its last run on the CPU at that address was stopped, if it was; told once."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One way a route goes: by a device, and there to a gateway (of either family) or straight to the destination.

    `weight` counts from 1. `realm`: source << 16 | destination. `headroom` in bytes lowers the route's MTU.
    """

    device: str | None
    gateway: int | None = None
    gateway_family: int = 0
    weight: int = 1
    realm: int = 0
    xmit: RouteProgram | None = None
    in_: RouteProgram | None = None
    out: RouteProgram | None = None
    headroom: int = 0

    @property
    def programs(self) -> tuple[RouteProgram, ...]:
        """The programs by this hop."""
        return tuple(one for one in (self.in_, self.out, self.xmit) if one is not None)


@dataclass(frozen=True, slots=True)
class Route:
    """A route as `ip route` knows it. `mtu` 0: the device's; locked, IPv6 forwards by it as well, not by the device's.
    `number` tells routes of a host apart in results."""

    prefix: Prefix
    hops: tuple[Hop, ...] = ()
    type: str = "unicast"
    table: int = TABLE_MAIN
    metric: int = 0
    tos: int = 0
    mtu: int = 0
    source: int = 0
    number: int = 0
    is_mtu_locked: bool = False

    @property
    def order(self) -> tuple[int, int]:
        """Among routes of one prefix, the smaller comes first. kernel: fib_find_alias()."""
        return (-self.tos, self.metric)

    @property
    def is_sibling(self) -> bool:
        """Whether an IPv6 route is one with others of its metric as next hops. kernel: rt6_qualify_for_ecmp()."""
        return self.type == "unicast" and all(hop.gateway is not None for hop in self.hops)

    @property
    def programs(self) -> tuple[RouteProgram, ...]:
        """The programs of all its hops."""
        return tuple(program for hop in self.hops for program in hop.programs)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as `ip rule` knows it. `action`: lookup, nop, or a route type that ends the packet's way."""

    priority: int
    table: int | None = None
    action: str = "lookup"
    source: Prefix | None = None
    destination: Prefix | None = None
    mark: int = 0
    mark_mask: int = 0
    input_device: str | None = None
    tos: int = 0
    invert: bool = False
    suppress_prefix_length: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What the FIB needs of a device. `is_short_way`: packets for it may take the short way (datapath.short_send).
    `addresses`: its IPv4 ones, as numbers, with the networks of their links; `other_address`: that of the first device
    which has one, 0 if none has."""

    ifindex: int
    mtu: int
    is_up: bool
    header_bytes: int
    is_short_way: bool
    addresses: tuple[tuple[int, IPv4Network], ...] = ()
    other_address: int = 0

    def source_for(self, gateway: int | None) -> int:
        """The IPv4 address that packets by this device have, another device's if it has none. kernel:
        inet_select_addr()."""
        for own, link in self.addresses:
            if gateway is None or int(link.network_address) == gateway & int(link.netmask):
                return own
        return self.addresses[0][0] if self.addresses else self.other_address


@dataclass(slots=True)
class Fib:
    """The tables and rules of one family, 4 or 6."""

    family: int
    tables: dict[int, dict[Prefix, list[Route]]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rules = self.first_rules()

    def first_rules(self) -> list[Rule]:
        """Those that the kernel begins with."""
        last = [Rule(32767, TABLE_DEFAULT)] if self.family == 4 else []
        return [Rule(0, TABLE_LOCAL), Rule(32766, TABLE_MAIN), *last]

    def routes(self) -> Iterator[Route]:
        """All routes, by table and prefix."""
        for table in self.tables.values():
            for routes in table.values():
                yield from routes

    def add(self, route: Route, *, replace: bool = False, append: bool = False, first: bool = False) -> Route | None:
        """Add a route, or put it in the place of the first of its prefix, TOS (IPv4) and metric: that one is returned.
        Of IPv6 ones it is the first that has a gateway, or has none, as the new one; else the first of all.

        `append` adds behind such a route, with `first` before it. Raises InputError (File exists) where neither is said
        and there is one.
        """
        routes = self.tables.setdefault(route.table, {}).setdefault(route.prefix, [])
        same = [one for one in routes if one.order == route.order]
        if same and not (replace or append):
            raise InputError(f"route {route.prefix}: there is one with this metric already (File exists); replace it")
        if same and replace:
            alike = [one for one in same if self.family == 6 and one.is_sibling == route.is_sibling]
            old = (alike or same)[0]
            routes[routes.index(old)] = route
            return old
        (insort_left if first else insort)(routes, route, key=lambda one: one.order)
        return None

    def delete(self, prefix: Prefix, table: int, fits: Callable[[Route], bool]) -> Route:
        """Take away the first route of the prefix that fits. Raises InputError (No such process) if none does."""
        routes = self.tables.get(table, {}).get(prefix, [])
        for one in routes:
            if fits(one):
                routes.remove(one)
                if not routes:
                    del self.tables[table][prefix]
                return one
        raise InputError(f"route {prefix}: there is no such route in table {table} (No such process)")

    def add_rule(self, rule: Rule) -> None:
        """Add a rule behind those of its priority. Raises InputError (File exists) if it is there."""
        if rule in self.rules:
            raise InputError(f"rule: there is one just like it of priority {rule.priority} already (File exists)")
        insort(self.rules, rule, key=lambda one: one.priority)

    def delete_rule(self, fits: Callable[[Rule], bool]) -> None:
        """Take away the first rule that fits. Raises InputError (No such file or directory) if none does."""
        for one in self.rules:
            if fits(one):
                self.rules.remove(one)
                return
        raise InputError("rule: there is no such rule (No such file or directory)")


def words_of(value: int, family: int) -> tuple[int, int]:
    """An address as two 64-bit words (see fib_records)."""
    return (value << 32, 0) if family == 4 else (value >> 64, value & (1 << 64) - 1)


def mask_words(length: int) -> tuple[int, int]:
    """The mask of a prefix length, as two 64-bit words."""
    mask = ((1 << length) - 1) << (128 - length)
    return mask >> 64, mask & (1 << 64) - 1


def write_fib(image: Image, fib: Fib, devices: dict[str, DeviceFacts], bare: dict[str, int], ways: list[Way]) -> int:
    """Write a FIB: the address of its struct. Routes whose every device is down or gone are left out; of the others
    `ways` gets the first of each prefix.

    `bare`: by device, the address of its next hop with no gateway and no program.
    """
    tables = {
        number: _write_table(image, fib, number, devices, bare, ways) for number, routes in fib.tables.items() if routes
    }
    rules = image.take(len(fib.rules) * at.RULE_BYTES)
    for index, rule in enumerate(fib.rules):
        _write_rule(image, rules + index * at.RULE_BYTES, rule, fib.family, tables, devices)
    struct = image.take(at.FIB_BYTES)
    image.put64(
        struct,
        {
            at.FIB_RULES: rules,
            at.FIB_RULE_COUNT: len(fib.rules),
            at.FIB_INPUTS: _inputs(fib),
            at.FIB_LOCAL: tables.get(TABLE_LOCAL, 0),
            at.FIB_LOOKS_BACK: _looks_back(fib),
        },
    )
    return struct


def short_tables(fib: Fib) -> tuple[int, ...]:
    """The tables in the order of the rules, if these lead every packet through them; else none, and no way is short."""
    if _inputs(fib) or any(rule.action != "lookup" or rule.destination or rule.invert for rule in fib.rules):
        return ()
    if any(rule.suppress_prefix_length is not None for rule in fib.rules):
        return ()
    return tuple(rule.table for rule in fib.rules if rule.table is not None)


def _inputs(fib: Fib) -> int:
    flags = at.FIB_USES_TOS if any(route.tos for route in fib.routes()) else 0
    if fib.family == 6 and any(_has_equals(routes) for table in fib.tables.values() for routes in table.values()):
        flags |= at.FIB_USES_IIF
    for rule in fib.rules:
        flags |= at.FIB_USES_SOURCE if rule.source is not None else 0
        flags |= at.FIB_USES_MARK if rule.mark_mask else 0
        flags |= at.FIB_USES_IIF if rule.input_device is not None else 0
        flags |= at.FIB_USES_TOS if rule.tos else 0
    return flags


def _has_equals(routes: list[Route]) -> bool:
    return len({one.order for one in routes}) < len(routes)


def _looks_back(fib: Fib) -> bool:
    """Whether there are other rules than those of the beginning, realms, or local routes that no address brought (one
    that an address brings has a source). kernel: fib_validate_source()."""
    return fib.rules != fib.first_rules() or any(
        (route.type == "local" and not route.source) or any(hop.realm for hop in route.hops) for route in fib.routes()
    )


def _write_rule(
    image: Image, place: int, rule: Rule, family: int, tables: dict[int, int], devices: dict[str, DeviceFacts]
) -> None:
    flags = (at.RULE_INVERTED if rule.invert else 0) | (at.RULE_SKIPPED if rule.action == "nop" else 0)
    device = devices.get(rule.input_device) if rule.input_device else None
    iif = 0 if rule.input_device is None else device.ifindex if device else 0xFFFFFFFF
    words: dict[int, int] = {at.RULE_TABLE: tables.get(rule.table, 0) if rule.table is not None else 0}
    for prefix, address_at, mask_at in (
        (rule.source, at.RULE_SOURCE, at.RULE_SOURCE_MASK),
        (rule.destination, at.RULE_DESTINATION, at.RULE_DESTINATION_MASK),
    ):
        if prefix is not None:
            words[address_at], words[address_at + 8] = words_of(int(prefix.network_address), family)
            words[mask_at], words[mask_at + 8] = mask_words(prefix.prefixlen)
    image.put64(place, words)
    image.put32(
        place,
        {
            at.RULE_REASON: RULE_ERRORS.get(rule.action, 0),
            at.RULE_FLAGS: flags,
            at.RULE_MARK: rule.mark,
            at.RULE_MARK_MASK: rule.mark_mask,
            at.RULE_IIF: iif,
            at.RULE_TOS: rule.tos,
            at.RULE_SUPPRESS: 0 if rule.suppress_prefix_length is None else rule.suppress_prefix_length + 1,
        },
    )


def _write_table(
    image: Image,
    fib: Fib,
    number: int,
    devices: dict[str, DeviceFacts],
    bare: dict[str, int],
    ways: list[Way],
) -> int:
    by_length: dict[int, list[tuple[Prefix, int]]] = {}
    for prefix, routes in fib.tables[number].items():
        first, metric = 0, None
        for route in reversed(routes):
            record = _write_route(image, route, fib.family, devices, bare)
            if record:
                image.put64(record, {at.ROUTE_NEXT: first})
                image.put32(record, {at.ROUTE_HAS_EQUAL: int(fib.family == 6 and metric == route.metric)})
                first, metric = record, route.metric
                is_one = len(route.hops) == 1 and route.type == "unicast"
                way = Way(number, prefix, record + at.ROUTE_BYTES if is_one else 0)
        if first:
            ways.append(way)
            by_length.setdefault(prefix.prefixlen, []).append((prefix, first))
    lengths = image.take(len(by_length) * at.LENGTH_BYTES)
    for index, length in enumerate(sorted(by_length, reverse=True)):
        _write_length(image, lengths + index * at.LENGTH_BYTES, length, fib.family, by_length[length])
    struct = image.take(at.TABLE_BYTES)
    image.put64(struct, {at.TABLE_COUNT: len(by_length), at.TABLE_LENGTHS: lengths})
    return struct


def _write_length(image: Image, place: int, length: int, family: int, prefixes: list[tuple[Prefix, int]]) -> None:
    from routebpf.datapath.fib_lookup import fib_insert

    buckets = 1 << (2 * len(prefixes)).bit_length()
    high, low = mask_words(length)
    image.put64(
        place,
        {
            at.LENGTH_MASK: high,
            at.LENGTH_MASK + 8: low,
            at.LENGTH_BUCKETS: image.take(buckets * at.BUCKET_BYTES),
            at.LENGTH_BUCKET_MASK: buckets - 1,
        },
    )
    for prefix, record in prefixes:
        bucket = fib_insert(place, *words_of(int(prefix.network_address), family))
        image.put64(bucket, {at.BUCKET_ROUTE: record})


def _write_route(image: Image, route: Route, family: int, devices: dict[str, DeviceFacts], bare: dict[str, int]) -> int:
    """A route's record and its next hops': its address, 0 for one whose devices are all down or gone. The host has an
    IPv4 address as long as its device is there, be it up or down (kernel: fib_sync_down_dev())."""
    is_error = route.type in ERROR_TYPES
    stays = family == 4 and route.type in _LOCAL_TYPES
    hops = [hop for hop in route.hops if hop.device in devices and (stays or devices[hop.device].is_up)]
    if not hops and not is_error:
        return 0
    record = image.take(at.ROUTE_BYTES + len(hops) * at.HOP_BYTES)
    places = record + at.ROUTE_BYTES
    for index, (hop, bound) in enumerate(zip(hops, _bounds(hops), strict=True)):
        _write_hop(image, places + index * at.HOP_BYTES, route, record, hop, bound, family, devices, bare)
    image.put64(record, {at.ROUTE_HOPS: places})
    image.put32(
        record,
        {
            at.ROUTE_HOP_COUNT: len(hops),
            at.ROUTE_TYPE: ROUTE_TYPES[route.type],
            at.ROUTE_TOS: route.tos,
            at.ROUTE_NUMBER: route.number,
            at.ROUTE_REASON: ERROR_TYPES.get(route.type, 0),
            at.ROUTE_PREFIX_BITS: route.prefix.prefixlen,
        },
    )
    return record


def _bounds(hops: Iterable[Hop]) -> list[int]:
    """Up to which hash each next hop is taken. kernel: fib_rebalance()."""
    hops = list(hops)
    total = sum(hop.weight for hop in hops)
    reached, bounds = 0, []
    for hop in hops:
        reached += hop.weight
        bounds.append(((reached << at.HASH_BITS) + total // 2) // total - 1)
    return bounds


def _write_hop(
    image: Image,
    place: int,
    route: Route,
    record: int,
    hop: Hop,
    bound: int,
    family: int,
    devices: dict[str, DeviceFacts],
    bare: dict[str, int],
) -> None:
    assert hop.device is not None
    device = "lo" if route.type in _LOCAL_TYPES and "lo" in devices else hop.device
    facts = devices[device]
    has_gateway = hop.gateway is not None and route.type == "unicast"
    gateway = words_of(hop.gateway or 0, hop.gateway_family) if has_gateway else (0, 0)
    entries = {where: one.entry if one else 0 for where, one in _PLACES(hop)}
    is_plain = not hop.in_ and not hop.out and (hop.xmit is None or hop.xmit.is_plain)
    headroom = hop.headroom if hop.xmit or hop.out else 0
    mtu = _less_headroom(min(route.mtu or facts.mtu, 0xFFFF), headroom)
    source = facts.source_for(hop.gateway if hop.gateway_family == 4 else None) if family == 4 else 0
    preferred = route.source or (0 if route.type == "local" else source)
    is_short = is_plain and facts.is_short_way and route.type == "unicast" and family == 4
    image.put64(
        place,
        {
            at.HOP_ROUTE: record,
            at.HOP_GATEWAY: gateway[0],
            at.HOP_GATEWAY + 8: gateway[1],
            at.HOP_BARE: bare.get(hop.device, 0),
            at.HOP_COUNTS: (route.number + 1) * ROUTE_COUNT_BYTES,
            **entries,
        },
    )
    image.put32(
        place,
        {
            at.HOP_GATEWAY_FAMILY: hop.gateway_family if has_gateway else 0,
            at.HOP_IFINDEX: facts.ifindex,
            at.HOP_BOUND: bound,
            at.HOP_MTU: mtu,
            at.HOP_FORWARD_MTU: mtu if route.is_mtu_locked else _less_headroom(min(facts.mtu, 0xFFFF), headroom),
            at.HOP_REALM: hop.realm if family == 4 else 0,  # kernel: rt_set_nexthop(); IPv6 keeps none
            at.HOP_SOURCE: source,
            at.HOP_PREFERRED: preferred if family == 4 else 0,
            at.HOP_SHORT_MTU: min(mtu, facts.mtu) if is_short else 0,
            at.HOP_SHORT_HEADER: facts.header_bytes,
            at.HOP_FLAGS: (at.HOP_PLAIN if is_plain else 0) | (at.HOP_LOCAL if route.type in _LOCAL_TYPES else 0),
        },
    )


def _less_headroom(mtu: int, headroom: int) -> int:
    """kernel: lwtunnel_headroom()."""
    return mtu - headroom if headroom < mtu else mtu


def _PLACES(hop: Hop) -> tuple[tuple[int, Any], ...]:
    return ((at.HOP_XMIT, hop.xmit), (at.HOP_IN, hop.in_), (at.HOP_OUT, hop.out))
