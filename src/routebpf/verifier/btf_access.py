"""Reads of kernel objects by their BTF types.

kernel: kernel/bpf/verifier.c, check_ptr_to_btf_access(), check_map_kptr_access(); kernel/bpf/btf.c, btf_struct_walk().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import Array, Composite, Int, Kind, Member, Ptr, Qualifier
from routebpf.verifier import tnum
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.map_fields import Field, FieldKind
from routebpf.verifier.register import (
    BASE,
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    MEM_RDONLY,
    MEM_USER,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_MEM,
    PTR_TRUSTED,
    PTR_UNTRUSTED,
    UNKNOWN_SCALAR,
    Memory,
    Register,
    is_trusted,
    pointer,
    type_text,
)
from routebpf.verifier.run import Run

if TYPE_CHECKING:
    from routebpf.verifier.memory import Access

# Fields that are trusted where their parent is: by struct, the names (kernel: BTF_TYPE_SAFE_…()).
_RCU = {
    "task_struct": ("cpus_ptr", "cgroups", "real_parent", "group_leader"),
    "cgroup": ("kn",),
    "css_set": ("dfl_cgrp",),
    "cgroup_subsys_state": ("cgroup",),
}
_RCU_OR_NULL = {"mm_struct": ("exe_file",), "sk_buff": ("sk",), "request_sock": ("sk",)}
_TRUSTED = {
    "bpf_iter_meta": ("seq",),
    "bpf_iter__task": ("meta", "task"),
    "linux_binprm": ("file",),
    "file": ("f_inode",),
}
_TRUSTED_OR_NULL = {"socket": ("sk",), "dentry": ("d_inode",)}
_RCU_PROTECTED = ("cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx", "prog_test_ref_kfunc")
_TAG_FLAGS = {"user": MEM_USER, "percpu": MEM_PERCPU, "rcu": MEM_RCU}
_POINTER_BYTES = 8
NO_TYPES = "in-kernel BTF is not available"
_ANONYMOUS = "(anon)"
_UNTRUSTED_MEMORY = pointer(PTR_TO_MEM | MEM_RDONLY | PTR_UNTRUSTED, extra=Memory(0))


class _Found(NamedTuple):
    """What is at an offset of a struct: a number, or a pointer, to a struct (`target`) or to anything else. `name`: of
    the field."""

    target: int | None = None
    flags: int = 0
    name: str = ""
    is_pointer: bool = False


def types_of(run: Run) -> Btf:
    """The kernel's BTF. Raises Fault if the caller has none."""
    if run.kernel_btf is None:
        raise Fault(
            Rule.BTF,
            NO_TYPES,
            note="Kernel objects can be read only where the kernel's BTF is given.",
        )
    return run.kernel_btf


def check(run: Run, access: Access, register: Register, off: int) -> None:
    """A load through a pointer to a kernel object; stores are refused."""
    btf = types_of(run)
    name = btf.name(register.extra)
    number = access.base
    _check_allowed(run, register, name, off, number)
    if access.is_write:
        raise Fault(Rule.BTF, "only read is supported", number)
    found = walk(btf, register.extra, off, access.size)
    if access.target < 0:
        return
    if found.target is None:
        run.set_scalar(access.target, _UNTRUSTED_MEMORY if found.is_pointer else UNKNOWN_SCALAR)
        return
    flags = _flags_of_field(run, register, name, found)
    id = run.new_id() if flags & PTR_MAYBE_NULL else 0
    run.set_scalar(access.target, pointer(PTR_TO_BTF_ID | flags, id=id, extra=found.target))


def _check_allowed(run: Run, register: Register, name: str, off: int, number: int) -> None:
    if not run.privileged:
        raise Fault(Rule.BTF, f"'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", number)
    if not run.is_gpl:
        raise Fault(Rule.BTF, f"Cannot access kernel 'struct {name}' from non-GPL compatible program", number)
    if off < 0:
        raise Fault(Rule.BTF, f"R{number} is ptr_{name} invalid negative access: off={off}", number)
    if not register.range.is_const or register.range.value:
        bits = tnum.text(register.range.bits)
        raise Fault(Rule.BTF, f"R{number} is ptr_{name} invalid variable offset: off={off}, var_off={bits}", number)
    if register.type & MEM_USER:
        raise Fault(Rule.BTF, f"R{number} is ptr_{name} access user memory: off={off}", number)
    if register.type & MEM_PERCPU:
        raise Fault(Rule.BTF, f"R{number} is ptr_{name} access percpu memory: off={off}", number)


