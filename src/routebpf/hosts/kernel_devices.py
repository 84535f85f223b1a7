"""The devices of a kernel host: made on wires whose other ends are in the far namespace, or found there."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from typing import Any

from routebpf.datapath.devices import KINDS, Device
from routebpf.errors import Error
from routebpf.hosts.kernel_life import Ground
from routebpf.hosts.kernel_wire import Wires
from routebpf.kernel import devices
from routebpf.kernel.namespaces import open_route_socket
from routebpf.kernel.netlink import RouteSocket
from routebpf.runtime.device import DEVICE_ETHERNET, DEVICE_NOARP

_FAR_INDEX = 1 << 20  # the ifindexes of far ends are these and those of the devices
# Those that are one end of a veth pair: a dummy is one without ARP, which shows the frames that it swallows.
_WIRED = frozenset({"ethernet", "veth", "dummy"})
_TUNS = frozenset({"tun", "tap"})
_TUNNELS = frozenset({"ipip", "sit", "gre", "ip6tnl"})
# What the kernel calls the kinds of devices that have another name here: by ARPHRD_*, where it has no kind.
_KINDS_BY_TYPE = {devices.ARPHRD_ETHER: "ethernet", devices.ARPHRD_LOOPBACK: "loopback"}


class DeviceMaker:
    """Makes and changes the devices of a ground, and tells the wires of them. `undo`: gets what takes away those that
    are made in a namespace which stays."""

    def __init__(self, ground: Ground, netlink: RouteSocket, wires: Wires, undo: ExitStack) -> None:
        self._near, self._far, self._stays = ground.near, ground.far, not ground.is_ours
        self._netlink = netlink
        self._undo = undo
        self._made: set[str] = set()
        self._far_netlink = open_route_socket(ground.far)
        self._wires = wires

    def close(self) -> None:
        self._far_netlink.close()

    def make(self, device: Device, tunnel: devices.TunnelSettings) -> None:
        """Make a device, with all that it is to have. Raises MissingError for a kind that the kernel does not have."""
        name, number, kind = device.name, device.ifindex, device.kind
        if kind in _WIRED:
            far_end = _far_end(device)
            devices.add_veth(
                self._netlink, name, ifindex=number, mac=device.mac, mtu=device.mtu, peer=far_end,
                peer_ifindex=_far_index(device), peer_namespace=self._far,
            )  # fmt: skip
            self._wires.add_pair(name, far_end)
            self._set_far_end(device, up=True)
        elif kind in _TUNS:
            self._wires.add_seen_here(name, devices.open_tun(self._near, name, kind, number))
            own = device.mac if KINDS[kind].flags & DEVICE_ETHERNET else None
            devices.set_device(self._netlink, number, f"device {name}", mtu=device.mtu, mac=own)
        elif kind in _TUNNELS:
            devices.add_tunnel(self._netlink, name, kind, tunnel, ifindex=number, mtu=device.mtu)
            self._wires.add_seen_here(name)
        else:
            devices.add_device(self._netlink, name, kind, ifindex=number, mac=device.mac, mtu=device.mtu)
            self._wires.add_seen_here(name)
        self._made.add(name)
        if self._stays:
            self._undo.callback(_delete_made, self._netlink, name, number)
        has_arp = device.has_arp and not KINDS[kind].flags & DEVICE_NOARP
        is_ethernet = bool(KINDS[kind].flags & DEVICE_ETHERNET)
        devices.set_device(
            self._netlink, number, f"device {name}", up=True if device.is_up else None,
            arp=has_arp if is_ethernet else None,
        )  # fmt: skip

    def has_made(self, name: str) -> bool:
        """Whether a device is one that was made, not one that was there."""
        return name in self._made

    def change(
        self, device: Device, *, up: bool | None, mtu: int | None, mac: bytes | None, arp: bool | None
    ) -> None:  # fmt: skip
        """Change what is given; both ends of a wire have the same MTU."""
        devices.set_device(self._netlink, device.ifindex, f"device {device.name}", up=up, mtu=mtu, mac=mac, arp=arp)
        if mtu is not None and self._wires.has_far_end(device.name):
            self._set_far_end(device, mtu=mtu)

    def adopt(self, found: devices.KernelDevice) -> Device:
        """A device that is there already: its frames are seen on itself."""
        kind = found.kind if found.kind in KINDS else _KINDS_BY_TYPE.get(found.type, "tun")
        mac = found.mac if len(found.mac) == 6 else bytes(6)
        self._wires.add_seen_here(found.name)
        return Device(found.name, found.ifindex, kind, found.mtu, mac, found.is_up, found.has_arp)

    def _set_far_end(self, device: Device, **changes: Any) -> None:
        doing = f"device {device.name}: its other end"
        devices.set_device(self._far_netlink, _far_index(device), doing, **changes)


def _delete_made(sock: RouteSocket, name: str, ifindex: int) -> None:
    """Take a device away if it is still there."""
    with contextlib.suppress(Error):
        found = devices.list_devices(sock).get(name)
        if found is not None and found.ifindex == ifindex:
            devices.delete_device(sock, ifindex, f"device {name}")


def _far_end(device: Device) -> str:
    return f"far{device.ifindex}"


def _far_index(device: Device) -> int:
    return _FAR_INDEX + device.ifindex
