"""What the kernel's verifier said of a program that it refused, cut to what a person needs.

kernel: kernel/bpf/log.c, kernel/bpf/verifier.c. At log level 1 the log is the path on which the verifier stopped: the
source line where there is one, each instruction with the registers that it changed, and at the end the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from routebpf.errors import RejectedError
from routebpf.kernel.permission import has_capability
from routebpf.kernel.syscall import errno_name
from routebpf.objects.model import LineInfo, Program
from routebpf.objects.program_text import instruction_text
from routebpf.spec import helper_by_name
from routebpf.verifier.explain import advice_on

_INSTRUCTION = re.compile(r"(\d+): \([0-9a-f]{2}\) (.*)")
# Behind an instruction: those that it changed, or where a jump parts the path all of them.
_REGISTERS = re.compile(r"\s*; | \d+: (?=(?:frame\d+: )?R\d)")
_STATE = re.compile(
    r"(\d+|from \d+ to \d+|caller|callee|returning from callee|to caller at \d+):| ?(frame\d+: )?R\d+\S*="
)
_BESIDE = ("processed ", "verification time", "stack depth", "func#", "mark_precise", "cur state:", "old state:")
_SUMMARY = re.compile(r"processed \d+ insns \(limit.*")  # some reasons do not end their line
_POINTERS = re.compile(r"leaks addr|pointer (?:arithmetic|comparison) (?:.* )?prohibited")
_LAST_LINES = 6  # source lines of the path that are shown
_LAST_INSTRUCTIONS = 24
_WIDTH = 116  # columns
_NOTE_COLUMN = 44


@dataclass(slots=True)
class Step:
    """What the verifier did under one source line: instructions by number, as the kernel writes them."""

    line: LineInfo | None
    instructions: list[tuple[int, str]] = field(default_factory=list)


def rejection(program: Program, number: int, log: str, *, license: str, path: str = "") -> RejectedError:
    """The error for a program that the kernel refused with an errno: the reason, the place, the end of the path.

    The whole log is the error's `log`.
    """
    steps = list(read_steps(program, log))
    reasons = read_reasons(log) or [f"{errno_name(number)}, and the kernel's verifier says nothing of it"]
    where = [f"load {program.name} ({program.program_type}) into the kernel"]
    parts = []
    at = _instruction(program, steps, reasons)
    line = program.line_at(at) if at is not None else None
    if line:
        where.append(f"{line.file}:{line.line}")
        parts.append(f"  {line.line} | {line.text.strip()}")
    elif path:
        where.append(path)
    if at is not None:
        where.append(f"instruction {at} ({instruction_text(program, at)})")
    parts.insert(0, f"{': '.join(where)}: {'; '.join(reasons)}")
    parts += _advice(program, "\n".join(reasons), at, steps, license)
    parts += _path(steps)
    return RejectedError("\n".join(parts), log=log)


def _instruction(program: Program, steps: list[Step], reasons: list[str]) -> int | None:
    """Where the verifier stopped, or the instruction that it names if it had not begun."""
    if steps:
        return steps[-1].instructions[-1][0]
    named = re.search(r"\binsn (\d+)", "\n".join(reasons))
    return int(named[1]) if named and int(named[1]) < len(program.instructions) else None


def read_steps(program: Program, log: str) -> Iterator[Step]:
    """The path in the log, by source line. Lines come from the program: older kernels do not write their numbers."""
    step: Step | None = None
    previous = ""
    for text in log.splitlines():
        found = _INSTRUCTION.match(text)
        if not found or text == previous:
            continue
        previous = text
        at = int(found[1])
        line = program.line_at(at)
        if step is None or _place(line) != _place(step.line):
            if step is not None:
                yield step
            step = Step(line)
        step.instructions.append((at, found[2].strip()))
    if step is not None:
        yield step


def _place(line: LineInfo | None) -> tuple[str, int] | None:
    return (line.file, line.line) if line else None


def read_reasons(log: str) -> list[str]:
    """Why the verifier stopped, in its words: what stands after the last instruction."""
    reasons: list[str] = []
    for text in log.splitlines():
        if _INSTRUCTION.match(text):
            reasons.clear()
        elif text.strip() and not text.startswith((";", *_BESIDE)) and not _STATE.match(text):
            reasons.append(_SUMMARY.sub("", text).strip())
    return reasons


def _path(steps: list[Step]) -> Iterator[str]:
    """The end of the path: source lines, each with its instructions."""
    shown: list[Step] = []
    count = 0
    for step in reversed(steps[-_LAST_LINES:]):
        shown.insert(0, Step(step.line, step.instructions[count - _LAST_INSTRUCTIONS :]))
        count += len(step.instructions)
        if count >= _LAST_INSTRUCTIONS:
            break
    if not shown:
        return
    left_out = sum(len(step.instructions) for step in steps) - sum(len(step.instructions) for step in shown)
    yield f"the path to it{f', without its first {left_out} instructions' if left_out else ''}:"
    for step in shown:
        if step.line:
            yield _cut(f"  {step.line.line} | {step.line.text.strip()}")
        for at, text in step.instructions:
            code, registers = (*_REGISTERS.split(text, maxsplit=1), "")[:2]
            yield _cut(f"    {f'{at}: {code.strip()}':{_NOTE_COLUMN}}{registers.strip()}".rstrip())


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _advice(program: Program, reasons: str, at: int | None, steps: list[Step], license: str) -> Iterator[str]:
    """What this process lacks, or else what is to be done about such a refusal, as our verifier would say."""
    lacking = _lacking(program, reasons)
    if lacking:
        yield lacking
        return
    trace = [number for step in steps for number, _ in step.instructions]
    todo, notes = advice_on(program, reasons, at, trace, license=license)
    if todo:
        yield f"do: {todo}"
    yield from (f"note: {one}" for one in notes)


def _lacking(program: Program, reasons: str) -> str:
    """The capability without which the verifier refuses this, if this process lacks it."""
    named = re.search(r"cannot use helper (bpf_\w+)#", reasons)
    row = helper_by_name(named[1]) if named else None
    needed = row.capability if row is not None and program.program_type in row.program_types else ""
    if needed and not has_capability(needed):
        return f"it needs {needed}, which this process lacks"
    if _POINTERS.search(reasons) and not has_capability("CAP_PERFMON"):
        return "without CAP_PERFMON, which this process lacks, the verifier is strict about pointers"
    return ""
