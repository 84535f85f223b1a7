"""The pages of the documentation as data: their code blocks, what of an output varies, and the tables made from code.

| block | what it is |
|---|---|
| `console` | lines `$ command`, each with the output below it |
| `sh` | commands; those of routebpf are run |
| `python` | run in the order of the page; a `text` block right after one is what it prints |
| `c`, `toml`, `topology` | with a first comment that is a file's name: that file, for the commands of the page |

A mark above a block, `<!-- clang N -->`, `<!-- root -->` or `<!-- root, clang N -->`:

- `clang N`: its output depends on the compiler, and is what clang N gives.
- `root`: it asks or changes the running kernel. It is run by root, apart from all else: see refresh.py.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (root)?(?:, )?(?:clang (\d+))? -->\n\Z")
_FILE_NAME = re.compile(r"(?://|#) ([\w.-]+\.(?:c|toml|topology))\n")
_TABLE = re.compile(r"^<!-- table (\w+) -->\n(.*?)^<!-- end of table -->$", re.MULTILINE | re.DOTALL)
# What is another number on every run: times, rates, addresses in this process.
_VARYING = (
    (re.compile(r"in [\d.]+ s \([\d,]+ packets/s\)"), "in … s (… packets/s)"),
    (re.compile(r"verified in [\d.]+ ms"), "verified in … ms"),
    (re.compile(r'"seconds": [\d.e-]+'), '"seconds": …'),
    (re.compile(r"\b0x[0-9a-f]{9,16}\b"), "0x…"),
    (re.compile(r"\b(\w+):([0-9a-f]{8}):\d+"), r"\1:\2:…"),  # a program on a route: its id in the kernel
    (re.compile(r"time \d+ms"), "time …ms"),  # ping
)
# The same of what is in the kernel: ids, clocks, sizes, and so the widths of columns.
_OF_OPERATORS = ("routebpf attach", "routebpf list", "routebpf show", "routebpf map", "routebpf doctor")
_VARYING_IN_KERNEL = (
    (re.compile(r"\bid \d+"), "id …"),
    (re.compile(r"\b\d+(?= +[A-Z_]+ +\d)"), "…"),
    (re.compile(r"attached \w+ \w+ +\d+ [\d:]+ \d+"), "attached …"),
    (re.compile(r"\b[\d,]+ bytes of machine code"), "… bytes of machine code"),
    (re.compile(r"/routebpf/\d+/(\w+)-\d+/"), r"/routebpf/…/\1-…/"),
    (re.compile(r"\b\d{10,}\b"), "…"),
    (re.compile(r"(?<=^Linux ).*$|[\d,]+ types", re.MULTILINE), "…"),
    (re.compile(r" +"), " "),
)
# What `bench` shows only where there is tcpdump, or only to root.
_BENCH_ONLY_WITH = (
    (shutil.which("tcpdump") is not None, re.compile(r"^.*: tcpdump .*\n", re.MULTILINE), ""),
    (os.geteuid() == 0, re.compile(r" (?:…|-)$", re.MULTILINE), ""),
)
_BENCH_NUMBER = re.compile(
    r"[\d,]+\.\d+$|[\d,]+\.\d+(?= )|[\d,]+(?= +[\d,]+\.\d+$)|(?<= )(?:\d+|-)$", re.MULTILINE
)  # "-": not measured, as of the kernel without root


@dataclass(frozen=True, slots=True)
class Block:
    """A code block: `start` to `end` is its text in the page; `line` that of its fence, from 1. `clang`: the compiler
    whose output it shows, None where any compiler's is the same. `needs_root`: see above. `follows`: it stands right
    after another block."""

    language: str
    text: str
    start: int
    end: int
    line: int
    clang: int | None
    needs_root: bool
    follows: bool

    @property
    def file_name(self) -> str | None:
        """The file that the block is, by its first line."""
        found = _FILE_NAME.match(self.text)
        return found[1] if found else None


@dataclass(slots=True)
class Command:
    """A command of a block. The output that the page shows for it is at `start` to `end` of the page; `line`: of the
    command, from 1."""

    text: str
    line: int
    start: int
    end: int


def blocks_of(page: str) -> Iterator[Block]:
    """The code blocks of a page, in order."""
    last_end = 0
    for found in _FENCE.finditer(page):
        before = page[: found.start()]
        mark = _MARK.search(before)
        yield Block(
            language=found[1],
            text=found[2],
            start=found.start(2),
            end=found.end(2),
            line=before.count("\n") + 1,
            clang=int(mark[2]) if mark and mark[2] else None,
            needs_root=bool(mark and mark[1]),
            follows=last_end > 0 and not page[last_end : found.start()].strip(),
        )
        last_end = found.end()


def commands_of(block: Block) -> list[Command]:
    """The commands of a `console` or `sh` block. A backslash at a line's end continues it."""
    commands: list[Command] = []
    at = block.start
    is_continued = False
    for number, line in enumerate(block.text.splitlines(keepends=True), start=block.line + 1):
        at += len(line)
        if is_continued:
            commands[-1].text += "\n" + line.rstrip("\n")
            commands[-1].start = at
        elif block.language == "sh" or line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ ").rstrip("\n"), number, at, at))
        elif not commands:
            raise ValueError(f"line {number}: a console block starts with $ and a command, not with {line!r}")
        commands[-1].end = at
        is_continued = commands[-1].start == at and line.endswith("\\\n")
    return commands


def masked(output: str, command: str = "") -> str:
    """An output without what differs from run to run."""
    text = "".join(f"{line.rstrip()}\n" for line in output.strip("\n").splitlines())
    for pattern, instead in (*_VARYING, *(_VARYING_IN_KERNEL if command.startswith(_OF_OPERATORS) else ())):
        text = pattern.sub(instead, text)
    if command.startswith("routebpf bench"):
        text = re.sub(r" +", " ", _BENCH_NUMBER.sub("…", text))
        for is_there, pattern, instead in _BENCH_ONLY_WITH:
            text = text if is_there else pattern.sub(instead, text)
    return text


def tables_of(page: str) -> Iterator[tuple[str, str, int, int]]:
    """The generated tables of a page: name, text, and where the text starts and ends."""
    for found in _TABLE.finditer(page):
        yield found[1], found[2], found.start(2), found.end(2)
