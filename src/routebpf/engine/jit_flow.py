"""Jumps in LLVM IR, and the blocks of a function. What no path reaches is not written."""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.engine.jit_alu import operand
from routebpf.engine.jit_writer import FunctionWriter
from routebpf.isa import FORMS, Form, Instruction
from routebpf.verifier.flow import jump_target

_CONDITIONS = {
    "==": "eq",
    "!=": "ne",
    ">": "ugt",
    ">=": "uge",
    "<": "ult",
    "<=": "ule",
    "s>": "sgt",
    "s>=": "sge",
    "s<": "slt",
    "s<=": "sle",
}


def leaders(instructions: Sequence[Instruction], start: int, end: int, reachable: bytes) -> set[int]:
    """The instructions at which the function's blocks start."""
    found = {start}
    for at in range(start, end):
        form = FORMS[instructions[at].opcode]
        if form is None or not reachable[at]:
            continue
        target = jump_target(at, instructions[at], form.kind)
        if target is not None:
            found |= {target, at + 1}
    return {at for at in found if at < end and reachable[at]}


def goto(w: FunctionWriter, target: int) -> None:
    """Leave the block."""
    w.save()
    w.line(f"br label %b{target}")


def branch(w: FunctionWriter, one: Instruction, form: Form, target: int, following: int) -> None:
    """Leave the block, for `target` if the condition holds."""
    bits = 64 if form.wide else 32
    a = w.read(one.dst) if form.wide else w.read32(one.dst)
    b = operand(w, one, form)
    if form.operator == "&":
        condition = w.value(f"icmp ne i{bits} {w.value(f'and i{bits} {a}, {b}')}, 0")
    else:
        condition = w.value(f"icmp {_CONDITIONS[form.operator]} i{bits} {a}, {b}")
    w.save()
    w.line(f"br i1 {condition}, label %b{target}, label %b{following}")


def may_goto(w: FunctionWriter, target: int, following: int) -> None:
    """Leave the block, for `target` once the frame's budget is spent (kernel: do_misc_fixups() in verifier.c)."""
    w.save()
    left = w.value("load i64, ptr %budget")
    is_spent = w.value(f"icmp eq i64 {left}, 0")
    go_on = w.label()
    w.line(f"br i1 {is_spent}, label %b{target}, label %{go_on}")
    w.line(f"{go_on}:")
    w.line(f"store i64 {w.value(f'sub i64 {left}, 1')}, ptr %budget")
    w.line(f"br label %b{following}")


def leave(w: FunctionWriter) -> None:
    """Return r0."""
    w.line(f"ret i64 {w.read(0)}")
