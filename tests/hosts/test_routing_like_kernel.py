"""Plain routing, no program: every packet gets the errno, and every device the frames, that the kernel's host has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from errno import EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH

import pytest

from hosts.two_hosts import KernelTwin, embedded_twin, frames_of, ipv4, ipv6, neighbour_lines, sent_by
from routebpf.hosts.embedded import EmbeddedHost

DEVICES = {"va": 2, "vb": 3}
LINES = (
    """
addr add 10.0.0.1/24 dev va
addr add 10.1.0.1/24 dev vb
addr add fd00:a::1/64 dev va
addr add fd00:b::1/64 dev vb
route add 192.168.0.0/16 via 10.0.0.2
route add 192.168.7.0/24 via 10.1.0.2
route add 192.168.7.9 dev va scope link
route add 192.168.8.0/24 via 10.0.0.2 metric 50
route add 192.168.8.0/24 via 10.1.0.2 metric 20
route add 192.168.9.0/24 via 10.0.0.2
route add 192.168.9.0/24 tos 0x10 via 10.1.0.2
route add blackhole 192.168.10.0/24
route add unreachable 192.168.11.0/24
route add prohibit 192.168.12.0/24
route add throw 192.168.13.0/24
route add 192.168.14.0/24 via 10.1.0.2 mtu 600
route add 192.168.15.0/24 nexthop via 10.0.0.2 weight 1 nexthop via 10.1.0.2 weight 3
route add 224.5.0.0/16 dev vb
route add 192.168.16.0/24 via inet6 fd00:a::2 dev va
route add 192.168.17.0/24 via 10.1.0.2 table 77
rule add fwmark 0x77 table 77 prio 100
rule add from 10.9.0.0/16 table 78 prio 101
rule add to 192.168.18.0/24 unreachable prio 102
rule add not fwmark 0x99 table 79 prio 103
route add 192.168.19.0/24 via 10.1.0.2 table 79
route add 192.168.20.0/24 via 10.1.0.2 table 78
route add fd00:c::/64 via fd00:a::2
route add fd00:c:7::/64 via fd00:b::2
route add fd00:d::/64 via fd00:b::2 metric 30
route add fd00:d::/64 via fd00:a::2 metric 60
route add blackhole fd00:e::/64
route add unreachable fd00:f::/64
route add prohibit fd00:10::/64
"""
    + neighbour_lines("va", ["10.0.0.2", "10.0.0.9", "192.168.7.9", "fd00:a::2", "fd00:a::9"])
    + neighbour_lines("vb", ["10.1.0.2", "10.1.0.9", "fd00:b::2"])
)

SENT = {
    "to a neighbour": ipv4("10.0.0.9"),
    "through a gateway": ipv4("192.168.1.1"),
    "by the longer prefix": ipv4("192.168.7.1"),
    "by the host route": ipv4("192.168.7.9"),
    "by the smaller metric": ipv4("192.168.8.1"),
    "by the route without TOS": ipv4("192.168.9.1"),
    "by the route of its TOS": ipv4("192.168.9.1", tos=0x10),
    "TOS and ECN": ipv4("192.168.9.1", tos=0x11),
    "with another TOS": ipv4("192.168.9.1", tos=0x08),
    "to a blackhole": ipv4("192.168.10.1"),
    "to an unreachable route": ipv4("192.168.11.1"),
    "to a prohibited route": ipv4("192.168.12.1"),
    "to a route that throws": ipv4("192.168.13.1"),
    "to nowhere": ipv4("203.0.113.1"),
    "fragmented by the route's MTU": ipv4("192.168.14.1", 1000),
    "fragmented in three": ipv4("192.168.14.1", 1400),
    "as long as the route's MTU": ipv4("192.168.14.1", 580),
    "one byte longer than the route's MTU": ipv4("192.168.14.1", 581),
    "that must not be fragmented": ipv4("192.168.14.1", 1000, df=True),
    "fragmented with options": ipv4("192.168.14.1", 1000, options=bytes((0x07, 7, 4, 0, 0, 0, 0, 1))),
    "as long as the device's MTU": ipv4("192.168.1.1", 1480),
    "longer than the device's MTU": ipv4("192.168.1.1", 1481),
    "with TTL 1": ipv4("192.168.1.1", ttl=1),
    "with TTL 0": ipv4("192.168.1.1", ttl=0),
    "to the subnet's broadcast address": ipv4("10.0.0.255"),
    "to the limited broadcast address": ipv4("255.255.255.255"),
    "to a multicast group with a route": ipv4("224.5.0.7", ttl=3),
    "to a multicast group without a route": ipv4("239.1.2.3"),
    "to the host itself": ipv4("10.0.0.1"),
    "to the loopback": ipv4("127.0.0.1"),
    "from a foreign address": ipv4("192.168.1.1", src="172.16.5.5"),
    "from nobody": ipv4("192.168.1.1", src="0.0.0.0"),
    "from nobody to another link": ipv4("10.1.0.9", src="0.0.0.0"),
    "by the next hop of its source": ipv4("192.168.15.1", src="10.1.0.1"),
    "by the next hop of its other source": ipv4("192.168.15.1", src="10.0.0.1"),
    "from a multicast address": ipv4("192.168.1.1", src="224.0.0.1"),
    "from the broadcast address": ipv4("192.168.1.1", src="255.255.255.255"),
    "from the loopback": ipv4("192.168.1.1", src="127.0.0.1"),
    "to this network": ipv4("0.1.2.3"),
    "through an IPv6 gateway": ipv4("192.168.16.1"),
    "that only table 77 routes": ipv4("192.168.17.1", src="10.0.0.1"),
    "from a rule's prefix": ipv4("192.168.20.1", src="10.9.1.1"),
    "not from a rule's prefix": ipv4("192.168.20.1"),
    "to a rule's unreachable": ipv4("192.168.18.1"),
    "by the table of an inverted rule": ipv4("192.168.19.1"),
    "with a wrong checksum": ipv4("10.0.0.9")[:10] + b"\x12\x34" + ipv4("10.0.0.9")[12:],
    "with a wrong total length": ipv4("10.0.0.9")[:2] + b"\x00\x30" + ipv4("10.0.0.9")[4:],
    "of 20 bytes": ipv4("10.0.0.9", 0),
    "cut within its header": ipv4("10.0.0.9")[:16],
    "with a header longer than it": b"\x4f" + ipv4("10.0.0.9", 10)[1:],
    "IPv6 to a neighbour": ipv6("fd00:a::9"),
    "IPv6 through a gateway": ipv6("fd00:c::1"),
    "IPv6 by the longer prefix": ipv6("fd00:c:7::1"),
    "IPv6 by the smaller metric": ipv6("fd00:d::1"),
    "IPv6 to a blackhole": ipv6("fd00:e::1"),
    "IPv6 to an unreachable route": ipv6("fd00:f::1"),
    "IPv6 to a prohibited route": ipv6("fd00:10::1"),
    "IPv6 to nowhere": ipv6("2001:db8::1"),
    "IPv6 longer than the device's MTU": ipv6("fd00:a::9", 1461),
    "IPv6 as long as the device's MTU": ipv6("fd00:a::9", 1460),
    "IPv6 with a hop limit of 0": ipv6("fd00:a::9", hops=0),
    "IPv6 to the host itself": ipv6("fd00:a::1"),
}

MARKED = {
    "with the mark of table 77": (ipv4("192.168.17.1"), 0x77),
    "with another mark": (ipv4("192.168.17.1"), 0x78),
    "with the mark that an inverted rule leaves alone": (ipv4("192.168.19.1"), 0x99),
}

RECEIVED = {
    "forwarded": ipv4("10.1.0.9", src="10.0.0.9"),
    "forwarded through a gateway": ipv4("192.168.7.1", src="10.0.0.9"),
    "with TTL 2": ipv4("10.1.0.9", src="10.0.0.9", ttl=2),
    "with TTL 1": ipv4("10.1.0.9", src="10.0.0.9", ttl=1),
    "with TTL 0": ipv4("10.1.0.9", src="10.0.0.9", ttl=0),
    "with a checksum that carries": ipv4("10.1.0.9", src="10.0.0.9", id=0x0F5A),
    "fragmented on the way": ipv4("192.168.14.1", 1000, src="10.0.0.9"),
    "fragmented on the way, with options": ipv4(
        "192.168.14.1", 1200, src="10.0.0.9", options=bytes((0x1E, 4, 7, 7, 0x94, 4, 0, 0))
    ),
    "not to be fragmented": ipv4("192.168.14.1", 1000, src="10.0.0.9", df=True),
    "to a blackhole": ipv4("192.168.10.1", src="10.0.0.9"),
    "to nowhere": ipv4("203.0.113.1", src="10.0.0.9"),
    "to the host itself": ipv4("10.1.0.1", src="10.0.0.9"),
    "to the broadcast address of its link": ipv4("10.0.0.255", src="10.0.0.9"),
    "to the broadcast address of another link": ipv4("10.1.0.255", src="10.0.0.9"),
    "to a multicast group": ipv4("224.5.0.7", src="10.0.0.9"),
    "from the loopback": ipv4("10.1.0.9", src="127.0.0.1"),
    "from a multicast address": ipv4("10.1.0.9", src="224.0.0.1"),
    "from an address of the host": ipv4("10.1.0.9", src="10.1.0.1"),
    "from nobody": ipv4("10.1.0.9", src="0.0.0.0"),
    "with a wrong checksum": ipv4("10.1.0.9", src="10.0.0.9")[:10]
    + b"\x12\x34"
    + ipv4("10.1.0.9", src="10.0.0.9")[12:],
    "with bytes behind its end": ipv4("10.1.0.9", 20, src="10.0.0.9") + bytes(6),
    "shorter than its header says": ipv4("10.1.0.9", 40, src="10.0.0.9")[:50],
    "back where it came from": ipv4("10.0.0.2", src="10.0.0.9"),
    "IPv6 forwarded": ipv6("fd00:b::2", src="fd00:a::9"),
    "IPv6 with a hop limit of 1": ipv6("fd00:b::2", src="fd00:a::9", hops=1),
    "IPv6 with a hop limit of 2": ipv6("fd00:b::2", src="fd00:a::9", hops=2),
    "IPv6 to a blackhole": ipv6("fd00:e::1", src="fd00:a::9"),
    "IPv6 to nowhere": ipv6("2001:db8::1", src="fd00:a::9"),
    "IPv6 from a multicast address": ipv6("fd00:b::2", src="ff02::9"),
    "IPv6 from a link-local address": ipv6("fd00:b::2", src="fe80::9"),
    "IPv6 from nobody": ipv6("fd00:b::2", src="::"),
    "IPv6 to the loopback": ipv6("::1", src="fd00:a::9"),
    "IPv6 with bytes behind its end": ipv6("fd00:b::2", src="fd00:a::9") + bytes(5),
    "IPv6 shorter than its header says": ipv6("fd00:b::2", src="fd00:a::9")[:-4],
}

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelTwin]:
    twin = KernelTwin(LINES, DEVICES)
    yield twin
    twin.close()


@pytest.fixture(scope="module")
def embedded() -> EmbeddedHost:
    return embedded_twin(LINES, DEVICES)


@pytest.mark.parametrize("what", SENT)
def test_a_packet_is_sent_as_the_kernel_sends_it(kernel: KernelTwin, embedded: EmbeddedHost, what: str) -> None:
    ours = sent_by(embedded, SENT[what])
    assert ours == kernel.send(SENT[what], len(ours.frames))


@pytest.mark.parametrize("what", MARKED)
def test_a_mark_chooses_the_route_as_in_the_kernel(kernel: KernelTwin, embedded: EmbeddedHost, what: str) -> None:
    packet, mark = MARKED[what]
    ours = sent_by(embedded, packet, mark=mark)
    assert ours == kernel.send(packet, len(ours.frames), mark=mark)


@pytest.mark.parametrize("what", RECEIVED)
def test_a_packet_that_comes_in_is_forwarded_as_by_the_kernel(
    kernel: KernelTwin, embedded: EmbeddedHost, what: str
) -> None:
    ours = embedded.receive(RECEIVED[what], "va")
    frames = frames_of(ours)
    assert frames == kernel.receive(RECEIVED[what], "va", len(frames)), ours.reason


@pytest.mark.parametrize("src", ["10.0.0.9", "10.1.0.1"])
@pytest.mark.parametrize("dst", ["203.0.113.1", "192.168.10.1", "192.168.11.1", "192.168.12.1", "192.168.1.1"])
def test_a_route_that_refuses_counts_before_a_source_of_the_host_itself(
    kernel: KernelTwin, embedded: EmbeddedHost, src: str, dst: str
) -> None:
    asked = ["ip", "-netns", kernel.name, "route", "get", dst, "from", src, "iif", "va"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stderr.strip()
    refusals = {os.strerror(EINVAL): ("blackhole", "martian"), "": ("sent",)} | {
        os.strerror(errno): (reason,)
        for errno, reason in ((ENETUNREACH, "no-route"), (EHOSTUNREACH, "unreachable"), (EACCES, "prohibited"))
    }
    ours = embedded.receive(ipv4(dst, src=src), "va")
    assert ours.reason in refusals[answer.removeprefix("RTNETLINK answers: ")]


def test_a_flow_takes_one_of_several_next_hops_by_their_weights(kernel: KernelTwin, embedded: EmbeddedHost) -> None:
    """The kernel's hash is seeded at random, so only the shares can agree."""
    packets = [ipv4(f"192.168.15.{n}", src="172.16.0.1") for n in range(1, 101)]
    ours = [sent_by(embedded, one).frames[0][0] for one in packets]
    theirs = [kernel.send(one, 1).frames[0][0] for one in packets]
    assert 10 <= ours.count("va") <= 40
    assert 10 <= theirs.count("va") <= 40
    assert [sent_by(embedded, one).frames[0][0] for one in packets] == ours
