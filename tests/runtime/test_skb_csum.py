"""The checksum helpers do what the running kernel's do, bit for bit, zero and all ones told apart."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skb_oracle import CONTEXT, Buffer, Size, call, check, on_buffer

from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import (
    CHECKSUM_COMPLETE,
    CHECKSUM_PARTIAL,
    HEADROOM,
    SKB_CSUM,
    SKB_CSUM_OFFSET,
    SKB_CSUM_START,
    SKB_IP_SUMMED,
)

# Many of these bytes are 0 or 255: the sums whose zero is in question.
BYTES = st.lists(st.one_of(st.sampled_from([0, 0xFF]), st.integers(0, 255)), min_size=0, max_size=64).map(bytes)
WORDS = st.one_of(
    st.sampled_from([0, 1, 0xFFFF, 0xFFFE, 0x10000, 0xFFFF0000, 0xFFFFFFFF, -1, 1 << 63]),
    st.integers(0, (1 << 64) - 1),
)
OFFSETS = st.one_of(
    st.sampled_from([10, 26, 24, 126, 127, 128, 0xFFFE, 0x10000, 0x1_0000_000A, -2]), st.integers(0, 130)
)
FIELDS = st.sampled_from([b"\0\0", b"\xff\xff", b"\x12\x34", b"\x80\0"])
L4_FLAGS = st.one_of(
    st.integers(0, 0xFF), st.sampled_from([0x10, 0x12, 0x14, 0x30, 0x34, 0x74, 0x22, 0x62, 0x90, 0x100])
)


def packet_with(field: bytes) -> bytes:
    """128 bytes that hold `field` at every even offset from 10 on."""
    return b"\x45" + bytes(9) + field * 59


@pytest.mark.kernel
@given(old=BYTES, new=BYTES, seed=WORDS)
@example(old=b"\xff\xff\xff\xff", new=b"\0\0\0\0", seed=0)
@example(old=b"\xff\xff\0\0", new=b"\0\0\0\0", seed=0)
@example(old=b"", new=b"", seed=0x1FFFF)
@example(old=b"\1", new=b"\2\3\4", seed=0)
def test_csum_diff_is_the_kernels(old: bytes, new: bytes, seed: int) -> None:
    old_size, new_size = (Size(len(one), 64, may_be_zero=True) for one in (old, new))
    check([call("csum_diff", Buffer(old, 64), old_size, Buffer(new, 64), new_size, seed)], packet_with(b"\0\0"))


@pytest.mark.kernel
@given(
    field=FIELDS,
    offset=OFFSETS,
    old=WORDS,
    new=WORDS,
    flags=st.one_of(st.integers(0, 5), st.sampled_from([0x10, 1 << 32])),
)
@example(field=b"\x12\x34", offset=10, old=0, new=0xFFFF, flags=0)
@example(field=b"\x12\x34", offset=11, old=0, new=0, flags=3)
def test_l3_csum_replace_is_the_kernels(field: bytes, offset: int, old: int, new: int, flags: int) -> None:
    check([call("l3_csum_replace", CONTEXT, offset, old, new, flags)], packet_with(field))


@pytest.mark.kernel
@given(field=FIELDS, offset=OFFSETS, old=st.one_of(st.just(0), WORDS), new=WORDS, flags=L4_FLAGS)
@example(field=b"\0\0", offset=26, old=0, new=0, flags=0x23)
@example(field=b"\0\0", offset=26, old=7, new=0, flags=0x60)
@example(field=b"\xff\xff", offset=26, old=0, new=0, flags=0x34)
def test_l4_csum_replace_is_the_kernels(field: bytes, offset: int, old: int, new: int, flags: int) -> None:
    check([call("l4_csum_replace", CONTEXT, offset, old, new, flags)], packet_with(field))


@pytest.mark.kernel
@given(levels=st.lists(st.integers(0, 4), min_size=1, max_size=10))
@example(levels=[1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 0])
@example(levels=[1, 1, 3, 0])
def test_csum_level_counts_as_the_kernels(levels: list[int]) -> None:
    check([call("csum_level", CONTEXT, level) for level in levels], packet_with(b"\0\0"))


@pytest.mark.kernel
def test_csum_update_and_levels_beyond_32_bits_fail_as_the_kernels() -> None:
    calls = [call("csum_update", CONTEXT, 5), call("csum_level", CONTEXT, 1 << 32)]
    assert check(calls, packet_with(b"\0\0")).results == [-524, -22]


def fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def words(data: bytes) -> int:
    return fold(sum(struct.unpack(f">{len(data) // 2}H", data)))


def udp_packet(source: bytes) -> bytes:
    """IPv4 and UDP headers and 8 bytes, whose UDP checksum field holds the sum of the pseudo header."""
    destination, length = b"\x0a\x42\0\2", 16
    pseudo = words(source + destination + struct.pack(">HH", 17, length))
    ip = struct.pack(">BBHIBBH", 0x45, 0, 36, 0, 64, 17, 0) + source + destination
    return ip + struct.pack(">HHHH", 1000, 2000, length, pseudo) + b"payload!"


@given(old=st.binary(min_size=4, max_size=4), new=st.binary(min_size=4, max_size=4))
def test_an_open_checksum_stays_the_sum_of_the_pseudo_header(old: bytes, new: bytes) -> None:
    # measured on 6.18: l4_csum_replace with BPF_F_PSEUDO_HDR, of a packet that is CHECKSUM_PARTIAL
    buffer = PacketBuffer(udp_packet(old))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_PARTIAL)
    buffer.write64(SKB_CSUM_START, HEADROOM + 20)
    buffer.write64(SKB_CSUM_OFFSET, 6)
    before, after = (int.from_bytes(one, "little") for one in (old, new))
    flags = 0x10 | 0x20 | 4
    outcome = on_buffer([call("l4_csum_replace", CONTEXT, 26, before, after, flags)], buffer)
    found = int.from_bytes(outcome.packet[26:28], "big")
    assert found % 0xFFFF == int.from_bytes(udp_packet(new)[26:28], "big") % 0xFFFF


def test_what_no_pseudo_header_holds_leaves_an_open_checksum_alone() -> None:
    # measured on 6.18: l4_csum_replace without BPF_F_PSEUDO_HDR on a CHECKSUM_PARTIAL packet
    buffer = PacketBuffer(udp_packet(b"\x0a\x42\0\1"))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_PARTIAL)
    calls = [call("l4_csum_replace", CONTEXT, 26, 1, 2, 4), call("l4_csum_replace", CONTEXT, 26, 0, 2, 0)]
    assert on_buffer(calls, buffer).packet == udp_packet(b"\x0a\x42\0\1")


@given(old=st.binary(min_size=4, max_size=4), new=st.binary(min_size=4, max_size=4), by_difference=st.booleans())
def test_a_device_sum_follows_an_address_and_its_checksums(old: bytes, new: bytes, by_difference: bool) -> None:
    """RFC 1071: the sum over the packet after NAT of the address, IP checksum and UDP checksum is the one kept."""
    packet = udp_packet(old)
    buffer = PacketBuffer(packet)
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_COMPLETE)
    buffer.write32(SKB_CSUM, int.from_bytes(words(packet).to_bytes(2, "big"), "little"))
    before, after = (int.from_bytes(one, "little") for one in (old, new))
    if by_difference:
        difference = (before ^ 0xFFFFFFFF) + after
        difference = (difference & 0xFFFFFFFF) + (difference >> 32)
        l4 = call("l4_csum_replace", CONTEXT, 26, 0, difference, 0x10)
    else:
        l4 = call("l4_csum_replace", CONTEXT, 26, before, after, 0x14)
    store = call("skb_store_bytes", CONTEXT, 12, Buffer(new), 4, 0)
    outcome = on_buffer([l4, call("l3_csum_replace", CONTEXT, 10, before, after, 4), store], buffer)
    assert outcome.results == [0, 0, 0]
    kept = words(buffer.read32(SKB_CSUM).to_bytes(4, "little"))
    assert kept % 0xFFFF == words(outcome.packet) % 0xFFFF


@pytest.mark.parametrize("flags", [0, 2, 4])
def test_a_device_sum_does_not_follow_what_a_checksum_covers_with_its_field(flags: int) -> None:
    # RFC 1071: a word and the checksum over it change the sum of both by nothing
    buffer = PacketBuffer(udp_packet(b"\x0a\x42\0\1"))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_COMPLETE)
    buffer.write32(SKB_CSUM, 0x1234)
    on_buffer([call("l4_csum_replace", CONTEXT, 26, 0, 0x77, flags)], buffer)
    assert buffer.read32(SKB_CSUM) == 0x1234


def test_a_device_sum_does_not_follow_an_ipv6_address_and_its_only_checksum() -> None:
    # kernel: BPF_F_IPV6 of bpf_l4_csum_replace(); there is no checksum in an IPv6 header to change as well
    buffer = PacketBuffer(udp_packet(b"\x0a\x42\0\1"))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_COMPLETE)
    buffer.write32(SKB_CSUM, 0x1234)
    on_buffer([call("l4_csum_replace", CONTEXT, 26, 0, 0x77, 0x90)], buffer)
    assert buffer.read32(SKB_CSUM) == 0x1234


def test_csum_update_adds_to_a_device_sum() -> None:
    buffer = PacketBuffer(bytes(40))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_COMPLETE)
    buffer.write32(SKB_CSUM, 0xFFFFFFFE)
    assert on_buffer([call("csum_update", CONTEXT, 5)], buffer).results == [4]
    assert buffer.read32(SKB_CSUM) == 4
