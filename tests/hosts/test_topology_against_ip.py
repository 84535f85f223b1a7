"""Topology lines held against `ip -batch` itself: what its parser takes and refuses, what the kernel has after it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from routebpf.datapath.devices import KINDS
from routebpf.errors import InputError
from routebpf.hosts.topology import parse_topology
from routebpf.hosts.topology_inet import Prefix, address_text
from routebpf.hosts.topology_values import Address, Link, Neighbour, Nexthop, Route, Rule

pytestmark = pytest.mark.kernel

LINES = [
    line
    for line in Path(__file__).with_name("topology_lines.txt").read_text().splitlines()
    if line and not line.startswith("##")
]

# Lines on which we differ from ip on purpose, by reason.
_BY_REASON: dict[str, list[str]] = {
    "ip takes `ip` and its options on its own command line only; a line of a shell script is a line of a topology": [
        "ip route add 10.30.0.0/16 dev v0",
        "-4 route add 10.30.1.0/24 dev v0",
        "-6 route add default dev v0",
        "-family inet6 route add default dev v0",
        "ip -f inet route add 10.30.2.0/24 dev v0",
    ],
    "what only lists or tests changes no host; in a topology it is a mistake": [
        "route show",
        "route list table 100",
        "route get 10.0.0.1",
        "route test 10.1.0.0/16 dev v0",
        "r",
        "addr show",
        "neigh show",
        "link show",
        "rule show",
        "netns list",
    ],
    "an object or an attribute that no host of ours models": [
        "nexthop add id 5 dev v0",
        "route add 10.12.0.0/16 dev v0 nhid 5",
        "route add 10.12.0.0/16 via link 02:00:00:00:00:01 dev v0",
        "route add 10.12.0.0/16 as to 10.0.0.1 dev v0",
        "route add 10.11.11.0/24 encap ip id 5 dst 10.0.0.2 dev v0",
        "link add l20 type bridge",
        "link add link v0 name l21 type vlan id 5",
        "link add l27 type gre remote 10.0.0.2 seq",
        "link set v3 carrier on",
        "link set v3 xdp off",
        "link set group 5 up",
        "rule add nat 10.0.0.1",
        "rule add throw prio 7001",
        "rule add multicast prio 7002",
        "rule add 5 prio 7003",
        "rule flush 10.0.0.0/8 table 5",
        "addr flush home",
    ],
    "ip's parser takes it and every kernel refuses it": [
        "route add 10.11.11.0/24 encap bpf dev v0",
        "route add 10.11.11.0/24 encap bpf headroom 20 dev v0",
        "route add 10.12.0.0/16 via any",
        "route add nat 10.12.0.0/16 dev v0",
        "route add xresolve 10.12.0.0/16 dev v0",
        "addr add dev v2",
        "addr add default dev v2",
        "link add l20 type nosuch",
        "link add l28 type tun",
        "link add verylongnamexxxxx type dummy",
        "link set v3 mtu -5",
        "rule add sport 200-100 table 3",
    ],
    "ip takes the beginning of the word for the whole, or leaves the word out": [
        "neigh add 10.0.0.28 lladdr 0zz2:00:00:00:00:09 dev v0",
        "neigh add help 10.0.0.99 lladdr 02:00:00:00:00:01 dev v0",
        "link add l22 address 02:00:00:00:08:0g type dummy",
        "link add l18 type dummy foo",
        "rule add sport 65536 table 3",
        "route add 10.12.0.0/16 via default dev v0",
    ],
    "ip says that a line is missing, and ends as if all had been well": [
        "route add 10.30.8.0/24 dev v0 \\",
    ],
}
DIFFERENCES = {line: reason for reason, lines in _BY_REASON.items() for line in lines}

_OBJECT = """
#define PROGRAM(section_name, name) __attribute__((section(section_name), used)) int name(void *context) { return 0; }
PROGRAM("lwt_in", in) PROGRAM("lwt_out", out) PROGRAM("lwt_xmit", drop) PROGRAM("prog", other)
char licence[] __attribute__((section("license"), used)) = "GPL";
"""


@dataclass(frozen=True)
class Namespace:
    """A network namespace with the veth pairs v0-v1 and v2-v3; `ip` runs in `folder`, which holds prog.o."""

    name: str
    folder: Path

    def ip(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = ["nsenter", f"--net=/run/netns/{self.name}", "ip", *arguments]
        return subprocess.run(command, cwd=self.folder, input=text, capture_output=True, text=True, check=False)

    def batch(self, text: str) -> None:
        result = self.ip("-batch", "-", text=text)
        assert result.returncode == 0, result.stderr

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        return json.loads(self.ip("-json", "-details", "-Numeric", *arguments).stdout or "[]")


_SETUP = """
link set lo up
link add v0 up type veth peer name v1
link add v2 up type veth peer name v3
link set v1 up
link set v3 up
addr add 10.0.0.1/24 dev v0
addr add 10.0.1.1/24 dev v1
addr add 2001:db8::1/64 dev v0 nodad
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [tool for tool in ("ip", "nsenter", "clang") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    made = tmp_path_factory.mktemp("topology")
    (made / "prog.c").write_text(_OBJECT)
    subprocess.run(["clang", "-O2", "-target", "bpf", "-c", "prog.c", "-o", "prog.o"], cwd=made, check=True)
    return made


@contextmanager
def _namespace(name: str, folder: Path) -> Iterator[Namespace]:
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        made = Namespace(name, folder)
        made.batch(_SETUP)
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture(scope="module")
def namespace(folder: Path) -> Iterator[Namespace]:
    """One that all lines leave their traces in."""
    with _namespace(f"rbpf-topo-{os.getpid()}", folder) as made:
        yield made


@pytest.fixture
def fresh(folder: Path) -> Iterator[Namespace]:
    """One with nothing but its devices."""
    with _namespace(f"rbpf-topo-{os.getpid()}-fresh", folder) as made:
        yield made


def parser_refusal(result: subprocess.CompletedProcess[str]) -> str | None:
    """What ip's own parser had against a line; None when it sent it to the kernel, whatever the kernel said.

    ip ends with 255 or 1 where its parser gives up. Where the kernel refuses, it says "RTNETLINK answers" or, with the
    kernel's own words, "Error: …", and then "Command failed", or it ends with 2.
    """
    said = [
        line for line in result.stderr.splitlines() if line and not line.startswith(("Warning", " ", "Command failed"))
    ]
    first = said[0] if said else ""
    assert "Cannot find device" not in first, f"the test's namespace lacks a device: {first}"
    if result.returncode in (0, 2) or first.startswith("Couldn't retrieve pinned program"):
        return None
    by_kernel = first.startswith(("RTNETLINK answers", "ioctl")) or (
        first.startswith("Error: ") and "Command failed" in result.stderr and not first.startswith("Error: argument of")
    )
    return None if by_kernel else first or "refused"


def our_refusal(line: str) -> str | None:
    try:
        parse_topology(line)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_refused_where_ip_refuses_it_and_taken_where_ip_takes_it(namespace: Namespace, line: str) -> None:
    theirs = parser_refusal(namespace.ip("-batch", "-", text=line + "\n"))
    ours = our_refusal(line + "\n")
    if line in DIFFERENCES:
        assert (ours is None) != (theirs is None), f"no difference any more: {DIFFERENCES[line]}"
    else:
        assert (ours is None) == (theirs is None), f"ip: {theirs}\nours: {ours}"


# What the lines mean: what the kernel has after `ip -batch`, beside what our values say.

_RTN = {"unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7} | {
    "prohibit": 8,
    "throw": 9,
}
_RTT_SCALES = {"rtt": 8, "rttvar": 4}  # how many parts of a millisecond the kernel keeps them in

ROUTES = """
route add 10.1.0.0/16 via 10.0.0.2 dev v0 metric 5 realm 1/2 mtu lock 1400 advmss 1000 rtt 3s rttvar 200ms
route add 10.1.0.0/16 via 10.0.0.2 metric 6 proto static src 10.0.0.1
r a 10.2/16 dev v0
route add 10.2.0.0/255.255.255.0 nexthop via 10.0.0.2 weight 3 realm 4 nexthop via 10.0.1.2 dev v1 onlink
route add 10.2.1.0/24 realm 7 nexthop dev v0 realm 7 nexthop dev v1 weight 256
route add blackhole 10.3.0.0/16 table 77 proto 186
route add throw 10.3.1.0/24
route add un default metric 0x10
route add proh 10.3.2.0/24 scope link
route add 10.4.0.0/16 via inet6 2001:db8::2 dev v0
route add local 10.5.0.1 dev v0 tos 10
route add broadcast 10.5.0.255 dev v0
route add anycast 10.5.1.1 dev v0
route add multicast 239.0.0.0/8 dev v0
route add 10.6.0.0/16 dev v0 scope host table 4294967295
route add 10.6.1.0/24 via 10.9.9.9 dev v0 onlink hoplimit 30 window 5000 quickack 1 initcwnd 12
route add 10.7.0.0/16 dev v0 encap bpf xmit obj prog.o section lwt_xmit headroom 14
route add 10.7.1.0/24 dev v0 encap bpf in obj prog.o sec lwt_in out obj prog.o s lwt_out verb xmit obj prog.o dsfield EF
route add 10.7.2.0/24 nexthop via 10.0.0.2 encap bpf out obj prog.o sec lwt_out nexthop via 10.0.1.2
route replace 10.2.0.0/16 dev v1
route append 10.1.0.0/16 via 10.0.0.3 metric 5
route add 2001:db8:1::/48 via 2001:db8::2
route add 2001:db8:2::/48 via 2001:db8::2 dev v0 metric 7 pref low mtu 1400 protocol static
route add 2001:db8:3::/48 nexthop via 2001:db8::2 dev v0 nexthop via 2001:db8::3 weight 2
route add 2001:db8:4::1 dev v0 table 100
route add default via 2001:db8::2
route add 2001:db8:5::/48 from 2001:db8:6::/64 dev v0
route add ::/0 dev v1 metric 9
"""


def _without_host_length(prefix: Prefix) -> str:
    if prefix.length == 0:
        return "default"
    return address_text(prefix.address) if prefix.length == 8 * len(prefix.address) else prefix.text


def _hop_as_listed(hop: Nexthop, family: int) -> dict[str, Any]:
    listed: dict[str, Any] = {"flags": ["onlink"] if hop.onlink else []}
    if hop.via and (4 if len(hop.via) == 4 else 6) == family:
        listed["gateway"] = address_text(hop.via)
    elif hop.via:
        listed["via"] = {"family": "inet6" if len(hop.via) == 16 else "inet", "host": address_text(hop.via)}
    if hop.device:
        listed["dev"] = hop.device
    if hop.realms:
        listed["flow"] = {"to": str(hop.realms & 0xFFFF)} | (
            {"from": str(hop.realms >> 16)} if hop.realms >> 16 else {}
        )
    if hop.encap:
        listed["encap"] = "bpf"
        for hook, program in hop.encap.programs.items():
            listed[hook] = f"{program.object}:[{program.section or 'prog'}]"
    return listed


def _route_as_listed(route: Route) -> dict[str, Any]:
    """The route in the words of `ip -json -Numeric route show`; IPv6 has 1024 as metric from the kernel."""
    listed: dict[str, Any] = {
        "type": str(_RTN[route.type]),
        "dst": _without_host_length(route.prefix),
        "table": str(route.table),
        "protocol": str(route.protocol),
        "scope": str(route.scope),
    }
    if route.source:
        listed["from"] = _without_host_length(route.source)
    if route.tos:
        listed["tos"] = f"0x{route.tos:02x}"
    if route.metric is not None or route.family == 6:
        listed["metric"] = 1024 if route.metric is None else route.metric
    if route.preferred_source:
        listed["prefsrc"] = address_text(route.preferred_source)
    if route.rtax:
        listed["metrics"] = [{value.name: value.value // _RTT_SCALES.get(value.name, 1) for value in route.rtax}]
    if route.family == 6:
        listed["pref"] = {None: "medium", 0: "medium", 1: "high", 3: "low"}[route.preference]
    if not route.nexthops:
        return listed | _hop_as_listed(route.hop, route.family)
    hops = [{"weight": hop.weight} | _hop_as_listed(hop, route.family) for hop in route.nexthops]
    return listed | {"flags": [], "nexthops": hops}


def _with_devices(listed: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Our route with the devices that the kernel found out by itself, where the line named none."""
    found = {key: listed[key] for key in ("dev",) if key in listed and key not in ours}
    if "nexthops" not in ours:
        return ours | found
    pairs = zip(listed.get("nexthops", []), ours["nexthops"], strict=True)
    return ours | found | {"nexthops": [_with_devices(theirs, mine) for theirs, mine in pairs]}


def test_routes_are_what_the_kernel_has_after_ip_batch(fresh: Namespace) -> None:
    before = fresh.listed("route", "show", "table", "all") + fresh.listed("-6", "route", "show", "table", "all")
    for line in ROUTES.strip().splitlines():
        fresh.batch(line + "\n")
        now = fresh.listed("route", "show", "table", "all") + fresh.listed("-6", "route", "show", "table", "all")
        new = [route for route in now if route not in before]
        (route,) = parse_topology(line)
        assert isinstance(route, Route)
        ours = _route_as_listed(route)
        matching = [theirs for theirs in new if _with_devices(theirs, ours) == theirs]
        assert matching, f"{line}\nours: {ours}\nip: {new}"
        before = now


@pytest.mark.parametrize(
    "line",
    [
        "route del 10.1.0.0/16",
        "route del 10.1.0.0/16 metric 5",
        "route delete blackhole 10.3.0.0/16 table 77",
        "route d 10.4.0.0/16 via 10.0.0.2 dev v0 proto boot scope global",
    ],
)
def test_a_deleted_route_is_one_that_fits_what_the_line_says(fresh: Namespace, line: str) -> None:
    fresh.batch(
        "route add 10.1.0.0/16 dev v0 metric 4\nroute add 10.1.0.0/16 dev v0 metric 5\n"
        "route add blackhole 10.3.0.0/16 table 77\nroute add 10.4.0.0/16 via 10.0.0.2\n"
    )
    before = fresh.listed("route", "show", "table", "all")
    fresh.batch(line + "\n")
    now = fresh.listed("route", "show", "table", "all")
    (gone,) = [route for route in before if route not in now]
    (route,) = parse_topology(line)
    assert isinstance(route, Route)
    assert (gone["dst"], gone["table"]) == (route.prefix.text, str(route.table))
    assert route.metric is None or gone["metric"] == route.metric
    assert route.type == "unspec" or gone["type"] == str(_RTN[route.type])
    assert route.protocol == 0 or gone["protocol"] == str(route.protocol)
    assert route.scope == 255 or gone["scope"] == str(route.scope)


def test_an_address_deleted_without_its_length_goes_whatever_its_length(fresh: Namespace) -> None:
    fresh.batch("addr add 10.20.0.1/24 dev v2\n")
    line = "addr del 10.20.0.1 dev v2"
    fresh.batch(line + "\n")
    (ours,) = parse_topology(line)
    assert isinstance(ours, Address)
    assert ours.any_length
    assert not [info for info in fresh.listed("addr", "show", "dev", "v2")[0]["addr_info"] if info["family"] == "inet"]
    with_length = "addr del 10.20.0.1/32 dev v2"
    fresh.batch("addr add 10.20.0.1/24 dev v2\n")
    assert fresh.ip("-batch", "-", text=with_length + "\n").returncode != 0
    (ours,) = parse_topology(with_length)
    assert isinstance(ours, Address)
    assert not ours.any_length


ADDRESSES = """
addr add 10.20.0.1/24 dev v2
addr add 10.20.4.1/24 brd + dev v2
addr add 10.20.5.77/24 broadcast - dev v2 scope link
a a 10.20.6.1/30 brd 10.20.6.3 dev v2 label v2:1
addr add 10.20.8.1 peer 10.20.8.2 dev v2
addr add 10.20.9.1/24 peer 10.20.9.2/30 dev v2 metric 5
addr add 10.20.10.1/31 brd + dev v2 noprefixroute
addr add 10.20.17.1/24 dev v2 valid_lft 1000 preferred_lft 500
addr add 10.20.18.1/24 dev v2 nodad
addr add 127.1.2.3/8 dev v2
addr add 2001:db8:20::1/64 dev v2 nodad noprefixroute
addr add 2001:db8:20::4 peer 2001:db8:20::5 dev v2 home
"""


@pytest.mark.parametrize("line", ADDRESSES.strip().splitlines())
def test_an_address_is_what_the_kernel_has_after_ip_batch(fresh: Namespace, line: str) -> None:
    before = fresh.listed("addr", "show", "dev", "v2")[0]["addr_info"]
    fresh.batch(line + "\n")
    (theirs,) = [info for info in fresh.listed("addr", "show", "dev", "v2")[0]["addr_info"] if info not in before]
    (ours,) = parse_topology(line)
    assert isinstance(ours, Address)
    assert theirs["local"] == address_text(ours.interface.address)
    assert theirs["prefixlen"] == ours.interface.length
    assert theirs.get("address") == (address_text(ours.peer) if ours.peer else None)
    assert theirs.get("broadcast") == (address_text(ours.broadcast) if ours.broadcast else None)
    assert theirs["scope"] == str(ours.scope)
    assert theirs.get("label", "v2") == (ours.label or "v2")
    assert theirs.get("metric") == ours.metric
    for name, seconds in ("valid_life_time", ours.valid_seconds), ("preferred_life_time", ours.preferred_seconds):
        assert abs(theirs[name] - (0xFFFFFFFF if seconds is None else seconds)) <= 1
    assert {flag for flag in ("nodad", "noprefixroute", "home") if theirs.get(flag)} == set(ours.flags)


NEIGHBOURS = """
neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev v0
n a 10.0.0.10 l 2:0:0:0:0:a dev v0 nud reach
neigh add 10.0.0.11 lladdr 02:00:00:00:00:0b dev v0 nud 4 router
neigh add 10.0.0.12 dev v0 nud failed
neigh add 10.0.0.13 dev v0 nud noarp lladdr 02:00:00:00:00:0d extern_learn protocol static
neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev v0
"""


@pytest.mark.parametrize("line", NEIGHBOURS.strip().splitlines())
def test_a_neighbour_is_what_the_kernel_has_after_ip_batch(fresh: Namespace, line: str) -> None:
    fresh.batch(line + "\n")
    (ours,) = parse_topology(line)
    assert isinstance(ours, Neighbour)
    (theirs,) = [row for row in fresh.listed("neigh", "show", "nud", "all") if row["dst"] == address_text(ours.address)]
    assert theirs["dev"] == ours.device
    assert theirs.get("lladdr") == (ours.lladdr.hex(":") if ours.lladdr else None)
    assert theirs["state"] == [ours.state.upper()]
    assert {flag for flag in ("router", "extern_learn") if flag in theirs} == set(ours.flags)
    assert int(theirs.get("protocol", 0)) == (ours.protocol or 0)


RULES = """
rule add from 10.0.0.0/8 lookup 100
ru a to 10.1.2.3 table 1000 prio 7
rule add not from 10.0.0.0/8 iif v0 oif v1 fwmark 0x10/0xff prio 100 tos 8 lookup 101
rule add fwmark 5 ta main suppress_prefixlength 8 protocol static
rule add from all p 5 unreachable
rule add type blackhole order 6
rule add ipproto tcp sport 80 dport 100-200 table 3
rule add uidrange 1-5 table 3 realms 1/2
rule add t 9 prio 9
rule add nop prio 9
rule add goto 32766 prio 70
"""


@pytest.mark.parametrize("line", RULES.strip().splitlines())
def test_a_rule_is_what_the_kernel_has_after_ip_batch(fresh: Namespace, line: str) -> None:
    before = fresh.listed("rule", "show")
    fresh.batch(line + "\n")
    (theirs,) = [rule for rule in fresh.listed("rule", "show") if rule not in before]
    (ours,) = parse_topology(line)
    assert isinstance(ours, Rule)
    expected: dict[str, Any] = {"src": "all", "protocol": str(ours.protocol)}
    for key, prefix in ("src", ours.source), ("dst", ours.destination):
        if prefix and prefix.length:
            expected[key] = address_text(prefix.address)
            if prefix.length < 32:
                expected[f"{key}len"] = prefix.length
    for key, value in {
        "iif": ours.iif,
        "oif": ours.oif,
        "suppress_prefixlen": ours.suppress_prefix_length,
        "tun_id": ours.tunnel_id,
    }.items():
        if value is not None:
            expected[key] = value
    if ours.invert:
        expected["not"] = None
    if ours.tos:
        expected["tos"] = f"0x{ours.tos:02x}"
    if ours.fwmark is not None:
        expected["fwmark"] = hex(ours.fwmark)
    if ours.fwmask is not None:
        expected["fwmask"] = hex(ours.fwmask)
    if ours.table is not None:
        expected["table"] = str(ours.table)
    if ours.ip_protocol is not None:
        expected["ipproto"] = f"ipproto-{ours.ip_protocol}"
    for name, ports in ("sport", ours.source_ports), ("dport", ours.destination_ports):
        if ports:
            first, last = ports
            expected |= {name: first} if first == last else {f"{name}_start": first, f"{name}_end": last}
    if ours.uid_range:
        expected["uid_start"], expected["uid_end"] = ours.uid_range
    if ours.realms:
        expected["flow_from"], expected["flow_to"] = str(ours.realms >> 16), str(ours.realms & 0xFFFF)
    if ours.action == "goto":
        expected["goto"] = ours.target
    elif ours.action == "nop":
        expected["nop"] = None
    elif ours.action != "lookup":
        expected["action"] = str(_RTN[ours.action])
    if ours.priority is not None:
        expected["priority"] = ours.priority
    assert {key: value for key, value in theirs.items() if key in expected or key != "priority"} == expected


LINKS = """
link add l0 mtu 1400 address 02:00:00:00:08:08 index 900 type veth peer name l1 mtu 1300 address 02:00:00:00:08:09
link add name l0 up arp off type veth peer l1
link add l0 type veth
l a l0 type ifb
tuntap add l0 mode tun
tuntap add dev l0 mode tap
"""


@pytest.mark.parametrize("line", LINKS.strip().splitlines())
def test_a_device_is_what_the_kernel_has_after_ip_batch(fresh: Namespace, line: str) -> None:
    before = {link["ifname"] for link in fresh.listed("link", "show")}
    fresh.batch(line + "\n")
    new = {link["ifname"]: link for link in fresh.listed("link", "show") if link["ifname"] not in before}
    (ours,) = parse_topology(line)
    assert isinstance(ours, Link)
    described = [ours] + ([ours.peer] if ours.peer else [])
    assert {link.name for link in described} <= new.keys()
    assert len(new) == (2 if ours.kind == "veth" else 1)
    for link in described:
        theirs = new[str(link.name)]
        kind = theirs["linkinfo"]["info_kind"]
        assert (theirs["linkinfo"]["info_data"]["type"] if kind == "tun" else kind) == link.kind
        assert link.kind is not None
        assert theirs["link_type"] == f"[{KINDS[link.kind].type}]"
        assert link.mtu is None or theirs["mtu"] == link.mtu
        assert link.address is None or theirs["address"] == link.address.hex(":")
        assert link.ifindex is None or theirs["ifindex"] == link.ifindex
        assert ("UP" in theirs["flags"]) == bool(link.up)
        assert ("NOARP" in theirs["flags"]) == (link.arp is False or link.kind in ("tun", "ifb"))


def test_link_set_changes_what_the_line_says(fresh: Namespace) -> None:
    line = "link set dev v3 down name w3 mtu 1234 addr 2:0:0:0:3:3 arp off"
    fresh.batch(line + "\n")
    (ours,) = parse_topology(line)
    assert isinstance(ours, Link)
    (theirs,) = [link for link in fresh.listed("link", "show") if link["ifname"] == ours.new_name]
    assert (ours.name, ours.mtu, ours.up, ours.arp) == ("v3", theirs["mtu"], "UP" in theirs["flags"], False)
    assert ours.address is not None
    assert theirs["address"] == ours.address.hex(":")
    assert "NOARP" in theirs["flags"]


FILES = {
    "a comment hides the rest of its line, also in a word": "route add 10.1.0.0/16 dev v0#metric x\n# route\n",
    "a backslash joins lines without a space between": "route add 10.2.0.\\\n0/16 dev v0\n",
    "a backslash before a comment joins nothing": "route add 10.3.0.0/16 dev v0 \\#\n",
    "three lines are one": "route add \\\n 10.4.0.0/16 \\\n dev v0\nroute add 10.5.0.0/16 dev v0",
    "a continuation may have a comment": "route add 10.6.0.0/16 \\\n dev v0 # there\n",
    "lines may end as on Windows": "route add 10.7.0.0/16 dev v0\r\n\r\n",
    "quotes hold spaces, and end a word": "'route'add \"10.8.0.0/16\"dev v0\n",
    "a quote inside a word is a character": "route add 10.9.0.0/16 dev v'0\n",
    "a backslash inside a line is a character": "route add 10.9.0.0/16 dev v0\\ \n",
    "a quote without an end": "route add 10.9.0.0/16 dev 'v0\n",
    "a form feed is no space": "route add 10.9.0.0/16\fdev v0\n",
    "a no-break space is no space": "route add 10.9.0.0/16\u00a0dev v0\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_a_file_has_the_lines_that_ip_reads(fresh: Namespace, text: str) -> None:
    result = fresh.ip("-batch", "-", text=text)
    theirs = [route["dst"] for route in fresh.listed("route", "show") if route["protocol"] == "3"]
    try:
        commands = parse_topology(text)
    except InputError:
        assert result.returncode != 0
        return
    ours = [command for command in commands if isinstance(command, Route)]
    if result.returncode == 0:
        assert [route.prefix.text for route in ours] == theirs
    else:
        assert "Cannot find device" in result.stderr
        assert f'"{ours[0].hop.device}"' in result.stderr
