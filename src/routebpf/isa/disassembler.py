"""Instructions to text, in the syntax of the kernel's verifier log and of `bpftool prog dump xlated`.

kernel: kernel/bpf/disasm.c, print_bpf_insn(); for 64-bit immediates with a pseudo source: bpftool's xlated_dumper.c.
What the kernel has no words for (bytes that are no instruction) is written `.insn OPCODE, rDST, rSRC, OFFSET, IMM`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from routebpf.isa.instruction import Instruction, wide_immediate
from routebpf.isa.opcodes import (
    ADDR_SPACE_CAST,
    ATOMICS,
    FORMS,
    MAY_GOTO,
    MOVSX_BITS,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    SIGNED_OPERATORS,
    AtomicKind,
    Form,
    Kind,
)

_SECOND_SLOT_UNUSED = (PSEUDO_MAP_FD, PSEUDO_MAP_IDX, PSEUDO_BTF_ID, PSEUDO_FUNC)
_RAW = ".insn"
_CALL_SOURCES = (0, PSEUDO_CALL, PSEUDO_KFUNC_CALL)


@dataclass(frozen=True, slots=True)
class Names:
    """The names that numbers in instructions stand for. Without them, numbers are shown.

    `maps`, `kfuncs` and `ksyms` are indexed by `imm`, as in `objects.Program`. `helpers` by id; None takes those of
    `routebpf.spec`.
    """

    maps: Sequence[str] = ()
    kfuncs: Sequence[str] = ()
    ksyms: Sequence[str] = ()
    helpers: Mapping[int, str] | None = None

    def helper(self, number: int) -> str:
        """The name of a helper with its `bpf_`, or "unknown", as the kernel writes it."""
        if self.helpers is None:
            from routebpf.spec import helper_name

            return helper_name(number) or "unknown"
        return self.helpers.get(number, "unknown")


_NO_NAMES = Names()


def disassemble(instructions: Sequence[Instruction] | Instruction, names: Names = _NO_NAMES) -> str:
    """The text of one instruction, or of several, one a line; a 64-bit immediate is one line for its two slots."""
    if isinstance(instructions, Instruction):
        return disassemble_one(instructions, None, names)
    return "\n".join(text for _, text in disassemble_lines(instructions, names))


def disassemble_lines(instructions: Sequence[Instruction], names: Names = _NO_NAMES) -> list[tuple[int, str]]:
    """(instruction number, text) of each instruction."""
    lines = []
    at = 0
    while at < len(instructions):
        one = instructions[at]
        following = instructions[at + 1] if one.is_wide and at + 1 < len(instructions) else None
        text = disassemble_one(one, following, names)
        lines.append((at, text))
        at += 2 if following is not None and not text.startswith(_RAW) else 1
    return lines


def disassemble_one(one: Instruction, following: Instruction | None, names: Names = _NO_NAMES) -> str:
    """The text of `one`; `following` is the second slot of a 64-bit immediate, and nothing to the others."""
    form = FORMS[one.opcode]
    if form is None or max(one.dst, one.src) > 10:
        return _raw(one)
    if form.kind is Kind.LDDW:
        return _lddw(one, following, names) if following is not None and _is_second_slot(following) else _raw(one)
    if form.kind is Kind.CALL:
        return _call(one, names)
    return _WRITERS[form.kind](one, form)


def _is_second_slot(one: Instruction) -> bool:
    return not (one.opcode or one.dst or one.src or one.offset)


def _raw(one: Instruction) -> str:
    return f"{_RAW} {one.opcode:#04x}, r{one.dst}, r{one.src}, {one.offset:+d}, {one.imm}"


def _letter(form: Form) -> str:
    return "r" if form.wide else "w"


def _alu(one: Instruction, form: Form) -> str:
    letter = _letter(form)
    operator = form.operator
    if one.offset == 1:
        operator = SIGNED_OPERATORS.get(operator, operator)
    return f"{letter}{one.dst} {operator} {_operand(one, form)}"


def _operand(one: Instruction, form: Form) -> str:
    return f"{_letter(form)}{one.src}" if form.register else str(one.imm)


def _mov(one: Instruction, form: Form) -> str:
    if form.register and form.wide and one.offset == ADDR_SPACE_CAST:
        to, from_ = (one.imm & 0xFFFFFFFF) >> 16, one.imm & 0xFFFF
        return f"r{one.dst} = addr_space_cast(r{one.src}, {to}, {from_})"
    cast = f"(s{one.offset})" if form.register and one.offset in MOVSX_BITS[form.wide] else ""
    return f"{_letter(form)}{one.dst} = {cast}{_operand(one, form)}"


def _neg(one: Instruction, form: Form) -> str:
    letter = _letter(form)
    return f"{letter}{one.dst} = -{letter}{one.dst}"


def _end(one: Instruction, form: Form) -> str:
    return f"r{one.dst} = {form.operator}{one.imm} r{one.dst}"


def _memory(size: int, register: int, offset: int, sign: str = "u") -> str:
    return f"({sign}{size * 8} *)(r{register} {offset:+d})"


def _ldx(one: Instruction, form: Form) -> str:
    return f"r{one.dst} = *{_memory(form.size, one.src, one.offset)}"


def _ldsx(one: Instruction, form: Form) -> str:
    return f"r{one.dst} = *{_memory(form.size, one.src, one.offset, 's')}"


def _st(one: Instruction, form: Form) -> str:
    return f"*{_memory(form.size, one.dst, one.offset)} = {one.imm}"


def _stx(one: Instruction, form: Form) -> str:
    return f"*{_memory(form.size, one.dst, one.offset)} = r{one.src}"


def _atomic(one: Instruction, form: Form) -> str:
    atomic = ATOMICS.get(one.imm)
    if atomic is None:
        return _raw(one)
    at = _memory(form.size, one.dst, one.offset)
    call = f"atomic{'64' if form.size == 8 else ''}"
    match atomic.kind:
        case AtomicKind.PLAIN:
            return f"lock *{at} {atomic.operator} r{one.src}"
        case AtomicKind.FETCH:
            return f"r{one.src} = {call}_fetch_{atomic.name}({at}, r{one.src})"
        case AtomicKind.XCHG:
            return f"r{one.src} = {call}_xchg({at}, r{one.src})"
        case AtomicKind.CMPXCHG:
            return f"r0 = {call}_cmpxchg({at}, r0, r{one.src})"
        case AtomicKind.LOAD_ACQUIRE:
            return f"r{one.dst} = load_acquire({_memory(form.size, one.src, one.offset)})"
        case AtomicKind.STORE_RELEASE:
            return f"store_release({at}, r{one.src})"


def _ld_abs(one: Instruction, form: Form) -> str:
    return f"r0 = *(u{form.size * 8} *)skb[{one.imm}]"


def _ld_ind(one: Instruction, form: Form) -> str:
    return f"r0 = *(u{form.size * 8} *)skb[r{one.src} + {one.imm}]"


def _ja(one: Instruction, _form: Form) -> str:
    return f"goto pc{one.offset:+d}"


def _gotol(one: Instruction, _form: Form) -> str:
    return f"gotol pc{one.imm:+d}"


def _may_goto(one: Instruction, _form: Form) -> str:
    return f"may_goto pc{one.offset:+d}" if one.src == MAY_GOTO else _raw(one)


def _branch(one: Instruction, form: Form) -> str:
    letter = _letter(form)
    operand = f"{letter}{one.src}" if form.register else f"{one.imm & 0xFFFFFFFF:#x}"
    return f"if {letter}{one.dst} {form.operator} {operand} goto pc{one.offset:+d}"


def _exit(_one: Instruction, _form: Form) -> str:
    return "exit"


def _lddw(one: Instruction, following: Instruction, names: Names) -> str:
    low, high = one.imm, following.imm
    if high and one.src in _SECOND_SLOT_UNUSED:
        return _raw(one)
    match one.src:
        case 0:
            source = f"{wide_immediate(one, following):#x}"
        case s if s == PSEUDO_MAP_FD:
            source = f"map[fd:{low}]"
        case s if s == PSEUDO_MAP_VALUE:
            source = f"map[fd:{low}][0]{high:+d}"
        case s if s == PSEUDO_MAP_IDX:
            source = f"map[{_named(names.maps, low, 'idx')}]"
        case s if s == PSEUDO_MAP_IDX_VALUE:
            source = f"map[{_named(names.maps, low, 'idx')}][0]{high:+d}"
        case s if s == PSEUDO_BTF_ID:
            source = f"ksym[{_named(names.ksyms, low, 'id')}]"
        case s if s == PSEUDO_FUNC:
            source = f"subprog[{low:+d}]"
        case _:
            return _raw(one)
    return f"r{one.dst} = {source}"


def _named(names: Sequence[str], number: int, word: str) -> str:
    return names[number] if 0 <= number < len(names) else f"{word}:{number}"


def _call(one: Instruction, names: Names) -> str:
    if one.src not in _CALL_SOURCES:
        return _raw(one)
    if one.src == PSEUDO_CALL:
        return f"call pc{one.imm:+d}"
    if one.src == PSEUDO_KFUNC_CALL:
        module = f" module {one.offset}" if one.offset else ""
        name = names.kfuncs[one.imm] if 0 <= one.imm < len(names.kfuncs) else "kfunc"
        return f"call {name}#{one.imm}{module}"
    return f"call {names.helper(one.imm)}#{one.imm}"


_WRITERS: dict[Kind, Callable[[Instruction, Form], str]] = {
    Kind.ALU: _alu,
    Kind.NEG: _neg,
    Kind.MOV: _mov,
    Kind.END: _end,
    Kind.LDX: _ldx,
    Kind.LDSX: _ldsx,
    Kind.ST: _st,
    Kind.STX: _stx,
    Kind.ATOMIC: _atomic,
    Kind.LD_ABS: _ld_abs,
    Kind.LD_IND: _ld_ind,
    Kind.JA: _ja,
    Kind.GOTOL: _gotol,
    Kind.MAY_GOTO: _may_goto,
    Kind.BRANCH: _branch,
    Kind.EXIT: _exit,
}
