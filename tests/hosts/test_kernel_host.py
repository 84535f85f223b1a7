"""The host in the kernel: the same as the embedded one by the same calls, and gone when it is gone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from command_line import DROP_SMTP as DROP_MAIL
from command_line import MAIL as CAPTURE
from command_line import report
from hosts.two_hosts import ipv4, ipv6
from netns_folder import own_folder
from routebpf.datapath.fib import Hop, Rule
from routebpf.errors import InputError, MissingError
from routebpf.hosts.backend import BACKENDS, Backend, host_for
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.host import Frame, Host, Sent
from routebpf.hosts.kernel import KernelHost
from routebpf.hosts.load import load
from routebpf.hosts.topology import parse_topology
from routebpf.hosts.topology_apply import apply_topology
from routebpf.kernel import namespaces
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.running import online_cpus
from routebpf.objects.compiler import compile_source

pytestmark = pytest.mark.kernel

MAC = bytes.fromhex("fe5246504601")  # no address of the capture is made of it
SOURCE = """
#include <routebpf.h>
char _license[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); }
	counts SEC(".maps");
static int count(struct __sk_buff *skb, int verdict)
{
	__u32 key = skb->len;
	__u64 one = 1, *known = bpf_map_lookup_elem(&counts, &key);
	if (known) { (*known)++; return verdict; }
	return bpf_map_update_elem(&counts, &key, &one, 0) ? 99 : verdict;
}
SEC("lwt_xmit") int pass(struct __sk_buff *skb) { return count(skb, 0); }
SEC("lwt_xmit/drop") int drop(struct __sk_buff *skb) { return count(skb, 2); }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "both.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def kernel() -> Iterator[KernelHost]:
    with KernelHost() as host:
        yield host


def ours() -> set[str]:
    """The namespaces of this process."""
    return {one for one in os.listdir(namespaces.FOLDER) if one.startswith(f"rbpf-{os.getpid()}-")}


def ip(host: KernelHost, *words: str) -> str:
    command = ["ip", "-n", host.namespace.name, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def set_up(host: Host) -> Host:
    host.add_device("va", address=["10.0.0.1/24", "fd00:a::1/64"])
    host.add_device("vb", address=["10.1.0.1/24", "fd00:b::1/64"], mtu=1300)
    host.add_route("192.168.0.0/16", via="10.0.0.2", realm=7)
    host.add_route("192.168.1.0/24", via="10.1.0.2", metric=5)
    host.add_route("192.168.2.0/24", type="blackhole")
    host.add_route("192.168.3.0/24", via="10.1.0.2", table=77)
    host.add_route("192.168.4.0/24", nexthops=[Hop("vb", (10 << 24) + (1 << 16) + 9, 4)])
    host.add_route("192.168.5.0/24", via="10.1.0.2", mtu=600)
    host.add_route("default", via="fd00:a::9")
    host.add_rule(Rule(100, 77, mark=0x77, mark_mask=0xFF))
    host.add_neighbour("vb", "10.1.0.2", bytes.fromhex("021122334455"))
    return host


PACKETS: dict[str, Callable[[Host], Sent]] = {
    "to a neighbour": lambda host: host.send(ipv4("10.0.0.9")),
    "through a gateway": lambda host: host.send(ipv4("192.168.9.1")),
    "to a neighbour that is known": lambda host: host.send(ipv4("192.168.1.1")),
    "to a blackhole": lambda host: host.send(ipv4("192.168.2.1")),
    "to nowhere": lambda host: host.send(ipv4("172.16.0.1")),
    "with a mark": lambda host: host.send(ipv4("192.168.3.1"), mark=0x77),
    "by a next hop": lambda host: host.send(ipv4("192.168.4.1")),
    "in fragments": lambda host: host.send(ipv4("192.168.5.1", 1000)),
    "too long": lambda host: host.send(ipv4("10.1.0.9", 1400)),
    "not to be fragmented": lambda host: host.send(ipv4("192.168.5.1", 1000, df=True)),
    "to the host itself": lambda host: host.send(ipv4("10.0.0.1")),
    "IPv6": lambda host: host.send(ipv6("2001:db8::7")),
    "no IP": lambda host: host.send(b"\x00" * 40),
    "cut short": lambda host: host.send(ipv4("10.0.0.9")[:10]),
    "nothing": lambda host: host.send(b""),
    "forwarded": lambda host: host.receive(ipv4("10.1.0.9", src="10.0.0.9"), "va"),
    "forwarded to a blackhole": lambda host: host.receive(ipv4("192.168.2.9", src="10.0.0.9"), "va"),
    "at the end of its TTL": lambda host: host.receive(ipv4("10.1.0.9", src="10.0.0.9", ttl=1), "va"),
    "to the host itself, from outside": lambda host: host.receive(ipv4("10.0.0.1", src="10.0.0.9"), "va"),
}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Host, Host]]:
    with KernelHost() as kernel:
        yield set_up(EmbeddedHost()), set_up(kernel)


