"""What we write is what Wireshark and tcpdump read: frames, times, interfaces, comments; nothing is half-written."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import zstandard
from capture_files import SHIPPED, Packet, dissected, of_tshark, ours
from hypothesis import given, settings
from hypothesis import strategies as st

from routebpf.datapath.capture_link_types import LINKTYPE_ETHERNET, LINKTYPE_RAW
from routebpf.datapath.capture_writer import CaptureWriter, Interface
from routebpf.errors import InputError
from routebpf.runtime.device import FRAME_HEADER_BYTES, FRAME_IFINDEX, FRAME_LENGTH, FRAME_PACKET, FRAME_TIME
from routebpf.runtime.memory import Memory

needs_wireshark = pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark here")

ETH0 = Interface("eth0", LINKTYPE_ETHERNET, 2)
ETH1 = Interface("veth-äß", LINKTYPE_ETHERNET, 7)
TUN0 = Interface("tun0", LINKTYPE_RAW, 3)
TIME = 1_700_000_000_123_456_789


class Frame(NamedTuple):
    ifindex: int
    data: bytes
    time: int = TIME
    packet: int = 0


def _sink(frames: Sequence[Frame]) -> Memory:
    """Frame records as `transmit` makes them."""
    memory = Memory(sum(FRAME_HEADER_BYTES + len(one.data) + 7 & ~7 for one in frames))
    at = 0
    for one in frames:
        memory.write(at + FRAME_IFINDEX, struct.pack("<I", one.ifindex))
        memory.write(at + FRAME_LENGTH, struct.pack("<I", len(one.data)))
        memory.write(at + FRAME_PACKET, struct.pack("<q", one.packet))
        memory.write(at + FRAME_TIME, struct.pack("<q", one.time))
        memory.write(at + FRAME_HEADER_BYTES, one.data)
        at += FRAME_HEADER_BYTES + len(one.data) + 7 & ~7
    return memory


def _write(writer: CaptureWriter, frames: Sequence[Frame], *comments: Any) -> None:
    sink = _sink(frames)
    writer.write_frames(sink.address, sink.size, *comments)


def _recorded(ifindex: int = 2) -> list[Frame]:
    return [
        Frame(ifindex, packet.data, packet.time, number)
        for capture in SHIPPED
        if capture.stem != "probes"
        for number, packet in enumerate(ours(capture))
    ]


def _as_packets(frames: Sequence[Frame]) -> list[Packet]:
    return [Packet(one.time, len(one.data), one.data) for one in frames]


@needs_wireshark
@pytest.mark.parametrize("name", ["out.pcap", "out.pcapng", "out.pcap.gz", "out.pcapng.gz", "out.pcap.zst"])
def test_wireshark_reads_what_is_written(name: str, tmp_path: Path) -> None:
    path, frames = tmp_path / name, _recorded()
    with CaptureWriter(path, interfaces=[ETH0]) as writer:
        _write(writer, frames[:100])
        _write(writer, frames[100:])
        assert writer.frames == len(frames)
    assert of_tshark(path) == _as_packets(frames)


@needs_wireshark
def test_pcap_is_written_in_nanoseconds_for_tcpdump(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    with CaptureWriter(path, interfaces=[TUN0]) as writer:
        _write(writer, [Frame(3, bytes.fromhex("4500001c000000004011f96b0a0000010a0000020035003500080000"))])
    read = subprocess.run(["tcpdump", "-n", "-tt", "--nano", "-r", path], check=True, capture_output=True, text=True)
    assert "link-type RAW" in read.stderr
    assert read.stdout.startswith("1700000000.123456789 IP 10.0.0.1.53 > 10.0.0.2.53:")


@needs_wireshark
def test_pcapng_tells_device_direction_and_comment_of_each_frame(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    frames = [
        Frame(2, b"\1" * 61, packet=1_000),
        Frame(7, b"\2" * 62, packet=1_000),
        Frame(3, b"\x45" * 63, packet=1_001),
        Frame(2, b"\4" * 64, packet=1_002),
        Frame(2, b"\5" * 64, packet=999),
        Frame(2, b"\6" * 64, packet=1_003),
    ]
    with CaptureWriter(path, interfaces=[ETH0, TUN0, ETH1]) as writer:
        writer.set_comments(["sent", "", "redirected: größer"])
        _write(writer, frames, np.array([0, 2, 1]), 1_000)
    shown = [one["frame"] for one in dissected(path)]
    names = [one["frame.interface_id_tree"]["frame.interface_name"] for one in shown]
    assert names == ["eth0", "veth-äß", "tun0", "eth0", "eth0", "eth0"]
    outbound = "0x00000002"
    assert [one["frame.packet_flags"] for one in shown] == [outbound] * 6
    assert _comments(path) == ["sent", "sent", "redirected: größer", "", "", ""]
    assert of_tshark(path) == _as_packets(frames)


def _comments(path: Path) -> list[str]:
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "frame.comment"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@needs_wireshark
def test_capinfos_finds_nothing_wrong_with_a_capture_without_frames(tmp_path: Path) -> None:
    for name, kind in (("out.pcap", "nanosecond pcap"), ("out.pcapng", "pcapng")):
        path = tmp_path / name
        with CaptureWriter(path, interfaces=[ETH0, ETH1]):
            pass
        shown = subprocess.run(["capinfos", path], check=True, capture_output=True, text=True).stdout
        assert f"- {kind}" in shown
        assert "Number of packets:   0" in shown


FRAMES = st.lists(
    st.builds(
        Frame,
        st.sampled_from([2, 3, 7]),
        st.binary(max_size=40) | st.integers(0, 70_000).map(bytes),
        st.integers(0, 2**32 * 10**9 - 1),
        st.integers(0, 4),
    ),
    max_size=60,
)


@settings(max_examples=30)
@given(FRAMES, st.lists(st.text(max_size=20), min_size=5, max_size=5))
def test_any_frames_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, frames: list[Frame], texts: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    interfaces = [Interface(str(number), LINKTYPE_ETHERNET, number) for number in (2, 3, 7)]
    for name in ("any.pcap", "any.pcapng"):
        with CaptureWriter(folder / name, interfaces=interfaces) as writer:
            writer.set_comments(texts)
            _write(writer, frames, np.arange(5, dtype=np.uint8))
        assert list(ours(folder / name)) == _as_packets(frames)


def test_frames_of_more_than_the_buffer_are_written(tmp_path: Path) -> None:
    frames = [Frame(2, bytes([number]) * size) for number, size in enumerate([3_000_001, 0, 1, 70_000, 1 << 20, 9])] * 3
    for name in ("out.pcap", "out.pcapng"):
        with CaptureWriter(tmp_path / name, interfaces=[ETH0]) as writer:
            _write(writer, frames)
    assert list(ours(tmp_path / "out.pcapng")) == _as_packets(frames)
    content = (tmp_path / "out.pcap").read_bytes()
    assert len(content) == 24 + sum(16 + len(one.data) for one in frames)


def test_a_time_before_the_epoch_is_the_epoch(tmp_path: Path) -> None:
    for name in ("out.pcap", "out.pcapng"):
        with CaptureWriter(tmp_path / name, interfaces=[ETH0]) as writer:
            _write(writer, [Frame(2, b"a", -5)])
        assert list(ours(tmp_path / name)) == [Packet(0, 1, b"a")]


def test_the_same_frames_are_the_same_bytes(tmp_path: Path) -> None:
    contents = set()
    for number in range(2):
        path = tmp_path / f"{number}.pcapng.gz"
        with CaptureWriter(path, interfaces=[ETH0]) as writer:
            _write(writer, _recorded())
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_frames_are_padded_with_zeros(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    with CaptureWriter(path, interfaces=[ETH0]) as writer:
        _write(writer, [Frame(2, b"\xff" * 100)])
        _write(writer, [Frame(2, b"abcde")])
    assert b"abcde\0\0\0" in path.read_bytes()


def test_the_name_chooses_compression(tmp_path: Path) -> None:
    contents = []
    for suffix in ("", ".gz", ".zst"):
        with CaptureWriter(tmp_path / f"out.pcapng{suffix}", interfaces=[ETH0]) as writer:
            _write(writer, _recorded())
        contents.append((tmp_path / f"out.pcapng{suffix}").read_bytes())
    assert gzip.decompress(contents[1]) == contents[0]
    assert zstandard.ZstdDecompressor().decompressobj().decompress(contents[2]) == contents[0]


def test_pcap_of_several_link_types_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"eth0: 1 \(ETHERNET\), tun0: 101 \(RAW\).*name it .pcapng"):
        CaptureWriter(tmp_path / "out.pcap", interfaces=[ETH0, TUN0])
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_tells_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out\.txt .*name it \.pcap or \.pcapng"):
        CaptureWriter(tmp_path / "out.txt", interfaces=[ETH0])
    with CaptureWriter(tmp_path / "out.txt", interfaces=[ETH0], format="pcap"):
        pass
    assert list(ours(tmp_path / "out.txt")) == []


def test_an_unwritable_place_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.pcap").mkdir()
    with pytest.raises(InputError, match="No such file or directory"):
        CaptureWriter(tmp_path / "none" / "out.pcap", interfaces=[ETH0])
    with pytest.raises(InputError, match="Is a directory"):
        CaptureWriter(tmp_path / "folder.pcap", interfaces=[ETH0])
    with pytest.raises(InputError, match=r"cannot write the capture /proc/out\.pcap"):
        CaptureWriter("/proc/out.pcap", interfaces=[ETH0])


def test_a_file_appears_whole_and_only_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    path.write_bytes(b"what was there")
    path.chmod(0o640)
    with CaptureWriter(path, interfaces=[ETH0]) as writer:
        _write(writer, _recorded())
        assert path.read_bytes() == b"what was there"
    assert list(ours(path)) == _as_packets(_recorded())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_or_abort_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    path.write_bytes(b"what was there")
    with (  # noqa: PT012 (the error is in the middle of writing)
        pytest.raises(KeyboardInterrupt),
        CaptureWriter(path, interfaces=[ETH0]) as writer,
    ):
        _write(writer, _recorded())
        raise KeyboardInterrupt
    writer = CaptureWriter(path, interfaces=[ETH0])
    writer.abort()
    writer.close()
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_written_before_damage_of_the_input_can_be_kept(tmp_path: Path) -> None:
    source, path = tmp_path / "in.pcap", tmp_path / "out.pcapng"
    source.write_bytes(SHIPPED[-1].read_bytes()[:-1])
    with (  # noqa: PT012 (the error comes after packets)
        CaptureWriter(path, interfaces=[ETH0]) as writer,
        pytest.raises(InputError, match="damaged"),
    ):
        for packet in ours(source):
            _write(writer, [Frame(2, packet.data, packet.time)])
    assert len(list(ours(path))) == len(list(ours(SHIPPED[-1]))) - 1


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    link, target = tmp_path / "link.pcap", tmp_path / "target"
    link.symlink_to(target)
    with CaptureWriter(link, interfaces=[ETH0]):
        pass
    assert link.is_symlink()
    assert list(ours(target)) == []


def test_a_pipe_and_a_device_are_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.pcap"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        with CaptureWriter(pipe, interfaces=[ETH0]) as writer:
            _write(writer, [Frame(2, b"abc")])
        assert len(reader.communicate()[0]) == 24 + 16 + 3
    with CaptureWriter("/dev/null", interfaces=[ETH0], format="pcapng") as writer:
        _write(writer, _recorded())
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="/dev/full any further: No space left on device; free some space"),
        CaptureWriter("/dev/full", interfaces=[ETH0], format="pcap") as writer,
    ):
        _write(writer, _recorded())
    link = tmp_path / "small.pcap"
    link.symlink_to("/dev/full")
    writer = CaptureWriter(link, interfaces=[ETH0])
    with pytest.raises(InputError, match="No space left"):
        writer.close()


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_grow_leaves_nothing_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="File too large"),
        CaptureWriter(tmp_path / "out.pcap", interfaces=[ETH0]) as writer,
        _largest_file(10_000),
    ):
        _write(writer, _recorded())
    assert list(tmp_path.iterdir()) == []


def test_frames_of_a_device_that_is_no_interface_are_an_error(tmp_path: Path) -> None:
    for ifindex in (1, 3, 1_000):
        with (
            pytest.raises(InputError, match="no interface of this capture"),
            CaptureWriter(tmp_path / "out.pcapng", interfaces=[ETH0]) as writer,
        ):
            _write(writer, [Frame(2, b"a"), Frame(ifindex, b"b")])


def test_minus_is_standard_output() -> None:
    code = (
        "from test_capture_writer import CaptureWriter, ETH0, Frame, _write\n"
        "with CaptureWriter('-', interfaces=[ETH0]) as writer: _write(writer, [Frame(2, b'abc')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parent)
    assert done.stdout.startswith(b"\x0a\x0d\x0d\x0a")
    assert b"abc" in done.stdout
