"""The helpers and kfuncs of a program, as the verifier uses them: rows of `spec`, by instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routebpf.isa import Instruction, Kind
from routebpf.isa.opcodes import FORMS, PSEUDO_KFUNC_CALL
from routebpf.spec import Helper, Kfunc, KfuncFlag, helper_by_id, kfunc_by_name
from routebpf.spec.effects import NO_EFFECTS, Effects, Special, helper_effects, kfunc_effects


@dataclass(frozen=True, slots=True)
class Callee:
    """A helper or a kfunc, one of the two; None for both if neither kernel nor table knows what is called."""

    name: str
    helper: Helper | None
    kfunc: Kfunc | None
    effects: Effects

    @property
    def is_iterator_next(self) -> bool:
        return self.kfunc is not None and KfuncFlag.ITER_NEXT in self.kfunc.flags

    @property
    def moves_packet(self) -> bool:
        return self.helper is not None and self.helper.moves_packet

    @property
    def is_tail_call(self) -> bool:
        return self.effects.special is Special.TAIL_CALL

    @property
    def might_sleep(self) -> bool:
        if self.helper is not None:
            return self.helper.might_sleep
        return self.kfunc is not None and KfuncFlag.SLEEPABLE in self.kfunc.flags

    @property
    def arguments(self) -> int | None:
        """How many it has, None if it is not known."""
        row = self.helper or self.kfunc
        if row is None or (self.helper is not None and not self.helper.program_types):
            return None
        return len(row.arguments)


def find_callees(instructions: Sequence[Instruction], kfuncs: Sequence[str]) -> list[Callee | None]:
    """By instruction: the helper or kfunc that it calls. `kfuncs` are the names that instructions refer to."""
    known: dict[tuple[int, int], Callee] = {}
    found: list[Callee | None] = []
    for one in instructions:
        form = FORMS[one.opcode]
        if form is None or form.kind is not Kind.CALL or one.src not in (0, PSEUDO_KFUNC_CALL):
            found.append(None)
            continue
        key = (one.src, one.imm)
        if key not in known:
            known[key] = _helper(one.imm) if one.src == 0 else _kfunc(one.imm, kfuncs)
        found.append(known[key])
    return found


def _helper(number: int) -> Callee:
    row = helper_by_id(number)
    if row is None:
        return Callee(f"unknown#{number}", None, None, NO_EFFECTS)
    return Callee(row.name, row, None, helper_effects(row.name))


def _kfunc(index: int, kfuncs: Sequence[str]) -> Callee:
    """A kfunc may be declared by a flavour of its name, `bpf_name___flavour`."""
    name = kfuncs[index].partition("___")[0] if 0 <= index < len(kfuncs) else f"kfunc#{index}"
    return Callee(name, None, kfunc_by_name(name), kfunc_effects(name))
