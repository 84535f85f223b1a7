"""The forward pass over a program: which registers are set, and where the pointers in them come from.

A block's instructions are followed from the state in which it is entered; where paths meet, states are joined, until
nothing changes. Branches on known constants are decided, so that code for another kernel is not looked at. A function
is followed once for all its callers; its callers go on with what it returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from routebpf.isa import FORMS, Form, Instruction, Kind, wide_immediate
from routebpf.isa.opcodes import (
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    SIGNED_OPERATORS,
)
from routebpf.isa.semantics import (
    ARITHMETIC32,
    BYTE_ORDER,
    COMPARISONS32,
    COMPARISONS64,
    MASK32,
    MASK64,
    sign_extend,
)
from routebpf.verifier import structure_calls, structure_memory
from routebpf.verifier import structure_rules as rules
from routebpf.verifier.structure_flow import jump_target
from routebpf.verifier.structure_pass import Pass, State
from routebpf.verifier.structure_values import NUMBER, OTHER, Origin, Value, arithmetic64, constant, join

# What an instruction does to the state. True: the next one follows.
_Step = Callable[[Pass, Instruction, Form, State], bool]


def follow(run: Pass, registers: Mapping[int, Value]) -> None:
    """Follow every path from instruction 0 with `registers` set. Raises StructureError."""
    instructions, leaders = run.program.instructions, run.flow.leaders
    run.enter(0, registers, {})
    while (state := run.next_block()) is not None:
        at = run.at
        while True:
            one = instructions[at]
            run.at = at
            run.reachable[at] = 1
            if at in run.poisons:
                raise run.fault(run.poisons[at], "Test that it exists before using it (bpf_core_field_exists and kin).")
            step, form = _STEPS[one.opcode]
            if not step(run, one, form, state):
                break
            at += 2 if one.is_wide else 1
            if leaders[at]:
                run.arrive(at, state)
                break


def _operand(run: Pass, one: Instruction, form: Form, state: State) -> Value:
    return run.read(state, one.src) if form.register else constant(one.imm)


def _alu(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    a, b = run.read(state, one.dst), _operand(run, one, form, state)
    operator = SIGNED_OPERATORS[form.operator] if one.offset == 1 else form.operator
    if form.wide:
        value = arithmetic64(operator, a, b)
        if value.origin is Origin.STACK:
            run.point_into_stack(value)
        state.registers[one.dst] = value
    elif a.origin is Origin.CONSTANT and b.origin is Origin.CONSTANT:
        number = ARITHMETIC32[operator](_number(a) & MASK32, _number(b) & MASK32)
        state.registers[one.dst] = constant(number)
    else:
        state.registers[one.dst] = NUMBER
    return True


def _number(value: Value) -> int:
    assert value.offset is not None
    return value.offset


def _mov(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    value = _operand(run, one, form, state)
    if not (form.wide and one.offset == 0):
        bits = one.offset or 32
        known = value.origin is Origin.CONSTANT
        value = _moved(_number(value), bits, form) if known else NUMBER
    state.registers[one.dst] = value
    return True


def _moved(number: int, bits: int, form: Form) -> Value:
    number = sign_extend(number, bits)
    return constant(number if form.wide else number & MASK32)


def _neg(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    value = run.read(state, one.dst)
    known = value.origin is Origin.CONSTANT
    mask = MASK64 if form.wide else MASK32
    state.registers[one.dst] = constant(-_number(value) & mask) if known else NUMBER
    return True


def _end(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    value = run.read(state, one.dst)
    known = value.origin is Origin.CONSTANT
    state.registers[one.dst] = constant(BYTE_ORDER[form.operator](_number(value), one.imm)) if known else NUMBER
    return True


def _lddw(run: Pass, one: Instruction, _form: Form, state: State) -> bool:
    second = run.program.instructions[run.at + 1]
    match one.src:
        case 0:
            value = constant(wide_immediate(one, second))
        case s if s == PSEUDO_FUNC:
            value = Value(Origin.FUNCTION, run.at + one.imm + 1)
        case s if s in (PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE):
            if not 0 <= one.imm < len(run.maps):
                raise run.fault(f"it names map number {one.imm}; the program has {len(run.maps)}")
            wide = s == PSEUDO_MAP_IDX_VALUE
            value = Value(Origin.MAP_VALUE, one.imm, second.imm) if wide else Value(Origin.MAP, one.imm)
        case s if s in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
            raise run.fault(f"fd {one.imm} is not pointing to valid bpf_map", "A program here names its maps.")
        case s if s == PSEUDO_BTF_ID:
            if not 0 <= one.imm < len(run.program.ksyms):
                raise run.fault(f"it names kernel symbol number {one.imm}; the program has {len(run.program.ksyms)}")
            value = constant(0) if rules.is_absent_kfunc(run.program.ksyms[one.imm]) else OTHER
        case _:
            value = OTHER
    state.registers[one.dst] = value
    return True


def _jump(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    target = jump_target(run.at, one, form.kind)
    assert target is not None
    run.arrive(target, state)
    return form.kind is Kind.MAY_GOTO


def _branch(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    a, b = run.read(state, one.dst), _operand(run, one, form, state)
    taken = None
    if a.origin is Origin.CONSTANT and b.origin is Origin.CONSTANT:
        compare = (COMPARISONS64 if form.wide else COMPARISONS32)[form.operator]
        mask = MASK64 if form.wide else MASK32
        taken = compare(_number(a) & mask, _number(b) & mask)
    if taken is not False:
        run.arrive(run.at + one.offset + 1, state)
    return taken is not True


def _exit(run: Pass, _one: Instruction, _form: Form, state: State) -> bool:
    summary = run.summaries[run.span]
    result = state.registers[0]
    if run.span == 0:
        run.read(state, 0)
    elif summary.is_callback and result.origin is Origin.UNSET:
        raise run.fault("R0 not a scalar value", "A callback returns a number.")
    elif result.origin is Origin.STACK:
        raise run.fault("cannot return stack pointer to the caller")
    known = result if summary.result is None else join(summary.result, result)
    if known != summary.result:
        summary.result = known
        run.again(run.span)
    return False


def _refused(run: Pass, _one: Instruction, _form: Form, _state: State) -> bool:
    raise run.fault("BPF_LD_[ABS|IND] instructions not allowed for this program type")


_BY_KIND: dict[Kind, _Step] = {
    Kind.ALU: _alu,
    Kind.MOV: _mov,
    Kind.NEG: _neg,
    Kind.END: _end,
    Kind.LDX: structure_memory.load,
    Kind.LDSX: structure_memory.load,
    Kind.ST: structure_memory.store,
    Kind.STX: structure_memory.store,
    Kind.ATOMIC: structure_memory.atomic,
    Kind.LDDW: _lddw,
    Kind.LD_ABS: _refused,
    Kind.LD_IND: _refused,
    Kind.JA: _jump,
    Kind.GOTOL: _jump,
    Kind.MAY_GOTO: _jump,
    Kind.BRANCH: _branch,
    Kind.CALL: structure_calls.call,
    Kind.EXIT: _exit,
}
_NOTHING = Form(0, Kind.EXIT)
_STEPS: tuple[tuple[_Step, Form], ...] = tuple(
    (_BY_KIND[form.kind], form) if form else (_refused, _NOTHING) for form in FORMS
)
