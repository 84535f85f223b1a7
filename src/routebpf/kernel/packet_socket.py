"""Packets of the kernel, in and out: frames by AF_PACKET, IP packets by raw sockets.

kernel: net/packet/af_packet.c, net/ipv4/raw.c, net/ipv6/raw.c.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from dataclasses import dataclass

from routebpf.kernel.namespaces import Namespace, open_socket
from routebpf.kernel.permission import permission_error

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 8, 23
_PACKET_OUTGOING = 4
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_AUXDATA = struct.Struct("=IIIHHHH")
_STATUS_VLAN_VALID, _STATUS_VLAN_TPID_VALID = 1 << 4, 1 << 6
_ETH_P_8021Q = 0x8100
_MACS_BYTES = 12
_FRAME_BYTES = 1 << 17
_ROOM_BYTES = 64 << 20
_ANCILLARY_BYTES = 256

_IP_HDRINCL, _IP_TOS, _IP_PKTINFO, _IP_RECVERR = 3, 1, 8, 11
_IPV6_HDRINCL, _IPV6_RECVERR, _IPV6_PKTINFO, _IPV6_TCLASS, _IPV6_FREEBIND = 36, 25, 50, 67, 78
_IPPROTO_IPV6 = 41
_SO_MARK, _SO_PRIORITY = 36, 12


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame that a tap saw, on the device of that name. `time`: ns since the epoch."""

    device: str
    data: bytes
    time: int


class Tap:
    """Sees the frames of a namespace's devices.

    `device`: of one device, None for all. `outgoing`: sees what leaves by them instead of what comes in.
    """

    def __init__(self, namespace: Namespace | None, device: str | None = None, *, outgoing: bool = False) -> None:
        everywhere = socket.htons(_ETH_P_ALL) if device is None else 0
        self._socket = open_socket(namespace, socket.AF_PACKET, socket.SOCK_RAW, everywhere)
        self._is_outgoing = outgoing
        try:
            self._set(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM_BYTES)
        except PermissionError as error:
            self.close()
            raise permission_error("seeing frames", {"CAP_NET_ADMIN": "to make room for them"}) from error
        self._set(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._set(_SOL_PACKET, _PACKET_AUXDATA, 1)
        if not outgoing:
            self._set(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.setblocking(False)
        if device is not None:
            self._socket.bind((device, _ETH_P_ALL))

    def _set(self, level: int, option: int, value: int) -> None:
        self._socket.setsockopt(level, option, value)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def frames(self) -> list[SeenFrame]:
        """The frames seen since the last call."""
        seen = []
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(_FRAME_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # a device that went down says so once
                    raise
                continue
            if self._is_outgoing and address[2] != _PACKET_OUTGOING:
                continue
            time, tag = _ancillary(ancillary)
            if tag:
                data = data[:_MACS_BYTES] + tag + data[_MACS_BYTES:]
            seen.append(SeenFrame(address[0], data, time))
        return seen


def _ancillary(data: list[tuple[int, int, bytes]]) -> tuple[int, bytes]:
    """The time, and the VLAN tag that the kernel took out of the frame."""
    time, tag = 0, b""
    for level, kind, value in data:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack_from("=qq", value)
            time = seconds * 1_000_000_000 + nanoseconds
        elif level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(value)
            if status & _STATUS_VLAN_VALID:
                tag = struct.pack("!HH", tpid if status & _STATUS_VLAN_TPID_VALID else _ETH_P_8021Q, tci)
    return time, tag


def _protocol(frame: bytes) -> int:
    """The ethertype of an Ethernet frame, as a number in host order."""
    return int.from_bytes(frame[_MACS_BYTES : _MACS_BYTES + 2], "big")


class Injector:
    """Puts frames onto the devices of a namespace, as its stack does, past all routes."""

    def __init__(self, namespace: Namespace | None) -> None:
        self._socket = open_socket(namespace, socket.AF_PACKET, socket.SOCK_RAW, 0)

    def close(self) -> None:
        self._socket.close()

    def put(self, device: str, frame: bytes) -> int:
        """Put an Ethernet frame onto a device: 0, or the errno (positive)."""
        try:
            self._socket.sendto(frame, (device, _protocol(frame)))
        except OSError as error:
            return error.errno or errno.EIO
        return 0


class RawSender:
    """Sends IP packets as they are, header and all, from a namespace: the errno that each is answered with.

    Its sockets hear of errors that others do not (IP_RECVERR, IPV6_RECVERR), may send broadcasts, and do not hear their
    own multicasts: a host would learn neighbours from them. A packet is sent with its own TOS and source address, so
    that rules and routes see these.
    """

    def __init__(self, namespace: Namespace | None) -> None:
        self._raw4 = open_socket(namespace, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw6 = open_socket(namespace, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw4.setsockopt(socket.IPPROTO_IP, _IP_HDRINCL, 1)
        self._raw4.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        self._raw4.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._raw4.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self._raw6.setsockopt(_IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        self._raw6.setsockopt(_IPPROTO_IPV6, _IPV6_RECVERR, 1)
        self._raw6.setsockopt(_IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        self._raw6.setsockopt(_IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self._options: dict[int, tuple[int, int]] = {}

    def close(self) -> None:
        self._raw4.close()
        self._raw6.close()

    def send(self, packet: bytes, *, mark: int = 0, priority: int = 0) -> int:
        """Send a packet, from its IP header on: 0, or the errno (positive)."""
        sock = self._raw4 if packet[0] >> 4 == 4 else self._raw6
        self._set_options(sock, mark, priority)
        number = 0
        try:
            self._send4(packet) if sock is self._raw4 else self._send6(packet)
        except OSError as error:
            number = error.errno or errno.EIO
        self._forget_errors(sock)
        return number

    def _set_options(self, sock: socket.socket, mark: int, priority: int) -> None:
        if self._options.get(sock.fileno()) != (mark, priority):
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, struct.pack("=I", mark))
            sock.setsockopt(socket.SOL_SOCKET, _SO_PRIORITY, priority)
            self._options[sock.fileno()] = (mark, priority)

    def _send4(self, packet: bytes) -> None:
        destination = packet[16:20].ljust(4, b"\0")
        ancillary = [(socket.IPPROTO_IP, _IP_TOS, struct.pack("=i", packet[1] if len(packet) > 1 else 0))]
        if not 0xE0 <= destination[0] < 0xF0 and destination != b"\xff" * 4:
            # A multicast or broadcast packet of a given source would go by the device of that address and no route.
            ancillary.append((socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", 0, packet[12:16], bytes(4))))
        self._raw4.sendmsg([packet], ancillary, 0, (socket.inet_ntoa(destination), 0))

    def _send6(self, packet: bytes) -> None:
        destination = packet[24:40].ljust(16, b"\0")
        source = packet[8:24]
        traffic_class = int.from_bytes(packet[:2], "big") >> 4 & 0xFF
        ancillary = [(_IPPROTO_IPV6, _IPV6_TCLASS, struct.pack("=i", traffic_class))]
        if len(source) == 16 and any(source) and source[0] != 0xFF and source[:2] < b"\xfe\x80":
            # Others are refused: a link-local address is one of a device, a multicast one none to send from.
            ancillary.append((_IPPROTO_IPV6, _IPV6_PKTINFO, source + bytes(4)))
        self._raw6.sendmsg([packet], ancillary, 0, (socket.inet_ntop(socket.AF_INET6, destination), 0))

    def _forget_errors(self, sock: socket.socket) -> None:
        """Take errors that came later off the socket: the next send would report them."""
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        with contextlib.suppress(OSError):
            while True:
                sock.recvmsg(0, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
