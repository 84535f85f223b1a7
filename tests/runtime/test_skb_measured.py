"""What the helpers did, measured on Linux 6.18, to real packets: their checksum is the device's to finish
(CHECKSUM_PARTIAL), their transport header is known, and they may be GSO. BPF_PROG_TEST_RUN has no such packets."""

from __future__ import annotations

import struct

import pytest
from skb_oracle import CONTEXT, UNSET_HEADER, Buffer, Call, Machine, Size, call, on_buffer

from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import (
    CHECKSUM_PARTIAL,
    HASH_L4,
    HEADROOM,
    SKB_CSUM_OFFSET,
    SKB_CSUM_START,
    SKB_GSO_SEGS,
    SKB_GSO_SIZE,
    SKB_GSO_TYPE,
    SKB_HASH,
    SKB_HASH_KIND,
    SKB_IP_SUMMED,
    SKB_TRANSPORT_HEADER,
)

GSO_UDP_L4 = 1 << 17
INNER = bytes.fromhex("4500008071174000 4011b4cf0a4200010a420002")


def sent_packet(length: int = 128) -> PacketBuffer:
    """A UDP packet that the host sends."""
    buffer = PacketBuffer(INNER + bytes.fromhex("d431 15b3 006c 0000") + b"x" * (length - 28))
    buffer.write64(SKB_TRANSPORT_HEADER, HEADROOM + 20)
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_PARTIAL)
    buffer.write64(SKB_CSUM_START, HEADROOM + 20)
    buffer.write64(SKB_CSUM_OFFSET, 6)
    return buffer


def sent_gso_packet() -> PacketBuffer:
    """2000 bytes sent with UDP_SEGMENT=500."""
    buffer = sent_packet(2028)
    for field, value in ((SKB_GSO_SIZE, 500), (SKB_GSO_SEGS, 4), (SKB_GSO_TYPE, GSO_UDP_L4)):
        buffer.write32(field, value)
    return buffer


def store(offset: int, data: bytes, flags: int = 0) -> Call:
    return call("skb_store_bytes", CONTEXT, offset, Buffer(data), Size(len(data), len(data)), flags)


def load(offset: int, size: int) -> Call:
    return call("skb_load_bytes", CONTEXT, offset, Buffer(b"", size), Size(size, size))


def l3(offset: int, size: int) -> Call:
    return call("l3_csum_replace", CONTEXT, offset, 0, 0, size)


def l4(flags: int) -> Call:
    return call("l4_csum_replace", CONTEXT, 26, 0, 0, flags)


def tail(length: int, flags: int = 0) -> Call:
    return call("skb_change_tail", CONTEXT, length, flags)


def head(size: int, flags: int = 0) -> Call:
    return call("skb_change_head", CONTEXT, size, flags)


def encap(kind: int, header: bytes) -> Call:
    return call("lwt_push_encap", CONTEXT, kind, Buffer(header), Size(len(header), len(header)))


IPIP = bytes.fromhex("45000094 00000000 40040000 0a430001 0a430002")
UNCHANGED = (128, UNSET_HEADER, 0)  # len, mac header, network header

