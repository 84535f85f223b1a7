"""bpf_skb_load_bytes, bpf_skb_store_bytes and bpf_skb_pull_data do what the running kernel's do."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skb_oracle import CONTEXT, Buffer, Size, both, call, check, on_buffer

from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import (
    CHECKSUM_COMPLETE,
    CHECKSUM_NONE,
    CHECKSUM_PARTIAL,
    HEADROOM,
    SKB_CSUM,
    SKB_CSUM_START,
    SKB_IP_SUMMED,
)

PACKETS = st.binary(min_size=20, max_size=200).map(lambda data: b"\x45" + data[1:])
# Offsets around the ends of a packet and of the numbers, and registers with something in their upper half.
OFFSETS = st.one_of(
    st.integers(0, 210),
    st.sampled_from([0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1_0000_0004, -1, -8]),
)
SIZES = st.integers(1, 64)


def sum16(data: bytes) -> int:
    """The one's complement sum of big-endian words, folded."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[place : place + 2], "big") for place in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.kernel
@given(packet=PACKETS, offset=OFFSETS, size=SIZES)
@example(packet=b"\x45" + bytes(127), offset=125, size=4)
@example(packet=b"\x45" + bytes(127), offset=124, size=4)
def test_load_bytes_reads_what_the_kernel_reads_and_zeroes_the_rest(packet: bytes, offset: int, size: int) -> None:
    check([call("skb_load_bytes", CONTEXT, offset, Buffer(b"\xa5" * 64), Size(size, 64))], packet)


@pytest.mark.kernel
@given(packet=PACKETS, offset=OFFSETS, data=st.binary(min_size=64, max_size=64), size=SIZES, flags=st.integers(0, 5))
@example(packet=b"\x45" + bytes(127), offset=126, data=bytes(range(64)), size=2, flags=3)
@example(packet=b"\x45" + bytes(127), offset=0, data=bytes(64), size=2, flags=1 << 32)
def test_store_bytes_writes_where_the_kernel_writes(
    packet: bytes, offset: int, data: bytes, size: int, flags: int
) -> None:
    check([call("skb_store_bytes", CONTEXT, offset, Buffer(data), Size(size, 64), flags)], packet)


@pytest.mark.kernel
@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("offset", [0, 200])
def test_only_a_store_that_succeeds_and_says_so_forgets_the_hash(offset: int, flags: int) -> None:
    store = call("skb_store_bytes", CONTEXT, offset, Buffer(b"\x46"), Size(1, 64), flags)
    kernel, ours = both([call("get_hash_recalc", CONTEXT), store], b"\x45" + bytes(127))
    assert (kernel.results[1], kernel.state) == (ours.results[1], ours.state)


@pytest.mark.kernel
@given(packet=PACKETS, size=OFFSETS)
@example(packet=b"\x45" + bytes(127), size=128)
@example(packet=b"\x45" + bytes(127), size=129)
def test_pull_data_fails_beyond_the_end(packet: bytes, size: int) -> None:
    check([call("skb_pull_data", CONTEXT, size)], packet)


@given(packet=st.binary(min_size=20, max_size=100), data=st.binary(min_size=1, max_size=20), offset=st.integers(0, 80))
def test_a_device_sum_stays_that_of_the_packet_over_a_store_that_recomputes(
    packet: bytes, data: bytes, offset: int
) -> None:
    offset = min(offset, len(packet) - len(data)) if len(data) < len(packet) else 0
    buffer = PacketBuffer(packet)
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_COMPLETE)
    buffer.write32(SKB_CSUM, int.from_bytes(sum16(packet).to_bytes(2, "big"), "little"))
    outcome = on_buffer([call("skb_store_bytes", CONTEXT, offset, Buffer(data), len(data), 1)], buffer)
    if outcome.results == [0]:
        assert outcome.packet == packet[:offset] + data + packet[offset + len(data) :]
    kept = buffer.read32(SKB_CSUM)
    folded = sum16(kept.to_bytes(4, "little"))
    assert folded % 0xFFFF == sum16(outcome.packet) % 0xFFFF


# measured on 6.18 (a sent UDP packet, whose checksum is the device's to finish): the store leaves it so.
def test_a_store_that_recomputes_leaves_an_open_checksum_open() -> None:
    buffer = PacketBuffer(b"\x45" + bytes(127))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_PARTIAL)
    buffer.write64(SKB_CSUM_START, HEADROOM + 20)
    outcome = on_buffer([call("skb_store_bytes", CONTEXT, 12, Buffer(b"\x0a\x42\x00\x63"), 4, 1)], buffer)
    assert outcome.results == [0]
    assert outcome.state["ip_summed"] == CHECKSUM_PARTIAL
    assert outcome.packet[12:16] == b"\x0a\x42\x00\x63"


# kernel: include/linux/skbuff.h, __skb_postpull_rcsum()
def test_a_checksum_that_began_in_what_is_gone_is_none_after_a_store_that_recomputes() -> None:
    buffer = PacketBuffer(b"\x45" + bytes(127))
    buffer.write32(SKB_IP_SUMMED, CHECKSUM_PARTIAL)
    buffer.write64(SKB_CSUM_START, HEADROOM - 1)
    outcome = on_buffer([call("skb_store_bytes", CONTEXT, 12, Buffer(bytes(4)), 4, 1)], buffer)
    assert outcome.state["ip_summed"] == CHECKSUM_NONE
