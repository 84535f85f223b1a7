"""`routebpf verify`: verdicts, findings, versions, steps, and the running kernel beside."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from command_line import COMMAND, DROP_SMTP, ROOT, complaint, map_of, program_file, report, routebpf, shown_on
from routebpf.cli.main import commands
from routebpf.errors import RejectedError
from routebpf.hosts.verification import KernelVerdict
from without_capabilities import without

pytestmark = pytest.mark.skipif(not shutil.which("clang"), reason="no clang here")

MAP = map_of("counts", "HASH", "__u32", "__u64")
NO_CHECK = """
    __u32 key = skb->mark;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    *value += 1;
    return BPF_OK;"""


def test_an_accepted_program_is_told_with_what_it_took_and_the_oldest_kernel() -> None:
    lines = routebpf("verify", DROP_SMTP).stdout.splitlines()
    assert lines[0] == "drop_smtp (LWT_XMIT): accepted"
    assert re.fullmatch(r"  \d+ instructions processed, \d+ states, 0 bytes of stack, verified in [\d.]+ ms", lines[1])
    assert lines[2] == "  oldest kernel: Linux 5.1, for 32-bit jumps (line 18)"
    assert len(lines) == 3


def test_a_rejected_program_is_a_finding_and_exit_1(tmp_path: Path) -> None:
    file = program_file(tmp_path, NO_CHECK, before=MAP)
    done = routebpf("verify", file, code=1)
    assert done.stderr == "routebpf: verify: program probe would be refused\n"
    assert done.stdout.startswith("error[map-value-or-null]: the pointer may be NULL: the map may not have that key\n")
    assert f" --> {file}:9:12, program probe, instruction 7\n" in done.stdout
    assert "\n9 |     *value += 1;\n  |            ^^\n" in done.stdout
    assert done.stdout.endswith("  = kernel: R0 invalid mem access 'map_value_or_null'\n\nprobe (LWT_XMIT): rejected\n")


@pytest.mark.parametrize(("columns", "width"), [(40, 60), (72, 72), (200, 100)])
def test_a_finding_keeps_to_the_terminal(tmp_path: Path, columns: int, width: int) -> None:
    file = program_file(tmp_path, NO_CHECK, before=MAP)
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    running = subprocess.Popen([COMMAND, "verify", str(file)], stdout=slave, stderr=subprocess.PIPE, env=environment)
    os.close(slave)
    shown = shown_on(master)
    running.communicate(timeout=30)
    why = shown.decode().partition("= why: ")[2].partition("= kernel: ")[0].rstrip()
    lines = [f"  = why: {line}" if number == 0 else line for number, line in enumerate(why.splitlines())]
    assert max(map(len, lines)) <= width
    # The first word of a line had no room in the line before.
    for line, following in pairwise(lines):
        if not following.lstrip().startswith("= "):
            assert len(line) + 1 + len(following.split()[0]) > width


def test_every_program_of_a_file_has_a_verdict(tmp_path: Path) -> None:
    more = f'SEC("lwt_in") int good(struct __sk_buff *skb) {{ return BPF_OK; }}\n{MAP}'
    file = program_file(tmp_path, NO_CHECK, before=more)
    done = routebpf("verify", file, code=1)
    assert re.findall(r"^(\w+) \((\w+)\): (\w+)$", done.stdout, re.MULTILINE) == [
        ("good", "LWT_IN", "accepted"),
        ("probe", "LWT_XMIT", "rejected"),
    ]
    assert done.stderr == "routebpf: verify: 1 of 2 programs would be refused\n"
    assert "good (LWT_IN): accepted" in routebpf("verify", f"{file}:good").stdout


def test_json_has_all_that_the_text_has(tmp_path: Path) -> None:
    (good,) = report("verify", DROP_SMTP)
    assert {name: good[name] for name in ("program", "section", "type", "accepted", "stack_bytes")} == {
        "program": "drop_smtp",
        "section": "lwt_xmit",
        "type": "LWT_XMIT",
        "accepted": True,
        "stack_bytes": 0,
    }
    assert good["oldest_kernel"] == "5.1"
    assert ("32-bit jumps", "5.1", 18) in {(one["what"], one["since"], one["line"]) for one in good["needs"]}
    assert good["findings"] == []
    assert good["kernel"] is None

    (bad,) = report("verify", program_file(tmp_path, NO_CHECK, before=MAP), code=1)
    assert (bad["accepted"], bad["instructions_processed"], bad["oldest_kernel"]) == (False, None, None)
    (finding,) = bad["findings"]
    assert finding["kind"] == "map-value-or-null"
    assert (finding["place"]["line"], finding["place"]["source"]) == (9, "    *value += 1;")
    assert finding["values"][0]["text"] == "a pointer to a value of map counts (8 bytes), or NULL"
    assert finding["values"][0]["kernel"] == "map_value_or_null(id=1,map=counts,ks=4,vs=8)"
    assert finding["kernel"] == "R0 invalid mem access 'map_value_or_null'"
    assert set(finding) == {
        "kind", "program", "title", "at", "instruction", "function", "place", "values", "path", "why", "notes", "todo",
        "kernel",
    }  # fmt: skip


def test_what_a_kernel_version_lacks_is_refused(tmp_path: Path) -> None:
    file = program_file(tmp_path, "    return bpf_ktime_get_boot_ns() & 1 ? BPF_DROP : BPF_OK;")
    assert routebpf("verify", file, "--kernel-version", "5.8").stdout.startswith(
        "probe (LWT_XMIT): accepted, also by Linux 5.8\n"
    )
    done = routebpf("verify", file, "--kernel-version", "5.7", code=1)
    assert done.stdout.startswith("error[newer-than-kernel]: Linux 5.7 does not have bpf_ktime_get_boot_ns()\n")
    assert "= kernel: unknown func bpf_ktime_get_boot_ns#125\n" in done.stdout
    assert "probe (LWT_XMIT): accepted, not by Linux 5.7\n" in done.stdout
    (found,) = report("verify", file, "--kernel-version", "5.7", code=1)
    assert not found["accepted"]


def test_what_a_version_test_leaves_out_is_not_needed(tmp_path: Path) -> None:
    body = """
    if (LINUX_KERNEL_VERSION >= KERNEL_VERSION(5, 8, 0))
        return bpf_ktime_get_boot_ns() & 1 ? BPF_DROP : BPF_OK;
    return BPF_OK;"""
    before = (
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\nextern int LINUX_KERNEL_VERSION __kconfig;\n"
    )
    file = program_file(tmp_path, body, before=before)
    (old,) = report("verify", file, "--kernel-version", "5.7")
    assert "bpf_ktime_get_boot_ns()" not in {one["what"] for one in old["needs"]}
    (new,) = report("verify", file, "--kernel-version", "5.8")
    assert "bpf_ktime_get_boot_ns()" in {one["what"] for one in new["needs"]}


@pytest.mark.parametrize("version", ["5", "five", "5.x", "-1.2"])
def test_a_version_that_is_none_is_bad_usage(version: str) -> None:
    assert "is not of the form X.Y" in complaint("verify", DROP_SMTP, f"--kernel-version={version}")


def test_unprivileged_is_stricter(tmp_path: Path) -> None:
    body = """
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    if (value)
        *value = (__u64)(void *)(long)skb->data;
    return BPF_OK;"""
    file = program_file(tmp_path, body, before=MAP)
    routebpf("verify", file)
    assert "R1 leaks addr into map" in routebpf("verify", file, "--unprivileged", code=1).stdout


def test_explain_shows_steps_beside_the_source() -> None:
    text = routebpf("verify", DROP_SMTP, "--explain").stdout
    assert text.startswith("steps of drop_smtp\n")
    assert "18 | if (data + sizeof(*ip) > data_end || ip->version != 4" in text
    assert re.search(r"^ +0: w0 = 0 +r0=0 r1=ctx\(\) r10=fp0$", text, re.MULTILINE)
    assert re.search(r"^ +2: r1 = \*\(u32 \*\)\(r1 \+76\) +r1=pkt\(r=0\)$", text, re.MULTILINE)
    assert "another path, from instruction" in text


@pytest.mark.kernel
def test_steps_have_the_registers_that_the_kernel_logs(tmp_path: Path) -> None:
    """At the end of the only path of a program that both refuse."""
    file = program_file(tmp_path, NO_CHECK, before=MAP)
    (found,) = report("verify", file, "--explain", code=1)
    known: dict[str, str] = {}
    ours: dict[int, dict[str, str]] = {}
    for step in found["steps"]:
        known |= {name: text for name, text in step["registers"].items() if text}
        ours[step["instruction"]] = dict(known)
    compared = 0
    for at, registers in _kernel_steps(file):
        for name, text in registers.items():
            assert ours[at][name] == text
            compared += 1
    assert compared >= 5


def _kernel_steps(file: Path) -> list[tuple[int, dict[str, str]]]:
    from routebpf.kernel.object import load_in_kernel, read_for_kernel

    with pytest.raises(RejectedError) as refused:
        load_in_kernel(read_for_kernel(file))
    found = re.findall(r"^(\d+): \(\w\w\) .*?; (R.*?)(?: fp-.*)?$", refused.value.log, re.MULTILINE)
    registers = re.compile(r"R(\d+)(?:_\w+)?=(.+?)(?= R\d|$)")
    return [(int(at), {f"r{number}": text for number, text in registers.findall(state)}) for at, state in found]


@pytest.mark.kernel
def test_the_running_kernel_is_asked_too(tmp_path: Path) -> None:
    accepted = routebpf("verify", DROP_SMTP, "--kernel").stdout
    assert accepted.startswith("drop_smtp (LWT_XMIT): accepted, and accepted by the running kernel\n")
    file = program_file(tmp_path, NO_CHECK, before=MAP)
    rejected = routebpf("verify", file, "--kernel", code=1).stdout
    assert rejected.endswith("probe (LWT_XMIT): rejected, and rejected by the running kernel\n")
    (found,) = report("verify", file, "--kernel", code=1)
    assert found["kernel"] == {"accepted": False, "message": "R0 invalid mem access 'map_value_or_null'"}
    assert found["agreed"]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("body", "says", "who"),
    [
        ("    return BPF_OK;", "words of another kernel", "the running kernel refuses what routebpf accepts"),
        (NO_CHECK, None, "the running kernel takes it: routebpf is stricter than it should be"),
    ],
)
def test_a_disagreement_is_exit_1_and_says_whose(
    body: str, says: str | None, who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routebpf.hosts.verification._ask_kernel", lambda *_: KernelVerdict(says))
    file = program_file(tmp_path, body, before=MAP)
    done = CliRunner().invoke(commands, ["verify", str(file), "--kernel"])
    assert isinstance(done.exception, RejectedError)
    assert str(done.exception) == "verify: the two verifiers do not agree on probe"
    assert who in done.output
    assert says is None or f"    {says}\n" in done.output


@pytest.mark.kernel
def test_without_capabilities_the_verdict_is_the_same_and_the_kernel_cannot_be_asked() -> None:
    every = ("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF")

    def run(*options: str) -> str:
        done: Any = CliRunner().invoke(commands, ["verify", str(DROP_SMTP), *options])
        return f"{done.output}{done.exception or ''}"

    assert without(every, run).startswith("drop_smtp (LWT_XMIT): accepted\n")
    assert "this process lacks" in without(every, lambda: run("--kernel"))


def test_kernel_and_unprivileged_exclude_each_other() -> None:
    assert "instead of --unprivileged" in complaint("verify", DROP_SMTP, "--kernel", "--unprivileged")


def test_bad_input_is_exit_2(tmp_path: Path) -> None:
    assert "cannot read program" in complaint("verify", tmp_path / "none.o")
    assert "no section or function named nothing" in complaint("verify", f"{DROP_SMTP}:nothing")


def test_every_example_is_accepted() -> None:
    for path in sorted((ROOT / "examples").glob("*.bpf.c")):
        routebpf("verify", path)


def test_verifying_does_without_what_runs_programs_and_without_the_kernel() -> None:
    command = [sys.executable, "-X", "importtime", str(COMMAND), "verify", str(DROP_SMTP)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "routebpf.verifier.verify" in modules
    heavy = {"numpy", "llvmlite", "numba", "rich", "pyroute2", "routebpf.kernel.syscall", "routebpf.engine"}
    assert modules.isdisjoint(heavy)
