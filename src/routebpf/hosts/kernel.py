"""The host in the kernel: a network namespace of the running Linux, its devices on wires whose other ends we hold.

It needs root. The interface is the embedded host's, and what it says of a packet is what the kernel did: errno and
frames are observed, verdict and reason follow from them (see kernel_verdict).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from routebpf.datapath.devices import KINDS, Device
from routebpf.datapath.fib import TABLE_MAIN, Hop, Prefix, Route, Rule
from routebpf.errors import InputError
from routebpf.hosts.arguments import (
    address_of,
    check_device,
    check_mac,
    check_packet,
    check_route,
    interface_of,
    is_bare_ipv4,
    network_of,
)
from routebpf.hosts.host import Sent
from routebpf.hosts.kernel_devices import DeviceMaker
from routebpf.hosts.kernel_life import give_back_with, make_ground
from routebpf.hosts.kernel_load import KernelLoadedObject, KernelLoadedProgram, load_for_kernel
from routebpf.hosts.kernel_routes import Metric, Wanted, gateway_hop, kernel_route, route_of
from routebpf.hosts.kernel_wire import Wires
from routebpf.kernel import addresses
from routebpf.kernel import routes as in_kernel
from routebpf.kernel.devices import TunnelSettings, delete_device, list_devices, set_device
from routebpf.kernel.lwt_encap import EncapProgram
from routebpf.kernel.namespaces import open_route_socket
from routebpf.kernel.netlink import NetlinkError
from routebpf.kernel.packet_socket import RawSender

if TYPE_CHECKING:
    import numpy as np

    from routebpf.hosts.kernel_topology import KernelTopology
    from routebpf.hosts.load import Engine
    from routebpf.hosts.replay import Replay, Watch
    from routebpf.kernel.trace_pipe import TracePipe

_LOOPBACK_INDEX = 1
_IPV6_MIN_MTU = 1280
_UNRESOLVED = frozenset({"none", "incomplete", "failed"})


class KernelHost:
    """A host in the kernel: a namespace of its own, gone with it, or the one of that name, which stays as it was, but
    for what was changed of the devices that were there, their addresses, neighbours and routes.

    Its own has a loopback device (`lo`, ifindex 1, up) and no other, forwards, and is quiet. `make_neighbours`: a
    neighbour that the kernel asks for by a device of this host's making gets a link address made from its IP address,
    as on the embedded host.

    Raises InputError for a namespace that is not there, MissingError for what the machine lacks.
    """

    def __init__(self, namespace: str | None = None, *, make_neighbours: bool = True) -> None:
        self.make_neighbours = make_neighbours
        self._ground = make_ground(namespace)
        undo = ExitStack()
        self._give_back = give_back_with(self, self._ground, undo)
        try:
            self._begin(undo)
        except BaseException:
            self._give_back()
            raise

    def _begin(self, undo: ExitStack) -> None:
        self.namespace = self._ground.near
        self.netlink = open_route_socket(self.namespace)
        undo.callback(self.netlink.close)
        self.wires = Wires(self.namespace, self._ground.far)
        self._maker = DeviceMaker(self._ground, self.netlink, self.wires, undo)
        self.sender = RawSender(self.namespace)
        self.devices: dict[str, Device] = {}
        self.neighbours: dict[tuple[str, bytes], bytes] = {}
        self.lookups: dict[Any, Any] = {}
        self._programs: dict[str, KernelLoadedProgram] = {}
        self._loaded: dict[int, KernelLoadedObject] = {}
        self._trace: TracePipe | None = None
        self._is_current = False
        if self._ground.is_ours:
            set_device(self.netlink, _LOOPBACK_INDEX, "device lo", up=True)
        for one in list_devices(self.netlink).values():
            self.devices[one.name] = self._maker.adopt(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give back sockets, programs, and the namespace if it is the host's own; a second time does nothing."""
        if not self._give_back.alive:
            return
        self.sender.close()
        self.wires.close()
        self._maker.close()
        self._give_back()
        for one in self._loaded.values():
            one.close()
        if self._trace is not None:
            self._trace.close()

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
        tunnel: TunnelSettings | None = None,
    ) -> Device:
        """Add a device, with its addresses as "10.0.0.1/24"; see `EmbeddedHost.add_device`. `tunnel`: of a tunnel.

        An ethernet, veth or dummy device is one end of a veth pair. MissingError for a kind that
        the kernel was built without.
        """
        if name in self.devices:
            raise InputError(f"device {name}: there is one of that name already (File exists)")
        if kind not in KINDS:
            raise InputError(f"device {name}: its kind is {kind}; there are {', '.join(sorted(KINDS))}")
        check_device(name, mtu, mac, is_loopback=kind == "loopback")
        taken = {one.ifindex for one in self.devices.values()}
        number = ifindex or max(taken, default=0) + 1
        own = mac if mac is not None else b"\x02\x00" + number.to_bytes(4, "big")
        device = Device(name, number, kind, KINDS[kind].mtu if mtu is None else mtu, own, up, arp)
        self._maker.make(device, tunnel or TunnelSettings())
        self.devices[name] = device
        self._changed()
        for one in [address] if isinstance(address, str) else address:
            self.add_address(name, one)
        return device

    def set_device(
        self, name: str, *, up: bool | None = None, mtu: int | None = None, mac: bytes | None = None,
        arp: bool | None = None,
    ) -> Device:  # fmt: skip
        """Change a device."""
        old = self.device(name)
        check_device(name, mtu, mac, is_loopback=old.kind == "loopback")
        self._maker.change(old, up=up, mtu=mtu, mac=mac, arp=arp)
        device = replace(
            old,
            is_up=old.is_up if up is None else up,
            mtu=old.mtu if mtu is None else mtu,
            mac=old.mac if mac is None else mac,
            has_arp=old.has_arp if arp is None else arp,
        )
        self.devices[name] = device
        self._changed()
        return device

    def delete_device(self, name: str) -> None:
        """Take a device away, with its addresses and routes."""
        delete_device(self.netlink, self.device(name).ifindex, f"device {name}")
        self.wires.remove(name)
        del self.devices[name]
        for key in [key for key in self.neighbours if key[0] == name]:
            del self.neighbours[key]
        self._changed()

    def device(self, name: str) -> Device:
        """The device of that name. Raises InputError that lists those there are."""
        if name not in self.devices:
            raise InputError(f"there is no device {name}; there are {', '.join(self.devices)}")
        return self.devices[name]

    # Addresses and neighbours

    def add_address(
        self,
        device: str,
        address: str,
        *,
        peer: str | None = None,
        broadcast: str | None = None,
        replace: bool = False,
        **more: Any,
    ) -> None:
        """Give a device an address ("10.0.0.1/24"), with the routes that the kernel makes for it. `replace`: one that
        is there already is changed. `more`: further fields of `kernel.addresses.KernelAddress`."""
        addresses.add_address(self.netlink, self._address(device, address, peer, broadcast, more), replace=replace)
        self._changed()

    def delete_address(self, device: str, address: str) -> None:
        """Take an address from a device, and its routes: of IPv4 whatever its prefix length, where none is given."""
        one = self._address(device, address, None, None, {})
        addresses.delete_address(self.netlink, one, any_length=is_bare_ipv4(address))
        self._changed()

    def has_address(self, device: str, address: str) -> bool:
        """Whether a device has an address; whatever its prefix length, where none is given."""
        wanted = self._address(device, address, None, None, {})
        return any(
            (one.ifindex, one.address) == (wanted.ifindex, wanted.address)
            and ("/" not in address or one.length == wanted.length)
            for one in addresses.read_addresses(self.netlink)
        )

    def add_neighbour(self, device: str, address: str, mac: bytes, *, state: str = "permanent") -> None:
        """Name the link address of a neighbour. `state`: its NUD state in lower case."""
        if state not in addresses.NUD:
            raise InputError(f"neighbour {address}: its state is {state}; there are {', '.join(sorted(addresses.NUD))}")
        check_mac(f"neighbour {address}", mac)
        packed = address_of(address, "neighbour").packed
        one = addresses.KernelNeighbour(self.device(device).ifindex, packed, mac, state)
        addresses.put_neighbour(self.netlink, one)
        if state not in _UNRESOLVED:
            self.neighbours[device, packed] = mac

    def delete_neighbour(self, device: str, address: str) -> None:
        """Forget a neighbour."""
        packed = address_of(address, "neighbour").packed
        addresses.delete_neighbour(self.netlink, addresses.KernelNeighbour(self.device(device).ifindex, packed))
        self.neighbours.pop((device, packed), None)

    def makes_neighbours(self, device: str) -> bool:
        """Whether neighbours by a device are made up: no other device has some that answer for themselves."""
        return self.make_neighbours and self._maker.has_made(device)

    def _address(
        self, device: str, address: str, peer: str | None, broadcast: str | None, more: dict[str, Any]
    ) -> addresses.KernelAddress:
        interface = interface_of(device, address)
        values: dict[str, Any] = {"flags": addresses.ADDRESS_FLAGS["nodad"] if interface.version == 6 else 0}
        values |= more
        return addresses.KernelAddress(
            ifindex=self.device(device).ifindex,
            address=interface.ip.packed,
            length=interface.network.prefixlen,
            peer=address_of(peer, f"device {device}: peer").packed if peer else None,
            broadcast=address_of(broadcast, f"device {device}: broadcast").packed if broadcast else None,
            **values,
        )

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
        xmit: Any = None,
        in_: Any = None,
        out: Any = None,
        headroom: int = 0,
        onlink: bool = False,
        replace: bool = False,
        append: bool = False,
    ) -> Route:
        """Add a route with the programs that it carries; see `EmbeddedHost.add_route`. A program is one that `load` of
        this host or `routebpf.load` gave."""
        network = network_of(prefix, via, src)
        hop = gateway_hop(dev, via, Hop(dev, xmit=xmit, in_=in_, out=out, headroom=headroom, realm=realm))
        check_route(network, type, (hop, *nexthops), table=table, metric=metric, tos=tos, mtu=mtu)
        hops = nexthops or (hop,)
        wanted = Wanted(
            prefix=network,
            hops=hops,
            type=type,
            table=None if table == TABLE_MAIN else table,
            metric=metric,
            tos=tos,
            source=address_of(src, f"route {network}: src").packed if src else None,
            metrics=[Metric("mtu", mtu)] if mtu else [],
            onlink=[onlink] * len(hops),
        )
        return self.put_route(wanted, "replace" if replace else "append" if append else "add")

    def put_route(self, wanted: Wanted, how: in_kernel.How) -> Route:
        """Put a route into its table: `kernel.in_kernel.put_route`."""
        route = self._kernel_route(wanted)
        in_kernel.put_route(self.netlink, route, how)
        self._changed()
        return self.route_of(route)

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
        hops = (gateway_hop(dev, via, Hop(dev)),) if via or dev else ()
        wanted = Wanted(
            prefix=network, hops=hops, type=type, table=table, metric=metric, tos=tos or 0, protocol=0, scope=255
        )
        return self.take_route(wanted)

    def take_route(self, wanted: Wanted) -> Route:
        """Take away the first route that fits."""
        route = self._kernel_route(wanted)
        in_kernel.delete_route(self.netlink, route)
        self._changed()
        return self.route_of(route)

    def routes(self, family: int | None = None) -> Iterator[Route]:
        """All routes, or those of a family (4, 6), as the kernel lists them."""
        families = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
        for one in in_kernel.read_routes(self.netlink, families[family]):
            yield self.route_of(one)

    def add_rule(self, rule: Rule | addresses.KernelRule, family: int = 4) -> None:
        """Add a rule."""
        addresses.add_rule(self.netlink, rule if isinstance(rule, addresses.KernelRule) else _rule(rule, family))
        self._changed()

    def delete_rule(self, rule: Rule | addresses.KernelRule, family: int = 4) -> None:
        """Take away the first rule that has all that is said."""
        addresses.delete_rule(self.netlink, rule if isinstance(rule, addresses.KernelRule) else _rule(rule, family))
        self._changed()

    def _kernel_route(self, wanted: Wanted) -> in_kernel.KernelRoute:
        try:
            return kernel_route(
                wanted, {name: one.ifindex for name, one in self.devices.items()}, self._on_route
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"route {wanted.prefix}: {error}") from None

    def route_of(self, found: in_kernel.KernelRoute) -> Route:
        """A route of the kernel, with the programs that are this host's."""
        names = {one.ifindex: name for name, one in self.devices.items()}
        return route_of(found, names, lambda name: self._programs.get(name) or _ForeignProgram(name))

    # Programs

    def load(
        self,
        source: str | os.PathLike[str] | bytes,
        *,
        program_type: str | None = None,
        engine: Engine = "jit",  # noqa: ARG002 (of the embedded host)
    ) -> KernelLoadedObject:
        """Load a program file for this host: `kernel_load.load_for_kernel`. It goes with the host, routes aside."""
        loaded = load_for_kernel(source, program_type=program_type)
        self._loaded[id(loaded)] = loaded
        return loaded

    def topology(self, engine: Engine = "jit") -> KernelTopology:  # noqa: ARG002 (of the embedded host)
        """What does a topology's commands on this host: see `topology_apply.apply_topology`."""
        from routebpf.hosts.kernel_topology import KernelTopology

        return KernelTopology(self)

    def loaded_like(self, program: Any) -> KernelLoadedObject:
        """The object in the kernel of a program that `routebpf.load` gave: its maps are others than those."""
        key = id(program.object)
        if key not in self._loaded:
            self._loaded[key] = KernelLoadedObject(program.object.object)
        return self._loaded[key]

    def _on_route(self, program: Any) -> EncapProgram:
        is_ours = isinstance(program, KernelLoadedProgram)
        own: KernelLoadedProgram = program if is_ours else self.loaded_like(program).programs[program.name]
        found = own.on_route
        self._programs[found.name] = own
        return found

    # Packets

    def send(self, packet: bytes, *, time: int = 0, mark: int = 0) -> Sent:
        """Send a packet, from its IP header on, by a raw socket with IP_HDRINCL and IP_RECVERR."""
        from routebpf.hosts.kernel_replay import run_one

        return run_one(self, check_packet(packet, time), time=time, mark=mark, ingress=None)

    def receive(self, packet: bytes, device: str, *, time: int = 0, mark: int = 0) -> Sent:
        """A packet, from its IP header on, comes in by a device's wire. It has no mark there: `mark` is to be 0."""
        from routebpf.hosts.kernel_replay import run_one

        if mark:
            raise InputError("a packet that comes in by a wire has no mark")
        return run_one(self, check_packet(packet, time), time=time, mark=0, ingress=self._way_in(device))

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
        """Send every packet of a capture, one after the other, or with `device` let it come in there; see
        `EmbeddedHost.replay`."""
        from routebpf.hosts.kernel_replay import run_capture

        return run_capture(
            self, packets, write, None if device is None else self._way_in(device), keep_packets=keep_packets,
            columns=columns, progress=progress, watch=watch,
        )  # fmt: skip

    def trace(self) -> None:
        """From now on, keep what programs print: those of the whole machine, as bpf_printk has one buffer."""
        if self._trace is None:
            from routebpf.kernel.trace_pipe import TracePipe

            self._trace = TracePipe()

    def traced(self) -> list[Any]:
        """What programs printed since the last call, if `trace` was called."""
        return self._trace.lines() if self._trace is not None else []

    def ready(self) -> None:
        """Wait until what changed has taken effect: IPv6 addresses are of use a moment after they are there."""
        if not self._is_current:
            wired = [
                one.ifindex
                for one in self.devices.values()
                if one.is_up and one.mtu >= _IPV6_MIN_MTU and self.wires.has_far_end(one.name)
            ]
            addresses.wait_for_addresses(self.netlink, wired)
            self.lookups.clear()
            self._is_current = True

    def up_devices(self) -> list[str]:
        """The devices that are up."""
        return [name for name, one in self.devices.items() if one.is_up]

    def _way_in(self, name: str) -> Device:
        device = self.device(name)
        if not self.wires.takes_in(name):
            raise InputError(f"device {name}: no packets can come in by it: its other end is not ours")
        return device

    def _changed(self) -> None:
        self._is_current = False


class _ForeignProgram:
    """A program that somebody else put on a route."""

    program_type = ""
    is_plain = False
    object = None

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def entry(self) -> int:
        raise NetlinkError(f"program {self.name} is the kernel's", errno.EINVAL)


def _rule(rule: Rule, family: int) -> addresses.KernelRule:
    def prefix(one: Prefix | None) -> tuple[bytes, int] | None:
        return (one.network_address.packed, one.prefixlen) if one else None

    marked = bool(rule.mark or rule.mark_mask)
    return addresses.KernelRule(
        family=socket.AF_INET if family == 4 else socket.AF_INET6,
        action=rule.action,
        table=rule.table,
        priority=rule.priority,
        invert=rule.invert,
        source=prefix(rule.source),
        destination=prefix(rule.destination),
        iif=rule.input_device,
        tos=rule.tos,
        fwmark=rule.mark if marked else None,
        fwmask=rule.mark_mask if marked else None,
        suppress_prefix_length=rule.suppress_prefix_length,
    )
