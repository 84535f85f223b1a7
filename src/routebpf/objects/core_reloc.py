"""CO-RE: patching instructions for where fields, types and enumerators are in a target's BTF.

As libbpf does it (tools/lib/bpf/relo_core.c). What is not there poisons the instruction: it becomes a call of a helper
that no kernel has, which only matters if it can be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.isa.opcodes import CALL, LDDW
from routebpf.objects.btf import Btf
from routebpf.objects.btf_ext import BtfExt, CoreRelocation
from routebpf.objects.btf_types import Array, Enum, Int, Ptr
from routebpf.objects.code import CodeSection, Slot
from routebpf.objects.core_access import Access, local_access, match_access, read_indices, type_text
from routebpf.objects.core_types import candidates, essential_name, types_are_compatible, types_match

POISON_HELPER = 0xBAD2310  # libbpf's "bad relo": shown by the verifier as invalid func unknown#195896080
_POISON = Slot(CALL, 0, 0, 0, POISON_HELPER)
_SIZE_BITS = {8: 0x18, 4: 0x00, 2: 0x08, 1: 0x10}  # BPF_DW, BPF_W, BPF_H, BPF_B
_BYTES_BY_SIZE = {bits: size for size, bits in _SIZE_BITS.items()}


class CoreKind(IntEnum):
    """enum bpf_core_relo_kind."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


_ENUMVAL_KINDS = (CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE)
_TYPE_KINDS = (CoreKind.TYPE_ID_TARGET, CoreKind.TYPE_EXISTS, CoreKind.TYPE_SIZE, CoreKind.TYPE_MATCHES)
_ZERO_IF_MISSING = (CoreKind.FIELD_EXISTS, CoreKind.ENUMVAL_EXISTS, *_TYPE_KINDS)


class _Value(NamedTuple):
    """What one side says: the number, and for a field that is loaded or stored its size and type.

    `is_certain` is false for what compilers and loaders may see differently (bitfields, type ids).
    """

    number: int
    load_bytes: int = 0
    load_type: Int | Ptr | None = None
    is_certain: bool = True


class _Decision(NamedTuple):
    """The number the compiler wrote, if that is certain, and the target's. `missing` says what the target lacks."""

    before: _Value | None
    after: _Value | None
    missing: str = ""


class _Match(NamedTuple):
    """A target type that has what is asked for; `access` for a field, `enumerator` for the index of an enum's value."""

    type_id: int
    access: Access | None = None
    enumerator: int = 0


def apply_core_relocations(
    code: Mapping[int, CodeSection], ext: BtfExt, local: Btf, target: Btf, path: str
) -> dict[tuple[int, int], str]:
    """Patch the slots of `code` for `target`; with the object's own BTF as the target nothing moves.

    Returns the poisoned instructions, by (section number, instruction), with the reason. Raises InputError for a
    relocation that is not well-formed or has no single answer.
    """
    poisons: dict[tuple[int, int], str] = {}
    decisions: dict[tuple[int, str, int], _Decision] = {}
    for number, section in code.items():
        name = section.section.name
        for relocation in ext.relocations.get(name, ()):
            where = f"{path}: section {name}, instruction {relocation.instruction}: CO-RE relocation"
            if relocation.instruction >= len(section.slots):
                raise InputError(f"{where}: the section has {len(section.slots)} instructions")
            key = (relocation.type_id, relocation.access, relocation.kind)
            if key not in decisions:
                decisions[key] = _decide(relocation, local, target, where)
            reason = _patch(section.slots, relocation.instruction, decisions[key], where)
            if reason:
                poisons[number, relocation.instruction] = f"CO-RE: {reason}"
    return poisons


