"""The wires of a kernel host: what goes onto them, what comes out of them, and when everything has come.

Each Ethernet device is one end of a veth pair; the other end is in a second namespace, where every frame that arrives
is taken. Frames that leave by other devices (tun, ifb, tunnels, lo) are seen on the device itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from routebpf.errors import MissingError
from routebpf.hosts.host import Frame
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.packet_socket import Injector, SeenFrame, Tap

_ETH_P_MARKER = b"\x88\xb5"  # IEEE 802 local experimental
_MARKER = b"routebpf marker "
_ROUNDS = 2  # a frame that one round's markers bring about (forwarded, ingress redirect) comes before the next round's
_PATIENCE_SECONDS = 2.0
_TUN_BYTES = 1 << 16
_FAR_MAC = bytes((2, 0, 0xAA, 0))

_ETH_P_ARP = b"\x08\x06"
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_ARP_REQUEST = 1
_IGMP, _ICMP, _ICMPV6, _HOP_BY_HOP = 2, 1, 58, 0
_ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
_ICMPV6_INFORMATION = 128
_MLD_AND_ND = frozenset({130, 131, 132, 133, 134, 135, 136, 137, 143})
_NEIGHBOUR_SOLICITATION = 135
_ARP_BYTES, _SOLICITATION_BYTES = 42, 78  # what such a frame has at least


@dataclass(frozen=True, slots=True)
class Asked:
    """The kernel asks by ARP or neighbour discovery who has an address, on a device."""

    device: str
    address: bytes


class Wires:
    """The wires of the devices of `near`; their other ends are in `far`."""

    def __init__(self, near: Namespace | None, far: Namespace) -> None:
        self._near = near
        self._tap = Tap(far)
        self._near_injector = Injector(near)
        self._far_injector = Injector(far)
        self._far_ends: dict[str, str] = {}
        self._devices: dict[str, str] = {}  # by the name of the far end
        self._seen_here: dict[str, Tap] = {}
        self._tuns: dict[str, int] = {}
        self._markers = 0

    def close(self) -> None:
        """Close all sockets; a second time does nothing."""
        for tap in (self._tap, *self._seen_here.values()):
            tap.close()
        for injector in (self._near_injector, self._far_injector):
            injector.close()
        for fd in self._tuns.values():
            os.close(fd)
        self._tuns.clear()

    def add_pair(self, device: str, far_end: str) -> None:
        """A device whose other end is in the far namespace."""
        self._far_ends[device] = far_end
        self._devices[far_end] = device

    def add_seen_here(self, device: str, tun_fd: int | None = None) -> None:
        """A device whose frames are seen on itself. `tun_fd`: its file descriptor, if it is a tun or tap."""
        self._seen_here[device] = Tap(self._near, device, outgoing=True)
        if tun_fd is not None:
            self._tuns[device] = tun_fd

    def remove(self, device: str) -> None:
        """A device that is there no more."""
        far_end = self._far_ends.pop(device, None)
        if far_end is not None:
            del self._devices[far_end]
        if device in self._seen_here:
            self._seen_here.pop(device).close()
        if device in self._tuns:
            os.close(self._tuns.pop(device))

    def has_far_end(self, device: str) -> bool:
        """Whether a device's other end is in the far namespace."""
        return device in self._far_ends

    def takes_in(self, device: str) -> bool:
        """Whether packets can come in by a device."""
        return device in self._far_ends or device in self._tuns

    def put_in(self, device: str, mac: bytes, packet: bytes) -> int:
        """Let an IP packet come in by a device whose address is `mac`: 0, or an errno (positive)."""
        link_type = _IPV4 if packet[:1] < b"\x60" else _IPV6
        frame = mac + _FAR_MAC + mac[-2:] + link_type + packet
        if device in self._far_ends:
            return self._far_injector.put(self._far_ends[device], frame)
        try:
            os.write(self._tuns[device], packet)
        except OSError as error:
            return error.errno or 0
        return 0

    def settle(self, devices: Iterable[str]) -> list[SeenFrame]:
        """The frames that left since the last call, in order: all of them, as far as the caller's CPU is concerned.

        `devices`: those that are up. Frames of one CPU arrive in the order they were sent in, so once a marker that
        was sent behind them has come by every wire, so have they.
        """
        seen: list[SeenFrame] = []
        ends = [name for name in devices if name in self._far_ends]
        for _ in range(_ROUNDS):
            seen += self._round(ends)
        for name, tap in self._seen_here.items():
            seen += (one for one in tap.frames() if not _is_marker(one.data))
            self._drain_tun(name)
        return seen

    def _round(self, devices: Iterable[str]) -> list[SeenFrame]:
        self._markers += 1
        payload = _MARKER + self._markers.to_bytes(8, "big")
        frame = bytes.fromhex("ffffffffffff") + _FAR_MAC + bytes(2) + _ETH_P_MARKER + payload
        waiting = {self._far_ends[name] for name in devices if self._near_injector.put(name, frame) == 0}
        seen: list[SeenFrame] = []
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            for one in self._tap.frames():
                if not _is_marker(one.data):
                    if one.device in self._devices:
                        seen.append(SeenFrame(self._devices[one.device], one.data, one.time))
                elif one.data.endswith(payload):
                    waiting.discard(one.device)
            if not waiting:
                return seen
            if not select.select([self._tap], [], [], max(end - time.monotonic(), 0))[0]:
                raise MissingError(
                    f"a frame sent by {', '.join(self._devices[one] for one in waiting)} did not arrive at the other"
                    f" end within {_PATIENCE_SECONDS:g} s: something in the kernel takes it (a filter, XDP, tc)"
                )

    def _drain_tun(self, device: str) -> None:
        """Take out of a tun what was seen on it, or it would be full."""
        if device in self._tuns:
            with contextlib.suppress(BlockingIOError, OSError):
                while True:
                    os.read(self._tuns[device], _TUN_BYTES)


