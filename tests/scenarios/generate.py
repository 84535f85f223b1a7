"""Random scenarios, each from a number: a topology, programs on its routes, and packets that go there.

Routes with a program of in are for packets that come in only, and none of their programs of out and xmit has the route
looked up anew: once the host itself sends by such a route, or asks for its way there to answer by ICMP, the kernel
loses the packets that it forwards there. Every neighbour is known: what waits for one in the kernel counts as sent,
even if its device does not take it then. Nothing goes to where packets come from: the kernel may have sent an ICMP
error there, and have its link header ready. For the same reason default routes have gateways of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, product
from random import Random
from typing import Any

from routebpf.hosts.scenario import Scenario, ScenarioPacket
from scenarios.generated_packets import LENGTHS, Place, draw_packet
from scenarios.generated_programs import IN, OUT, XMIT, Program, draw_program, source_of

FILE = "p.c"
PACKETS = 250
EACH = " PROGRAMS"  # behind each of several next hops
HOOKS = {IN: "in", OUT: "out", XMIT: "xmit"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a topology, with the programs of its route."""

    text: str
    programs: tuple[Program, ...] = ()
    headroom: str = ""

    def __str__(self) -> str:
        words = [f"{HOOKS[one.hook]} obj {FILE} section {one.hook} program {one.name}" for one in self.programs]
        encap = f" encap bpf {' '.join(words)}{self.headroom}" if words else ""
        return self.text.replace(EACH, encap) if EACH in self.text else f"{self.text}{encap}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A scenario in parts, of which some can be left out."""

    name: str
    lines: tuple[Line, ...]
    packets: tuple[ScenarioPacket, ...]

    def scenario(self) -> Scenario:
        """What can be played."""
        programs = tuple(chain.from_iterable(one.programs for one in self.lines))
        topology = "".join(f"{line}\n" for line in (*self.lines, *_neighbours(self.lines)))
        return Scenario(self.name, topology, {FILE: source_of(programs)} if programs else {}, self.packets)

    def smaller(self) -> Iterator[Plan]:
        """This plan without some packets, a line, a program, or a part of one."""
        for rest in _parts(self.packets):
            if rest:
                yield replace(self, packets=rest)
        for lines in _parts(self.lines):
            yield replace(self, lines=lines)
        for at, line in enumerate(self.lines):
            for other in _smaller_lines(line):
                yield replace(self, lines=(*self.lines[:at], *other, *self.lines[at + 1 :]))