# "single helper results": the call, r0, what it left
RESULTS: list[tuple[Call, int, tuple[int, int, int]]] = [
    (store(200, b"abcd"), -14, UNCHANGED),
    (store(0x10000, b"abcd"), -14, UNCHANGED),
    (store(0, b"abcd", 4), -22, UNCHANGED),
    (store(0, b"abcd", 2), 0, UNCHANGED),
    (load(125, 4), -14, UNCHANGED),
    (load(0x10000, 4), -14, UNCHANGED),
    (l3(11, 2), -14, UNCHANGED),
    (l3(200, 2), -14, UNCHANGED),
    (l3(10, 3), -22, UNCHANGED),
    (l3(10, 0x100), -22, UNCHANGED),
    (l4(0x100), -22, UNCHANGED),
    (l4(8), -22, UNCHANGED),
    (call("csum_level", CONTEXT, 0), -13, UNCHANGED),
    (call("csum_level", CONTEXT, 1), 0, UNCHANGED),
    (call("csum_level", CONTEXT, 3), 0, UNCHANGED),
    (call("csum_level", CONTEXT, 9), -22, UNCHANGED),
    (call("csum_update", CONTEXT, 5), -524, UNCHANGED),
    (call("set_hash_invalid", CONTEXT), 0, UNCHANGED),
    (call("skb_pull_data", CONTEXT, 0), 0, UNCHANGED),
    (call("skb_pull_data", CONTEXT, 128), 0, UNCHANGED),
    (call("skb_pull_data", CONTEXT, 129), -12, UNCHANGED),
    (tail(0), -22, UNCHANGED),
    (tail(19), -22, UNCHANGED),
    (tail(20), -22, UNCHANGED),
    (tail(27), -22, UNCHANGED),
    (tail(28), 0, (28, UNSET_HEADER, 0)),
    (tail(100), 0, (100, UNSET_HEADER, 0)),
    (tail(132), 0, (132, UNSET_HEADER, 0)),
    (tail(60000), -22, UNCHANGED),
    (tail(70000), -22, UNCHANGED),
    (tail(100, 1), -22, UNCHANGED),
    (head(0), 0, (128, 0, 0)),
    (head(14), 0, (142, 0, 14)),
    (head(14, 1), -22, UNCHANGED),
    (head(1000), 0, (1128, 0, 1000)),
    (head(70000), -22, UNCHANGED),
    (head(-1), -22, UNCHANGED),
    (call("redirect", 2, 0), 7, UNCHANGED),
    (call("redirect", 2, 2), 2, UNCHANGED),
    (call("redirect", 2, 1), 7, UNCHANGED),
    (call("redirect", 9999, 0), 7, UNCHANGED),
    (call("clone_redirect", CONTEXT, 9999, 0), -22, UNCHANGED),
    (call("clone_redirect", CONTEXT, 2, 2), -22, UNCHANGED),
    (call("get_cgroup_classid", CONTEXT), 0, UNCHANGED),
    (call("get_route_realm", CONTEXT), 0, UNCHANGED),
    (call("skb_get_tunnel_key", CONTEXT, Buffer(b"", 28), 28, 0), -22, UNCHANGED),
    (call("skb_get_tunnel_key", CONTEXT, Buffer(b"", 28), 3, 0), -22, UNCHANGED),
    (call("skb_get_tunnel_opt", CONTEXT, Buffer(b"", 8), 8), -2, UNCHANGED),
    (call("skb_set_tunnel_opt", CONTEXT, Buffer(bytes(8)), 8), -22, UNCHANGED),
    (encap(0, IPIP), -22, UNCHANGED),
    (encap(1, IPIP), -22, UNCHANGED),
    (encap(9, IPIP), -22, UNCHANGED),
    (encap(2, IPIP[:19]), -22, UNCHANGED),
    (encap(2, b"\x05" + IPIP[1:]), -22, UNCHANGED),
    (encap(2, IPIP + bytes(240)), -22, UNCHANGED),
    (encap(2, b"\x46" + IPIP[1:]), -22, UNCHANGED),
]


@pytest.mark.parametrize(("one", "r0", "left"), RESULTS, ids=[f"{n}-{row[0].helper}" for n, row in enumerate(RESULTS)])
def test_a_helper_on_a_sent_packet_answers_and_leaves_what_was_measured(
    one: Call, r0: int, left: tuple[int, int, int]
) -> None:
    outcome = on_buffer([one], sent_packet(), Machine())
    state = outcome.state
    assert outcome.results == [r0]
    assert (state["len"], state["mac_header"], state["network_header"]) == left
    assert (state["hash"], state["ip_summed"]) == (0, CHECKSUM_PARTIAL)


# "push_encap": the header, len, protocol, where the transport header is, what is before the inner header on the wire
@pytest.mark.parametrize(
    ("header", "length", "protocol", "transport", "wire"),
    [
        (IPIP, 148, 0x0008, 40, "4500009400000000400465de0a4300010a430002"),
        (b"\x45\0\0\0" + IPIP[4:], 148, 0x0008, 40, "450000000000000040046672 0a4300010a430002"),
        (IPIP[:10] + b"\x12\x34" + IPIP[12:], 148, 0x0008, 40, "450000940000000040041234 0a4300010a430002"),
        (
            bytes.fromhex("45000098 00000000 402f0000 0a430001 0a430002 00000800"),
            152, 0x0008, 44, "450000980000000040 2f65af0a4300010a43000200000800",
        ),
        (
            bytes.fromhex("600000000080 0440 fd670000000000000000000000000001 fd670000000000000000000000000002"),
            168, 0xDD86, 60, "6000000000800440fd670000000000000000000000000001fd670000000000000000000000000002",
        ),
        (
            bytes.fromhex("4f0000bc 00000000 40040000 0a430001 0a430002") + b"\1" * 40,
            188, 0x0008, 80, "4f0000bc00000000400447a20a4300010a430002" + "01" * 40,
        ),
    ],
)  # fmt: skip
def test_an_outer_header_is_on_the_wire_as_measured(
    header: bytes, length: int, protocol: int, transport: int, wire: str
) -> None:
    outcome = on_buffer([encap(2, header)], sent_packet())
    state = outcome.state
    assert outcome.results == [0]
    assert (state["len"], state["protocol"], state["transport_header"]) == (length, protocol, transport)
    assert (state["network_header"], state["mac_header"], state["encapsulation"]) == (0, UNSET_HEADER, 1)
    assert outcome.packet.startswith(bytes.fromhex(wire) + INNER)


