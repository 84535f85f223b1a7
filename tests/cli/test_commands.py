"""`routebpf exec`, `disasm`, `spec` and `bench`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from command_line import DROP_SMTP, complaint, map_of, program_file, report, routebpf

# r0 = 42; exit, by RFC 9669: opcode b7 is MOV with an immediate to a 64-bit register, 95 is EXIT.
R0_IS_42 = "b7000000 2a000000 95000000 00000000"
# r0 = *(u32 *)(r1 + 0); exit: opcode 61 is LDX of a word, the registers' nibbles are source and destination.
R0_FROM_MEMORY = "6110000000000000 9500000000000000"
STORE_7 = "7a01000007000000 b700000000000000 9500000000000000"  # *(u64 *)(r1 + 0) = 7; r0 = 0
R0_IS_R2 = "bf20000000000000 9500000000000000"


# exec


def test_exec_prints_r0_in_hex() -> None:
    def r0(*arguments: str) -> str:
        return routebpf("exec", *arguments).stdout

    assert r0("--hex", R0_IS_42) == "0x2a\n"
    assert r0("--hex", R0_FROM_MEMORY, "--memory", "0102 0304 0506") == "0x4030201\n"
    assert r0("--hex", R0_IS_R2, "--memory", "00" * 300) == "0x12c\n"
    assert r0("--hex", "18000000ffffffff 00000000ffffffff 9500000000000000") == "0xffffffffffffffff\n"


def test_exec_reads_instructions_from_the_input() -> None:
    assert routebpf("exec", "--hex", "-", input=f"{R0_IS_42}\n").stdout == "0x2a\n"
    assert routebpf("exec", "--hex", "-", "--memory", "01", input=R0_IS_R2).stdout == "0x1\n"


def test_exec_shows_what_memory_became() -> None:
    assert report("exec", "--hex", STORE_7, "--memory", "ff" * 10) == {
        "r0": "0x0",
        "memory": "07000000000000" + "00ffff",
    }


def test_exec_runs_a_program_on_a_packet(tmp_path: Path) -> None:
    packet = "45000028000040004006000001020304050607080000" + "0019" + "00" * 16
    assert report("exec", DROP_SMTP, "--packet", packet)["meaning"] == "BPF_DROP"
    text = routebpf("exec", DROP_SMTP, "--packet", packet.replace("0019", "0050")).stdout
    assert text.splitlines() == ["r0      0x0  BPF_OK", "packet  unchanged"]


def test_exec_shows_all_that_a_program_changed(tmp_path: Path) -> None:
    body = """
        __u32 key = 5;
        __u64 value = skb->mark;
        bpf_map_update_elem(&seen, &key, &value, BPF_ANY);
        bpf_skb_store_bytes(skb, 8, "\\x01", 1, 0);
        skb->priority = 3;
        bpf_printk("mark %d", skb->mark);
        return 300;"""
    program = program_file(tmp_path, body, before=map_of("seen", "HASH", "__u32", "__u64"))
    packet = "450000140000400040060000" + "0102030405060708"
    arguments = ["exec", program, "--packet", packet, "--context", "mark=0x10"]
    found = report(*arguments)
    assert found == {
        "r0": 300,
        "meaning": "no return code of this program type",
        "packet": packet[:16] + "01" + packet[18:],
        "context": {"priority": 3},
        "maps": {"seen": [{"key": 5, "value": 16}]},
        "trace": [found["trace"][0]],
    }
    assert found["trace"][0].endswith(": mark 16")
    assert routebpf(*arguments).stdout.splitlines() == [
        "r0        0x12c  no return code of this program type",
        f"packet    {found['packet']} (20 bytes)",
        "priority  0x3",
        f"printed   {found['trace'][0]}",
        "",
        "seen: 1 entry",
        "key  value",
        "  5     16",
    ]
    assert report(*arguments, "--engine", "jit") == found


def test_exec_stops_an_access_that_misses() -> None:
    said = complaint("exec", "--hex", R0_FROM_MEMORY, "--memory", "0102", code=1)
    assert "instruction 0 (r0 = *(u32 *)(r1 +0)): reading 4 bytes" in said
    assert "2 bytes past the end of the memory (2 bytes)" in said
    assert "registers: r1=" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give either PROG or --hex"),
        (["--hex", ""], 2, "no instructions"),
        (["--hex", "zz"], 2, "'zz' is no hexadecimal text of whole bytes"),
        (["--hex", "b70"], 2, "is no hexadecimal text of whole bytes"),
        (["--hex", "b7"], 2, "1 bytes are no whole number of 8-byte instructions"),
        (["--hex", "ff" * 8], 1, "unknown opcode ff"),
        (["--hex", "b700000000000000"], 1, "last insn is not an exit or jmp"),
        (["--hex", R0_IS_42, "--memory", "xy"], 2, "'--memory'"),
        (
            [str(DROP_SMTP), "--context", "colour=1"],
            2,
            "has no field colour that can be set; there are pkt_type",
        ),
        ([str(DROP_SMTP), "--context", "mark"], 2, "'mark' is not of the form FIELD=VALUE"),
        ([str(DROP_SMTP), "--context", "mark=4294967296"], 2, "has 32 bits: 4294967296 does not fit"),
        ([str(DROP_SMTP), "--context", "len=9"], 2, "no field len that can be set"),
    ],
)
def test_exec_tells_what_is_wrong(arguments: list[str], code: int, said: str) -> None:
    assert said in complaint("exec", *arguments, code=code)


# disasm


@pytest.mark.skipif(not shutil.which("clang") or not shutil.which("llvm-objdump"), reason="no LLVM tools here")
def test_disasm_shows_every_instruction_at_its_number_behind_its_line_of_c(tmp_path: Path) -> None:
    made = tmp_path / "drop.o"
    include = DROP_SMTP.parent.parent / "src" / "routebpf" / "include"
    options = ["-O2", "-g", "-mcpu=v3", "-isystem", str(include), "-c", str(DROP_SMTP), "-o", str(made)]
    subprocess.run(["clang", "-target", "bpf", *options], check=True)
    dump = subprocess.run(["llvm-objdump", "-d", str(made)], capture_output=True, text=True, check=True).stdout
    theirs = [int(number) for number in re.findall(r"^ +(\d+):\t", dump, re.MULTILINE)]
    lines = routebpf("disasm", made).stdout.splitlines()
    assert lines[0] == f"drop_smtp: section lwt_xmit, LWT_XMIT, {theirs[-1] + 1} slots"
    assert [int(number) for line in lines if (number := line.partition(":")[0].strip()).isdigit()] == theirs
    source = [line.strip() for line in DROP_SMTP.read_text().splitlines()]
    shown = [re.fullmatch(r"; (.*)  @ drop_smtp\.bpf\.c:(\d+)", line) for line in lines if line.startswith(";")]
    assert all(one and source[int(one[2]) - 1] == one[1] for one in shown)
    assert len(shown) > 5
    rows = report("disasm", made)[0]["instructions"]
    assert [row["instruction"] for row in rows] == theirs
    assert all(source[row["line"] - 1] == row["source"] for row in rows)


def test_disasm_shows_one_program_of_several(tmp_path: Path) -> None:
    second = 'SEC("lwt_out") int second(struct __sk_buff *skb) { return BPF_DROP; }'
    program = program_file(tmp_path, "return BPF_OK;", before=second)
    both = routebpf("disasm", program).stdout
    assert re.findall(r"^(\w+): section", both, re.MULTILINE) == ["second", "probe"]
    assert "\n\nprobe: section lwt_xmit, LWT_XMIT, 2 slots\n" in both
    one = routebpf("disasm", f"{program}:second").stdout
    assert one.startswith("second: section lwt_out, LWT_OUT, 2 slots\n")
    assert [found["program"] for found in report("disasm", f"{program}:lwt_out")] == ["second"]


# spec


def test_spec_lists_every_table_and_json_has_the_same_rows() -> None:
    found = report("spec")
    assert list(found) == ["context", "helpers", "kfuncs", "maps"]
    text = routebpf("spec").stdout
    for table, rows in found.items():
        assert f"\n{table}\n" in f"\n{text}"
        for row in rows:
            assert str(row.get("prototype") or row["name"]) in text
    assert len(text.splitlines()) == 2 * sum(map(len, found.values())) + len(found)


def test_spec_finds_rows_whatever_their_case() -> None:
    text = routebpf("spec", "helpers", "--find", "SKB_change_HEAD").stdout
    assert text.splitlines()[0] == "helpers"
    assert text.splitlines()[1].startswith("   43  long bpf_skb_change_head(struct __sk_buff *skb")
    assert len(text.splitlines()) == 3
    assert [row["id"] for row in report("spec", "helpers", "--find", "skb_change_head")["helpers"]] == [43]


def test_spec_says_what_the_embedded_host_does_not_have(tmp_path: Path) -> None:
    """Which is what `exec` refuses as missing."""
    rows = {row["name"]: row for row in report("spec", "helpers")["helpers"]}
    for name, body in (
        ("bpf_send_signal", "return bpf_send_signal(1) ? 1 : 0;"),
        ("bpf_get_route_realm", "return bpf_get_route_realm(skb);"),
    ):
        found = rows[name]["embedded"]
        text = routebpf("spec", "helpers", "--find", f"{name}(").stdout
        assert (", not on the embedded host. " in text) is not found
        routebpf("exec", program_file(tmp_path, body), code=0 if found else 3)


def test_spec_says_that_nothing_was_found() -> None:
    assert "no row of kfuncs, maps holds 'unheard of'" in complaint(
        "spec", "kfuncs", "maps", "--find", "unheard of", code=1
    )
    assert "'colours' is not one of" in complaint("spec", "colours")


# bench


def test_bench_measures_packets_and_a_capture() -> None:
    figures = report("bench", "--packets", 1000, "--rounds", 1)
    names = [one["name"] for one in figures]
    assert "return only" in names
    assert any(name.endswith("routebpf") for name in names)
    assert any(name.endswith("tcpdump") for name in names) == bool(shutil.which("tcpdump"))
    assert all(one["nanoseconds"] > 0 for one in figures)


@pytest.mark.kernel
def test_bench_measures_each_program_in_the_kernel_once() -> None:
    figures = {one["name"]: one["kernel_nanoseconds"] for one in report("bench", "--packets", 1000, "--rounds", 1)}
    measured = [name for name, nanoseconds in figures.items() if nanoseconds is not None]
    assert measured == ["return only", "parse headers, filter", "count by destination, 256"]
    assert 0 < figures["return only"] < 100_000


@pytest.mark.kernel
def test_bench_measures_the_verifier_beside_the_kernel() -> None:
    figures = {
        one["name"]: one for one in json.loads(routebpf("bench", "--verifier", "--rounds", "1", "--json").stdout)
    }
    assert list(figures) == ["pass", "filter", "count", "large"]
    assert figures["large"]["instructions"] > 3000
    assert all(one["seconds"] > 0 and one["kernel_seconds"] > 0 for one in figures.values())
