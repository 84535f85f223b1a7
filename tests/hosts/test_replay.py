"""Captures through the embedded host: every packet is counted once, by the reason that tcpdump's filters agree with."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import routebpf
from hosts.two_hosts import ipv4, ipv6
from routebpf.datapath.packet_rows import PACKET_ROW
from routebpf.datapath.verdicts import FIRST_FAILURE, REASONS, reason_of
from routebpf.objects.compiler import compile_source

CAPTURES = sorted((Path(__file__).parents[2] / "captures").glob("*.pcap*"))
EXAMPLES = Path(__file__).parents[2] / "examples"
LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101
needs_tcpdump = pytest.mark.skipif(shutil.which("tcpdump") is None, reason="needs tcpdump")


def compiled(folder: Path, body: str) -> routebpf.LoadedObject:
    source = folder / "program.c"
    source.write_text(f'#include <routebpf.h>\nchar _license[] SEC("license") = "GPL";\n{body}')
    return routebpf.load(compile_source(str(source)))


def host_for(program: routebpf.LoadedProgram | None = None, **options: object) -> routebpf.EmbeddedHost:
    host = routebpf.EmbeddedHost(**options)  # type: ignore[arg-type]
    host.add_device("veth0", address=["172.31.0.1/24", "fd31::1/64"], mtu=65000)
    host.add_route("0.0.0.0/0", dev="veth0", xmit=program)
    host.add_route("::/0", dev="veth0", xmit=program)
    return host


def rows_of(packets: list[bytes], *, link: int = LINKTYPE_RAW, wire: int | None = None) -> tuple[np.ndarray, object]:
    """Rows, and the memory that they point to."""
    keep = [np.frombuffer(one + b"\0", np.uint8) for one in packets]
    rows = np.zeros(len(packets), PACKET_ROW)
    for number, one in enumerate(packets):
        rows[number] = (keep[number].ctypes.data, len(one), wire or len(one), 1000 * number, link, 0, number)
    return rows, keep


def tcpdump_count(capture: Path, *words: str) -> int:
    done = subprocess.run(["tcpdump", "-nr", str(capture), *words], capture_output=True, text=True, check=True)
    return len(done.stdout.splitlines())


def test_reasons_are_numbered_in_order_and_those_that_fail_come_last() -> None:
    assert [one.code for one in REASONS] == list(range(len(REASONS)))
    assert len({one.name for one in REASONS}) == len(REASONS)
    assert all((one.errno != 0) == (one.code >= FIRST_FAILURE) for one in REASONS)


@needs_tcpdump
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda one: one.name)
def test_all_packets_are_counted_and_those_of_smtp_dropped(capture: Path) -> None:
    obj = routebpf.load(EXAMPLES / "drop_smtp.bpf.c")
    replay = host_for(obj.program()).replay(capture)
    assert replay.packets == tcpdump_count(capture)
    assert replay.reasons.get("not-ip", 0) == replay.packets - tcpdump_count(capture, "ip or ip6")
    assert replay.verdicts["dropped"] == tcpdump_count(capture, "ip and tcp dst port 25")
    assert replay.verdicts["sent"] == sum(replay.frames.values())


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda one: one.name)
@pytest.mark.parametrize("example", ["drop_smtp", "guard"])
def test_the_short_way_does_what_the_long_one_does(capture: Path, example: str) -> None:
    """Frames that are kept make packets take the long way."""
    short = host_for(routebpf.load(EXAMPLES / f"{example}.bpf.c").program()).replay(capture)
    long = host_for(routebpf.load(EXAMPLES / f"{example}.bpf.c").program()).replay(capture, keep_packets=True)
    assert short.columns is not None
    assert (short.columns == long.columns).all()
    assert short.frames == long.frames
    assert short.frame_bytes == long.frame_bytes
    assert short.reasons == long.reasons
    assert (short.route_counts == long.route_counts).all()


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda one: one.name)
def test_two_cpus_give_the_same_result_in_the_same_order(capture: Path, tmp_path: Path) -> None:
    for cpus in (1, 2):
        host_for(cpus=cpus).replay(capture, write=tmp_path / f"{cpus}.pcapng")
    assert (tmp_path / "1.pcapng").read_bytes() == (tmp_path / "2.pcapng").read_bytes()
    one, two = (host_for(cpus=cpus).replay(capture, keep_packets=True) for cpus in (1, 2))
    assert (one.columns == two.columns).all()
    assert one.packet_frames == two.packet_frames


@needs_tcpdump
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda one: one.name)
def test_what_is_written_is_what_tcpdump_reads_in_the_input(capture: Path, tmp_path: Path) -> None:
    written = tmp_path / "out.pcap"
    host = host_for()
    replay = host.replay(capture, write=written)
    options = ["-n", "-tt", "-v"]
    lines = [
        subprocess.run(
            ["tcpdump", *options, "-r", str(one), "ip or ip6"], capture_output=True, text=True, check=True
        ).stdout
        for one in (capture, written)
    ]
    assert sum(replay.frames.values()) == tcpdump_count(written)
    # A cooked capture's lines name the device and the direction.
    theirs, ours = (re.findall(r"^(\S+).*?\b(IP6? .*)", text, re.MULTILINE) for text in lines)
    assert len(theirs) > 100
    assert ours == theirs


BROKEN = {
    "ip-header-short": ipv4("10.0.0.1")[:19],
    "ip-version": b"\x55" + ipv4("10.0.0.1")[1:],
    "ip-header-length": b"\x44" + ipv4("10.0.0.1")[1:],
    "ip-total-length": ipv4("10.0.0.1")[:2] + b"\xff\xff" + ipv4("10.0.0.1")[4:],
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_ipv4_header_has_a_name(reason: str) -> None:
    frame = bytes(12) + b"\x08\x00" + BROKEN[reason]
    rows, _keep = rows_of([frame], link=LINKTYPE_ETHERNET)
    assert host_for().replay(rows).reasons == {reason: 1}


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (ipv6("fd00::9")[:39], "ip-header-short"),
        (b"\x45" + ipv6("fd00::9")[1:], "ip-version"),
        (ipv6("fd00::9")[:-1], "ip-total-length"),
    ],
)
def test_a_broken_ipv6_header_has_a_name(packet: bytes, reason: str) -> None:
    rows, _keep = rows_of([bytes(12) + b"\x86\xdd" + packet], link=LINKTYPE_ETHERNET)
    assert host_for().replay(rows).reasons == {reason: 1}


def test_no_bytes_are_ever_a_crash() -> None:
    random = np.random.default_rng(3)
    packets = []
    for size in range(120):
        one = bytearray(random.bytes(size))
        if size:
            one[0] = one[0] & 0x0F | (0x40 if size % 2 else 0x60)
        packets.append(bytes(one))
    for link in (LINKTYPE_RAW, LINKTYPE_ETHERNET, 113, 276, 0, 228, 229, 4242):
        rows, _keep = rows_of(packets, link=link)
        replay = host_for().replay(rows)
        assert replay.packets == len(packets)


def test_padding_behind_the_packet_is_not_sent() -> None:
    packet = ipv4("10.0.0.9", 4)
    rows, _keep = rows_of([bytes(12) + b"\x08\x00" + packet + bytes(22)], link=LINKTYPE_ETHERNET)
    replay = host_for().replay(rows, keep_packets=True)
    assert replay.packet_frames is not None
    assert replay.packet_frames[0][0].data[14:] == packet
    assert replay.bytes == len(packet)


def test_a_packet_cut_by_the_snapshot_length_is_filled_with_zeros() -> None:
    packet = ipv4("10.0.0.9", 1000)
    rows, _keep = rows_of([packet[:60]], wire=len(packet))
    replay = host_for().replay(rows, keep_packets=True)
    assert replay.packet_frames is not None
    assert replay.packet_frames[0][0].data[14:] == packet[:60] + bytes(len(packet) - 60)


def test_without_made_up_neighbours_only_known_ones_are_reached() -> None:
    host = host_for(make_neighbours=False)
    host.add_neighbour("veth0", "10.0.0.9", b"\x02\xaa\0\0\0\x01")
    assert host.send(ipv4("10.0.0.9")).frames[0].data[:6] == b"\x02\xaa\0\0\0\x01"
    sent = host.send(ipv4("10.0.0.8"))
    assert (sent.verdict, sent.reason, sent.errno) == ("error", "neighbour-unresolved", 113)
    rows, _keep = rows_of([ipv4("10.0.0.8"), ipv4("10.0.0.9")])
    assert host.replay(rows).reasons == {"neighbour-unresolved": 1}
    host.delete_neighbour("veth0", "10.0.0.9")
    assert host.send(ipv4("10.0.0.9")).reason == "neighbour-unresolved"


def test_a_program_sees_the_time_of_the_capture_or_the_hosts(tmp_path: Path) -> None:
    body = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
last SEC(".maps");
SEC("lwt_xmit") int p(struct __sk_buff *skb)
{
	__u32 zero = 0; __u64 *value = bpf_map_lookup_elem(&last, &zero);
	if (value) *value = bpf_ktime_get_ns();
	return 0;
}"""
    rows, _keep = rows_of([ipv4("10.0.0.9")] * 3)
    for clock, seen in (("capture", 2000), (77, 77)):
        obj = compiled(tmp_path, body)
        host_for(obj.program(), clock=clock).replay(rows)
        assert obj.maps["last"][0] == seen
    obj = compiled(tmp_path, body)
    host_for(obj.program(), clock="machine").replay(rows)
    assert obj.maps["last"][0] > 2000


