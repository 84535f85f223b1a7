"""Tunnel metadata is kept and given back as by the running kernel."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skb_oracle import CONTEXT, Buffer, Call, Size, call, check, on_buffer

from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.skb import SKB_REALM

PACKET = b"\x45" + bytes(99)
KEYS = st.binary(min_size=44, max_size=44)
# tunnel_ext (bytes 22 and 23) and, without IPv6, tunnel_label (24 to 27) must be 0.
USUAL_KEYS = KEYS.map(lambda key: key[:22] + bytes(6) + key[28:])
LABELLED_KEYS = KEYS.map(lambda key: key[:22] + bytes(2) + key[24:])
SIZES = st.one_of(st.sampled_from([44, 44, 44, 28, 24, 22, 8]), st.integers(1, 50))
FLAGS = st.one_of(st.integers(0, 0x3F), st.sampled_from([0x100, 1 << 32]))


def set_key(key: bytes, size: int, flags: int) -> Call:
    return call("skb_set_tunnel_key", CONTEXT, Buffer(key, 64), Size(size, 64), flags)


def get_key(size: int, flags: int) -> Call:
    return call("skb_get_tunnel_key", CONTEXT, Buffer(b"\xa5" * 64), Size(size, 64), flags)


def set_options(options: bytes, size: int) -> Call:
    return call("skb_set_tunnel_opt", CONTEXT, Buffer(options, 300), Size(size, 300))


def get_options(size: int) -> Call:
    return call("skb_get_tunnel_opt", CONTEXT, Buffer(b"\xa5" * 300), Size(size, 300))


@pytest.mark.kernel
@given(
    key=st.one_of(KEYS, USUAL_KEYS, LABELLED_KEYS),
    size=SIZES,
    flags=FLAGS,
    got=SIZES,
    got_flags=st.sampled_from([0, 1, 16, 17, 2, 32]),
)
@example(key=bytes(22) + b"\0\1" + bytes(20), size=24, flags=0, got=44, got_flags=16)
@example(key=bytes(22) + b"\0\1" + bytes(20), size=22, flags=0, got=44, got_flags=16)
@example(key=bytes(24) + b"\xff\xff\xff\xff" + bytes(range(16)), size=44, flags=1, got=44, got_flags=1)
@example(key=bytes(24) + b"\1\0\0\0" + bytes(range(16)), size=44, flags=0, got=44, got_flags=0)
@example(key=bytes(range(22)) + bytes(22), size=8, flags=0, got=8, got_flags=0)
@example(key=bytes(range(22)) + bytes(22), size=44, flags=1, got=8, got_flags=1)
def test_a_key_is_taken_and_given_back_as_by_the_kernel(
    key: bytes, size: int, flags: int, got: int, got_flags: int
) -> None:
    check([set_key(key, size, flags), get_key(got, got_flags)], PACKET)


@pytest.mark.kernel
@given(key=USUAL_KEYS, flags=st.integers(0, 31), got_flags=st.sampled_from([0, 1, 16, 17]))
def test_flags_of_a_key_are_given_back_as_by_the_kernel(key: bytes, flags: int, got_flags: int) -> None:
    check([set_key(key, 44, flags), get_key(44, got_flags), set_options(bytes(4), 4), get_key(44, got_flags)], PACKET)


@pytest.mark.kernel
@given(
    options=st.binary(min_size=1, max_size=300),
    size=st.one_of(st.integers(1, 300), st.sampled_from([4, 8, 252, 255, 256, 260])),
    got=st.one_of(st.integers(1, 300), st.sampled_from([4, 8, 252])),
)
def test_options_are_taken_and_given_back_as_by_the_kernel(options: bytes, size: int, got: int) -> None:
    check([set_key(bytes(44), 44, 0), set_options(options, size), get_options(got)], PACKET)


@pytest.mark.kernel
def test_without_a_key_there_is_nothing_to_get_and_nowhere_to_put_options() -> None:
    calls = [get_key(44, 0), get_key(3, 0), get_options(8), set_options(bytes(8), 8)]
    assert check(calls, PACKET).results == [-22, -22, -2, -22]


@pytest.mark.kernel
def test_a_new_key_has_no_options_of_the_old() -> None:
    calls = [set_key(bytes(44), 44, 0), set_options(bytes(8), 8), set_key(bytes(44), 44, 1), get_options(8)]
    assert check(calls, PACKET).results == [0, 0, 0, -2]


def test_a_packet_with_a_key_has_no_realm() -> None:
    # kernel: bpf_skb_set_tunnel_key() drops the route for the metadata, and dst_tclassid() reads the latter
    buffer = PacketBuffer(PACKET)
    buffer.write32(SKB_REALM, 0x30007)
    calls = [call("get_route_realm", CONTEXT), set_key(bytes(44), 44, 0), call("get_route_realm", CONTEXT)]
    assert on_buffer(calls, buffer).results == [0x30007, 0, 0]
