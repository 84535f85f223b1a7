"""Network devices of the kernel: listed, made, changed and deleted.

kernel: net/core/rtnetlink.c, drivers/net/veth.c, drivers/net/tun.c, net/ipv4/ip_tunnel.c. Messages are pyroute2's.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from routebpf.errors import InputError, MissingError
from routebpf.kernel.namespaces import Namespace, run_inside
from routebpf.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RouteSocket,
    attribute,
    read_attributes,
)

ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_IFINFO = struct.Struct("=BBHiII")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_EXT_MASK = 1, 3, 4, 18, 29
_INFO_KIND = 1
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_IFF_UP, _IFF_NOARP = 1, 0x80
_GRE_KEY = 0x2000

_TUN_FILE = "/dev/net/tun"
_TUNSETIFF, _TUNSETIFINDEX = 0x400454CA, 0x400454DA
_TUN_MODES = {"tun": 1, "tap": 2}
_IFF_NO_PI = 0x1000
# What pyroute2 calls the attributes of each kind of tunnel.
_TUNNEL_PREFIXES = {"ipip": "IFLA_IPIP_", "sit": "IFLA_SIT_", "gre": "IFLA_GRE_", "ip6tnl": "IFLA_IP6TNL_"}


@dataclass(frozen=True, slots=True)
class KernelDevice:
    """A device as the kernel lists it. `type`: ARPHRD_*; `kind`: its rtnl_link_ops ("veth"), "" for none."""

    ifindex: int
    name: str
    kind: str
    type: int
    mtu: int
    mac: bytes
    is_up: bool
    has_arp: bool


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """The outer header of a tunnel. Addresses in network order, None for any; `ttl` 0 and `tos` 1: the inner one's."""

    local: bytes | None = None
    remote: bytes | None = None
    device: int = 0
    ttl: int | None = None
    tos: int = 0
    input_key: int | None = None
    output_key: int | None = None
    path_mtu_discovery: bool = True


def list_devices(sock: RouteSocket) -> dict[str, KernelDevice]:
    """All devices of the namespace, by name."""
    body = _IFINFO.pack(0, 0, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))
    found = [_read_device(one.body) for one in sock.dump(_RTM_GETLINK, body, "listing devices")]
    return {one.name: one for one in found}


