"""Why a program is refused: `Fault` where the rule is broken, `Rejected` with all that a person needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from routebpf.errors import RejectedError

if TYPE_CHECKING:
    from routebpf.verifier.register import Register


class Rule(Enum):
    """The kind of rule that a program broke."""

    STRUCTURE = "instructions are well-formed, jumps stay in their function, all is reachable"
    UNSET = "a register is set before it is read"
    ARITHMETIC = "arithmetic is allowed on these operands"
    STACK = "the stack is accessed in its bounds, aligned, and set before it is read"
    PACKET = "the packet is accessed where it is known to be"
    CONTEXT = "the context is accessed by whole fields that the program type has"
    MAP_VALUE = "a map's value is accessed in its bounds"
    MEMORY = "memory is accessed in its bounds"
    POINTER = "only pointers that are known to be valid are followed"
    BTF = "kernel objects are read as their types say"
    LEAK = "no pointer leaves the program"
    ARGUMENT = "arguments are what the function takes"
    UNAVAILABLE = "the program type, licence or kernel has the function"
    REFERENCE = "what is acquired is released"
    LOCK = "locks and sections are balanced"
    CALLBACK = "callbacks return what their caller takes"
    FUNCTION = "functions get and return what they say"
    DEPTH = "frames and stack are not too deep"
    LOOP = "loops end"
    SIZE = "the program is not too complex"


class Fault(Exception):  # noqa: N818
    """The rule broken, the kernel's own words, and the register at fault if there is one.

    `note` says more than the kernel does. `at` is set where the fault is not at the instruction being followed.
    """

    def __init__(
        self, rule: Rule, message: str, register: int | None = None, *, note: str = "", at: int | None = None
    ) -> None:
        self.rule = rule
        self.message = message
        self.register = register
        self.note = note
        self.at = at
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Decision:
    """A conditional jump on the path: instruction `at`, and where it went on."""

    at: int
    to: int
    taken: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A refusal, for people and machines.

    `program` is its name; `at` the instruction (None: the program as a whole); `message` the kernel's words, one or
    more lines; `register` the register at fault and `value` what the kernel prints of it; `registers` the same of all
    registers of the function. `path`: the conditional jumps from the entry of the function verified to the fault;
    `trace` every instruction of it. `callers`: the calls that led there, outermost first. `held`: what the registers
    hold, not as text.
    """

    program: str
    rule: Rule
    message: str
    at: int | None
    register: int | None = None
    value: str = ""
    note: str = ""
    registers: dict[int, str] = field(default_factory=dict)
    stack: dict[int, str] = field(default_factory=dict)
    path: tuple[Decision, ...] = ()
    trace: tuple[int, ...] = ()
    callers: tuple[int, ...] = ()
    instructions_processed: int = 0
    held: dict[int, Register] = field(default_factory=dict)


class Rejected(RejectedError):  # noqa: N818 - the verdict, as people call it
    """The verifier's refusal. `finding` holds all that is known."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        where = "" if finding.at is None else f": instruction {finding.at}"
        note = f"\n{finding.note}" if finding.note else ""
        super().__init__(f"verifying {finding.program}{where}: {finding.message}{note}")