def _decide(relocation: CoreRelocation, local: Btf, target: Btf, where: str) -> _Decision:
    try:
        kind = CoreKind(relocation.kind)
    except ValueError:
        raise InputError(f"{where}: kind {relocation.kind} is not known") from None
    root = relocation.type_id
    what = f"{where} ({kind.name}) of {type_text(local, root)}"
    if kind is CoreKind.TYPE_ID_LOCAL:
        return _Decision(None, _Value(root))
    indices = read_indices(relocation.access, what)
    mine, wanted = _local_match(kind, local, root, indices, what)
    before = _value(kind, local, mine, what)
    answers: set[_Value] = set()
    for candidate in candidates(local, root, target):
        theirs = _target_match(kind, local, mine, target, candidate)
        if theirs is not None:
            answers.add(_value(kind, target, theirs, what))
    if len({answer.number for answer in answers}) > 1:
        numbers = ", ".join(str(answer.number) for answer in answers)
        raise InputError(f"{what}: ambiguous: {target.where} has several such types, which say {numbers}")
    if answers:
        return _Decision(before, next(iter(answers)))
    missing = f"{target.where} has no {wanted}"
    return _Decision(before, _Value(0) if kind in _ZERO_IF_MISSING else None, missing)


def _local_match(kind: CoreKind, local: Btf, root: int, indices: tuple[int, ...], what: str) -> tuple[_Match, str]:
    """What the object itself means, and how to call it in a message."""
    if kind in _ENUMVAL_KINDS:
        type_id, enum = local.strip(root)
        if not isinstance(enum, Enum) or len(indices) != 1 or indices[0] >= len(enum.values):
            raise InputError(f"{what}: it has no enumerator {':'.join(map(str, indices))}")
        return _Match(type_id, enumerator=indices[0]), f"{enum.values[indices[0]][0]} in {type_text(local, root)}"
    if kind in _TYPE_KINDS:
        if indices != (0,):
            raise InputError(f"{what}: the access string of a whole type must be 0")
        matching = "matching " if kind is CoreKind.TYPE_MATCHES else ""
        return _Match(root), f"{matching}{type_text(local, root)}"
    access = local_access(local, root, indices, what)
    return _Match(root, access=access), f"{access} of a compatible type"


def _target_match(kind: CoreKind, local: Btf, mine: _Match, target: Btf, candidate: int) -> _Match | None:
    if kind in _ENUMVAL_KINDS:
        type_id, theirs = target.strip(candidate)
        _, enum = local.strip(mine.type_id)
        assert isinstance(enum, Enum)
        name = essential_name(enum.values[mine.enumerator][0])
        for index, (other, _) in enumerate(theirs.values if isinstance(theirs, Enum) else ()):
            if essential_name(other) == name:
                return _Match(type_id, enumerator=index)
        return None
    if kind in _TYPE_KINDS:
        has = types_match if kind is CoreKind.TYPE_MATCHES else types_are_compatible
        return _Match(candidate) if has(local, mine.type_id, target, candidate) else None
    assert mine.access is not None
    access = match_access(mine.access, target, candidate)
    return _Match(candidate, access=access) if access else None


def _value(kind: CoreKind, btf: Btf, match: _Match, what: str) -> _Value:
    """What `kind` asks about something that is there."""
    if kind in (CoreKind.FIELD_EXISTS, CoreKind.TYPE_EXISTS, CoreKind.TYPE_MATCHES, CoreKind.ENUMVAL_EXISTS):
        return _Value(1)
    if kind is CoreKind.TYPE_ID_TARGET:
        return _Value(match.type_id, is_certain=False)
    if kind is CoreKind.TYPE_SIZE:
        return _Value(btf.size_of(match.type_id))
    if kind is CoreKind.ENUMVAL_VALUE:
        enum = btf.type(match.type_id)
        assert isinstance(enum, Enum)
        return _Value(enum.values[match.enumerator][1] % (1 << 64))
    assert match.access is not None
    return _field_value(kind, match.access, what)


def _field_value(kind: CoreKind, access: Access, what: str) -> _Value:
    btf, member = access.btf, access.member()
    type_id, found = btf.strip(member.type_id if member else access.steps[-1].type_id)
    bits = member.bits if member else 0
    if bits:
        size = _bitfield_bytes(access.bit_offset, bits, btf.size_of(type_id), what)
        at = access.bit_offset // 8 // size * size
    else:
        size = btf.size_of(type_id)
        at = access.bit_offset // 8
    width = bits or size * 8
    match kind:
        case CoreKind.FIELD_BYTE_OFFSET if bits:
            return _Value(at, is_certain=False)
        case CoreKind.FIELD_BYTE_OFFSET:
            while isinstance(found, Array):
                type_id, found = btf.strip(found.type_id)
            return _Value(at, btf.size_of(type_id), found if isinstance(found, Int | Ptr) else None)
        case CoreKind.FIELD_BYTE_SIZE:
            return _Value(size, is_certain=not bits)
        case CoreKind.FIELD_SIGNED if isinstance(found, Int):
            return _Value(int(found.signed))
        case CoreKind.FIELD_SIGNED:
            # Whether an enum is signed is known to newer compilers only.
            return _Value(int(isinstance(found, Enum) and found.signed), is_certain=False)
        case CoreKind.FIELD_LSHIFT_U64:
            return _Value((64 - (access.bit_offset + width - at * 8)) % (1 << 64), is_certain=not bits)
        case _:
            return _Value((64 - width) % (1 << 64))


