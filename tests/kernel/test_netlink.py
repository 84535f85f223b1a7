"""Devices, addresses, neighbours, rules and routes: what we ask the kernel for is what iproute2 then shows."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kernel_bpf import instruction, load_program
from routebpf.errors import MissingError
from routebpf.kernel import addresses, devices, namespaces, netlink, routes
from routebpf.kernel.lwt_encap import BpfEncap, EncapProgram
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.netlink import NetlinkError, RouteSocket
from routebpf.kernel.packet_socket import RawSender
from routebpf.kernel.routes import RTA, KernelRoute

pytestmark = pytest.mark.kernel
VA, VB = 7, 8
GATEWAY, GATEWAY_B = bytes((10, 0, 0, 2)), bytes((10, 1, 0, 2))


@dataclass(frozen=True)
class Ground:
    near: Namespace
    far: Namespace
    sock: RouteSocket


def ip(namespace: Namespace, *words: str) -> Any:
    command = ["ip", "-n", namespace.name, "-d", "-j", *words]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout or "[]")


@pytest.fixture
def ground() -> Iterator[Ground]:
    near, far = namespaces.create_namespace(), namespaces.create_namespace()
    try:
        namespaces.write_sysctl(near, "ipv6/conf/default/accept_dad", 0)
        with namespaces.open_route_socket(near) as sock, namespaces.open_route_socket(far) as far_sock:
            for name, index in (("va", VA), ("vb", VB)):
                devices.add_veth(
                    sock, name, ifindex=index, mac=bytes((2, 0, 0, 0, 0, index)), mtu=1400, peer=f"far{index}",
                    peer_ifindex=100 + index, peer_namespace=far,
                )  # fmt: skip
                devices.set_device(far_sock, 100 + index, "far", up=True)
                devices.set_device(sock, index, name, up=True)
                one = addresses.KernelAddress(ifindex=index, address=bytes((10, index - VA, 0, 1)), length=24)
                addresses.add_address(sock, one)
            addresses.wait_for_addresses(sock, [VA, VB])
            yield Ground(near, far, sock)
    finally:
        namespaces.remove_namespace(near)
        namespaces.remove_namespace(far)


@contextlib.contextmanager
def loaded(name: str, program_type: int = 12) -> Iterator[EncapProgram]:
    """A program that returns 0. 10, 11, 12: LWT_IN, LWT_OUT, LWT_XMIT."""
    fd, error, log = load_program(instruction(0xB7) + instruction(0x95), program_type=program_type)
    assert fd is not None, (error, log)
    try:
        yield EncapProgram(name, fd)
    finally:
        os.close(fd)


@pytest.fixture
def program() -> Iterator[EncapProgram]:
    with loaded("first id 1") as found:
        yield found


def route(last: int = 5, **fields: Any) -> KernelRoute:
    """A route to 10.LAST.0.0/16 through the first gateway."""
    more = fields.pop("attributes", ())
    own = ((RTA.DST, bytes((10, last, 0, 0))), (RTA.OIF, struct.pack("=i", VA)), (RTA.GATEWAY, GATEWAY))
    return KernelRoute(family=socket.AF_INET, dst_len=16, protocol=3, attributes=own + more, **fields)


def shown(ground: Ground, *words: str) -> str:
    command = ["ip", "-n", ground.near.name, "-d", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# Devices, addresses, neighbours, rules


def test_a_veth_is_made_as_it_is_asked_for(ground: Ground) -> None:
    (found,) = ip(ground.near, "link", "show", "va")
    assert (found["ifindex"], found["address"], found["mtu"]) == (VA, "02:00:00:00:00:07", 1400)
    assert found["linkinfo"]["info_kind"] == "veth"
    (far,) = ip(ground.far, "link", "show", f"far{VA}")
    assert (far["ifindex"], far["mtu"]) == (100 + VA, 1400)
    listed = devices.list_devices(ground.sock)
    assert listed["va"] == devices.KernelDevice(
        VA, "va", "veth", devices.ARPHRD_ETHER, 1400, bytes((2, 0, 0, 0, 0, 7)), True, True
    )
    assert set(listed) == {"lo", "va", "vb"}


def test_a_device_is_changed_and_deleted(ground: Ground) -> None:
    devices.set_device(ground.sock, VB, "device vb", up=False, mtu=999, mac=b"\2\1\2\3\4\5", arp=False, name="vc")
    (found,) = ip(ground.near, "link", "show", "vc")
    assert (found["mtu"], found["address"]) == (999, "02:01:02:03:04:05")
    assert "NOARP" in found["flags"]
    assert "UP" not in found["flags"]
    devices.delete_device(ground.sock, VB, "device vc")
    assert {one["ifname"] for one in ip(ground.near, "link")} == {"lo", "va"}


def test_a_tun_is_there_while_its_file_is_open(ground: Ground) -> None:
    fd = devices.open_tun(ground.near, "tunx", "tun", 30)
    try:
        assert devices.list_devices(ground.sock)["tunx"].ifindex == 30
        (found,) = ip(ground.near, "link", "show", "tunx")
        assert found["linkinfo"]["info_data"]["type"] == "tun"
    finally:
        os.close(fd)
    assert "tunx" not in devices.list_devices(ground.sock)


@pytest.mark.parametrize("kind", ["ipip", "sit", "gre", "ip6tnl"])
def test_a_tunnel_is_made_as_by_ip_or_refused_as_to_ip(ground: Ground, kind: str) -> None:
    """A kernel may be built without tunnels; then it refuses iproute2 for the same reason."""
    near, far = ("10.0.0.1", "10.0.0.9") if kind != "ip6tnl" else ("fd00::1", "fd00::9")
    words = ["link", "add", "theirs", "type", kind, "local", near, "remote", far, "ttl", "9"]
    theirs = subprocess.run(["ip", "-n", ground.near.name, *words], capture_output=True, text=True, check=False)
    packed = [socket.inet_pton(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in (near, far)]
    settings = devices.TunnelSettings(packed[0], packed[1], ttl=9)
    if theirs.returncode:
        with pytest.raises(MissingError, match="the running kernel was built without it"):
            devices.add_tunnel(ground.sock, "ours", kind, settings, ifindex=40)
        return
    subprocess.run(["ip", "-n", ground.near.name, "link", "del", "theirs"], check=True)
    devices.add_tunnel(ground.sock, "ours", kind, settings, ifindex=40)
    (found,) = ip(ground.near, "link", "show", "ours")
    data = found["linkinfo"]["info_data"]
    assert (data["local"], data["remote"], data["ttl"]) == (near, far, 9)


def test_addresses_are_added_and_deleted(ground: Ground) -> None:
    six = addresses.KernelAddress(
        ifindex=VA, address=socket.inet_pton(socket.AF_INET6, "fd00::1"), length=64,
        flags=addresses.ADDRESS_FLAGS["nodad"],
    )  # fmt: skip
    four = addresses.KernelAddress(
        ifindex=VA, address=b"\x0a\2\0\1", length=32, peer=b"\x0a\2\0\2", label="va:x", scope=200, metric=77
    )
    addresses.add_address(ground.sock, six)
    addresses.add_address(ground.sock, four)
    (found,) = ip(ground.near, "addr", "show", "va")
    by_local = {one["local"]: one for one in found["addr_info"]}
    assert by_local["fd00::1"]["prefixlen"] == 64
    assert by_local["10.2.0.1"]["address"] == "10.2.0.2"
    assert (by_local["10.2.0.1"]["label"], by_local["10.2.0.1"]["metric"]) == ("va:x", 77)
    with pytest.raises(NetlinkError, match="File exists") as refused:
        addresses.add_address(ground.sock, six)
    assert refused.value.errno == errno.EEXIST
    addresses.delete_address(ground.sock, six)
    addresses.delete_address(ground.sock, four)
    assert {one.address for one in addresses.read_addresses(ground.sock) if one.ifindex == VA} == {
        b"\x0a\0\0\1",
        socket.inet_pton(socket.AF_INET6, "fe80::ff:fe00:7"),
    }


def test_thousands_of_neighbours_are_added_at_once(ground: Ground) -> None:
    many = [
        addresses.KernelNeighbour(VA, bytes((10, 0, n >> 8, n & 255)), bytes((2, 0, 10, 0, n >> 8, n & 255)))
        for n in range(2, 3000)
    ]
    assert addresses.put_neighbours(ground.sock, many) == {}
    found = {one["dst"]: one for one in ip(ground.near, "neigh", "show", "dev", "va", "nud", "permanent")}
    assert len(found) == len(many)
    assert found["10.0.3.7"]["lladdr"] == "02:00:0a:00:03:07"
    addresses.delete_neighbour(ground.sock, many[5])
    assert "10.0.0.7" not in {one["dst"] for one in ip(ground.near, "neigh", "show", "dev", "va", "nud", "permanent")}


def test_a_batch_tells_which_request_was_refused(ground: Ground) -> None:
    wrong = addresses.KernelNeighbour(999, GATEWAY, bytes(6))
    right = addresses.KernelNeighbour(VA, GATEWAY, bytes((2, 0, 0, 0, 0, 9)))
    refused = addresses.put_neighbours(ground.sock, [right, wrong, right])
    assert {at: one.errno for at, one in refused.items()} == {1: errno.ENODEV}


def test_a_batch_of_requests_alike_and_unlike_does_each_and_tells_which_were_refused(ground: Ground) -> None:
    def route(dst: bytes, bits: int, gateway: bytes) -> bytes:
        pairs = ((int(RTA.DST), dst), (int(RTA.GATEWAY), gateway))
        return routes.route_request(KernelRoute(family=socket.AF_INET, dst_len=bits, attributes=pairs))

    def alike(destinations: list[bytes], bits: int, gateway: bytes) -> netlink.Requests:
        body = route(destinations[0], bits, gateway)
        at = body.index(destinations[0])
        return netlink.Requests(routes.RTM_NEWROUTE, body[:at], destinations, body[at + 4 :])

    nowhere = bytes((9, 9, 9, 9))
    many = [struct.pack("!I", 11 << 24 | n << 8) for n in range(3000)]  # more than a datagram holds
    requests = [
        netlink.Requests(routes.RTM_NEWROUTE, b"", [route(bytes((12, 0, 0, 0)), 8, GATEWAY)]),
        alike(many, 24, GATEWAY),
        alike([bytes((13, 0, n, 1)) for n in range(5)], 32, nowhere),
        netlink.Requests(routes.RTM_NEWROUTE, b"", []),
        alike([bytes((14, n >> 8, n & 255, 0)) for n in range(2000)], 24, GATEWAY),
        alike([bytes((15, 0, 0, 1))], 32, nowhere),
        netlink.Requests(routes.RTM_NEWROUTE, b"", [route(bytes((16, 0, 0, 0)), 8, GATEWAY)]),
    ]
    refused = ground.sock.batch(requests, flags=netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)
    assert {at: one.errno for at, one in refused.items()} == dict.fromkeys(
        (*range(3001, 3006), 5006), errno.ENETUNREACH
    )
    listed = {one["dst"] for one in ip(ground.near, "route", "show", "via", "10.0.0.2")}
    wanted = [f"11.{n >> 8}.{n & 255}.0/24" for n in range(3000)] + [f"14.{n >> 8}.{n & 255}.0/24" for n in range(2000)]
    assert listed == {"12.0.0.0/8", "16.0.0.0/8", *wanted}


def test_a_rule_is_shown_as_it_was_asked_for(ground: Ground) -> None:
    rule = addresses.KernelRule(
        family=socket.AF_INET, table=500, priority=77, source=(b"\x0a\0\0\0", 8), destination=(b"\x0b\1\0\0", 16),
        iif="va", oif="vb", tos=0x10, fwmark=0x77, fwmask=0xFF, ip_protocol=6, source_ports=(1, 9),
        destination_ports=(80, 80), invert=True,
    )  # fmt: skip
    addresses.add_rule(ground.sock, rule)
    text = shown(ground, "rule", "show", "pref", "77")
    wanted = (
        "77: not from 10.0.0.0/8 to 11.1.0.0/16 tos 0x10 fwmark 0x77/0xff iif va oif vb ipproto tcp"
        " sport 1-9 dport 80 lookup 500 proto unspec"
    )
    assert " ".join(text.split()) == wanted
    addresses.delete_rule(ground.sock, rule)
    assert not shown(ground, "rule", "show", "pref", "77")


# Routes


def test_a_route_with_every_attribute_is_read_and_put_back_as_it_was(ground: Ground) -> None:
    """Made by iproute2, read by us, deleted, put back by us: iproute2 shows it as before."""
    lines = [
        "192.168.0.0/16 via 10.0.0.2 dev va src 10.0.0.1 metric 33 mtu lock 1300 advmss 1200 hoplimit 9 realm 3/4",
        "192.168.1.0/24 tos 0x10 table 555 proto bird dev va scope link initcwnd 20 rto_min 50ms congctl cubic",
        "192.168.2.0/24 nexthop via 10.0.0.2 dev va weight 3 nexthop via 10.1.0.2 dev vb weight 7 onlink",
        "192.168.3.0/24 via inet6 fe80::1 dev va",
        "blackhole 192.168.4.0/24 metric 9",
        "fd00:1::/64 via fe80::9 dev va metric 5 mtu 1350 pref high",
        "fd00:2::/64 nexthop via fe80::9 dev va weight 2 nexthop via fe80::8 dev vb",
        "unreachable fd00:3::/64",
        "fd00:4::/64 from fd00:9::/64 dev va expires 5000",
    ]
    for line in lines:
        family = ["-6"] if "fd00" in line else []
        subprocess.run(["ip", *family, "-n", ground.near.name, "route", "add", *line.split()], check=True)

    def listing() -> list[str]:
        text = shown(ground, "route", "show", "table", "all") + shown(ground, "-6", "route", "show", "table", "all")
        return sorted(" ".join(line.replace("\t", " ").split()).replace("4999sec", "5000sec") for line in
                      text.replace("\n\t", " ").splitlines())  # fmt: skip

    before = listing()
    ours = [one for one in routes.read_routes(ground.sock) if one.protocol in (3, 12)]
    assert len(ours) == len(lines)
    for one in ours:
        routes.delete_route(ground.sock, one)
    assert not [line for line in listing() if "192.168." in line or "fd00:" in line]
    assert routes.put_routes(ground.sock, ours) == {}
    assert listing() == before
    # A replace by itself changes nothing either.
    assert routes.put_routes(ground.sock, ours, "replace") == {}
    assert listing() == before


def test_routes_are_read_by_table(ground: Ground) -> None:
    routes.put_route(ground.sock, route(attributes=((RTA.TABLE, struct.pack("=I", 70000)),)))
    (found,) = routes.read_routes(ground.sock, table=70000)
    assert (str(found.prefix), found.table, str(found.gateway)) == ("10.5.0.0/16", 70000, "10.0.0.2")
    assert routes.read_routes(ground.sock, table=70001) == []


def test_adding_replacing_and_deleting_are_refused_as_by_ip(ground: Ground) -> None:
    routes.put_route(ground.sock, route())
    for how, one, number in (
        ("add", route(), errno.EEXIST),
        ("change", route(6), errno.ENOENT),
        ("add", route(7, attributes=((RTA.GATEWAY, b"\x0a\x63\0\1"),)), errno.ENETUNREACH),
    ):
        with pytest.raises(NetlinkError) as refused:
            routes.put_route(ground.sock, one, how)  # type: ignore[arg-type]
        assert refused.value.errno == number
    with pytest.raises(NetlinkError) as refused:
        routes.delete_route(ground.sock, route(6))
    assert refused.value.errno == errno.ESRCH


def test_the_kernels_own_words_are_in_the_error(ground: Ground) -> None:
    with pytest.raises(NetlinkError, match=r"add route 10.7.0.0/16: Nexthop has invalid gateway"):
        routes.put_route(ground.sock, route(7, attributes=((RTA.GATEWAY, b"\x0a\x63\0\1"),)))


def test_a_route_carries_programs_for_each_hook(ground: Ground, program: EncapProgram) -> None:
    with loaded("a", 10) as in_, loaded("b", 11) as out:
        routes.put_route(ground.sock, route().with_encap(BpfEncap(in_, out, program)))
    text = shown(ground, "route", "show", "10.5.0.0/16")
    assert "encap bpf in a out b xmit first id 1" in " ".join(text.split())
    (found,) = [one for one in routes.read_routes(ground.sock) if one.dst_len == 16]
    assert found.hops[0].encap == BpfEncap(EncapProgram("a"), EncapProgram("b"), EncapProgram(program.name))
    routes.put_route(ground.sock, found.with_encap(None), "replace")
    assert "encap" not in shown(ground, "route", "show", "10.5.0.0/16")


@pytest.mark.parametrize(("headroom", "refused"), [(0, 0), (200, 0), (256, 0), (257, errno.ERANGE)])
def test_the_headroom_lowers_the_mtu_and_is_256_at_most(
    ground: Ground, program: EncapProgram, headroom: int, refused: int
) -> None:
    """The kernel does not tell a route's headroom; that it is there shows in what is too long for the route."""
    wanted = route().with_encap(BpfEncap(xmit=program, headroom=headroom))
    if refused:
        with pytest.raises(NetlinkError) as error:
            routes.put_route(ground.sock, wanted)
        assert error.value.errno == refused
        return
    routes.put_route(ground.sock, wanted)
    neighbour = addresses.KernelNeighbour(VA, GATEWAY, bytes((2, 0, 0, 0, 0, 9)))
    addresses.put_neighbour(ground.sock, neighbour)
    sender = RawSender(ground.near)
    try:
        for size, number in ((1400 - headroom, 0), (1401 - headroom, errno.EMSGSIZE)):
            head = (
                bytes((0x45, 0))
                + size.to_bytes(2, "big")
                + bytes((0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 5, 0, 1))
            )
            assert sender.send(head + bytes(size - 20)) == number
    finally:
        sender.close()