@pytest.mark.parametrize("what", PACKETS)
def test_the_same_calls_and_packets_come_to_the_same(both: tuple[Host, Host], what: str) -> None:
    """Of these all is seen: verdict, reason, errno, and frames byte for byte."""
    embedded, kernel = (PACKETS[what](host) for host in both)
    assert kernel == embedded


def test_devices_and_routes_are_told_alike(both: tuple[Host, Host]) -> None:
    embedded, kernel = both
    assert dict(kernel.devices) == dict(embedded.devices)

    def listed(host: Host) -> list[Any]:
        # The kernel has a source where the route has none of its own, and multicast routes of IPv6 for each device.
        routes = [replace(one, number=0, source=0) for one in host.routes()]
        return sorted((str(one) for one in routes if one.table in (254, 77)), key=str)

    assert [one for one in listed(kernel) if "IPv4" in one] == [one for one in listed(embedded) if "IPv4" in one]


def test_a_program_runs_on_a_route_and_its_maps_are_read(kernel: KernelHost, program: Path) -> None:
    kernel.add_device("va", address="10.0.0.1/24")
    loaded = kernel.load(program)
    kernel.add_route("192.168.1.0/24", via="10.0.0.2", xmit=loaded.program("pass"))
    kernel.add_route("192.168.2.0/24", via="10.0.0.2", xmit=loaded.program("drop"))
    assert kernel.send(ipv4("192.168.1.1")).verdict == "sent"
    assert kernel.send(ipv4("192.168.2.1", 40)) == Sent("dropped", "program-drop", errno.EPERM, ())
    assert kernel.send(ipv4("192.168.2.1", 40)).errno == errno.EPERM
    assert dict(loaded.maps["counts"].items()) == {120: 1, 60: 2}
    (route,) = [one for one in kernel.routes(4) if str(one.prefix) == "192.168.2.0/24"]
    assert [one.name for one in route.programs] == ["drop"]
    assert route.programs[0] is loaded.programs["drop"]


def test_samples_of_all_programs_come_where_the_first_ones_do(kernel: KernelHost, tmp_path: Path) -> None:
    """Programs of an object that are loaded one after the other share its perf event array, and its buffers."""
    path = tmp_path / "samples.c"
    path.write_text(
        """
        #include <routebpf.h>
        char _license[] SEC("license") = "GPL";
        struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, __u32); __type(value, __u32); }
            samples SEC(".maps");
        static int put(struct __sk_buff *skb, __u32 number)
        {
            return bpf_perf_event_output(skb, &samples, BPF_F_CURRENT_CPU, &number, sizeof(number)) ? 2 : 0;
        }
        SEC("lwt_xmit/one") int one(struct __sk_buff *skb) { return put(skb, 1); }
        SEC("lwt_xmit/two") int two(struct __sk_buff *skb) { return put(skb, 2); }
        """
    )
    kernel.add_device("va", address="10.0.0.1/24")
    loaded = kernel.load(path)
    kernel.add_route("192.168.1.0/24", dev="va", xmit=loaded.program("one"))
    assert kernel.send(ipv4("192.168.1.1")).reason == "sent"
    kernel.add_route("192.168.2.0/24", dev="va", xmit=loaded.program("two"))
    assert kernel.send(ipv4("192.168.2.1")).reason == "sent"
    samples = [int.from_bytes(data[:4], "little") for _, data in loaded.maps["samples"].consume()]
    assert samples == [1, 2]


