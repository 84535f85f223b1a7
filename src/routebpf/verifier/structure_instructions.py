"""What is required of one instruction by itself: a known opcode, reserved fields zero, registers that exist.

kernel: kernel/bpf/verifier.c, check_alu_op(), check_atomic(), do_check_insn(), resolve_pseudo_ldimm64(). The messages
are the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from routebpf.isa import FORMS, Form, Instruction, Kind
from routebpf.isa.opcodes import (
    ADDR_SPACE_CAST,
    ATOMICS,
    MAY_GOTO,
    MOVSX_BITS,
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    R10,
    SIGNED_OPERATORS,
    AtomicKind,
)
from routebpf.verifier.structure_facts import StructureError

_SHIFTS = ("<<=", ">>=", "s>>=")
_DIVISIONS = ("/=", "%=")

# Kinds that write their destination register.
WRITES_DST = frozenset({Kind.ALU, Kind.MOV, Kind.NEG, Kind.END, Kind.LDX, Kind.LDSX, Kind.LDDW})


def check_instructions(instructions: Sequence[Instruction]) -> None:
    """Check each instruction. Raises StructureError for the first that is not well-formed."""
    good: set[Instruction] = set()  # programs repeat themselves, and a check costs more than a look-up
    at = 0
    while at < len(instructions):
        one = instructions[at]
        if one not in good:
            _check(at, one)
        if one.is_wide:
            _check_wide(at, one, instructions)
            at += 1
        good.add(one)
        at += 1


def _check(at: int, one: Instruction) -> None:
    form = FORMS[one.opcode]
    if form is None:
        raise StructureError(at, f"unknown opcode {one.opcode:02x}")
    reserved = _RESERVED.get(form.kind)
    message = reserved(one, form) if reserved is not None else ""
    if message:
        raise StructureError(at, message)
    for register in (one.dst, one.src):
        if register > R10:
            raise StructureError(at, f"R{register} is invalid")
    written = _written(one, form)
    if written == R10:
        raise StructureError(at, "frame pointer is read only", "Copy r10 into another register and change that one.")


def _written(one: Instruction, form: Form) -> int | None:
    """The register that `one` writes, calls aside."""
    if form.kind in WRITES_DST:
        return one.dst
    if form.kind is Kind.ATOMIC:
        kind = ATOMICS[one.imm].kind
        if kind is AtomicKind.LOAD_ACQUIRE:
            return one.dst
        if kind in (AtomicKind.FETCH, AtomicKind.XCHG):
            return one.src
    return None


def _alu(one: Instruction, form: Form) -> str:
    signed = one.offset == 1 and form.operator in SIGNED_OPERATORS
    if (one.offset and not signed) or (one.imm if form.register else one.src):
        return "BPF_ALU uses reserved fields"
    if form.register:
        return ""
    if form.operator in _DIVISIONS and one.imm == 0:
        return "div by zero"
    if form.operator in _SHIFTS and not 0 <= one.imm < (64 if form.wide else 32):
        return f"invalid shift {one.imm}"
    return ""


def _mov(one: Instruction, form: Form) -> str:
    if not form.register:
        return "BPF_MOV uses reserved fields" if one.src or one.offset else ""
    if form.wide and one.offset == ADDR_SPACE_CAST:
        if one.imm not in (1, 1 << 16):
            return "addr_space_cast insn can only convert between address space 1 and 0"
        return "addr_space_cast insn can only be used in a program that has an associated arena"
    if one.imm or (one.offset and one.offset not in MOVSX_BITS[form.wide]):
        return "BPF_MOV uses reserved fields"
    return ""


def _neg(one: Instruction, _form: Form) -> str:
    return "BPF_NEG uses reserved fields" if one.src or one.offset or one.imm else ""


def _end(one: Instruction, _form: Form) -> str:
    return "BPF_END uses reserved fields" if one.src or one.offset or one.imm not in (16, 32, 64) else ""


def _ldx(one: Instruction, _form: Form) -> str:
    return "BPF_LDX uses reserved fields" if one.imm else ""


def _st(one: Instruction, _form: Form) -> str:
    return "BPF_ST uses reserved fields" if one.src else ""


def _stx(one: Instruction, _form: Form) -> str:
    return "BPF_STX uses reserved fields" if one.imm else ""


def _atomic(one: Instruction, form: Form) -> str:
    atomic = ATOMICS.get(one.imm)
    if atomic is None:
        return f"BPF_ATOMIC uses invalid atomic opcode {one.imm & 0xFFFFFFFF:02x}"
    return "" if form.size in atomic.sizes else "invalid atomic operand size"


def _legacy(_one: Instruction, _form: Form) -> str:
    return "BPF_LD_[ABS|IND] instructions not allowed for this program type"


def _ja(one: Instruction, _form: Form) -> str:
    return "BPF_JA uses reserved fields" if one.dst or one.src or one.imm else ""


def _gotol(one: Instruction, _form: Form) -> str:
    return "BPF_JA uses reserved fields" if one.dst or one.src or one.offset else ""


def _may_goto(one: Instruction, _form: Form) -> str:
    return f"invalid may_goto imm {one.imm}" if one.dst or one.src != MAY_GOTO or one.imm else ""


def _branch(one: Instruction, form: Form) -> str:
    return "BPF_JMP/JMP32 uses reserved fields" if (one.imm if form.register else one.src) else ""


def _call(one: Instruction, _form: Form) -> str:
    if one.src not in (0, PSEUDO_CALL, PSEUDO_KFUNC_CALL) or one.dst or (one.offset and one.src != PSEUDO_KFUNC_CALL):
        return "BPF_CALL uses reserved fields"
    return ""


def _exit(one: Instruction, _form: Form) -> str:
    return "BPF_EXIT uses reserved fields" if one.dst or one.src or one.imm else ""


def _check_wide(at: int, one: Instruction, instructions: Sequence[Instruction]) -> None:
    if one.offset:
        raise StructureError(at, "BPF_LD_IMM64 uses reserved fields")
    second = instructions[at + 1] if at + 1 < len(instructions) else None
    if second is None or second.opcode or second.dst or second.src or second.offset:
        raise StructureError(at, "invalid bpf_ld_imm64 insn")
    takes_offset = one.src not in (PSEUDO_MAP_FD, PSEUDO_MAP_IDX)
    if one.src > PSEUDO_MAP_IDX_VALUE or (second.imm and not takes_offset):
        raise StructureError(at, "unrecognized bpf_ld_imm64 insn")


_RESERVED: dict[Kind, Callable[[Instruction, Form], str]] = {
    Kind.ALU: _alu,
    Kind.MOV: _mov,
    Kind.NEG: _neg,
    Kind.END: _end,
    Kind.LDX: _ldx,
    Kind.LDSX: _ldx,
    Kind.ST: _st,
    Kind.STX: _stx,
    Kind.ATOMIC: _atomic,
    Kind.LD_ABS: _legacy,
    Kind.LD_IND: _legacy,
    Kind.JA: _ja,
    Kind.GOTOL: _gotol,
    Kind.MAY_GOTO: _may_goto,
    Kind.BRANCH: _branch,
    Kind.CALL: _call,
    Kind.EXIT: _exit,
}
