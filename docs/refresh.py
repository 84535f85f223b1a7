"""Runs the documentation: every command and snippet of every page, and writes what came out into the page.

    python docs/refresh.py [--times] [PAGE…]

An output that differs from the page's only in times, rates and addresses is left as it is, unless `--times` is given.
Tables made from the code are written anew. A test runs the same and compares.

Blocks that need root are run where nothing of this machine is in reach: in a network namespace of their own, with the
devices and routes of _GROUND, a ledger of their own, and /srv for a folder. Without root they are left as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pages import PAGES, ROOT, Block, blocks_of, commands_of, masked, tables_of
from tables import table

_COPIED = ("examples", "captures", "Makefile")
_RUN = ("routebpf", "python3", "make", "sed")
_TIMEOUT_SECONDS = 120
_LIGHT_BENCH = " --packets 100000 --rounds 1"
# What runs a command where root changes nothing that stays, and what it finds there: two devices whose other ends are
# in the namespace of a process that sleeps. There 192.168.253.2 answers.
_APART = ("unshare", "--net", "--mount")
_SRV = "/srv"
_GROUND = f"""
mount --bind . {_SRV} && cd {_SRV} || exit
unshare --net sleep {_TIMEOUT_SECONDS} & far=$!
trap 'routebpf detach --all --force >/dev/null 2>&1; kill $far' EXIT
while [ "$(readlink /proc/$far/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
ip -batch - <<END
link set lo up
link add lan0 type veth peer name far0 netns $far
link add lan1 type veth peer name far1 netns $far
link set lan0 up
link set lan1 up
addr add 192.0.2.1/24 dev lan0
addr add 198.51.100.1/24 dev lan1
END
nsenter --net=/proc/$far/ns/net ip -batch - <<END
link set far0 up
link set far1 up
addr add 192.0.2.2/24 dev far0
addr add 198.51.100.2/24 dev far1
addr add 192.168.253.2/32 dev far0
END
ip -batch - <<END
route add 192.168.253.0/24 via 192.0.2.2
route add 10.20.0.0/16 mtu 1400 nexthop via 192.0.2.2 weight 2 nexthop via 198.51.100.2
END
"""
_SEPARATOR = "\x1e"
# Runs the snippets of a page in one namespace: [[first line, code], …] in, [output, …] out.
_SNIPPETS = """
import contextlib, io, json, sys
scope, outputs = {"__name__": "__main__"}, []
for line, code in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile("\\n" * line + code, sys.argv[1], "exec"), scope)
    outputs.append(output.getvalue())
json.dump(outputs, sys.stdout)
"""


class PageError(Exception):
    """A command or snippet of a page does not work."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a command, snippet or table of a page gave, beside what the page shows at `start` to `end`. `command` is
    empty but for a command; `line` in the page, from 1."""

    line: int
    start: int
    end: int
    shown: str
    real: str
    command: str = ""

    @property
    def is_same(self) -> bool:
        """Whether they differ in nothing but what differs on every run."""
        return masked(self.shown, self.command) == masked(self.real, self.command)


def run_page(page: Path, *, light: bool = False) -> list[Output]:
    """Run a page, all but what needs root: its outputs. `light`: no benchmark runs for long. Raises PageError for what
    does not work."""
    text = page.read_text()
    blocks = list(blocks_of(text))
    outputs = [
        Output(text[:start].count("\n"), start, end, shown, table(name)) for name, shown, start, end in tables_of(text)
    ]
    with _workspace(blocks) as folder:
        for block in blocks:
            if block.language in ("console", "sh") and not block.needs_root:
                outputs += _run_commands(page, text, block, folder, light=light)
        outputs += _run_snippets(page, blocks, folder, by_root=False)
    return outputs


def run_page_by_root(page: Path) -> list[Output]:
    """Run what needs root of a page, as root: its outputs. Raises PageError for what does not work."""
    text = page.read_text()
    blocks = list(blocks_of(text))
    with _workspace(blocks) as folder:
        return [*_run_session(page, text, blocks, folder), *_run_snippets(page, blocks, folder, by_root=True)]


def has_root_blocks(page: Path) -> bool:
    """Whether something of a page needs root."""
    return any(block.needs_root for block in blocks_of(page.read_text()))


def _run_commands(page: Path, text: str, block: Block, folder: Path, *, light: bool) -> Iterator[Output]:
    for command in commands_of(block):
        first = command.text.partition(" ")[0]
        if block.language == "sh" and first != "routebpf":
            continue
        if first not in _RUN:
            raise PageError(f"{page.name}:{command.line}: a console block is run, and {first} is not; make it sh")
        status, output = _run(command.text, folder, light=light)
        if "Traceback" in output or (block.language == "sh" and status):
            raise PageError(f"{page.name}:{command.line}: {command.text}: exit {status}\n{output}")
        if block.language == "console" and block.clang in (None, clang_version()):
            shown = text[command.start : command.end]
            yield Output(command.line, command.start, command.end, shown, output, command.text)


def _run_session(page: Path, text: str, blocks: list[Block], folder: Path) -> Iterator[Output]:
    """The commands of a page's root blocks, all in one shell, so that each finds what those before it did."""
    found = [
        (block, command)
        for block in blocks
        if block.needs_root and block.language in ("console", "sh")
        for command in commands_of(block)
    ]
    if not found:
        return
    lines = [f"sh -c {shlex.quote(one.text)} </dev/null 2>&1; printf '{_SEPARATOR}'" for _, one in found]
    done = subprocess.run(
        [*_APART, "sh", "-c", "\n".join([_GROUND, *lines])],
        cwd=folder,
        env=_environment() | {"ROUTEBPF_RUN": f"{_SRV}/build/run"},
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
        text=True,
    )
    *outputs, rest = re.sub(r" +$", "", done.stdout, flags=re.MULTILINE).split(_SEPARATOR)
    if len(outputs) != len(found) or rest or done.stderr or "Traceback" in done.stdout:
        raise PageError(f"{page.name}: a session does not work\n{done.stdout}{done.stderr}")
    for (block, command), output in zip(found, outputs, strict=True):
        if block.language == "console" and block.clang in (None, clang_version()):
            shown = text[command.start : command.end]
            yield Output(command.line, command.start, command.end, shown, output, command.text)