def test_a_program_that_was_loaded_for_this_process_is_loaded_into_the_kernel(
    kernel: KernelHost, program: Path
) -> None:
    loaded = load(program)
    kernel.add_device("va", address="10.0.0.1/24")
    kernel.add_route("192.168.1.0/24", via="10.0.0.2", xmit=loaded.programs["drop"])
    assert kernel.send(ipv4("192.168.1.1")).reason == "program-drop"
    assert dict(loaded.maps["counts"].items()) == {}
    assert dict(kernel.loaded_like(loaded.programs["drop"]).maps["counts"].items()) == {120: 1}


def test_a_replaced_program_is_replaced_though_its_name_is_the_same(kernel: KernelHost, tmp_path: Path) -> None:
    kernel.add_device("va", address="10.0.0.1/24")
    for verdict, expected in ((2, "program-drop"), (0, "sent"), (3, "return-code")):
        path = tmp_path / f"p{verdict}.c"
        path.write_text(
            f'#include <routebpf.h>\nSEC("lwt_xmit") int same(struct __sk_buff *skb) {{ return {verdict}; }}'
        )
        kernel.add_route("192.168.1.0/24", via="10.0.0.2", xmit=kernel.load(path).program(), replace=True)
        assert kernel.send(ipv4("192.168.1.1")).reason == expected


def test_what_the_kernel_refuses_is_an_input_error(kernel: KernelHost) -> None:
    kernel.add_device("va", address="10.0.0.1/24")
    for said, call in {
        "device va: there is one of that name already": lambda: kernel.add_device("va"),
        "its kind is bridge; there are": lambda: kernel.add_device("br", kind="bridge"),
        "there is no device vz; there are lo, va": lambda: kernel.set_device("vz", up=True),
        "route 10.9.0.0/16: there is no device vz": lambda: kernel.add_route("10.9.0.0/16", dev="vz"),
        "route 10.9.0.0/16: Nexthop has invalid gateway": lambda: kernel.add_route("10.9.0.0/16", via="10.7.0.1"),
        "route 10.9.0.0/16: a headroom of 300": lambda: kernel.add_route(
            "10.9.0.0/16", nexthops=[Hop("va", headroom=300)]
        ),
        "10.9.0.1/16 has host bits set": lambda: kernel.add_route("10.9.0.1/16", dev="va"),
        "File exists": lambda: kernel.add_address("va", "10.0.0.1/24"),
        "delete route 10.9.0.0/16: No such process": lambda: kernel.delete_route("10.9.0.0/16"),
        "its state is good; there are": lambda: kernel.add_neighbour("va", "10.0.0.2", bytes(6), state="good"),
        "device lo: no packets can come in by it": lambda: kernel.receive(ipv4("10.0.0.1"), "lo"),
        "has no mark": lambda: kernel.receive(ipv4("10.0.0.1"), "va", mark=1),
    }.items():
        with pytest.raises(InputError) as refused:
            call()  # type: ignore[no-untyped-call]
        assert said in str(refused.value)


def test_devices_are_changed_and_deleted(kernel: KernelHost) -> None:
    kernel.add_device("va", address="10.0.0.1/24")
    kernel.add_route("192.168.0.0/16", via="10.0.0.2")
    kernel.set_device("va", mtu=600, mac=b"\2\1\1\1\1\1")
    sent = kernel.send(ipv4("10.0.0.9"))
    assert sent.frames[0].data[6:12] == b"\2\1\1\1\1\1"
    assert kernel.send(ipv4("10.0.0.9", 700)).reason == "too-long"
    kernel.delete_route("192.168.0.0/16", via="10.0.0.2")
    assert kernel.send(ipv4("192.168.0.1")).reason == "no-route"
    kernel.delete_address("va", "10.0.0.1/24")
    assert not kernel.has_address("va", "10.0.0.1")
    kernel.delete_device("va")
    assert [one["ifname"] for one in json.loads(ip(kernel, "-j", "link"))] == ["lo"]


def test_both_ends_of_a_wire_take_what_the_device_sends(kernel: KernelHost) -> None:
    kernel.add_device("va", address="10.0.0.1/24")
    kernel.set_device("va", mtu=3000)
    packet = ipv4("10.0.0.9", 2500)
    assert [one.data[14:] for one in kernel.send(packet).frames] == [packet]


