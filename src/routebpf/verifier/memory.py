"""Whether memory may be read or written through a register, and what a read gives.

kernel: kernel/bpf/verifier.c, check_mem_access() and the check_…_access() that it calls.
"""

from __future__ import annotations

from collections.abc import Callable

from routebpf.spec import ContextField, context_accesses
from routebpf.spec.context import CONTEXT_FIELDS
from routebpf.spec.context import Register as ContextRegister
from routebpf.spec.socket import sock_common_accesses
from routebpf.verifier import btf_access, stack, tnum
from routebpf.verifier.bounds import S64_MIN
from routebpf.verifier.facts import ContextAccess
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.map_fields import KERNEL_POINTERS, Field
from routebpf.verifier.maps import BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, MapFacts
from routebpf.verifier.register import (
    BASE,
    CONST_PTR_TO_MAP,
    MAX_VAR_OFF,
    MEM_RDONLY,
    PTR_MAYBE_NULL,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_END,
    PTR_TO_SOCK_COMMON,
    PTR_TO_STACK,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    UNKNOWN_SCALAR,
    Register,
    known,
    pointer,
    type_text,
)
from routebpf.verifier.run import Run
from routebpf.verifier.scalar import extend_sign, truncate

NO_REGISTER = stack.NO_REGISTER


class Access:
    """A load or store of `size` bytes at register `base` + `off`: what does not depend on what the register holds.

    A load puts what it reads into register `target`, unless that is NO_REGISTER. `what` is what a store writes.
    """

    __slots__ = ("base", "form", "is_aligned", "is_signed", "is_write", "off", "size", "target", "what")

    def __init__(
        self,
        base: int,
        off: int,
        size: int,
        *,
        is_write: bool,
        target: int = NO_REGISTER,
        what: stack.Write = stack.UNKNOWN_WRITE,
        is_signed: bool = False,
        is_aligned: bool = False,
        form: str = "plain",
    ) -> None:
        self.base = base
        self.off = off
        self.size = size
        self.is_write = is_write
        self.target = target
        self.what = what
        self.is_signed = is_signed
        self.is_aligned = is_aligned
        self.form = form


def check(run: Run, access: Access) -> int:
    """Check an access and do what it does. The stack slots wholly written, as StackLiveness takes them."""
    register = run.regs[access.base]
    kind = register.type
    if access.is_aligned or kind == PTR_TO_STACK:
        check_alignment(register, access.off, access.size, access.base)
    off = access.off + register.off
    handler = _HANDLERS.get(kind & BASE)
    if handler is None or (kind & PTR_MAYBE_NULL and kind & BASE != PTR_TO_MEM):
        raise Fault(Rule.POINTER, f"R{access.base} invalid mem access '{type_text(kind)}'", access.base)
    return handler(run, access, register, off)


def load(run: Run, access: Access) -> None:
    """A read into a register: what is read is cut to its size."""
    check(run, access)
    if access.size < 8:
        got = run.regs[access.target]
        if got.type == SCALAR_VALUE:
            size = access.size
            new = extend_sign(got.range, size) if access.is_signed else truncate(got.range, size)
            if new is not got.range:
                run.regs[access.target] = Register(SCALAR_VALUE, new, got.off, got.id, got.ref, got.extra)


_ALIGNMENT_NAMES = {
    PTR_TO_MAP_KEY: "key ",
    PTR_TO_MAP_VALUE: "value ",
    PTR_TO_CTX: "context ",
    PTR_TO_STACK: "stack ",
    PTR_TO_SOCK_COMMON: "sock_common ",
}
_NET_IP_ALIGN = 2


def check_alignment(register: Register, off: int, size: int, number: int) -> None:
    """kernel: check_ptr_alignment(), where alignment is strict."""
    if size == 1 or register.type == PTR_TO_ARENA:
        return
    extra = _NET_IP_ALIGN if register.type == PTR_TO_PACKET else 0
    fixed = register.off + off + extra
    if tnum.is_aligned(tnum.add(register.range.bits, (fixed & tnum.M64, 0)), size):
        return
    bits = tnum.text(register.range.bits)
    if register.type == PTR_TO_PACKET:
        message = f"misaligned packet access off {extra}+{bits}+{register.off}+{off} size {size}"
    else:
        name = _ALIGNMENT_NAMES.get(register.type, "")
        message = f"misaligned {name}access off {bits}+{register.off}+{off} size {size}"
    raise Fault(Rule.MEMORY if register.type != PTR_TO_STACK else Rule.STACK, message, number)


def _give(run: Run, access: Access, register: Register = UNKNOWN_SCALAR) -> None:
    if access.target >= 0 and not access.is_write:
        run.set_scalar(access.target, register)


def _check_leak(run: Run, access: Access, where: str) -> None:
    number = access.what.register
    if access.is_write and number >= 0 and run.is_leak(run.regs[number]):
        raise Fault(Rule.LEAK, f"R{number} leaks addr into {where}", number)


