"""The same lines of iproute2 and the same packets for two hosts: the embedded one, and a namespace of this kernel.

The kernel's host has veth devices whose far ends are in a second namespace, where every frame that arrives is taken
by AF_PACKET. Packets are sent by raw sockets with IP_HDRINCL, with their own TOS and source address.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from routebpf.errors import Error
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.host import Sent
from routebpf.hosts.kernel import KernelHost
from routebpf.hosts.topology import parse_topology
from routebpf.hosts.topology_apply import apply_topology

_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_IP_HDRINCL, _IP_TOS, _IP_PKTINFO, _IP_RECVERR = 3, 1, 8, 11
_IPV6_HDRINCL, _IPV6_RECVERR = 36, 25
_IPPROTO_IPV6 = 41
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Outcome:
    """What a sender saw, and the frames that left, by device in order: device and bytes."""

    errno: int
    frames: tuple[tuple[str, bytes], ...]


@contextlib.contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """This thread is in a network namespace; sockets that it makes stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        assert _libc.setns(there, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert _libc.setns(here, _CLONE_NEWNET) == 0
        os.close(there)
        os.close(here)


def ip(*words: str, namespace: str | None = None, text: str | None = None) -> str:
    command = ["ip", *(["-netns", namespace] if namespace else []), *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{text or ''}"
    return done.stdout


class KernelTwin:
    """A namespace with `devices` (name to ifindex), MAC 02:00 and the ifindex, and what the lines say."""

    def __init__(self, lines: str, devices: dict[str, int], *, folder: Path | None = None) -> None:
        self.name, self.far = f"rbpf-h{os.getpid()}", f"rbpf-p{os.getpid()}"
        self._taps: dict[str, socket.socket] = {}
        self._devices = devices
        for name in (self.name, self.far):
            ip("netns", "add", name)
        try:
            self._set_up(lines, devices, folder)
        except BaseException:
            self.close()
            raise

    def _set_up(self, lines: str, devices: dict[str, int], folder: Path | None) -> None:
        with in_namespace(self.name):
            for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", path).write_text("1")
            for path in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/default/accept_dad"):
                Path("/proc/sys/net", path).write_text("0")
        with in_namespace(self.far):
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        ip("link", "set", "lo", "up", namespace=self.name)
        for name, index in devices.items():
            mac = f"02:00:00:00:00:{index:02x}"
            far = ["peer", "name", f"far{index}", "netns", self.far]
            ip("link", "add", name, "index", str(index), "address", mac, "type", "veth", *far, namespace=self.name)
            ip("link", "set", f"far{index}", "up", namespace=self.far)
            ip("link", "set", name, "up", namespace=self.name)
        where = os.getcwd()
        try:
            os.chdir(folder or where)
            ip("-batch", "-", namespace=self.name, text=lines)
        finally:
            os.chdir(where)
        with in_namespace(self.far):
            for name, index in devices.items():
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
                tap.bind((f"far{index}", 0))
                self._taps[name] = tap
        with in_namespace(self.name):
            self._raw4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw4.setsockopt(socket.IPPROTO_IP, _IP_HDRINCL, 1)
        self._raw4.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        self._raw4.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._raw6.setsockopt(_IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        self._raw6.setsockopt(_IPPROTO_IPV6, _IPV6_RECVERR, 1)

    def close(self) -> None:
        for tap in self._taps.values():
            tap.close()
        for name in ("_raw4", "_raw6"):
            if hasattr(self, name):
                getattr(self, name).close()
        for name in (self.name, self.far):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def send(self, packet: bytes, expected: int, *, mark: int = 0) -> Outcome:
        """Send a packet; wait for `expected` frames, and a moment for more."""
        self._drain()
        errno = 0
        try:
            self._send4(packet, mark) if packet[0] >> 4 == 4 else self._send6(packet, mark)
        except OSError as error:
            errno = error.errno or 0
        self._forget_errors()
        return Outcome(errno, self._frames(expected))

    def receive(self, packet: bytes, device: str, expected: int) -> tuple[tuple[str, bytes], ...]:
        """A packet comes in by a device: the frames that leave."""
        self._drain()
        index = self._devices[device]
        ethertype = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
        frame = bytes((2, 0, 0, 0, 0, index)) + bytes((2, 0, 0xAA, 0, 0, index)) + ethertype + packet
        self._taps[device].send(frame)
        return self._frames(expected)

    def _send4(self, packet: bytes, mark: int) -> None:
        self._raw4.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        info = struct.pack("=i4s4s", 0, packet[12:16], bytes(4))
        destination = packet[16:20] if len(packet) >= 20 else bytes((10, 0, 0, 9))
        ancillary = [(socket.IPPROTO_IP, _IP_TOS, struct.pack("=i", packet[1]))]
        if not 0xE0 <= destination[0] < 0xF0 and destination != b"\xff" * 4:
            ancillary.append((socket.IPPROTO_IP, _IP_PKTINFO, info))
        self._raw4.sendmsg([packet], ancillary, 0, (socket.inet_ntoa(destination), 0))

    def _send6(self, packet: bytes, mark: int) -> None:
        self._raw6.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        self._raw6.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))

    def _forget_errors(self) -> None:
        """Take asynchronous errors off the sockets: the next send would report them."""
        for sock in (self._raw4, self._raw6):
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            with contextlib.suppress(OSError):
                while True:
                    sock.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)

    def _frames(self, expected: int) -> tuple[tuple[str, bytes], ...]:
        found: list[tuple[str, bytes]] = []
        end = time.monotonic() + 0.5
        while True:
            wait = end - time.monotonic() if len(found) < expected else 0.003
            ready, _, _ = select.select(list(self._taps.values()), [], [], max(wait, 0))
            if not ready:
                return by_device(found)
            for name, tap in self._taps.items():
                if tap in ready:
                    frame, address = tap.recvfrom(1 << 17)
                    if address[2] != socket.PACKET_OUTGOING and not is_chatter(frame):
                        found.append((name, frame))

    def _drain(self) -> None:
        for tap in self._taps.values():
            with contextlib.suppress(BlockingIOError):
                while True:
                    tap.recv(1 << 17, socket.MSG_DONTWAIT)


