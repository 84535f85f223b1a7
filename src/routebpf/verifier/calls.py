"""Steps of calls and of exit: functions of the program, and what is common to helpers and kfuncs.

kernel: kernel/bpf/verifier.c, do_check_insn(), check_func_call(), prepare_func_exit(), process_bpf_exit_full().
"""

from __future__ import annotations

from routebpf.isa import Form, Instruction, Kind
from routebpf.isa.opcodes import PSEUDO_CALL, PSEUDO_KFUNC_CALL
from routebpf.verifier import functions
from routebpf.verifier.arithmetic import fails
from routebpf.verifier.bounds import S64_MAX, S64_MIN
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.helper_call import call_helper
from routebpf.verifier.kfunc_call import call_kfunc
from routebpf.verifier.loops import previous_entry, widen
from routebpf.verifier.precision import demand
from routebpf.verifier.references import check_nothing_held, void
from routebpf.verifier.register import (
    CONST_PTR_TO_MAP,
    DYNPTR_TYPE_SKB,
    PTR_TO_MEM,
    PTR_TO_STACK,
    SCALAR_VALUE,
    UNKNOWN_SCALAR,
    Register,
    is_packet,
    type_text,
)
from routebpf.verifier.run import PATH_ENDS, Run, Step
from routebpf.verifier.scalar import Range
from routebpf.verifier.state import push_frame


def call_step(run: Run, at: int, one: Instruction, _form: Form) -> Step:
    """`call`, of a function, a helper or a kfunc."""
    if one.dst or one.src not in (0, PSEUDO_CALL, PSEUDO_KFUNC_CALL) or (one.offset and one.src != PSEUDO_KFUNC_CALL):
        return fails(Rule.STRUCTURE, "BPF_CALL uses reserved fields")
    if one.src == PSEUDO_CALL:
        number = run.flow.function_index(at + one.imm + 1)

        def call() -> int:
            run.jumps += 1
            return call_function(run, at, number)

        return call
    callee = run.callees[at]
    assert callee is not None
    is_kfunc = one.src == PSEUDO_KFUNC_CALL

    def step() -> int:
        run.jumps += 1
        if run.state.locks and not callee.effects.under_lock:
            raise Fault(Rule.LOCK, "function calls are not allowed while holding a lock")
        _note_call(run)
        if is_kfunc:
            call_kfunc(run, callee)
        else:
            call_helper(run, callee)
        if callee.moves_packet:
            forget_packet(run)
        if callee.is_tail_call and len(run.state.frames) > 1:
            return _leave_by_tail_call(run, at)
        return at + 1

    return step


def _leave_by_tail_call(run: Run, at: int) -> int:
    """A tail call in a function ends it, and what it called may have moved the packet; or it fails, and goes on.

    kernel: check_helper_call(), BPF_FUNC_tail_call.
    """
    run.push(at + 1)
    forget_packet(run)
    run.set_scalar(0, UNKNOWN_SCALAR)
    return _return(run)


def _note_call(run: Run) -> None:
    """For the engines: the call, and the map in r1 if it is the same on every path."""
    register = run.regs[1]
    number = register.extra.map.index if register.type == CONST_PTR_TO_MAP else None
    if run.calls.setdefault(run.at, number) != number:
        run.calls[run.at] = None


def forget_packet(run: Run) -> None:
    """The packet may have moved: what pointed to it points nowhere (kernel: clear_all_pkt_pointers())."""
    gone = void(run)

    def forget(register: Register) -> Register:
        is_slice = register.type & 0xFF == PTR_TO_MEM and register.type & DYNPTR_TYPE_SKB
        return gone if is_packet(register) or is_slice else register

    run.state.replace_registers(forget)


def call_function(run: Run, at: int, number: int) -> int:
    """kernel: check_func_call()."""
    function = run.flow.functions[number]
    problem = functions.check_arguments(run, function)
    if function.is_global:
        _call_global(run, number, problem)
        return at + 1
    callee, caller = push_frame(run.state, at, number), run.state.frames[-2]
    for register in range(1, 6):
        callee.registers[register] = caller.registers[register]
        callee.depends[register] = caller.depends[register]
    functions.clear_caller_saved(caller)
    run.enter_frame()
    return function.start


