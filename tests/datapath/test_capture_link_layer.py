"""Behind every link header that we read, the network header is where Wireshark finds it."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from capture_files import SHIPPED, Packet, Pcapng, dissected, pcap

from routebpf.datapath.capture_link_types import READABLE
from routebpf.datapath.capture_reader import open_capture
from routebpf.datapath.link_layer import (
    LAYER_ETHERTYPE_SHIFT,
    LAYER_OFFSET_MASK,
    LAYER_REASON_SHIFT,
    LINK_CUT_SHORT,
    LINK_IP,
    LINK_NOT_IP,
    LINK_UNKNOWN,
    REASONS,
    network_layer,
)
from routebpf.datapath.packet_rows import ROW_BYTES

needs_wireshark = pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark here")


class Layer(NamedTuple):
    reason: int
    ethertype: int
    offset: int


def _layers(path: Path) -> list[Layer]:
    layers = []
    with open_capture(path) as capture:
        for batch in capture.batches():
            for index in range(len(batch)):
                one = network_layer(batch.address + index * ROW_BYTES)
                layers.append(
                    Layer(one >> LAYER_REASON_SHIFT, one >> LAYER_ETHERTYPE_SHIFT & 0xFFFF, one & LAYER_OFFSET_MASK)
                )
    return layers


def _of_tshark(path: Path) -> list[tuple[int, int] | None]:
    """Ethertype and offset of each packet's outermost IP header, None where there is none."""
    return [_outermost_ip(layers) for layers in dissected(path)]


def _outermost_ip(layers: dict[str, Any]) -> tuple[int, int] | None:
    found = []
    for name, ethertype in (("ip_raw", 0x0800), ("ipv6_raw", 0x86DD)):
        if name in layers:
            # What tshark shows of one header is a list; of several, a list of lists.
            first = layers[name] if isinstance(layers[name][0], str) else layers[name][0]
            found.append((first[1], ethertype))
    if not found:
        return None
    offset, ethertype = min(found)
    return ethertype, offset


def _assert_like_tshark(path: Path) -> None:
    ours, theirs = _layers(path), _of_tshark(path)
    assert [(one.ethertype, one.offset) if one.reason == LINK_IP else None for one in ours] == theirs
    assert all(one.reason in (LINK_IP, LINK_NOT_IP) for one in ours)
    assert any(theirs)


@needs_wireshark
@pytest.mark.parametrize("capture", SHIPPED, ids=lambda path: path.name)
def test_the_network_header_of_a_recording_is_where_wireshark_finds_it(capture: Path) -> None:
    _assert_like_tshark(capture)


IPV4 = bytes.fromhex("4500001c000000004011f96b0a0000010a00000200350035000800 00")
IPV6 = bytes.fromhex("6000000000083a40") + bytes(15) + b"\1" + bytes(15) + b"\1" + bytes.fromhex("80007fbb00000000")
ARP = bytes.fromhex("0001080006040001 020000000001 0a000001 000000000000 0a000002")
PAYLOADS = {0x0800: IPV4, 0x86DD: IPV6, 0x0806: ARP}
MACS = bytes.fromhex("020000000001 020000000002")


def _typed(ethertype: int, *tags: int) -> bytes:
    """An ethertype and its payload, behind VLAN tags."""
    types = [*tags, ethertype]
    return b"".join(struct.pack(">HH", one, 5) for one in tags) + struct.pack(">H", types[-1]) + PAYLOADS[ethertype]


def _sll(ethertype: int, hardware: int = 1) -> bytes:
    return struct.pack(">HHH", 0, hardware, 6) + MACS[:6] + bytes(2) + _typed(ethertype)


def _sll2(ethertype: int, hardware: int = 1) -> bytes:
    head = struct.pack(">HHIHBB", ethertype, 0, 2, hardware, 0, 6)
    return head + MACS[:6] + bytes(2) + PAYLOADS[ethertype]