@pytest.mark.parametrize("family", [4, 6])
def test_each_next_hop_of_several_carries_the_program(ground: Ground, program: EncapProgram, family: int) -> None:
    if family == 4:
        words = "192.168.2.0/24 nexthop via 10.0.0.2 dev va weight 3 nexthop via 10.1.0.2 dev vb weight 7"
    else:
        words = "fd00:2::/64 nexthop via fe80::9 dev va weight 3 nexthop via fe80::8 dev vb weight 7"
    ip_family = [f"-{family}"]
    prefix = words.split()[0]
    subprocess.run(["ip", *ip_family, "-n", ground.near.name, "route", "add", *words.split()], check=True)
    (found,) = [one for one in routes.read_routes(ground.sock) if str(one.prefix) == prefix]
    routes.put_route(ground.sock, found.with_encap(BpfEncap(xmit=program)), "replace")
    text = shown(ground, *ip_family, "route", "show", prefix)
    assert text.count(f"encap bpf xmit {program.name}") == 2
    assert "weight 3" in text
    assert "weight 7" in text
    (carrying,) = [one for one in routes.read_routes(ground.sock) if str(one.prefix) == prefix]
    assert [hop.encap for hop in carrying.hops] == [BpfEncap(xmit=EncapProgram(program.name))] * 2
    routes.put_route(ground.sock, carrying.with_encap(None), "replace")
    assert [one.hops for one in routes.read_routes(ground.sock) if str(one.prefix) == prefix] == [found.hops]


