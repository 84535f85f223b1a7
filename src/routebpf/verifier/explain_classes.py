"""What there is to say about each class of refusal: a row for each, found by the kernel's words."""

from __future__ import annotations

import re
from functools import cache

from routebpf.verifier.explain_call_rows import CALL_ROWS
from routebpf.verifier.explain_flow_rows import FLOW_ROWS
from routebpf.verifier.explain_memory_rows import MEMORY_ROWS
from routebpf.verifier.explain_row import RefusalClass
from routebpf.verifier.fault import Rule

CLASSES: tuple[RefusalClass, ...] = (*MEMORY_ROWS, *CALL_ROWS, *FLOW_ROWS)

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
    """The row of the first class whose pattern is in the kernel's message, and what the pattern took out of it."""
    for pattern, row in _patterns():
        found = pattern.search(message)
        if found:
            return row, {name: value for name, value in found.groupdict().items() if value is not None}
    title, why = _BY_RULE[rule]
    return RefusalClass(rule.name.lower().replace("_", "-"), "", title, why, ""), {}