def test_a_header_on_udp_gso_is_refused_and_there() -> None:
    outcome = on_buffer([encap(2, IPIP)], sent_gso_packet())
    assert outcome.results == [-524]
    assert (outcome.state["len"], outcome.state["encapsulation"]) == (2048, 1)


# "gso": the call, len, gso_size, gso_segs
@pytest.mark.parametrize(
    ("one", "left"),
    [
        (head(14), (2042, 500, 4)),
        (tail(1000), (1000, 0, 0)),
        (tail(2100), (2100, 0, 0)),
        (call("skb_pull_data", CONTEXT, 0), (2028, 500, 4)),
        (call("skb_pull_data", CONTEXT, 2028), (2028, 500, 4)),
        (store(1000, b"abcd"), (2028, 500, 4)),
        (load(1000, 4), (2028, 500, 4)),
    ],
)
def test_a_helper_on_a_gso_packet_leaves_what_was_measured(one: Call, left: tuple[int, int, int]) -> None:
    outcome = on_buffer([one], sent_gso_packet())
    assert outcome.results == [0]
    assert (outcome.state["len"], outcome.state["gso_size"], outcome.state["gso_segs"]) == left


# "store_bytes_csum": nothing mends the IP header's checksum or the open one of UDP …
@pytest.mark.parametrize("flags", [0, 1])
def test_a_stored_address_leaves_every_checksum(flags: int) -> None:
    outcome = on_buffer([store(12, b"\x0a\x42\0\x63", flags)], sent_packet())
    assert outcome.packet == INNER[:12] + b"\x0a\x42\0\x63" + INNER[16:] + outcome.packet[20:]
    assert outcome.packet[26:28] == bytes(2)


# … but the two helpers do.
def test_nat_by_the_checksum_helpers_leaves_a_header_that_is_right() -> None:
    old, new = (struct.unpack("<I", one)[0] for one in (b"\x0a\x42\0\1", b"\x0a\x42\0\x63"))
    calls = [
        call("l4_csum_replace", CONTEXT, 26, old, new, 0x10 | 0x20 | 4),
        call("l3_csum_replace", CONTEXT, 10, old, new, 4),
        store(12, b"\x0a\x42\0\x63"),
    ]
    outcome = on_buffer(calls, sent_packet())
    assert outcome.results == [0, 0, 0]
    total = sum(struct.unpack(">10H", outcome.packet[:20]))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


# "tunnel_key": a key of 28 bytes, id 42, TTL 64, remote 10.67.0.2, and what bpf_skb_get_tunnel_key gives back
def test_a_tunnel_key_comes_back_with_its_remote_as_the_local_address() -> None:
    key = struct.pack("<I", 42) + struct.pack("<I", 0x0A430002) + bytes(12) + b"\0\x40" + bytes(6)
    calls = [
        call("skb_set_tunnel_key", CONTEXT, Buffer(key), 28, 0),
        call("skb_get_tunnel_key", CONTEXT, Buffer(b"", 28), 28, 0),
    ]
    outcome = on_buffer(calls, sent_packet())
    assert outcome.buffers[1].hex() == "2a000000000000000000000000000000000000000040000000000000"


@pytest.mark.parametrize(("size", "result"), [(28, 0), (24, 0), (16, -22), (8, 0), (12, -22), (44, 0), (50, -22)])
def test_tunnel_keys_of_these_sizes_were_taken_or_refused(size: int, result: int) -> None:
    one = call("skb_set_tunnel_key", CONTEXT, Buffer(bytes(64)), size, 0)
    assert on_buffer([one], sent_packet()).results == [result]


@pytest.mark.parametrize(("flags", "result"), [(0x100, -22), (1, 0), (0x1F, 0)])
def test_tunnel_keys_with_these_flags_were_taken_or_refused(flags: int, result: int) -> None:
    one = call("skb_set_tunnel_key", CONTEXT, Buffer(bytes(64)), 44, flags)
    assert on_buffer([one], sent_packet()).results == [result]


# "udp4 100B connected": the hash that the socket gave is the one that the helper tells
def test_a_hash_that_a_socket_gave_is_kept() -> None:
    buffer = sent_packet()
    buffer.write32(SKB_HASH, 390772041)
    buffer.write32(SKB_HASH_KIND, HASH_L4)
    assert on_buffer([call("get_hash_recalc", CONTEXT)], buffer).results == [390772041]
