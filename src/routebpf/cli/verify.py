"""`routebpf verify`: would the kernel take a program, and if not, where in the source, why, and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.program_argument import ProgramReference, parse_program, type_option
from routebpf.errors import RejectedError

if TYPE_CHECKING:
    from routebpf.hosts.verification import ProgramVerdict


def _version(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """X.Y."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", value)
    if not found:
        raise click.BadParameter(f"{value!r} is not of the form X.Y, such as 5.15")
    return int(found[1]), int(found[2])


@click.command(epilog="Example: routebpf verify examples/drop_smtp.bpf.c")
@click.argument("prog", callback=parse_program)
@click.option("--kernel", "ask_kernel", is_flag=True, help="Ask the running kernel, too; needs its capabilities.")
@click.option(
    "--kernel-version",
    metavar="X.Y",
    callback=_version,
    help="Refuse what Linux X.Y does not have yet.",
)
@click.option("--unprivileged", is_flag=True, help="Verify as for a process without CAP_PERFMON.")
@click.option("--explain", is_flag=True, help="Show each step, and what is known after it.")
@type_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    prog: ProgramReference,
    ask_kernel: bool,
    kernel_version: tuple[int, int] | None,
    unprivileged: bool,
    explain: bool,
    program_type: str | None,
    as_json: bool,
) -> None:
    """Verify every program of PROG as the kernel's verifier does, without root and on any system.

    PROG is a .c file or a compiled object, with :SECTION or :FUNCTION for one program of several. For a program that
    would be refused: the line in its source, what is known of the value at fault, the path that led there, why the
    kernel objects, and what to do. Exits with 1 if one is refused, or if the kernel does not agree.
    """
    from routebpf.cli import verify_output
    from routebpf.hosts.verification import read_program_file, verify_programs

    if ask_kernel and unprivileged:
        raise click.UsageError(
            "--kernel asks with the capabilities of this process: run it without CAP_PERFMON instead of --unprivileged"
        )
    source = read_program_file(
        prog.path, program_type=program_type, ask_kernel=ask_kernel, kernel_version=kernel_version
    )
    steps = verify_output.StepList() if as_json else verify_output.StepPrinter()
    verdicts: list[ProgramVerdict] = []
    data: list[dict[str, Any]] = []
    for verdict in verify_programs(
        source,
        prog.selector,
        ask_kernel=ask_kernel,
        kernel_version=kernel_version,
        privileged=not unprivileged,
        on_step=steps if explain else None,
    ):
        if as_json:
            data.append(verify_output.as_data(verdict) | ({"steps": steps.take()} if explain else {}))
        else:
            verify_output.print_verdict(verdict, kernel_version, is_first=not verdicts and not explain)
        verdicts.append(verdict)
    if as_json:
        verify_output.print_json(data)
    _end(verdicts)


def _end(verdicts: list[ProgramVerdict]) -> None:
    """Exit with 1 unless all is well."""
    bad = [one for one in verdicts if not one.is_good]
    if bad:
        which = f"program {bad[0].program.name}" if len(verdicts) == 1 else f"{len(bad)} of {len(verdicts)} programs"
        apart = [one.program.name for one in bad if not one.is_agreed]
        if apart:
            raise RejectedError(f"verify: the two verifiers do not agree on {', '.join(apart)}")
        raise RejectedError(f"verify: {which} would be refused")
