"""A damaged capture gives every packet before the damage, then an error that says where; others are refused."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from capture_files import SHIPPED, Packet, Pcapng, option, ours, pcap
from hypothesis import given, settings
from hypothesis import strategies as st

from routebpf.datapath.capture_link_types import READABLE
from routebpf.datapath.capture_reader import open_capture
from routebpf.errors import InputError

PACKETS = [Packet(number * 10**9, 60 + number, bytes([number]) * (20 + number)) for number in range(6)]


def _pcap(order: str) -> list[tuple[bytes, int]]:
    """A capture in parts, at the end of each of which it could end; and how many packets there are up to there."""
    records = [pcap([one], order=order)[24:] for one in PACKETS]
    return [(pcap([], order=order), 0), *((record, number + 1) for number, record in enumerate(records))]


def _pcapng(order: str) -> list[tuple[bytes, int]]:
    made = Pcapng(order)
    comment = option(1, b"a comment", order=order) + bytes(4)
    parts = [(made.section(), 0), (made.interface(), 0)]
    for number, (time, size, data) in enumerate(PACKETS):
        if number % 2:
            parts.append((made.enhanced(data, ticks=time // 1000, wire_size=size, options=comment), number + 1))
        else:
            parts.append((made.custom(40), number))
            parts.append((made.obsolete(data, ticks=time // 1000, wire_size=size), number + 1))
    return parts


CAPTURES = {"pcap <": _pcap("<"), "pcap >": _pcap(">"), "pcapng <": _pcapng("<"), "pcapng >": _pcapng(">")}


def _until_damage(path: Path) -> tuple[list[Packet], str]:
    """The packets of a capture, and the message of the error behind them, empty if there is none."""
    packets = []
    try:
        for packet in ours(path, 4):
            packets.append(packet)
    except InputError as error:
        return packets, str(error)
    return packets, ""


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_capture_cut_anywhere_gives_all_packets_before_the_cut(capture: str, tmp_path: Path) -> None:
    parts, path = CAPTURES[capture], tmp_path / "cut"
    whole = b"".join(part for part, _ in parts)
    start, packets_before = 0, 0
    for part, packets_behind in parts:
        for size in range(start + 1, start + len(part) + 1):
            path.write_bytes(whole[:size])
            is_whole = size == start + len(part)
            packets, message = _until_damage(path)
            assert packets == PACKETS[: packets_behind if is_whole else packets_before]
            if is_whole:
                assert message == ""
            elif start:
                assert message.startswith(f"the capture {path} is damaged at byte {start}: ")
                assert re.search(rf"\b{size - start}( bytes)? are left|{size - start - 16} are left", message)
        start, packets_before = start + len(part), packets_behind


def test_the_message_says_what_a_cut_record_claims_and_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap(PACKETS[:1]) + struct.pack("<IIII", 0, 0, 70_000, 70_000) + bytes(12))
    packets, message = _until_damage(path)
    assert packets == PACKETS[:1]
    where = 24 + 16 + 20
    assert message == f"the capture {path} is damaged at byte {where}: the record there claims 70000 bytes, 12 are left"


@pytest.mark.parametrize(
    ("compress", "what"),
    [(gzip.compress, "gzip"), (zstandard.ZstdCompressor().compress, "zstd")],
    ids=["gzip", "zstd"],
)
def test_a_compressed_capture_that_is_cut_gives_what_can_be_decompressed(
    compress: Callable[[bytes], bytes], what: str, tmp_path: Path
) -> None:
    whole = list(ours(SHIPPED[1]))
    path = tmp_path / "cut"
    data = compress(SHIPPED[1].read_bytes())
    path.write_bytes(data[: len(data) // 2])
    packets, message = _until_damage(path)
    assert 100 < len(packets) < len(whole)
    assert packets == whole[: len(packets)]
    assert re.search(rf"at decompressed byte \d+: the {what} stream is cut short", message)


def _stored(data: bytes) -> bytes:
    """A block of a deflate stream, not the last, that holds bytes as they are (RFC 1951, 3.2.4)."""
    return b"\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data


def test_a_gzip_stream_gives_every_byte_before_the_damage(tmp_path: Path) -> None:
    content = SHIPPED[1].read_bytes()
    path = tmp_path / "damaged.gz"
    reserved_block_type = b"\x07"
    path.write_bytes(
        bytes.fromhex("1f8b0800 00000000 00ff")
        + _stored(content[:60_000])
        + _stored(content[60_000:100_001])
        + reserved_block_type
        + _stored(content[100_001:150_000])
    )
    packets, message = _until_damage(path)
    plain = tmp_path / "cut"
    plain.write_bytes(content[:100_001])
    assert packets == _until_damage(plain)[0]
    assert "at decompressed byte 100001: the gzip stream is damaged" in message


def test_zstd_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.zst"
    path.write_bytes(bytes.fromhex("28b52ffd 00 b0") + bytes(20))  # a window of 4 TB
    with pytest.raises(InputError, match="zstd stream is damaged"):
        open_capture(path)


_SECTION, _INTERFACE = Pcapng().section(), Pcapng().interface()
_ENHANCED = Pcapng().enhanced(bytes(20))
DAMAGES = {
    "a pcap record of a megabyte": (pcap([], link=1), struct.pack("<IIII", 0, 0, 1 << 20, 1 << 20), "1048576 captured"),
    "a block that is too short": (_SECTION, struct.pack("<II", 6, 8) + bytes(8), "claims 8 bytes"),
    "a block of an odd length": (_SECTION, struct.pack("<II33xI", 99, 45, 45) + bytes(3), "no length of such"),
    "a block of a gigabyte": (_SECTION, struct.pack("<II", 6, 1 << 30) + bytes(40), "claims 1073741824 bytes"),
    "an unknown block of a gigabyte": (_SECTION, struct.pack("<II", 99, 1 << 30) + bytes(8), "claims 1073741824 bytes"),
    "another length behind the block": (_SECTION + _INTERFACE, _ENHANCED[:-4] + bytes(4), "claims 52 bytes"),
    "an interface that was not described": (_SECTION, _ENHANCED, "interface 0"),
    "a simple packet before an interface": (_SECTION, Pcapng().simple(b"abcd"), "interface 0"),
    "an interface of the section before": (_SECTION + _INTERFACE + _SECTION, _ENHANCED, "interface 0"),
    "more captured bytes than the block has": (
        _SECTION + _INTERFACE,
        Pcapng().block(6, struct.pack("<IIIII", 0, 0, 0, 21, 21) + bytes(20)),
        "21 captured bytes",
    ),
    "a packet block without room for its fields": (_SECTION + _INTERFACE, Pcapng().block(6, bytes(8)), "claims 20"),
    "a section without byte-order magic": (_SECTION, Pcapng().block(0x0A0D0D0A, bytes(16)), "byte-order magic"),
    "a section of version 2": (
        _SECTION,
        Pcapng().block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)),
        "version 2.0",
    ),
    "a section that is too short": (_SECTION, Pcapng().block(0x0A0D0D0A, struct.pack("<I", 0x1A2B3C4D)), "at least 28"),
    "an interface that is too short": (_SECTION, Pcapng().block(1, bytes(4)), "at least 20"),
    "an option that is too long": (_SECTION, Pcapng().block(1, bytes(8) + option(2, b"")[:2] + b"\xff\0"), "255 bytes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_with_its_place(damage: str, tmp_path: Path) -> None:
    before, damaged, what = DAMAGES[damage]
    path = tmp_path / "damaged"
    path.write_bytes(before + damaged + _ENHANCED)
    packets, message = _until_damage(path)
    assert packets == []
    assert f"at byte {len(before)}: " in message
    assert what in message


NO_CAPTURES = {
    "empty": (b"", "is empty"),
    "an ELF file": (b"\x7fELF" + bytes(60), "neither a pcap nor a pcapng capture.*7f 45 4c 46"),
    "one byte": (b"\xd4", "neither"),
    "half a header": (pcap([])[:20], "20 of 24 bytes"),
    "half a section": (_SECTION[:20], "claims 28 bytes, 20 are left"),
    "gzip of nothing": (gzip.compress(b""), "is empty"),
    "gzip of text": (gzip.compress(b"a text"), "neither"),
    "gzip cut in its header": (gzip.compress(b"")[:5], "cut short"),
    "zstd of text": (zstandard.ZstdCompressor().compress(b"a text"), "neither"),
    "pcap of version 543": (struct.pack("<IHHiIII", 0xA1B2C3D4, 543, 0, 0, 0, 0, 1), "version 543.0"),
    "USB": (
        pcap([], link=220),
        r"link type 220 \(USB_LINUX_MMAPPED\) is none that .* reads 0 \(NULL\), 1 \(ETHERNET\)",
    ),
    "of no known link type": (pcap([], link=999), "link type 999 is none"),
    "pcapng of USB only": (_SECTION + Pcapng().interface(189), r"189 \(USB_LINUX\)"),
}


@pytest.mark.parametrize("what", NO_CAPTURES)
def test_what_is_no_capture_is_refused_when_it_is_opened(what: str, tmp_path: Path) -> None:
    content, message = NO_CAPTURES[what]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        open_capture(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        open_capture(tmp_path / "none")
    with pytest.raises(InputError, match="Is a directory"):
        open_capture(tmp_path)
    with pytest.raises(InputError, match="null byte"):
        open_capture("a\0b")


def test_every_link_type_that_is_read_can_be_opened(tmp_path: Path) -> None:
    for link in READABLE:
        path = tmp_path / "any"
        path.write_bytes(pcap(PACKETS, link=link))
        assert list(ours(path)) == PACKETS


@settings(max_examples=150)
@given(st.sampled_from(sorted(CAPTURES)), st.data())
def test_a_capture_with_changed_bytes_gives_all_packets_before_the_change(
    tmp_path_factory: pytest.TempPathFactory, capture: str, data: st.DataObject
) -> None:
    parts = CAPTURES[capture]
    content = bytearray(b"".join(part for part, _ in parts))
    changes = data.draw(st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255), min_size=1, max_size=4))
    first = len(content)
    for at, byte in changes.items():
        if content[at] != byte:
            first = min(first, at)
        content[at] = byte
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(content)
    packets, _ = _until_damage(path)
    end = whole = 0
    for part, packets_behind in parts:
        end += len(part)
        if end <= first:
            whole = packets_behind
    assert packets[:whole] == PACKETS[:whole]


@settings(max_examples=150)
@given(
    st.sampled_from([b"", _SECTION, _SECTION + _INTERFACE, Pcapng(">").section(), pcap([]), b"\x1f\x8b\x08\0"]),
    st.binary(max_size=200)
    | st.lists(st.sampled_from([0, 1, 2, 3, 6, 12, 16, 28, 32, 0x0A0D0D0A, 0x1A2B3C4D, 0xFFFFFFFF]), max_size=50).map(
        lambda words: struct.pack(f"<{len(words)}I", *words)
    ),
)
def test_random_bytes_are_packets_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(start + rest)
    packets, message = _until_damage(path)
    assert sum(len(packet.data) for packet in packets) <= len(rest)
    assert message or start + rest


@settings(max_examples=60)
@given(st.sampled_from(["gzip", "zstd"]), st.integers(0, 2**32), st.integers(0, 255))
def test_damaged_compression_gives_true_packets_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, compression: str, at: int, byte: int
) -> None:
    compress = gzip.compress if compression == "gzip" else zstandard.ZstdCompressor(write_checksum=True).compress
    content = bytearray(compress(b"".join(part for part, _ in CAPTURES["pcap <"])))
    content[at % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "compressed"
    path.write_bytes(content)
    packets, message = _until_damage(path)
    assert packets == PACKETS or message
