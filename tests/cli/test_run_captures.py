"""`routebpf run`: captures in every wrapping, and what it writes, as Wireshark reads it."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from command_line import DROP_SMTP, MAIL, WEB, needs_tcpdump, needs_tshark, report, routebpf, tcpdump, tshark

TO = ("--to", "10.0.0.0/8")
DROPPED = "tcp.dstport == 25 and ip.dst == 10.0.0.0/8"
MAIL_FILTER = "tcp dst port 25 and dst net 10.0.0.0/8"


@needs_tshark
@pytest.mark.parametrize("name", ["out.pcap", "out.pcapng", "out.pcap.gz", "out.pcapng.gz", "out.pcapng.zst"])
def test_what_is_written_is_what_left(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    text = routebpf("run", DROP_SMTP, *TO, "--pcap", MAIL, "--write", out).stdout
    assert f"176 frames written to {out}\n" in text
    assert list(tmp_path.iterdir()) == [out]
    if name.endswith(".zst"):
        subprocess.run(["zstd", "-q", "-d", "--rm", str(out)], check=True)
        out = out.with_suffix("")
    info = subprocess.run(["capinfos", "-c", "-t", str(out)], check=True, capture_output=True, text=True).stdout
    assert re.search(r"Number of packets: +176$", info, re.MULTILINE)
    assert re.search(rf"File type: .*{'pcapng' if 'pcapng' in name else 'nanosecond'}", info)
    times = [time for time, *_ in tshark(out, "frame.time_epoch")]
    assert times == [time for time, *_ in tshark(MAIL, "frame.time_epoch", where=f"(ip or ipv6) and not ({DROPPED})")]


@needs_tshark
def test_comments_say_what_became_of_each_packet(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    routebpf("run", "--topology", "examples/push_link_header.topology", "--pcap", WEB, "--write", out)
    comments = tshark(out, "frame.comment", "frame.interface_name")
    assert {(comment, device) for comment, device in comments} == {
        ("redirected", "lan1"),
        ("sent", "lan0"),
    }


@needs_tcpdump
def test_to_the_output_goes_the_capture_and_the_report_to_the_error_output() -> None:
    done = routebpf("run", DROP_SMTP, *TO, "--pcap", MAIL, "--write", "-", text=False)
    assert len(tcpdump("-", input=done.stdout)) == 176
    assert b"176 frames written to -" in done.stderr
    done = routebpf("run", DROP_SMTP, *TO, "--pcap", MAIL, "--write", "-", "--json", text=False)
    assert len(tcpdump("-", input=done.stdout)) == 176
    assert json.loads(done.stderr)["frames"] == {"veth0": 176}
    done = routebpf("run", DROP_SMTP, *TO, "--pcap", MAIL, "--write", "-", "--packets", text=False)
    assert len(tcpdump("-", input=done.stdout)) == 176


def test_captures_are_read_from_a_pipe_and_through_compression(tmp_path: Path) -> None:
    plain = report("run", DROP_SMTP, *TO, "--pcap", MAIL)
    data = MAIL.read_bytes()
    (tmp_path / "mail.gz").write_bytes(gzip.compress(data))
    if shutil.which("zstd"):
        subprocess.run(["zstd", "-q", str(MAIL), "-o", str(tmp_path / "mail.zst")], check=True)
    found = [report("run", DROP_SMTP, *TO, "--pcap", path) for path in tmp_path.iterdir()]
    for piped in (data, gzip.compress(data)):
        found.append(
            json.loads(routebpf("run", DROP_SMTP, *TO, "--pcap", "-", "--json", input=piped, text=False).stdout)
        )
    for one in found:
        assert {**one, "seconds": plain["seconds"]} == plain
    assert len(found) >= 3


def test_a_capture_can_be_written_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "mail.pcapng"
    path.write_bytes(MAIL.read_bytes())
    assert report("run", DROP_SMTP, *TO, "--pcap", path, "--write", path)["packets"] == 211
    assert report("run", DROP_SMTP, *TO, "--pcap", path)["packets"] == 176


# Damage


@needs_tcpdump
@pytest.mark.parametrize("capture", [WEB, MAIL], ids=lambda path: path.suffix)
def test_of_a_truncated_capture_all_before_the_damage_is_run_and_written(tmp_path: Path, capture: Path) -> None:
    cut, out = tmp_path / f"cut{capture.suffix}", tmp_path / "out.pcapng"
    cut.write_bytes(capture.read_bytes()[:20_000])
    whole = tcpdump(cut)
    done = routebpf("run", DROP_SMTP, *TO, "--pcap", cut, "--write", out, "--json", code=2)
    found = json.loads(done.stdout)
    assert found["packets"] == len(whole) > 50
    assert found["verdicts"]["dropped"] == len(tcpdump(cut, MAIL_FILTER))
    assert len(tcpdump(out)) == sum(found["frames"].values()) > 50
    damage = re.fullmatch(rf"routebpf: the capture {cut} is damaged at byte (\d+): .*\n", done.stderr)
    assert damage
    assert 20_000 - 1600 < int(damage[1]) < 20_000
    assert f"{len(whole)} packets" in routebpf("run", DROP_SMTP, "--pcap", cut, code=2).stdout


@needs_tcpdump
def test_a_corrupt_record_ends_the_capture_with_its_offset(tmp_path: Path) -> None:
    data = bytearray(WEB.read_bytes())
    offsets = record_offsets(data)
    data[offsets[100] + 8 : offsets[100] + 12] = b"\xff\xff\xff\x7f"
    corrupt = tmp_path / "corrupt.pcap"
    corrupt.write_bytes(data)
    done = routebpf("run", DROP_SMTP, "--pcap", corrupt, "--packets", code=2)
    assert f"is damaged at byte {offsets[100]}: the record there claims 2147483647 captured bytes" in done.stderr
    assert "100 packets, " in done.stdout
    assert len(done.stdout[: done.stdout.index("\nroute ")].splitlines()) == len(tcpdump(corrupt)) == 100


def test_packets_with_broken_ip_headers_are_counted_and_named(tmp_path: Path) -> None:
    data = bytearray(WEB.read_bytes())
    ipv4 = [at + 30 for at in record_offsets(data) if data[at + 28 : at + 30] == b"\x08\x00"]
    data[ipv4[0]] = 0x75  # version
    data[ipv4[1]] = 0x41  # header length
    data[ipv4[2] + 2 : ipv4[2] + 4] = b"\xff\xff"  # total length
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(data)
    found = report("run", DROP_SMTP, "--pcap", broken)
    assert found["reasons"] == {"not-ip": 8, "ip-version": 1, "ip-header-length": 1, "ip-total-length": 1}
    assert found["verdicts"]["error"] == 11
    text = routebpf("run", DROP_SMTP, "--pcap", broken).stdout
    assert re.search(r"^ip-header-length +1  the header length in its IP header is wrong$", text, re.MULTILINE)


def record_offsets(data: bytes) -> list[int]:
    """Where the records of a little-endian pcap capture begin."""
    offsets, at = [], 24
    while at < len(data):
        offsets.append(at)
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
    return offsets
