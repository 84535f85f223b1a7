"""The corpus: programs of every class with both verdicts, read from the files of `corpus/`.

A block of a file is a program: `== name`, lines `type:` and `license:` where they are not LWT_XMIT and GPL, the verdict
that `record_corpus.py` wrote, and the assembler text, indented. The verdict is `both:` where the two are the same, else
`kernel:` and `ours:`; `accepted`, or the words of the refusal, lines joined by ` // `. `why:` says why they differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from against_kernel import Subject, subject

DIRECTORY = Path(__file__).with_name("corpus")
ACCEPTED = "accepted"
_LINE_END = " // "


@dataclass(frozen=True, slots=True)
class Case:
    """A program. `kernel` and `ours`: None if accepted, else the words; empty if not recorded yet."""

    file: str
    name: str
    text: str
    program_type: str = "LWT_XMIT"
    license: str = "GPL"
    kernel: str | None = ""
    ours: str | None = ""
    why: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"

    def subject(self) -> Subject:
        return subject(self.text, self.license, self.program_type)


def read_cases(path: Path) -> Iterator[Case]:
    """The programs of a file."""
    for block in path.read_text().split("\n== ")[1:]:
        head, *lines = block.rstrip("\n").split("\n")
        case = Case(path.stem, head, "\n".join(line[4:] for line in lines if line.startswith("    ")))
        for line in lines:
            key, colon, value = line.partition(": ")
            if line.startswith("    ") or not colon:
                continue
            said = None if value == ACCEPTED else value.replace(_LINE_END, "\n")
            changes = {
                "type": {"program_type": value},
                "license": {"license": value},
                "both": {"kernel": said, "ours": said},
                "kernel": {"kernel": said},
                "ours": {"ours": said},
                "why": {"why": value},
            }[key]
            case = replace(case, **changes)
        yield case


def write_cases(path: Path, comment: str, cases: list[Case]) -> None:
    """The file anew. `comment`: what stands before the first program."""
    path.write_text(comment + "".join(f"\n== {_block(case)}\n" for case in cases))


def comment_of(path: Path) -> str:
    return path.read_text().partition("\n== ")[0]


def _block(case: Case) -> str:
    lines = [case.name]
    if case.program_type != "LWT_XMIT":
        lines.append(f"type: {case.program_type}")
    if case.license != "GPL":
        lines.append(f"license: {case.license}")
    if case.kernel == case.ours:
        lines.append(f"both: {words(case.kernel)}")
    else:
        lines += [f"kernel: {words(case.kernel)}", f"ours: {words(case.ours)}"]
    if case.why:
        lines.append(f"why: {case.why}")
    return "\n".join([*lines, *(f"    {line}" for line in case.text.split("\n"))])


def words(said: str | None) -> str:
    """A verdict on one line."""
    return ACCEPTED if said is None else said.replace("\n", _LINE_END)


def files() -> list[Path]:
    return sorted(DIRECTORY.glob("*.txt"))


@cache
def all_cases() -> tuple[Case, ...]:
    return tuple(case for path in files() for case in read_cases(path))