def test_a_program_of_the_wrong_type_is_refused(ground: Ground) -> None:
    with loaded("in", 10) as one, pytest.raises(NetlinkError) as refused:
        routes.put_route(ground.sock, route().with_encap(BpfEncap(xmit=one)))
    assert refused.value.errno == errno.EINVAL


def test_a_lookup_says_where_a_packet_goes(ground: Ground) -> None:
    routes.put_route(ground.sock, route())
    routes.put_route(ground.sock, KernelRoute(
        family=socket.AF_INET, dst_len=16, type=7, attributes=((RTA.DST, bytes((10, 6, 0, 0))),)))  # fmt: skip
    found = routes.look_up(ground.sock, bytes((10, 5, 1, 2)))
    assert isinstance(found, KernelRoute)
    assert (found.number(RTA.OIF), str(found.gateway)) == (VA, "10.0.0.2")
    matched = routes.look_up(ground.sock, bytes((10, 5, 1, 2)), match=True)
    assert isinstance(matched, KernelRoute)
    assert str(matched.prefix) == "10.5.0.0/16"
    for destination, number in ((bytes((10, 6, 0, 1)), errno.EHOSTUNREACH), (bytes((1, 2, 3, 4)), errno.ENETUNREACH)):
        refused = routes.look_up(ground.sock, destination)
        assert not isinstance(refused, KernelRoute)
        assert refused.errno == number


