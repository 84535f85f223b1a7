"""Scenario files: read, packets as their fields say, and differences that are seen."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routebpf.errors import InputError
from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.scenario import Outcome, PacketOutcome, differences, parse_scenario, read_scenario, run_scenario
from routebpf.hosts.scenario_packets import packet_bytes

TEXT = '''
topology = """
link add va up type veth
addr add 10.0.0.1/24 dev va
route add 192.168.0.0/16 via 10.0.0.2 encap bpf xmit obj count.c section lwt_xmit
"""
[programs]
"count.c" = """
#include <routebpf.h>
char _license[] SEC("license") = "GPL";
__u64 runs;
SEC("lwt_xmit") int p(struct __sk_buff *skb) { runs++; return skb->len > 100 ? BPF_DROP : BPF_OK; }
"""
[[packets]]
src = "10.0.0.1"
dst = "192.168.1.5"
repeat = 2

[[packets]]
src = "10.0.0.1"
dst = "192.168.1.5"
payload = 200
'''


def tcpdump(packets: list[bytes], folder: Path, *words: str) -> list[str]:
    """What tcpdump says of packets, a line each."""
    path = folder / "packets.pcap"
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    path.write_bytes(head + b"".join(struct.pack("<IIII", 0, 0, len(one), len(one)) + one for one in packets))
    done = subprocess.run(["tcpdump", "-nt", *words, "-r", str(path)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


FOUR, SIX = {"src": "10.0.0.1", "dst": "10.0.0.2"}, {"src": "fd00::1", "dst": "fd00::2"}
PACKETS: list[tuple[dict[str, Any], str]] = [
    ({**FOUR, "sport": 1000, "dport": 53000}, "10.0.0.1.1000 > 10.0.0.2.53000: [udp sum ok] UDP, length 32"),
    ({**FOUR, "protocol": "tcp", "flags": "syn ack", "payload": 5, "seq": 7, "ack": 9}, "Flags [S.], cksum 0x"),
    ({**FOUR, "protocol": "icmp"}, "ICMP echo request, id 1, seq 1, length 40"),
    ({**SIX}, "[udp sum ok] UDP, length 32"),
    ({**SIX, "protocol": "icmpv6", "ttl": 9}, "[icmp6 sum ok] ICMP6, echo request"),
    ({**SIX, "protocol": "tcp", "flags": "syn", "payload": 0}, "Flags [S], cksum 0x"),
    ({**FOUR, "ttl": 3, "tos": 16, "df": True, "id": 77}, "tos 0x10, ttl 3, id 77, offset 0, flags [DF], proto UDP"),
    ({**FOUR, "fragment": 800, "payload": "0011"}, "offset 800"),
    ({**FOUR, "protocol": 47, "payload": 8}, "proto GRE (47), length 28"),
]  # fmt: skip


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")
@pytest.mark.parametrize(("described", "said"), PACKETS)
def test_a_packet_is_what_tcpdump_says_it_is(described: dict[str, Any], said: str, tmp_path: Path) -> None:
    text = " ".join(tcpdump([packet_bytes(described)], tmp_path, "-vvv"))
    assert said in " ".join(text.split())
    assert "bad" not in text
    assert "incorrect" not in text


def test_a_packet_in_hex_is_those_bytes() -> None:
    assert packet_bytes({"hex": "45 00 ff"}) == b"\x45\x00\xff"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('topology = """', 'topologie = """'), "a scenario has no topologie; it has description"),
        (('src = "10.0.0.1"', 'source = "10.0.0.1"'), "packet 0: a packet has no source"),
        (('dst = "192.168.1.5"', 'dst = "fd00::1"'), "packet 0: a packet from 10.0.0.1 to fd00::1: they are of"),
        (('dst = "192.168.1.5"', 'dst = "nowhere"'), "packet 0: a packet's address: 'nowhere'"),
        (("payload = 200", 'payload = "xyz"'), "packet 1: a packet's payload is not hexadecimal"),
        (("payload = 200", 'protocol = "sctpp"'), "packet 1: a packet's protocol 'sctpp'"),
        (("[programs]", "[programs"), "it is no TOML"),
        (("[[packets]]", "[[packet]]"), "a scenario has no packet;"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(change: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError) as error:
        parse_scenario(TEXT.replace(*change), "x.toml")
    assert str(error.value).startswith("x.toml: ")
    assert said in str(error.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reading the scenario"):
        read_scenario(tmp_path / "none.toml")


def test_a_scenario_is_played() -> None:
    outcome = run_scenario(parse_scenario(TEXT), EmbeddedHost())
    assert [(one.verdict, one.errno, sum(map(len, one.frames.values()))) for one in outcome.packets] == [
        ("sent", 0, 1),
        ("sent", 0, 1),
        ("dropped", 1, 0),
    ]
    assert outcome.packets[0].frames["va"][0][14:] == packet_bytes({"src": "10.0.0.1", "dst": "192.168.1.5"})
    assert outcome.maps["count.c:.bss"] == {"00000000": struct.pack("<Q", 3).hex()}


def test_a_line_that_cannot_be_done_is_told_with_its_place() -> None:
    with pytest.raises(InputError, match="scenario:3: there is no device nodev; there are lo, va"):
        run_scenario(parse_scenario(TEXT.replace("via 10.0.0.2", "dev nodev")), EmbeddedHost())


FRAME = bytes(14) + packet_bytes({"src": "10.0.0.1", "dst": "10.0.0.2"})
SENT = PacketOutcome("sent", "sent", 0, {"va": (FRAME,)})
OUTCOME = Outcome((SENT,), {"x.c:counts": {"00": "01"}})
DIFFERENT = {
    "errno 0 (sent), 1 (sent)": replace(OUTCOME, packets=(replace(SENT, errno=1),)),
    "1 frames, 0 frames by va": replace(OUTCOME, packets=(replace(SENT, frames={}),)),
    "0 frames, 1 frames by vb": replace(OUTCOME, packets=(replace(SENT, frames={"va": (FRAME,), "vb": (FRAME,)}),)),
    "frame 0 by va": replace(OUTCOME, packets=(replace(SENT, frames={"va": (FRAME[:-1] + b"x",)}),)),
    "map x.c:counts[00]: 01, 02": replace(OUTCOME, maps={"x.c:counts": {"00": "02"}}),
    "map x.c:counts[01]: None, 02": replace(OUTCOME, maps={"x.c:counts": {"00": "01", "01": "02"}}),
    "1 packets, 2 packets": replace(OUTCOME, packets=(SENT, SENT)),
}


@pytest.mark.parametrize("said", DIFFERENT)
def test_a_difference_is_seen(said: str) -> None:
    assert differences(OUTCOME, OUTCOME) == []
    (found,) = differences(OUTCOME, DIFFERENT[said])
    assert said in found


def test_a_verdict_counts_where_no_frame_shows_what_became_of_a_packet() -> None:
    sent = replace(SENT, frames={})
    dropped = replace(sent, verdict="dropped", reason="program-drop")
    assert differences(Outcome((sent,)), Outcome((dropped,))) == ["packet 0: sent (sent), dropped (program-drop)"]


def test_what_became_of_the_rest_of_a_packet_of_which_a_fragment_left_cannot_be_seen() -> None:
    in_part = replace(SENT, verdict="dropped", reason="redirect-failed")
    assert differences(OUTCOME, replace(OUTCOME, packets=(in_part,))) == []


@pytest.mark.parametrize(
    ("one", "other", "errno", "same"),
    [
        ("rerouted", "redirected", 0, True),
        ("return-code", "protocol-changed", 22, True),
        ("program-drop", "recursion-limit", 105, True),
        ("program-drop", "return-code", 1, False),
        ("no-route", "unreachable", 101, False),
        ("program-drop", "redirect-failed", None, True),
        ("program-drop", "redirect-failed", 0, False),
        ("sent", "ttl-exceeded", None, False),
    ],
)
def test_verdicts_are_compared_as_far_as_a_kernel_shows_them(
    one: str, other: str, errno: int | None, same: bool
) -> None:
    ours, theirs = (
        Outcome((PacketOutcome("x", reason, errno, {}),)) for reason in (one, other)
    )  # fmt: skip
    assert (differences(ours, theirs) == []) is same


def test_the_families_of_a_packet_are_those_of_its_addresses() -> None:
    assert packet_bytes({"src": "fd00::1", "dst": "fd00::2"})[8:24] == socket.inet_pton(socket.AF_INET6, "fd00::1")