def _loopback(order: str, family: int, data: bytes) -> bytes:
    return struct.pack(f"{order}I", family) + data


LINKS: dict[str, tuple[int, list[bytes]]] = {
    "Ethernet": (1, [MACS + _typed(one) for one in PAYLOADS]),
    "802.1Q": (1, [MACS + _typed(one, 0x8100) for one in PAYLOADS]),
    "802.1ad": (1, [MACS + _typed(one, 0x88A8, 0x8100) for one in PAYLOADS]),
    "many tags": (1, [MACS + _typed(0x0800, *[0x88A8] * 3, *[0x8100] * 4)]),
    "QinQ of old": (1, [MACS + _typed(0x86DD, 0x9100, 0x8100)]),
    "802.3": (1, [MACS + _typed(0x0800), MACS + b"\0\x26\x42\x42\x03" + bytes(35), MACS + b"\5\xdc" + bytes(1500)]),
    "SLL": (113, [_sll(one) for one in PAYLOADS]),
    "SLL with a tag": (113, [_sll(0x0800)[:14] + _typed(0x0800, 0x8100)]),
    "SLL of netlink": (113, [_sll(0x0800), _sll(0x0800, 824)]),
    "SLL2": (276, [_sll2(one) for one in PAYLOADS]),
    "SLL2 of netlink": (276, [_sll2(0x0800), _sll2(0x0800, 824)]),
    "raw": (101, [IPV4, IPV6]),
    "raw of OpenBSD": (14, [IPV4, IPV6]),
    "raw of others": (12, [IPV4, IPV6]),
    "IPv4": (228, [IPV4]),
    "IPv6": (229, [IPV6]),
    "NULL": (0, [_loopback("<", 2, IPV4), *(_loopback("<", family, IPV6) for family in (24, 28, 30))]),
    "LOOP": (108, [_loopback(">", 2, IPV4), *(_loopback(">", family, IPV6) for family in (24, 28, 30))]),
}


@needs_wireshark
@pytest.mark.parametrize("link", LINKS)
def test_the_network_header_is_where_wireshark_finds_it(link: str, tmp_path: Path) -> None:
    number, packets = LINKS[link]
    path = tmp_path / "made.pcap"
    path.write_bytes(pcap([Packet(0, len(one), one) for one in packets], link=number))
    _assert_like_tshark(path)


def test_every_link_type_that_is_read_is_among_these_tests() -> None:
    assert {number for number, _ in LINKS.values()} == READABLE.keys()


# Wireshark takes the byte order of a whole NULL capture from its file header.
def test_loopback_families_are_known_in_the_other_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "made.pcap"
    packets = [_loopback(">", 2, IPV4), _loopback(">", 30, IPV6), _loopback("<", 10, IPV6), _loopback("<", 7, bytes(9))]
    path.write_bytes(pcap([Packet(0, len(one), one) for one in packets], link=0))
    ip6 = Layer(LINK_IP, 0x86DD, 4)
    assert _layers(path) == [Layer(LINK_IP, 0x0800, 4), ip6, ip6, Layer(LINK_NOT_IP, 0, 4)]


def test_a_tag_behind_a_cooked_header_of_version_2_is_passed(tmp_path: Path) -> None:
    path = tmp_path / "made.pcap"
    data = struct.pack(">HHIHBB", 0x8100, 0, 2, 1, 0, 6) + bytes(8) + struct.pack(">HH", 5, 0x0800) + IPV4
    path.write_bytes(pcap([Packet(0, len(data), data)], link=276))
    assert _layers(path) == [Layer(LINK_IP, 0x0800, 24)]


@pytest.mark.parametrize("link", LINKS)
def test_a_link_header_cut_anywhere_is_cut_short(link: str, tmp_path: Path) -> None:
    number, packets = LINKS[link]
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap([Packet(0, len(packets[0]), packets[0])], link=number))
    (whole,) = _layers(path)
    assert whole.reason == LINK_IP
    raw_needs_a_version = 1 if READABLE[number] == "RAW" else 0
    for size in range(len(packets[0])):
        path.write_bytes(pcap([Packet(0, len(packets[0]), packets[0][:size])], link=number))
        (layer,) = _layers(path)
        if size < whole.offset + raw_needs_a_version:
            assert layer.reason == LINK_CUT_SHORT
        else:
            assert layer == whole


