"""One packet in memory: what its struct says, and that it can be set anew."""

from __future__ import annotations

import pytest

from routebpf.runtime.memory import read
from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import (
    HEADROOM,
    SKB_CB,
    SKB_DATA,
    SKB_END,
    SKB_HAS_SOCKET,
    SKB_HEAD,
    SKB_IFINDEX,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_MARK,
    SKB_NETWORK_HEADER,
    SKB_PKT_TYPE,
    SKB_PROTOCOL,
    SKB_TAIL,
    SKB_TRANSPORT_HEADER,
    TAILROOM,
    UNSET,
)


def test_a_packet_lies_between_headroom_and_tailroom() -> None:
    packet = PacketBuffer(b"\x45" + bytes(99), capacity=200)
    head, data, tail, end = (packet.read64(field) for field in (SKB_HEAD, SKB_DATA, SKB_TAIL, SKB_END))
    assert (data - head, tail - data, end - tail) == (HEADROOM, 100, 100 + TAILROOM)
    assert read(data, 100) == packet.data == b"\x45" + bytes(99)
    assert packet.read32(SKB_LEN) == 100
    headers = [packet.read64(field) for field in (SKB_MAC_HEADER, SKB_NETWORK_HEADER, SKB_TRANSPORT_HEADER)]
    assert headers == [UNSET, HEADROOM, UNSET]


@pytest.mark.parametrize(
    ("data", "protocol", "expected"),
    [
        (b"\x45\0", None, 0x0008),
        (b"\x60\0", None, 0xDD86),
        (b"\0\0", None, 0),
        (b"", None, 0),
        (b"\x45", 0x88B5, 0xB588),
    ],
)
def test_the_protocol_is_as_in_the_context(data: bytes, protocol: int | None, expected: int) -> None:
    packet = PacketBuffer(capacity=100)
    packet.set(data, protocol=protocol)
    assert packet.read32(SKB_PROTOCOL) == expected


def test_a_new_packet_keeps_nothing_of_the_old() -> None:
    packet = PacketBuffer(b"\x45" + bytes(50))
    packet.write32(SKB_MARK, 7)
    packet.write32(SKB_CB + 4, 9)
    packet.set(b"\x60" + bytes(9), ifindex=3, pkt_type=1, has_socket=True)
    assert packet.data == b"\x60" + bytes(9)
    fields = (SKB_MARK, SKB_CB + 4, SKB_IFINDEX, SKB_PKT_TYPE, SKB_HAS_SOCKET)
    assert [packet.read32(field) for field in fields] == [0, 0, 3, 1, 1]


def test_a_packet_beyond_the_capacity_is_refused() -> None:
    packet = PacketBuffer(capacity=100)
    packet.set(bytes(100))
    with pytest.raises(ValueError, match="101 bytes in a buffer for 100"):
        packet.set(bytes(101))