def _call_global(run: Run, number: int, problem: str) -> None:
    function, state = run.flow.functions[number], run.state
    also = f"{problem}\n" if problem else ""
    if state.locks:
        raise Fault(
            Rule.LOCK,
            f"{also}global function calls are not allowed while holding a lock,\nuse static function instead",
        )
    if function.might_sleep and (state.rcu_lock or state.preempt_locks or state.active_irq or not run.in_sleepable()):
        raise Fault(
            Rule.UNAVAILABLE,
            f"{also}global functions that may sleep are not allowed in non-sleepable context,\n"
            "i.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context",
        )
    if problem:
        raise Fault(Rule.FUNCTION, f"{problem}\nCaller passes invalid args into func#{number} ('{function.name}')")
    if function.moves_packet:
        forget_packet(run)
    function.is_called = True
    functions.clear_caller_saved(run.frame)
    run.set_scalar(0, UNKNOWN_SCALAR)


def exit_step(run: Run, _at: int, one: Instruction, _form: Form) -> Step:
    """`exit`, of a function or of the program."""
    if one.dst or one.src or one.imm:
        return fails(Rule.STRUCTURE, "BPF_EXIT uses reserved fields")

    def step() -> int:
        run.jumps += 1
        is_outermost = len(run.state.frames) == 1
        check_nothing_held(run, "BPF_EXIT instruction in main prog", check_locks=is_outermost)
        if not is_outermost:
            return _return(run)
        _check_result(run)
        return PATH_ENDS

    return step


def _check_result(run: Run) -> None:
    """kernel: check_return_code(), for LWT programs, global functions and asynchronous callbacks."""
    result = run.read(0)
    if run.is_leak(result):
        raise Fault(Rule.LEAK, "R0 leaks addr as return value", 0)
    frame = run.frame
    if frame.in_async_callback:
        if result.type != SCALAR_VALUE:
            raise Fault(
                Rule.CALLBACK,
                f"At async callback return the register R0 is not a known value ({type_text(result.type)})",
                0,
            )
        demand(run, 0)
        _check_within(result.range, frame.returns, "At async callback return")
    elif frame.function and result.type != SCALAR_VALUE:
        raise Fault(
            Rule.FUNCTION,
            f"At subprogram exit the register R0 is not a scalar value ({type_text(result.type)})",
            0,
        )


def _check_within(got: Range, returns: tuple[int, int], where: str) -> None:
    """kernel: retval_range_within(), verbose_invalid_scalar()."""
    if returns[0] <= got.smin and got.smax <= returns[1]:
        return
    text = f"{where} the register R0 has"
    if got.smin > S64_MIN:
        text += f" smin={got.smin}"
    if got.smax < S64_MAX:
        text += f" smax={got.smax}"
    if got.smin == S64_MIN and got.smax == S64_MAX:
        text += " unknown scalar value"
    raise Fault(Rule.CALLBACK, f"{text} should have been in [{returns[0]}, {returns[1]}]", 0)


def _return(run: Run) -> int:
    """kernel: prepare_func_exit()."""
    state = run.state
    run.liveness.update(state)
    callee, caller = state.frames[-1], state.frames[-2]
    result = callee.registers[0]
    if result.type == PTR_TO_STACK:
        raise Fault(Rule.FUNCTION, "cannot return stack pointer to the caller", 0)
    if not callee.in_callback:
        caller.registers[0] = result
        caller.depends[0] = callee.depends[0]
        state.frames.pop()
        run.enter_frame()
        return callee.callsite + 1
    if result.type != SCALAR_VALUE:
        raise Fault(Rule.CALLBACK, "R0 not a scalar value", 0)
    demand(run, 0)
    _check_within(result.range, callee.returns, "At callback return")
    state.frames.pop()
    caller.depends[1:6] = [0] * 5  # as if the function that calls back had set them anew
    run.enter_frame()
    before = previous_entry(run, state, callee.callsite)
    if before is not None:
        widen(before, state)
    return callee.callsite


STEPS = {Kind.CALL: call_step, Kind.EXIT: exit_step}
