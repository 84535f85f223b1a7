"""Calls in the pass: of helpers, of kfuncs, of BPF functions, and of callbacks by helpers.

kernel: kernel/bpf/verifier.c, check_helper_call(), check_func_call(), push_callback_call().
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routebpf.isa import Form, Instruction
from routebpf.isa.opcodes import PSEUDO_CALL, PSEUDO_KFUNC_CALL, STACK_BYTES
from routebpf.verifier import structure_rules as rules
from routebpf.verifier.structure_facts import CallFacts, MissingCallError, StructureError, UnknownCallError
from routebpf.verifier.structure_pass import Pass, State, write_weakly
from routebpf.verifier.structure_values import NUMBER, OTHER, UNSET, Origin, Value

_ARGUMENTS = range(1, 6)
# What a callback finds in r1, r2, ... by the helper that calls it; a name is an argument of the helper, by number.
# kernel: set_loop_callback_state(), set_map_elem_callback_state() and their kin.
_CALLBACK_ARGUMENTS: Mapping[str, Sequence[Value | int]] = {
    "bpf_loop": (NUMBER, 3),
    "bpf_for_each_map_elem": (1, OTHER, OTHER, 3),
    "bpf_timer_set_callback": (OTHER, OTHER, OTHER),
    "bpf_user_ringbuf_drain": (OTHER, 3),
    "bpf_find_vma": (OTHER, OTHER, 4),
}
_RESULTS = {rules.Result.NOTHING: UNSET, rules.Result.NUMBER: NUMBER}
_MAPS_OF_MAPS = (12, 13)  # BPF_MAP_TYPE_ARRAY_OF_MAPS, _HASH_OF_MAPS


def call(run: Pass, one: Instruction, _form: Form, state: State) -> bool:
    if one.src == PSEUDO_CALL:
        return _call_function(run, run.flow.span_index(run.at + one.imm + 1), state)
    if one.src == PSEUDO_KFUNC_CALL:
        return _call_kfunc(run, one.imm, state)
    return _call_helper(run, one.imm, state)


def _call_function(run: Pass, span: int, state: State) -> bool:
    summary = run.summaries[span]
    summary.callers.add(run.block)
    arguments = {number: state.registers[number] for number in _ARGUMENTS}
    run.enter(span, arguments, state.slots)
    if summary.result is None:
        return False
    _take_writes(run, span, state)
    _clobber(state, summary.result)
    return True


def _take_writes(run: Pass, span: int, state: State) -> None:
    """Put what the function may have written into other frames into `state`."""
    for key, value in list(run.summaries[span].written.items()):
        write_weakly(state.slots, key, value)
        run.note_write(key, value)


def _clobber(state: State, result: Value) -> None:
    state.registers[0] = result
    for number in _ARGUMENTS:
        state.registers[number] = UNSET


def _call_helper(run: Pass, number: int, state: State) -> bool:
    helper = rules.helper(number)
    if helper is None:
        raise run.fault(f"invalid func unknown#{number}", "No kernel has a helper of that number.", UnknownCallError)
    program_type = run.program.program_type
    if program_type not in helper.program_types:
        raise run.fault(
            f"program of this type cannot use helper {helper.name}#{number}", f"{program_type} programs do not have it."
        )
    if helper.gpl_only and not rules.is_gpl(run.license):
        raise run.fault(
            "cannot call GPL-restricted function from non-GPL compatible program",
            f'{helper.name} needs a GPL-compatible licence; the object says "{run.license}".',
        )
    if not rules.is_implemented(helper.name):
        raise _missing(run, f"{helper.name}#{number}")
    arguments = [run.read(state, register) for register in range(1, helper.arguments + 1)]
    _note_call(run, arguments)
    for argument in arguments:
        if argument.origin is Origin.FUNCTION:
            _call_back(run, helper.name, argument.which, state)
        elif argument.origin is Origin.STACK:
            _check_stack_argument(run, argument)
    _clobber(state, _helper_result(run, helper, arguments))
    return True


def _call_kfunc(run: Pass, index: int, state: State) -> bool:
    name = run.program.kfuncs[index] if 0 <= index < len(run.program.kfuncs) else f"kfunc#{index}"
    kfunc = rules.kfunc(name)
    if kfunc is None or run.program.program_type not in kfunc.program_types:
        raise run.fault(
            f"calling kernel function {name} is not allowed", f"{run.program.program_type} programs do not have it."
        )
    if not rules.is_gpl(run.license):
        raise run.fault("cannot call kernel function from non-GPL compatible program")
    if not rules.is_implemented(name):
        raise _missing(run, name)
    arguments = [run.read(state, register) for register in range(1, kfunc.arguments + 1)]
    _note_call(run, arguments)
    _clobber(state, _RESULTS.get(kfunc.result, OTHER))
    return True


def _missing(run: Pass, name: str) -> StructureError:
    return run.fault(f"{name} is not implemented in the embedded host", "Run it on the kernel host.", MissingCallError)


def _note_call(run: Pass, arguments: Sequence[Value]) -> None:
    padded = [*arguments, *[UNSET] * (5 - len(arguments))]
    run.calls[run.at] = CallFacts(
        maps=tuple(one.which if one.origin is Origin.MAP else None for one in padded),
        callbacks=tuple(one.which if one.origin is Origin.FUNCTION else None for one in padded),
        constants=tuple(one.offset if one.origin is Origin.CONSTANT else None for one in padded),
    )


def _check_stack_argument(run: Pass, argument: Value) -> None:
    if argument.offset is None:
        return
    if not -STACK_BYTES <= argument.offset < 0:
        raise run.fault(
            f"invalid indirect access to stack off={argument.offset}", f"The stack is r10-{STACK_BYTES} to r10-1."
        )
    run.use_stack(argument.which, argument.offset)


def _helper_result(run: Pass, helper: rules.Function, arguments: Sequence[Value]) -> Value:
    if helper.result in _RESULTS:
        return _RESULTS[helper.result]
    which = next((one.which for one in arguments if one.origin is Origin.MAP), None)
    if helper.result is rules.Result.MAP_VALUE and which is not None and run.maps[which].type not in _MAPS_OF_MAPS:
        return Value(Origin.MAP_VALUE, which, 0)
    return OTHER


def _call_back(run: Pass, helper: str, start: int, state: State) -> None:
    """The helper may call the function at `start`, any number of times."""
    span = run.flow.span_index(start)
    summary = run.summaries[span]
    summary.callers.add(run.block)
    summary.is_callback = True
    given = _CALLBACK_ARGUMENTS.get(helper, (OTHER,) * 5)
    arguments = {
        number: state.registers[one] if isinstance(one, int) else one for number, one in enumerate(given, start=1)
    }
    run.enter(span, arguments, state.slots)
    _take_writes(run, span, state)
