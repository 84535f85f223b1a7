"""The devices of the embedded host: what each is, and the table of them that running code sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from routebpf.datapath.capture_link_types import LINKTYPE_ETHERNET, LINKTYPE_RAW
from routebpf.datapath.fib_image import Image
from routebpf.runtime import device as at

_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE = 1, 772, 0xFFFE


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """What devices of a kind have in common. `link_type`: LINKTYPE_* of their frames."""

    type: int
    hard_header_bytes: int
    mtu: int
    flags: int
    link_type: int


_TUNNEL_FLAGS = at.DEVICE_NOARP
_ETHERNET = DeviceKind(_ARPHRD_ETHER, 14, 1500, at.DEVICE_ETHERNET | at.DEVICE_PAIRED, LINKTYPE_ETHERNET)
KINDS = {
    "ethernet": _ETHERNET,
    "veth": _ETHERNET,
    "dummy": DeviceKind(
        _ARPHRD_ETHER, 14, 1500, at.DEVICE_ETHERNET | at.DEVICE_PAIRED | at.DEVICE_NOARP, LINKTYPE_ETHERNET
    ),
    "ifb": DeviceKind(
        _ARPHRD_ETHER, 14, 1500, at.DEVICE_ETHERNET | at.DEVICE_NOARP | at.DEVICE_QUEUED, LINKTYPE_ETHERNET
    ),
    "tap": DeviceKind(_ARPHRD_ETHER, 14, 1500, at.DEVICE_ETHERNET | at.DEVICE_QUEUED, LINKTYPE_ETHERNET),
    "loopback": DeviceKind(_ARPHRD_LOOPBACK, 14, 65536, at.DEVICE_LOOPBACK | at.DEVICE_NOARP, LINKTYPE_ETHERNET),
    "tun": DeviceKind(_ARPHRD_NONE, 0, 1500, _TUNNEL_FLAGS | at.DEVICE_QUEUED, LINKTYPE_RAW),
    "ipip": DeviceKind(768, 0, 1480, _TUNNEL_FLAGS, LINKTYPE_RAW),
    "ip6tnl": DeviceKind(769, 0, 1452, _TUNNEL_FLAGS, LINKTYPE_RAW),
    "sit": DeviceKind(776, 0, 1480, _TUNNEL_FLAGS, LINKTYPE_RAW),
    "gre": DeviceKind(778, 0, 1476, _TUNNEL_FLAGS, LINKTYPE_RAW),
}


@dataclass(frozen=True, slots=True)
class Device:
    """A device. `mac`: six bytes. `kind` is a key of KINDS."""

    name: str
    ifindex: int
    kind: str
    mtu: int
    mac: bytes
    is_up: bool = True
    has_arp: bool = True

    @property
    def link_type(self) -> int:
        """LINKTYPE_* of its frames."""
        return KINDS[self.kind].link_type


def write_devices(image: Image, devices: Iterable[Device]) -> tuple[int, int]:
    """Write the table of devices: its address, and its number of entries."""
    devices = list(devices)
    count = max((one.ifindex for one in devices), default=0) + 1
    table = image.take(count * at.DEVICE_BYTES)
    for one in devices:
        kind = KINDS[one.kind]
        flags = at.DEVICE_PRESENT | kind.flags | (at.DEVICE_UP if one.is_up else 0)
        flags |= 0 if one.has_arp else at.DEVICE_NOARP
        place = table + one.ifindex * at.DEVICE_BYTES
        image.put32(
            place,
            {
                at.DEVICE_FLAGS: flags,
                at.DEVICE_MTU: one.mtu,
                at.DEVICE_HARD_HEADER_LEN: kind.hard_header_bytes,
                at.DEVICE_TYPE: kind.type,
            },
        )
        image.put64(place, {at.DEVICE_MAC: int.from_bytes(one.mac.ljust(8, b"\0"), "little")})
    return table, count
