"""Functions of the program by their BTF: what a global one gets and a caller must pass.

kernel: kernel/bpf/btf.c, btf_prepare_func_args(); kernel/bpf/verifier.c, btf_check_func_arg_match().
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Composite, DeclTag, Func, FuncProto, Int, Ptr
from routebpf.objects.btf_types import Enum as BtfEnum
from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.verifier import argument_memory, btf_access
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.flow import FunctionFlow
from routebpf.verifier.register import (
    CONST_PTR_TO_DYNPTR,
    DYNPTR_TYPE_LOCAL,
    MEM_RDONLY,
    PTR_MAYBE_NULL,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_MEM,
    PTR_TRUSTED,
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

_CONTEXT_NAMES = ("__sk_buff", "sk_buff")
_MOST_ARGUMENTS = 5


class Passed(Enum):
    """What a parameter of a global function is."""

    SCALAR = "a number"
    CONTEXT = "the context"
    MEMORY = "memory of a fixed size"
    DYNPTR = "a dynptr that cannot be changed"
    OBJECT = "a kernel object"
    ARENA = "an address in the arena"
    UNTRUSTED = "anything; it is read with care"


@dataclass(frozen=True, slots=True)
class Parameter:
    """`size` of MEMORY in bytes; `type_id` of OBJECT in the kernel's BTF."""

    passed: Passed
    flags: int = 0
    size: int = 0
    type_id: int = 0


def parameters(run: Run, function: FunctionFlow) -> tuple[Parameter, ...]:
    """What a function takes, by its BTF (kernel: btf_prepare_func_args()). Raises Fault."""
    btf = run.btf
    if btf is None or not function.btf_type_id:
        raise Fault(Rule.FUNCTION, "Verifier bug in btf_prepare_func_args")
    held = btf.type(function.btf_type_id)
    proto = btf.type(held.type_id) if isinstance(held, Func) else None
    if not isinstance(proto, FuncProto):
        raise Fault(Rule.FUNCTION, f"Invalid type of function {function.name}()")
    if len(proto.parameters) > _MOST_ARGUMENTS:
        raise Fault(
            Rule.FUNCTION, f"Global function {function.name}() with {len(proto.parameters)} > 5 args. Buggy compiler."
        )
    result = btf.strip(proto.type_id)[1]
    if not isinstance(result, Int | BtfEnum):
        raise Fault(
            Rule.FUNCTION,
            f"Global function {function.name}() return value not void or scalar."
            if function.is_global and proto.type_id
            else f"Global function {function.name}() doesn't return scalar. Only those are supported.",
        )
    tags = _tags(btf, function.btf_type_id)
    return tuple(
        _parameter(run, btf, function, number, one.type_id, tags.get(number, frozenset()))
        for number, one in enumerate(proto.parameters)
    )


def _tags(btf: Btf, function: int) -> dict[int, frozenset[str]]:
    """By parameter: the `arg:` tags that it has."""
    found: dict[int, frozenset[str]] = {}
    for type_id, one in btf.types():
        if type_id and isinstance(one, DeclTag) and one.type_id == function and one.component >= 0:
            found[one.component] = found.get(one.component, frozenset()) | {one.name.removeprefix("arg:")}
    return found


def _parameter(
    run: Run, btf: Btf, function: FunctionFlow, number: int, type_id: int, tags: frozenset[str]
) -> Parameter:
    stripped_id, held = btf.strip(type_id)
    if isinstance(held, Int | BtfEnum):
        return Parameter(Passed.SCALAR)
    if not isinstance(held, Ptr):
        raise Fault(
            Rule.FUNCTION, f"Arg#{number} type {btf.kind(stripped_id).name} in {function.name}() is not supported yet."
        )
    target_id, target = btf.strip(held.type_id)
    name = btf.name(target_id)
    if "ctx" in tags or (isinstance(target, Composite) and name in _CONTEXT_NAMES):
        return Parameter(Passed.CONTEXT)
    if isinstance(target, Composite) and name == "bpf_dynptr":
        return Parameter(Passed.DYNPTR)
    if "arena" in tags:
        return Parameter(Passed.ARENA)
    maybe_null = 0 if "nonnull" in tags else PTR_MAYBE_NULL
    if "trusted" in tags or ("untrusted" in tags and isinstance(target, Composite)):
        kernel = btf_access.types_of(run)
        found = kernel.find(name, BtfKind.STRUCT)
        if found is None:
            raise Fault(Rule.FUNCTION, f"arg#{number} type {name} is not known to the kernel")
        flags = PTR_UNTRUSTED if "untrusted" in tags else PTR_TRUSTED | (PTR_MAYBE_NULL if "nullable" in tags else 0)
        return Parameter(Passed.OBJECT, flags, type_id=found)
    if "untrusted" in tags:
        return Parameter(Passed.UNTRUSTED, MEM_RDONLY | PTR_UNTRUSTED)
    try:
        size = btf.size_of(held.type_id)
    except InputError:
        kind = btf.kind(target_id)
        word = "UNKNOWN" if kind is BtfKind.VOID else kind.name
        raise Fault(
            Rule.FUNCTION,
            f"arg#{number} reference type('{word} {name}') size cannot be determined: -22",
        ) from None
    return Parameter(Passed.MEMORY, maybe_null, size)


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
    if register.is_null and parameter.flags & PTR_MAYBE_NULL:
        return
    btf = btf_access.types_of(run)
    if register.base != PTR_TO_BTF_ID or not btf_access.is_struct(btf, register.extra, register.off, parameter.type_id):
        raise Fault(Rule.FUNCTION, f"R{at} is not a pointer to {btf.name(parameter.type_id)}", at)


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