def _flags_of_field(run: Run, register: Register, struct: str, found: _Found) -> int:
    """How far a pointer read from a kernel object may be trusted."""
    flags = found.flags
    if register.type & PTR_UNTRUSTED:
        return PTR_UNTRUSTED
    if not is_trusted(register) and not register.type & MEM_RCU:
        return flags & ~(PTR_TRUSTED | MEM_ALLOC | MEM_RCU)
    name = found.name
    if name in _TRUSTED.get(struct, ()):
        return flags | PTR_TRUSTED
    if name in _TRUSTED_OR_NULL.get(struct, ()):
        return flags | PTR_TRUSTED | PTR_MAYBE_NULL
    if not run.in_rcu_section() or register.type & PTR_MAYBE_NULL:
        return PTR_UNTRUSTED
    if name in _RCU.get(struct, ()):
        return flags | MEM_RCU
    if flags & MEM_RCU or name in _RCU_OR_NULL.get(struct, ()):
        return (flags | MEM_RCU | PTR_MAYBE_NULL) & ~PTR_UNTRUSTED
    if flags & (MEM_PERCPU | MEM_USER):
        return flags
    return flags & ~(PTR_TRUSTED | MEM_ALLOC | MEM_RCU)


def check_map_pointer(run: Run, access: Access, register: Register, off: int) -> None:
    """A load from struct bpf_map (kernel: check_ptr_to_map_access())."""
    if run.kernel_btf is None:
        raise Fault(Rule.POINTER, f"R{access.base} invalid mem access '{type_text(register.type)}'", access.base)
    btf = run.kernel_btf
    row = register.extra.map.row
    name = row.kernel_struct if row is not None else ""
    type_id = btf.find(name, Kind.STRUCT) if name else None
    if type_id is None:
        raise Fault(Rule.POINTER, f"map_ptr access not supported for map type {register.extra.map.type}", access.base)
    if off < 0:
        raise Fault(Rule.POINTER, f"R{access.base} is {name} invalid negative access: off={off}", access.base)
    if access.is_write:
        raise Fault(Rule.POINTER, f"only read from {name} is supported", access.base)
    found = walk(btf, type_id, off, access.size)
    if access.target < 0:
        return
    if found.target is None:
        run.set_scalar(access.target, _UNTRUSTED_MEMORY if found.is_pointer else UNKNOWN_SCALAR)
    else:
        run.set_scalar(access.target, pointer(PTR_TO_BTF_ID | found.flags, extra=found.target))


def walk(btf: Btf, type_id: int, off: int, size: int) -> _Found:
    """What `size` bytes at `off` of a struct are. Raises Fault."""
    flags = 0
    while True:
        _, held = btf.strip(type_id)
        if not isinstance(held, Composite):
            raise Fault(Rule.BTF, f"Type '{btf.name(type_id)}' is not a struct")
        if held.kind is Kind.UNION and len(held.members) != 1:
            flags = PTR_UNTRUSTED
        if off + size > held.size:
            element = _behind_end(btf, held, off, size)
            if element is None:
                return _Found()
            type_id, off = element
            continue
        member = _member_at(held, btf, off, size)
        if member is None:
            return _Found()
        step = _inside(btf, held, member, off, size, untrusted=bool(flags))
        if isinstance(step, _Found):
            return step._replace(flags=step.flags | flags)
        type_id, off = step


