"""The JIT: a program becomes LLVM IR, with the native functions it calls linked in, and that becomes machine code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm

from routebpf.engine import jit_alu, jit_calls, jit_flow, jit_memory
from routebpf.engine.compiled import MapFace, ksym_value
from routebpf.engine.jit_calls import Callees
from routebpf.engine.jit_writer import FunctionWriter
from routebpf.isa import FORMS, Form, Instruction, Kind, wide_immediate
from routebpf.isa.opcodes import (
    BPF_JCOND,
    BPF_JMP,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
)
from routebpf.objects.model import Program
from routebpf.runtime.machine import Code, emit, linked
from routebpf.verifier.bare import RAW
from routebpf.verifier.facts import Facts, FunctionFacts
from routebpf.verifier.flow import jump_target

_ENTRY = "entry"
_SLOT_BYTES = 8
_MAY_GOTO = FORMS[BPF_JMP | BPF_JCOND]
_INTRINSICS = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
"""
_STEPS = {
    Kind.ALU: jit_alu.alu,
    Kind.MOV: jit_alu.mov,
    Kind.NEG: jit_alu.neg,
    Kind.END: jit_alu.end,
    Kind.LDX: jit_memory.load,
    Kind.LDSX: jit_memory.load,
    Kind.ST: jit_memory.store,
    Kind.STX: jit_memory.store,
    Kind.ATOMIC: jit_memory.atomic,
}


class JitProgram:
    """Machine code of a program. `entry` is its address, valid as long as this object lives.

    `i64 entry(i64 cpu, i64 skb)` for a program, `i64 entry(i64 memory, i64 size)` for bare instructions; gives r0.
    """

    def __init__(self, code: Code, maps: Sequence[MapFace]) -> None:
        self._code = code
        self._maps = tuple(maps)
        self.entry = code.address(_ENTRY)

    def take_fault(self, cpu: int) -> None:
        """None: a program that may run as machine code is never stopped."""


def compile_program(program: Program, facts: Facts, maps: Sequence[MapFace]) -> JitProgram:
    """Compile a program that the structural check took, with its `facts`; `maps` in the order of `program.maps`.

    Raises RejectedError for what the embedded host does not have.
    """
    writer = _ProgramWriter(program, facts, maps, Callees(program.program_type))
    module = llvm.parse_assembly(writer.text())
    return JitProgram(Code(emit(linked(list(writer.callees.linked.values()), module), [_ENTRY]), [_ENTRY]), maps)


def compile_raw(instructions: Sequence[Instruction], facts: Facts) -> JitProgram:
    """Compile bare instructions: r1 is an address, r2 a size."""
    return compile_program(Program("instructions", "", RAW, tuple(instructions), ()), facts, ())


@dataclass(slots=True)
class _ProgramWriter:
    """The IR of a program, and the native functions it calls."""

    program: Program
    facts: Facts
    maps: Sequence[MapFace]
    callees: Callees

    def text(self) -> str:
        functions = [self._function(one) for one in self.facts.functions if self.facts.reachable[one.start]]
        declared = [
            f"declare i64 @{one.symbol}({', '.join(['i64'] * one.arity)})\n" for one in self.callees.linked.values()
        ]
        return "".join([_INTRINSICS, *declared, *functions])

    def _function(self, function: FunctionFacts) -> str:
        w = self._writer(function)
        instructions, reachable = self.program.instructions, self.facts.reachable
        starts = jit_flow.leaders(instructions, function.start, function.end, reachable)
        if any(instructions[at].form is _MAY_GOTO for at in range(function.start, function.end)):
            w.need_budget()
        w.line(f"br label %b{function.start}")
        for start in sorted(starts):
            w.start(f"b{start}")
            at = start
            while self._step(w, at):
                at += 2 if instructions[at].is_wide else 1
                if at in starts:
                    jit_flow.goto(w, at)
                    break
        return w.text()

    def _writer(self, function: FunctionFacts) -> FunctionWriter:
        frame_bytes = -(-function.stack_bytes // _SLOT_BYTES) * _SLOT_BYTES
        if function.start:
            registers = [f"%a{number}" for number in jit_calls.ARGUMENTS]
            return FunctionWriter(
                jit_calls.function_symbol(function.start), ["%cpu", *registers], registers, frame_bytes
            )
        if self.program.program_type == RAW:
            return FunctionWriter(_ENTRY, ["%cpu", "%size"], ["%cpu", "%size"], frame_bytes)
        return FunctionWriter(_ENTRY, ["%cpu", "%skb"], ["%skb"], frame_bytes)

    def _step(self, w: FunctionWriter, at: int) -> bool:
        """Write one instruction. True if the next one follows in the same block."""
        one = self.program.instructions[at]
        form = FORMS[one.opcode]
        assert form is not None
        if at in self.facts.context and form.kind in (Kind.LDX, Kind.LDSX):
            jit_memory.load_context(w, one, form)
        elif form.kind in _STEPS:
            _STEPS[form.kind](w, one, form)
        elif form.kind is Kind.LDDW:
            self._wide(w, at, one)
        elif form.kind is Kind.CALL:
            self._call(w, at, one)
        elif form.kind is Kind.EXIT:
            jit_flow.leave(w)
            return False
        else:
            self._jump(w, at, one, form)
            return False
        return True

    def _jump(self, w: FunctionWriter, at: int, one: Instruction, form: Form) -> None:
        target, reachable = jump_target(at, one, form.kind), self.facts.reachable
        assert target is not None
        if form.kind in (Kind.JA, Kind.GOTOL):
            jit_flow.goto(w, target)
        elif form.kind is Kind.MAY_GOTO:
            jit_flow.may_goto(w, target, at + 1)
        elif not (reachable[target] and reachable[at + 1]):
            jit_flow.goto(w, target if reachable[target] else at + 1)
        else:
            jit_flow.branch(w, one, form, target, at + 1)

    def _wide(self, w: FunctionWriter, at: int, one: Instruction) -> None:
        second = self.program.instructions[at + 1]
        match one.src:
            case s if s == PSEUDO_FUNC:
                start = at + one.imm + 1
                is_called = self.facts.reachable[start]  # an address that nothing calls needs no function
                symbol = jit_calls.function_symbol(start)
                w.write(one.dst, w.value(f"ptrtoint ptr @{symbol} to i64") if is_called else "0")
            case s if s == PSEUDO_MAP_IDX:
                w.write(one.dst, str(self.maps[one.imm].address))
            case s if s == PSEUDO_MAP_IDX_VALUE:
                w.write(one.dst, str(self.maps[one.imm].value_address() + second.imm))
            case s if s == PSEUDO_BTF_ID:
                w.write(one.dst, str(ksym_value(self.program, one.imm)))
            case _:
                w.write(one.dst, str(wide_immediate(one, second)))

    def _call(self, w: FunctionWriter, at: int, one: Instruction) -> None:
        if one.src == PSEUDO_CALL:
            jit_calls.call_function(w, at + one.imm + 1)
            return
        if one.src == PSEUDO_KFUNC_CALL:
            jit_calls.call_native(w, self.program.kfuncs[one.imm].partition("___")[0], self.callees)
        else:
            jit_calls.call_helper(w, one.imm, self.facts.calls.get(at), self.maps, self.callees)
