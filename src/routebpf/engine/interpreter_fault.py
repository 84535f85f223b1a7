"""The error of a program that did what it must not."""

from __future__ import annotations

from routebpf.engine.interpreter_state import Frame, Run, StepError
from routebpf.errors import RuntimeFault
from routebpf.isa import Names, disassemble_one


def fault_at(run: Run, frame: Frame, stopped: StepError) -> RuntimeFault:
    """Names the program, the source line, the instruction, what is wrong, the registers, and what to do."""
    program, at = run.program, frame.at
    where = [f"running {program.name}"]
    source = ""
    line = program.line_at(at)
    if line is not None:
        where.append(f"{line.file}:{line.line}")
        source = f"\n  {line.line} | {line.text.strip()}" if line.text.strip() else ""
    if 0 <= at < len(program.instructions):
        following = program.instructions[at + 1] if at + 1 < len(program.instructions) else None
        names = Names(program.maps, program.kfuncs, program.ksyms)
        where.append(f"instruction {at} ({disassemble_one(program.instructions[at], following, names)})")
    todo = f"\n{stopped.todo}" if stopped.todo else ""
    return RuntimeFault(f"{': '.join(where)}: {stopped.message}{source}\n{_registers(run, frame)}{todo}")


def _registers(run: Run, frame: Frame) -> str:
    """All that hold something: the number, and what is there if it is an address."""
    texts = []
    for number, value in enumerate(frame.registers):
        if value is not None:
            place = run.regions.describe(value)
            texts.append(f"r{number}={value:#x}{f' ({place})' if place else ''}")
    return "registers: " + " ".join(texts)
