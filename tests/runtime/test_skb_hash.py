"""Two packets have the same flow hash here exactly where they have the same in the running kernel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skb_oracle import CONTEXT, Buffer, Size, call, in_kernel, natively, on_buffer

from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import HASH_L4, HASH_SOFTWARE, SKB_HASH, SKB_HASH_KIND

IP, IPV6, OTHER = 0x0800, 0x86DD, 0x88B5
GET = [call("get_hash_recalc", CONTEXT)]
A, B, C = b"\x0a\0\0\1", b"\x0a\0\0\2", b"\x8a\0\0\1"  # C: with its top bit set
A6, B6 = bytes([0xFD, *[0] * 14, 1]), bytes([0xFD, *[0] * 13, 1, 1])


def v4(protocol: int, payload: bytes, src: bytes = A, dst: bytes = B, *, fragment: int = 0, words: int = 5) -> bytes:
    head = bytes([0x40 | words, 0, 0, 0, 7, 7]) + fragment.to_bytes(2, "big") + bytes([64, protocol, 0, 0]) + src + dst
    return head + bytes(max(words - 5, 0) * 4) + payload


def v6(protocol: int, payload: bytes, src: bytes = A6, dst: bytes = B6, *, label: int = 0) -> bytes:
    return (0x60000000 | label).to_bytes(4, "big") + bytes([0, len(payload), protocol, 64]) + src + dst + payload


def ports(source: int, destination: int, rest: bytes = bytes(12)) -> bytes:
    return source.to_bytes(2, "big") + destination.to_bytes(2, "big") + rest


PAYLOADS = st.sampled_from(
    [ports(1, 2), ports(2, 1), ports(1, 1), ports(0, 0), ports(1, 3), ports(1, 2, bytes([*range(12)])), b"\1\2\3", b""]
)
ADDRESSES = st.tuples(st.sampled_from([A, B, C]), st.sampled_from([A, B, C]))
ADDRESSES6 = st.tuples(st.sampled_from([A6, B6]), st.sampled_from([A6, B6]))
PROTOCOLS = st.sampled_from([1, 6, 17, 33, 50, 51, 58, 132, 136, 115, 200])
FRAGMENTS = st.sampled_from([0, 0, 0, 0x4000, 0x2000, 0x2005, 5, 0x8000])


def build4(protocol: int, payload: bytes, addresses: tuple[bytes, bytes], fragment: int, words: int) -> bytes:
    return v4(protocol, payload, *addresses, fragment=fragment, words=words)


def build6(protocol: int, payload: bytes, addresses: tuple[bytes, bytes], label: int, extensions: bytes) -> bytes:
    body = payload
    kinds = [protocol]
    for kind in extensions:
        head = bytes([kinds[-1], 0]) + (b"\0\5" if kind == 44 else b"\0\0") + bytes(4)
        body = head + body
        kinds.append(kind)
    return v6(kinds[-1], body, *addresses, label=label)


FIELDS4 = (PROTOCOLS, PAYLOADS, ADDRESSES, FRAGMENTS, st.sampled_from([5, 5, 6, 4]))
EXTENSIONS = st.lists(st.sampled_from([0, 43, 44, 60]), max_size=3).map(bytes)
FIELDS6 = (PROTOCOLS, PAYLOADS, ADDRESSES6, st.sampled_from([0, 0, 0, 7]), EXTENSIONS)
PLAIN4, PLAIN6 = st.builds(build4, *FIELDS4), st.builds(build6, *FIELDS6)


def gre(flags: int, version: int, inner: bytes, protocol: int, key: bytes = b"") -> bytes:
    head = bytes([flags, version]) + protocol.to_bytes(2, "big")
    head += bytes(4) if flags & 0x80 else b""
    head += key if flags & 0x20 else b""
    head += bytes(4) if flags & 0x10 else b""
    return head + inner


def build_ip_in_ip(inner: bytes, outer_version: int, addresses: tuple[bytes, bytes]) -> bytes:
    protocol = 4 if ethertype(inner) == IP else 41
    return v4(protocol, inner, *addresses) if outer_version == 4 else v6(protocol, inner)


def build_gre(inner: bytes, flags: int, version: int, key: bytes, ethernet: bool) -> bytes:
    if ethernet:
        return v4(47, gre(flags, version, bytes(12) + ethertype(inner).to_bytes(2, "big") + inner, 0x6558, key))
    return v4(47, gre(flags, version, inner, ethertype(inner), key))


INNER = st.one_of(PLAIN4, PLAIN6)
FIELDS_IP_IN_IP = (INNER, st.sampled_from([4, 6]), ADDRESSES)
FIELDS_GRE = (
    INNER,
    st.sampled_from([0, 0x20, 0x80, 0xB0, 0x10, 0x40]),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.sampled_from([bytes(4), b"\0\0\0\1"]),
    st.booleans(),
)


@st.composite
def pairs(draw: st.DrawFn, build: Callable[..., bytes], *fields: st.SearchStrategy[object]) -> tuple[bytes, bytes]:
    """Two packets that differ in one field at most."""
    one = [draw(field) for field in fields]
    changed = draw(st.integers(0, len(fields) - 1))
    other = [*one[:changed], draw(fields[changed]), *one[changed + 1 :]]
    return build(*one), build(*other)


def ethertype(packet: bytes) -> int:
    return IP if packet[0] >> 4 == 4 else IPV6


def same(run: object, one: bytes, other: bytes) -> bool:
    assert callable(run)
    first, second = (run(GET, packet, protocol=ethertype(packet)).results[0] for packet in (one, other))
    return first == second


def check(one: bytes, other: bytes) -> None:
    assert same(natively, one, other) == same(in_kernel, one, other)


@pytest.mark.kernel
@given(pair=pairs(build4, *FIELDS4))
@example(pair=(v4(17, ports(1, 2)), v4(17, ports(2, 1), B, A)))
@example(pair=(v4(17, ports(1, 2)), v4(17, ports(2, 1))))
@example(pair=(v4(17, ports(1, 2)), v4(17, ports(1, 2), B, A)))
@example(pair=(v4(17, ports(1, 2), A, C), v4(17, ports(1, 2), C, A)))
@example(pair=(v4(1, ports(1, 2)), v4(1, ports(1, 3))))
@example(pair=(v4(17, ports(1, 2), fragment=0x2000), v4(17, ports(1, 3), fragment=5)))
@example(pair=(v4(51, bytes(4) + ports(1, 2)), v4(51, bytes(4) + ports(1, 3))))
def test_ipv4_flows_are_the_kernels(pair: tuple[bytes, bytes]) -> None:
    check(*pair)


@pytest.mark.kernel
@given(pair=pairs(build6, *FIELDS6))
@example(pair=(v6(17, ports(1, 2), label=7), v6(17, ports(1, 3), label=7)))
@example(pair=(v6(17, ports(1, 2), label=7), v6(6, ports(1, 2), label=7)))
@example(pair=(v6(17, ports(1, 2)), v6(17, ports(2, 1), B6, A6)))
def test_ipv6_flows_are_the_kernels(pair: tuple[bytes, bytes]) -> None:
    check(*pair)


@pytest.mark.kernel
@given(pair=st.one_of(pairs(build_ip_in_ip, *FIELDS_IP_IN_IP), pairs(build_gre, *FIELDS_GRE)))
@example(pair=(v4(4, v4(17, ports(1, 2))), v4(17, ports(1, 2))))
def test_flows_in_tunnels_are_the_kernels(pair: tuple[bytes, bytes]) -> None:
    check(*pair)


@pytest.mark.kernel
@given(pair=st.one_of(pairs(build4, *FIELDS4), pairs(build6, *FIELDS6)), flags=st.sampled_from([0, 0x20]))
def test_flows_in_tunnels_differ_where_those_of_the_packets_do(pair: tuple[bytes, bytes], flags: int) -> None:
    check(*(build_gre(one, flags, 0, b"\0\0\0\1", False) for one in pair))


@pytest.mark.kernel
def test_packets_cut_short_at_any_place_are_the_same_flow_where_they_are_in_the_kernel() -> None:
    whole = v4(47, gre(0x20, 0, v6(6, ports(1, 2)), IPV6, b"\0\0\0\1"))
    lengths = range(20, len(whole) + 1)
    for run in (in_kernel, natively):
        hashes = [partial(run, GET)(whole[:length]).results[0] for length in lengths]
        groups = [hashes.index(one) for one in hashes]
        if run is in_kernel:
            expected = groups
    assert groups == expected


@pytest.mark.kernel
def test_packets_that_are_no_ip_are_one_flow_by_their_ethertype() -> None:
    for run in (in_kernel, natively):
        one, other, third = (
            run(GET, packet, protocol=protocol).results[0]
            for packet, protocol in ((bytes(50), OTHER), (bytes([9] * 60), OTHER), (bytes(50), OTHER + 1))
        )
        assert one == other != third


@pytest.mark.kernel
def test_the_hash_of_a_packet_with_a_pushed_head_is_that_of_the_packet() -> None:
    packet = v4(17, ports(1, 2))
    pushed = [call("skb_change_head", CONTEXT, 14, 0), *GET]
    for run in (in_kernel, natively):
        assert run(pushed, packet).results[1] == run(GET, packet).results[0]


@pytest.mark.kernel
def test_a_hash_stays_until_it_is_made_invalid() -> None:
    change = call("skb_store_bytes", CONTEXT, 20, Buffer(b"\x77\x77"), Size(2, 2), 0)
    for run in (in_kernel, natively):
        first, _, kept, zero, new = run(
            [*GET, change, *GET, call("set_hash_invalid", CONTEXT), *GET], v4(17, ports(1, 2))
        ).results
        assert first == kept != new
        assert zero == 0
        assert 0 < first <= 0xFFFFFFFF


def test_the_hash_knows_whether_it_is_of_ports() -> None:
    for packet, kind in ((v4(17, ports(1, 2)), HASH_L4), (v4(1, ports(1, 2)), HASH_SOFTWARE)):
        buffer = PacketBuffer(packet)
        found = on_buffer(GET, buffer)
        assert buffer.read32(SKB_HASH_KIND) == kind
        assert found.results == [buffer.read32(SKB_HASH)]


def test_hashes_are_the_same_on_every_run_and_spread() -> None:
    hashes = {natively(GET, v4(17, ports(1, port))).results[0] for port in range(2, 1002)}
    assert len(hashes) == 1000
    assert len({one & 7 for one in hashes}) == 8
