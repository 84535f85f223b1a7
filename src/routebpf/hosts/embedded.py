"""The host in this process: devices, addresses, neighbours, routes and rules, and packets that go their ways.

No root, no kernel: the path of a packet is the kernel's, compiled into this process (see `datapath`). A frame that a
device takes has left: the other end of a veth pair is not followed. Not modelled: segmentation offloads, ICMP errors,
IP options that routers fill in, netfilter, the neighbours' timers, multicast groups, the scope of link-local addresses,
routes by source prefix, the kernel's mistaking of two programs of one name for the same, programs of in on what comes
back by the loopback, and the kernel's losing of forwarded IPv4 packets behind them once the host itself sends there
(lwtunnel_set_redirect() of the sender's route replaces what the forwarder's is to call).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from routebpf.datapath.devices import KINDS, Device
from routebpf.datapath.fib import ERROR_TYPES, TABLE_LOCAL, TABLE_MAIN, Fib, Hop, Prefix, Route, RouteProgram, Rule
from routebpf.datapath.neighbour_table import STATES, NeighbourTable
from routebpf.errors import InputError
from routebpf.hosts.arguments import (
    address_of,
    check_clock,
    check_cpus,
    check_device,
    check_mac,
    check_packet,
    check_route,
    check_seed,
    interface_of,
    is_bare_ipv4,
    network_of,
)
from routebpf.hosts.embedded_image import build_image
from routebpf.hosts.embedded_routes import (
    HostAddress,
    check_has_ipv6,
    hops_of,
    host_address,
    is_same_route,
    link_local_routes,
    lose_ipv4_routes,
    lose_ipv6_routes,
    lose_routes_of_address,
)
from routebpf.hosts.host import Sent
from routebpf.runtime.cpu import CPU_TRACE

if TYPE_CHECKING:
    import numpy as np

    from routebpf.datapath.worker import Worker
    from routebpf.hosts.embedded_topology import EmbeddedTopology
    from routebpf.hosts.load import Engine, LoadedObject
    from routebpf.hosts.replay import Replay, Watch
    from routebpf.runtime.trace import TraceRing
    from routebpf.runtime.trace_line import TraceLine

Clock = Literal["capture", "machine"] | int
_TRACE_BYTES = 1 << 26  # of lines between two batches; memory is taken as it is written
_DEFAULT_METRIC = {4: 0, 6: 1024}


class EmbeddedHost:
    """A host in this process. It starts with a loopback device (`lo`, ifindex 1) and no other.

    `seed`: of the programs' random numbers. `clock`: what programs see as time: each packet's time in its capture,
    the machine's clock, or a time in ns that stands still. `cpus`: worker threads, each a CPU to programs.
    `make_neighbours`: a neighbour that nobody named gets a link address made from its IP address, so that any capture
    can be sent; without, a packet to it fails. `verify` False: programs that the host loads for the interpreter are not
    verified.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        clock: Clock = "capture",
        cpus: int = 1,
        make_neighbours: bool = True,
        verify: bool = True,
    ) -> None:
        check_cpus(cpus)
        check_clock(clock)
        check_seed(seed)
        self.seed = seed
        self.clock = clock
        self.cpus = cpus
        self.make_neighbours = make_neighbours
        self.verify = verify
        self.devices: dict[str, Device] = {}
        self._addresses: dict[tuple[str, str], HostAddress] = {}
        self._fibs = {4: Fib(4), 6: Fib(6)}
        self._neighbours = NeighbourTable()
        self._workers: list[Worker] = []
        self._image: object = None
        self._routes: list[Route] = []
        self._is_current = False
        self._packets = 0
        self._trace: TraceRing | None = None
        self.add_device("lo", kind="loopback", mac=bytes(6), address="127.0.0.1/8")
        self.add_address("lo", "::1/128")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing outlives the host; others of its kind have something to give back."""

    def load(
        self, source: str | os.PathLike[str] | bytes, *, program_type: str | None = None, engine: Engine = "jit"
    ) -> LoadedObject:
        """Load a program file, with maps for this host's CPUs: `hosts.load.load_unchecked`."""
        from routebpf.hosts.load import load_unchecked

        return load_unchecked(source, program_type=program_type, engine=engine, cpus=self.cpus, verify=self.verify)

    def topology(self, engine: Engine = "jit") -> EmbeddedTopology:
        """What does a topology's commands on this host: see `topology_apply.apply_topology`."""
        from routebpf.hosts.embedded_topology import EmbeddedTopology

        return EmbeddedTopology(self, engine)

    # Devices

    def add_device(
        self,
        name: str,
        *,
        address: str | Sequence[str] = (),
        kind: str = "ethernet",
        mac: bytes | None = None,
        mtu: int | None = None,
        ifindex: int | None = None,
        up: bool = True,
        arp: bool = True,
    ) -> Device:
        """Add a device, with its addresses as "10.0.0.1/24". `kind`: ethernet, veth, dummy, tun, ipip…; its MTU and
        its MAC (02:00 and the ifindex) follow where they are not given. Raises InputError if it cannot be."""
        if name in self.devices:
            raise InputError(f"device {name}: there is one of that name already (File exists)")
        if kind not in KINDS:
            raise InputError(f"device {name}: its kind is {kind}; there are {', '.join(sorted(KINDS))}")
        check_device(name, mtu, mac, is_loopback=kind == "loopback")
        taken = {one.ifindex for one in self.devices.values()}
        number = ifindex or max(taken, default=0) + 1
        if number in taken:
            raise InputError(f"device {name}: another one has ifindex {number}")
        own = mac if mac is not None else b"\x02\x00" + number.to_bytes(4, "big")
        device = Device(name, number, kind, KINDS[kind].mtu if mtu is None else mtu, own, up, arp)
        self.devices[name] = device
        for route in link_local_routes(device):
            self._fibs[6].add(route, append=True)
        self._changed()
        for one in [address] if isinstance(address, str) else address:
            self.add_address(name, one)
        return device

    def set_device(
        self, name: str, *, up: bool | None = None, mtu: int | None = None, mac: bytes | None = None,
        arp: bool | None = None,
    ) -> Device:  # fmt: skip
        """Change a device. When it goes down, its IPv6 addresses and the routes by it alone are gone; so is IPv6 when
        its MTU gets too small for that."""
        old = self.device(name)
        check_device(name, mtu, mac, is_loopback=old.kind == "loopback")
        device = replace(
            old,
            is_up=old.is_up if up is None else up,
            mtu=old.mtu if mtu is None else mtu,
            mac=old.mac if mac is None else mac,
            has_arp=old.has_arp if arp is None else arp,
        )
        self.devices[name] = device
        self._follow_link(old, device)
        self._changed()
        return device

    def _follow_link(self, old: Device, device: Device) -> None:
        """Addresses and routes follow a device that goes down or whose MTU changes."""
        went_down = old.is_up and not device.is_up
        before, after = link_local_routes(old), link_local_routes(device)
        if went_down:
            connected = {route for one in self._addresses.values() for route in one.routes}
            lose_ipv4_routes(self._fibs[4], self.devices, connected)
        if went_down or (before and not after):
            for key, one in list(self._addresses.items()):
                if key[0] == device.name and one.interface.version == 6:
                    del self._addresses[key]
            lose_ipv6_routes(self._fibs[6], self.devices, device)
        if after and not before:
            for route in after:
                self._fibs[6].add(route, append=True)

    def delete_device(self, name: str) -> None:
        """Take a device away, with its addresses and routes."""
        self.device(name)
        del self.devices[name]
        for key in [key for key in self._addresses if key[0] == name]:
            del self._addresses[key]
        for fib in self._fibs.values():
            for route in [one for one in fib.routes() if any(hop.device == name for hop in one.hops)]:
                fib.delete(route.prefix, route.table, partial(is_same_route, route))
        self._changed()

    def device(self, name: str) -> Device:
        """The device of that name. Raises InputError that lists those there are."""
        if name not in self.devices:
            raise InputError(f"there is no device {name}; there are {', '.join(self.devices)}")
        return self.devices[name]

    # Addresses and neighbours

    def add_address(self, device: str, address: str, *, peer: str | None = None, broadcast: str | None = None) -> None:
        """Give a device an address ("10.0.0.1/24"), with the routes that the kernel makes for it."""
        interface = interface_of(device, address)
        key = (device, str(interface.ip))
        if key in self._addresses:
            raise InputError(f"device {device}: it has the address {interface.ip} already (File exists)")
        others = [one for (name, _), one in self._addresses.items() if name == device]
        check_has_ipv6(self.device(device), interface.version, "Invalid argument")
        new = host_address(self.device(device), interface, peer, broadcast, others)
        for route in new.routes:
            self._fibs[interface.version].add(route, append=True)
        self._addresses[key] = new
        self._changed()

    def delete_address(self, device: str, address: str) -> None:
        """Take an address from a device, and its routes: of IPv4 whatever its prefix length, where none is given. With
        the first IPv4 one of a link go the secondary ones (kernel: __inet_del_ifa(), without promote_secondaries)."""
        interface = interface_of(device, address)
        key = (device, str(interface.ip))
        old = self._addresses.get(key)
        if old is None or (old.interface != interface and not is_bare_ipv4(address)):
            raise InputError(f"device {device}: it has no address {address} (Cannot assign requested address)")
        alike = [one for one, its in self._addresses.items() if one[0] == device and its.link == old.link]
        for one in alike if interface.version == 4 and alike[0] == key else [key]:
            for route in self._addresses.pop(one).routes:
                self._fibs[interface.version].delete(route.prefix, route.table, partial(is_same_route, route))
        if interface.version == 4:
            self._lose_ipv4_routes_of(device, int(interface.ip))
        self._changed()

    def _lose_ipv4_routes_of(self, device: str, address: int) -> None:
        """A device has lost an IPv4 address: routes go with the last of it, and with the device's last."""
        left = {
            (name, int(one.interface.ip)) for (name, _), one in self._addresses.items() if one.interface.version == 4
        }
        is_left = any(own == address for _, own in left)
        has_others = any(name == device for name, _ in left)
        lose_routes_of_address(self._fibs[4], None if is_left else address, None if has_others else device)

    def has_address(self, device: str, address: str) -> bool:
        """Whether a device has an address; whatever its prefix length, where none is given."""
        interface = interface_of(device, address)
        found = self._addresses.get((device, str(interface.ip)))
        return found is not None and ("/" not in address or found.interface == interface)

    def add_neighbour(self, device: str, address: str, mac: bytes, *, state: str = "permanent") -> None:
        """Name the link address of a neighbour. `state`: its NUD state in lower case."""
        if state not in STATES:
            raise InputError(f"neighbour {address}: its state is {state}; there are {', '.join(sorted(STATES))}")
        check_mac(f"neighbour {address}", mac)
        parsed = address_of(address, "neighbour")
        self._neighbours.set(self.device(device).ifindex, parsed.version, int(parsed), mac, state)
        self._changed()

    def delete_neighbour(self, device: str, address: str) -> None:
        """Forget a neighbour."""
        parsed = address_of(address, "neighbour")
        if not self._neighbours.delete(self.device(device).ifindex, parsed.version, int(parsed)):
            raise InputError(f"device {device}: it has no neighbour {address} (No such file or directory)")
        self._changed()

    # Routes and rules

    def add_route(
        self,
        prefix: str,
        *,
        via: str | None = None,
        dev: str | None = None,
        table: int = TABLE_MAIN,
        metric: int | None = None,
        tos: int = 0,
        src: str | None = None,
        realm: int = 0,
        type: str = "unicast",
        mtu: int = 0,
        nexthops: Sequence[Hop] = (),
        xmit: RouteProgram | None = None,
        in_: RouteProgram | None = None,
        out: RouteProgram | None = None,
        headroom: int = 0,
        onlink: bool = False,
        replace: bool = False,
        append: bool = False,
    ) -> Route:
        """Add a route to a prefix ("10.0.0.0/8", "default"), with the programs that it carries.

        `replace`: in the place of one with the same prefix, TOS and metric, if there is one. `append`: beside it; of
        IPv6 the two become one with several next hops. `nexthops`: in place of `via`, `dev` and the programs. Raises
        InputError as the kernel refuses it: an unknown device, a gateway that is not on a link, a route that is there.
        """
        network = network_of(prefix, via, src)
        hop = Hop(dev, xmit=xmit, in_=in_, out=out, headroom=headroom, realm=realm)
        check_route(network, type, (hop, *nexthops), table=table, metric=metric, tos=tos, mtu=mtu)
        hops = hops_of(self, network, type, hop, via, nexthops, table, onlink=onlink)
        return self.put_route(
            Route(
                network,
                hops,
                type,
                TABLE_LOCAL if type in ("local", "broadcast", "anycast") and table == TABLE_MAIN else table,
                _DEFAULT_METRIC[network.version] if metric is None else metric,
                tos,
                mtu,
                int(address_of(src, f"route {network}: src")) if src else 0,
            ),
            replace=replace,
            append=append,
        )

    def put_route(self, route: Route, *, replace: bool = False, append: bool = False, first: bool = False) -> Route:
        """Add a route that is a value already; see `add_route`. `first`: what is appended comes before its likes, of
        IPv4."""
        fib = self._fibs[route.prefix.version]
        if fib.family == 6 and len(route.hops) > 1 and not route.is_sibling and route.type == "unicast":
            raise InputError(
                f"route {route.prefix}: one of its next hops has no gateway (Device only routes can not be added for"
                " IPv6 using the multipath API); append such a route by itself"
            )
        if append and _has_like(fib, route):
            raise InputError(f"route {route.prefix}: there is one just like it already (File exists)")
        siblings = _siblings(fib, route) if append else None
        if siblings is not None:
            route, replace = siblings, True
        fib.add(route, replace=replace, append=append, first=first and fib.family == 4)
        self._changed()
        return route

    def delete_route(
        self,
        prefix: str,
        *,
        via: str | None = None,
        dev: str | None = None,
        table: int = TABLE_MAIN,
        metric: int | None = None,
        tos: int | None = None,
        type: str | None = None,
    ) -> Route:
        """Take away the first route to the prefix that fits what is given. Raises InputError if none does."""
        network = network_of(prefix, via, None)
        gateway = int(address_of(via, f"route {network}: via")) if via else None

        def fits(one: Route) -> bool:
            return (
                (metric is None or one.metric == metric)
                and (tos is None or one.tos == tos)
                and (type is None or one.type == type)
                and (dev is None or any(hop.device == dev for hop in one.hops))
                and (gateway is None or any(hop.gateway == gateway for hop in one.hops))
            )

        return self.take_route(network, table, fits)

    def take_route(self, prefix: Prefix, table: int, fits: Callable[[Route], bool]) -> Route:
        """Take away the first route of the prefix in the table that fits. Raises InputError if none does."""
        route = self._fibs[prefix.version].delete(prefix, table, fits)
        self._changed()
        return route

    def routes(self, family: int | None = None) -> Iterator[Route]:
        """All routes, or those of a family (4, 6)."""
        for number, fib in self._fibs.items():
            if family in (None, number):
                yield from fib.routes()

    def add_rule(self, rule: Rule, family: int = 4) -> None:
        """Add a rule: `routebpf.datapath.fib.Rule`."""
        self._fibs[family].add_rule(rule)
        self._changed()

    def delete_rule(self, fits: Callable[[Rule], bool], family: int = 4) -> None:
        """Take away the first rule that fits."""
        self._fibs[family].delete_rule(fits)
        self._changed()

    def rules(self, family: int) -> tuple[Rule, ...]:
        """The rules of a family, in order."""
        return tuple(self._fibs[family].rules)

    # Packets

    def send(self, packet: bytes, *, time: int = 0, mark: int = 0) -> Sent:
        """Send a packet, from its IP header on, as a raw socket with IP_HDRINCL does. `time` in ns."""
        from routebpf.hosts.replay import run_one

        return run_one(self, check_packet(packet, time), time=time, mark=mark, ingress=0)

    def receive(self, packet: bytes, device: str, *, time: int = 0, mark: int = 0) -> Sent:
        """A packet, from its IP header on, comes in by a device: it is forwarded, or is for the host itself."""
        from routebpf.hosts.replay import run_one

        ingress = self.device(device).ifindex
        return run_one(self, check_packet(packet, time), time=time, mark=mark, ingress=ingress)

    def replay(
        self,
        packets: str | os.PathLike[str] | np.ndarray[Any, Any],
        *,
        write: str | os.PathLike[str] | None = None,
        device: str | None = None,
        keep_packets: bool = False,
        columns: bool = True,
        progress: Callable[[int, int], None] | None = None,
        watch: Watch | None = None,
    ) -> Replay:
        """Send every packet of a capture (or of rows, PACKET_ROW), or with `device` let it come in there.

        `write`: a capture of the frames that leave. `columns`: keep a row a packet of what became of it.
        `keep_packets`: keep the frames of each, too. `progress(bytes read, bytes of the file)` is called now and then,
        `watch(rows, results)` after each batch.
        Packets without an IP header that makes sense are counted as errors. Of a damaged capture, everything before the
        damage is run and written, and `Replay.damage` is the error. Raises InputError for what is no capture.
        """
        from routebpf.hosts.replay import run_capture

        ingress = self.device(device).ifindex if device is not None else 0
        return run_capture(
            self, packets, write, ingress, keep_packets=keep_packets, columns=columns, progress=progress, watch=watch
        )

    # For those who run packets

    def trace(self) -> None:
        """From now on, keep what programs print (bpf_printk): `traced` gives it."""
        if self._trace is None:
            from routebpf.runtime.trace import TraceRing

            self._trace = TraceRing(_TRACE_BYTES)
            self._is_current = False

    def traced(self) -> list[TraceLine]:
        """What programs printed since the last call, if `trace` was called."""
        return self._trace.lines() if self._trace is not None else []

    def ready(self) -> list[Worker]:
        """The CPUs, with the routes and devices as they are now."""
        from routebpf.datapath.worker import Worker

        while len(self._workers) < self.cpus:
            self._workers.append(Worker(len(self._workers), seed=self.seed))
            self._is_current = False
        if not self._is_current:
            self._check_cpus()
            image, self._image, self._routes = build_image(
                self._fibs,
                self.devices,
                [(name, one) for (name, _), one in self._addresses.items()],
                self._neighbours.address,
                make_neighbours=self.make_neighbours,
            )
            for worker in self._workers:
                worker.use(image, list(self.devices.values()))
                worker.put(CPU_TRACE, self._trace.address if self._trace is not None else 0)
            self._is_current = True
        return self._workers

    def neighbours_for(self, packets: int) -> None:
        """Make room for the neighbours that so many packets can have."""
        self._neighbours.make_room(packets)

    def numbered_routes(self) -> list[Route]:
        """The routes by their number in results, as of the last `ready()`."""
        return self._routes

    def take_numbers(self, packets: int) -> int:
        """Numbers for so many packets: the first."""
        first = self._packets
        self._packets += packets
        return first

    def _check_cpus(self) -> None:
        """Per-CPU maps have a place for each CPU that they were loaded for, and no other may touch them."""
        for route in self.routes():
            for program in route.programs:
                if getattr(program, "cpus", self.cpus) < self.cpus:
                    raise InputError(
                        f"program {program.name}: it was loaded for fewer CPUs than the host's {self.cpus};"
                        f" load it with cpus={self.cpus}"
                    )

    def _changed(self) -> None:
        self._is_current = False

    def fib(self, family: int) -> Fib:
        """The routes and rules of a family."""
        return self._fibs[family]


