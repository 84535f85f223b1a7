"""`routebpf run`: what it prints for programs and for people, and that its settings do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from command_line import (
    DROP_SMTP,
    MAIL,
    PROBES,
    ROOT,
    WEB,
    complaint,
    map_of,
    needs_tcpdump,
    needs_tshark,
    program_file,
    report,
    routebpf,
    tcpdump,
    tshark,
)

VERDICTS = ["sent", "dropped", "redirected", "rerouted", "error"]
GUARD = ROOT / "examples" / "guard.bpf.c"
ACCOUNT = ROOT / "examples" / "account.bpf.c"


def test_json_is_the_contract() -> None:
    found = report("run", GUARD, "--pcap", PROBES)
    assert list(found) == ["packets", "bytes", "seconds", "verdicts", "reasons", "routes", "maps", "frames"]
    assert [type(found[key]) for key in ("packets", "bytes", "seconds")] == [int, int, float]
    assert list(found["verdicts"]) == VERDICTS
    for counted in (found["verdicts"], found["reasons"], found["frames"]):
        assert {type(one) for one in counted.values()} == {int}
    for route in found["routes"]:
        assert list(route) == ["to", "program", "packets", "bytes", "verdicts"]
        assert [type(one) for one in route.values()] in ([str, str, int, int, dict], [str, type(None), int, int, dict])
        assert sum(route["verdicts"].values()) == route["packets"]
    for entries in found["maps"].values():
        assert isinstance(entries, list)
        assert all(list(one) == ["key", "value"] for one in entries)
    assert set(found["maps"]) == {"destinations", "scanners"}


def test_json_counts_every_packet_once() -> None:
    found = report("run", GUARD, "--pcap", PROBES)
    assert sum(found["verdicts"].values()) == found["packets"] == 1722
    assert sum(found["reasons"].values()) == found["packets"] - found["verdicts"]["sent"]
    routed = sum(one["packets"] for one in found["routes"])
    assert routed + found["reasons"]["not-ip"] == found["packets"]


def test_json_has_map_values_as_their_types_say() -> None:
    entry = report("run", ACCOUNT, "--pcap", WEB)["maps"]["traffic_by_destination"][0]
    assert list(entry["key"]) == ["bytes"]
    assert len(entry["key"]["bytes"]) == 16
    assert list(entry["value"]) == ["packets", "bytes", "last_seen"]
    assert {type(one) for one in entry["value"].values()} == {int}


@needs_tcpdump
def test_packet_list_has_each_packet_with_its_frames() -> None:
    found = report("run", DROP_SMTP, "--to", "10.0.0.0/8", "--pcap", MAIL, "--packets")
    packets = found["packet_list"]
    assert [one["index"] for one in packets] == list(range(found["packets"]))
    dropped = {line.split()[0] for line in tcpdump(MAIL, "tcp dst port 25 and dst net 10.0.0.0/8")}
    at = [line.split()[0] for line in tcpdump(MAIL)]
    for one in packets:
        assert list(one) == ["index", "verdict", "reason", "errno", "frames"]
        expected = ("dropped", "program-drop", 1) if at[one["index"]] in dropped else ("sent", "sent", 0)
        if one["reason"] != "not-ip":
            assert (one["verdict"], one["reason"], one["errno"]) == expected
        assert len(one["frames"]) == (one["verdict"] == "sent")
        for frame in one["frames"]:
            assert list(frame) == ["device", "hex"]
            assert frame["device"] == "veth0"
    for verdict in VERDICTS:
        assert sum(one["verdict"] == verdict for one in packets) == found["verdicts"][verdict]


@needs_tshark
def test_a_frame_in_json_is_the_packet_behind_a_link_header() -> None:
    packets = report("run", DROP_SMTP, "--pcap", MAIL, "--packets")["packet_list"]
    lengths = tshark(MAIL, "ip.len", "ipv6.plen")
    for one, (total, payload) in zip(packets, lengths, strict=True):
        for frame in one["frames"]:
            data = bytes.fromhex(frame["hex"])
            assert len(data) == 14 + (int(total) if total else int(payload) + 40)
            assert data[12:14].hex() == ("0800" if total else "86dd")


# Settings


def _but_time(found: Any) -> Any:
    return {key: value for key, value in found.items() if key != "seconds"}


@pytest.mark.parametrize("program", [GUARD, ACCOUNT], ids=lambda path: path.stem)
def test_both_engines_and_every_number_of_cpus_give_the_same(program: Path) -> None:
    jit = report("run", program, "--pcap", WEB, "--packets")
    assert _but_time(report("run", program, "--pcap", WEB, "--packets", "--engine", "interpreter")) == _but_time(jit)
    if program == ACCOUNT:  # what guard drops depends on the order of packets
        several = report("run", program, "--pcap", WEB, "--cpus", 4)
        for key in ("packets", "bytes", "verdicts", "reasons", "routes", "frames"):
            assert several[key] == jit[key]
        assert _traffic(several) == _traffic(jit)


def _traffic(found: Any) -> dict[str, tuple[int, int]]:
    entries = found["maps"]["traffic_by_destination"]
    return {bytes(one["key"]["bytes"]).hex(): (one["value"]["packets"], one["value"]["bytes"]) for one in entries}


RANDOM = 'skb->mark = bpf_get_prandom_u32(); bpf_printk("%x", skb->mark); return skb->mark & 1 ? BPF_DROP : BPF_OK;'


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    program = program_file(tmp_path, RANDOM)
    written, printed = [], []
    for number, seed in enumerate((7, 7, 8)):
        out = tmp_path / f"{number}.pcapng"
        printed.append(routebpf("run", program, "--pcap", WEB, "--seed", seed, "-v", "--write", out).stderr)
        written.append(out.read_bytes())
    assert (written[0], printed[0]) == (written[1], printed[1])
    assert written[0] != written[2]
    assert len(set(printed[0].split())) > 200


@needs_tshark
def test_the_clock_is_the_capture_s_the_machine_s_or_stands_still(tmp_path: Path) -> None:
    body = "__u64 now = bpf_ktime_get_ns(); bpf_map_update_elem(&seen, &now, &now, 0); return BPF_OK;"
    program = program_file(tmp_path, body, before=map_of("seen", "HASH", "__u64", "__u64"))

    def times(*clock: object) -> set[int]:
        return {one["key"] for one in report("run", program, "--pcap", WEB, *clock)["maps"]["seen"]}

    there = {
        int(time.replace(".", ""))
        for (time,) in tshark(WEB, "frame.time_epoch", where="(ip or ipv6) and not ipv6.dst == ff00::/8")
    }
    assert times() == there
    assert times("--clock", 12345) == {12345}
    machine = times("--clock", "machine")
    assert machine.isdisjoint(there)
    assert len(machine) > 1


def test_v_shows_what_programs_print(tmp_path: Path) -> None:
    program = program_file(tmp_path, 'bpf_printk("length %d", skb->len); return BPF_OK;')
    lines = routebpf("run", program, "--pcap", WEB, "-v").stderr.splitlines()
    assert len(lines) == 251
    assert all(re.fullmatch(r"\[000\] \d+\.\d{6}: length \d+", line) for line in lines)
    assert not routebpf("run", program, "--pcap", WEB).stderr


def test_v_shows_what_a_program_printed_before_it_was_stopped(tmp_path: Path) -> None:
    program = program_file(tmp_path, 'bpf_printk("so far"); return *(volatile __u64 *)8;')
    done = routebpf("run", program, "--pcap", WEB, "-v", "--engine", "interpreter", "--no-verify", code=1)
    printed, *why = done.stderr.splitlines()
    assert printed.endswith(": so far")
    assert why[0].startswith("routebpf: ")


@pytest.mark.kernel
@pytest.mark.parametrize("more", [("--packets",), ("--in", "veth0")], ids=["sent", "coming in"])
@pytest.mark.parametrize("capture", [MAIL, PROBES, WEB], ids=lambda path: path.stem)
def test_both_backends_print_the_same_object(capture: Path, more: tuple[str, ...]) -> None:
    embedded, kernel = (
        report("run", DROP_SMTP, "--pcap", capture, "--backend", one, *more) for one in ("embedded", "kernel")
    )
    del embedded["seconds"], kernel["seconds"]
    assert embedded == kernel


@needs_tshark
def test_in_lets_packets_come_in_instead(tmp_path: Path) -> None:
    multicast = len(tshark(MAIL, "frame.number", where="ipv6.dst == ff00::/8"))
    assert report("run", DROP_SMTP, "--pcap", MAIL, "--in", "veth0")["reasons"]["not-forwarded"] == multicast
    program = program_file(tmp_path, "return skb->ingress_ifindex ? BPF_DROP : BPF_OK;")
    assert report("run", program, "--pcap", WEB, "--in", "veth0")["verdicts"]["dropped"] > 200
    assert report("run", program, "--pcap", WEB)["verdicts"]["dropped"] == 0


@pytest.mark.parametrize("section", ["lwt_in", "lwt_out", "lwt_xmit"])
def test_a_program_of_every_type_meets_the_packets(tmp_path: Path, section: str) -> None:
    program = program_file(tmp_path, "return BPF_DROP;", section)
    assert report("run", program, "--pcap", WEB)["reasons"]["program-drop"] == 251


def test_one_program_of_several_is_chosen_by_function_or_section(tmp_path: Path) -> None:
    second = 'SEC("lwt_xmit/two") int second(struct __sk_buff *skb) { return BPF_DROP; }'
    broken = '__attribute__((used)) SEC("lwt_xmit/three") int third(struct __sk_buff *skb) { return *(int *)0; }'
    program = program_file(tmp_path, "return BPF_OK;", "lwt_xmit/one", before=f"{second}\n{broken}")
    for selector, dropped in (("probe", 0), ("lwt_xmit/one", 0), ("second", 251), ("lwt_xmit/two", 251)):
        assert report("run", f"{program}:{selector}", "--pcap", WEB)["verdicts"]["dropped"] == dropped


def test_type_says_what_a_section_s_name_does_not(tmp_path: Path) -> None:
    program = program_file(tmp_path, "return BPF_DROP;", "my_filter")
    assert report("run", program, "--pcap", WEB, "--type", "lwt_xmit")["reasons"]["program-drop"] == 251


def test_several_prefixes_carry_the_program() -> None:
    found = report("run", DROP_SMTP, "--pcap", MAIL, "--to", "10.0.0.0/8", "--to", "192.168.0.0/16", "--to", "fd00::/8")
    carrying = {one["to"] for one in found["routes"] if one["program"] == "drop_smtp"}
    assert carrying == {"10.0.0.0/8", "192.168.0.0/16", "fd00::/8"}
    assert found["verdicts"]["dropped"] == 27 + 13


def test_maps_of_one_name_in_two_objects_are_both_told(tmp_path: Path) -> None:
    topology = tmp_path / "two.topology"
    lines = ["link add lan0 type dummy", "link set lan0 up"]
    for name, prefix in (("a", "10.1.0.100/32"), ("b", "10.1.0.80/32")):
        (tmp_path / name).mkdir()
        body = "__u32 key = 0; __u64 *seen = bpf_map_lookup_elem(&packets, &key); if (seen) *seen += 1; return BPF_OK;"
        program = program_file(tmp_path / name, body, before=map_of("packets", "ARRAY", "__u32", "__u64", 1))
        lines.append(f"route add {prefix} dev lan0 encap bpf xmit obj {program} section lwt_xmit")
    topology.write_text("\n".join(lines))
    found = report("run", "--topology", topology, "--pcap", WEB)
    assert sorted(found["maps"]) == ["packets", "packets#2"]
    counted = sorted(entries[0]["value"] for entries in found["maps"].values())
    assert counted == sorted(one["packets"] for one in found["routes"] if one["program"])
    assert min(counted) > 0


@pytest.mark.parametrize("call", ["bpf_get_current_task_btf()", "bpf_cast_to_kern_ctx(skb)"])
def test_kernel_objects_are_said_to_be_on_the_kernel_host(tmp_path: Path, call: str) -> None:
    file = program_file(tmp_path, f"return {call} == 0;")
    said = complaint("run", file, "--pcap", WEB, code=3)
    assert "this is about a kernel object, and the embedded host has none" in said
    assert "`--backend kernel`" in said
