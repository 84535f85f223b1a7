"""Routes that change with devices, addresses and other routes: what the kernel refuses, and where packets go then."""

from __future__ import annotations

import pytest
from two_hosts import is_refused

from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.kernel import KernelHost
from routebpf.hosts.scenario import differences, parse_scenario, run_scenario

pytestmark = pytest.mark.kernel

DEVICES = "link add va up type veth\nlink add vb up type veth\n"
REFUSED = {
    "an IPv6 address on a small device": ("link set va mtu 1200", "addr add fd00:a::1/64 dev va"),
    "an IPv6 route by a small device": ("link set va mtu 1200", "-6 route add fd00:20::/64 dev va"),
    "a delete of another type": ("route add 10.9.0.0/16 dev va", "route del throw 10.9.0.0/16"),
    "an IPv6 delete of another type": ("-6 route add fd00:20::/64 dev va", "-6 route del throw fd00:20::/64"),
    "a delete of another MTU": ("route add 10.9.0.0/16 dev va", "route del 10.9.0.0/16 mtu 1300"),
    "an IPv6 delete of another MTU": ("-6 route add fd00:20::/64 dev va", "-6 route del fd00:20::/64 mtu 1300"),
    "a delete of a rule of another action": ("rule add table 7 prio 9", "rule del unreachable prio 9"),
    "a delete of a rule of any action": ("rule add tos 0x10 unreachable prio 9", "rule del tos 0x10 prio 9"),
    "a delete of a rule that suppresses": (
        "rule add table main prio 9",
        "rule del table main suppress_prefixlength 8 prio 9",
    ),
    "a rule twice": ("rule add from 10.0.0.0/8 table 7 prio 9", "rule add from 10.0.0.0/8 table 7 prio 9"),
    "a rule of another priority": ("rule add table 7 prio 9", "rule add table 7 prio 8"),
    "a delete by the first next hop": (
        "route add 10.9.0.0/16 nexthop dev va nexthop dev vb",
        "route del 10.9.0.0/16 dev va",
    ),
    "a delete by the second": ("route add 10.9.0.0/16 nexthop dev va nexthop dev vb", "route del 10.9.0.0/16 dev vb"),
    "a delete by both": (
        "route add 10.9.0.0/16 nexthop dev va nexthop dev vb",
        "route del 10.9.0.0/16 nexthop dev va nexthop dev vb",
    ),
    "a delete by both in another order": (
        "route add 10.9.0.0/16 nexthop dev va nexthop dev vb",
        "route del 10.9.0.0/16 nexthop dev vb nexthop dev va",
    ),
    "a delete of an error by a gateway": ("route add throw 10.9.0.0/16", "route del 10.9.0.0/16 via 10.0.0.2"),
}  # fmt: skip
GONE = {
    "the last IPv4 address of a device": (
        "addr add 10.0.0.1/24 dev va\nroute add 10.9.0.0/16 dev va\naddr del 10.0.0.1/24 dev va",
        "10.0.0.1 10.9.0.9",
    ),
    "one of two": (
        "addr add 10.0.0.1/24 dev va\naddr add 10.1.0.1/24 dev va\nroute add 10.9.0.0/16 dev va\n"
        "addr del 10.0.0.1/24 dev va",
        "10.1.0.1 10.9.0.9",
    ),
    "the source of a route": (
        "addr add 10.0.0.1/24 dev va\naddr add 10.1.0.1/24 dev va\nroute add 10.9.0.0/16 dev va src 10.0.0.1\n"
        "addr del 10.0.0.1/24 dev va",
        "10.1.0.1 10.9.0.9",
    ),
    "a source that another device has": (
        "addr add 10.0.0.1/24 dev va\naddr add 10.0.0.1/24 dev vb\naddr add 10.1.0.1/24 dev va\n"
        "route add 10.9.0.0/16 dev va src 10.0.0.1\naddr del 10.0.0.1/24 dev va",
        "10.1.0.1 10.9.0.9",
    ),
    "an IPv6 route that is prepended": (
        "addr add fd00:a::1/64 dev va\n-6 route add fd00:20::/64 dev va\n-6 route prepend throw fd00:20::/64",
        "fd00:a::1 fd00:20::9",
    ),
    "one IPv6 next hop": (
        "addr add fd00:a::1/64 dev va\naddr add fd00:b::1/64 dev vb\n"
        "-6 route add fd00:20::/64 nexthop via fd00:a::2 nexthop via fd00:b::2\n"
        "-6 route del fd00:20::/64 via fd00:a::2",
        "fd00:a::1 fd00:20::9",
    ),
    "IPv6 of the device of input": (
        "addr add fd00:a::1/64 dev va\nlink set vb mtu 1200",
        "fd00:b::9 fd00:a::9 vb",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_change_is_refused_if_the_kernel_refuses_it(name: str) -> None:
    before, last = REFUSED[name]
    lines = f"{DEVICES}{before}"
    assert is_refused(EmbeddedHost, lines, last) == is_refused(KernelHost, lines, last)


@pytest.mark.parametrize("name", GONE)
def test_packets_go_where_the_kernel_still_has_a_route(name: str) -> None:
    lines, packet = GONE[name]
    source, destination, *device = packet.split()
    received = f', receive = "{device[0]}"' if device else ""
    text = f'topology = """\n{DEVICES}{lines}\n"""\npackets = [{{ src = "{source}", dst = "{destination}"{received} }}]'
    outcomes = []
    for kind in (EmbeddedHost, KernelHost):
        with kind() as host:
            outcomes.append(run_scenario(parse_scenario(text), host))
    assert differences(*outcomes) == []
