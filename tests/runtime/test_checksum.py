"""Internet checksums, against the RFCs and against sums by Python's own integers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routebpf.runtime.checksum import (
    checksum,
    decrease_ttl,
    fill_ipv4_header_checksum,
    fold,
    fold_sum,
    ipv4_header_checksum,
    replace16,
    replace32,
    replace_by_difference,
    sum_add,
    sum_of,
    sum_subtract,
)
from routebpf.runtime.memory import Memory

MEMORY = Memory(2048)
AT = MEMORY.address
WORDS32 = st.one_of(st.integers(0, 0xFFFFFFFF), st.sampled_from([0, 0xFFFF, 0xFFFF0000, 0xFFFFFFFF]))
# The header of an IPv4 packet as tcpdump shows it ("cksum 0xb861 (correct)"), of the worked example in Wikipedia's
# article on the header checksum.
HEADER = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")


def rfc1071(data: bytes) -> int:
    """RFC 1071, section 4.1, on the bytes as big-endian words."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def stored(value: int) -> int:
    """A 16-bit number of the packet as it is loaded from memory."""
    return struct.unpack("<H", struct.pack(">H", value))[0]


def test_the_example_of_rfc_1071() -> None:
    MEMORY.write(0, bytes.fromhex("0001f203f4f5f6f7"))
    assert fold_sum(sum_of(AT, 8, 0)) == stored(0xDDF2)
    assert checksum(AT, 8) == stored(0x220D)


@given(data=st.binary(max_size=300), at=st.integers(0, 9))
@example(data=b"\xff" * 64, at=0)
@example(data=b"", at=0)
def test_a_checksum_is_that_of_rfc_1071_wherever_it_lies(data: bytes, at: int) -> None:
    MEMORY.write(at, data + b"\xa5" * 16)
    assert checksum(AT + at, len(data)) == stored(rfc1071(data))


@given(first=st.binary(max_size=100).filter(lambda one: len(one) % 2 == 0), second=st.binary(max_size=100))
def test_sums_add_up_and_come_apart(first: bytes, second: bytes) -> None:
    MEMORY.write(0, first + second)
    one, two = sum_of(AT, len(first), 0), sum_of(AT + len(first), len(second), 0)
    whole = sum_of(AT, len(first + second), 0)
    assert fold(sum_add(one, two)) == fold(whole) == fold(sum_of(AT + len(first), len(second), one))
    assert fold(sum_subtract(whole, two)) % 0xFFFF == fold(one) % 0xFFFF


def test_an_ipv4_header_that_is_right_sums_to_zero_and_is_filled_in_right() -> None:
    MEMORY.write(0, HEADER)
    assert ipv4_header_checksum(AT) == 0
    MEMORY.write(10, b"\x12\x34")
    fill_ipv4_header_checksum(AT)
    assert MEMORY.read(0, 20) == HEADER


def test_an_ipv4_header_with_options_is_summed_with_them() -> None:
    header = b"\x46" + HEADER[1:10] + bytes(2) + HEADER[12:] + b"\x94\x04\0\0"
    MEMORY.write(0, header)
    fill_ipv4_header_checksum(AT)
    assert MEMORY.read(10, 2) == struct.pack(">H", rfc1071(header))


@given(fields=st.binary(min_size=20, max_size=20), ttl=st.integers(1, 255))
def test_a_ttl_taken_away_keeps_the_header_right(fields: bytes, ttl: int) -> None:
    MEMORY.write(0, b"\x45" + fields[1:8] + bytes([ttl]) + fields[9:])
    fill_ipv4_header_checksum(AT)
    assert decrease_ttl(AT) == ttl - 1
    assert MEMORY.read(8, 1) == bytes([ttl - 1])
    assert ipv4_header_checksum(AT) == 0


@pytest.mark.parametrize(("before", "after"), [(0xFFFD, 0xFFFE), (0xFFFE, 0x0000), (0xFFFF, 0x0001)])
def test_a_ttl_taken_away_carries_the_checksum_around(before: int, after: int) -> None:
    """Numbers as loaded from memory. kernel: include/net/ip.h, ip_decrease_ttl(), which never stores all ones."""
    MEMORY.write(0, HEADER[:10] + before.to_bytes(2, "little") + HEADER[12:])
    decrease_ttl(AT)
    assert MEMORY.read(10, 2) == after.to_bytes(2, "little")


@given(data=st.binary(min_size=8, max_size=40).filter(lambda one: len(one) % 4 == 0), new=WORDS32)
def test_a_changed_word_is_mended_as_by_summing_anew(data: bytes, new: int) -> None:
    """RFC 1624. The checksum is kept behind the data; words are numbers as loaded from memory."""
    end = AT + len(data)
    for way in (16, 32, 0):
        MEMORY.write(0, data)
        MEMORY.write(len(data), checksum(AT, len(data)).to_bytes(2, "little"))
        size = 2 if way == 16 else 4
        old = int.from_bytes(data[:size], "little")
        word = new & (1 << 8 * size) - 1
        if way == 16:
            replace16(end, old, word)
        elif way == 32:
            replace32(end, old, word)
        else:
            replace_by_difference(end, sum_subtract(word, old))
        MEMORY.write(0, word.to_bytes(size, "little"))
        assert int.from_bytes(MEMORY.read(len(data), 2), "little") % 0xFFFF == checksum(AT, len(data)) % 0xFFFF