def test_maps_of_a_program_that_is_loaded_later_are_there_too(kernel: KernelHost, tmp_path: Path) -> None:
    path = tmp_path / "two.c"
    array = "{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); }"
    path.write_text(
        f"""
        #include <routebpf.h>
        char _license[] SEC("license") = "GPL";
        struct {array} first SEC(".maps"), second SEC(".maps");
        #define COUNT(map) __u32 zero = 0, *value = bpf_map_lookup_elem(&map, &zero); if (value) (*value)++; return 0;
        SEC("lwt_xmit/one") int one(struct __sk_buff *skb) {{ COUNT(first) }}
        SEC("lwt_xmit/two") int two(struct __sk_buff *skb) {{ COUNT(second) }}
        """
    )
    loaded = kernel.load(path)
    loaded.program("one")
    assert set(loaded.maps) == {"first"}
    loaded.program("two")
    assert set(loaded.maps) == {"first", "second"}


def test_a_packet_is_told_by_the_route_that_it_takes_now(kernel: KernelHost) -> None:
    kernel.add_device("va", address="10.9.0.1/24", mtu=65535)

    def packets(prefix: str) -> int:
        routes = kernel.replay(CAPTURE).report()["routes"]
        return sum(one["packets"] for one in routes if one["to"] == prefix)

    kernel.add_route("10.0.0.0/8", dev="va")
    count = packets("10.0.0.0/8")
    assert count > 0
    for prefix in ("1.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"):
        kernel.add_route(prefix, dev="va")
    assert packets("10.0.0.0/9") + packets("10.128.0.0/9") == count
    assert packets("10.0.0.0/8") == 0


def test_a_program_with_another_headroom_is_another_to_the_kernel(kernel: KernelHost, program: Path) -> None:
    """It takes encaps of equal names for equal, and would keep the old one."""
    kernel.add_device("va", address="10.0.0.1/24")
    loaded = kernel.load(program).program("pass")
    shown = []
    for headroom in (0, 16, 32):
        kernel.add_route("192.168.1.0/24", dev="va", xmit=loaded, headroom=headroom, replace=True)
        shown.append(ip(kernel, "route", "show", "192.168.1.0/24"))
    assert len(set(shown)) == 3


@pytest.mark.parametrize("weight", [0, 257])
def test_a_weight_that_no_route_has_is_refused(kernel: KernelHost, weight: int) -> None:
    kernel.add_device("va", address="10.0.0.1/24")
    with pytest.raises(InputError, match=f"route 192.168.1.0/24: a weight of {weight}; it is 1 to 256"):
        kernel.add_route("192.168.1.0/24", nexthops=[Hop("va", 0x0A000002, 4, weight)])


