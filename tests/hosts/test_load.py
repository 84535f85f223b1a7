"""Loading for the embedded host: programs by name, maps as mappings, program arrays that are filled, engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import routebpf
from hosts.two_hosts import ipv4
from routebpf.objects.compiler import compile_source

TAIL = """
#include <routebpf.h>
char _license[] SEC("license") = "GPL";
int last(struct __sk_buff *skb);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __type(key, __u32);
	__array(values, int (void *)); }
programs SEC(".maps") = { .values = { [1] = (void *)&last } };
SEC("lwt_xmit/last") int last(struct __sk_buff *skb) { return 2; }
SEC("lwt_xmit/first") int first(struct __sk_buff *skb) { bpf_tail_call(skb, &programs, 1); return 0; }
"""
MAPS = """
#include <routebpf.h>
char _license[] SEC("license") = "GPL";
struct value { __u32 a; __u16 b[2]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, struct value); }
table SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); }
counts SEC(".maps");
SEC("lwt_xmit") int p(struct __sk_buff *skb)
{
	__u32 key = 1; struct value *found = bpf_map_lookup_elem(&table, &key);
	__u64 *count = bpf_map_lookup_elem(&counts, &key);
	if (count) *count += 1;
	return found && found->b[1] == 7 ? 2 : 0;
}
"""


def load(folder: Path, text: str, **options: object) -> routebpf.LoadedObject:
    source = folder / "program.c"
    source.write_text(text)
    return routebpf.load(compile_source(str(source)), **options)  # type: ignore[arg-type]


def host_for(program: routebpf.LoadedProgram, **options: int) -> routebpf.EmbeddedHost:
    host = routebpf.EmbeddedHost(**options)  # type: ignore[arg-type]
    host.add_device("veth0", address="10.0.0.1/24")
    host.add_route("192.168.0.0/16", via="10.0.0.2", xmit=program)
    return host


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_a_program_array_holds_what_the_object_says(tmp_path: Path, engine: str) -> None:
    obj = load(tmp_path, TAIL, engine=engine)
    assert host_for(obj.programs["first"]).send(ipv4("192.168.1.1")).reason == "program-drop"


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_maps_are_mappings_typed_by_their_btf(tmp_path: Path, engine: str) -> None:
    obj = load(tmp_path, MAPS, engine=engine, cpus=2)
    host = host_for(obj.program(), cpus=2)
    table, counts = obj.maps["table"], obj.maps["counts"]
    assert host.send(ipv4("192.168.1.1")).verdict == "sent"
    table[1] = {"a": 5, "b": [1, 7]}
    assert dict(table.items()) == {1: {"a": 5, "b": [1, 7]}}
    assert host.send(ipv4("192.168.1.1")).verdict == "dropped"
    assert counts[1] == [2, 0]
    assert (len(table), 1 in table, 2 in table, table.get(3)) == (1, True, False, None)
    del table[1]
    with pytest.raises(KeyError):
        del table[1]
    with pytest.raises(KeyError):
        table[1]
    counts[0] = 9
    assert counts[0] == [9, 9]
    with pytest.raises(routebpf.MapError):
        del counts[0]


def test_a_missing_program_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(routebpf.InputError, match=r"first \(section lwt_xmit/first"):
        load(tmp_path, TAIL).program("third")


def test_load_refuses_a_file_with_one_program_that_may_not_run(tmp_path: Path) -> None:
    bad = """static long (*adjust)(void *, int) = (void *)44;
        SEC("lwt_xmit/bad") int bad(void *skb) { return adjust(skb, 0); }"""
    with pytest.raises(routebpf.RejectedError, match=r"bpf_xdp_adjust_head"):
        load(tmp_path, TAIL + bad)


def test_the_interpreter_stops_a_bad_access_with_its_place(tmp_path: Path) -> None:
    text = (
        MAPS.split('SEC("lwt_xmit")')[0]
        + """
SEC("lwt_xmit") int p(struct __sk_buff *skb) { return *(volatile __u8 *)((long)skb->data + 5000); }"""
    )
    host = host_for(load(tmp_path, text, engine="interpreter", verify=False).program())
    with pytest.raises(routebpf.RuntimeFault, match=r"program\.c"):
        host.send(ipv4("192.168.1.1"))


OUT_OF_BOUNDS = """
#include <routebpf.h>
SEC("lwt_xmit") int p(struct __sk_buff *skb) { return *(volatile __u8 *)((long)skb->data + 5000); }
char _license[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_loading_verifies_for_either_engine(tmp_path: Path, engine: str) -> None:
    with pytest.raises(routebpf.RejectedError, match=r"(?s)error\[packet-bounds\].*kernel: invalid access to packet"):
        load(tmp_path, OUT_OF_BOUNDS, engine=engine)


def test_nothing_unverified_gets_into_the_jit(tmp_path: Path) -> None:
    with pytest.raises(routebpf.InputError, match="only the interpreter runs a program that the verifier has not seen"):
        load(tmp_path, OUT_OF_BOUNDS, verify=False)


def test_importing_routebpf_imports_nothing_else() -> None:
    heavy = ("numpy", "numba", "llvmlite", "routebpf.")
    code = f"import sys, routebpf; print([m for m in sys.modules if m.startswith({heavy})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(routebpf.__all__) <= set(dir(routebpf))
    with pytest.raises(AttributeError):
        _ = routebpf.nothing