def check_region(run: Run, number: int, off: int, size: int, limit: int, *, zero_size_allowed: bool = False) -> None:
    """kernel: check_mem_region_access()."""
    register = run.regs[number]
    r = register.range
    low = r.smin + off
    if r.smin < 0 and (r.smin == S64_MIN or low < 0 or not -(1 << 31) <= low < 1 << 31):
        raise Fault(
            _rule(register),
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check.",
            number,
        )
    problem = _outside(register, number, low, size, limit, zero_size_allowed)
    if problem:
        raise Fault(_rule(register), f"{problem}\nR{number} min value is outside of the allowed memory range", number)
    if r.umax >= MAX_VAR_OFF:
        raise Fault(
            _rule(register),
            f"R{number} unbounded memory access, make sure to bounds check any such access",
            number,
        )
    problem = _outside(register, number, r.umax + off, size, limit, zero_size_allowed)
    if problem:
        raise Fault(_rule(register), f"{problem}\nR{number} max value is outside of the allowed memory range", number)


def _rule(register: Register) -> Rule:
    if register.type == PTR_TO_MAP_VALUE:
        return Rule.MAP_VALUE
    return Rule.PACKET if register.type == PTR_TO_PACKET else Rule.MEMORY


def _outside(register: Register, number: int, off: int, size: int, limit: int, zero_size_allowed: bool) -> str:
    """kernel: __check_mem_access()."""
    if off >= 0 and (size > 0 or (size == 0 and zero_size_allowed)) and off + size <= limit:
        return ""
    if register.type == PTR_TO_MAP_KEY:
        return f"invalid access to map key, key_size={limit} off={off} size={size}"
    if register.type == PTR_TO_MAP_VALUE:
        return f"invalid access to map value, value_size={limit} off={off} size={size}"
    if register.type in (PTR_TO_PACKET, PTR_TO_PACKET_END):
        return f"invalid access to packet, off={off} size={size}, R{number}(id={register.id},off={off},r={limit})"
    return f"invalid access to memory, mem_size={limit} off={off} size={size}"


def _stack(run: Run, access: Access, _register: Register, off: int) -> int:
    stack.check_bounds(run, access.base, off, access.size, is_write=access.is_write)
    if access.is_write:
        return stack.write(run, access.base, off, access.size, access.what)
    stack.read(run, access.base, off, access.size, access.target)
    return 0


def _map_key(run: Run, access: Access, register: Register, off: int) -> int:
    if access.is_write:
        raise Fault(Rule.MAP_VALUE, f"write to change key R{access.base} not allowed", access.base)
    check_region(run, access.base, off, access.size, register.extra.map.key_size)
    _give(run, access)
    return 0


def _map_value(run: Run, access: Access, register: Register, off: int) -> int:
    one: MapFacts = register.extra.map
    _check_leak(run, access, "map")
    check_map_permission(one, off, access.size, is_write=access.is_write)
    check_map_value(run, access.base, off, access.size)
    if register.range.is_const:
        at = off + register.range.smin
        field = one.field_at(at, KERNEL_POINTERS)
        if field is not None:
            btf_access.map_kernel_pointer(run, access, field)
            return 0
        if one.contents is not None and one.row is not None and one.row.direct_value and not access.is_write:
            value = int.from_bytes(one.contents[at : at + access.size], "little")
            _give(run, access, known(value))
            return 0
    _give(run, access)
    return 0


def check_map_permission(one: MapFacts, off: int, size: int, *, is_write: bool) -> None:
    """kernel: check_map_access_type()."""
    if one.flags & (BPF_F_RDONLY_PROG if is_write else BPF_F_WRONLY_PROG):
        doing = "write into" if is_write else "read from"
        raise Fault(Rule.MAP_VALUE, f"{doing} map forbidden, value_size={one.value_size} off={off} size={size}")


def check_map_value(
    run: Run, number: int, off: int, size: int, *, zero_size_allowed: bool = False, by_helper: bool = False
) -> None:
    """kernel: check_map_access()."""
    register = run.regs[number]
    one: MapFacts = register.extra.map
    check_region(run, number, off, size, one.value_size, zero_size_allowed=zero_size_allowed)
    for field in one.fields:
        if register.range.smin + off < field.offset + field.size and field.offset < register.range.umax + off + size:
            _check_field(register, field, off, size, by_helper)


def _check_field(register: Register, field: Field, off: int, size: int, by_helper: bool) -> None:
    name = field.kind.label
    if field.kind not in KERNEL_POINTERS:
        raise Fault(Rule.MAP_VALUE, f"{name} cannot be accessed directly by load/store")
    if by_helper:
        raise Fault(Rule.MAP_VALUE, f"{name} cannot be accessed indirectly by helper")
    if not register.range.is_const:
        raise Fault(Rule.MAP_VALUE, f"{name} access cannot have variable offset")
    at = off + register.range.smin
    if field.offset != at:
        raise Fault(Rule.MAP_VALUE, f"{name} access misaligned expected={field.offset} off={at}")
    if size != 8:
        raise Fault(Rule.MAP_VALUE, f"{name} access size must be BPF_DW")


