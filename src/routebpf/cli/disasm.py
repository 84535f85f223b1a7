"""`routebpf disasm`: instructions beside the C source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from routebpf.cli.output import print_json
from routebpf.cli.program_argument import ProgramReference, parse_program, type_option

if TYPE_CHECKING:
    from routebpf.objects.model import Program


@click.command(epilog="Example: routebpf disasm examples/drop_smtp.bpf.c")
@click.argument("prog", callback=parse_program)
@type_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(prog: ProgramReference, program_type: str | None, as_json: bool) -> None:
    """Show the instructions of PROG in the kernel's syntax, each after the C line that it comes from.

    PROG is a .c file or a compiled object, with :SECTION or :FUNCTION for one program of several.
    """
    from routebpf.objects.source import load_program_file

    loaded = load_program_file(prog.path, program_type=program_type)
    programs = [loaded.program(prog.selector)] if prog.selector else list(loaded.programs.values())
    if as_json:
        print_json([_as_json(program) for program in programs])
        return
    for number, program in enumerate(programs):
        if number:
            click.echo()
        _print(program)


def _instructions(program: Program) -> list[tuple[int, str]]:
    from routebpf.isa import Names, disassemble_lines

    return disassemble_lines(program.instructions, Names(program.maps, program.kfuncs, program.ksyms))


def _print(program: Program) -> None:
    click.echo(f"{program.name}: section {program.section}, {program.program_type}, {len(program.instructions)} slots")
    shown = None
    starts = {function.start: function.name for function in program.functions}
    for at, text in _instructions(program):
        if at in starts:
            click.echo(f"{starts[at]}:")
        line = program.line_at(at)
        place = (line.file, line.line) if line else None
        if line and place != shown and line.text.strip():
            click.echo(f"; {line.text.strip()}  @ {line.file.rpartition('/')[2]}:{line.line}")
        shown = place
        click.echo(f"{at:4}: {text}")


def _as_json(program: Program) -> dict[str, Any]:
    rows = []
    for at, text in _instructions(program):
        line = program.line_at(at)
        rows.append(
            {
                "instruction": at,
                "text": text,
                "file": line.file if line else None,
                "line": line.line if line else None,
                "source": line.text.strip() if line else None,
            }
        )
    return {
        "program": program.name,
        "section": program.section,
        "type": program.program_type,
        "instructions": rows,
    }
