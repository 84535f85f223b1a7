"""Clones go where the running kernel's go and answer what they answer; redirects do what was measured."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from skb_oracle import (
    CONTEXT,
    Buffer,
    Call,
    Device,
    Machine,
    Size,
    call,
    check,
    in_kernel,
    natively,
    on_buffer,
    received_packet,
)

from routebpf.runtime.device import DEVICE_ETHERNET, DEVICE_LOOPBACK, DEVICE_PAIRED, DEVICE_UP
from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb_redirect import RECEIVED, has_mac_header, skb_do_redirect

PACKET = bytes([0x45, *range(1, 100)])
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
SHORT_MTU = 100
VETH = DEVICE_ETHERNET | DEVICE_PAIRED
UP = DEVICE_UP | VETH


@dataclass
class Namespace:
    """Devices of the kernel, by name: lo; `up` and `short` (of a small MTU), each with its peer up; `down`; `tun`."""

    ifindex: dict[str, int]
    sockets: dict[str, socket.socket]

    def machine(self) -> Machine:
        kinds = {
            "lo": Device(DEVICE_UP | DEVICE_LOOPBACK, mtu=65536, type=772),
            "up": Device(UP),
            "short": Device(UP, mtu=SHORT_MTU),
            "down": Device(VETH),
            "tun": Device(DEVICE_UP, hard_header_len=0, type=0xFFFE),
        }
        return Machine({self.ifindex[name]: device for name, device in kinds.items()})

    def frames(self) -> list[tuple[int, bytes]]:
        """(ifindex, bytes) of what left since the last time: what the peer got, or, of a tun, what was sent."""
        found = []
        for name, one in self.sockets.items():
            while True:
                try:
                    data, source = one.recvfrom(4096)
                except BlockingIOError:
                    break
                if (source[2] == socket.PACKET_OUTGOING) == (name in ("tun", "lo")):
                    found.append((self.ifindex[name], data))
        return found


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    name = f"rbpf-skb-{os.getpid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    subprocess.run(["ip", "netns", "add", name], check=True)
    opened = []
    try:
        inside = os.open(f"/run/netns/{name}", os.O_RDONLY)
        opened.append(inside)
        assert libc.setns(inside, CLONE_NEWNET) == 0
        tun = os.open("/dev/net/tun", os.O_RDWR)
        opened.append(tun)
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun", IFF_TUN_NO_PI))
        for one in ("all", "default"):  # so that no device sends anything by itself
            Path(f"/proc/sys/net/ipv6/conf/{one}/disable_ipv6").write_text("1")
        for line in (
            *(f"link add name {one} type veth peer name {one}-peer" for one in ("up", "short", "down")),
            f"link set dev short mtu {SHORT_MTU}", f"link set dev short-peer mtu {SHORT_MTU}",
            *(f"link set dev {one} up" for one in ("lo", "up", "up-peer", "short", "short-peer", "tun")),
        ):  # fmt: skip
            subprocess.run(["ip", *line.split()], check=True)
        ifindex = {one: socket.if_nametoindex(one) for one in ("lo", "up", "short", "down", "tun")}
        sockets = {}
        for one, listens in {"up": "up-peer", "short": "short-peer", "tun": "tun", "lo": "lo"}.items():
            sockets[one] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sockets[one].bind((listens, 0))
            sockets[one].setblocking(False)
        yield Namespace(ifindex, sockets)
        for each in sockets.values():
            each.close()
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        for descriptor in (home, *opened):
            os.close(descriptor)
        subprocess.run(["ip", "netns", "del", name], check=True)


def push(size: int | None) -> list[Call]:
    return [] if size is None else [call("skb_change_head", CONTEXT, size, 0)]


@pytest.mark.kernel
@pytest.mark.parametrize("flags", [0, 1, 2, 1 << 16, 1 << 32])
@pytest.mark.parametrize("head", [None, 0, 1, 14])
@pytest.mark.parametrize("device", ["lo", "up", "down", "tun", "nothing"])
def test_a_clone_leaves_and_answers_as_in_the_kernel(
    namespace: Namespace, device: str, head: int | None, flags: int
) -> None:
    calls = [*push(head), call("clone_redirect", CONTEXT, namespace.ifindex.get(device, 9999), flags)]
    machine = namespace.machine()
    namespace.frames()
    kernel, ours = in_kernel(calls, PACKET), natively(calls, PACKET, machine=machine)
    time.sleep(0.002)
    assert ours == kernel
    assert machine.frames() == namespace.frames()


@pytest.mark.kernel
@pytest.mark.parametrize("size", [SHORT_MTU + 17, SHORT_MTU + 18, SHORT_MTU + 19])
@pytest.mark.parametrize("device", ["short", "tun"])
def test_a_clone_that_the_peers_mtu_is_too_small_for_is_dropped(namespace: Namespace, device: str, size: int) -> None:
    packet = bytes([0x45, *range(1, 200)])[:size]
    calls = [call("clone_redirect", CONTEXT, namespace.ifindex[device], 0)]
    machine = namespace.machine()
    namespace.frames()
    kernel, ours = in_kernel(calls, packet), natively(calls, packet, machine=machine)
    time.sleep(0.002)
    assert ours == kernel
    assert machine.frames() == namespace.frames()


@pytest.mark.kernel
def test_the_packet_after_a_clone_is_the_programs_alone(namespace: Namespace) -> None:
    store = call("skb_store_bytes", CONTEXT, 0, Buffer(b"\xaa" * 14), Size(14, 14), 0)
    clone = call("clone_redirect", CONTEXT, namespace.ifindex["up"], 0)
    calls = [*push(14), clone, store, clone]
    machine = namespace.machine()
    namespace.frames()
    kernel, ours = in_kernel(calls, PACKET), natively(calls, PACKET, machine=machine)
    time.sleep(0.002)
    assert ours == kernel
    up = namespace.ifindex["up"]
    assert machine.frames() == namespace.frames() == [(up, bytes(14) + PACKET), (up, b"\xaa" * 14 + PACKET)]


@pytest.mark.kernel
def test_gso_of_no_type_is_not_cloned(namespace: Namespace) -> None:
    calls = [*push(14), call("clone_redirect", CONTEXT, namespace.ifindex["up"], 0)]
    context = {176: 50, 164: 2}
    kernel = in_kernel(calls, PACKET, context=context)
    assert natively(calls, PACKET, context=context, machine=namespace.machine()) == kernel
    assert kernel.results == [0, -74]


@pytest.mark.kernel
@pytest.mark.parametrize("flags", [0, 1, 2, 3, 1 << 32, -1])
@pytest.mark.parametrize("ifindex", [0, 1, 9999, 0xFFFFFFFF])
def test_redirect_answers_as_in_the_kernel(ifindex: int, flags: int) -> None:
    check([call("redirect", ifindex, flags)], PACKET)


def redirect(packet: PacketBuffer, machine: Machine, ifindex: int, head: bytes | None, flags: int = 0) -> int:
    """Push `head` and redirect, as a program does; what the verdict came to."""
    calls = push(None if head is None else len(head))
    if head:
        calls.append(call("skb_store_bytes", CONTEXT, 0, Buffer(head), len(head), 0))
    on_buffer([*calls, call("redirect", ifindex, flags)], packet, machine)
    return skb_do_redirect(machine.cpu, packet.address)


ETHERNET = bytes.fromhex("020000000c01 020000000a02 0800")
UP_2, LOOPBACK_1, DOWN_3, TUN_4 = 2, 1, 3, 4


def four_devices() -> Machine:
    return Machine(
        {
            LOOPBACK_1: Device(DEVICE_UP | DEVICE_LOOPBACK, mtu=65536, type=772),
            UP_2: Device(UP),
            DOWN_3: Device(DEVICE_ETHERNET),
            TUN_4: Device(DEVICE_UP, hard_header_len=0, type=0xFFFE),
        }
    )


# measured on 6.18: "redirect", "ingress_redirect"; `result` is what the kernel's own function returns then
@pytest.mark.parametrize(
    ("ifindex", "head", "flags", "result", "frame"),
    [
        (UP_2, ETHERNET, 0, 0, ETHERNET + PACKET),
        (UP_2, None, 0, -34, None),
        (UP_2, bytes(14), 0, 0, bytes(14) + PACKET),
        (UP_2, ETHERNET[:12] + b"\x88\xb5", 0, 0, ETHERNET[:12] + b"\x88\xb5" + PACKET),
        (UP_2, ETHERNET, 1, RECEIVED, None),
        (UP_2, None, 1, -34, None),
        (9999, ETHERNET, 0, -22, None),
        (LOOPBACK_1, bytes(14), 0, 0, bytes(14) + PACKET),
        (LOOPBACK_1, None, 1, -34, None),
        (DOWN_3, ETHERNET, 0, -100, None),
        (TUN_4, None, 0, 0, PACKET),
        (TUN_4, ETHERNET, 0, 0, PACKET),
    ],
)
@pytest.mark.parametrize("is_forwarded", [False, True])
def test_redirects_go_where_they_were_measured_to_go(
    ifindex: int, head: bytes | None, flags: int, result: int, frame: bytes | None, is_forwarded: bool
) -> None:
    packet = received_packet(PACKET) if is_forwarded else PacketBuffer(PACKET)
    machine = four_devices()
    assert redirect(packet, machine, ifindex, head, flags) == result
    assert machine.frames() == ([] if frame is None else [(ifindex, frame)])


def test_a_redirect_counts_once() -> None:
    packet, machine = PacketBuffer(PACKET), four_devices()
    assert redirect(packet, machine, UP_2, ETHERNET) == 0
    assert skb_do_redirect(machine.cpu, packet.address) == -22


# measured on 6.18: "clone_redirect", of packets that the host sends itself
@pytest.mark.parametrize(("head", "flags", "result"), [(None, 0, -34), (14, 0, 0), (None, 1, -34), (14, 1, 0)])
def test_a_clone_of_a_packet_that_the_host_sends_needs_a_link_header(head: int | None, flags: int, result: int) -> None:
    machine = four_devices()
    outcome = on_buffer([*push(head), call("clone_redirect", CONTEXT, UP_2, flags)], PacketBuffer(PACKET), machine)
    assert outcome.results[-1] == result
    assert machine.frames() == ([(UP_2, bytes(14) + PACKET)] if (result, flags) == (0, 0) else [])


# kernel: include/linux/if_arp.h, dev_is_mac_header_xmit()
@pytest.mark.parametrize(
    ("device_type", "expected"),
    [(1, 1), (772, 1), (512, 0), (519, 0), (768, 0), (769, 0), (776, 0), (778, 0), (823, 0), (0xFFFE, 0), (0xFFFF, 0)],
)
def test_which_devices_have_link_headers(device_type: int, expected: int) -> None:
    assert has_mac_header(device_type) == expected