def _behind_end(btf: Btf, held: Composite, off: int, size: int) -> tuple[int, int] | None:
    """Behind the end of a struct whose last member is an array without a length: (type, offset in it) of an element,
    or None if that is a number."""
    last = held.members[-1] if held.members else None
    array = btf.strip(last.type_id)[1] if last is not None else None
    if last is not None and isinstance(array, Array) and not array.length and last.bit_offset // 8 <= off:
        element = btf.strip(array.type_id)[1]
        if isinstance(element, Int):
            return None
        if isinstance(element, Composite):
            return array.type_id, (off - last.bit_offset // 8) % element.size
    raise Fault(Rule.BTF, f"access beyond struct {held.name or _ANONYMOUS} at off {off} size {size}")


def _member_at(held: Composite, btf: Btf, off: int, size: int) -> Member | None:
    """The member of a struct at `off`; None for bits of a number."""
    for member in held.members:
        start = member.bit_offset // 8
        if off + size <= start:
            break
        if member.bits:
            if off <= start and -(-(member.bit_offset + member.bits) // 8) <= off + size:
                return None
            continue
        if off < start:
            break
        if off < start + _size(btf, member.type_id):
            return member
    raise Fault(Rule.BTF, f"struct {held.name or _ANONYMOUS} doesn't have field at offset {off}")


def _inside(
    btf: Btf, held: Composite, member: Member, off: int, size: int, *, untrusted: bool
) -> _Found | tuple[int, int]:
    """What is at `off` of a struct, in its member; or (type, offset in it) of the struct in it to go on in."""
    start = member.bit_offset // 8
    end = start + _size(btf, member.type_id)
    stripped_id, inner = btf.strip(member.type_id)
    while isinstance(inner, Array):
        stripped_id, inner = btf.strip(inner.type_id)
        width = btf.size_of(stripped_id) or 1
        start += (off - start) // width * width
    where = f"in struct {held.name or _ANONYMOUS} with off {off} size {size}"
    if isinstance(inner, Composite):
        return stripped_id, off - start
    if isinstance(inner, Ptr):
        if off != start or size != _POINTER_BYTES:
            raise Fault(Rule.BTF, f"cannot access ptr member {member.name or _ANONYMOUS} with moff {start} {where}")
        return _pointer(btf, inner, member.name)
    if off + size > end and not untrusted:
        raise Fault(Rule.BTF, f"access beyond the end of member {member.name or _ANONYMOUS} (mend:{end}) {where}")
    return _Found(name=member.name)


def _pointer(btf: Btf, inner: Ptr, name: str) -> _Found:
    flags = 0
    target = btf.type(inner.type_id)
    if isinstance(target, Qualifier) and target.kind is Kind.TYPE_TAG:
        flags = _TAG_FLAGS.get(target.name, 0)
    stripped_id, pointed = btf.strip(inner.type_id)
    if isinstance(pointed, Composite):
        return _Found(stripped_id, flags, name, True)
    return _Found(name=name, is_pointer=True)


def _size(btf: Btf, type_id: int) -> int:
    _, held = btf.strip(type_id)
    if isinstance(held, Array) and not held.length:
        return 0
    return btf.size_of(type_id)


def is_struct(btf: Btf, type_id: int, off: int, wanted: int, *, strict: bool = False) -> bool:
    """Whether a struct of type `wanted` is at `off` of one of type `type_id` (kernel: btf_struct_ids_match())."""
    while True:
        type_id, held = btf.strip(type_id)
        if type_id == wanted and off == 0:
            return True
        if strict or not isinstance(held, Composite) or off >= held.size:
            return False
        step = next(
            (
                (member.type_id, off - member.bit_offset // 8)
                for member in held.members
                if not member.bits
                and 0 <= off - member.bit_offset // 8 < max(_size(btf, member.type_id), 1)
                and isinstance(btf.strip(member.type_id)[1], Composite)
            ),
            None,
        )
        if step is None:
            return False
        type_id, off = step


def map_kernel_pointer(run: Run, access: Access, field: Field) -> None:
    """A load or store of a kernel pointer in a map's value (kernel: check_map_kptr_access())."""
    if access.form != "plain":
        raise Fault(Rule.MAP_VALUE, "kptr in map can only be accessed using BPF_MEM instruction mode")
    if not access.is_write:
        if access.target >= 0:
            _load_kernel_pointer(run, access, field)
        return
    if field.kind in (FieldKind.KPTR_REF, FieldKind.KPTR_PERCPU):
        raise Fault(Rule.MAP_VALUE, "store to referenced kptr disallowed")
    if field.kind is FieldKind.UPTR:
        raise Fault(Rule.MAP_VALUE, "store to uptr disallowed")
    if access.what.register >= 0:
        stored = run.regs[access.what.register]
        if not stored.is_null:
            check_kernel_pointer(run, field, stored, access.what.register)
    elif access.what.constant:
        raise Fault(Rule.MAP_VALUE, f"BPF_ST imm must be 0 when storing to kptr at off={field.offset}")


def _load_kernel_pointer(run: Run, access: Access, field: Field) -> None:
    btf = types_of(run)
    target = btf.find(field.pointee, Kind.STRUCT)
    if target is None:
        raise Fault(Rule.BTF, f"the kernel has no struct {field.pointee}")
    if field.kind is FieldKind.UPTR:
        new = pointer(PTR_TO_MEM | PTR_MAYBE_NULL, id=run.new_id(), extra=Memory(btf.size_of(target)))
    else:
        is_safe = field.kind is FieldKind.KPTR_PERCPU or (
            field.kind is FieldKind.KPTR_REF and field.pointee in _RCU_PROTECTED
        )
        flags = PTR_MAYBE_NULL | (MEM_RCU if is_safe and run.in_rcu_section() else PTR_UNTRUSTED)
        new = pointer(PTR_TO_BTF_ID | flags, id=run.new_id(), extra=target)
    run.set_scalar(access.target, new)


def check_kernel_pointer(run: Run, field: Field, register: Register, number: int) -> None:
    """Whether a pointer may be stored in a field (kernel: map_kptr_match_type())."""
    btf = types_of(run)
    allowed = PTR_MAYBE_NULL | PTR_TRUSTED | MEM_RCU
    if field.kind is FieldKind.KPTR_UNREF:
        allowed |= PTR_UNTRUSTED
    target = btf.find(field.pointee, Kind.STRUCT)
    is_right = (
        register.base == PTR_TO_BTF_ID
        and not register.type & ~BASE & ~allowed
        and target is not None
        and is_struct(btf, register.extra, register.off, target, strict=field.kind is not FieldKind.KPTR_UNREF)
    )
    if not is_right:
        name = btf.name(register.extra) if register.base == PTR_TO_BTF_ID else ""
        tail = f" or untrusted_ptr_{field.pointee}" if field.kind is FieldKind.KPTR_UNREF else ""
        raise Fault(
            Rule.BTF,
            f"invalid kptr access, R{number} type={type_text(register.type)}{name} expected=ptr_{field.pointee}{tail}",
            number,
        )
