"""The error of a program that did what it must not."""

from __future__ import annotations

from routebpf.engine.interpreter_state import Frame, Run, StepError
from routebpf.errors import RuntimeFault
from routebpf.objects.program_text import message_at


def fault_at(run: Run, frame: Frame, stopped: StepError) -> RuntimeFault:
    """Names the program, the source line, the instruction, what is wrong, the registers, and what to do."""
    todo = f"\n{stopped.todo}" if stopped.todo else ""
    what = message_at("running", run.program, frame.at, stopped.message)
    return RuntimeFault(f"{what}\n{_registers(run, frame)}{todo}")


def _registers(run: Run, frame: Frame) -> str:
    """All that hold something: the number, and what is there if it is an address."""
    texts = []
    for number, value in enumerate(frame.registers):
        if value is not None:
            place = run.regions.describe(value)
            texts.append(f"r{number}={value:#x}{f' ({place})' if place else ''}")
    return "registers: " + " ".join(texts)
