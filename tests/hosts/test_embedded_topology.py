"""Lines that the embedded host cannot do are errors with their number; the others do what they say."""

from __future__ import annotations

import pytest

from hosts.two_hosts import ipv4, ipv6
from routebpf.errors import InputError
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.topology import parse_topology
from routebpf.hosts.topology_apply import apply_topology

DEVICE = "link add veth0 type veth peer name veth1\nlink set veth0 up\naddr add 10.0.0.1/24 dev veth0\n"


def host_of(lines: str) -> EmbeddedHost:
    host = EmbeddedHost()
    apply_topology(host, parse_topology(lines))
    return host


REFUSED = {
    "route add 10.9.0.0/16 via 10.0.0.2 dev eth9": "there is no device eth9; there are lo, veth0, veth1",
    "route add 10.9.0.0/16 dev veth1": "device veth1 is down",
    "route add 10.9.0.0/16 via 10.77.0.1": "gateway 10.77.0.1 is on no link",
    "route add 10.0.0.0/24 dev veth0": "there is one with this metric already",
    "route change 10.9.0.0/16 dev veth0": "there is none to change",
    "route del 10.9.0.0/16": "there is no such route in table 254",
    "addr add 10.0.0.1/24 dev veth0": "it has the address 10.0.0.1 already",
    "addr del 10.0.0.7/24 dev veth0": "it has no address 10.0.0.7",
    "neigh del 10.0.0.7 dev veth0": "it has no neighbour 10.0.0.7",
    "link add veth0 type dummy": "there is one of that name already",
    "link set veth0 name other": "renames no devices",
    "rule add sport 53 table 5": "does not model sport",
    "rule del table 5": "there is no such rule",
    "route add 10.9.0.0/16 encap bpf xmit obj missing.o section s dev veth0": "missing.o",
    "route add 10.9.0.0/16 encap bpf xmit pinned /sys/fs/bpf/p dev veth0": "is pinned in a kernel",
}


@pytest.mark.parametrize("lines", REFUSED)
def test_what_cannot_be_done_is_an_error_with_its_line(lines: str) -> None:
    number = DEVICE.count("\n") + lines.count("\n") + 1
    with pytest.raises(InputError) as error:
        host_of(DEVICE + lines)
    assert str(error.value).startswith(f"topology:{number}: ")
    assert REFUSED[lines] in str(error.value)


def test_a_device_is_up_when_the_lines_say_so() -> None:
    host = host_of(DEVICE)
    assert host.device("veth0").is_up
    assert not host.device("veth1").is_up
    assert host.send(ipv4("10.0.0.9")).frames[0].device == "veth0"


def test_a_device_without_link_headers_sends_bare_packets() -> None:
    host = host_of(
        "tuntap add tun0 mode tun\nlink set tun0 up\naddr add 10.3.0.1/24 dev tun0\naddr add fd03::1/64 dev tun0\n"
    )
    for packet in (ipv4("10.3.0.9"), ipv6("fd03::9")):
        assert [one.data for one in host.send(packet).frames] == [packet]


def test_deleted_lines_leave_no_trace() -> None:
    host = host_of(
        DEVICE + "route add 10.9.0.0/16 via 10.0.0.2\nneigh add 10.0.0.2 lladdr 02:00:00:00:00:99 dev veth0\n"
    )
    assert host.send(ipv4("10.9.1.1")).frames[0].data[:6] == bytes((2, 0, 0, 0, 0, 0x99))
    more = "neigh del 10.0.0.2 dev veth0\nroute del 10.9.0.0/16\naddr del 10.0.0.1/24 dev veth0\n"
    more += "rule add table 9 prio 5\nrule del prio 5\n"
    before = {one.prefix for one in EmbeddedHost().routes(4)}
    apply_topology(host, parse_topology(more))
    assert {one.prefix for one in host.routes(4)} == before
    assert host.send(ipv4("10.9.1.1")).reason == "no-route"
    assert [one.priority for one in host.rules(4)] == [0, 32766, 32767]


def test_ipv6_routes_that_are_appended_are_next_hops_of_one() -> None:
    host = host_of(
        DEVICE
        + "link set veth1 up\naddr add fd00:1::1/64 dev veth0\naddr add fd00:2::1/64 dev veth1\n"
        + "route add fd00:9::/64 via fd00:1::2\nroute append fd00:9::/64 via fd00:2::2\n"
    )
    taken = {host.send(ipv6(f"fd00:9::{n:x}", src="fd00:1::1")).frames[0].device for n in range(1, 60)}
    assert taken == {"veth0", "veth1"}