def _has_like(fib: Fib, route: Route) -> bool:
    """Whether what is appended is there: an IPv4 route as a whole, of IPv6 a next hop. kernel: fib_table_insert(),
    rt6_duplicate_nexthop()."""
    same = [one for one in fib.tables.get(route.table, {}).get(route.prefix, []) if one.order == route.order]
    if fib.family == 4:
        return any(is_same_route(one, route) for one in same)
    taken = [way for one in same for way in _ways(one)]
    return any(way in taken for way in _ways(route))


def _ways(route: Route) -> list[tuple[object, ...]]:
    """What tells next hops apart; those of errors have lo."""
    if route.type in ERROR_TYPES:
        return [("lo", None)]
    return [
        (hop.device, hop.gateway, *(one and one.name for one in (hop.in_, hop.out, hop.xmit))) for hop in route.hops
    ]


def _siblings(fib: Fib, route: Route) -> Route | None:
    """An IPv6 route with the next hops of the one that it is appended to, if it becomes one with that. kernel:
    fib6_add_rt2node()."""
    for one in fib.tables.get(route.table, {}).get(route.prefix, []):
        if fib.family == 6 and one.metric == route.metric and one.is_sibling and route.is_sibling:
            return replace(one, hops=one.hops + route.hops)
    return None
