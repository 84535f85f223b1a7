"""How a path came to an instruction, in C lines: conditions and what they were, calls, loops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from routebpf.isa import FORMS, Instruction, Kind, Names, disassemble_one
from routebpf.isa.opcodes import PSEUDO_CALL, Form
from routebpf.objects.model import LineInfo, Program
from routebpf.verifier.fault import Decision, Finding
from routebpf.verifier.reach import leads_to

_COMPARISON = re.compile(r"(?<![<>=!&|-])(==|!=|<=|>=|<|>)(?![<>=])")
_LOOP = re.compile(r"\b(?:for|while|do)\b|\bbpf_(?:repeat|for|for_each)\b")
_CONDITION = re.compile(r"\b(?:if|while)\s*\(")
_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*$")
_CALLED = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
_TRANSPARENT = ("sizeof", "likely", "unlikely", "__builtin_expect")  # they decide nothing
_INVERSE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRROR = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Turn:
    """A step of the path that people want to know: a condition that was decided, or a function that was called.

    `line` of the source, 0 without one; `source` is that line; `outcome` is what happened there, in words.
    """

    at: int
    file: str
    line: int
    source: str
    outcome: str

    @property
    def text(self) -> str:
        if not self.line:
            return f"instruction {self.at}: {self.outcome}"
        return f"line {self.line}: `{self.source}` {self.outcome}"


def turns_of(program: Program, finding: Finding) -> list[Turn]:
    """The turns of the path, first to last; rounds of a loop that differ in nothing are told once."""
    if not finding.trace or finding.at != finding.trace[-1]:
        return []  # what is at fault was found elsewhere than on the path last followed
    known: dict[Decision | int, Turn] = {}
    found = []
    for one in _in_order(program, finding):
        if one not in known:
            known[one] = _decided(program, one) if isinstance(one, Decision) else _called(program, one)
        found.append(known[one])
    return list(_without_rounds(found))


def _in_order(program: Program, finding: Finding) -> Iterator[Decision | int]:
    """Decisions and calls of functions, as the path has them."""
    decisions = iter(finding.path)
    waiting = next(decisions, None)
    for at in finding.trace[:-1]:
        if waiting is not None and waiting.at == at:
            yield waiting
            waiting = next(decisions, None)
            continue
        one = program.instructions[at]
        form = FORMS[one.opcode]
        if form is not None and form.kind is Kind.CALL and one.src == PSEUDO_CALL:
            yield at


def source_line(program: Program, at: int) -> LineInfo | None:
    """The line of an instruction; for one that the compiler gave line 0, that of the nearest before it."""
    line = program.line_at(at)
    while line is not None and not line.line and line.instruction:
        line = program.line_at(line.instruction - 1)
    return line if line is not None and line.line else None


def _called(program: Program, at: int) -> Turn:
    line = source_line(program, at)
    callee = program.function_at(at + 1 + program.instructions[at].imm)
    outcome = f"called {callee.name}()" if callee else "called a function"
    return Turn(at, line.file if line else "", line.line if line else 0, line.text.strip() if line else "", outcome)


def _decided(program: Program, one: Decision) -> Turn:
    instruction = program.instructions[one.at]
    form = FORMS[instruction.opcode]
    assert form is not None
    line = source_line(program, one.at)
    jump = _jump_text(program, instruction)
    if line is None:
        return Turn(one.at, "", 0, "", f"`{jump}` was {_word(one.taken)}")
    condition = _condition(line)
    outcome = _outcome(program, one, form, instruction, line, condition)
    source = line.text.strip()
    if condition and condition != _whole_condition(line.text) and outcome.startswith("was"):
        outcome = f"with `{condition}` {outcome.removeprefix('was ')}"
    return Turn(one.at, line.file, line.line, source, outcome)


def _jump_text(program: Program, one: Instruction) -> str:
    text = disassemble_one(one, None, Names(program.maps, program.kfuncs, program.ksyms))
    return text.removeprefix("if ").partition(" goto ")[0]


def _word(is_true: bool) -> str:
    return "true" if is_true else "false"


def _outcome(
    program: Program, one: Decision, form: Form, instruction: Instruction, line: LineInfo, condition: str
) -> str:
    """What became of the condition. If the jump does not say it of the C text for sure, the jump itself is told."""
    if form.kind is Kind.MAY_GOTO:
        return "went on" if not one.taken else "was at its limit"
    if _LOOP.search(line.text):
        return "went round again" if leads_to(program, one.to, one.at) else "was left"
    is_clear = condition and not _is_computed(program, condition) and not _is_of_a_switch(program, one.at, line)
    truth = truth_of(condition, form, instruction, one.taken) if is_clear else None
    if truth is not None:
        return f"was {_word(truth)}"
    following = source_line(program, one.to)
    onward = f", on to line {following.line}" if following and following.line != line.line else ""
    return f"`{_jump_text(program, instruction)}` was {_word(one.taken)}{onward}"


def truth_of(condition: str, form: Form, jump: Instruction, taken: bool) -> bool | None:
    """Whether a C condition without && and || holds, by the jump made of it; None where that is not sure.

    A compiler may turn the comparison round, swap its sides, or count a bound by one.
    """
    operator = form.operator.removeprefix("s")
    negations, condition = _strip_negations(condition)
    found = list(_COMPARISON.finditer(condition))
    if not found:
        if "?" in condition:
            return None
        if operator == "&":
            return taken != bool(negations % 2)
        if operator not in ("==", "!=") or form.register or jump.imm:
            return None
        is_nonzero = taken == (operator == "!=")
        return is_nonzero != bool(negations % 2)
    if len(found) != 1 or negations or "?" in condition:
        return None
    left, right = condition[: found[0].start()].strip(), condition[found[0].end() :].strip()
    same = _is_same(found[0][0], left, right, operator, None if form.register else jump.imm)
    return None if same is None else taken == same


def _is_computed(program: Program, condition: str) -> bool:
    """Whether the jump may be of a comparison made elsewhere: in a function, or where a flag was set."""
    called = (name for name in _CALLED.findall(condition) if name not in _TRANSPARENT and not name.startswith("bpf_"))
    if any(called):
        return True
    name = condition.strip("! ")
    if not name.isidentifier():
        return False
    assigned = re.compile(rf"\b{name}\s*=(?!=)(.*)")
    found = (assigned.search(line.text) for line in program.lines)
    return any(one and (_COMPARISON.search(one[1]) or "!" in one[1] or "&&" in one[1]) for one in found)


def _is_of_a_switch(program: Program, at: int, line: LineInfo) -> bool:
    """Whether other jumps made of the same place compare with other numbers: a compiler makes one switch of several
    conditions, and gives all of its jumps the place of the first."""
    function = program.function_at(at)
    for other in range(function.start, function.end) if function else ():
        one = program.instructions[other]
        form = FORMS[one.opcode]
        if form is None or form.kind is not Kind.BRANCH or form.register or one.imm == program.instructions[at].imm:
            continue
        theirs = source_line(program, other)
        if theirs and (theirs.file, theirs.line, theirs.column) == (line.file, line.line, line.column):
            return True
    return False


def _strip_negations(condition: str) -> tuple[int, str]:
    count = 0
    condition = condition.strip()
    while condition.startswith("!") and not condition.startswith("!="):
        count += 1
        condition = condition[1:].lstrip()
    return count, condition


def _is_same(c: str, left: str, right: str, operator: str, imm: int | None) -> bool | None:
    """Whether the jump's comparison is that of the C text (True), its opposite (False), or who knows (None)."""
    if c in ("==", "!="):
        return operator == c if operator in ("==", "!=") else None
    if operator not in _INVERSE or operator in ("==", "!="):
        return None
    if imm is None:
        # Of two values, neither is a constant: strictness survives a swap of the sides, and no negation.
        return ("=" in c) == ("=" in operator)
    if _NUMBER.match(left):
        c, left, right = _MIRROR[c], right, left
    if not _NUMBER.match(right):
        return None
    bound = int(right.rstrip("uUlL"), 0)
    for same, text in ((True, c), (False, _INVERSE[c])):
        if (operator, imm) in ((text, bound), *_shifted(text, bound)):
            return same
    return None


