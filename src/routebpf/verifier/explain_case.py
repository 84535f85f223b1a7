"""A refusal that is being explained: what is known of it, for those who say something about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from routebpf.isa import FORMS, Form, Instruction, Kind
from routebpf.objects.model import Program
from routebpf.verifier.callees import Callee
from routebpf.verifier.explain_origin import callee_at
from routebpf.verifier.fault import Finding
from routebpf.verifier.register import Register

_SIZES = ("size-negative", "size-zero", "size-unbounded")
_OPERANDS = (Kind.ALU, Kind.BRANCH)


@dataclass(frozen=True, slots=True)
class Case:
    """A finding with its class, and what the pattern of the class took out of the kernel's words (`groups`)."""

    program: Program
    finding: Finding
    kind: str
    groups: Mapping[str, str]
    license: str

    @property
    def at(self) -> int:
        """The instruction; the first where the program as a whole is refused."""
        at = self.finding.at
        return at if at is not None and at < len(self.program.instructions) else 0

    @property
    def instruction(self) -> Instruction | None:
        return self.program.instructions[self.at] if self.program.instructions else None

    @property
    def form(self) -> Form | None:
        return None if self.instruction is None else FORMS[self.instruction.opcode]

    @property
    def is_call(self) -> bool:
        return self.finding.at is not None and self.form is not None and self.form.kind is Kind.CALL

    @property
    def is_write(self) -> bool:
        """Whether the instruction writes to memory."""
        return self.form is not None and self.form.kind in (Kind.ST, Kind.STX, Kind.ATOMIC)

    @property
    def callee(self) -> Callee | None:
        """The helper or kfunc that the instruction calls."""
        return callee_at(self.program, self.at) if self.is_call else None

    @property
    def register(self) -> Register | None:
        """What the register at fault holds."""
        number = self.finding.register
        return None if number is None else self.finding.held.get(number)

    def registers_to_show(self) -> tuple[int, ...]:
        """The registers that people want to know: the one at fault, and what it is combined with."""
        number = self.finding.register
        if number is None:
            return ()
        one, form = self.instruction, self.form
        if self.kind in _SIZES and number > 1:
            return (number, number - 1)
        if one is not None and form is not None and form.kind in _OPERANDS and form.register and one.src != one.dst:
            return (one.dst, one.src)
        return (number,)
