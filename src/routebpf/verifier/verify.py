"""Verification of a program: is it safe and allowed, path by path, as the kernel's verifier decides it.

kernel: kernel/bpf/verifier.c, bpf_check(). The rules of speculative execution are left out: they do not change the
verdict on a privileged load.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from routebpf.isa import FORMS, Kind
from routebpf.isa.opcodes import (
    BPF_LDX,
    BPF_MEM,
    BPF_MEMSX,
    LDDW,
    MAX_INSTRUCTIONS,
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
)
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Enum, Func, FuncProto, Int
from routebpf.objects.model import MapDefinition, Program
from routebpf.spec import helper_number
from routebpf.verifier import arithmetic, branches, calls, functions, loads, register, scalar
from routebpf.verifier.callees import find_callees
from routebpf.verifier.dead_functions import check_functions_taken
from routebpf.verifier.facts import Facts, FunctionFacts
from routebpf.verifier.fault import Fault, Finding, Rejected, Rule
from routebpf.verifier.flow import FunctionFlow, check_flow, check_functions, check_layout, find_functions
from routebpf.verifier.licenses import is_gpl
from routebpf.verifier.liveness import live_registers, loop_numbers
from routebpf.verifier.loops import path_ends, visited
from routebpf.verifier.maps import map_facts
from routebpf.verifier.path import finding_of
from routebpf.verifier.register import PTR_TO_CTX, pointer
from routebpf.verifier.run import Observer, Run, follow
from routebpf.verifier.stack_depth import check_stack_depth
from routebpf.verifier.state import MAIN_FUNCTION, Frame, State

DEFAULT_KERNEL = (6, 18)
_MOST_MAPS = 64
_STEPS = {**arithmetic.STEPS, **loads.STEPS, **branches.STEPS, **calls.STEPS}


@dataclass(frozen=True, slots=True)
class Verified:
    """An accepted program: what the engines need to know, and what it took.

    `stack_bytes`: the most stack along any chain of calls; `stack_by_function`: of each function alone.
    """

    facts: Facts
    instructions_processed: int
    states: int
    stack_bytes: int
    stack_by_function: Mapping[str, int]
    seconds: float


def verify(
    program: Program,
    maps: Sequence[MapDefinition],
    *,
    license: str = "GPL",
    btf: Btf | None = None,
    kernel_btf: Btf | None = None,
    kernel_version: tuple[int, int] = DEFAULT_KERNEL,
    privileged: bool = True,
    cpus: int | None = None,
    observer: Observer | None = None,
) -> Verified:
    """Verify `program`; `maps` are the definitions of `program.maps`, in that order. Raises Rejected.

    `btf` is the object's, `kernel_btf` the kernel's, without which kernel objects cannot be read. `cpus` is how many
    the kernel may have. `observer` is told of every instruction before it is followed.
    """
    started = time.perf_counter()
    scalar.forget_unused()
    register.forget_unused()
    run: Run | None = None
    try:
        run = _prepare(program, maps, license, btf, kernel_btf, kernel_version, privileged, cpus, observer)
        _follow_all(run)
        stack_bytes = check_stack_depth(program.instructions, run.flow)
        if privileged:
            check_functions_taken(program.instructions, run.flow, run.reachable)
    except Fault as fault:
        raise Rejected(finding_of(program, fault, run)) from None
    return Verified(
        _facts(run),
        run.processed,
        run.total_states,
        stack_bytes,
        {one.name: one.stack_bytes for one in run.flow.functions},
        time.perf_counter() - started,
    )


def _prepare(
    program: Program,
    maps: Sequence[MapDefinition],
    license: str,
    btf: Btf | None,
    kernel_btf: Btf | None,
    kernel_version: tuple[int, int],
    privileged: bool,
    cpus: int | None,
    observer: Observer | None,
) -> Run:
    """Everything before the first path is followed: the kernel's checks of structure, in its order."""
    instructions = program.instructions
    if not 0 < len(instructions) <= MAX_INSTRUCTIONS:
        raise Fault(
            Rule.SIZE, "", note=f"It has {len(instructions)} instructions; a program has 1 to {MAX_INSTRUCTIONS:,}."
        )
    found = find_functions(instructions, program.functions)
    if not is_gpl(license) and any(one.src == PSEUDO_KFUNC_CALL and one.opcode == 0x85 for one in instructions):
        raise Fault(Rule.UNAVAILABLE, "cannot call kernel function from non-GPL compatible program")
    if not privileged and len(found) > 1:
        raise Fault(
            Rule.UNAVAILABLE,
            "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN",
        )
    check_functions(instructions, found, helper_number("bpf_tail_call") or 0)
    check_layout(program.functions, found)
    _check_tail_calls(found, btf)
    callees = find_callees(instructions, program.kfuncs)
    check_encoding(program, len(maps))
    flow = check_flow(instructions, found, callees)
    if any(definition.type == 33 for definition in maps) and not privileged:
        raise Fault(Rule.UNAVAILABLE, "CAP_BPF and CAP_PERFMON are required to use arena")
    run = Run(
        program,
        [map_facts(definition, index, btf) for index, definition in enumerate(maps)],
        flow,
        callees,
        live_registers(instructions, flow, callees),
        loop_numbers(flow),
        is_gpl=is_gpl(license),
        btf=btf,
        kernel_btf=kernel_btf,
        kernel_version=kernel_version,
        privileged=privileged,
        observer=observer,
    )
    run.cpus = cpus or os.cpu_count() or 1
    _check_direct_values(run)
    _compile(run)
    return run