def _memory(run: Run, access: Access, register: Register, off: int) -> int:
    kind = register.type
    if kind & PTR_MAYBE_NULL:
        raise Fault(Rule.POINTER, f"R{access.base} invalid mem access '{type_text(kind)}'", access.base)
    if access.is_write and kind & MEM_RDONLY:
        raise Fault(Rule.MEMORY, f"R{access.base} cannot write into {type_text(kind)}", access.base)
    _check_leak(run, access, "mem")
    if not (kind & MEM_RDONLY and kind & PTR_UNTRUSTED):
        check_region(run, access.base, off, access.size, register.extra.size)
    _give(run, access)
    return 0


_CONTEXT_TYPES = {
    ContextRegister.PTR_TO_PACKET: PTR_TO_PACKET,
    ContextRegister.PTR_TO_PACKET_END: PTR_TO_PACKET_END,
    ContextRegister.PTR_TO_SOCK_COMMON_OR_NULL: PTR_TO_SOCK_COMMON | PTR_MAYBE_NULL,
}
_POINTER_FIELDS: dict[int, ContextField] = {field.offset: field for field in CONTEXT_FIELDS if field.is_pointer}


def check_unmodified(register: Register, number: int, *, fixed_off_ok: bool = False) -> None:
    """kernel: __check_ptr_off_reg()."""
    kind = type_text(register.type)
    if register.off < 0:
        raise Fault(Rule.POINTER, f"negative offset {kind} ptr R{number} off={register.off} disallowed", number)
    if not fixed_off_ok and register.off:
        raise Fault(Rule.POINTER, f"dereference of modified {kind} ptr R{number} off={register.off} disallowed", number)
    if not register.range.is_const or register.range.value:
        bits = tnum.text(register.range.bits)
        raise Fault(Rule.POINTER, f"variable {kind} access var_off={bits} disallowed", number)


def _context(run: Run, access: Access, register: Register, off: int) -> int:
    _check_leak(run, access, "ctx")
    check_unmodified(register, access.base)
    size = access.size
    is_pointer = context_accesses(run.program.program_type).get((off, size, access.is_write))
    if is_pointer is None or (is_pointer and access.is_signed):
        raise Fault(Rule.CONTEXT, f"invalid bpf_context access off={off} size={size}", access.base)
    run.context[run.at] = ContextAccess(off, size, access.is_write)
    if is_pointer:
        kind = _CONTEXT_TYPES[_POINTER_FIELDS[off].register]
        id = run.new_id() if kind & PTR_MAYBE_NULL else 0
        _give(run, access, pointer(kind, id=id, extra=0 if kind == PTR_TO_PACKET else None))
    else:
        _give(run, access)
    return 0


def _packet(run: Run, access: Access, _register: Register, off: int) -> int:
    if access.is_write and not run.may_write_packet:
        raise Fault(Rule.PACKET, "cannot write into packet", access.base)
    _check_leak(run, access, "packet")
    check_packet(run, access.base, off, access.size)
    _give(run, access)
    return 0


def check_packet(run: Run, number: int, off: int, size: int, *, zero_size_allowed: bool = False) -> None:
    """kernel: check_packet_access()."""
    register = run.regs[number]
    if register.range.smin < 0:
        raise Fault(
            Rule.PACKET,
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check.",
            number,
        )
    there: int = register.extra
    problem = _outside(register, number, off, size, there, zero_size_allowed) if there >= 0 else ""
    if there < 0 or problem:
        lead = f"{problem}\n" if problem else ""
        raise Fault(Rule.PACKET, f"{lead}R{number} offset is outside of the packet", number)


def _socket(run: Run, access: Access, register: Register, off: int) -> int:
    kind = type_text(register.type)
    if access.is_write:
        raise Fault(Rule.MEMORY, f"R{access.base} cannot write into {kind}", access.base)
    if register.range.smin < 0:
        raise Fault(
            Rule.MEMORY,
            f"R{access.base} min value is negative, either use unsigned index or do a if (index >=0) check.",
            access.base,
        )
    if (off, access.size) not in sock_common_accesses() or not register.range.is_const:
        raise Fault(Rule.MEMORY, f"R{access.base} invalid {kind} access off={off} size={access.size}", access.base)
    _give(run, access)
    return 0


def _object(run: Run, access: Access, register: Register, off: int) -> int:
    btf_access.check(run, access, register, off)
    return 0


def _map_pointer(run: Run, access: Access, register: Register, off: int) -> int:
    btf_access.check_map_pointer(run, access, register, off)
    return 0


def _arena(run: Run, access: Access, _register: Register, _off: int) -> int:
    _give(run, access)
    return 0


_HANDLERS: dict[int, Callable[[Run, Access, Register, int], int]] = {
    PTR_TO_STACK: _stack,
    PTR_TO_MAP_KEY: _map_key,
    PTR_TO_MAP_VALUE: _map_value,
    PTR_TO_MEM: _memory,
    PTR_TO_CTX: _context,
    PTR_TO_PACKET: _packet,
    PTR_TO_SOCK_COMMON: _socket,
    PTR_TO_BTF_ID: _object,
    CONST_PTR_TO_MAP: _map_pointer,
    PTR_TO_ARENA: _arena,
}
