"""Devices, addresses, neighbours and frames of a namespace: as iproute2 shows them, and as they were put on a wire."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from routebpf.errors import InputError
from routebpf.kernel.addresses import (
    ADDRESS_FLAGS,
    NUD,
    KernelNeighbour,
    put_neighbour,
    read_addresses,
    wait_for_addresses,
)
from routebpf.kernel.devices import add_device, list_devices, open_tun
from routebpf.kernel.namespaces import Namespace, create_namespace, open_route_socket, remove_namespace
from routebpf.kernel.netlink import NetlinkError, RouteSocket
from routebpf.kernel.packet_socket import Injector, Tap

pytestmark = pytest.mark.kernel

ARPHRD = {1: "ether", 772: "loopback", 65534: "none"}


@pytest.fixture
def here() -> Iterator[Namespace]:
    made = create_namespace()
    yield made
    remove_namespace(made)


@pytest.fixture
def sock(here: Namespace) -> Iterator[RouteSocket]:
    with open_route_socket(here) as opened:
        yield opened


def ip(here: Namespace, *words: str) -> str:
    command = ["ip", "-n", here.name, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def listed(here: Namespace, *words: str) -> list[Any]:
    return [one for one in json.loads(ip(here, "-j", "-d", *words) or "[]") if one]


def batch(here: Namespace, text: str) -> None:
    subprocess.run(["ip", "-n", here.name, "-batch", "-"], input=text, text=True, check=True)


PAIR = """
link add va index 700 mtu 1400 address 02:00:00:00:08:08 type veth peer name vb index 701 mtu 1300
link set va up arp off
link set vb up
link add b0 type ifb
tuntap add t0 mode tun
"""


def test_devices_are_listed_as_ip_lists_them(here: Namespace, sock: RouteSocket) -> None:
    batch(here, PAIR)
    theirs = {one["ifname"]: one for one in listed(here, "link")}
    found = list_devices(sock)
    assert found.keys() == theirs.keys() == {"lo", "va", "vb", "b0", "t0"}
    for name, one in found.items():
        shown = theirs[name]
        assert (one.name, one.ifindex, one.mtu) == (name, shown["ifindex"], shown["mtu"])
        assert one.kind == shown.get("linkinfo", {}).get("info_kind", "")
        assert ARPHRD[one.type] == shown["link_type"]
        assert one.mac.hex(":") == shown.get("address", "")
        assert one.is_up == ("UP" in shown["flags"])
        assert one.has_arp == ("NOARP" not in shown["flags"])


def test_a_device_that_is_there_is_not_made_again(here: Namespace, sock: RouteSocket) -> None:
    add_device(sock, "b0", "ifb", ifindex=90, mtu=1200)
    before = listed(here, "link")
    for name, number in (("b0", 91), ("b1", 90)):
        with pytest.raises(NetlinkError, match=f"device {name}: making one of type ifb: .*File exists"):
            add_device(sock, name, "ifb", ifindex=number, mtu=1300)
    assert listed(here, "link") == before


def test_a_tun_has_its_index_and_one_that_cannot_be_made_leaves_no_file_open(here: Namespace) -> None:
    fd = open_tun(here, "t0", "tun", 77)
    assert [one["ifindex"] for one in listed(here, "link", "show", "dev", "t0")] == [77]
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InputError, match="device t0: making a tap device: ") as caught:
        open_tun(here, "t0", "tap", 78)
    assert caught.value.args
    assert os.listdir("/proc/self/fd") == before
    os.close(fd)
    assert "t0" not in ip(here, "link")


def test_addresses_are_listed_as_ip_lists_them(here: Namespace, sock: RouteSocket) -> None:
    batch(here, PAIR + "addr add 10.0.0.1/24 dev va noprefixroute\naddr add 10.0.0.2/24 dev va\n")
    batch(here, "addr add 10.1.0.1 peer 10.1.0.2/32 dev vb\naddr add fd00::1/64 dev vb nodad noprefixroute\n")
    wait_for_addresses(sock, [701])
    theirs = [
        (
            device["ifindex"],
            one["local"],
            one["prefixlen"],
            one.get("noprefixroute", False),
            one.get("secondary", False),
        )
        for device in listed(here, "addr")
        for one in device["addr_info"]
    ]
    no_route, secondary = ADDRESS_FLAGS["noprefixroute"], ADDRESS_FLAGS["secondary"]
    found = [
        (one.ifindex, str(ip_address(one.address)), one.length, bool(one.flags & no_route), bool(one.flags & secondary))
        for one in read_addresses(sock)
    ]
    assert sorted(found) == sorted(theirs)
    assert len(found) > 4


def test_addresses_are_waited_for_until_they_are_of_use(here: Namespace, sock: RouteSocket) -> None:
    """With duplicate address detection, which takes a second or two."""
    batch(here, PAIR + "addr add fd00::1/64 dev vb\n")
    wait_for_addresses(sock, seconds=10)
    assert "tentative" not in ip(here, "-6", "addr")
    start = time.monotonic()
    wait_for_addresses(sock, [1], seconds=0.1)  # a loopback device never has one
    assert time.monotonic() - start >= 0.1


@pytest.mark.parametrize("state", ["permanent", "noarp", "reachable", "stale"])
def test_a_neighbour_has_the_state_that_it_was_given(here: Namespace, sock: RouteSocket, state: str) -> None:
    batch(here, PAIR + "addr add 10.0.0.1/24 dev vb\n")
    assert state in NUD
    put_neighbour(sock, KernelNeighbour(701, bytes((10, 0, 0, 9)), b"\2\0\0\0\0\t", state))
    (found,) = listed(here, "neigh", "show", "10.0.0.9", "nud", "all")
    assert (found["dev"], found["lladdr"], found["state"]) == ("vb", "02:00:00:00:00:09", [state.upper()])


def test_a_frame_is_seen_with_the_vlan_tag_that_the_kernel_takes_out(here: Namespace) -> None:
    batch(here, PAIR)
    tap, injector = Tap(here, "vb"), Injector(here)
    tag = bytes.fromhex("8100a005")  # priority 5, VLAN 5
    frame = b"\2\0\0\0\0\1" + b"\2\0\0\0\0\2" + tag + bytes.fromhex("88b5") + b"tagged" * 10
    try:
        assert injector.put("va", frame) == 0
        assert [one.data for one in tap.frames() if b"tagged" in one.data] == [frame]
    finally:
        tap.close()
        injector.close()
