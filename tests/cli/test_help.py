"""Help: every command has an example that works, and none pays for what it does not use."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from command_line import COMMAND, DROP_SMTP, MAIL, ROOT, imported, routebpf

AUTHORS = ["run", "exec", "verify", "disasm", "spec", "bench"]
COMMANDS = re.findall(r"^  (\w+)  ", routebpf("--help").stdout.partition("Commands:")[2], re.MULTILINE)


# In the order in which their examples work, one after the other.
OPERATORS = ["attach", "list", "show", "map", "detach", "doctor"]
NAMESPACE = """
ip link add veth0 type veth peer name veth1
ip link set veth0 up
ip link set veth1 up
ip route add 192.168.253.0/24 dev veth0
"""


def test_all_commands_are_listed() -> None:
    assert set(COMMANDS) == {*AUTHORS, *OPERATORS}


def example_of(command: str) -> list[str]:
    """The arguments of the example in a command's help."""
    text = routebpf(command, "--help").stdout
    example = re.search(r"Examples?: (routebpf .*)\Z", re.sub(r"\s+", " ", text).strip())
    assert example
    _, *arguments = example[1].split()
    assert arguments[0] == command
    return arguments


@pytest.mark.kernel
def test_the_examples_of_operators_work_one_after_the_other(tmp_path: Path) -> None:
    lines = [f"{COMMAND} {' '.join(example_of(command))}" for command in OPERATORS]
    script = "set -e\n" + NAMESPACE + "\n".join(f"echo '== {line}'\n{line}" for line in lines)
    environment = {**os.environ, "ROUTEBPF_RUN": str(tmp_path)}
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [part.strip().splitlines() for part in done.stdout.split("== ")[1:]]
    assert [len(part) > 1 for part in shown] == [True] * len(OPERATORS), done.stdout


@pytest.mark.parametrize("command", AUTHORS)
def test_help_has_an_example_that_works(command: str) -> None:
    name, *arguments = example_of(command)
    if command == "bench":
        assert arguments[0] == "--packets"
        arguments[1:] = ["1000", "--rounds", "1"]
    assert routebpf(name, *arguments).stdout


def test_the_main_help_has_the_main_example() -> None:
    text = re.sub(r"\s+", " ", routebpf("--help").stdout)
    assert "Example: routebpf run examples/drop_smtp.bpf.c --to 10.0.0.0/8 --pcap captures/mail-and-dns.pcapng" in text
    assert routebpf("-h").stdout == routebpf("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    options = routebpf(command, "--help").stdout.partition("Options:\n")[2].partition("\n\n")[0]
    for option in re.split(r"^  (?=-)", options, flags=re.MULTILINE)[1:]:
        words = re.sub(r"^-.*?(  |\n)|\[.*?\]", "", option, flags=re.DOTALL)
        assert re.search(r"\w{3}", words), option
    assert max(map(len, options.splitlines())) <= 80


def test_version_is_the_package_s() -> None:
    assert re.fullmatch(r"routebpf \d+\.\d+\.\d+\n", routebpf("--version").stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["spec", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(*arguments).isdisjoint({"numpy", "numba", "llvmlite", "rich", "elftools", "zstandard", "pyroute2"})


def test_a_warm_run_does_without_numba_and_rich() -> None:
    arguments = ["run", str(DROP_SMTP), "--pcap", str(MAIL)]
    routebpf(*arguments)
    assert imported(*arguments).isdisjoint({"numba", "rich", "zstandard", "pyroute2", "routebpf.engine.interpreter"})


def test_disasm_does_without_what_runs_programs() -> None:
    assert imported("disasm", str(DROP_SMTP)).isdisjoint({"numpy", "llvmlite", "numba", "rich"})