def _run(command: str, folder: Path, *, light: bool) -> tuple[int, str]:
    """Exit status, and output and errors in one."""
    if command.startswith("make "):
        # The virtual environment is the one that runs this, and no concern of the page.
        command = command.replace("make ", "make --no-print-directory -o .venv/.native ", 1)
    if light and command.startswith("routebpf bench"):
        command += _LIGHT_BENCH
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_TIMEOUT_SECONDS,
        text=True,
    )
    return done.returncode, done.stdout.replace(f"{folder}/", "…/")


def _run_snippets(page: Path, blocks: list[Block], folder: Path, *, by_root: bool) -> Iterator[Output]:
    snippets = [
        (block, after)
        for block, after in zip(blocks, [*blocks[1:], None], strict=False)
        if block.language == "python" and block.needs_root == by_root
    ]
    if not snippets:
        return
    done = subprocess.run(
        [*(_APART if by_root else ()), sys.executable, "-c", _SNIPPETS, page.name],
        cwd=folder,
        env=_environment(),
        input=json.dumps([[block.line, block.text] for block, _ in snippets]),
        capture_output=True,
        timeout=_TIMEOUT_SECONDS,
        text=True,
    )
    if done.returncode:
        raise PageError(f"{page.name}: a snippet does not run\n{done.stderr}")
    for (block, after), printed in zip(snippets, json.loads(done.stdout), strict=True):
        if after is not None and after.language == "text" and after.follows:
            yield Output(after.line, after.start, after.end, after.text, printed)
        elif printed:
            raise PageError(f"{page.name}:{block.line}: the snippet prints, and no text block shows it:\n{printed}")


@contextmanager
def _workspace(blocks: list[Block]) -> Iterator[Path]:
    """A copy of what commands read, to write into, with the files that blocks are."""
    with tempfile.TemporaryDirectory(prefix="routebpf-docs-") as name:
        folder = Path(name)
        for one in _COPIED:
            source = ROOT / one
            if source.is_dir():
                shutil.copytree(source, folder / one, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder / one)
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "build").mkdir()
        for block in blocks:
            if block.file_name:
                Path(folder, block.file_name).write_text(block.text)
        yield folder


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    path = os.pathsep.join((os.path.join(sys.prefix, "bin"), kept.get("PATH", os.defpath)))
    return kept | {"PATH": path, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@cache
def clang_version() -> int | None:
    """The version of the clang that compiles programs, None if there is none on PATH."""
    clang = shutil.which("clang")
    if clang is None:
        return None
    said = subprocess.run([clang, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)", said)
    return int(found[1]) if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the documentation and write the real outputs into it.")
    parser.add_argument("--times", action="store_true", help="take new times and rates, too")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="the pages; all if none is named")
    arguments = parser.parse_args()
    for page in arguments.pages or PAGES:
        try:
            outputs, of_root = run_page(page), []
            if has_root_blocks(page) and os.geteuid() == 0:
                of_root = run_page_by_root(page)
            elif has_root_blocks(page):
                print(f"{page.name}: not root, so some blocks were not run")
        except PageError as error:
            sys.exit(str(error))
        different = [one for one in [*outputs, *of_root] if not one.is_same]
        for one in different:
            print(f"{page.name}:{one.line}: {one.command or 'changed'}")
        if arguments.times:
            different = [*outputs, *of_root]
        elif any(one in different for one in of_root):
            # A session is of one piece: its ids belong together.
            different = [*(one for one in different if one not in of_root), *of_root]
        page.write_text(_with_outputs(page.read_text(), different))


def _with_outputs(text: str, outputs: list[Output]) -> str:
    for one in sorted(outputs, key=lambda one: one.start, reverse=True):
        text = text[: one.start] + one.real + text[one.end :]
    return text


if __name__ == "__main__":
    main()