@pytest.mark.parametrize("keep_packets", [False, True])
def test_a_program_that_changes_nothing_can_reroute(tmp_path: Path, keep_packets: bool) -> None:
    """It runs on the capture's own bytes, and again on a copy of them."""
    obj = compiled(
        tmp_path,
        """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
runs SEC(".maps");
SEC("lwt_xmit") int p(struct __sk_buff *skb)
{
	__u32 zero = 0; __u64 *value = bpf_map_lookup_elem(&runs, &zero);
	if (!value) return 2;
	(*value)++;
	return skb->len > 200 || *value % 3 ? 128 : 0;
}""",
    )
    assert obj.program().is_plain
    rows, _keep = rows_of([ipv4("10.0.0.9"), ipv4("10.0.0.8", 300)])
    replay = host_for(obj.program()).replay(rows, keep_packets=keep_packets)
    assert replay.reasons == {"rerouted": 1, "recursion-limit": 1}
    assert obj.maps["runs"][0] == 3 + 9
    assert replay.columns is not None
    assert replay.columns["errno"].tolist() == [0, 105]
    if replay.packet_frames is not None:
        assert [one.data[14:] for one in replay.packet_frames[0]] == [ipv4("10.0.0.9")]


def test_the_report_is_the_contract(tmp_path: Path) -> None:
    obj = compiled(
        tmp_path,
        """
struct key { __u32 daddr; __u16 port; __u16 pad; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, struct key); __type(value, __u64); }
counts SEC(".maps");
SEC("lwt_xmit") int p(struct __sk_buff *skb)
{
	struct key key = { .port = 9 };
	__u64 one = 1, *value;
	bpf_skb_load_bytes(skb, 16, &key.daddr, 4);
	value = bpf_map_lookup_elem(&counts, &key);
	if (value) __sync_fetch_and_add(value, 1); else bpf_map_update_elem(&counts, &key, &one, 0);
	return skb->len > 200 ? 2 : 0;
}""",
    )
    rows, _keep = rows_of([ipv4("10.0.0.9"), ipv4("10.0.0.9", 300), b"\x00"])
    report = host_for(obj.program()).replay(rows, keep_packets=True).report()
    assert set(report) == {
        "packets", "bytes", "seconds", "verdicts", "reasons", "routes", "maps", "frames", "packet_list",
    }  # fmt: skip
    assert report["packets"] == 3
    assert report["verdicts"] == {"sent": 1, "dropped": 1, "redirected": 0, "rerouted": 0, "error": 1}
    assert report["reasons"] == {"not-ip": 1, "program-drop": 1}
    carried = next(one for one in report["routes"] if one["to"] == "0.0.0.0/0")
    assert carried == {
        "to": "0.0.0.0/0",
        "program": "p",
        "packets": 2,
        "bytes": 120 + 320,
        "verdicts": {"sent": 1, "dropped": 1, "redirected": 0, "rerouted": 0, "error": 0},
    }
    address = int.from_bytes(bytes((10, 0, 0, 9)), "little")
    assert report["maps"] == {"counts": [{"key": {"daddr": address, "port": 9, "pad": 0}, "value": 2}]}
    assert report["frames"] == {"veth0": 1}
    assert [one["verdict"] for one in report["packet_list"]] == ["sent", "dropped", "error"]
    assert report["packet_list"][1]["errno"] == 1
    assert report["packet_list"][0]["frames"][0]["device"] == "veth0"
    assert bytes.fromhex(report["packet_list"][0]["frames"][0]["hex"])[14:] == ipv4("10.0.0.9")