def test_ten_thousand_refusals_are_all_told_where_the_kernel_grants_little_memory(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "_ROOM_BYTES", 212_992)  # net.core.rmem_max, where nobody raised it
    hop = routes.NextHop(VA, ((int(RTA.GATEWAY), bytes((9, 9, 9, 9))),))
    wrong = [
        KernelRoute(
            family=socket.AF_INET, dst_len=24, attributes=((int(RTA.DST), struct.pack("!I", 11 << 24 | at << 8)),)
        ).with_hops([hop])
        for at in range(10_000)
    ]
    with namespaces.open_route_socket(ground.near) as sock:
        refusals = routes.put_routes(sock, wrong)
    assert {at: one.errno for at, one in refusals.items()} == dict.fromkeys(range(10_000), errno.ENETUNREACH)


def test_ten_thousand_routes_are_added_and_deleted_in_one_go(ground: Ground, program: EncapProgram) -> None:
    many = [
        KernelRoute(
            family=socket.AF_INET, dst_len=32, protocol=3,
            attributes=((RTA.DST, (0x0B000000 + n).to_bytes(4, "big")), (RTA.OIF, struct.pack("=i", VA)),
                        (RTA.GATEWAY, GATEWAY)),
        ).with_encap(BpfEncap(xmit=program))
        for n in range(10_000)
    ]  # fmt: skip
    assert routes.put_routes(ground.sock, many) == {}
    found = [one for one in routes.read_routes(ground.sock, socket.AF_INET) if one.encap]
    assert {one.prefix for one in found} == {one.prefix for one in many}
