"""Ctrl-C, readers that go away, terminals: what surrounds a run of the command."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import COMMAND, DROP_SMTP, MAIL, ROOT, WEB, routebpf, shown_on

START = WEB.read_bytes()[:2000]


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([str(COMMAND), *map(str, arguments)], cwd=ROOT, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("number", "ends"),
    [
        (signal.SIGINT, (130, b"\nroutebpf: interrupted\n")),
        (signal.SIGTERM, (143, b"")),
        (signal.SIGHUP, (129, b"")),
    ],
)
@pytest.mark.parametrize("cpus", [1, 2])
def test_a_signal_ends_a_run_and_leaves_the_output_as_it_was(
    tmp_path: Path, cpus: int, number: signal.Signals, ends: tuple[int, bytes]
) -> None:
    out = tmp_path / "out.pcapng"
    out.write_bytes(b"what was there before")
    running = start("run", DROP_SMTP, "--pcap", "-", "--packets", "--cpus", cpus, "--write", out)
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(START)
    running.stdin.flush()
    assert running.stdout.readline().startswith(b"09:42:06.")  # it runs, and waits for more
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == ends
    assert out.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [out]


def test_ctrl_c_while_modules_are_read_gives_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import time\nprint(flush=True)\ntime.sleep(30)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "routebpf", "spec"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"\n"
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (-signal.SIGINT, b"")


def test_packets_of_a_pipe_are_shown_as_they_come(tmp_path: Path) -> None:
    running = start("run", DROP_SMTP, "--pcap", "-", "--packets")
    assert running.stdin is not None
    assert running.stdout is not None
    data = WEB.read_bytes()
    running.stdin.write(START)
    running.stdin.flush()
    first = running.stdout.readline()
    running.stdin.write(data[len(START) :])
    rest, said = running.communicate(timeout=30)
    assert first.startswith(b"09:42:06.")
    assert b"265 packets, " in rest
    assert not said


@pytest.mark.parametrize(
    "arguments",
    [["spec"], ["run", DROP_SMTP, "--pcap", MAIL, "--packets"], ["disasm", ROOT / "examples" / "account.bpf.c"]],
)
def test_a_reader_that_goes_away_is_no_accident(arguments: list[object]) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)  # less than any of them writes
    running = start(*arguments, stdout=writer)
    os.close(writer)
    assert os.read(reader, 1)
    os.close(reader)
    assert running.communicate(timeout=30)[1] == b""
    assert running.returncode == 1


def test_a_command_that_nohup_runs_does_not_end_when_its_terminal_goes() -> None:
    running = start("run", DROP_SMTP, "--pcap", "-", "--packets", preexec_fn=_ignore_hangup)
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(START)
    running.stdin.flush()
    assert running.stdout.readline().startswith(b"09:42:06.")
    running.send_signal(signal.SIGHUP)
    out, said = running.communicate(WEB.read_bytes()[len(START) :], timeout=30)
    assert (running.returncode, said) == (0, b"")
    assert b"265 packets, " in out


def _ignore_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_a_closed_output_is_no_accident() -> None:
    command = f"{COMMAND} run {DROP_SMTP} --pcap {MAIL} >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert not done.stderr


def on_terminal(*arguments: object, feed: float = 0) -> tuple[bytes, bytes]:
    """What a run with a terminal as its error output prints there, and what on the output. The capture comes in two
    parts, `feed` seconds apart."""
    master, slave = pty.openpty()
    running = start(*arguments, stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"})
    os.close(slave)
    assert running.stdin is not None
    data = WEB.read_bytes()
    running.stdin.write(START)
    running.stdin.flush()
    time.sleep(feed)
    running.stdin.write(data[len(START) :])
    out, _ = running.communicate(timeout=30)
    return shown_on(master), out


def test_a_progress_bar_is_shown_on_a_terminal_after_a_second_and_taken_away() -> None:
    shown, out = on_terminal("run", DROP_SMTP, "--pcap", "-", feed=4)
    assert "━".encode() in shown
    assert shown.rstrip().endswith(b"\x1b[2K")  # the line is empty again
    assert b"265 packets, " in out
    assert "━".encode() not in out


def test_a_short_run_shows_no_progress_bar() -> None:
    routebpf("run", DROP_SMTP, "--pcap", WEB)  # where it had to compile anything, it has done so now
    assert on_terminal("run", DROP_SMTP, "--pcap", "-")[0] == b""


def test_a_run_that_lists_packets_shows_no_progress_bar() -> None:
    shown, out = on_terminal("run", DROP_SMTP, "--pcap", "-", "--packets", feed=1.8)
    assert shown == b""
    assert out.startswith(b"09:42:06.")


def test_a_file_gets_no_colours() -> None:
    environment = {**os.environ, "TERM": "xterm-256color"}
    assert "\x1b" not in routebpf("run", DROP_SMTP, "--pcap", MAIL, env=environment).stdout
