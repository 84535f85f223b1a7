"""The shipped captures hold what captures/README.md says, by tcpdump's and Wireshark's word."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
LINK_TYPES = {"web.pcap": "EN10MB", "mail-and-dns.pcapng": "EN10MB", "probes.pcap": "LINUX_SLL2"}
FIRST_BYTES = {
    "web.pcap": "d4c3b2a1",  # classic, microseconds
    "mail-and-dns.pcapng": "0a0d0d0a",
    "probes.pcap": "d4c3b2a1",
}
OURS = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "192.168.0.0/16", "fd00::/8", "fe80::/10", "ff02::/16")]

needs_tcpdump = pytest.mark.skipif(not shutil.which("tcpdump"), reason="no tcpdump here")
needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark here")


def _rows() -> list[tuple[str, str, str, int]]:
    """The README's (capture, what, filter, packets)."""
    rows, capture = [], ""
    for line in (CAPTURES / "README.md").read_text().splitlines():
        if heading := re.fullmatch(r"## `(.*)`", line):
            capture = heading[1]
        elif row := re.fullmatch(r"\| (\d+) \| (.*) \| (?:`(.*)`)? ?\|", line):
            rows.append((capture, row[2], row[3] or "", int(row[1])))
    return rows


def _tcpdump(capture: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["tcpdump", "-n", "-q", "-r", str(CAPTURES / capture), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def _tshark(capture: str, *arguments: str) -> list[str]:
    command = ["tshark", "-n", "-r", str(CAPTURES / capture), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_every_shipped_capture_is_described() -> None:
    described = {capture for capture, *_ in _rows()}
    assert described == {path.name for path in CAPTURES.glob("*.pcap*")} == set(LINK_TYPES)


@needs_tcpdump
@pytest.mark.parametrize(("capture", "what", "expression", "packets"), _rows())
def test_a_capture_holds_what_its_readme_says(capture: str, what: str, expression: str, packets: int) -> None:
    assert packets > 0, what
    assert len(_tcpdump(capture, expression).stdout.splitlines()) == packets


@pytest.mark.parametrize("capture", LINK_TYPES)
def test_a_capture_is_under_a_megabyte_and_of_its_format(capture: str) -> None:
    content = (CAPTURES / capture).read_bytes()
    assert len(content) < 1_000_000
    assert content[:4].hex() == FIRST_BYTES[capture]


@needs_tcpdump
@pytest.mark.parametrize(("capture", "link_type"), LINK_TYPES.items())
def test_a_capture_is_of_its_link_type(capture: str, link_type: str) -> None:
    assert f"link-type {link_type} " in _tcpdump(capture).stderr


@needs_tcpdump
def test_times_of_the_pcapng_are_in_nanoseconds() -> None:
    lines = _tcpdump("mail-and-dns.pcapng", "-tt", "--time-stamp-precision=nano").stdout.splitlines()
    assert any(not line.split()[0].endswith("000") for line in lines)


@needs_tshark
@pytest.mark.parametrize("capture", ["web.pcap", "mail-and-dns.pcapng"])
def test_checksums_are_as_on_a_wire(capture: str) -> None:
    check = [argument for name in ("ip", "tcp", "udp") for argument in ("-o", f"{name}.check_checksum:TRUE")]
    kinds = ("ip", "tcp", "udp", "icmp", "icmpv6")
    bad, good = (
        _tshark(capture, *check, "-Y", " or ".join(f"{kind}.checksum.status == {status}" for kind in kinds))
        for status in ("Bad", "Good")
    )
    assert not bad
    assert len(good) > 200


@needs_tshark
@pytest.mark.parametrize("capture", LINK_TYPES)
def test_every_address_is_private_or_of_the_link(capture: str) -> None:
    fields = ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "dns.a", "dns.aaaa", "arp.src.proto_ipv4")
    lines = _tshark(capture, "-T", "fields", *[argument for field in fields for argument in ("-e", field)])
    addresses = {ipaddress.ip_address(text) for line in lines for text in re.split(r"[\t,]", line) if text}
    assert len(addresses) > 5
    assert not [one for one in addresses if not any(one in network for network in OURS)]


@pytest.mark.parametrize("capture", LINK_TYPES)
def test_a_capture_tells_nothing_of_the_machine_that_recorded_it(capture: str) -> None:
    content = (CAPTURES / capture).read_bytes()
    assert not re.search(rb"/home/|/root/|/tmp/|/work|Linux \d|Intel|AMD|SSE", content)


def test_the_recording_script_explains_itself() -> None:
    command = [sys.executable, str(CAPTURES / "record.py"), "--help"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "mail-and-dns.pcapng" in done.stdout
