"""bpf_skb_change_head and bpf_skb_change_tail do what the running kernel's do to bytes, headers and limits."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skb_oracle import CONTEXT, Buffer, Outcome, Size, both, call, check, on_buffer

from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import (
    CHECKSUM_COMPLETE,
    CHECKSUM_NONE,
    CHECKSUM_PARTIAL,
    HEADROOM,
    SKB_CSUM_OFFSET,
    SKB_CSUM_START,
    SKB_GSO_SEGS,
    SKB_GSO_SIZE,
    SKB_GSO_TYPE,
    SKB_HEAD,
    SKB_IP_SUMMED,
    SKB_NETWORK_HEADER,
    SKB_TRANSPORT_HEADER,
)

GSO_SEGS_FIELD, GSO_SIZE_FIELD = 164, 176  # in struct __sk_buff
PACKETS = st.binary(min_size=20, max_size=300).map(lambda data: b"\x45" + data[1:])
LIMITS = [0, 1, 16063, 16064, 16065, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1_0000_0004, -1]
LENGTHS = st.one_of(st.integers(0, 400), st.sampled_from(LIMITS))
# The kernel has 62 bytes to spare before a packet of BPF_PROG_TEST_RUN; beyond them it makes a new buffer, and an unset
# transport header, which only such a packet has, turns into a place.
HEADS = st.one_of(st.integers(0, 62), st.sampled_from(LIMITS[5:]))
FLAGS = st.sampled_from([0, 0, 0, 1, 1 << 32])


@pytest.mark.kernel
@given(packet=PACKETS, length=LENGTHS, flags=FLAGS)
def test_change_tail_is_the_kernels(packet: bytes, length: int, flags: int) -> None:
    check([call("skb_change_tail", CONTEXT, length, flags)], packet)


@pytest.mark.kernel
@given(packet=PACKETS, size=HEADS, flags=FLAGS)
def test_change_head_is_the_kernels(packet: bytes, size: int, flags: int) -> None:
    check([call("skb_change_head", CONTEXT, size, flags)], packet)


@pytest.mark.kernel
@given(packet=PACKETS, size=st.integers(0, 62), length=st.integers(0, 100))
@example(packet=b"\x45" + bytes(99), size=14, length=13)
@example(packet=b"\x45" + bytes(99), size=14, length=14)
def test_a_pushed_header_cannot_be_cut_off(packet: bytes, size: int, length: int) -> None:
    check([call("skb_change_head", CONTEXT, size, 0), call("skb_change_tail", CONTEXT, length, 0)], packet)


@pytest.mark.kernel
@given(packet=PACKETS, sizes=st.lists(st.integers(0, 15), min_size=2, max_size=4))
def test_headers_pushed_one_after_the_other_are_the_kernels(packet: bytes, sizes: list[int]) -> None:
    check([call("skb_change_head", CONTEXT, size, 0) for size in sizes], packet)


def without_transport(outcome: Outcome) -> Outcome:
    outcome.state.pop("transport_header")
    return outcome


@pytest.mark.kernel
@pytest.mark.parametrize("size", [63, 500, 1000, 5000, 15900, 16064 - 128, 16065 - 128])
def test_a_head_beyond_the_headroom_moves_the_packet(size: int) -> None:
    packet = bytes([0x45, *range(1, 128)])
    kernel, ours = both([call("skb_change_head", CONTEXT, size, 0)], packet)
    assert without_transport(ours) == without_transport(kernel)


@pytest.mark.kernel
@pytest.mark.parametrize("length", [28, 100, 1000])
def test_a_changed_tail_ends_gso(length: int) -> None:
    context = {GSO_SEGS_FIELD: 4, GSO_SIZE_FIELD: 500}
    outcome = check([call("skb_change_tail", CONTEXT, length, 0)], b"\x45" + bytes(1000 - 1), context=context)
    assert (outcome.state["gso_size"], outcome.state["gso_segs"]) == (0, 0)


@pytest.mark.kernel
def test_a_gso_packet_may_grow_at_its_head_beyond_the_limit_and_nothing_else_ends() -> None:
    context = {GSO_SEGS_FIELD: 4, GSO_SIZE_FIELD: 500}
    kernel = check([call("skb_change_head", CONTEXT, 14, 0)], b"\x45" + bytes(999), context=context)
    assert kernel.state["gso_size"] == 500
    kernel, ours = both([call("skb_change_head", CONTEXT, 16064, 0)], b"\x45" + bytes(999), context=context)
    assert without_transport(ours) == without_transport(kernel)


@pytest.mark.kernel
def test_an_encapsulated_packet_keeps_its_tail() -> None:
    header = b"\x45" + bytes(8) + b"\x04" + bytes(10)
    calls = [
        call("lwt_push_encap", CONTEXT, 2, Buffer(header), Size(20, 20)),
        call("skb_change_tail", CONTEXT, 50, 0),
        call("skb_change_tail", CONTEXT, 16065, 0),
    ]
    assert check(calls, b"\x45" + bytes(99)).results == [0, -524, -22]


def sent_udp_packet() -> PacketBuffer:
    """As the kernel's own: 128 bytes, transport header known, checksum open."""
    buffer = PacketBuffer(b"\x45" + bytes(127))
    buffer.write64(SKB_TRANSPORT_HEADER, HEADROOM + 20)
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_PARTIAL)
    buffer.write64(SKB_CSUM_START, HEADROOM + 20)
    buffer.write64(SKB_CSUM_OFFSET, 6)
    return buffer


