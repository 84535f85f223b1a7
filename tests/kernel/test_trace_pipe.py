"""What programs print in the kernel, as `run -v` shows it; in a mount namespace where the pipe is, and is not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import COMMAND, WEB, needs_tshark
from routebpf.kernel import trace_pipe
from routebpf.kernel.object import load_in_kernel
from routebpf.kernel.trace_pipe import TracePipe

pytestmark = pytest.mark.kernel

PRINTS = """
SEC("lwt_xmit") int prints(struct __sk_buff *skb)
{
    bpf_printk("length %d", skb->len);
    return BPF_OK;
}
"""


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Path]:
    """The machine's switch for tracing, on, and afterwards as it was."""
    place = tmp_path / "tracefs"
    place.mkdir()
    subprocess.run(["mount", "-t", "tracefs", "routebpf", place], check=True)
    switch = place / "tracing_on"
    before = switch.read_text()
    switch.write_text("1")
    yield switch
    switch.write_text(before)
    subprocess.run(["umount", place], check=True)


def run_with_tracefs_at(mount: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "prints.bpf.c"
    program.write_text('#include "routebpf.h"\n' + PRINTS + 'char _license[] SEC("license") = "GPL";\n')
    script = f'mount -t tmpfs none /sys/kernel/debug; {mount}; exec "$@"'
    command = [COMMAND, "run", program, "--to", "0.0.0.0/0", "--pcap", WEB, "--backend", "kernel", "-v"]
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False
    )


MOUNT = "mount -t tracefs tracefs /sys/kernel/tracing"


@needs_tshark
def test_each_line_that_a_program_prints_is_shown_with_its_cpu(switch: Path, tmp_path: Path) -> None:
    done = run_with_tracefs_at(MOUNT, tmp_path)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if ": length " in line]
    sizes = subprocess.run(
        ["tshark", "-r", WEB, "-Y", "ip", "-T", "fields", "-e", "ip.len"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert sorted(int(line.rpartition(" ")[2]) for line in lines) == sorted(int(size) for size in sizes)
    assert all(line.startswith("[00") for line in lines)


def test_lines_are_those_from_then_on_with_the_time_that_the_kernel_gives_them(switch, read, monkeypatch) -> None:
    monkeypatch.setattr(trace_pipe, "_PLACES", (str(switch.parent),))
    with load_in_kernel(read(PRINTS)) as loaded:
        prints = loaded.programs["prints"]
        prints.run(bytes(14 + 1201))
        pipe = TracePipe()
        try:
            prints.run(bytes(14 + 1202), repeat=3)
            in_kernel = (switch.parent / "trace").read_text()  # reading this takes nothing away
            found = [str(one) for one in pipe.lines() if one.text.startswith("length 120")]
        finally:
            pipe.close()
    shown = [line.split() for line in in_kernel.splitlines() if line.endswith(": length 1202")]
    assert found == [f"{words[1]} {words[3]} length 1202" for words in shown]
    assert len(found) == 3


def test_where_there_is_no_pipe_that_is_told(tmp_path: Path) -> None:
    done = run_with_tracefs_at("mount -t tmpfs none /sys/kernel/tracing", tmp_path)
    assert done.returncode == 3
    assert "mount -t tracefs tracefs /sys/kernel/tracing" in done.stderr


def test_where_somebody_else_reads_the_pipe_that_is_told(switch: Path, tmp_path: Path) -> None:
    """The kernel gives it one reader, since Linux 6.6."""
    pipe = switch.with_name("trace_pipe")
    with pipe.open("rb", buffering=0):
        with pytest.raises(OSError, match="Device or resource busy"):
            pipe.open("rb", buffering=0)
        done = run_with_tracefs_at(MOUNT, tmp_path)
    assert done.returncode == 3
    assert done.stderr == (
        "routebpf: what programs print in the kernel: /sys/kernel/tracing/trace_pipe: somebody reads it,"
        " and it has one reader\n"
    )


def test_where_tracing_is_off_that_is_told_since_nothing_would_come(switch: Path, tmp_path: Path) -> None:
    switch.write_text("0")
    done = run_with_tracefs_at(MOUNT, tmp_path)
    assert done.returncode == 3
    assert "echo 1 > /sys/kernel/tracing/tracing_on" in done.stderr