def _check_tail_calls(found: Sequence[FunctionFlow], btf: Btf | None) -> None:
    """kernel: check_abnormal_return(), check_btf_func()."""
    for function in found[1:]:
        if not function.has_tail_call:
            continue
        if btf is None or not function.btf_type_id:
            raise Fault(Rule.FUNCTION, "tail_call is not allowed in subprogs without BTF", at=function.start)
        held = btf.type(function.btf_type_id)
        proto = btf.type(held.type_id) if isinstance(held, Func) else None
        result = btf.strip(proto.type_id)[1] if isinstance(proto, FuncProto) else None
        if not isinstance(result, Int | Enum):
            raise Fault(Rule.FUNCTION, "tail_call is only allowed in functions that return 'int'.", at=function.start)


_LOAD_MODES = (BPF_MEM, BPF_MEMSX)
_MAP_SOURCES = (PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE)


def check_encoding(program: Program, map_count: int) -> None:
    """kernel: resolve_pseudo_ldimm64()."""
    instructions = program.instructions
    at = 0
    while at < len(instructions):
        one = instructions[at]
        form = FORMS[one.opcode]
        if one.opcode & 7 == BPF_LDX and (one.opcode & 0xE0 not in _LOAD_MODES or one.imm):
            raise Fault(Rule.STRUCTURE, "BPF_LDX uses reserved fields", at=at)
        if one.opcode == LDDW:
            _check_wide(program, at, map_count)
            at += 1
        elif form is None:
            raise Fault(Rule.STRUCTURE, f"unknown opcode {one.opcode:02x}", at=at)
        at += 1


def _check_wide(program: Program, at: int, map_count: int) -> None:
    instructions = program.instructions
    one = instructions[at]
    second = instructions[at + 1] if at + 1 < len(instructions) else None
    if second is None or second.opcode or second.dst or second.src or second.offset:
        raise Fault(Rule.STRUCTURE, "invalid bpf_ld_imm64 insn", at=at)
    if one.src in (0, PSEUDO_FUNC):
        return
    if one.src == PSEUDO_BTF_ID:
        if not 0 <= one.imm < len(program.ksyms):
            raise Fault(Rule.STRUCTURE, f"ldimm64 insn specifies invalid btf_id {one.imm}.", at=at)
        return
    if one.src > PSEUDO_MAP_IDX_VALUE or (one.src in (PSEUDO_MAP_FD, PSEUDO_MAP_IDX) and second.imm):
        raise Fault(Rule.STRUCTURE, "unrecognized bpf_ld_imm64 insn", at=at)
    if one.src in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE) or not 0 <= one.imm < map_count:
        raise Fault(Rule.STRUCTURE, f"fd {one.imm} is not pointing to valid bpf_map", at=at)
    if one.imm >= _MOST_MAPS:
        raise Fault(Rule.SIZE, f"The total number of maps per program has reached the limit of {_MOST_MAPS}", at=at)


def _check_direct_values(run: Run) -> None:
    instructions = run.program.instructions
    for at, one in enumerate(instructions):
        if one.opcode != LDDW or one.src not in _MAP_SOURCES:
            continue
        facts = run.maps[one.imm]
        if facts.row is not None and facts.row.name == "ARENA":
            run.arena = facts
        if one.src == PSEUDO_MAP_IDX_VALUE:
            problem = loads.direct_value_problem(run, one, instructions[at + 1].imm)
            if problem:
                raise Fault(Rule.STRUCTURE, problem, at=at)


def _compile(run: Run) -> None:
    """The step of each instruction."""
    for at, one in enumerate(run.program.instructions):
        form = FORMS[one.opcode]
        if form is None or (one.opcode == 0 and at and run.program.instructions[at - 1].is_wide):
            run.steps.append(arithmetic.fails(Rule.STRUCTURE, "invalid BPF_LD_IMM insn"))
            continue
        invalid = next((number for number in (one.src, one.dst) if number > 10), None)
        if invalid is not None:
            run.steps.append(arithmetic.fails(Rule.STRUCTURE, f"R{invalid} is invalid"))
        elif form.kind in (Kind.LD_ABS, Kind.LD_IND):
            message = "BPF_LD_[ABS|IND] instructions not allowed for this program type"
            run.steps.append(arithmetic.fails(Rule.STRUCTURE, message))
        else:
            run.steps.append(_STEPS[form.kind](run, at, one, form))
        run.is_may_goto[at] = form.kind is Kind.MAY_GOTO


def _follow_all(run: Run) -> None:
    """The program, then each global function that it calls (kernel: do_check_main(), do_check_subprogs())."""
    _follow_function(run, 0)
    again = True
    while again:
        again = False
        for number, function in enumerate(run.flow.functions):
            if number and function.is_global and function.is_called and not function.is_verified:
                _follow_function(run, number)
                function.is_verified = again = True


def _follow_function(run: Run, number: int) -> None:
    function = run.flow.functions[number]
    run.explored.clear()
    run.visits.clear()
    frame = Frame(MAIN_FUNCTION, 0, number)
    run.at = function.start
    if number:
        functions.set_up(run, frame, function)
    else:
        frame.registers[1] = pointer(PTR_TO_CTX)
    follow(run, State(frame, function.start), function.start, visited, path_ends)


def _facts(run: Run) -> Facts:
    found = tuple(FunctionFacts(one.name, one.start, one.end, one.stack_bytes) for one in run.flow.functions)
    return Facts(run.context, run.calls, found, bytes(run.reachable))


__all__ = ["DEFAULT_KERNEL", "Finding", "Rejected", "Rule", "Verified", "verify"]