# measured on 6.18, of a UDP packet that the host sends
@pytest.mark.parametrize(
    ("length", "result", "after"),
    [(0, -22, 128), (20, -22, 128), (27, -22, 128), (28, 0, 28), (100, 0, 100), (132, 0, 132), (60000, -22, 128)],
)
def test_an_open_checksum_bounds_the_tail(length: int, result: int, after: int) -> None:
    outcome = on_buffer([call("skb_change_tail", CONTEXT, length, 0)], sent_udp_packet())
    assert (outcome.results, outcome.state["len"]) == ([result], after)
    assert outcome.state["ip_summed"] == CHECKSUM_PARTIAL


# kernel: net/core/filter.c, __bpf_skb_min_len()
@pytest.mark.parametrize(("length", "result"), [(19, -22), (20, 0)])
def test_a_known_transport_header_bounds_the_tail(length: int, result: int) -> None:
    buffer = PacketBuffer(b"\x45" + bytes(127))
    buffer.write64(SKB_TRANSPORT_HEADER, HEADROOM + 20)
    assert on_buffer([call("skb_change_tail", CONTEXT, length, 0)], buffer).results == [result]


@pytest.mark.parametrize(("size", "after"), [(0, 128), (14, 142), (1000, 1128)])
def test_a_pushed_head_is_the_mac_header_and_all_else_stays(size: int, after: int) -> None:
    buffer = sent_udp_packet()
    outcome = on_buffer([call("skb_change_head", CONTEXT, size, 0)], buffer)
    assert outcome.results == [0]
    assert outcome.packet == bytes(size) + b"\x45" + bytes(127)
    state = outcome.state
    assert (state["len"], state["mac_header"], state["network_header"]) == (after, 0, size)
    assert (state["transport_header"], state["mac_len"]) == (20 + size, size)
    assert buffer.read64(SKB_CSUM_START) == buffer.read64(SKB_NETWORK_HEADER) + 20


def test_a_buffer_that_is_full_moves_its_packet_and_then_has_no_memory() -> None:
    buffer = PacketBuffer(b"\x45" + bytes(99), capacity=100)
    grow = call("skb_change_tail", CONTEXT, 1000, 0)
    outcome = on_buffer([grow, call("skb_change_head", CONTEXT, 124, 0)], buffer)
    assert outcome.results == [0, 0]
    assert outcome.packet == bytes(124) + b"\x45" + bytes(999)
    assert on_buffer([call("skb_change_head", CONTEXT, 1, 0)], buffer).results == [-12]
    assert on_buffer([call("skb_change_tail", CONTEXT, 1125, 0)], buffer).results == [-12]
    assert buffer.read64(SKB_HEAD) <= buffer.read64(SKB_NETWORK_HEADER) + buffer.read64(SKB_HEAD) - 124


@pytest.mark.parametrize(("length", "summed"), [(100, CHECKSUM_COMPLETE), (60, CHECKSUM_NONE), (140, CHECKSUM_NONE)])
def test_a_device_sum_ends_with_a_new_tail(length: int, summed: int) -> None:
    # kernel: include/linux/skbuff.h, __skb_grow_rcsum(), __skb_trim_rcsum()
    buffer = PacketBuffer(b"\x45" + bytes(99))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_COMPLETE)
    assert on_buffer([call("skb_change_tail", CONTEXT, length, 0)], buffer).state["ip_summed"] == summed


def test_the_kind_of_gso_ends_with_its_size() -> None:
    buffer = PacketBuffer(b"\x45" + bytes(99))
    for field, value in ((SKB_GSO_SIZE, 50), (SKB_GSO_SEGS, 2), (SKB_GSO_TYPE, 1)):
        buffer.write32(field, value)
    on_buffer([call("skb_change_tail", CONTEXT, 100, 0)], buffer)
    assert [buffer.read32(field) for field in (SKB_GSO_SIZE, SKB_GSO_SEGS, SKB_GSO_TYPE)] == [0, 0, 0]