def _bitfield_bytes(bit_offset: int, bits: int, size: int, what: str) -> int:
    """The smallest load, aligned to its size, that has the whole bitfield; not smaller than its type."""
    while bit_offset + bits > (bit_offset // 8 // size * size + size) * 8:
        size *= 2
        if size > 8:
            raise InputError(f"{what}: no load of 8 bytes has all of the bitfield at bit {bit_offset}")
    return size


def _patch(slots: list[Slot], at: int, decision: _Decision, where: str) -> str:
    """Write the decision into the instruction. Returns why it had to be poisoned, or ""."""
    slot = slots[at]
    if decision.after is None:
        return _poison(slots, at, decision.missing)
    number = decision.after.number
    expected = decision.before.number if decision.before and decision.before.is_certain else None
    match slot.opcode & 7:
        case 4 | 7 if slot.opcode & 8 == 0:
            _expect(slot.imm % (1 << 32), expected, 32, where)
            slots[at] = slot._replace(imm=_signed32(number))
        case 1 | 2 | 3:
            _expect(slot.offset, expected, 32, where)
            return _patch_memory(slots, at, decision, where)
        case 0 if slot.opcode == LDDW and slot.src == 0 and at + 1 < len(slots) and slots[at + 1].opcode == 0:
            _expect(slot.imm % (1 << 32) | slots[at + 1].imm % (1 << 32) << 32, expected, 64, where)
            slots[at] = slot._replace(imm=_signed32(number))
            slots[at + 1] = slots[at + 1]._replace(imm=_signed32(number >> 32))
        case _:
            raise InputError(f"{where}: it is on opcode 0x{slot.opcode:02x}, which has no place for it")
    return ""


def _patch_memory(slots: list[Slot], at: int, decision: _Decision, where: str) -> str:
    """A load or store: the offset, and the size where an unsigned integer or a pointer is of another size there."""
    slot, before, after = slots[at], decision.before, decision.after
    assert after is not None
    if after.number > 0x7FFF:
        raise InputError(f"{where}: offset {after.number} does not fit a load or store")
    opcode = slot.opcode
    if before and before.load_bytes != after.load_bytes:
        if not _is_resizable(before.load_type, after.load_type):
            return _poison(
                slots,
                at,
                f"the field has {before.load_bytes} bytes here and {after.load_bytes} in the target, and only pointers"
                " and unsigned integers can be read in another size",
            )
        if _BYTES_BY_SIZE[opcode & 0x18] != before.load_bytes or after.load_bytes not in _SIZE_BITS:
            raise InputError(
                f"{where}: a field of {before.load_bytes} bytes here and {after.load_bytes} in the target, which"
                f" opcode 0x{opcode:02x} cannot access"
            )
        opcode = opcode & ~0x18 | _SIZE_BITS[after.load_bytes]
    slots[at] = slot._replace(opcode=opcode, offset=after.number)
    return ""


def _is_resizable(mine: Int | Ptr | None, theirs: Int | Ptr | None) -> bool:
    if isinstance(mine, Int) and isinstance(theirs, Int):
        return not mine.signed and not theirs.signed
    return isinstance(mine, Ptr) and isinstance(theirs, Ptr)


def _poison(slots: list[Slot], at: int, reason: str) -> str:
    if slots[at].opcode == LDDW and at + 1 < len(slots):
        slots[at + 1] = _POISON
    slots[at] = _POISON
    return reason


def _expect(actual: int, expected: int | None, bits: int, where: str) -> None:
    if expected is not None and actual != expected % (1 << bits):
        raise InputError(f"{where}: the instruction says {actual}, the object's own types say {expected}")


def _signed32(number: int) -> int:
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)
