"""Instructions of a program as people read them, and where in its source they are."""

from __future__ import annotations

from routebpf.isa import Names, disassemble_one
from routebpf.objects.model import Program


def instruction_text(program: Program, at: int) -> str:
    """An instruction in the kernel's syntax, with the names of maps, kfuncs and ksyms; "" outside of the program."""
    if not 0 <= at < len(program.instructions):
        return ""
    following = program.instructions[at + 1] if at + 1 < len(program.instructions) else None
    return disassemble_one(program.instructions[at], following, Names(program.maps, program.kfuncs, program.ksyms))


def message_at(doing: str, program: Program, at: int, what: str) -> str:
    """What is wrong at an instruction: what was being done to which program, the place in the source, the instruction,
    `what`; and the line of the source below."""
    where = [f"{doing} {program.name}"]
    source = ""
    line = program.line_at(at)
    if line is not None:
        where.append(f"{line.file}:{line.line}")
        source = f"\n  {line.line} | {line.text.strip()}" if line.text.strip() else ""
    text = instruction_text(program, at)
    if text:
        where.append(f"instruction {at} ({text})")
    return f"{': '.join(where)}: {what}{source}"
