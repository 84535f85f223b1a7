"""The host's routes as running code has them: built when packets are to go, if something changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from routebpf.datapath import fib_records as at
from routebpf.datapath.devices import KINDS, Device
from routebpf.datapath.fib import DeviceFacts, Fib, Route, RouteProgram, short_tables, write_fib
from routebpf.datapath.fib_image import Image
from routebpf.datapath.short_ways import ShortWays, Way
from routebpf.datapath.worker import HostImage
from routebpf.hosts.embedded_routes import HostAddress
from routebpf.runtime.device import DEVICE_LOOPBACK


def build_image(
    fibs: Mapping[int, Fib],
    devices: Mapping[str, Device],
    addresses: Sequence[tuple[str, HostAddress]],
    neighbours: int,
    *,
    make_neighbours: bool,
) -> tuple[HostImage, object, list[Route]]:
    """Number the routes and write both FIBs: what CPUs are told, the memory that must live on, the routes by number."""
    image = Image()
    own = {name: _ipv4_addresses(name, addresses) for name in devices}
    others = (address for found in own.values() for address, _ in found if address >> 24 != 127)
    facts = _facts_of(devices, own, next(others, 0))
    bare = {name: _bare_hop(image, one, facts[name]) for name, one in devices.items()}
    routes: list[Route] = []
    for fib in fibs.values():
        for table in fib.tables.values():
            for same in table.values():
                for index, route in enumerate(same):
                    same[index] = replace(route, number=len(routes))
                    routes.append(same[index])
    programs = [program for route in routes for program in route.programs]
    flags = at.HOST_MAKES_NEIGHBOURS if make_neighbours else 0
    if not make_neighbours or any(not _is_plain(one) for one in programs):
        flags |= at.HOST_WANTS_HEADERS
    ways: dict[int, list[Way]] = {family: [] for family in fibs}
    written = {family: write_fib(image, fib, facts, bare, ways[family]) for family, fib in fibs.items()}
    tables = short_tables(fibs[4])
    short = ShortWays(ways[4] if tables else [], tables, image)
    host = HostImage(written[4], written[6], neighbours, flags, len(routes), short.entries, short.hops)
    return host, (image, short), routes


_Own = tuple[tuple[int, IPv4Network], ...]


def _ipv4_addresses(device: str, addresses: Sequence[tuple[str, HostAddress]]) -> _Own:
    return tuple(
        (int(one.interface.ip), one.link)
        for name, one in addresses
        if name == device and isinstance(one.link, IPv4Network)
    )


def _facts_of(devices: Mapping[str, Device], own: Mapping[str, _Own], other: int) -> dict[str, DeviceFacts]:
    """`other`: the address that devices without one have, 0 if there is none."""
    return {
        name: DeviceFacts(
            one.ifindex, one.mtu, one.is_up, KINDS[one.kind].hard_header_bytes,
            not KINDS[one.kind].flags & DEVICE_LOOPBACK, own[name], other,
        )
        for name, one in devices.items()
    }  # fmt: skip


def _is_plain(program: RouteProgram) -> bool:
    return program.is_plain


def _bare_hop(image: Image, device: Device, facts: DeviceFacts) -> int:
    """A next hop by a device alone, with a route of its own that no table has."""
    place = image.take(at.HOP_BYTES)
    flags = at.HOP_PLAIN | (at.HOP_LOCAL if KINDS[device.kind].flags & DEVICE_LOOPBACK else 0)
    image.put32(
        place,
        {
            at.HOP_IFINDEX: device.ifindex,
            at.HOP_MTU: min(device.mtu, 0xFFFF),
            at.HOP_FLAGS: flags,
            at.HOP_PREFERRED: facts.source_for(None),
        },
    )
    return place
