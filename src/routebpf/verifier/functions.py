"""Functions of the program by their BTF: what a global one gets and a caller must pass.

kernel: kernel/bpf/verifier.c, btf_check_func_arg_match().
"""

from __future__ import annotations

from routebpf.verifier import argument_memory, btf_access, helper_arguments
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.flow import FunctionFlow
from routebpf.verifier.parameters import Parameter, Passed, parameters
from routebpf.verifier.register import (
    CONST_PTR_TO_DYNPTR,
    DYNPTR_TYPE_LOCAL,
    PTR_MAYBE_NULL,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_MEM,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    UNKNOWN_SCALAR,
    UNSET,
    Memory,
    Register,
    pointer,
)
from routebpf.verifier.run import Run
from routebpf.verifier.state import Frame


def check_arguments(run: Run, function: FunctionFlow) -> str:
    """Why the registers are not what a global function takes, "" if they are, or it is not global."""
    if not function.is_global:
        return ""
    try:
        for number, parameter in enumerate(parameters(run, function)):
            _check_argument(run, number, parameter)
    except Fault as fault:
        return fault.message
    return ""


def _check_argument(run: Run, number: int, parameter: Parameter) -> None:
    register = run.regs[number + 1]
    at = number + 1
    match parameter.passed:
        case Passed.SCALAR:
            if register.type != SCALAR_VALUE:
                raise Fault(Rule.FUNCTION, f"R{at} is not a scalar", at)
        case Passed.CONTEXT:
            argument_memory.check_offset(register, at)
            if register.type != PTR_TO_CTX:
                raise Fault(Rule.FUNCTION, f"arg#{number} expects pointer to ctx", at)
        case Passed.MEMORY:
            argument_memory.check_offset(register, at)
            argument_memory.check_both_ways(run, at, parameter.size)
            if not parameter.flags & PTR_MAYBE_NULL and register.may_be_null:
                raise Fault(Rule.FUNCTION, f"arg#{number} is expected to be non-NULL", at)
        case Passed.ARENA:
            if register.type not in (PTR_TO_ARENA, SCALAR_VALUE):
                raise Fault(Rule.FUNCTION, f"R{at} is not a pointer to arena or scalar.", at)
        case Passed.DYNPTR:
            argument_memory.check_initialized_dynptr(run, at)
        case Passed.OBJECT:
            if not parameter.flags & PTR_UNTRUSTED:
                _check_object(run, register, at, parameter)


def _check_object(run: Run, register: Register, at: int, parameter: Parameter) -> None:
    """kernel: check_reg_type(), of a pointer to a kernel object."""
    may_be_null = bool(parameter.flags & PTR_MAYBE_NULL)
    if register.is_null and may_be_null:
        return
    helper_arguments.check_is_object(register, at, may_be_null=may_be_null)
    name = btf_access.types_of(run).name(parameter.type_id)
    helper_arguments.check_object(run, register, at, parameter.type_id, name, may_be_null=may_be_null)
    argument_memory.check_offset(register, at)


def set_up(run: Run, frame: Frame, function: FunctionFlow) -> None:
    """The registers that a global function starts with (kernel: do_check_common())."""
    for number, parameter in enumerate(parameters(run, function)):
        frame.registers[number + 1] = _initial(run, parameter)


def _initial(run: Run, parameter: Parameter) -> Register:
    flags = parameter.flags
    match parameter.passed:
        case Passed.CONTEXT:
            return pointer(PTR_TO_CTX)
        case Passed.DYNPTR:
            return pointer(CONST_PTR_TO_DYNPTR, id=run.new_id(), extra=DYNPTR_TYPE_LOCAL)
        case Passed.MEMORY:
            id = run.new_id() if flags & PTR_MAYBE_NULL else 0
            return pointer(PTR_TO_MEM | flags, id=id, extra=Memory(parameter.size))
        case Passed.UNTRUSTED:
            return pointer(PTR_TO_MEM | flags, extra=Memory(0))
        case Passed.OBJECT:
            return pointer(PTR_TO_BTF_ID | flags, id=run.new_id(), extra=parameter.type_id)
        case _:
            return UNKNOWN_SCALAR


def clear_caller_saved(frame: Frame) -> None:
    """kernel: clear_caller_saved_regs()."""
    frame.registers[:6] = [UNSET] * 6
    frame.depends[:6] = [0] * 6
