"""What the lines of a topology file say, as values. Each knows its line (0: not from a file) and its verb, as
iproute2 names it.

Addresses are bytes in network order, 4 or 16 of them; a device is its name; None is "not given", where the kernel or
the host decides.
"""

from dataclasses import dataclass
from typing import Literal

from routebpf.hosts.topology_inet import Prefix, address_text

Verb = Literal["add", "replace", "change", "append", "prepend", "delete", "set", "flush"]
Hook = Literal["in", "out", "xmit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One line of a topology. `line`: the number of its first line in the file."""

    line: int = 0
    verb: Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """The outer header of a tunnel device. `ttl` 0 and `tos` 1: inherited from the inner header, as in the kernel."""

    local: bytes | None = None
    remote: bytes | None = None
    device: str | None = None
    ttl: int | None = None
    tos: int = 0
    input_key: int | None = None
    output_key: int | None = None
    path_mtu_discovery: bool = True
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Command):
    """`link` and `tuntap`: a device (add, replace), its settings (set), or its end (delete).

    `name`: the device; None lets the kernel choose one. `new_name`: what `set` renames it to. `kind`: a
    device type of `ip link`, or tun or tap. `peer`: the other end of a veth pair, None when it was not described.
    `options`: settings that `ip` takes and that no packet's path depends on, as words.
    """

    name: str | None = None
    new_name: str | None = None
    kind: str | None = None
    peer: "Link | None" = None
    tunnel: Tunnel | None = None
    parent: str | None = None
    address: bytes | None = None
    broadcast: bytes | None = None
    mtu: int | None = None
    ifindex: int | None = None
    up: bool | None = None
    arp: bool | None = None
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(Command):
    """`addr`: an address of a device. `interface` is the address with its prefix length; that of a peer's prefix, if
    there is a peer.

    `scope`, `flags` as in the kernel's ifaddrmsg; lifetimes in seconds, None for ever. `any_length`: a delete
    that gives no prefix length, so that an IPv4 address goes whatever its length.
    """

    device: str
    interface: Prefix
    peer: bytes | None = None
    broadcast: bytes | None = None
    anycast: bytes | None = None
    scope: int = 0
    label: str | None = None
    metric: int | None = None
    valid_seconds: int | None = None
    preferred_seconds: int | None = None
    flags: tuple[str, ...] = ()
    any_length: bool = False

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.interface.family


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour(Command):
    """`neigh`: a neighbour of a device. `state`: the NUD state in lower case; `lladdr` None: not given, or `null`."""

    device: str
    address: bytes
    lladdr: bytes | None = None
    state: str = "permanent"
    proxy: bool = False
    protocol: int | None = None
    flags: tuple[str, ...] = ()

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if len(self.address) == 4 else 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BpfProgram:
    """One program of an encap: out of an object file, or pinned. `section`, `program`: which one, None when the line
    does not say.

    Paths are as written: relative to the working directory, as iproute2 takes them.
    """

    object: str | None = None
    pinned: str | None = None
    section: str | None = None
    program: str | None = None
    verbose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BpfEncap:
    """`encap bpf`: a program for each hook, and the headroom in bytes that the route keeps for headers (0: none)."""

    input: BpfProgram | None = None
    output: BpfProgram | None = None
    xmit: BpfProgram | None = None
    headroom: int = 0

    @property
    def programs(self) -> dict[Hook, BpfProgram]:
        """The programs there are, by hook."""
        hooks: dict[Hook, BpfProgram | None] = {"in": self.input, "out": self.output, "xmit": self.xmit}
        return {hook: program for hook, program in hooks.items() if program is not None}


@dataclass(frozen=True, slots=True)
class Rtax:
    """One of a route's RTA_METRICS, by ip's name (`mtu`, `advmss`, `rtt`…), in the kernel's unit; `congctl`: a name."""

    name: str
    value: int | str
    locked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Nexthop:
    """One way a route goes. `via` may be of the other family (RTA_VIA); `weight` 1 to 256; `realms` as in `Route`."""

    via: bytes | None = None
    device: str | None = None
    weight: int = 1
    onlink: bool = False
    realms: int = 0
    encap: BpfEncap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Command):
    """`route`: the kernel's rtmsg and its attributes.

    `type`: unicast, local, blackhole…; "unspec" in a delete that does not say. `source`: the `from` prefix (IPv6
    subtrees). `metric`: RTA_PRIORITY, None when not given (the kernel has 1024 for IPv6, 0 for IPv4). `realms`:
    RTA_FLOW, from << 16 | to. `preference`: RTA_PREF (0 medium, 1 high, 3 low). `hop`: what `via`, `dev`, `encap`…
    outside of `nexthop` say; `nexthops`: those that `nexthop` lists.
    """

    type: str
    family: int
    prefix: Prefix
    source: Prefix | None = None
    tos: int = 0
    table: int
    metric: int | None = None
    protocol: int
    scope: int
    preferred_source: bytes | None = None
    rtax: tuple[Rtax, ...] = ()
    expires_seconds: int | None = None
    preference: int | None = None
    ttl_propagate: bool | None = None
    hop: Nexthop
    nexthops: tuple[Nexthop, ...] = ()

    @property
    def paths(self) -> tuple[Nexthop, ...]:
        """The ways this route goes: the nexthops, or the one hop that the route itself describes."""
        return self.nexthops or (self.hop,)

    def rtax_of(self, name: str) -> Rtax | None:
        """The last RTA_METRICS value of that name, which is the one that counts."""
        return next((value for value in reversed(self.rtax) if value.name == name), None)

    @property
    def text(self) -> str:
        """Type, prefix, gateway and device, for messages."""
        words = [] if self.type == "unicast" else [self.type]
        words.append(self.prefix.text)
        for hop in self.paths:
            words += ["via", address_text(hop.via)] if hop.via else []
            words += ["dev", hop.device] if hop.device else []
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Command):
    """`rule`: which table a packet is looked up in. `action`: lookup, unreachable, blackhole, prohibit, goto, nop.

    `table`: None where the action needs none. `ports`: first and last. `tunnel_id`, `uid_range`, `l3mdev`: as in the
    kernel's fib rules.
    """

    family: int
    action: str = "lookup"
    table: int | None = None
    priority: int | None = None
    invert: bool = False
    source: Prefix | None = None
    destination: Prefix | None = None
    iif: str | None = None
    oif: str | None = None
    tos: int = 0
    fwmark: int | None = None
    fwmask: int | None = None
    realms: int = 0
    protocol: int = 0
    ip_protocol: int | None = None
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    uid_range: tuple[int, int] | None = None
    tunnel_id: int | None = None
    l3mdev: bool = False
    suppress_prefix_length: int | None = None
    suppress_group: int | None = None
    target: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush(Command):
    """`flush` of routes, addresses, neighbours or rules: all that fit every field that is given. `table` None: any
    table.

    `match`: how `prefix` fits: "exact", "root" (it and what is inside), "match" (it and what is around). `cache`:
    only the route cache, which no kernel since 3.6 has.
    """

    object: Literal["route", "addr", "neigh", "rule"]
    family: int | None = None
    table: int | None = None
    device: str | None = None
    prefix: Prefix | None = None
    match: str = "exact"
    protocol: int | None = None
    scope: int | None = None
    type: str | None = None
    state: str | None = None
    label: str | None = None
    cache: bool = False
