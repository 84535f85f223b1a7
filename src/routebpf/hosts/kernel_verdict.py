"""What became of a packet in the kernel, by what can be seen of it: the errno, the frames, the route it had to take.

Verdict and reason have the names of `datapath.verdicts`, but the kernel does not say them, and some look the same from
outside: `CANNOT_TELL`. Of those the likeliest is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from routebpf.datapath import verdicts as at
from routebpf.datapath.devices import Device
from routebpf.hosts.host import Frame
from routebpf.runtime.errno_values import (
    EACCES,
    EAFNOSUPPORT,
    EHOSTUNREACH,
    EINVAL,
    EMSGSIZE,
    ENETUNREACH,
    ENOBUFS,
    EPERM,
)

# Reasons that look the same from outside. A reroute that comes back to the hop where the packet was is a plain send to
# see; so is a redirect to the route's device with that hop's link header. What ends without a frame and an errno leaves
# no trace.
CANNOT_TELL: tuple[frozenset[int], ...] = (
    frozenset({at.SENT, at.REROUTED, at.REDIRECTED, at.LOCAL}),
    frozenset(
        {at.REDIRECT_FAILED, at.REDIRECTED, at.NEIGHBOUR_UNRESOLVED, at.DEVICE_DOWN, at.MULTICAST_SCOPE, at.LOCAL}
    ),
    frozenset({at.RETURN_CODE, at.PROTOCOL_CHANGED, at.BLACKHOLE, at.SOURCE_INVALID}),
    frozenset({at.NO_ROUTE, at.RULE_UNREACHABLE}),
    frozenset({at.UNREACHABLE, at.NEIGHBOUR_UNRESOLVED}),
)
_REASONS = {
    EPERM: at.PROGRAM_DROP,
    ENETUNREACH: at.NO_ROUTE,
    EHOSTUNREACH: at.UNREACHABLE,
    EACCES: at.PROHIBITED,
    EAFNOSUPPORT: at.REROUTE_PROTOCOL,
}
_BROADCAST_TYPES = frozenset({"broadcast", "multicast"})
_LOOPBACK = "lo"
_IPV6_LOOPBACK = bytes(15) + b"\1"


def looks_the_same(one: str, other: str, errno: int, *, is_seen: bool) -> bool:
    """Whether two reasons (names) are one as far as the kernel shows them. ENOBUFS is what any failure after a reroute
    is told by. `is_seen`: somebody saw an errno; nobody does of a packet that comes in, and whatever ends its way is
    silent, be it that a device received it (BPF_F_INGRESS)."""
    codes = frozenset(number for number, reason in enumerate(at.REASONS) if reason.name in (one, other))
    if len(codes) == 1 or errno == ENOBUFS or any(codes <= group for group in CANNOT_TELL):
        return True
    leaves = frozenset({at.SENT, at.REROUTED})
    return not is_seen and not codes & leaves


@dataclass(frozen=True, slots=True)
class Way:
    """Where the kernel's routes send a packet: `device` and `next_hop` (an address), or `refusal`, an errno. `number`:
    of the route among the host's, None if it takes none. `type`: of the route, "unicast"."""

    number: int | None
    device: str = ""
    next_hop: bytes = b""
    type: str = "unicast"
    refusal: int = 0
    has_program: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a packet. `packet`: from its IP header on, sound. `is_asked`: the kernel waits for the link
    address of the next hop. `comes_in`: by a wire; then `errno` is why it could not be put there."""

    packet: bytes
    errno: int
    frames: Sequence[Frame]
    way: Way
    is_asked: bool
    comes_in: bool


def reason_of_seen(seen: Seen, devices: Mapping[str, Device], neighbours: Mapping[tuple[str, bytes], bytes]) -> int:
    """The reason that what was seen stands for. `neighbours`: link addresses by device and address."""
    if seen.errno and seen.comes_in:
        return at.TOO_LONG if seen.errno == EMSGSIZE else at.DEVICE_DOWN
    if seen.errno:
        return _of_errno(seen, devices)
    if seen.frames:
        return _of_frames(seen, devices, neighbours)
    return _of_nothing_in(seen, devices) if seen.comes_in else _of_nothing(seen)


def _of_errno(seen: Seen, devices: Mapping[str, Device]) -> int:
    if seen.errno in _REASONS:
        return _REASONS[seen.errno]
    mtu = devices[seen.way.device].mtu if seen.way.device in devices else 0
    if seen.errno == EMSGSIZE:
        return at.TOO_LONG if mtu and len(seen.packet) > mtu else at.DONT_FRAGMENT
    if seen.errno == ENOBUFS:
        return at.RECURSION if seen.way.has_program else at.DEVICE_MTU
    if seen.errno != EINVAL:
        return at.NEIGHBOUR_UNRESOLVED
    return _of_invalid(seen)


def _of_invalid(seen: Seen) -> int:
    packet = seen.packet
    if packet[0] >> 4 == 4:
        source = packet[12]
        if source >> 4 == 0xE or packet[12:16] == b"\xff" * 4 or source == 127:
            return at.SOURCE_INVALID
    return at.RETURN_CODE if seen.way.has_program else at.BLACKHOLE


def _of_frames(seen: Seen, devices: Mapping[str, Device], neighbours: Mapping[tuple[str, bytes], bytes]) -> int:
    way = seen.way
    if way.type == "local" and all(one.device == _LOOPBACK for one in seen.frames):
        return at.LOCAL
    if not way.has_program:
        return at.SENT
    last = seen.frames[-1]
    if last.device == way.device:
        expected = neighbours.get((last.device, way.next_hop))
        return at.SENT if expected is None or last.data[:6] == expected else at.REROUTED
    device = devices.get(last.device)
    known = {mac for (name, _), mac in neighbours.items() if name == last.device}
    is_of_many = bool(last.data[0] & 1)
    is_own = device is not None and last.data[6:12] == device.mac and (is_of_many or last.data[:6] in known)
    return at.REROUTED if is_own or last.device == _LOOPBACK else at.REDIRECTED


def _of_nothing(seen: Seen) -> int:
    if seen.is_asked:
        return at.NEIGHBOUR_UNRESOLVED
    if seen.way.type == "local":
        return at.LOCAL
    if seen.packet[0] >> 4 == 6 and seen.packet[24] == 0xFF and seen.packet[25] & 15 <= 1:
        return at.MULTICAST_SCOPE
    return at.REDIRECT_FAILED if seen.way.has_program else at.NEIGHBOUR_UNRESOLVED


def _of_nothing_in(seen: Seen, devices: Mapping[str, Device]) -> int:
    way, packet = seen.way, seen.packet
    is_ipv4 = packet[0] >> 4 == 4
    if is_ipv4 and not _has_good_checksum(packet):
        return at.IP_CHECKSUM
    if is_ipv4 and packet[16] >> 4 == 0xE:
        return at.NOT_FORWARDED
    if not is_ipv4 and (packet[8] == 0xFF or packet[24:40] == _IPV6_LOOPBACK):
        return at.MARTIAN
    if way.type in _BROADCAST_TYPES:
        return at.NOT_FORWARDED
    if way.refusal:
        if way.refusal == EINVAL:
            return at.BLACKHOLE if way.number is not None else at.MARTIAN
        return _REASONS.get(way.refusal, at.NO_ROUTE)
    if way.type == "local":
        return at.LOCAL
    if packet[8 if is_ipv4 else 7] <= 1:
        return at.TTL_EXCEEDED
    if way.has_program:
        return at.PROGRAM_DROP
    if seen.is_asked:
        return at.NEIGHBOUR_UNRESOLVED
    mtu = devices[way.device].mtu if way.device in devices else len(packet)
    return at.FRAGMENTATION_NEEDED if len(packet) > mtu or (is_ipv4 and packet[6] & 0x40) else at.NOT_FORWARDED


def _has_good_checksum(packet: bytes) -> bool:
    header = packet[: (packet[0] & 15) * 4]
    return int.from_bytes(header, "big") % 0xFFFF == 0