def test_a_host_with_more_cpus_than_a_program_was_loaded_for_says_so(tmp_path: Path) -> None:
    obj = compiled(tmp_path, 'SEC("lwt_xmit") int p(struct __sk_buff *skb) { return 0; }')
    host = host_for(obj.program(), cpus=2)
    with pytest.raises(routebpf.InputError, match="cpus=2"):
        host.send(ipv4("10.0.0.9"))


def test_a_damaged_capture_is_run_up_to_the_damage(tmp_path: Path) -> None:
    whole = next(one for one in CAPTURES if one.suffix == ".pcap").read_bytes()
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(whole[: len(whole) // 2])
    replay = host_for().replay(cut, write=tmp_path / "out.pcapng")
    assert replay.damage is not None
    assert "cut.pcap" in str(replay.damage)
    assert 0 < replay.packets == len(replay.columns if replay.columns is not None else [])
    assert (tmp_path / "out.pcapng").stat().st_size > 1000


def test_reason_of_a_code_is_its_row() -> None:
    assert all(reason_of(one.code) is one for one in REASONS)


def test_the_first_run_may_be_on_two_cpus() -> None:
    """Machine code is made before threads are."""
    code = """
import sys
import numpy as np
import routebpf
from routebpf.datapath.packet_rows import PACKET_ROW
packet = np.frombuffer(bytes.fromhex(sys.argv[1]), np.uint8)
rows = np.zeros(50_000, PACKET_ROW)
rows["address"], rows["size"], rows["wire_size"], rows["link"] = packet.ctypes.data, len(packet), len(packet), 101
host = routebpf.EmbeddedHost(cpus=2)
host.add_device("veth0", address="10.0.0.1/24")
print(host.replay(rows).verdicts["sent"], host.replay(rows, columns=False).frames["veth0"])
"""
    command = [sys.executable, "-c", code, ipv4("10.0.0.9").hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["50000", "50000"]
