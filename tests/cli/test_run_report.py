"""`routebpf run`: what it prints for people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_line import (
    DROP_SMTP,
    MAIL,
    PROBES,
    ROOT,
    WEB,
    counts,
    map_of,
    needs_tcpdump,
    program_file,
    report,
    routebpf,
    tcpdump,
)

ACCOUNT = ROOT / "examples" / "account.bpf.c"


def test_the_table_says_what_json_says() -> None:
    found = report("run", DROP_SMTP, "--to", "10.0.0.0/8", "--pcap", MAIL)
    shown = counts(routebpf("run", DROP_SMTP, "--to", "10.0.0.0/8", "--pcap", MAIL).stdout)
    expected = {(one["to"], name): n for one in found["routes"] for name, n in one["verdicts"].items() if n}
    expected |= {("all", name): n for name, n in found["verdicts"].items() if n}
    expected["no route", "error"] = found["reasons"]["not-ip"]
    assert {key: packets for key, (packets, _) in shown.items()} == expected
    for one in found["routes"]:
        assert sum(size for (route, _), (_, size) in shown.items() if route == one["to"]) == one["bytes"]
    assert sum(size for (route, _), (_, size) in shown.items() if route == "all") == found["bytes"]


def test_the_report_fits_in_80_columns_and_ends_lines_cleanly() -> None:
    text = routebpf("run", DROP_SMTP, "--to", "10.0.0.0/8", "--pcap", MAIL).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r" $", text, re.MULTILINE)
    assert "27  the program returned BPF_DROP" in text
    assert re.search(r"^211 packets, 38,614 bytes in \d+\.\d{3} s \([\d,]+ packets/s\)$", text, re.MULTILINE)


def test_maps_show_their_largest_20_entries_with_members_as_columns() -> None:
    text = routebpf("run", ACCOUNT, "--pcap", WEB).stdout
    table = text[text.index("traffic_by_destination: 10 entries") :].splitlines()
    assert table[1].split() == ["key", "packets", "bytes", "last_seen"]
    packets = [int(line.split()[1]) for line in table[2:12]]
    assert packets == sorted(packets, reverse=True)
    assert table[2].split()[0] == "fd00:1::100"


def test_long_maps_are_cut_at_20_rows(tmp_path: Path) -> None:
    body = "__u32 length = skb->len; bpf_map_update_elem(&lengths, &length, &length, 0); return BPF_OK;"
    program = program_file(tmp_path, body, before=map_of("lengths", "HASH", "__u32", "__u32"))
    entries = len(report("run", program, "--pcap", MAIL)["maps"]["lengths"])
    text = routebpf("run", program, "--pcap", MAIL).stdout
    table = text[text.index(f"lengths: {entries} entries\n") :].splitlines()
    shown = [int(line.split()[0]) for line in table[2:22]]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 1500
    assert table[22] == f"… {entries - 20} more; --json has them all"


def test_of_arrays_what_is_not_zero_is_shown_and_of_global_data_the_variables(tmp_path: Path) -> None:
    before = map_of("sizes", "ARRAY", "__u32", "__u64", 99) + "__u64 packets; __be32 last = 0; __u8 mac[6] = { 2 };"
    body = """
        __u32 key = 42;
        __u64 *value = bpf_map_lookup_elem(&sizes, &key);
        if (value)
            *value += 1;
        packets++;
        last = bpf_htonl(0x0a000001);
        mac[5] = 9;
        return BPF_OK;"""
    text = routebpf("run", program_file(tmp_path, body, before=before), "--pcap", WEB).stdout
    assert re.search(r"^sizes: 99 entries\nkey  value\n 42    251\n\n", text, re.MULTILINE)
    assert re.search(r"^packets +251$", text, re.MULTILINE)
    assert re.search(r"^last +10\.0\.0\.1$", text, re.MULTILINE)
    assert re.search(r"^mac +02:00:00:00:00:09$", text, re.MULTILINE)


PACKET_LINE = re.compile(r"(\d\d:\d\d:\d\d\.\d{6}) (?:\S+ +(?:In|Out|M|B|P) +)?(IP6?) (\S+) > (\S+):(.*)")


@needs_tcpdump
@pytest.mark.parametrize("capture", [WEB, MAIL, PROBES], ids=lambda path: path.stem)
def test_packets_are_listed_as_tcpdump_lists_them(capture: Path) -> None:
    theirs = [PACKET_LINE.match(line) for line in tcpdump(capture)]
    text = routebpf("run", DROP_SMTP, "--pcap", capture, "--packets").stdout
    lines = text[: text.index("\nroute ")].splitlines()
    ours = [PACKET_LINE.match(line) for line in lines]
    assert len(ours) == len(theirs)
    for line, our, their in zip(lines, ours, theirs, strict=True):
        assert re.search(r": (sent|dropped \(program-drop\)|error \(not-ip\))$", line), line
        assert bool(our) == bool(their), line
        if our and their:
            assert our.group(1, 2) == their.group(1, 2)
            if our[2] == "IP6" and "frag" in their[5]:  # tcpdump shows ports behind the fragment
                assert [one.partition(".")[0] for one in our.group(3, 4)] == list(their.group(3, 4))
            else:
                assert our.group(3, 4) == their.group(3, 4), line
