"""A refusal as a compiler tells an error: where in the C source, what is known of the value, how it came there, why the
kernel objects, what to do, and the kernel's own words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from routebpf.objects.btf import Btf
from routebpf.objects.model import Program
from routebpf.objects.program_text import instruction_text
from routebpf.verifier.explain_case import Case
from routebpf.verifier.explain_classes import class_of, known_class, refined
from routebpf.verifier.explain_facts import facts_of
from routebpf.verifier.explain_notes import notes_of
from routebpf.verifier.explain_origin import Made, Origin, made_by
from routebpf.verifier.explain_path import Turn, source_line, turns_of
from routebpf.verifier.explain_values import value_text
from routebpf.verifier.fault import Finding, Rule
from routebpf.verifier.register import BASE, PTR_TO_BTF_ID, PTR_TO_STACK, SCALAR_VALUE, Register


@dataclass(frozen=True, slots=True)
class Place:
    """An instruction in the C source. `column` counts characters, from 1; `source` is the line as it stands there."""

    at: int
    file: str
    line: int
    column: int
    source: str


@dataclass(frozen=True, slots=True)
class Value:
    """What a register holds, in words and as the kernel prints it; `origin` says where that comes from."""

    register: int
    text: str
    kernel: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A refusal for people. `kind` names its class. `at` None: the program as a whole; `place` None: no debug
    information. `function`: the C function, where it is not the program itself."""

    kind: str
    program: str
    title: str
    at: int | None
    instruction: str
    function: str
    place: Place | None
    values: tuple[Value, ...]
    path: tuple[Turn, ...]
    why: str
    notes: tuple[str, ...]
    todo: str
    kernel: str


def explain(program: Program, finding: Finding, *, license: str = "GPL", kernel_btf: Btf | None = None) -> Explanation:
    """What there is to say about the refusal of `program`. `kernel_btf` names kernel structs."""
    row, groups = class_of(finding.message, finding.rule)
    row = refined(row, Case(program, finding, row.name, groups, license))
    case = Case(program, finding, row.name, groups, license)
    facts = facts_of(case)
    at = finding.at
    return Explanation(
        kind=row.name,
        program=program.name,
        title=row.title.format_map(facts),
        at=at,
        instruction="" if at is None else instruction_text(program, at),
        function=_function(program, at),
        place=place_of(program, at),
        values=tuple(_value(case, number, kernel_btf) for number in case.registers_to_show()),
        path=tuple(turns_of(program, finding)),
        why=row.why.format_map(facts),
        notes=notes_of(case),
        todo=row.todo.format_map(facts),
        kernel=finding.message or "(the kernel says nothing)",
    )


def advice_on(
    program: Program, message: str, at: int | None, trace: Sequence[int], *, license: str
) -> tuple[str, tuple[str, ...]]:
    """(what to do, notes) about a refusal by the running kernel, of which only its words, the instruction and the path
    are known; "" if no class of refusal has these words."""
    found = known_class(message)
    if found is None:
        return "", ()
    named = re.search(r"\bR(\d+)\b", message)
    note = next((one.reason for one in program.poisons if one.instruction == at), "")
    finding = Finding(
        program.name,
        Rule.STRUCTURE,
        message,
        at,
        register=int(named[1]) if named else None,
        note=note,
        trace=tuple(trace),
    )
    row, groups = found
    row = refined(row, Case(program, finding, row.name, groups, license))
    case = Case(program, finding, row.name, groups, license)
    return row.todo.format_map(facts_of(case)), notes_of(case)


def place_of(program: Program, at: int | None) -> Place | None:
    """Where an instruction is in the source, if the object tells."""
    line = None if at is None or at >= len(program.instructions) else source_line(program, at)
    if line is None or at is None:
        return None
    return Place(at, line.file, line.line, line.letter, line.text)


def _function(program: Program, at: int | None) -> str:
    held = program.function_at(at) if at is not None else None
    return held.name if held is not None and held.start else ""


def _value(case: Case, number: int, btf: Btf | None) -> Value:
    register = case.finding.held.get(number)
    is_pointer = register is not None and register.type != SCALAR_VALUE
    made = made_by(case.program, case.finding.trace, number, is_pointer=is_pointer)
    if register is None:
        return Value(number, "nothing", "", _origin_text(case, made))
    text = value_text(register, _struct_name(register, btf))
    # Of a local variable's address, every computation is the compiler's.
    origin = "" if register.base == PTR_TO_STACK else _origin_text(case, made)
    return Value(number, text, case.finding.registers.get(number, ""), origin)


def _struct_name(register: Register, btf: Btf | None) -> str:
    if register.type & BASE != PTR_TO_BTF_ID or btf is None or not register.extra:
        return ""
    return btf.name(register.extra)


def _origin_text(case: Case, made: Made | None) -> str:
    """Where the value comes from, unless it is the very line of the fault."""
    if made is None:
        return ""
    what = f"{made.origin.value} {made.callee}()" if made.callee else made.origin.value
    line, own = source_line(case.program, made.at), source_line(case.program, case.at)
    if line is None:
        return f"{what}, instruction {made.at}" if made.callee else f"{what} by instruction {made.at}"
    if own is not None and (line.file, line.line) == (own.file, own.line):
        return what if made.origin in (Origin.RETURNED, Origin.LOST) else ""
    return f"{what} in line {line.line}: `{line.text.strip()}`"
