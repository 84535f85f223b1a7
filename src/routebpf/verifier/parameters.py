"""What each parameter of a global function is, by the BTF of the function and its `__arg_…` tags.

kernel: kernel/bpf/btf.c, btf_prepare_func_args().
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import BtfType, Composite, DeclTag, Func, FuncProto, Int, Ptr
from routebpf.objects.btf_types import Enum as BtfEnum
from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.objects.core_types import essential_name
from routebpf.verifier import btf_access
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.flow import FunctionFlow
from routebpf.verifier.register import MEM_RDONLY, PTR_MAYBE_NULL, PTR_TRUSTED, PTR_UNTRUSTED
from routebpf.verifier.run import Run

_CONTEXT = "__sk_buff"
_CONTEXT_NAMES = (_CONTEXT, "sk_buff")
_MOST_ARGUMENTS = 5
_PREFIX = "arg:"
_TAGS = frozenset({"ctx", "trusted", "untrusted", "nonnull", "nullable", "arena"})


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
        if not (type_id and isinstance(one, DeclTag) and one.type_id == function and one.component >= 0):
            continue
        if one.name.startswith(_PREFIX):
            found[one.component] = found.get(one.component, frozenset()) | {one.name.removeprefix(_PREFIX)}
    return found


def _parameter(run: Run, btf: Btf, function: FunctionFlow, number: int, type_id: int, tags: Set[str]) -> Parameter:
    if tags - _TAGS:
        raise Fault(Rule.FUNCTION, f"arg#{number} has unsupported set of tags")
    stripped_id, held = btf.strip(type_id)
    if isinstance(held, Ptr):
        return _pointer(run, btf, number, held.type_id, tags)
    if tags:
        raise Fault(Rule.FUNCTION, f"arg#{number} has pointer tag, but is not a pointer type")
    if isinstance(held, Int | BtfEnum):
        return Parameter(Passed.SCALAR)
    raise Fault(
        Rule.FUNCTION, f"Arg#{number} type {btf.kind(stripped_id).name} in {function.name}() is not supported yet."
    )


def _pointer(run: Run, btf: Btf, number: int, pointee: int, tags: Set[str]) -> Parameter:
    """A pointer: its tags say what to, or else its type."""
    target_id, target = btf.strip(pointee)
    name = btf.name(target_id)
    if "ctx" in tags or (isinstance(target, Composite) and name in _CONTEXT_NAMES):
        _check_alone(number, tags, "ctx")
        if tags and btf.kind(target_id) is not BtfKind.VOID and (not _is_struct(btf, target_id) or name != _CONTEXT):
            raise Fault(Rule.FUNCTION, f"arg#{number} should be `struct {_CONTEXT} *`")
        return Parameter(Passed.CONTEXT)
    if isinstance(target, Composite) and name == "bpf_dynptr":
        _check_alone(number, tags)
        return Parameter(Passed.DYNPTR)
    if "trusted" in tags:
        _check_alone(number, tags - {"nullable", "untrusted", "arena"}, "trusted")
        flags = PTR_TRUSTED | (PTR_MAYBE_NULL if "nullable" in tags else 0)
        return Parameter(Passed.OBJECT, flags, type_id=_kernel_type(run, btf, number, target_id))
    if "untrusted" in tags:
        _check_alone(number, tags, "untrusted", "untrusted cannot be combined with any other tags")
        return _untrusted(run, btf, number, target_id, target)
    if "arena" in tags:
        _check_alone(number, tags, "arena", "arena cannot be combined with any other tags")
        return Parameter(Passed.ARENA)
    _check_alone(number, tags, "nonnull")
    return Parameter(Passed.MEMORY, 0 if tags else PTR_MAYBE_NULL, _size(btf, number, pointee))


def _check_alone(number: int, tags: Set[str], tag: str = "", words: str = "has invalid combination of tags") -> None:
    if tags - {tag}:
        raise Fault(Rule.FUNCTION, f"arg#{number} {words}")


def _is_struct(btf: Btf, type_id: int) -> bool:
    return btf.kind(type_id) is BtfKind.STRUCT


def _untrusted(run: Run, btf: Btf, number: int, target_id: int, target: BtfType) -> Parameter:
    if btf.kind(target_id) is BtfKind.VOID or isinstance(target, Int | BtfEnum):
        return Parameter(Passed.UNTRUSTED, MEM_RDONLY | PTR_UNTRUSTED)
    found = _kernel_type(run, btf, number, target_id)
    if not isinstance(target, Composite):
        what = f"{btf.kind(target_id).name} '{btf.name(target_id)}'"
        raise Fault(Rule.FUNCTION, f"arg#{number} has type {what}, but only struct or primitive types are allowed")
    return Parameter(Passed.OBJECT, PTR_UNTRUSTED, type_id=found)


def _kernel_type(run: Run, btf: Btf, number: int, target_id: int) -> int:
    """The kernel's type of this kind and name (kernel: btf_get_ptr_to_btf_id())."""
    kind, name = btf.kind(target_id), btf.name(target_id)
    lead = f"arg#{number} reference type('{_kind_text(kind)} {name or '(anon)'}')"
    if not name:
        raise Fault(Rule.FUNCTION, f"{lead} candidate matching error: -22")
    kernel = btf_access.types_of(run)
    found = [one for one in kernel.find_flavors(essential_name(name)) if kernel.kind(one) is kind]
    if len(found) != 1:
        raise Fault(Rule.FUNCTION, f"{lead} {'is ambiguous' if found else 'has no matches'}")
    return found[0]


def _kind_text(kind: BtfKind) -> str:
    return "UNKNOWN" if kind is BtfKind.VOID else kind.name


def _size(btf: Btf, number: int, pointee: int) -> int:
    try:
        return btf.size_of(pointee)
    except InputError:
        target_id = btf.strip(pointee)[0]
        lead = f"arg#{number} reference type('{_kind_text(btf.kind(target_id))} {btf.name(target_id)}')"
        raise Fault(Rule.FUNCTION, f"{lead} size cannot be determined: -22") from None