def test_whoever_sends_runs_on_its_cpus_again(kernel: KernelHost) -> None:
    os.sched_setaffinity(0, online_cpus())
    before = os.sched_getaffinity(0)
    kernel.add_device("va", address="10.0.0.1/24")
    kernel.send(ipv4("10.0.0.9"))
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_comes_in_by_a_device_that_is_down(backend: Backend) -> None:
    with host_for(backend) as host:
        host.add_device("va", address="10.0.0.1/24", up=False)
        host.add_device("vb", address="10.1.0.1/24")
        assert host.receive(ipv4("10.1.0.9", src="10.0.0.9"), "va").reason == "device-down"
        host.set_device("va", up=True)
        assert host.receive(ipv4("10.1.0.9", src="10.0.0.9"), "va").reason == "sent"


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_address_goes_by_its_length_or_by_none(backend: Backend) -> None:
    added = "addr add 10.0.0.1/24 dev va\naddr add 10.1.0.1 peer 10.1.0.2 dev va\naddr add fd00::1/64 dev va\n"
    for address, said in {"10.0.0.1/32": "10.0.0.1", "10.0.0.2": "10.0.0.2", "fd00::1": "fd00::1"}.items():
        with host_for(backend) as host, pytest.raises(InputError, match=f"{said}.*Cannot assign requested address"):
            apply_topology(host, parse_topology(f"link add va up type veth\n{added}addr del {address} dev va\n"))
    gone = "addr del 10.0.0.1 dev va\naddr del 10.1.0.1 peer 10.1.0.2 dev va\naddr del fd00::1/64 dev va\n"
    with host_for(backend) as host:
        apply_topology(host, parse_topology(f"link add va up type veth\n{added}"))
        assert host.has_address("va", "10.0.0.1")
        assert host.has_address("va", "10.0.0.1/24")
        assert not host.has_address("va", "10.0.0.1/25")
        apply_topology(host, parse_topology(gone))
        assert not any(host.has_address("va", address) for address in ("10.0.0.1", "10.1.0.1", "fd00::1"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("verb", ["replace", "change"])
def test_an_address_that_is_put_again_keeps_the_routes_of_its_link(backend: Backend, verb: str) -> None:
    lines = f"""
        link add va up type veth
        addr {verb} 10.0.0.1/24 dev va
        route add 192.168.0.0/16 via 10.0.0.2
        addr {verb} 10.0.0.1/24 dev va
    """
    with host_for(backend) as host:
        apply_topology(host, parse_topology(lines))
        assert host.send(ipv4("192.168.0.1")).reason == "sent"


def test_a_tun_takes_packets_in_and_shows_those_that_leave(kernel: KernelHost) -> None:
    kernel.add_device("va", address="10.0.0.1/24")
    kernel.add_device("t0", kind="tun", address="10.5.0.1/24")
    assert kernel.send(ipv4("10.5.0.9")).frames[0].data == ipv4("10.5.0.9")
    received = kernel.receive(ipv4("10.0.0.9", src="10.5.0.7"), "t0")
    assert [(one.device, one.data[14:30]) for one in received.frames] == [
        ("va", ipv4("10.0.0.9", src="10.5.0.7", ttl=63)[:16])
    ]


def test_a_neighbour_that_nobody_made_leaves_a_packet_waiting() -> None:
    with KernelHost(make_neighbours=False) as kernel:
        kernel.add_device("va", address="10.0.0.1/24")
        assert kernel.send(ipv4("10.0.0.9")).reason == "neighbour-unresolved"
        kernel.add_neighbour("va", "10.0.0.8", b"\2\0\0\0\0\7")
        assert kernel.send(ipv4("10.0.0.8")).frames[0].data[:6] == b"\2\0\0\0\0\7"


def test_a_tunnel_that_the_kernel_does_not_have_is_missing(kernel: KernelHost) -> None:
    words = ["ip", "-n", kernel.namespace.name, "link", "add", "x", "type", "ipip", "local", "10.0.0.1"]
    if subprocess.run(words, check=False, capture_output=True).returncode == 0:
        pytest.skip("this kernel has tunnels")
    with pytest.raises(MissingError, match=r"topology:1: device t0: .*the running kernel was built without it"):
        apply_topology(kernel, parse_topology("link add t0 type ipip local 10.0.0.1"))


# Topologies


LINES = """
link add va up type veth peer name far0
link add d0 up mtu 1400 type dummy
addr add 10.0.0.1/24 dev va
addr add 10.2.0.1/24 dev d0 label d0:x scope link
addr add fd00:a::1/64 dev va
route add 192.168.0.0/16 via 10.0.0.2 metric 33 mtu lock 1300 advmss 1200 realm 3/4 src 10.0.0.1
route add 192.168.1.0/24 tos 0x10 table 555 proto bird dev va initcwnd 20
route add 192.168.2.0/24 nexthop via 10.0.0.2 dev va weight 3 nexthop via 10.2.0.2 dev d0 weight 7 onlink
route add 192.168.3.0/24 via inet6 fd00:a::2 dev va
route append 192.168.0.0/16 via 10.0.0.3 metric 33
route add blackhole 192.168.4.0/24 metric 9
route add fd00:1::/64 via fd00:a::9 dev va metric 5 mtu 1350 pref high
route add unreachable fd00:3::/64
route replace 192.168.3.0/24 via 10.0.0.7
route add 192.168.8.0/24 nexthop via 10.0.0.2 dev va realm 5 nexthop via 10.2.0.2 dev d0 realm 6/7
route add 192.168.9.0/24 realm 5 nexthop via 10.0.0.2 dev va realm 5 nexthop via 10.2.0.2 dev d0
route add 192.168.7.0/24 dev va
route del 192.168.7.0/24
rule add fwmark 0x77/0xff table 77 prio 100
rule add not from 10.9.0.0/16 iif va tos 0x10 lookup 555 prio 101
-6 rule add to fd00:9::/32 unreachable prio 102
neigh add 10.0.0.2 lladdr 02:11:22:33:44:55 dev va nud permanent
"""


def test_a_topology_does_to_the_kernel_what_ip_does(kernel: KernelHost) -> None:
    """iproute2 does the same lines in a namespace of its own: it then shows both alike."""
    kernel.make_neighbours = False
    apply_topology(kernel, parse_topology(LINES))
    other = namespaces.create_namespace()
    try:
        made = [line for line in LINES.splitlines() if line and not line.startswith(("link", "-6"))]
        batch = "link add va index 2 up type veth peer name far0 index 3\nlink set far0 up\n"
        batch += "link add d0 index 4 mtu 1400 type veth peer name pd0 index 50\nlink set d0 up\nlink set pd0 up\n"
        batch += "link set lo up\n" + "\n".join(made) + "\n"
        for text, family in ((batch, []), ("rule add to fd00:9::/32 unreachable prio 102\n", ["-6"])):
            command = ["ip", *family, "-n", other.name, "-batch", "-"]
            subprocess.run(command, input=text, text=True, check=True)
        for words in (
            ["route", "show", "table", "main"],
            ["route", "show", "table", "555"],
            ["-6", "route", "show", "table", "main", "proto", "boot"],
            ["rule"],
            ["-6", "rule"],
            ["-4", "-o", "addr"],
            ["neigh", "show", "nud", "permanent"],
        ):
            theirs = subprocess.run(["ip", "-n", other.name, *words], capture_output=True, text=True, check=True).stdout
            assert ip(kernel, *words).split() == theirs.split(), words
    finally:
        namespaces.remove_namespace(other)


WAYS = """
link add va up type veth
link add vb up type veth
addr add 10.0.0.1/24 dev va
addr add 10.1.0.1/24 dev vb
"""


def test_a_program_that_stands_before_nexthops_is_on_none_of_them(tmp_path: Path) -> None:
    """As with iproute2 and the kernel, which takes the line and ignores it there."""
    obj = tmp_path / "drop.o"
    obj.write_bytes(compile_source(DROP_MAIL))
    encap = f"encap bpf xmit obj {obj} section lwt_xmit"
    line = f"route add 192.168.1.0/24 {encap} nexthop via 10.0.0.2 dev va nexthop via 10.1.0.2 dev vb"
    for backend in BACKENDS:
        with host_for(backend) as host:
            apply_topology(host, parse_topology(WAYS + line))
            (found,) = [one for one in host.routes() if str(one.prefix) == "192.168.1.0/24"]
            assert [hop.programs for hop in found.hops] == [(), ()]
            if isinstance(host, KernelHost):
                by_host = ip(host, "route", "show", "192.168.1.0/24")
                ip(host, "route", "delete", "192.168.1.0/24")
                ip(host, *line.split())
                assert ip(host, "route", "show", "192.168.1.0/24") == by_host


@pytest.mark.parametrize(("realms", "is_taken"), [((5, 5, 6), True), ((5, 0, 0), False), ((6, 5, 6), False)])
def test_a_realm_that_stands_before_nexthops_is_that_of_the_first(realms: tuple[int, ...], is_taken: bool) -> None:
    words = [f"realm {one}" if one else "" for one in realms]
    line = f"route add 192.168.1.0/24 {words[0]} nexthop via 10.0.0.2 dev va {words[1]}"
    line += f" nexthop via 10.1.0.2 dev vb {words[2]}"
    for backend in BACKENDS:
        with host_for(backend) as host:
            apply_topology(host, parse_topology(WAYS))
            if isinstance(host, KernelHost):
                command = ["ip", "-n", host.namespace.name, *line.replace(".1.0/24", ".2.0/24").split()]
                theirs = subprocess.run(command, capture_output=True, text=True, check=False)
                assert (theirs.returncode == 0) == is_taken
            if is_taken:
                apply_topology(host, parse_topology(line))
                continue
            with pytest.raises(InputError, match="Nexthop class id does not match RTA_FLOW"):
                apply_topology(host, parse_topology(line))


# Replays


def counts(replay: Any) -> tuple[Any, ...]:
    report = replay.report()
    routes = {one["to"]: (one["packets"], one["bytes"], one["verdicts"]) for one in report["routes"]}
    return report["packets"], report["bytes"], report["verdicts"], report["reasons"], routes, report["frames"]


def test_a_capture_comes_to_the_same_on_both_hosts(tmp_path: Path) -> None:
    replays, written = [], []
    for backend in BACKENDS:
        with host_for(backend) as host:
            host.add_device("va", mtu=65535, mac=MAC)
            host.add_route("0.0.0.0/0", dev="va")
            host.add_route("::/0", dev="va")
            host.add_route("10.0.0.0/8", dev="va", xmit=host.load(DROP_MAIL).program())
            path = tmp_path / f"{backend}.pcapng"
            replays.append(host.replay(CAPTURE, write=path, keep_packets=True))
            written.append(path)
    embedded, kernel = replays
    assert counts(kernel) == counts(embedded)
    assert kernel.packet_frames == embedded.packet_frames
    for name in ("verdict", "reason", "errno", "size", "frames"):
        assert kernel.columns[name].tolist() == embedded.columns[name].tolist()
    shown = [
        subprocess.run(["tshark", "-r", str(path), "-x"], capture_output=True, text=True, check=True).stdout
        for path in written
    ]
    assert shown[0] == shown[1] != ""


def _ipv4_frames(frames: list[Frame]) -> list[bytes]:
    return [one.data for one in frames if one.data[12:14] == b"\x08\x00"]


def test_a_capture_comes_in_by_a_device_alike() -> None:
    found = []
    for backend in BACKENDS:
        with host_for(backend) as host:
            host.add_device("va", address="10.99.0.1/24", mtu=65535, mac=MAC)
            host.add_device("vb", address="10.98.0.1/24", mtu=65535, mac=MAC[:5] + b"\x02")
            host.add_route("0.0.0.0/0", via="10.98.0.2")
            found.append(host.replay(CAPTURE, device="va", keep_packets=True))
    embedded, kernel = found
    for ours, theirs in zip(embedded.packet_frames, kernel.packet_frames, strict=True):
        assert _ipv4_frames(ours) == _ipv4_frames(theirs)
    assert any(kernel.packet_frames)


# Life


def test_nothing_of_a_host_is_left_when_it_is_closed() -> None:
    before = ours()
    host = KernelHost()
    host.add_device("va")
    assert len(ours() - before) == 2
    host.close()
    host.close()
    assert ours() == before
    assert "va" not in os.listdir("/sys/class/net")


def test_a_host_that_nobody_holds_any_more_is_gone() -> None:
    before = ours()
    host = KernelHost()
    assert ours() != before
    del host
    import gc

    gc.collect()
    assert ours() == before


def test_a_child_of_the_process_does_not_take_its_host_away() -> None:
    script = """
        import os, sys
        from routebpf.hosts.kernel import KernelHost
        host = KernelHost()
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        there = [os.path.exists(one.path) for one in (host._ground.near, host._ground.far)]
        host.close()
        print(there)
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[True, True]\n", "")


def test_a_host_that_cannot_be_set_up_leaves_nothing() -> None:
    before = ours()
    with pytest.raises(InputError), KernelHost() as host:
        apply_topology(host, parse_topology("link add va type veth\nroute add 10.0.0.0/8 dev vz"))
    assert ours() == before
    with pytest.raises(InputError, match="there is no network namespace rbpf-none"):
        KernelHost("rbpf-none")
    assert ours() == before


def test_a_namespace_of_somebody_elses_is_used_and_stays() -> None:
    theirs = Namespace(f"rbpf-host-test-{os.getpid()}")
    subprocess.run(["ip", "netns", "add", theirs.name], check=True)
    try:
        for line in (
            "link add v0 type veth peer name v1",
            "link set v0 up",
            "link set v1 up",
            "addr add 10.0.0.1/24 dev v0",
        ):
            subprocess.run(["ip", "-n", theirs.name, *line.split()], check=True)
        with KernelHost(theirs.name) as host:
            assert set(host.devices) == {"lo", "v0", "v1"}
            host.add_device("va", address="10.1.0.1/24")
            host.add_neighbour("v0", "10.0.0.9", b"\2\0\0\0\0\x09")
            assert host.send(ipv4("10.1.0.9")).frames[0].device == "va"
            sent = host.send(ipv4("10.0.0.9"))
            assert [(one.device, one.data[14:]) for one in sent.frames] == [("v0", ipv4("10.0.0.9"))]
            # Nobody is there, but nobody's neighbours are made up where somebody could be.
            assert host.send(ipv4("10.0.0.7")).frames == ()
        neighbours = subprocess.run(
            ["ip", "-n", theirs.name, "neigh"], capture_output=True, text=True, check=True
        ).stdout
        assert "10.0.0.7" not in neighbours or "lladdr" not in neighbours.partition("10.0.0.7")[2].partition("\n")[0]
        links = subprocess.run(
            ["ip", "-n", theirs.name, "-o", "link"], capture_output=True, text=True, check=True
        ).stdout
        assert "v0" in links
        assert "va@" not in links
    finally:
        namespaces.remove_namespace(theirs)


def test_in_a_namespace_of_somebody_elses_only_what_was_made_goes() -> None:
    theirs = Namespace(f"rbpf-host-test-{os.getpid()}")
    subprocess.run(["ip", "netns", "add", theirs.name], check=True)

    def do(*words: str) -> str:
        command = ["ip", "-n", theirs.name, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        do("tuntap", "add", "t0", "mode", "tun")
        with KernelHost(theirs.name) as host:
            assert host.devices["t0"].mac == bytes(6)
            host.add_device("va")
            host.add_device("vb")
            number = str(host.devices["va"].ifindex)
            do("link", "delete", "va")
            do("link", "add", "vx", "index", number, "type", "ifb")
            do("link", "add", "va", "index", "900", "type", "ifb")
        assert [line.split(":")[1].strip() for line in do("-o", "link").splitlines()] == ["lo", "t0", "vx", "va"]
    finally:
        namespaces.remove_namespace(theirs)


def run_and_kill(number: int) -> tuple[set[str], int]:
    """A `routebpf run` in the kernel that would go on, ended by a signal: the namespaces that it had, its exit code."""
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from routebpf.cli.main import main
        from routebpf.hosts import kernel_replay
        from routebpf.kernel import namespaces
        namespaces.FOLDER = Path({str(namespaces.FOLDER)!r})
        def slow(*_, **__):
            print("running", flush=True)
            import time
            time.sleep(60)
        kernel_replay.run_capture = slow
        sys.argv = ["routebpf", "run", {str(DROP_MAIL)!r}, "--pcap", {str(CAPTURE)!r}, "--backend", "kernel"]
        sys.exit(main())
    """)
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    had = {one for one in os.listdir(namespaces.FOLDER) if one.startswith(f"rbpf-{child.pid}-")}
    child.send_signal(number)
    child.communicate(timeout=20)
    return had, child.returncode


def test_ctrl_c_leaves_nothing() -> None:
    had, code = run_and_kill(signal.SIGINT)
    assert len(had) == 2
    assert code != 0
    assert not had & set(os.listdir(namespaces.FOLDER))


def test_what_a_killed_run_leaves_goes_with_the_next(tmp_path: Path) -> None:
    with own_folder(tmp_path / "netns") as folder:
        had, _ = run_and_kill(signal.SIGKILL)
        assert len(had) == 2
        assert set(os.listdir(folder)) == had
        KernelHost().close()
        assert os.listdir(folder) == []


def test_run_prints_the_same_object_for_both_backends() -> None:
    command = ["run", DROP_MAIL, "--to", "10.0.0.0/8", "--pcap", CAPTURE, "--packets"]
    found, other = (report(*command, "--backend", backend) for backend in BACKENDS)
    assert other | {"seconds": 0} == found | {"seconds": 0}
    assert {"10.0.0.0/8", "::/0", "fe80::/64", "ff00::/8"} <= {one["to"] for one in found["routes"]}
    assert found["verdicts"] == {"sent": 176, "dropped": 27, "redirected": 0, "rerouted": 0, "error": 8}
    assert found["frames"] == {"veth0": 176}
    assert len(found["packet_list"]) == 211


def test_the_kernel_takes_no_seed_clock_or_cpus() -> None:
    for settings in ({"seed": 2}, {"clock": "machine"}, {"cpus": 2}):
        with pytest.raises(InputError, match="of its own"):
            host_for("kernel", **settings)  # type: ignore[arg-type]


def test_no_namespace_of_this_process_is_left(both: tuple[Host, Host]) -> None:
    """After all of the above, but for the hosts that the module holds."""
    assert len(ours()) == 2
