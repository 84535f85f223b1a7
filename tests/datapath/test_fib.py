"""Lookups against a search through all prefixes one by one."""

from __future__ import annotations

import time
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routebpf.hosts.embedded import EmbeddedHost

DEVICES = ("d0", "d1", "d2", "d3")
NARROW = st.integers(0, 0xFFF)  # bits that make prefixes overlap


def network4(bits: int, length: int) -> IPv4Network:
    return IPv4Network(((0x0A << 24) | bits << 12 | bits, length), strict=False)


def network6(bits: int, length: int) -> IPv6Network:
    return IPv6Network(((0x20010DB8 << 96) | bits << 80 | bits << 40 | bits, length), strict=False)


def packet4(address: int) -> bytes:
    head = bytearray(b"\x45\0\0\x1c\x12\x34\x40\0\x40\x11\0\0\x01\x02\x03\x04") + address.to_bytes(4, "big")
    return bytes(head) + bytes(8)


def packet6(address: int) -> bytes:
    source = 0x20010DB8_FFFF << 80 | 1
    return b"\x60\0\0\0\0\x08\x11\x40" + source.to_bytes(16, "big") + address.to_bytes(16, "big") + bytes(8)


def expected(routes: dict, address: int) -> str | None:
    around = [one for one in routes if int(one.network_address) == address & int(one.netmask)]
    return routes[max(around, key=lambda one: one.prefixlen)] if around else None


def host_with(routes: dict) -> EmbeddedHost:
    host = EmbeddedHost()
    for name in DEVICES:
        host.add_device(name)
    for prefix, device in routes.items():
        host.add_route(str(prefix), dev=device)
    return host


def device_of(host: EmbeddedHost, packet: bytes) -> str | None:
    sent = host.send(packet)
    assert sent.reason in ("sent", "no-route")
    return sent.frames[0].device if sent.frames else None


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.builds(network4, NARROW, st.integers(8, 32)), st.sampled_from(DEVICES), max_size=40),
    st.lists(NARROW, min_size=1, max_size=20),
)
def test_the_longest_ipv4_prefix_wins(routes: dict, bits: list[int]) -> None:
    host = host_with(routes)
    for one in bits:
        address = 0x0A << 24 | one << 12 | one
        assert device_of(host, packet4(address)) == expected(routes, address)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.builds(network6, NARROW, st.integers(16, 128)), st.sampled_from(DEVICES), max_size=40),
    st.lists(NARROW, min_size=1, max_size=20),
)
def test_the_longest_ipv6_prefix_wins(routes: dict, bits: list[int]) -> None:
    host = host_with(routes)
    for one in bits:
        address = int(network6(one, 128).network_address)
        assert device_of(host, packet6(address)) == expected(routes, address)


def test_routes_that_come_and_go_are_seen_at_once() -> None:
    host = host_with({ip_network("10.0.0.0/8"): "d0"})
    packet = packet4(0x0A010203)
    assert device_of(host, packet) == "d0"
    host.add_route("10.1.0.0/16", dev="d1")
    assert device_of(host, packet) == "d1"
    host.add_route("10.1.0.0/16", dev="d2", replace=True)
    assert device_of(host, packet) == "d2"
    host.set_device("d2", up=False)
    assert device_of(host, packet) == "d0"
    host.set_device("d2", up=True)  # the kernel forgets a device's routes when it goes down
    assert device_of(host, packet) == "d0"
    host.delete_device("d0")
    assert device_of(host, packet) is None


@pytest.mark.parametrize("count", [10_000])
def test_many_routes_are_built_in_a_moment(count: int) -> None:
    host = EmbeddedHost()
    host.add_device("d0")
    for number in range(count):
        host.add_route(f"10.{number >> 8}.{number & 255}.0/24", dev="d0")
    start = time.perf_counter()
    assert device_of(host, packet4(0x0A030405)) == "d0"
    assert time.perf_counter() - start < 2
