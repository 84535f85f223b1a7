"""Captures are read as Wireshark reads them, whatever their format, byte order, resolution and compression."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import zstandard
from capture_files import SHIPPED, Packet, Pcapng, of_tshark, ours, pcap
from hypothesis import given
from hypothesis import strategies as st

from routebpf.datapath.capture_reader import open_capture
from routebpf.datapath.packet_rows import PACKET_ROW, ROW_BYTES, ROW_TIMELESS

needs_wireshark = pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark here")

# UDP over IPv4, so that Wireshark has something to dissect.
FRAME = bytes.fromhex("02000000000102000000000208004500001c000000004011f96b0a0000010a00000200350035000800" + "00")
PACKETS = [
    Packet(1_700_000_000_123_456_000, 42, FRAME),
    Packet(1_700_000_000_123_457_000, 1500, FRAME[:20]),
    Packet(0, 42, FRAME),
    Packet(4_294_967_295_999_999_000, 42, FRAME),
]
COMPRESSIONS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip members": lambda data: gzip.compress(data[:1000]) + bytes(9) + gzip.compress(data[1000:]) + bytes(512),
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd frames": lambda data: (
        bytes.fromhex("502a4d18 03000000 616263")
        + zstandard.ZstdCompressor(write_checksum=True).compress(data[:1000])
        + zstandard.ZstdCompressor().compress(data[1000:])
    ),
}


@needs_wireshark
@pytest.mark.parametrize("capture", SHIPPED, ids=lambda path: path.name)
@pytest.mark.parametrize("format", ["pcap", "nsecpcap", "pcapng"])
def test_a_recording_in_each_format_is_read_as_wireshark_reads_it(capture: Path, format: str, tmp_path: Path) -> None:
    converted = tmp_path / "converted"
    subprocess.run(["editcap", "-F", format, capture, converted], check=True)
    assert list(ours(converted)) == of_tshark(converted)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_recording_is_the_same_within_each_compression(compression: str, tmp_path: Path) -> None:
    for capture in SHIPPED:
        path = tmp_path / "compressed"
        path.write_bytes(COMPRESSIONS[compression](capture.read_bytes()))
        assert list(ours(path)) == list(ours(capture))


@needs_wireshark
def test_a_merged_capture_has_the_packets_of_all_link_types(tmp_path: Path) -> None:
    merged = tmp_path / "merged.pcapng"
    subprocess.run(["mergecap", "-a", "-w", merged, *SHIPPED], check=True)
    assert list(ours(merged)) == of_tshark(merged)
    with open_capture(merged) as capture:
        links = [int(link) for batch in capture.batches() for link in batch.rows["link"]]
        assert capture.link_types == {1, 276}
    assert links.count(276) == 1722


@needs_wireshark
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("unit", [1000, 1])
def test_pcap_of_either_byte_order_and_unit_is_read_as_wireshark_reads_it(
    order: str, unit: int, tmp_path: Path
) -> None:
    path = tmp_path / "made.pcap"
    path.write_bytes(pcap(PACKETS, order=order, unit=unit))
    assert list(ours(path)) == PACKETS == of_tshark(path)


def _sections() -> bytes:
    little, big = Pcapng("<"), Pcapng(">")
    return b"".join(
        [
            big.section(),
            big.custom(),
            big.block(0x8000_0001, b"of no known type"),
            big.interface(101, resolution=9),
            big.interface(1),
            big.enhanced(FRAME, ticks=1_700_000_000_123_456, interface=1),
            big.block(5, bytes(12)),  # interface statistics
            big.enhanced(FRAME[14:], ticks=1_700_000_000_123_456_789, wire_size=99),
            big.obsolete(FRAME, ticks=1_700_000_000_654_321, wire_size=77, interface=1),
            little.section(),
            little.interface(1, resolution=0x80 | 20, offset=1_600_000_000, snaplen=30),
            little.enhanced(FRAME, ticks=(100_000_000 << 20) + (1 << 19)),
            little.interface(1, resolution=3, offset=-5),
            little.obsolete(FRAME[:15], ticks=1_700_000_000_123, wire_size=42, interface=1),
            big.section(),
        ]
    )


@needs_wireshark
def test_pcapng_sections_have_their_own_byte_order_and_interfaces(tmp_path: Path) -> None:
    path = tmp_path / "made.pcapng"
    path.write_bytes(_sections())
    assert len(of_tshark(path)) == 5
    assert list(ours(path)) == of_tshark(path)


@needs_wireshark
@pytest.mark.parametrize("order", "<>")
def test_simple_packets_have_no_time_and_are_cut_to_the_snapshot_length(order: str, tmp_path: Path) -> None:
    made, path = Pcapng(order), tmp_path / "simple.pcapng"
    path.write_bytes(made.section() + made.interface(snaplen=30) + made.simple(FRAME[:30], wire_size=42))
    with open_capture(path) as capture:
        (batch,) = capture.batches()
        assert batch.rows["flags"][0] == ROW_TIMELESS
        assert batch.rows["time"][0] == 0
    (packet,) = ours(path)
    (theirs,) = of_tshark(path)
    assert packet == theirs == Packet(0, 42, FRAME[:30])


def _exact_time(ticks: int, resolution: int, offset: int) -> int:
    """By the definition of if_tsresol and if_tsoffset, in exact fractions."""
    second = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    largest = (1 << 63) - 1
    nanoseconds = int(Fraction(ticks, second) * 10**9)
    return (
        min(nanoseconds + max(-largest, min(offset * 10**9, largest)), largest) if nanoseconds <= largest else largest
    )


@given(
    st.integers(0, 255),
    st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([2**64 - 1, 2**63, 2**32]), min_size=1, max_size=20),
    st.sampled_from([0, 1, -1, 1_700_000_000, -1_700_000_000, 2**63 - 1, -(2**63)]) | st.integers(-(2**35), 2**35),
)
def test_times_of_every_resolution_are_exact_and_do_not_overflow(
    tmp_path_factory: pytest.TempPathFactory, resolution: int, ticks: list[int], offset: int
) -> None:
    made = Pcapng()
    path = tmp_path_factory.getbasetemp() / "times.pcapng"
    blocks = [made.enhanced(b"", ticks=one) for one in ticks]
    path.write_bytes(made.section() + made.interface(resolution=resolution, offset=offset) + b"".join(blocks))
    assert [packet.time for packet in ours(path)] == [_exact_time(one, resolution, offset) for one in ticks]


@pytest.mark.parametrize("max_packets", [1, 2, 7, 210, 211, 212])
def test_packets_are_the_same_in_batches_of_any_size(max_packets: int) -> None:
    for capture in SHIPPED:
        with open_capture(capture) as opened:
            sizes = [len(batch) for batch in opened.batches(max_packets)]
        assert max(sizes) <= max_packets
        assert list(ours(capture, max_packets)) == list(ours(capture))


def test_packets_are_numbered_from_zero() -> None:
    with open_capture(SHIPPED[0]) as capture:
        numbers = [int(number) for batch in capture.batches(10) for number in batch.rows["number"]]
    assert numbers == list(range(len(numbers)))


def test_a_row_is_32_bytes() -> None:
    assert PACKET_ROW.itemsize == ROW_BYTES == 32


def test_packets_of_no_bytes_are_packets(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    for content in (
        pcap([Packet(0, 0, b"")] * 3),
        Pcapng().section() + Pcapng().interface() + Pcapng().enhanced(b"") * 3,
    ):
        path.write_bytes(content)
        assert list(ours(path)) == [Packet(0, 0, b"")] * 3


def test_a_capture_without_packets_is_a_capture(tmp_path: Path) -> None:
    path = tmp_path / "none"
    for content in (pcap([]), Pcapng().section(), Pcapng().section() + Pcapng().interface()):
        path.write_bytes(content)
        assert list(ours(path)) == []


@pytest.mark.parametrize("compression", ["plain", "gzip", "zstd"])
def test_a_packet_and_a_block_larger_than_the_buffer_are_read(compression: str, tmp_path: Path) -> None:
    large = Packet(0, 6_000_000, os.urandom(6_000_000))
    made = Pcapng()
    path = tmp_path / "large"
    path.write_bytes(COMPRESSIONS[compression](pcap([*PACKETS, large, *PACKETS], snaplen=10_000_000)))
    assert list(ours(path)) == [*PACKETS, large, *PACKETS]
    blocks = [made.section(), made.interface(), made.enhanced(FRAME), made.custom(20_000_000), made.enhanced(FRAME)]
    path.write_bytes(COMPRESSIONS[compression](b"".join([*blocks, made.enhanced(large.data)])))
    assert [packet.data for packet in ours(path)] == [FRAME, FRAME, large.data]


def test_packets_of_a_pipe_come_while_it_is_still_written() -> None:
    reading, writing = os.pipe()
    content = pcap(PACKETS)
    os.write(writing, content[:-10])
    with open_capture(f"/dev/fd/{reading}") as capture:
        batches = capture.batches()
        assert len(next(batches)) == len(PACKETS) - 1
        os.write(writing, content[-10:])
        assert len(next(batches)) == 1
        os.close(writing)
        assert list(batches) == []
    os.close(reading)


def test_standard_input_is_a_capture_named_minus() -> None:
    code = "import sys; from capture_files import ours; print(len(list(ours('-'))))"
    for capture in SHIPPED:
        with open(capture, "rb") as file:
            done = subprocess.run(
                [sys.executable, "-c", code], stdin=file, capture_output=True, check=True, cwd=Path(__file__).parent
            )
        assert int(done.stdout) == len(list(ours(capture)))


_MEASURE = """
import resource, sys
from routebpf.datapath.capture_reader import open_capture
with open_capture(sys.argv[1]) as capture:
    print(sum(len(batch) for batch in capture.batches()))
# In KB: the highest of this process, not of the one that it came from.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_capture(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("small", "sparse", "zst", "gz")]
    size = 256 << 20
    paths[0].write_bytes(pcap(PACKETS))
    paths[1].write_bytes(pcap([]))
    os.truncate(paths[1], 24 + size)  # zeros: packets of no bytes
    records = pcap([Packet(0, 1_000, bytes(1_000))] * 1_000)[24:]
    with open(paths[2], "wb") as file, zstandard.ZstdCompressor().stream_writer(file) as compressor:
        compressor.write(pcap([]))
        for _ in range(size // len(records)):
            compressor.write(records)
    with gzip.open(paths[3], "wb", compresslevel=1) as gz:
        gz.write(pcap([]))
        for _ in range(size // 4 // len(records)):
            gz.write(records)
    counts, peaks = [], []
    for path in paths:
        done = subprocess.run([sys.executable, "-c", _MEASURE, path], capture_output=True, check=True, text=True)
        count, peak = done.stdout.split()
        counts.append(int(count))
        peaks.append(int(peak))
    assert counts == [4, size // 16, size // len(records) * 1_000, size // 4 // len(records) * 1_000]
    assert max(peaks) < peaks[0] + 40_000