def _shifted(operator: str, bound: int) -> tuple[tuple[str, int], ...]:
    """The same comparison of integers with the bound counted by one."""
    return {
        ">": ((">=", bound + 1),),
        ">=": ((">", bound - 1),),
        "<": (("<=", bound - 1),),
        "<=": (("<", bound + 1),),
    }[operator]


def _whole_condition(text: str) -> str:
    """What stands in the parentheses of the line's `if` or `while`, "" if they do not close on it."""
    found = _CONDITION.search(text)
    if not found:
        return ""
    depth = 0
    for position in range(found.end() - 1, len(text)):
        depth += (text[position] == "(") - (text[position] == ")")
        if not depth:
            return text[found.end() : position].strip()
    return ""


def _condition(line: LineInfo) -> str:
    """The part of the condition that a jump of this line and column decides, "" if that is not clear.

    A compiler puts the jump of `a` in `a && b` at the operator, and that of the last part at the start.
    """
    text = _whole_condition(line.text)
    parts = _split(text)
    if len(parts) <= 1:
        return text
    start = line.text.index(text) + 1
    column = line.letter - start
    for end, part in parts:
        if end == column:
            return part
    return parts[-1][1] if column <= 0 else ""


def _split(text: str) -> list[tuple[int, str]]:
    """The operands of && and || outside parentheses: where the operator after each stands, and the operand."""
    parts: list[tuple[int, str]] = []
    depth = begin = 0
    for position, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if depth == 0 and position >= begin and text[position : position + 2] in ("&&", "||"):
            parts.append((position, text[begin:position].strip()))
            begin = position + 2
    parts.append((len(text), text[begin:].strip()))
    return parts if text else []


def _without_rounds(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Equal turns in a row, and equal pairs and triples, are told once, with how often."""
    position = 0
    while position < len(turns):
        for length in (1, 2, 3, 4):
            pattern = [_same_key(one) for one in turns[position : position + length]]
            count = 1
            while [
                _same_key(one) for one in turns[position + count * length : position + (count + 1) * length]
            ] == pattern:
                count += 1
            if count > 1 and len(pattern) == length:
                for one in turns[position : position + length]:
                    yield Turn(one.at, one.file, one.line, one.source, f"{one.outcome}, {_times(count)}")
                position += count * length
                break
        else:
            yield turns[position]
            position += 1


def _same_key(turn: Turn) -> tuple[str, int, str]:
    return turn.file, turn.line, turn.outcome


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count:,} times"
