"""What a program leaves behind: faults on several CPUs, locks it held, more frames than a sink takes, redirects."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import routebpf
from hosts.test_replay import compiled, host_for, needs_tcpdump, rows_of
from hosts.two_hosts import ipv4
from routebpf.errors import RuntimeFault
from routebpf.objects.compiler import compile_source

CLONES = 20_000
CLONING = f"""
static long clone(__u32 index, void *context)
{{
	struct __sk_buff *skb = *(struct __sk_buff **)context;
	return bpf_clone_redirect(skb, skb->ifindex, 0) != 0;
}}
SEC("lwt_xmit") int p(struct __sk_buff *skb)
{{
	bpf_skb_change_head(skb, 14, 0);
	bpf_loop({CLONES}, clone, &skb, 0);
	return 2;
}}"""

PAST_THE_END = """
struct value { struct bpf_spin_lock lock; __u32 count; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct value); }
values SEC(".maps");
SEC("lwt_xmit") int p(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct value *value = bpf_map_lookup_elem(&values, &zero);
	if (!value)
		return 2;
	unsigned char *data = (void *)(long)skb->data;
	bpf_spin_lock(&value->lock);
	value->count++;
	if (skb->len > 100)
		value->count = *(volatile unsigned char *)(data + 1000);
	bpf_spin_unlock(&value->lock);
	return 0;
}"""


def interpreted(folder: Path, body: str, cpus: int) -> routebpf.LoadedObject:
    source = folder / "program.c"
    source.write_text(f'#include <routebpf.h>\nchar _license[] SEC("license") = "GPL";\n{body}')
    return routebpf.load(compile_source(str(source)), engine="interpreter", cpus=cpus, verify=False)


@needs_tcpdump
@pytest.mark.parametrize("cpus", [1, 2])
def test_every_one_of_a_packets_many_clones_is_kept(tmp_path: Path, cpus: int) -> None:
    """They are 30 MB a packet, more than the memory that a CPU has for frames."""
    source = tmp_path / "program.c"
    source.write_text(f'#include <routebpf.h>\nchar _license[] SEC("license") = "GPL";\n{CLONING}')
    program = routebpf.load(compile_source(str(source)), cpus=cpus).program()
    rows, _keep = rows_of([ipv4("10.0.0.9", 1480)] * 3)
    replay = host_for(program, cpus=cpus).replay(rows, write=tmp_path / "out.pcap")
    assert replay.frames == {"veth0": 3 * CLONES}
    command = ["tcpdump", "--count", "-nr", str(tmp_path / "out.pcap")]
    counted = subprocess.run(command, capture_output=True, text=True, check=True)
    assert counted.stdout.split()[0] == str(3 * CLONES)


def test_more_frames_than_can_be_kept_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routebpf.datapath.worker.Worker.lost_frames", 7)
    with pytest.raises(RuntimeFault, match=r"those of one packet took more than 1 GiB, and 7 found no room"):
        host_for().send(ipv4("10.0.0.9"))


@pytest.mark.parametrize("cpus", [1, 4])
def test_a_program_that_is_stopped_holds_no_lock_and_says_why(tmp_path: Path, cpus: int) -> None:
    """Packets of every CPU come to the fault; those that do not are counted, and the host goes on after it."""
    obj = interpreted(tmp_path, PAST_THE_END, cpus)
    host = host_for(obj.program(), cpus=cpus)
    rows, _keep = rows_of([ipv4("10.0.0.9", 120 if number % 5 == 4 else 40) for number in range(40)])
    for _ in range(2):
        with pytest.raises(RuntimeFault, match="past the end of the packet"):
            host.replay(rows)
    rows, _keep = rows_of([ipv4("10.0.0.9", 40)] * 40)
    assert host.replay(rows).verdicts["sent"] == 40
    assert host.send(ipv4("10.0.0.9", 40)).verdict == "sent"


def test_a_fault_is_told_once_and_only_of_the_program_that_was_stopped(tmp_path: Path) -> None:
    obj = interpreted(tmp_path, PAST_THE_END.replace("int p(", "int first("), 2)
    (tmp_path / "other").mkdir()
    other = interpreted(tmp_path / "other", PAST_THE_END.replace("int p(", "int second("), 2)
    host = host_for(obj.program(), cpus=2)
    host.add_route("10.1.0.0/16", dev="veth0", xmit=other.program())
    long, short = ipv4("10.0.0.9", 120), ipv4("10.0.0.9", 40)
    rows, _keep = rows_of([long] * 4)
    with pytest.raises(RuntimeFault, match="running first"):
        host.replay(rows)
    rows, _keep = rows_of([short, short, ipv4("10.1.0.9", 120), short])
    with pytest.raises(RuntimeFault, match="running second"):
        host.replay(rows)


def test_a_redirect_that_a_program_forgot_is_not_the_next_programs(tmp_path: Path) -> None:
    """The second one changes nothing, so once it is alone its packets go the short way."""
    first = compiled(tmp_path, 'SEC("lwt_xmit") int p(struct __sk_buff *skb) { bpf_redirect(9, 0); return 0; }')
    second = compiled(tmp_path, 'SEC("lwt_xmit") int p(struct __sk_buff *skb) { return 7; }')
    assert second.program().is_plain
    host = routebpf.EmbeddedHost()
    host.add_device("veth0", address="172.31.0.1/24")
    host.add_device("tun0", kind="tun", address="172.31.1.1/24", ifindex=9)
    host.add_route("10.0.0.0/16", dev="veth0", xmit=first.program())
    rows, _keep = rows_of([ipv4("10.0.0.9")])
    assert host.replay(rows).frames == {"veth0": 1}
    host.delete_route("10.0.0.0/16")
    host.add_route("10.0.0.0/16", dev="veth0", xmit=second.program())
    replay = host.replay(rows)
    assert replay.reasons == {"redirect-failed": 1}
    assert replay.frames == {}
