"""CO-RE accesses: which field an access string means in the local type, and where that field is in a target type.

The rules are libbpf's (tools/lib/bpf/relo_core.c): fields are found by name, anonymous structs and unions are looked
through, and a name's "essential" part ends before `___`.
"""

from __future__ import annotations

from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, BtfType, Composite, Enum, Float, Fwd, Int, Member, Ptr
from routebpf.objects.core_types import essential_name

_MAX_STEPS = 64  # BPF_CORE_SPEC_MAX_LEN


class Step(NamedTuple):
    """A named member of composite `type_id`, or, with `name` None, the element whose type is `type_id`."""

    type_id: int
    number: int  # of the member in its composite, or of the element in its array
    name: str | None


class Access(NamedTuple):
    """A path from type `root` to a field: what it means (`steps`) and where it ends, in bits from the root's start."""

    btf: Btf
    root: int
    steps: tuple[Step, ...]
    bit_offset: int

    def member(self) -> Member | None:
        """The member at the end of the path, None for an array element or the root itself."""
        last = self.steps[-1]
        found = self.btf.type(last.type_id)
        return found.members[last.number] if last.name is not None and isinstance(found, Composite) else None

    def __str__(self) -> str:
        text = type_text(self.btf, self.root)
        for position, step in enumerate(self.steps):
            if step.name is not None:
                text += f".{step.name}"
            elif position or step.number:
                text += f"[{step.number}]"
        return text


def type_text(btf: Btf, type_id: int) -> str:
    """A type as messages name it, such as "struct sk_buff"."""
    found = btf.type(type_id)
    name = btf.name(type_id) or "(anonymous)"
    match found:
        case Composite() | Enum():
            return f"{'enum' if isinstance(found, Enum) else found.kind.name.lower()} {name}"
        case Fwd():
            return f"{'union' if found.is_union else 'struct'} {name}"
        case _:
            return name


def read_indices(access: str, what: str) -> tuple[int, ...]:
    """The numbers of an access string such as "0:1:2"."""
    parts = access.split(":")
    if len(parts) > _MAX_STEPS or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"{what}: {access!r} is no access string")
    return tuple(int(part) for part in parts)


def local_access(btf: Btf, root: int, indices: tuple[int, ...], what: str) -> Access:
    """The access that `indices` describe in the object's own type `root`."""
    type_id, _ = btf.strip(root)
    steps = [Step(type_id, indices[0], None)]
    bit_offset = indices[0] * btf.size_of(type_id) * 8
    for index in indices[1:]:
        type_id, found = btf.strip(type_id)
        if isinstance(found, Composite) and index < len(found.members):
            member = found.members[index]
            bit_offset += member.bit_offset
            if member.name:
                steps.append(Step(type_id, index, member.name))
            type_id = member.type_id
        elif isinstance(found, Array) and (index < found.length or _is_flexible(btf, steps[-1], found)):
            type_id, _ = btf.strip(found.type_id)
            steps.append(Step(type_id, index, None))
            bit_offset += index * btf.size_of(type_id) * 8
        else:
            raise InputError(f"{what}: access {':'.join(map(str, indices))} leads out of {type_text(btf, root)}")
    return Access(btf, root, tuple(steps), bit_offset)


def match_access(local: Access, target: Btf, root: int) -> Access | None:
    """The same field in the target's type `root`, or None if that has no such field of a compatible type."""
    steps: list[Step] = []
    bit_offset = 0
    type_id = root
    for position, step in enumerate(local.steps):
        type_id, found = target.strip(type_id)
        if step.name is not None:
            path = _find_member(target, type_id, step.name, 0)
            if path is None or not _compatible(local.btf, _member_type(local.btf, step), target, path.member.type_id):
                return None
            steps.append(Step(path.composite_id, path.number, step.name))
            bit_offset += path.bit_offset
            type_id = path.member.type_id
            continue
        if position:
            if not isinstance(found, Array):
                return None
            if step.number >= found.length and not _is_flexible(target, steps[-1], found):
                return None
            type_id, _ = target.strip(found.type_id)
        steps.append(Step(type_id, step.number, None))
        bit_offset += step.number * target.size_of(type_id) * 8
    return Access(target, root, tuple(steps), bit_offset)


class _Found(NamedTuple):
    composite_id: int
    number: int
    member: Member
    bit_offset: int  # from the start of the type that was searched


def _find_member(btf: Btf, type_id: int, name: str, depth: int) -> _Found | None:
    type_id, found = btf.strip(type_id)
    if not isinstance(found, Composite):
        return None
    if depth > _MAX_STEPS:
        raise InputError(f"{btf.where}: {type_text(btf, type_id)} is nested too deep")
    for index, member in enumerate(found.members):
        if member.name == name:
            return _Found(type_id, index, member, member.bit_offset)
        if not member.name:
            inner = _find_member(btf, member.type_id, name, depth + 1)
            if inner is not None:
                return inner._replace(bit_offset=inner.bit_offset + member.bit_offset)
    return None


def _member_type(btf: Btf, step: Step) -> int:
    found = btf.type(step.type_id)
    assert isinstance(found, Composite)
    return found.members[step.number].type_id


def _is_flexible(btf: Btf, last: Step, array: Array) -> bool:
    """Whether the array is the last member of its struct and of length 0: any index is inside."""
    holder = btf.type(last.type_id)
    return array.length == 0 and isinstance(holder, Composite) and last.number == len(holder.members) - 1


def _compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether a field of one type may be read as the other (libbpf: bpf_core_fields_are_compat)."""
    for _ in range(_MAX_STEPS):
        local_id, mine = local.strip(local_id)
        target_id, theirs = target.strip(target_id)
        if isinstance(mine, Array) and isinstance(theirs, Array):
            local_id, target_id = mine.type_id, theirs.type_id
            continue
        return _compatible_types(mine, theirs)
    return False


def _compatible_types(mine: BtfType, theirs: BtfType) -> bool:
    match mine, theirs:
        case (Composite(), Composite()) | (Ptr(), Ptr()) | (Float(), Float()):
            return True
        case (Int(), Int()):
            return mine.bit_offset == 0 == theirs.bit_offset
        case (Enum(name=one), Enum(name=other)) | (Fwd(name=one), Fwd(name=other)):
            return not one or not other or essential_name(one) == essential_name(other)
        case _:
            return False