def is_chatter(frame: bytes) -> bool:
    """ARP, neighbour discovery, multicast reports, ICMP errors: what the kernel says by itself."""
    if frame[12:14] == b"\x08\x00":
        return frame[23] == 1 and frame[14 + (frame[14] & 15) * 4] in (3, 5, 11)
    if frame[12:14] == b"\x86\xdd":
        return frame[20] == 0 or (frame[20] == 58 and (frame[54] < 128 or 130 <= frame[54] <= 137))
    return frame[12:14] == b"\x08\x06"


def embedded_twin(lines: str, devices: dict[str, int], *, folder: Path | None = None) -> EmbeddedHost:
    """The embedded host with the same devices and lines."""
    host = EmbeddedHost()
    for name, index in devices.items():
        host.add_device(name, ifindex=index, mac=bytes((2, 0, 0, 0, 0, index)))
    where = os.getcwd()
    try:
        os.chdir(folder or where)
        apply_topology(host, parse_topology(lines))
    finally:
        os.chdir(where)
    return host


def is_refused(kind: type[EmbeddedHost | KernelHost], lines: str, last: str) -> bool:
    """Whether a host of that kind with the lines of a topology refuses one more."""
    with kind() as host:
        apply_topology(host, parse_topology(lines))
        try:
            apply_topology(host, parse_topology(last))
        except Error:
            return True
        return False


def sent_by(host: EmbeddedHost, packet: bytes, *, mark: int = 0) -> Outcome:
    """What the embedded host does with a packet, without what goes by the loopback."""
    sent = host.send(packet, mark=mark)
    return Outcome(sent.errno, frames_of(sent))


def frames_of(sent: Sent) -> tuple[tuple[str, bytes], ...]:
    return by_device([(one.device, one.data) for one in sent.frames if one.device != "lo"])


def by_device(frames: Sequence[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """The frames of each device stay in order; which device was first cannot be seen from outside."""
    return tuple(sorted(frames, key=lambda one: one[0]))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    dst: str, payload: int = 100, *, src: str = "10.0.0.1", ttl: int = 64, tos: int = 0, df: bool = False,
    options: bytes = b"", id: int = 0x1234, protocol: int = 17,
) -> bytes:  # fmt: skip
    """An IPv4 packet of UDP to the discard port, with so many bytes behind its IP header."""
    size = 20 + len(options)
    fields = (0x40 | size // 4, tos, size + payload, id, 0x4000 * df, ttl, protocol, 0)
    head = struct.pack("!BBHHHBBH4s4s", *fields, socket.inet_aton(src), socket.inet_aton(dst)) + options
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return head + bytes(n * 7 & 0xFF for n in range(payload))


def ipv6(dst: str, payload: int = 100, *, src: str = "fd00:a::1", hops: int = 64) -> bytes:
    """An IPv6 packet of UDP."""
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (src, dst))
    body = struct.pack("!HHHH", 40000, 9, payload, 0x1234) + bytes(n * 5 & 0xFF for n in range(payload - 8))
    return struct.pack("!IHBB", 6 << 28, payload, 17, hops) + addresses + body


def neighbour_lines(device: str, addresses: Sequence[str]) -> str:
    """`neigh` lines that give addresses the link addresses that the embedded host makes up."""
    made = []
    for address in addresses:
        if ":" in address:
            mac = b"\x06\x00" + socket.inet_pton(socket.AF_INET6, address)[-4:]
        else:
            mac = b"\x02\x00" + socket.inet_aton(address)
        made.append(f"neigh add {address} lladdr {mac.hex(':')} nud permanent dev {device}\n")
    return "".join(made)