def test_what_is_not_ip_has_the_ethertype_of_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "made.pcap"
    packets = [MACS + _typed(0x0806), MACS + b"\0\x26\x42\x42\x03" + bytes(35)]
    path.write_bytes(pcap([Packet(0, len(one), one) for one in packets]))
    eth_p_arp, eth_p_802_2 = 0x0806, 0x0004  # linux/if_ether.h
    assert _layers(path) == [Layer(LINK_NOT_IP, eth_p_arp, 14), Layer(LINK_NOT_IP, eth_p_802_2, 14)]


def test_packets_of_an_unreadable_interface_are_told_apart(tmp_path: Path) -> None:
    made, path = Pcapng(), tmp_path / "mixed.pcapng"
    blocks = [made.interface(189), made.interface(101), made.enhanced(IPV4), made.enhanced(IPV4, interface=1)]
    path.write_bytes(made.section() + b"".join(blocks))
    assert [one.reason for one in _layers(path)] == [LINK_UNKNOWN, LINK_IP]
    assert set(REASONS) == {LINK_NOT_IP, LINK_CUT_SHORT, LINK_UNKNOWN}


_HOLD_TUN = """
import fcntl, struct, sys
with open("/dev/net/tun", "r+b", buffering=0) as tun:
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
    print("there", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def in_namespace() -> Iterator[Callable[..., list[str]]]:
    """A network namespace with `lo`, and `tun0` where nobody answers: the start of a command that runs there."""
    name = f"rbpf-capture-{os.getpid()}"
    start = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        command = [*start, sys.executable, "-c", _HOLD_TUN]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"there\n"
            for words in (
                "link set lo up",
                "link set tun0 up",
                "address add 10.9.9.1/24 dev tun0",
                "address add fd09::1/64 dev tun0 nodad",
            ):
                subprocess.run([*start, "ip", *words.split()], check=True)
            yield lambda *command: [*start, *command]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


RECORDINGS = {
    "any as LINUX_SLL": ("any", "LINUX_SLL", ["127.0.0.1", "::1"]),
    "any as LINUX_SLL2": ("any", "LINUX_SLL2", ["127.0.0.1", "::1"]),
    "lo": ("lo", "ETHERNET", ["127.0.0.1", "::1"]),
    "tun0": ("tun0", "RAW", ["10.9.9.2", "fd09::2"]),
}


@pytest.mark.kernel
@needs_wireshark
@pytest.mark.skipif(not shutil.which("tcpdump") or not shutil.which("ping"), reason="no tcpdump or ping here")
@pytest.mark.parametrize("recording", RECORDINGS)
def test_what_tcpdump_records_is_read(recording: str, tmp_path: Path, in_namespace: Callable[..., list[str]]) -> None:
    device, link, targets = RECORDINGS[recording]
    path = tmp_path / "recorded.pcap"
    options = ["-y", link] if device == "any" else []
    command = in_namespace("tcpdump", "-U", "-i", device, *options, "-w", str(path), "-c", "4", "icmp or icmp6")
    with subprocess.Popen(command, stderr=subprocess.PIPE) as recorder:
        try:
            assert recorder.stderr is not None
            while b"listening on" not in recorder.stderr.readline():
                assert recorder.poll() is None
            for target in targets:
                subprocess.run(in_namespace("ping", "-c", "2", "-i", "0.01", "-W", "0.1", target), capture_output=True)
            recorder.wait(5)
        finally:
            recorder.kill()
    with open_capture(path) as capture:
        assert {READABLE[one] for one in capture.link_types} == {link}
    _assert_like_tshark(path)
