"""bpf_lwt_push_encap takes, refuses and leaves what the running kernel's does."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skb_oracle import CONTEXT, Buffer, Size, both, call, check, on_buffer

from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import (
    GSO_DODGY,
    GSO_GRE,
    GSO_GRE_CSUM,
    GSO_IPXIP4,
    GSO_IPXIP6,
    GSO_TCPV4,
    GSO_UDP_TUNNEL,
    GSO_UDP_TUNNEL_CSUM,
    HEADROOM,
    SKB_GSO_SEGS,
    SKB_GSO_SIZE,
    SKB_GSO_TYPE,
    SKB_TRANSPORT_HEADER,
)

IP, IPV6 = 0x0800, 0x86DD
INNER = {IP: bytes([0x45, *range(1, 100)]), IPV6: bytes([0x60, *range(1, 100)])}


def outer4(protocol: int, *, words: int = 5, check: int = 0, rest: bytes = b"") -> bytes:
    header = bytes([0x40 | words, 0, 0, 99, 0, 0, 0, 0, 64, protocol]) + check.to_bytes(2, "big")
    return header + bytes([10, 67, 0, 1, 10, 67, 0, 2]) + rest


def outer6(protocol: int, rest: bytes = b"") -> bytes:
    return bytes([0x60, 0, 0, 0, 0, 56, protocol, 64, *range(32)]) + rest


OUTERS = st.builds(
    lambda version, protocol, words, check, rest: (
        outer4(protocol, words=words, check=check, rest=rest) if version == 4 else outer6(protocol, rest)
    ),
    st.sampled_from([4, 6]),
    st.sampled_from([0, 4, 17, 41, 47, 50]),
    st.integers(0, 15),
    st.sampled_from([0, 0, 0x1234]),
    st.binary(max_size=22),
)
KINDS = st.sampled_from([2, 2, 2, 2, 0, 1, 3, 0x1_0000_0002, -1])


@pytest.mark.kernel
@given(header=OUTERS, size=st.integers(1, 62), kind=KINDS, protocol=st.sampled_from([IP, IPV6]))
@example(header=outer4(4), size=20, kind=2, protocol=IP)
@example(header=outer4(4), size=20, kind=0x1_0000_0002, protocol=IP)
@example(header=outer4(4, words=4), size=20, kind=2, protocol=IP)
@example(header=outer4(4, words=0), size=20, kind=2, protocol=IP)
@example(header=outer4(17, rest=bytes(8)), size=28, kind=2, protocol=IPV6)
@example(header=outer4(17, words=6, rest=bytes(8)), size=28, kind=2, protocol=IP)
@example(header=outer4(17, words=3), size=20, kind=2, protocol=IP)
@example(header=outer6(17, bytes(8)), size=47, kind=2, protocol=IP)
@example(header=outer6(17, bytes(8)), size=48, kind=2, protocol=IP)
@example(header=outer6(4), size=39, kind=2, protocol=IP)
@example(header=bytes([0x50]) + bytes(61), size=40, kind=2, protocol=IP)
def test_headers_are_taken_refused_and_pushed_as_by_the_kernel(
    header: bytes, size: int, kind: int, protocol: int
) -> None:
    push = call("lwt_push_encap", CONTEXT, kind, Buffer(header, 64), Size(size, 64))
    check([push], INNER[protocol], protocol=protocol)


@pytest.mark.kernel
@pytest.mark.parametrize("size", [100, 255, 256, 257])
def test_headers_of_any_size_up_to_256_are_pushed(size: int) -> None:
    push = call("lwt_push_encap", CONTEXT, 2, Buffer(outer4(4), 300), Size(size, 300))
    kernel, ours = both([push], INNER[IP])
    for outcome in (kernel, ours):  # an unset one turns into a place when the kernel makes a new buffer
        outcome.state.pop("transport_header")
    assert ours == kernel


@pytest.mark.kernel
def test_headers_are_pushed_on_headers_and_forget_the_hash() -> None:
    push4 = call("lwt_push_encap", CONTEXT, 2, Buffer(outer4(4)), Size(20, 20))
    push6 = call("lwt_push_encap", CONTEXT, 2, Buffer(outer6(4)), Size(40, 40))
    kernel, ours = both([call("get_hash_recalc", CONTEXT), push4, push6], INNER[IP])
    assert (kernel.results[1:], kernel.state, kernel.packet) == (ours.results[1:], ours.state, ours.packet)
    assert kernel.state["hash"] == 0


@pytest.mark.kernel
@pytest.mark.parametrize("header", [outer4(4), outer6(41), outer4(47, rest=bytes(4)), outer4(17, rest=bytes(8))])
def test_gso_of_no_type_that_can_be_cut_is_refused_with_the_header_there(header: bytes) -> None:
    push = call("lwt_push_encap", CONTEXT, 2, Buffer(header), Size(len(header), len(header)))
    assert check([push], INNER[IP], context={176: 500, 164: 4}).results == [-524]


# kernel: net/core/lwt_bpf.c, handle_gso_encap(); no packet of BPF_PROG_TEST_RUN has a type
@pytest.mark.parametrize(
    ("header", "result", "kind"),
    [
        (outer4(0), 0, GSO_IPXIP4),
        (outer4(41), 0, GSO_IPXIP4),
        (outer6(41), 0, GSO_IPXIP6),
        (outer4(4), -93, 0),
        (outer4(47, rest=b"\0\0\x08\0"), 0, GSO_GRE),
        (outer4(47, rest=b"\x80\0\x08\0\0\0\0\0"), 0, GSO_GRE_CSUM),
        (outer6(47, b"\0\0\x08\0"), 0, GSO_GRE),
        (outer4(47, rest=b"\0\0\x08"), -22, 0),
        (outer4(17, rest=bytes(8)), 0, GSO_UDP_TUNNEL),
        (outer4(17, rest=bytes(6) + b"\x12\x34"), 0, GSO_UDP_TUNNEL_CSUM),
    ],
)
def test_tcp_gso_gets_the_tunnels_type_and_smaller_segments(header: bytes, result: int, kind: int) -> None:
    buffer = PacketBuffer(INNER[IP])
    for field, value in ((SKB_GSO_SIZE, 1448), (SKB_GSO_SEGS, 3), (SKB_GSO_TYPE, GSO_TCPV4)):
        buffer.write32(field, value)
    outcome = on_buffer([call("lwt_push_encap", CONTEXT, 2, Buffer(header), len(header))], buffer)
    assert outcome.results == [result]
    after = [buffer.read32(field) for field in (SKB_GSO_SIZE, SKB_GSO_SEGS, SKB_GSO_TYPE)]
    if result == 0:
        assert after == [1448 - len(header), 0, GSO_TCPV4 | GSO_DODGY | kind]
    else:
        assert after == [1448, 3, GSO_TCPV4]


# measured on 6.18, of a UDP packet that the host sends
def test_the_inner_transport_header_stays_known() -> None:
    buffer = PacketBuffer(INNER[IP])
    buffer.write64(SKB_TRANSPORT_HEADER, HEADROOM + 20)
    push = call("lwt_push_encap", CONTEXT, 2, Buffer(outer4(47, rest=b"\0\0\x08\0")), 24)
    state = on_buffer([push], buffer).state
    assert (state["len"], state["network_header"], state["transport_header"]) == (124, 0, 44)
    assert (state["encapsulation"], state["protocol"]) == (1, 8)