def add_veth(
    sock: RouteSocket,
    name: str,
    *,
    ifindex: int,
    mac: bytes,
    mtu: int,
    peer: str,
    peer_ifindex: int,
    peer_namespace: Namespace,
) -> None:  # fmt: skip
    """Make a veth device with its other end in another namespace, both down. Both ends have the same MTU: the kernel
    drops what is longer than that of the other end. With different ifindexes they are of use at once when both are up;
    with equal ones the kernel may take a second (net/core/link_watch.c, linkwatch_urgent_event()).
    """
    fd = os.open(peer_namespace.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        far = {"index": peer_ifindex, "attrs": [("IFLA_IFNAME", peer), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", fd)]}
        _add(sock, name, "veth", {"attrs": [("VETH_INFO_PEER", far)]}, ifindex=ifindex, mac=mac, mtu=mtu)
    finally:
        os.close(fd)


def add_device(
    sock: RouteSocket, name: str, kind: str, *, ifindex: int, mac: bytes | None = None, mtu: int | None = None
) -> None:  # fmt: skip
    """Make a device that needs nothing but its kind (dummy, ifb), down."""
    _add(sock, name, kind, None, ifindex=ifindex, mac=mac, mtu=mtu)


def add_tunnel(
    sock: RouteSocket, name: str, kind: str, settings: TunnelSettings, *, ifindex: int, mtu: int | None = None
) -> None:  # fmt: skip
    """Make a tunnel device (ipip, sit, gre, ip6tnl), down."""
    prefix = _TUNNEL_PREFIXES[kind]
    values: dict[str, Any] = {
        "LINK": settings.device or None,
        "LOCAL": str(ip_address(settings.local)) if settings.local else None,
        "REMOTE": str(ip_address(settings.remote)) if settings.remote else None,
        "TTL": settings.ttl,
        "TOS": settings.tos or None,
        "PMTUDISC": int(settings.path_mtu_discovery),
    }
    if kind == "gre":
        values |= {"IKEY": settings.input_key, "OKEY": settings.output_key}
        values |= {
            flags: _GRE_KEY for flags, key in (("IFLAGS", "IKEY"), ("OFLAGS", "OKEY")) if values[key] is not None
        }
    if kind == "ip6tnl":
        values["PROTO"] = 0  # IPv4 and IPv6 in IPv6
    data = {"attrs": [(prefix + key, value) for key, value in values.items() if value is not None]}
    _add(sock, name, kind, data, ifindex=ifindex, mac=None, mtu=mtu)


def open_tun(namespace: Namespace | None, name: str, mode: str, ifindex: int) -> int:
    """Make a tun or tap device, down: a file descriptor, from which what leaves by it can be read. With its end the
    device is gone."""

    def make() -> int:
        fd = os.open(_TUN_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(fd, _TUNSETIFINDEX, struct.pack("=I", ifindex))
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("=16sH22x", name.encode(), _TUN_MODES[mode] | _IFF_NO_PI))
        except OSError:
            os.close(fd)
            raise
        return fd

    try:
        return run_inside(namespace, make)
    except FileNotFoundError:
        raise MissingError(f"device {name}: there is no {_TUN_FILE}: the kernel's tun driver is missing") from None
    except OSError as error:
        raise InputError(f"device {name}: making a {mode} device: {error.strerror}") from None


def set_device(
    sock: RouteSocket,
    ifindex: int,
    doing: str,
    *,
    up: bool | None = None,
    mtu: int | None = None,
    mac: bytes | None = None,
    arp: bool | None = None,
    name: str | None = None,
) -> None:
    """Change what is given. `doing` begins the error, as "device va"."""
    message = _message(ifindex, [])
    for given, flag in ((up, _IFF_UP), (None if arp is None else not arp, _IFF_NOARP)):
        if given is not None:
            message["change"] |= flag
            message["flags"] |= flag if given else 0
    message["attrs"] = _common(name, mac, mtu)
    sock.request(_RTM_NEWLINK, _body(message), f"{doing}: changing it")


def delete_device(sock: RouteSocket, ifindex: int, doing: str) -> None:
    """Take a device away; with a veth goes its other end."""
    sock.request(_RTM_DELLINK, _IFINFO.pack(0, 0, 0, ifindex, 0, 0), f"{doing}: deleting it")


def _add(
    sock: RouteSocket,
    name: str,
    kind: str,
    data: Mapping[str, Any] | None,
    *,
    ifindex: int,
    mac: bytes | None,
    mtu: int | None,
) -> None:
    info: list[tuple[str, Any]] = [("IFLA_INFO_KIND", kind)]
    if data is not None:
        info.append(("IFLA_INFO_DATA", data))
    message = _message(ifindex, [*_common(name, mac, mtu), ("IFLA_LINKINFO", {"attrs": info})])
    doing = f"device {name}: making one of type {kind}"
    sock.request(_RTM_NEWLINK, _body(message), doing, flags=NLM_F_CREATE | NLM_F_EXCL)


def _common(name: str | None, mac: bytes | None, mtu: int | None) -> list[tuple[str, Any]]:
    given = (("IFLA_IFNAME", name), ("IFLA_MTU", mtu), ("IFLA_ADDRESS", mac.hex(":") if mac else None))
    return [(key, value) for key, value in given if value is not None]


def _message(ifindex: int, attrs: list[tuple[str, Any]]) -> Any:
    message = ifinfmsg()
    message.update({"index": ifindex, "flags": 0, "change": 0, "attrs": attrs})
    return message


def _body(message: Any) -> bytes:
    """What stands behind the header of a pyroute2 message."""
    message.encode()
    return bytes(message.data)[16:]


def _read_device(body: bytes) -> KernelDevice:
    _, _, kind, ifindex, flags, _ = _IFINFO.unpack_from(body)
    found = dict(read_attributes(body[_IFINFO.size :]))
    info = dict(read_attributes(found.get(_IFLA_LINKINFO, b"")))
    return KernelDevice(
        ifindex,
        found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="surrogateescape"),
        info.get(_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace"),
        kind,
        int.from_bytes(found.get(_IFLA_MTU, b""), "little"),
        found.get(_IFLA_ADDRESS, b""),
        bool(flags & _IFF_UP),
        not flags & _IFF_NOARP,
    )
