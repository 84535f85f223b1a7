"""The shipped examples do what they say on the shipped captures, by the word of tcpdump, Wireshark and arithmetic."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from command_line import (
    DROP_SMTP,
    MAIL,
    PROBES,
    ROOT,
    WEB,
    needs_tcpdump,
    needs_tshark,
    report,
    routebpf,
    tcpdump,
    tshark,
)

EXAMPLES = ROOT / "examples"
MAIL_FILTER = "tcp dst port 25 and dst net 10.0.0.0/8"
# What a host has routes for before anybody gives it one.
OF_THE_LINK = [ipaddress.ip_network("ff00::/8"), ipaddress.ip_network("fe80::/64")]


@needs_tcpdump
def test_drop_smtp_drops_what_tcpdump_calls_mail_into_the_prefix(tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    found = report("run", DROP_SMTP, "--to", "10.0.0.0/8", "--pcap", MAIL, "--write", out)
    assert found["verdicts"]["dropped"] == found["reasons"]["program-drop"] == len(tcpdump(MAIL, MAIL_FILTER)) > 0
    assert tcpdump(out) == tcpdump(MAIL, f"(ip or ip6) and not ({MAIL_FILTER})")


@needs_tshark
@pytest.mark.parametrize("capture", [WEB, MAIL, PROBES], ids=lambda path: path.stem)
def test_account_counts_by_destination_what_tshark_counts(capture: Path) -> None:
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for time, to, total, to6, payload in tshark(
        capture, "frame.time_epoch", "ip.dst", "ip.len", "ipv6.dst", "ipv6.plen", where="ip or ipv6"
    ):
        address = ipaddress.ip_address(to or to6)
        if not any(address in net for net in OF_THE_LINK):
            entry = expected[str(address)]
            entry[:] = [entry[0] + 1, entry[1] + (int(total) if to else int(payload) + 40), nanoseconds(time)]
    found = {}
    for entry in report("run", EXAMPLES / "account.bpf.c", "--pcap", capture)["maps"]["traffic_by_destination"]:
        address = ipaddress.IPv6Address(bytes(entry["key"]["bytes"]))
        found[str(address.ipv4_mapped or address)] = list(entry["value"].values())
    assert found == dict(expected)
    assert len(found) > 5


@needs_tshark
def test_show_samples_prints_packets_of_the_capture() -> None:
    command = [sys.executable, EXAMPLES / "show_samples.py", WEB]
    *samples, last = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    there = {
        (nanoseconds(time) // 1000 % 10**6, to or to6, int(total) if to else int(payload) + 40)
        for time, to, total, to6, payload in tshark(
            WEB, "frame.time_epoch", "ip.dst", "ip.len", "ipv6.dst", "ipv6.plen", where="ip or ipv6"
        )
    }
    for line in samples:
        sample = re.fullmatch(r"\d\d:\d\d:\d\d\.(\d{6}) (\S+) length (\d+): ((?:[0-9a-f]{2})+)", line)
        assert sample, line
        assert (int(sample[1]), sample[2], int(sample[3])) in there
        head = bytes.fromhex(sample[4])
        assert len(head) == min(64, int(sample[3]))
        assert ipaddress.ip_address(head[16:20] if head[0] >> 4 == 4 else head[24:40]) == ipaddress.ip_address(
            sample[2]
        )
    assert 4 <= len(samples) <= 40, "one in 16 of some 250"
    assert last.startswith("265 packets to 10 destinations")


@needs_tshark
def test_guard_drops_what_the_rules_in_its_comment_say() -> None:
    rate, burst, max_ports = 100, 50, 20
    ports: dict[tuple[str, str], set[int]] = defaultdict(set)
    tokens: dict[str, tuple[float, int]] = {}  # of packets, and when
    scans = too_fast = 0
    for time, source, to, protocol, offset, syn, ack, port in tshark(
        PROBES,
        *("frame.time_epoch", "ip.src", "ip.dst", "ip.proto", "ip.frag_offset"),
        *("tcp.flags.syn", "tcp.flags.ack", "tcp.dstport"),
        where="ip",
    ):
        if protocol == "6" and offset == "0" and is_set(syn) and not is_set(ack):
            ports[source, to].add(int(port))
            if len(ports[source, to]) > max_ports:
                scans += 1
                continue
        now = nanoseconds(time)
        left, before = tokens.get(to, (burst, now))
        left = min(burst, left + (now - before) * rate / 1e9)
        too_fast += left < 1
        tokens[to] = (left - (left >= 1), now)
    found = report("run", EXAMPLES / "guard.bpf.c", "--pcap", PROBES)
    assert sum(one["value"]["dropped"] for one in found["maps"]["scanners"]) == scans == 130
    assert sum(one["value"]["too_fast"] for one in found["maps"]["destinations"]) == too_fast > 0
    assert found["verdicts"]["dropped"] == scans + too_fast


@needs_tshark
def test_push_link_header_sends_frames_with_its_own_header_by_the_other_device(tmp_path: Path) -> None:
    out = tmp_path / "out.pcapng"
    found = report("run", "--topology", "examples/push_link_header.topology", "--pcap", WEB, "--write", out)
    sent = tshark(
        WEB, "ip.id", "ip.src", "ipv6.src", "frame.len", where="ip.dst == 10.0.0.0/8 or ipv6.dst == fd00::/16"
    )
    pushed = tshark(
        out,
        *("ip.id", "ip.src", "ipv6.src", "frame.len"),
        where="eth.src == 02:00:5e:10:00:02 and eth.dst == 02:00:5e:10:00:01 and frame.interface_name == lan1",
    )
    assert pushed == sent
    assert found["verdicts"]["redirected"] == found["frames"]["lan1"] == len(sent) > 200
    others = tshark(out, "ipv6.dst", where="frame.interface_name != lan1")
    assert {ipaddress.ip_address(one) in OF_THE_LINK[0] for (one,) in others} == {True}


@pytest.mark.parametrize("example", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_the_command_in_an_example_s_comment_works(example: Path, tmp_path: Path) -> None:
    text = re.sub(r"\\\n//", "", example.read_text()).replace("build/", f"{tmp_path}/")
    commands = re.findall(r"^(?://)? {4,}(routebpf run .*)$", text, re.MULTILINE)
    assert bool(commands) == example.name.endswith(".bpf.c")
    for command in commands:
        assert "packets" in routebpf(*command.split()[1:]).stdout


def nanoseconds(epoch: str) -> int:
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))


def is_set(flag: str) -> bool:
    return flag in ("1", "True")