def _is_marker(frame: bytes) -> bool:
    return frame[12:14] == _ETH_P_MARKER and frame[14 : 14 + len(_MARKER)] == _MARKER


def frames_of(seen: Iterable[SeenFrame], sent: bytes, time: int, bare: Container[str]) -> Iterator[Frame]:
    """Those that are no chatter: what a host says by itself. If the packet that was sent is of that kind, what has its
    source address is not. `time`: that of the packet, in ns. `bare`: the devices whose frames have no link header."""
    source = _source(sent) if _is_chatter(_with_link_header(sent)) else b""
    for one in seen:
        data = _with_link_header(one.data) if one.device in bare else one.data
        if not _is_chatter(data) or (source and _source(data[14:]) == source):
            yield Frame(one.device, one.data, time)


def _with_link_header(packet: bytes) -> bytes:
    return bytes(12) + (_IPV4 if packet[:1] < b"\x60" else _IPV6) + packet


def _source(packet: bytes) -> bytes:
    return packet[12:16] if packet[:1] < b"\x60" else packet[8:24]


def asked_of(seen: Iterable[SeenFrame]) -> Iterator[Asked]:
    """Who is asked for in frames."""
    for one in seen:
        frame = one.data
        if len(frame) < _ARP_BYTES:
            continue
        if frame[12:14] == _ETH_P_ARP and int.from_bytes(frame[20:22], "big") == _ARP_REQUEST:
            yield Asked(one.device, frame[38:42])
        if len(frame) < _SOLICITATION_BYTES:
            continue
        if frame[12:14] == _IPV6 and frame[20] == _ICMPV6 and frame[54] == _NEIGHBOUR_SOLICITATION:
            yield Asked(one.device, frame[62:78])


def _is_chatter(frame: bytes) -> bool:
    """ARP, IGMP, multicast listener and neighbour discovery, ICMP errors."""
    kind = frame[12:14]
    if kind == _ETH_P_ARP:
        return True
    if kind == _IPV4 and len(frame) > 23:
        at = 14 + (frame[14] & 15) * 4
        return frame[23] == _IGMP or (frame[23] == _ICMP and len(frame) > at and frame[at] in _ICMP_ERRORS)
    if kind == _IPV6 and len(frame) > 20:
        at = 54
        if frame[20] == _HOP_BY_HOP and len(frame) > 55:
            at += (frame[55] + 1) * 8
        protocol = frame[54] if frame[20] == _HOP_BY_HOP and len(frame) > 54 else frame[20]
        is_icmp = protocol == _ICMPV6 and len(frame) > at
        return is_icmp and (frame[at] < _ICMPV6_INFORMATION or frame[at] in _MLD_AND_ND)
    return False
