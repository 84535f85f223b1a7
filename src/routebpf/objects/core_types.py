"""CO-RE on whole types: which types of a target are candidates for a local one, and when two types match.

The rules are libbpf's (tools/lib/bpf/relo_core.c: bpf_core_types_are_compat, bpf_core_types_match).
"""

from __future__ import annotations

from collections.abc import Iterable

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Composite, Enum, FuncProto, Fwd, Int, Kind, Ptr, Void

_MAX_DEPTH = 32
_ENUMS = (Kind.ENUM, Kind.ENUM64)


def essential_name(name: str) -> str:
    """The name without its flavor: `task_struct` for `task_struct___old`."""
    position = name.rfind("___")
    return name[:position] if position > 0 else name


def candidates(local: Btf, local_id: int, target: Btf) -> list[int]:
    """The target's types of the same essential name and kind; where the target is the object's BTF, the type itself."""
    if local is target:
        return [local_id]
    name = essential_name(local.name(local_id))
    if not name:
        return []
    kind = local.kind(local_id)
    return [
        found
        for found in target.find_flavors(name)
        if _same_kind(kind, target.kind(found)) and essential_name(target.name(found)) == name
    ]


def _same_kind(mine: Kind, theirs: Kind) -> bool:
    return mine is theirs or (mine in _ENUMS and theirs in _ENUMS)


def types_are_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether the target's type counts as being there: same kinds all the way down, contents aside."""
    return _same_kind(local.kind(local_id), target.kind(target_id)) and _compatible(
        local, local_id, target, target_id, _MAX_DEPTH
    )


def _compatible(local: Btf, local_id: int, target: Btf, target_id: int, depth: int) -> bool:
    if depth == 0:
        raise InputError(f"{local.where}: type {local_id} is nested too deep")
    local_id, mine = local.strip(local_id)
    target_id, theirs = target.strip(target_id)
    match mine, theirs:
        case (Ptr(type_id=one), Ptr(type_id=other)) | (Array(type_id=one), Array(type_id=other)):
            return _compatible(local, one, target, other, depth - 1)
        case (FuncProto(), FuncProto()):
            if len(mine.parameters) != len(theirs.parameters):
                return False
            pairs = zip(mine.parameters, theirs.parameters, strict=True)
            return _compatible(local, mine.type_id, target, theirs.type_id, depth - 1) and all(
                _compatible(local, ours.type_id, target, its.type_id, depth - 1) for ours, its in pairs
            )
        case (Int(), Int()):
            return mine.bit_offset == 0 == theirs.bit_offset
        case (Void(), Void()) | (Enum(), Enum()) | (Fwd(), Fwd()):
            return True
        case (Composite(), Composite()):
            return mine.kind is theirs.kind
        case _:
            return False


def types_match(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether the target's type has everything that the local one has: members, enumerators, of matching types."""
    return _matches(local, local_id, target, target_id, behind_pointer=False, depth=_MAX_DEPTH)


def _matches(local: Btf, local_id: int, target: Btf, target_id: int, *, behind_pointer: bool, depth: int) -> bool:
    if depth == 0:
        raise InputError(f"{local.where}: type {local_id} is nested too deep")
    local_id, mine = local.strip(local_id)
    target_id, theirs = target.strip(target_id)
    if essential_name(local.name(local_id)) != essential_name(target.name(target_id)):
        return False

    def both(one: int, other: int, *, behind: bool = behind_pointer) -> bool:
        return _matches(local, one, target, other, behind_pointer=behind, depth=depth - 1)

    match mine, theirs:
        case (Void(), Void()):
            return True
        case (Fwd(), Fwd()):
            return mine.is_union == theirs.is_union
        case (Fwd(is_union=is_union), Composite(kind=kind)) | (Composite(kind=kind), Fwd(is_union=is_union)):
            return behind_pointer and is_union == (kind is Kind.UNION)
        case (Enum(), Enum()):
            return mine.size == theirs.size and _names_within(_enumerators(mine), _enumerators(theirs))
        case (Composite(), Composite()):
            if mine.kind is not theirs.kind:
                return False
            return behind_pointer or all(
                any(
                    essential_name(one.name) == essential_name(other.name) and both(one.type_id, other.type_id)
                    for other in theirs.members
                )
                for one in mine.members
            )
        case (Int(), Int()):
            return mine.size == theirs.size and mine.signed == theirs.signed
        case (Ptr(), Ptr()):
            return both(mine.type_id, theirs.type_id, behind=True)
        case (Array(), Array()):
            return mine.length == theirs.length and both(mine.type_id, theirs.type_id)
        case (FuncProto(), FuncProto()):
            if len(mine.parameters) != len(theirs.parameters):
                return False
            pairs = zip(mine.parameters, theirs.parameters, strict=True)
            return all(both(one.type_id, other.type_id) for one, other in pairs) and both(mine.type_id, theirs.type_id)
        case _:
            return False


def _enumerators(found: Enum) -> list[str]:
    return [essential_name(name) for name, _ in found.values]


def _names_within(names: Iterable[str], others: Iterable[str]) -> bool:
    return set(names) <= set(others)
