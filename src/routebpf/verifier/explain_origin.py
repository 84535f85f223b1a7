"""Where the value in a register comes from, on the path that a finding tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from routebpf.isa import FORMS, Instruction, Kind
from routebpf.isa.opcodes import ADDR_SPACE_CAST, ATOMICS, PSEUDO_CALL, R10, AtomicKind
from routebpf.objects.model import Program
from routebpf.spec import KfuncFlag, TypeFlag
from routebpf.verifier.callees import Callee, find_callees

_CALLER_SAVED = range(1, 6)
_STORES = (Kind.STX, Kind.ST)


class Origin(Enum):
    """How the value was made."""

    RETURNED = "returned by"
    LOST = "lost by the call of"
    READ = "read"
    COMPUTED = "computed"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Made:
    """Instruction `at` made the value; `callee` is what it called, where it is a call."""

    at: int
    origin: Origin
    callee: str = ""


def made_by(program: Program, trace: Sequence[int], register: int, *, is_pointer: bool = False) -> Made | None:
    """What made the value in `register` at the last instruction of the path, through moves and spills; None: the
    function's caller did, or it is not known. `is_pointer`: no call can have written it to the stack.

    Only the function at hand is looked at: others have other registers.
    """
    own = program.function_at(trace[-1]) if trace else None
    place: tuple[str, int] = ("register", register)
    after = trace[-1] if trace else 0
    for at in reversed(trace[:-1]):
        if program.function_at(at) != own:
            if own is not None and after == own.start:
                return None
            continue
        after = at
        one = program.instructions[at]
        form = FORMS[one.opcode]
        if form is None:
            continue
        if place[0] == "slot" and form.kind is Kind.CALL and not is_pointer:
            return None
        found = _step(program, at, one, place)
        if isinstance(found, Made):
            return found
        place = found
    return None


def _step(program: Program, at: int, one: Instruction, place: tuple[str, int]) -> Made | tuple[str, int]:
    """What made the value in `place` if this instruction did, or where it was before."""
    form = FORMS[one.opcode]
    assert form is not None
    kind, number = place
    if kind == "slot":
        is_spill = form.kind in _STORES and one.dst == R10 and one.offset == number
        if not is_spill:
            return place
        return ("register", one.src) if form.kind is Kind.STX else Made(at, Origin.SET)
    if form.kind is Kind.CALL:
        if number == 0:
            return Made(at, Origin.RETURNED, called_name(program, at))
        return Made(at, Origin.LOST, called_name(program, at)) if number in _CALLER_SAVED else place
    if number not in _written(one):
        return place
    if form.kind is Kind.MOV and form.register and form.wide and one.offset in (0, ADDR_SPACE_CAST):
        return ("register", one.src)
    if form.kind in (Kind.LDX, Kind.LDSX):
        is_reload = one.src == R10 and form.size == 8
        return ("slot", one.offset) if is_reload else Made(at, Origin.READ)
    return Made(at, Origin.SET if form.kind in (Kind.MOV, Kind.LDDW) else Origin.COMPUTED)


def _written(one: Instruction) -> tuple[int, ...]:
    form = FORMS[one.opcode]
    if form is None:
        return ()
    if form.kind in (Kind.ALU, Kind.NEG, Kind.MOV, Kind.END, Kind.LDX, Kind.LDSX, Kind.LDDW):
        return (one.dst,)
    if form.kind is Kind.ATOMIC:
        atomic = ATOMICS.get(one.imm)
        kind = atomic.kind if atomic else AtomicKind.PLAIN
        return {
            AtomicKind.FETCH: (one.src,),
            AtomicKind.XCHG: (one.src,),
            AtomicKind.CMPXCHG: (0,),
            AtomicKind.LOAD_ACQUIRE: (one.dst,),
        }.get(kind, ())
    return ()


def called_name(program: Program, at: int) -> str:
    """The helper, kfunc or function that instruction `at` calls, "" if it is no call."""
    one = program.instructions[at]
    if one.src == PSEUDO_CALL:
        callee = program.function_at(at + 1 + one.imm)
        return callee.name if callee else "a function"
    found = callee_at(program, at)
    return found.name if found else ""


def callee_at(program: Program, at: int) -> Callee | None:
    """The helper or kfunc that instruction `at` calls."""
    return find_callees([program.instructions[at]], program.kfuncs)[0]


def released_by(program: Program, trace: Sequence[int], made: Made) -> int | None:
    """The last instruction of the path that releases something, after `made`; None if none does."""
    for at in reversed(trace[:-1]):
        if at == made.at:
            return None
        form = FORMS[program.instructions[at].opcode]
        if form is None or form.kind is not Kind.CALL:
            continue
        callee = callee_at(program, at)
        if callee is None:
            continue
        if callee.helper is not None and any(TypeFlag.OBJ_RELEASE in one.flags for one in callee.helper.arguments):
            return at
        if callee.kfunc is not None and KfuncFlag.RELEASE in callee.kfunc.flags:
            return at
    return None


def packet_moved_by(program: Program, trace: Sequence[int]) -> int | None:
    """The last instruction of the path that calls what may move the packet, or None."""
    for at in reversed(trace[:-1]):
        form = FORMS[program.instructions[at].opcode]
        if form is not None and form.kind is Kind.CALL:
            callee = callee_at(program, at)
            if callee is not None and callee.moves_packet:
                return at
    return None
