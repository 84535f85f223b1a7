"""What `routebpf verify` prints: findings, verdicts, steps."""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_json as print_json
from routebpf.objects.program_text import instruction_text
from routebpf.verifier.explain_path import source_line
from routebpf.verifier.explain_text import WIDTH, explanation_data, explanation_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routebpf.hosts.verification import ProgramVerdict
    from routebpf.objects.model import Program
    from routebpf.verifier.explain_steps import Step
    from routebpf.verifier.oldest_kernel import Need

_MOST_NEEDS = 3  # of the newest, in text
_NOTE_COLUMN = 44
_NARROWEST = 60


def print_verdict(verdict: ProgramVerdict, asked: Sequence[int] | None, *, is_first: bool) -> None:
    """The findings on a program, then the verdict on it. `asked`: the kernel version that was asked for."""
    if not is_first:
        click.echo()
    for one in (*verdict.newer, *([verdict.refusal] if verdict.refusal else [])):
        text = explanation_text(one, _width())
        head, newline, rest = text.partition("\n")
        click.echo(f"{click.style(head, fg='red', bold=True)}{newline}{rest}\n")
    program = verdict.program
    word = "accepted" if verdict.is_accepted else "rejected"
    if asked is not None:
        word += f", {'not ' if verdict.newer else 'also '}by Linux {_dotted(asked)}" if verdict.is_accepted else ""
    if verdict.kernel is not None:
        other = "accepted" if verdict.kernel.is_accepted else "rejected"
        click.echo(f"{program.name} ({program.program_type}): {word}, and {other} by the running kernel")
    else:
        click.echo(f"{program.name} ({program.program_type}): {word}")
    _print_cost(verdict)
    _print_disagreement(verdict)


def _width() -> int:
    """Characters in a line: those of the terminal, if it is one."""
    if not sys.stdout.isatty():
        return WIDTH
    return max(_NARROWEST, min(get_terminal_size().columns, WIDTH))


def _print_cost(verdict: ProgramVerdict) -> None:
    found = verdict.verified
    if found is None:
        return
    stack = f"{found.stack_bytes} bytes of stack"
    click.echo(
        f"  {found.instructions_processed:,} instructions processed, {found.states:,} states, {stack},"
        f" verified in {found.seconds * 1e3:.1f} ms"
    )
    oldest = verdict.oldest_kernel
    assert oldest is not None
    newest = [one for one in verdict.needs if one.since == oldest]
    told = [_need_text(verdict.program, one) for one in newest[:_MOST_NEEDS]]
    if len(newest) > _MOST_NEEDS:
        told.append(f"{len(newest) - _MOST_NEEDS} more")
    click.echo(f"  oldest kernel: Linux {_dotted(oldest)}, for {'; '.join(told)}")


def _need_text(program: Program, need: Need) -> str:
    line = source_line(program, need.at) if need.at is not None else None
    return f"{need.what} (line {line.line})" if line else need.what


def _print_disagreement(verdict: ProgramVerdict) -> None:
    """Whose verdict is which where they differ, and the kernel's words where they are others than ours."""
    if verdict.kernel is None or (verdict.is_agreed and verdict.kernel.message == _own_words(verdict)):
        return
    if verdict.kernel.message is None:
        click.echo("  the running kernel takes it: routebpf is stricter than it should be, please report it")
        return
    what = "says" if verdict.is_agreed else "refuses what routebpf accepts, please report it; it says"
    click.echo(f"  the running kernel {what}")
    for line in verdict.kernel.message.splitlines():
        click.echo(f"    {line}")


def _own_words(verdict: ProgramVerdict) -> str | None:
    return verdict.refusal.kernel if verdict.refusal is not None else None


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def as_data(verdict: ProgramVerdict) -> dict[str, Any]:
    """A verdict for `--json`."""
    found, oldest = verdict.verified, verdict.oldest_kernel
    findings = (*verdict.newer, *([verdict.refusal] if verdict.refusal else []))
    return {
        "program": verdict.program.name,
        "section": verdict.program.section,
        "type": verdict.program.program_type,
        "accepted": verdict.is_accepted and not verdict.newer,
        "instructions_processed": found.instructions_processed if found else None,
        "states": found.states if found else None,
        "stack_bytes": found.stack_bytes if found else None,
        "seconds": found.seconds if found else None,
        "oldest_kernel": _dotted(oldest) if oldest else None,
        "needs": [
            {"what": one.what, "since": _dotted(one.since), "instruction": one.at, "line": _line(verdict.program, one)}
            for one in verdict.needs
        ],
        "findings": [explanation_data(one) for one in findings],
        "kernel": None
        if verdict.kernel is None
        else {"accepted": verdict.kernel.is_accepted, "message": verdict.kernel.message},
        "agreed": None if verdict.kernel is None else verdict.is_agreed,
    }


def _line(program: Program, need: Need) -> int | None:
    line = source_line(program, need.at) if need.at is not None else None
    return line.line if line else None


class StepPrinter:
    """Prints steps as they come: the C line, then its instructions, each with what it changed."""

    def __init__(self) -> None:
        self._program: Program | None = None
        self._place: tuple[str, int] | None = None

    def __call__(self, program: Program, step: Step) -> None:
        if program is not self._program:
            if self._program is not None:
                click.echo()
            click.echo(f"steps of {program.name}")
            self._program, self._place = program, None
        elif step.begins:
            click.echo(f"another path, from instruction {step.at}")
            self._place = None
        line = source_line(program, step.at)
        place = (line.file, line.line) if line else None
        if line and place != self._place and line.text.strip():
            click.echo(f"{line.line} | {line.text.strip()}")
        self._place = place
        head = f"  {step.at:4}: {'  ' * step.frame}{instruction_text(program, step.at)}"
        click.echo(f"{head:{_NOTE_COLUMN}} {' '.join(_changes(step))}".rstrip())

    def take(self) -> list[dict[str, Any]]:
        """Nothing: they are printed."""
        return []


class StepList:
    """Keeps the steps of a program for `--json`."""

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []

    def __call__(self, program: Program, step: Step) -> None:
        line = source_line(program, step.at)
        self._steps.append(
            {
                "instruction": step.at,
                "text": instruction_text(program, step.at),
                "line": line.line if line else None,
                "begins_path": step.begins,
                "frame": step.frame,
                "registers": {f"r{number}": text for number, text in step.registers.items()},
                "stack": {f"fp{offset}": text for offset, text in step.stack.items()},
            }
        )

    def take(self) -> list[dict[str, Any]]:
        """The steps since the last call."""
        steps, self._steps = self._steps, []
        return steps


def _changes(step: Step) -> list[str]:
    registers = [f"r{number}={text or '?'}" for number, text in step.registers.items()]
    return [*registers, *(f"fp{offset}={text}" for offset, text in step.stack.items())]
