"""Gateways of new routes are looked for, and refused, as by the kernel: each last line by both hosts."""

from __future__ import annotations

import pytest
from two_hosts import is_refused

from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.kernel import KernelHost

DEVICES = (
    "link add va up type veth\nlink add vb up type veth\n"
    "addr add 10.0.0.1/24 dev va\naddr add 10.1.0.1/16 dev vb\naddr add fd00:a::1/64 dev va\n"
)
ROUTE4, ROUTE6 = "route add 192.168.0.0/24 via 10.0.0.2", "route add fd00:20::/64 via fd00:a::2"
CASES = {
    "a rule that prohibits": ("rule add to 10.0.0.0/24 prohibit prio 9", ROUTE4),
    "a rule that is unreachable": ("rule add to 10.0.0.0/24 unreachable prio 9", ROUTE4),
    "a rule that is a blackhole": ("rule add not fwmark 7 blackhole prio 9", ROUTE4),
    "a rule for others": ("rule add to 10.2.0.0/24 prohibit prio 9", ROUTE4),
    "a rule for a mark": ("rule add fwmark 7 prohibit prio 9", ROUTE4),
    "a rule for a TOS": ("rule add tos 0x10 prohibit prio 9", ROUTE4),
    "a rule for what the host sends": ("rule add iif lo prohibit prio 9", ROUTE4),
    "a rule for sources": ("rule add from 10.0.0.0/8 prohibit prio 9", ROUTE4),
    "a rule, and onlink": ("rule add to 10.0.0.0/24 prohibit prio 9", f"{ROUTE4} dev va onlink"),
    "a table before the rules": (
        "rule add to 10.0.0.0/24 prohibit prio 9",
        "route add 10.0.0.0/24 dev va table 77",
        f"{ROUTE4} table 77",
    ),
    "a rule that suppresses": ("rule add table main suppress_prefixlength 24 prio 9", ROUTE4),
    "a longer prefix by another gateway": ("route add 10.0.0.2 via 10.1.0.2", ROUTE4),
    "a longer prefix that is an error": ("route add unreachable 10.0.0.2", ROUTE4),
    "a longer prefix by another device": ("route add 10.0.0.0/25 dev vb", f"{ROUTE4} dev va"),
    "an address of the host": ("route add 192.168.0.0/24 via 10.0.0.1",),
    "an address of the host, onlink": ("route add 192.168.0.0/24 via 10.0.0.1 dev va onlink",),
    "a broadcast address": ("route add 192.168.0.0/24 via 10.0.0.255",),
    "a multicast address, onlink": ("route add 192.168.0.0/24 via 224.0.0.1 dev va onlink",),
    "onlink without a device": (f"{ROUTE4} onlink",),
    "the loopback": ("route add 192.168.0.0/24 via 127.0.0.1",),
    "no link": ("route add 192.168.0.0/24 via 10.9.0.1",),
    "IPv6: a rule, and the table itself": ("-6 rule add to fd00:a::/64 prohibit prio 9", ROUTE6),
    "IPv6: a rule": ("-6 rule add not fwmark 7 blackhole prio 9", f"{ROUTE6} table 77"),
    "IPv6: a rule for what the host sends": ("-6 rule add iif lo prohibit prio 9", f"{ROUTE6} table 77"),
    "IPv6: a rule for all but that": ("-6 rule add not iif lo prohibit prio 9", f"{ROUTE6} table 77"),
    "IPv6: a rule that suppresses": ("-6 rule add table main suppress_prefixlength 64 prio 9", f"{ROUTE6} table 77"),
    "IPv6: a longer prefix that is an error": ("-6 route add unreachable fd00:a::2", ROUTE6),
    "IPv6: one that is an error, by a device": ("-6 route add unreachable fd00:a::2", f"{ROUTE6} dev va"),
    "IPv6: a longer prefix by another gateway": ("-6 route add fd00:a::2 via fd00:a::3", ROUTE6),
    "IPv6: an address of the host": ("route add fd00:20::/64 via fd00:a::1",),
    "IPv6: an address of the host, onlink": ("route add fd00:20::/64 via fd00:a::1 dev vb onlink",),
    "IPv6: another device, onlink": (f"{ROUTE6} dev vb onlink",),
    "IPv6: a multicast address, onlink": ("route add fd00:20::/64 via ff02::1 dev va onlink",),
    "IPv6: a link-local address": ("route add fd00:20::/64 via fe80::9",),
    "IPv6: a link-local address and a device": ("route add fd00:20::/64 via fe80::9 dev vb",),
    "IPv6: the loopback, onlink": ("route add fd00:20::/64 via fd00:a::2 dev lo onlink",),
    "IPv6: a next hop that is there": (ROUTE6, ROUTE6.replace("add", "append")),
    "IPv6: another next hop": (ROUTE6, "route append fd00:20::/64 via fd00:a::3"),
    "IPv6: an error twice": ("-6 route add unreachable fd00:20::/64", "-6 route append blackhole fd00:20::/64"),
    "a route twice": (ROUTE4, ROUTE4.replace("add", "append")),
    "a route twice, of another MTU": (ROUTE4, f"{ROUTE4.replace('add', 'append')} mtu 1300"),
    "IPv6: two next hops without a gateway": ("route add fd00:20::/64 nexthop dev va nexthop dev vb",),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", CASES)
def test_a_gateway_is_refused_if_the_kernel_refuses_it(name: str) -> None:
    *before, last = CASES[name]
    lines = DEVICES + "".join(f"{line}\n" for line in before)
    assert is_refused(EmbeddedHost, lines, last) == is_refused(KernelHost, lines, last)
