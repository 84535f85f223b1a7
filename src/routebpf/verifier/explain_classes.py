"""What there is to say about each class of refusal: a row for each, found by the kernel's words."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from routebpf.verifier.explain_call_rows import CALL_ROWS
from routebpf.verifier.explain_case import Case
from routebpf.verifier.explain_flow_rows import FLOW_ROWS
from routebpf.verifier.explain_memory_rows import MEMORY_ROWS
from routebpf.verifier.explain_origin import Origin, made_by, packet_moved_by, released_by
from routebpf.verifier.explain_row import RefusalClass
from routebpf.verifier.fault import Rule
from routebpf.verifier.register import SCALAR_VALUE

CLASSES: tuple[RefusalClass, ...] = (*FLOW_ROWS, *MEMORY_ROWS, *CALL_ROWS)

# Where no row of a class fits: the rule that was broken, and what it is for.
# fmt: off
_BY_RULE: dict[Rule, tuple[str, str]] = {
    Rule.STRUCTURE: ("this is no well-formed program", "A compiler does not make such code: it was written or changed "
                     "by hand, or for another machine."),
    Rule.UNSET: ("a register is read that nothing was put into", "What it holds would be left over from the kernel."),
    Rule.ARITHMETIC: ("this arithmetic is not allowed on these operands",
                      "The kernel must know where every pointer points."),
    Rule.STACK: ("the stack is not accessed as it may be", "A function has 512 bytes, below its frame pointer."),
    Rule.PACKET: ("the packet is not accessed as it may be",
                  "A program may touch only bytes that it has found to be in the packet."),
    Rule.CONTEXT: ("the context is not accessed as it may be",
                   "A program sees the fields of struct __sk_buff that its type has, each as a whole or an aligned "
                   "part."),
    Rule.MAP_VALUE: ("a map's value is not accessed as it may be", "An access must stay inside one value."),
    Rule.MEMORY: ("memory is not accessed as it may be", "An access must stay inside the memory."),
    Rule.POINTER: ("what is followed here is not known to be a valid pointer",
                   "Only what the kernel knows to be a pointer to memory of the program may be followed."),
    Rule.BTF: ("a kernel object is not read as its type says", "Kernel objects are read by their types, and never "
               "written."),
    Rule.LEAK: ("an address of the kernel would leave the program",
                "Without CAP_PERFMON, no address may get where a user could read it."),
    Rule.ARGUMENT: ("{callee} cannot take this argument", "The kernel checks every argument by what the function does "
                    "with it."),
    Rule.UNAVAILABLE: ("{callee} cannot be called here", "The program's type, its licence or the kernel lacks it."),
    Rule.REFERENCE: ("what was acquired is not given back as it must be",
                     "The kernel would keep it for ever, or use it after it is gone."),
    Rule.LOCK: ("locks and sections are not balanced", "The kernel would be stuck, or do what it must not in there."),
    Rule.CALLBACK: ("the callback does not do what its caller needs", "The caller reads what it returns."),
    Rule.FUNCTION: ("the function is not called or declared as it may be",
                    "Functions that are not static are verified once, by their declaration."),
    Rule.DEPTH: ("calls are too deep", "A chain of calls has 8 frames and 512 bytes of stack."),
    Rule.LOOP: ("a loop does not end", "A program must end."),
    Rule.SIZE: ("the program is too complex", "The kernel follows at most 1,000,000 instructions over all paths."),
}
# fmt: on


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], RefusalClass], ...]:
    return tuple((re.compile(row.pattern), row) for row in CLASSES)


def class_of(message: str, rule: Rule) -> tuple[RefusalClass, dict[str, str]]:
    """The row of the class of a refusal, and what its pattern took out of the kernel's message."""
    title, why = _BY_RULE[rule]
    return known_class(message) or (RefusalClass(rule.name.lower().replace("_", "-"), "", title, why, ""), {})


def known_class(message: str) -> tuple[RefusalClass, dict[str, str]] | None:
    """The row of the first class whose pattern is in the kernel's message, and what the pattern took out of it."""
    for pattern, row in _patterns():
        found = pattern.search(message)
        if found:
            return row, {name: value for name, value in found.groupdict().items() if value is not None}
    return None


def _is_null(case: Case) -> bool:
    return case.register is not None and case.register.is_null


def _is_moved_packet(case: Case) -> bool:
    """Whether the number at fault was loaded before a call that may have moved the packet."""
    number, register = case.finding.register, case.register
    moved = packet_moved_by(case.program, case.finding.trace)
    if moved is None or number is None or register is None or register.type != SCALAR_VALUE or register.range.is_const:
        return False
    made = made_by(case.program, case.finding.trace, number, is_pointer=True)
    if made is None or made.origin not in (Origin.READ, Origin.COMPUTED):
        return False
    return made.at not in case.finding.trace[_last(case.finding.trace, moved) :]


def _is_released(case: Case) -> bool:
    """Whether the number at fault was an object that was released."""
    number, register = case.finding.register, case.register
    if number is None or register is None or register.type != SCALAR_VALUE or register.range.is_const:
        return False
    made = made_by(case.program, case.finding.trace, number)
    if made is None or made.origin is not Origin.RETURNED:
        return False
    return released_by(case.program, case.finding.trace, made) is not None


def _is_parameter(case: Case) -> bool:
    """Whether the pointer at fault is a parameter of a function that is verified by itself."""
    number, function = case.finding.register, case.program.function_at(case.at)
    if number is None or function is None or not function.is_global or not function.start:
        return False
    return made_by(case.program, case.finding.trace, number, is_pointer=True) is None


def _last(trace: tuple[int, ...], at: int) -> int:
    return len(trace) - 1 - trace[::-1].index(at)


# Classes that what the register holds tells from others with the same words.
_REFINED: dict[str, tuple[tuple[Callable[[Case], bool], str], ...]] = {
    "not-a-pointer": (
        (_is_null, "null-pointer"),
        (_is_moved_packet, "packet-moved"),
        (_is_released, "released"),
    ),
    "argument-type": ((_is_moved_packet, "packet-moved"), (_is_released, "released")),
    "pointer-or-null": ((_is_parameter, "parameter-or-null"),),
}


def refined(row: RefusalClass, case: Case) -> RefusalClass:
    """The narrower class that the case belongs to, or the same."""
    name = next((name for fits, name in _REFINED.get(row.name, ()) if fits(case)), None)
    return row if name is None else next(one for one in CLASSES if one.name == name)
