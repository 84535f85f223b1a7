"""A topology applied to a host: what `ip -batch` would do with its lines. What is the same for every host is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar

from routebpf.datapath.devices import KINDS
from routebpf.errors import InputError, MissingError
from routebpf.hosts import topology_values as lines
from routebpf.hosts.host import Host
from routebpf.hosts.topology_inet import address_text
from routebpf.runtime.device import DEVICE_NOARP
from routebpf.spec.program_types import PROGRAM_TYPES

if TYPE_CHECKING:
    from routebpf.hosts.load import Engine

_PROGRAM_TYPES = {row.hook: row.name for row in PROGRAM_TYPES}


def apply_topology(
    host: Host, commands: Iterable[lines.Command], *, engine: Engine = "jit", where: str = "topology"
) -> list[Any]:
    """Do what the commands say, in order: the objects that their routes load.

    Raises InputError for the first that cannot be done, with `where` and its line, as the kernel refuses it or because
    the host does not model it; MissingError for what the machine lacks.
    """
    applier = host.topology(engine)
    for one in commands:
        try:
            applier.apply(one)
        except (InputError, MissingError) as error:
            place = f"{where}:{one.line}: " if one.line else ""
            kind = InputError if isinstance(error, InputError) else MissingError
            raise kind(f"{place}{error}") from None
    return list(applier.objects.values())


def _check_realms(one: lines.Route) -> None:
    """kernel: net/ipv4/fib_semantics.c, fib_create_info()."""
    if one.family == 4 and one.verb != "delete" and one.nexthops and one.hop.realms not in (0, one.nexthops[0].realms):
        raise InputError(
            f"route {one.text}: the first nexthop has not the realm that stands before it (Nexthop class id does not"
            " match RTA_FLOW); say the realm behind each nexthop"
        )


class TopologyApplier(ABC):
    """What does a topology's commands on a host. `objects`: those loaded so far, by path and hook."""

    # What this host is called in errors.
    called: ClassVar[str]

    def __init__(self, engine: Engine = "jit") -> None:
        self.engine = engine
        self.objects: dict[tuple[str, str], Any] = {}

    @property
    @abstractmethod
    def target(self) -> Host:
        """The host."""

    def apply(self, command: lines.Command) -> None:
        """Do one command. Raises InputError if it cannot be done."""
        doers: dict[type[lines.Command], Callable[[Any], None]] = {
            lines.Link: self.link,
            lines.Address: self.address,
            lines.Neighbour: self.neighbour,
            lines.Route: self.route,
            lines.Rule: self.rule,
            lines.Flush: self.flush,
        }
        if isinstance(command, lines.Route):
            _check_realms(command)
        doers[type(command)](command)

    @abstractmethod
    def route(self, one: lines.Route) -> None: ...

    @abstractmethod
    def rule(self, one: lines.Rule) -> None: ...

    def program(self, hook: lines.Hook, one: lines.BpfProgram) -> Any:
        """The program that an encap names."""
        if one.object is None:
            raise InputError(f"the program {one.pinned} is pinned in a kernel; {self.called} takes obj FILE")
        key = (one.object, hook)
        if key not in self.objects:
            program_type = _PROGRAM_TYPES[hook]
            self.objects[key] = self.target.load(one.object, program_type=program_type, engine=self.engine)
        return self.objects[key].program(one.program or one.section)

    # Devices

    def link(self, link: lines.Link) -> None:
        if link.verb == "delete":
            self.target.delete_device(self._name(link))
        elif link.verb == "set" or (link.verb == "replace" and link.name in self.target.devices):
            self.set_link(link)
        else:
            self.add_link(link)
            if link.peer is not None:
                self.add_link(link.peer)

    def add_link(self, link: lines.Link) -> None:
        """Make a device. Both ends of a veth pair are devices of the host, each with a wire of its own."""
        kind = link.kind or "veth"
        if kind not in KINDS:
            raise InputError(f"device {link.name}: {self.called} has no devices of type {kind}")
        has_arp = not KINDS[kind].flags & DEVICE_NOARP if link.arp is None else link.arp
        self.target.add_device(
            link.name or self.free_name(kind),
            kind=kind,
            mac=link.address if link.address and len(link.address) == 6 else None,
            mtu=link.mtu,
            ifindex=link.ifindex,
            up=bool(link.up),
            arp=has_arp,
        )

    def set_link(self, link: lines.Link) -> None:
        if link.new_name is not None:
            raise InputError(f"device {link.name}: {self.called} renames no devices; give it the name from the start")
        self.target.set_device(self._name(link), up=link.up, mtu=link.mtu, mac=link.address, arp=link.arp)

    def free_name(self, kind: str) -> str:
        """The first of veth0, veth1… that no device has."""
        return next(name for number in range(1 << 16) if (name := f"{kind}{number}") not in self.target.devices)

    @staticmethod
    def _name(link: lines.Link) -> str:
        if link.name is None:
            raise InputError("no device is named")
        return link.name

    # Addresses and neighbours

    def address(self, one: lines.Address) -> None:
        text = one.interface.text
        if one.verb == "delete":
            any_length = one.any_length or one.peer is not None
            self.target.delete_address(one.device, address_text(one.interface.address) if any_length else text)
            return
        if one.verb in ("replace", "change") and self.target.has_address(one.device, text):
            return  # the kernel changes its lifetimes and metric, and nothing else
        local = ip_address(one.interface.address)
        if one.peer is None:
            self.target.add_address(one.device, text, broadcast=_text(one.broadcast))
        else:
            self.target.add_address(one.device, f"{local}/{one.interface.length}", peer=_text(one.peer))

    def neighbour(self, one: lines.Neighbour) -> None:
        address = str(ip_address(one.address))
        if one.proxy:
            raise InputError(f"neighbour {address}: {self.called} is no proxy for neighbours")
        if one.verb == "delete":
            self.target.delete_neighbour(one.device, address)
        else:
            state = one.state if one.lladdr else "none"
            self.target.add_neighbour(one.device, address, one.lladdr or bytes(6), state=state)

    def flush(self, one: lines.Flush) -> None:
        if one.cache:
            return
        raise InputError(
            f"{one.object} flush: a topology starts from a host that has nothing to flush; leave the line out"
        )


def _text(address: bytes | None) -> str | None:
    return None if address is None else str(ip_address(address))