def _parts(whole: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """A tuple without a half of it, a quarter, and so on down to one."""
    step = len(whole)
    while step > 1:
        step = (step + 1) // 2
        for at in reversed(range(0, len(whole), step)):
            yield whole[:at] + whole[at + step :]
    if len(whole) == 1:
        yield ()


def _smaller_lines(line: Line) -> Iterator[tuple[Line, ...]]:
    for at, one in enumerate(line.programs):
        before, after = line.programs[:at], line.programs[at + 1 :]
        yield (replace(line, programs=before + after),)
        for cut in range(len(one.blocks)):
            blocks = one.blocks[:cut] + one.blocks[cut + 1 :]
            yield (replace(line, programs=(*before, replace(one, blocks=blocks), *after)),)
        if one.code != "0":
            yield (replace(line, programs=(*before, replace(one, code="0"), *after)),)


# Choices of words, one of each group, for devices and routes.
MTUS = {"va": (1500, 1500, 1400, 9000), "vb": (1500, 1500, 1400, 1280, 1281), "tun0": (1500, 1500, 1280)}
WAYS4 = (
    "via 10.0.0.2", "via 10.0.0.2", "via 10.0.0.3", "via 10.1.0.2", "dev va", "dev vb", "dev tun0", "via 10.2.0.2",
    "via inet6 fd00:a::2 dev va", "dev vn", "via 10.1.0.2 dev va onlink", "via 10.0.0.2 src 10.1.0.1",
    "nexthop via 10.0.0.2 PROGRAMS nexthop via 10.0.0.2 weight 3 PROGRAMS",
    "nexthop via 10.3.0.2 PROGRAMS nexthop via 10.1.0.2 PROGRAMS",
)  # fmt: skip
WAYS6 = (
    "via fd00:a::2", "via fd00:a::2", "via fd00:b::2", "dev va", "dev vb", "dev tun0", "via fd00:c::2", "dev vn",
    "nexthop via fe80::2 dev vd PROGRAMS nexthop via fd00:a::2 PROGRAMS",
)  # fmt: skip
WORDS: tuple[tuple[str, ...], ...] = (
    ("", "", "", " mtu 600", " mtu 1300", " mtu 1301", " mtu 1280", " mtu lock 600"),
    ("", "", "", " hoplimit 7", " advmss 536", " window 1000"),
    ("", "", "", " realm 7", " realm 3/7"),
    ("", "", "", "", " metric 50"),
)
HEADROOMS = ("", "", "", " headroom 14", " headroom 64", " headroom 256")
COUNT = 7  # routes with programs of each kind: 192.168.0.0/24 to 192.168.6.0/24
SOURCES = {
    "va": (("10.0.0.9", "fd00:a::9"), ("10.0.0.9", "fe80::9")),
    "vb": (("10.1.0.9", "fd00:b::9"), ("127.0.0.1", "::")),
    "tun0": (("10.2.0.9", "fd00:c::9"), ("10.1.0.1", "ff02::9")),
}
LOCAL_SOURCES = ("10.1.0.1",)
OWN = (("10.0.0.1", "fd00:a::1"), ("10.1.0.1", "fd00:b::1"), ("203.0.113.7", "2001:db8::7"), ("0.0.0.0", "fd00:c::1"))
HOSTS = (1, 1, 1, 7, 16)
# Destinations without a program: neighbours, routes that refuse, none at all, many.
PLAIN4 = (
    "10.0.0.3", "10.1.0.3", "10.2.0.3", "10.0.0.2", "192.168.200.1", "192.168.201.1", "192.168.202.1", "203.0.113.1",
    "10.8.0.9", "10.9.0.1", "224.5.0.7", "10.0.0.255", "192.168.210.1", "255.255.255.255", "10.3.0.9",
    "224.6.0.7", "10.66.0.255",
    "10.6.0.1", "10.6.0.9", "10.7.0.1", "240.0.0.1", "0.0.0.9",
)  # fmt: skip
MORE = ("10.5.0.1", "10.6.0.1", "10.6.0.9", "10.7.0.1", "240.0.0.1", "fd00:a::65", "fe80::65")
LOCAL = ("10.5.0.1", "0.0.0.0", "10.0.0.1", "10.1.0.1", "fd00:a::1", "127.0.0.1", "::1")
PLAIN6 = (
    "fd00:a::3", "fd00:b::3", "fd00:c::3", "fd00:20:c8::1", "fd00:20:c9::1", "fd00:20:ca::1", "2001:db8::1",
    "ff02::1:5", "ff0e::5", "ff01::5", "ff0e:6::5", "ff00::5", "ff03::5", "fd00:a::65", "fe80::65",
)  # fmt: skip

BEFORE = (
    "link add va up mtu {va} type veth", "link add vb up mtu {vb} type veth", "tuntap add tun0 mode tun",
    "link set tun0 up mtu {tun0}", "link add vd up type veth",
    "addr add 10.3.0.1/24 dev vd", "link add vn up type veth", "link set vn arp off",
    "link add vu up type dummy", "tuntap add tap0 mode tap", "link set tap0 up",
    "addr add 10.0.0.1/24 dev va", "addr add 10.1.0.1/24 dev vb", "addr add 10.2.0.1/24 dev tun0",
    "addr add fd00:a::1/64 dev va", "addr add fd00:b::1/64 dev vb", "addr add fd00:c::1/64 dev tun0",
    "rule add fwmark 0x77 table 77 prio 100",
    "route add blackhole 192.168.200.0/24", "route add unreachable 192.168.201.0/24",
    "route add prohibit 192.168.202.0/24", "route add blackhole fd00:20:c8::/64",
    "route add unreachable fd00:20:c9::/64", "route add prohibit fd00:20:ca::/64",
    "route add 224.5.0.0/16 dev vb",
    # No program sends to this one: of fragments so small most are shorter than what a broken header says, and with a
    # headroom, or a header of another size, the kernel could cut without end.
    "route add 10.8.0.0/16 via 10.1.0.2 mtu 68",
    "route add 10.9.0.0/16 via 10.1.0.2 mtu 600", "rule add from 10.1.0.0/16 table 78 prio 101",
    "route add 192.168.3.0/24 via 10.0.0.2 table 78", "route add throw 192.168.4.0/24 table 78",
    "rule add to 192.168.6.0/24 tos 0x10 table 79 prio 102", "rule add iif tun0 to 192.168.5.0/24 table 79 prio 103",
    "rule add to 192.168.5.16 prohibit prio 104",
    "rule add to 192.168.4.16 table main suppress_prefixlength 16 prio 105",
    "rule add not from 10.0.0.0/8 to 192.168.0.16 table 79 prio 106", "route add default via 10.1.0.3 table 79",
    "-6 rule add fwmark 0x77 table 77 prio 100", "-6 rule add tos 0x10 to fd00:20:6::/64 table 79 prio 102",
    "-6 rule add iif vb to fd00:20:5::/64 table 79 prio 103", "-6 rule add to fd00:20:5::10 unreachable prio 104",
    "-6 rule add to fd00:20:4::10 table main suppress_prefixlength 64 prio 105",
    "-6 route add default via fd00:b::3 table 79",
)  # fmt: skip

# Of these a few.
EXTRAS = (
    "addr add 10.5.0.1 peer 10.6.0.1/24 dev va", "addr add 10.7.0.0/31 dev vb", "addr add 10.1.0.5/24 dev vb",
    "addr add 10.0.0.65/26 dev va", "addr add fd00:a::5/128 dev vb", "addr add fd00:a::6/112 dev va",
    "rule add fwmark 0x78/0x7f table 79 prio 99", "rule add fwmark 0x70/0xf0 blackhole prio 98",
    "rule add from 10.2.0.0/16 iif tun0 table 78 prio 97", "rule add to 192.168.1.0/28 unreachable prio 96",
    "rule add tos 0x08 table 79 prio 95", "rule add not to 192.168.0.0/16 table 78 prio 94",
    "rule add iif lo to 192.168.3.0/24 table 79 prio 93", "rule add not fwmark 0x77 table 78 prio 91",
    "rule add to 192.168.2.0/24 table main suppress_prefixlength 0 prio 92", "rule add iif va prohibit prio 32766",
    "-6 rule add from fd00:b::/64 table 79 prio 99", "-6 rule add fwmark 0x78/0x7f blackhole prio 98",
    "-6 rule add from fd00:a::/64 to fd00:20:3::/64 table 79 prio 97", "-6 rule add not tos 0 table 79 prio 96",
    "-6 rule add iif lo to fd00:20:2::/64 table 79 prio 95", "-6 rule add iif lo prohibit prio 32766",
    "-6 rule add to fd00:20:1::/64 table main suppress_prefixlength 64 prio 94",
    "route add throw 192.168.5.0/25 table 79", "-6 route add throw fd00:20:5::/80 table 79",
    "route add 192.168.6.0/25 via 10.1.0.2 metric 5", "route add 192.168.4.0/28 dev va scope link src 10.0.0.1",
    "route add default via 10.0.0.4 metric 100", "-6 route add default via fd00:a::4 metric 10",
    "route add 192.168.3.0/24 tos 0x08 via 10.1.0.3", "route add 192.168.0.0/24 via 10.1.0.3 metric 1",
    "route add unreachable default metric 4000", "route add blackhole 224.0.0.0/4",
    "-6 route add fd00:20:6::/64 dev tun0 metric 2000", "route add 255.255.255.255 dev vb",
    "route add 192.168.1.0/24 dev tun0 metric 9", "-6 route add unreachable ff0e::/16 table local",
)  # fmt: skip


# Of these a few, when all routes are there.
LATER = (
    "-6 route append fd00:20:0::/64 dev va", "-6 route append fd00:20:1::/64 dev vb",
    "-6 route append fd00:20:2::/64 dev tun0", "-6 route append fd00:20:3::/64 dev va",
    "-6 route append fd00:20:4::/64 dev vb", "-6 route append fd00:20:5::/64 dev tun0",
    "-6 route append fd00:30:0::/64 dev va", "-6 route append fd00:30:1::/64 dev vb",
    "link set vb down\nlink set vb up", "link set tun0 down\nlink set tun0 up", "link set va mtu 9000",
    "rule del prio 102", "-6 rule del prio 102", "route replace 192.168.2.7 via 10.0.0.3",
    "-6 route replace fd00:20:4::/64 dev va", "-6 route replace fd00:20:5::/64 via fd00:a::3",
    "addr add fd00:a::77/64 dev tun0", "link set vn arp on", "route append 192.168.0.0/24 via 10.0.0.3",
    "route prepend 192.168.1.0/24 via 10.0.0.3",
)  # fmt: skip


def plan(number: int, packets: int = PACKETS) -> Plan:
    """The scenario of a number, with so many packets."""
    chance = Random(number)
    names = (f"p{count}" for count in range(1000))

    def programs(*hooks: str, reroutes: bool = True) -> tuple[Program, ...]:
        return tuple(draw_program(chance, next(names), hook, reroutes=reroutes) for hook in hooks)

    mtus = {name: chance.choice(values) for name, values in MTUS.items()}
    lines = [Line(one.format(**mtus)) for one in BEFORE]
    lines += map(Line, chance.sample(EXTRAS, chance.choice((0, 0, 1, 2, 4, 8))))
    for count in range(COUNT):
        for prefix, ways in ((f"192.168.{count}.0/24", WAYS4), (f"fd00:20:{count}::/64", WAYS6)):
            hooks = chance.choice(((XMIT,), (XMIT,), (XMIT,), (OUT, XMIT), (OUT,)))
            lines.append(_route(chance, prefix, ways, programs(*hooks)))
    for prefix, ways in (("172.16.{}.0/24", WAYS4), ("fd00:30:{}::/64", WAYS6)):
        for count in range(3):
            hooks = chance.choice(((IN,), (IN, XMIT), (IN, OUT, XMIT), (IN, OUT)))
            taken = tuple(one for hook in hooks for one in programs(hook, reroutes=hook == IN))
            lines.append(_route(chance, prefix.format(count), ways, taken))
    lines.append(_route(chance, "192.168.1.16/28", WAYS4, programs(XMIT)))
    lines.append(_route(chance, "192.168.2.7", WAYS4, programs(XMIT)))
    lines.append(_route(chance, "fd00:20:1::10/124", WAYS6, programs(XMIT)))
    lines.append(_route(chance, "192.168.3.0/24 tos 0x10", WAYS4, programs(XMIT)))
    lines.append(_route(chance, "192.168.0.0/16", WAYS4, programs(XMIT) if chance.random() < 0.5 else ()))
    lines.append(_route(chance, "192.168.0.0/16 table 77", WAYS4, programs(XMIT)))
    lines.append(_route(chance, "fd00:20::/32 table 77", WAYS6, programs(XMIT)))
    lines += (
        Line("route add multicast 224.6.0.0/16 dev vb", programs(chance.choice((OUT, XMIT)))),
        Line("route add broadcast 10.66.0.255 dev va", programs(chance.choice((OUT, XMIT)))),
        Line("-6 route add multicast ff0e:6::/32 dev vb table local", programs(chance.choice((OUT, XMIT)))),
        Line("route add local 172.16.3.0/24 dev lo", programs(IN)),
        Line("-6 route add local fd00:30:3::/64 dev lo", programs(IN)),
        Line("route add local 172.17.0.0/24 dev lo", programs(chance.choice((OUT, XMIT)), reroutes=False)),
        Line("-6 route add local fd00:31::/64 dev lo", programs(chance.choice((OUT, XMIT)), reroutes=False)),
    )
    hooks = chance.choice(((IN, OUT, XMIT), (IN, XMIT), (IN, OUT)))
    lines.append(_route(chance, "172.18.0.0/24", WAYS4, programs(*hooks)))
    lines.append(_route(chance, "fd00:32::/64", WAYS6, programs(*hooks)))
    lines.append(Line("link set vd down"))
    lines += map(Line, chance.sample(LATER, chance.choice((0, 0, 1, 2, 4))))
    places = tuple(_places(mtus))
    return Plan(f"generated-{number}", tuple(lines), tuple(draw_packet(chance, places) for _ in range(packets)))


def _neighbours(lines: tuple[Line, ...]) -> Iterator[str]:
    """Lines that name all neighbours, on the Ethernet devices that there are."""
    last = [f"192.168.{count}.{host}" for count in (*range(COUNT), 200, 201, 202, 210) for host in sorted({*HOSTS})]
    last += ["172.18.0.1", "172.18.0.7", "fd00:32::1", "fd00:32::7"]
    last += [f"172.16.{count}.{host}" for count in range(3) for host in sorted({*HOSTS})]
    last += [f"fd00:20:{count:x}::{host:x}" for count in (*range(COUNT), 200, 201, 202) for host in sorted({*HOSTS})]
    last += [f"fd00:30:{count}::{host:x}" for count in range(3) for host in sorted({*HOSTS})]
    last += [
        f"{net}{host}" for net in ("10.0.0.", "10.1.0.", "fd00:a::", "fd00:b::", "fd00:c::") for host in (2, 3, 4, 9)
    ]
    for device, byte in (("va", "0a"), ("vb", "0b")):
        if not any(str(line).startswith(f"link add {device} ") for line in lines):
            continue
        for number, address in enumerate((*last, "203.0.113.1", "2001:db8::1", "10.8.0.9", "10.9.0.1", *MORE)):
            if ":" not in address or any(line.text.startswith(f"addr add fd00:{byte[1]}") for line in lines):
                yield f"neigh replace {address} lladdr 02:00:00:00:{byte}:{number:02x} dev {device}"


def _route(chance: Random, prefix: str, ways: tuple[str, ...], programs: tuple[Program, ...]) -> Line:
    words = "".join(chance.choice(one) for one in WORDS)
    way = chance.choice(ways)
    if way.startswith("nexthop"):
        words = words if "realm" not in words else ""
        return Line(f"route add {prefix}{words} {way}", programs, chance.choice(HEADROOMS))
    return Line(f"route add {prefix} {way}{words}", programs, chance.choice(HEADROOMS))


def _places(mtus: dict[str, int]) -> Iterator[Place]:
    for source4, source6, device in chain(
        ((*pair, None) for pair in OWN),
        ((*pair, device) for device, pairs in SOURCES.items() for pair in (pairs[0], *pairs)),
    ):
        longest = min(mtus[device], 1500) if device else max(LENGTHS)
        many = [(f"192.168.{count}.{host}", f"fd00:20:{count}::{host:x}") for count in range(COUNT) for host in HOSTS]
        for to4, to6 in many:
            yield Place(source4, to4, device, longest)
            yield Place(source6, to6, device, longest)
        for count, host in product(range(3 if device else 0), HOSTS * 2):
            yield Place(source4, f"172.16.{count}.{host}", device, longest, is_quiet=True)
            yield Place(source6, f"fd00:30:{count}::{host:x}", device, longest)
        for one in () if device else ("172.18.0.1", "172.18.0.7", "fd00:32::1", "fd00:32::7"):
            yield Place(source6 if ":" in one else source4, one, device, longest)
        for one in (*LOCAL, *(("172.16.3.1", "fd00:30:3::1") if device else ("172.17.0.1", "fd00:31::1"))):
            if (source4, one) == ("0.0.0.0", "172.17.0.1"):
                continue  # becomes its own source: the kernel answers to itself, through the program
            yield Place(source6 if ":" in one else source4, one, device, longest, is_udp=True)
        for source, destinations in ((source4, PLAIN4), (source6, PLAIN6)):
            for one in destinations:
                if device and source in LOCAL_SOURCES:
                    continue  # the kernel would say to itself that there is no route
                yield Place(source, one, device, longest)
