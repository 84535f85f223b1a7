"""The commands on real routes as an operator runs them: what they say, print as JSON and exit with."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command_line import COMMAND, ROOT, complaint, imported, report, routebpf
from operator_ground import COUNT, OperatorGround, operator_ground
from routebpf.kernel.map_open import map_at
from routebpf.kernel.running import possible_cpus
from routebpf.objects.compiler import compile_source

pytestmark = pytest.mark.kernel

PREFIX, OTHER = "192.168.9.0/24", "192.168.10.0/24"
BY_ADDRESS = """
struct seen { __u64 packets, bytes; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __be32); __type(value, struct seen); }
    by_address SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } samples SEC(".maps");
SEC("lwt_xmit") int count(struct __sk_buff *skb)
{
    struct iphdr ip;
    struct seen first = { 0, 0 }, *found;
    if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
        return BPF_OK;
    bpf_map_update_elem(&by_address, &ip.daddr, &first, BPF_NOEXIST);
    found = bpf_map_lookup_elem(&by_address, &ip.daddr);
    if (found) {
        __sync_fetch_and_add(&found->packets, 1);
        __sync_fetch_and_add(&found->bytes, skb->len);
    }
    bpf_ringbuf_output(&samples, &ip.daddr, 4, 0);
    return BPF_OK;
}
"""


@pytest.fixture
def ground(tmp_path) -> Iterator[OperatorGround]:
    with operator_ground(tmp_path / "run") as made:
        made.ip("route add", PREFIX, "via 10.0.0.2")
        made.ip("route add", OTHER, "via 10.0.1.2")
        yield made


@pytest.fixture
def here(ground) -> tuple[str, str]:
    """The options that name the ground."""
    return "--namespace", ground.name


def write(folder: Path, body: str, name: str = "count") -> Path:
    path = folder / f"{name}.bpf.c"
    path.write_text(f'#include <routebpf.h>\n{body}\nchar LICENSE[] SEC("license") = "GPL";\n')
    return path


@pytest.fixture
def passing(tmp_path) -> Path:
    return write(tmp_path, COUNT % ("lwt_xmit", "BPF_OK"))


@pytest.fixture
def dropping(tmp_path) -> Path:
    return write(tmp_path, COUNT % ("lwt_xmit", "BPF_DROP"), "dropping")


def ping(ground: OperatorGround, address: str, packets: int = 1) -> None:
    ground.run_inside("ping", "-c", str(packets), "-i", "0.01", "-W", "0.01", address, check=False)


def test_attach_list_show_detach_tell_what_they_do(ground, here, passing):
    said = routebpf("attach", passing, PREFIX, *here).stdout
    name = re.fullmatch(r"192\.168\.9\.0/24: attached (count:[0-9a-f]{8}:\d+) \(xmit\)\n", said)
    assert name
    listed = routebpf("list", *here).stdout
    assert re.search(
        rf"^192\.168\.9\.0/24 via 10\.0\.0\.2 dev veth0 +xmit +{name[1]} +{passing} +attached$", listed, re.M
    )
    shown = routebpf("show", PREFIX, *here).stdout
    assert "was      192.168.9.0/24 via 10.0.0.2 dev veth0" in shown
    assert f"LWT_XMIT count of {passing}" in shown
    assert "map packets, id " in shown
    assert routebpf("detach", PREFIX, *here).stdout == f"192.168.9.0/24: detached {name[1]} (xmit)\n"
    assert routebpf("list", *here).stdout == "no route carries a program\n"


def test_attach_says_what_was_there_and_what_is_kept(here, passing, dropping):
    routebpf("attach", passing, PREFIX, *here)
    assert re.search(
        r"unchanged, it carries count:\S+ \(xmit\) already", routebpf("attach", passing, PREFIX, *here).stdout
    )
    said = routebpf("attach", dropping, PREFIX, *here).stdout
    assert re.search(r": replaced count:\S+ by count:\S+ \(xmit\)\nmaps that keep their content: packets\n", said)
    assert "keep" not in routebpf("attach", passing, PREFIX, "--reset-maps", *here).stdout


def test_a_dry_run_says_what_would_change_and_changes_nothing(ground, here, passing):
    before = ground.routes()
    assert "would attach count:" in routebpf("attach", passing, PREFIX, "--dry-run", *here).stdout
    assert "would make the route, and attach count:" in routebpf(
        "attach", passing, "172.30.0.0/16", "--create", "--via", "10.0.1.2", "--dry-run", *here
    ).stdout  # fmt: skip
    assert ground.routes() == before
    routebpf("attach", passing, PREFIX, *here)
    before = ground.routes()
    assert "would detach count:" in routebpf("detach", PREFIX, "--dry-run", *here).stdout
    assert ground.routes() == before


def test_json_tells_all(ground, here, passing):
    (route,) = report("attach", passing, PREFIX, "--metric", "0", *here)["routes"]
    assert (route["prefix"], route["table"], route["what"], route["hook"]) == (PREFIX, 254, "attach", "xmit")
    (listed,) = report("list", *here)
    (program,) = listed["programs"]
    assert (listed["state"], listed["is_ours"], program["name"]) == ("attached", True, route["program"])
    assert (program["function"], program["type"], program["object"]) == ("count", "LWT_XMIT", str(passing))
    assert Path(program["pin"]).exists()
    assert Path(program["maps"]["packets"]).exists()
    (shown,) = report("show", PREFIX, *here)
    assert shown["was"] == "192.168.9.0/24 via 10.0.0.2 dev veth0"
    done = report("detach", PREFIX, *here)
    assert done == {"dry_run": False, "routes": [
        {"prefix": PREFIX, "source": None, "table": 254, "tos": 0, "metric": 0, "what": "detach",
         "had": {"xmit": program["name"]}, "left": {}, "is_as_before": True}]}  # fmt: skip
    assert report("list", *here) == []


def test_one_hook_is_detached_and_what_stays_is_not_told_to_be_gone(ground, here, passing, tmp_path):
    inward = write(tmp_path, COUNT % ("lwt_in", "BPF_OK"), "inward")
    routebpf("attach", inward, PREFIX, "--headroom", "40", *here)
    said = "its route carries no program of hook xmit, but count:"
    before = ground.routes()
    for force in ((), ("--force",)):
        assert said in complaint("detach", PREFIX, "--hook", "xmit", *force, *here)
        words = routebpf("detach", "--all", "--hook", "xmit", *force, *here)
        assert words.stdout == "nothing is attached to hook xmit\n"
    assert ground.routes() == before
    (done,) = report("attach", passing, PREFIX, *here)["routes"]
    assert f" xmit {done['program']} " in ground.encap(PREFIX)
    assert done["program"].endswith("+40")
    said = routebpf("detach", PREFIX, "--hook", "xmit", *here).stdout
    assert said == f"{PREFIX}: detached {done['program']} (xmit)\n"
    assert f" in {done['had']['in']} " in ground.encap(PREFIX)
    assert " xmit " not in ground.encap(PREFIX)
    (left,) = report("detach", PREFIX, "--dry-run", "--hook", "in", *here)["routes"]
    assert (left["had"], left["left"]) == (done["had"], {})


def test_of_programs_of_others_one_hook_is_detached_if_it_is_the_only_one(ground, here, passing, tmp_path):
    compiled = tmp_path / "theirs.o"
    compiled.write_bytes(compile_source(passing))
    theirs = f"obj {compiled} section lwt_xmit"
    ground.ip("route replace", PREFIX, "encap bpf xmit", theirs, "via 10.0.0.2")
    before = ground.routes()
    assert "no program of hook in, but theirs.o:[lwt_xmit] (xmit)" in complaint(
        "detach", PREFIX, "--hook", "in", "--force", *here
    )
    assert ground.routes() == before
    routebpf("detach", PREFIX, "--hook", "xmit", "--force", *here)
    assert "encap" not in ground.encap(PREFIX)
    inward = tmp_path / "inward.o"
    inward.write_bytes(compile_source(write(tmp_path, COUNT % ("lwt_in", "BPF_OK"), "inward")))
    ground.ip("route replace", PREFIX, f"encap bpf in obj {inward} section lwt_in xmit", theirs, "via 10.0.0.2")
    before = ground.routes()
    assert "without --hook all are taken off" in complaint("detach", PREFIX, "--hook", "in", "--force", *here)
    assert ground.routes() == before


def test_of_ipv6_routes_for_several_sources_one_is_named_by_its_source(ground, here, passing):
    ground.ip("-6 route add default from fd12::/16 via fd00::2 dev veth0")
    ground.ip("-6 route add default via fd01::2 dev veth1")
    before = ground.routes()

    def carrying() -> set[str]:
        lines = ground.ip("-6 route show default").splitlines()
        return {line.partition("encap")[0].strip() for line in lines if "encap bpf" in line}

    assert "say which with --metric, --tos, --source or --device" in complaint("attach", passing, "::/0", *here)
    assert "no route in table main from fd13::/16" in complaint(
        "attach", passing, "::/0", "--source", "fd13::/16", *here
    )
    routebpf("attach", passing, "::/0", "--source", "fd12::/16", *here)
    assert carrying() == {"default from fd12::/16"}
    (shown,) = report("show", "::/0", "--source", "fd12::/16", *here)
    assert (shown["prefix"], shown["source"]) == ("::/0", "fd12::/16")
    routebpf("attach", passing, "::/0", "--source", "::/0", *here)
    assert carrying() == {"default from fd12::/16", "default"}
    assert "say which" in complaint("detach", "::/0", *here)
    routebpf("detach", "::/0", "--source", "::/0", *here)
    assert carrying() == {"default from fd12::/16"}
    routebpf("detach", "::/0", "--source", "fd12::/16", *here)
    assert ground.routes() == before


def test_a_route_for_one_source_is_made_too(ground, here, passing):
    before = ground.routes()
    new = ["fd77::/32", "--source", "fd12::/16", "--create", "--via", "fd00::2"]
    assert "fd77::/32 from fd12::/16: made the route" in routebpf("attach", passing, *new, *here).stdout
    (made,) = [one for one in ground.routes() if one["dst"] == "fd77::/32"]
    assert (made["from"], made["gateway"], made["encap"]) == ("fd12::/16", "fd00::2", "bpf")
    routebpf("detach", "fd77::/32", *here)
    assert ground.routes() == before
    ground.ip("-6 route add default via fd00::2")
    ground.ip("-6 route add default from fd12::/16 via fd01::2")
    for number, (source, gateway) in enumerate({"fd12:1::/32": "fd01::2", "fd13::/16": "fd00::2"}.items()):
        prefix = f"fd7{number}::/32"
        said = complaint("attach", passing, prefix, "--source", source, *here)
        assert re.search(rf"packets to it take ::/0 .*via {gateway} ", said)
        routebpf("attach", passing, prefix, "--source", source, "--create", *here)
        (made,) = [one for one in ground.routes() if one["dst"] == prefix]
        assert (
            made["gateway"]
            == json.loads(ground.ip(f"-6 -json route get {prefix[:-3]} from {source[:-3]}1"))[0]["gateway"]
        )
        routebpf("detach", prefix, *here)
    for words in ("default", "default from fd12::/16"):
        ground.ip("-6 route del", words)
    of_ipv4 = ["172.30.0.0/16", "--source", "10.0.0.0/8", "--create", "--via", "10.0.0.2"]
    said = complaint("attach", passing, *of_ipv4, *here)
    assert "172.30.0.0/16 from 10.0.0.0/8: only IPv6 routes have a source" in said
    assert ground.routes() == before


def test_prefixes_come_from_a_file_too(ground, here, passing, tmp_path):
    file = tmp_path / "prefixes"
    file.write_text(f"# two of them\n{PREFIX}\n\n{OTHER}  # the other\n{PREFIX}\n")
    assert routebpf("attach", passing, "--from", file, *here).stdout.count("attached count:") == 2
    done = routebpf("detach", "--from", "-", *here, input=file.read_text())
    assert done.stdout.count("detached count:") == 2
    file.write_text(f"{PREFIX}\n10.0.0.1/8\n")
    said = complaint("attach", passing, "--from", file, *here)
    assert f"{file}:2: '10.0.0.1/8' is no prefix: it has bits beyond its length; did you mean 10.0.0.0/8?" in said
    for damage in (b"\xff", b"\0"):
        file.write_bytes(f"{PREFIX}\n10.0.0.".encode() + damage)
        assert re.search(r":2: '10\.0\.0\.\S+' is no prefix", complaint("attach", passing, "--from", file, *here))


def test_a_closed_input_has_no_prefixes(here, passing):
    command = f"{COMMAND} attach {passing} --from - {' '.join(here)} <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "routebpf: cannot read prefixes from -: Bad file descriptor\n"


def test_many_routes_are_counted_not_listed(ground, here, passing):
    prefixes = [f"11.0.{number}.0/24" for number in range(200)]
    ground.batch("\n".join(f"route add {one} via 10.0.0.2" for one in prefixes))
    assert routebpf("attach", passing, *prefixes, *here).stdout == "attached: 200 routes\n"
    assert routebpf("detach", "--all", *here).stdout == "detached: 200 routes\n"


def test_what_attach_does_not_need_it_does_not_import(here, passing, tmp_path):
    compiled = tmp_path / "count.o"
    compiled.write_bytes(compile_source(passing))
    unneeded = {
        "numpy",
        "elftools",
        "subprocess",
        "shutil",
        "tempfile",
        "pathlib",
        "logging",
        "routebpf.isa.disassembler",
    }
    assert imported("attach", compiled, PREFIX, *here) & unneeded == set()


def test_tables_go_by_name_or_number(ground, here, passing):
    ground.ip("route add", PREFIX, "via 10.0.0.2 table 100")
    ground.ip("route add", PREFIX, "via 10.0.0.2 table default")
    assert "192.168.9.0/24 table 100: attached" in routebpf("attach", passing, PREFIX, "--table", 100, *here).stdout
    assert "table 253: attached" in routebpf("attach", passing, PREFIX, "--table", "default", *here).stdout
    routebpf("detach", PREFIX, "--table", "default", *here)
    assert [one["table"] for one in report("list", *here)] == [100]


@pytest.mark.parametrize(
    ("words", "code", "match"),
    [
        (["attach", "{prog}"], 2, "give a PREFIX, or --from FILE"),
        (["attach", "{prog}", "10.1.2.3/8"], 2, "did you mean 10.0.0.0/8"),
        (["attach", "{prog}", "nonsense"], 2, "'nonsense' is no prefix"),
        (["attach", "{prog}", "172.30.0.0/16"], 2, "no route in table main"),
        (["attach", "{prog}", PREFIX, "--via", "10.0.0.2"], 2, "--via goes with --create"),
        (["attach", "{prog}", "172.30.0.0/16", "--create", "--via", "x"], 2, "'x' is no address of a gateway"),
        (["attach", "{prog}", "172.30.0.0/16", "--create", "--via", "fd00::2"], 2, "of the other family"),
        (["attach", "{prog}", "172.30.0.0/16", "--create", "--via", "9.9.9.9"], 2, "attach to 172.*Nexthop"),
        (["attach", "{prog}", PREFIX, "--table", "nonsense"], 2, "neither the number nor the name of a routing table"),
        (["attach", "{prog}:other", PREFIX], 2, "no section or function named other"),
        (["attach", "nowhere.o", PREFIX], 2, "cannot read program nowhere.o"),
        (["attach", "{prog}", "--from", "nowhere"], 2, "cannot read prefixes from nowhere"),
        (["detach"], 2, "give a PREFIX, --from FILE with some, or --all"),
        (["detach", PREFIX], 2, "nothing is attached"),
        (["show", PREFIX], 1, "no route of it in table main carries a program"),
        (["map", "dump", "packets"], 2, "nothing attached has it"),
    ],
)  # fmt: skip
def test_bad_input_is_told_and_nothing_changes(ground, here, passing, words, code, match):
    before = ground.routes()
    said = complaint(*(word.format(prog=passing) for word in words), *here, code=code)
    assert re.search(match, said)
    assert ground.routes() == before


def test_an_empty_option_is_not_one_that_was_left_out(ground, here, passing):
    before = ground.routes()
    for words in ([PREFIX], ["172.30.0.0/16", "--create"]):
        assert "there is no device ;" in complaint("attach", passing, *words, "--device", "", *here)
    assert "'' is no address of a gateway" in complaint("attach", passing, PREFIX, "--create", "--via", "", *here)
    assert "there is no network namespace ;" in complaint("list", "--namespace", "")
    assert ground.routes() == before


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0"])
def test_watch_looks_again_after_a_time_that_comes(here, seconds):
    assert "--interval" in complaint("map", "watch", "packets", "--interval", seconds, *here)


def test_a_program_of_another_type_is_refused(here, tmp_path):
    other = write(tmp_path, 'SEC("xdp") int f(void *ctx) { return 2; }', "xdp")
    assert "xdp" in complaint("attach", other, PREFIX, *here)


def test_a_rejected_program_exits_with_1_and_the_place_in_its_source(here, tmp_path):
    bad = write(
        tmp_path,
        'SEC("lwt_xmit") int bad(struct __sk_buff *skb)\n{\n    return *(volatile int *)(long)skb->len;\n}',
        "bad",
    )
    said = complaint("attach", bad, PREFIX, *here, code=1)
    assert "bad.bpf.c:4" in said
    whole = routebpf("attach", bad, PREFIX, "-v", *here, code=1).stderr
    assert "processed " in whole  # the last line of the kernel's own log
    assert "processed " not in said


def test_no_such_namespace(passing):
    assert "there is no network namespace rbpf-none" in complaint("attach", passing, PREFIX, "--namespace", "rbpf-none")


# Maps


def test_maps_are_read_and_changed_as_their_types_say(ground, here, tmp_path):
    routebpf("attach", write(tmp_path, BY_ADDRESS), PREFIX, *here)
    ping(ground, "192.168.9.7", 3)
    assert report("map", "dump", "by_address", *here) == [
        {"key": int.from_bytes(bytes((192, 168, 9, 7)), "little"), "value": {"packets": 3, "bytes": 252}}
    ]
    assert re.search(r"192\.168\.9\.7 +3 +252", routebpf("map", "dump", "by_address", *here).stdout)
    assert report("map", "get", "by_address", "192.168.9.7", *here) == {"packets": 3, "bytes": 252}
    routebpf("map", "set", "by_address", "192.168.9.8", '{"packets": 40}', *here)
    ping(ground, "192.168.9.8", 2)
    assert report("map", "get", "by_address", "192.168.9.8", *here) == {"packets": 42, "bytes": 168}
    routebpf("map", "delete", "by_address", "192.168.9.7", *here)
    said = complaint("map", "get", "by_address", "192.168.9.7", *here, code=1)
    assert "it has no key 192.168.9.7" in said
    assert "it has no key 192.168.9.7" in complaint("map", "delete", "by_address", "192.168.9.7", *here, code=1)


def test_maps_that_an_upgrade_keeps_are_shown_by_the_types_of_the_new_program(ground, here, tmp_path):
    """Whose BTF has other numbers for them."""
    text = """
    int sent = 3; struct seen { __u64 packets; __u32 last; } seen; %s
    SEC("lwt_xmit") int count(struct __sk_buff *skb) { sent += 1; seen.packets += %s; seen.last = 9; return BPF_OK; }
    """
    routebpf("attach", write(tmp_path, text % ("", "1")), PREFIX, *here)
    ping(ground, "192.168.9.7", 2)
    more = "struct more { short first; long second[3]; } more; enum which { ONE, TWO } which;"
    said = routebpf("attach", write(tmp_path, more + text % ("", "1 + more.first + which")), PREFIX, *here).stdout
    assert "maps that keep their content: .data\n" in said
    ping(ground, "192.168.9.7", 3)
    (row,) = (one for one in report("map", "list", *here) if one["name"] == ".data")
    for name in (".data", row["pin"], f"id:{row['id']}"):
        assert report("map", "dump", name, *here)[0]["value"] == {"sent": 8}
    more += " const volatile int none = 0;"
    routebpf("attach", write(tmp_path, text % (more, "more.first + which + none")), PREFIX, *here)
    assert routebpf("map", "dump", ".data", *here).stdout == ".data:\nvariable  value\nsent          8\n"


def test_keys_and_values_without_types_are_given_as_they_are_shown(here, tmp_path):
    text = """
    struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __uint(key_size, 4); __uint(value_size, 1); }
        bare SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 8); __uint(key_size, 2);
        __uint(value_size, 3); } apart SEC(".maps");
    SEC("lwt_xmit") int count(struct __sk_buff *skb)
    {
        __u32 key = 16;
        return bpf_map_lookup_elem(&bare, &key) || bpf_map_lookup_elem(&apart, &key) ? BPF_OK : BPF_DROP;
    }
    """
    routebpf("attach", write(tmp_path, text), PREFIX, *here)
    routebpf("map", "set", "bare", 16, 7, *here)
    (entry,) = report("map", "dump", "bare", *here)
    assert entry == {"key": "10000000", "value": "07"}
    routebpf("map", "set", "bare", entry["key"], "10", *here)
    assert report("map", "get", "bare", 16, *here) == "10"
    assert report("map", "get", "bare", '"10000000"', *here) == "10"
    each = json.dumps([f"{cpu:06x}" for cpu in range(len(report("map", "dump", "apart", *here)), possible_cpus())])
    routebpf("map", "set", "apart", "0900", each, *here)
    assert json.dumps(report("map", "get", "apart", 9, *here)) == each
    assert "'x' is no value: without BTF it is 1 byte in hex, or a number" in complaint(
        "map", "set", "bare", 16, "x", *here
    )


def test_values_that_are_no_plain_text_or_number_are_shown_so_that_they_can_be_given_back(here, tmp_path):
    text = """
    struct value { char text[4]; float number; };
    struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, char[4]);
        __type(value, struct value); } odd SEC(".maps");
    SEC("lwt_xmit") int count(struct __sk_buff *skb)
    {
        char key[4] = "a";
        return bpf_map_lookup_elem(&odd, key) ? BPF_OK : BPF_DROP;
    }
    """
    routebpf("attach", write(tmp_path, text), PREFIX, *here)
    with map_at(report("map", "list", *here)[0]["pin"]) as odd:
        odd.update(b"\xff\0\0\1", b"\x1b[2J" + struct.pack("<f", float("-inf")))
        for options in (["map", "dump", "odd"], ["map", "watch", "odd", "--count", "1"]):
            shown = routebpf(*options, *here, "--json").stdout
            (entry,) = json.loads(f"[{shown}]" if "watch" in options else shown, parse_constant=pytest.fail)
            assert entry == {"key": "ff000001", "value": {"text": "\x1b[2J", "number": "-inf"}}
            assert "\\x1b[2J" in routebpf(*options, *here).stdout
        before = dict(odd.items())
        routebpf("map", "delete", "odd", entry["key"], *here)
        routebpf("map", "set", "odd", entry["key"], json.dumps(entry["value"]), *here)
        assert dict(odd.items()) == before
    for number in ("1e39", '"x"', "1" + "0" * 400):
        said = complaint("map", "set", "odd", "b", f'{{"number": {number}}}', *here)
        assert "struct value.number: " in said
        assert "is no number of 4 bytes" in said


def test_what_is_nested_too_deeply_is_no_key(here, passing):
    routebpf("attach", passing, PREFIX, *here)
    for depth in (*range(900, 1000, 20), 100_000):
        said = complaint("map", "get", "packets", "[" * depth + "]" * min(depth, 1000), *here)
        assert len(said) < 200


def test_ids_beyond_32_bits_are_no_maps(here, passing):
    routebpf("attach", passing, PREFIX, *here)
    (row,) = report("map", "list", *here)
    beyond = row["id"] + (1 << 32)
    assert f"open map {beyond}: the kernel has no map with this id" in complaint("map", "dump", f"id:{beyond}", *here)


def test_map_list_names_type_sizes_and_programs(here, tmp_path):
    routebpf("attach", write(tmp_path, BY_ADDRESS), PREFIX, *here)
    rows = {row["name"]: row for row in report("map", "list", *here)}
    assert rows.keys() == {"by_address", "samples"}
    assert (rows["by_address"]["type"], rows["by_address"]["value_size"]) == ("HASH", 16)
    assert rows["samples"]["type"] == "RINGBUF"
    assert re.search(r"^by_address +\d+ +HASH +4 +16 +64 +count:", routebpf("map", "list", *here).stdout, re.M)


def test_global_data_is_shown_by_variable_and_constants_too(here, tmp_path):
    text = """
    int sent = 3; const volatile int step = 7;
    SEC("lwt_xmit") int count(struct __sk_buff *skb) { sent += step; return BPF_OK; }
    """
    routebpf("attach", write(tmp_path, text), PREFIX, *here)
    for name, variable, value in ((".data", "sent", "3"), (".rodata", "step", "7")):
        lines = routebpf("map", "dump", name, *here).stdout.splitlines()
        assert [line.split() for line in lines] == [[f"{name}:"], ["variable", "value"], [variable, value]]


def test_a_map_goes_by_its_pin_or_its_id_too(ground, here, passing):
    routebpf("attach", passing, PREFIX, *here)
    (row,) = report("map", "list", *here)
    routebpf("map", "set", row["pin"], 0, 5, *here)
    assert report("map", "get", f"id:{row['id']}", 0, *here) == 5
    assert routebpf("map", "get", "packets", 0, *here).stdout == "5\n"


def test_of_maps_of_one_name_the_program_is_said(here, passing, tmp_path):
    routebpf("attach", passing, PREFIX, *here)
    other = write(tmp_path, (COUNT % ("lwt_xmit", "BPF_OK")).replace("int count", "int tally"), "tally")
    routebpf("attach", other, OTHER, *here)
    said = complaint("map", "set", "packets", 0, 1, *here)
    assert "2 maps have this name, of count:" in said
    routebpf("map", "set", "packets", 0, 1, "--program", "tally", *here)
    assert report("map", "get", "packets", 0, "--program", "tally", *here) == 1
    assert report("map", "get", "packets", 0, "--program", "count", *here) == 0
    shown = [re.findall(r"routebpf (map dump .*)", routebpf("show", one, *here).stdout) for one in (PREFIX, OTHER)]
    dumped = [report(*words.split(), *here) for (words,) in shown]
    assert [one[0]["value"] for one in dumped] == [0, 1]


def test_the_maps_in_a_map_go_by_their_ids(here, tmp_path):
    text = """
    struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
        first SEC(".maps"), second SEC(".maps");
    struct { __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS); __uint(max_entries, 4); __type(key, __u32);
        __array(values, struct inner); } slots SEC(".maps");
    SEC("lwt_xmit") int count(struct __sk_buff *skb)
    {
        __u32 key = 7, at = 0;
        void *inner = bpf_map_lookup_elem(&slots, &key);
        __u64 *value = inner ? bpf_map_lookup_elem(inner, &at) : 0;
        if (value)
            *value += 1;
        return bpf_map_lookup_elem(&first, &at) && bpf_map_lookup_elem(&second, &at) ? BPF_OK : BPF_DROP;
    }
    """
    routebpf("attach", write(tmp_path, text), PREFIX, *here)
    ids = {row["name"]: row["id"] for row in report("map", "list", *here)}
    routebpf("map", "set", "slots", 7, f"id:{ids['second']}", *here)
    assert report("map", "dump", "slots", *here) == [{"key": 7, "value": ids["second"]}]
    assert routebpf("map", "get", "slots", 7, *here).stdout == f"id:{ids['second']}\n"
    routebpf("map", "set", f"id:{ids['second']}", 0, 41, *here)
    assert report("map", "get", "second", 0, *here) == 41
    assert "its values are maps" in complaint("map", "set", "slots", 7, "second", *here)


def test_negative_keys_and_values_are_no_options(here, tmp_path):
    signed = (COUNT % ("lwt_xmit", "BPF_OK")).replace("__u64", "__s64").replace("TYPE_ARRAY", "TYPE_HASH")
    signed = signed.replace("__u32", "__s32").replace("max_entries, 1", "max_entries, 8")
    routebpf("attach", write(tmp_path, signed), PREFIX, *here)
    routebpf("map", "set", "packets", -7, -5, *here)
    assert report("map", "get", "packets", -7, *here) == -5
    routebpf("map", "delete", "packets", -7, *here)
    assert report("map", "dump", "packets", *here) == []


def test_what_a_map_cannot_do_is_told_with_what_it_is(here, passing, tmp_path):
    routebpf("attach", passing, PREFIX, *here)
    assert "its max_entries is 1" in complaint("map", "set", "packets", 5, 1, *here, code=1)
    assert "ARRAY: Values by index, all there" in complaint("map", "delete", "packets", 0, *here, code=1)
    routebpf("attach", write(tmp_path, BY_ADDRESS, "records"), OTHER, *here)
    for words in (["get", "samples", 0], ["set", "samples", 0, 1], ["delete", "samples", 0]):
        assert "map samples: it has no entries; map watch shows" in complaint("map", *words, *here)


def test_watch_shows_entries_as_they_change(ground, here, passing):
    routebpf("attach", passing, PREFIX, *here)
    words = ["packets", "--interval", "0.05"]
    lines = watched(words, here, lambda: ping(ground, "192.168.9.7"), before=1, after=1)
    assert lines == [{"key": 0, "value": 0}, {"key": 0, "value": 1}]


def test_watch_shows_the_records_of_a_ring_buffer(ground, here, tmp_path):
    routebpf("attach", write(tmp_path, BY_ADDRESS), PREFIX, *here)
    words = ["samples", "--count", "2"]
    lines = watched(words, here, lambda: ping(ground, "192.168.9.7", 2), before=0, after=2)
    assert lines == [{"record": "c0a80907"}, {"record": "c0a80907"}]


@pytest.mark.parametrize(("name", "first"), [("by_address", ""), ("samples", ""), ("packets", "0: 0\n")])
def test_watch_ends_when_its_reader_goes_though_nothing_comes(here, passing, tmp_path, name, first):
    program = passing if first else write(tmp_path, BY_ADDRESS)
    routebpf("attach", program, PREFIX, *here)
    command = [str(COMMAND), "map", "watch", name, "--interval", "0.05", *here]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        if first:
            assert watch.stdout.readline() == first
        watch.stdout.close()
        watch.wait(10)
        assert watch.stderr.read() == ""
    command = f"{COMMAND} map watch {name} {' '.join(here)} >&-"
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=20, check=True).stderr == b""


def watched(words: list[str], here: tuple[str, str], act: Any, *, before: int, after: int) -> list[Any]:
    """So many lines of `map watch` before `act` is done and after it."""
    command = [str(COMMAND), "map", "watch", *words, "--json", *here]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watch:
        assert watch.stdout is not None
        lines = [json.loads(watch.stdout.readline()) for _ in range(before)]
        act()
        lines += [json.loads(watch.stdout.readline()) for _ in range(after)]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(10) in (0, 130, -signal.SIGINT)
    return lines


# The machine


def test_bench_measures_attach_beside_ip():
    figures = report("bench", "--routes", 300, "--rounds", 1)
    assert [one["name"] for one in figures] == ["attach, the call", "attach, the command", "ip -batch"]
    assert all(one["seconds"] > 0 and one["routes"] == 300 for one in figures)


def test_doctor_finds_this_machine_fit():
    rows = {row["name"]: row for row in report("doctor")}
    assert rows["encap bpf"]["is_there"]
    assert all(row["is_there"] for row in rows.values() if row["is_required"])
    assert re.search(r"^encap bpf +yes", routebpf("doctor").stdout, re.M)


@pytest.mark.parametrize(("capability", "number"), [("net_admin", "CAP_NET_ADMIN"), ("sys_admin,-bpf", "CAP_BPF")])
def test_what_a_process_lacks_is_named_with_exit_3(ground, passing, capability, number):
    """In a process of root's that has lost a capability, inside the namespace already."""
    before = ground.routes()
    command = ["setpriv", "--bounding-set", f"-{capability}", "--inh-caps", f"-{capability}", str(COMMAND)]
    for words in (["attach", str(passing), PREFIX], ["doctor"]):
        done = ground.run_inside(*command, *words, check=False, cwd=ROOT)
        assert done.returncode == 3, done.stderr
        assert number in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        remedies = [line for line in done.stdout.splitlines() if line.startswith("  ")]
        assert bool(remedies) == (words == ["doctor"])
        assert len(set(remedies)) == len(remedies)
    assert ground.routes() == before


def test_a_ledger_folder_that_cannot_be_written_is_told(ground, here, passing, tmp_path):
    file = tmp_path / "a file"
    file.touch()
    said = complaint("attach", passing, PREFIX, *here, code=3, env={**os.environ, "ROUTEBPF_RUN": str(file / "run")})
    assert "cannot write the ledger" in said
