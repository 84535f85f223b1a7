"""Arguments of helpers: whether a register holds what the helper takes there, one function for each kind.

kernel: kernel/bpf/verifier.c, check_func_arg(), check_reg_type().
"""

from __future__ import annotations

from collections.abc import Callable

from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.spec import ArgKind, Argument, Helper, TypeFlag
from routebpf.spec.effects import Special
from routebpf.verifier import btf_access, memory
from routebpf.verifier.argument_memory import (
    check,
    check_constant_text,
    check_initialized_dynptr,
    check_offset,
    check_sized,
)
from routebpf.verifier.callees import Callee
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.locks import process_lock
from routebpf.verifier.map_fields import KERNEL_POINTERS, Field, FieldKind
from routebpf.verifier.maps import MapFacts
from routebpf.verifier.precision import demand, mark
from routebpf.verifier.register import (
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    DYNPTR_TYPE_LOCAL,
    DYNPTR_TYPE_RINGBUF,
    DYNPTR_TYPES,
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    MEM_RDONLY,
    MEM_RINGBUF,
    NOT_INIT,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_SOCK_COMMON,
    PTR_TO_STACK,
    PTR_TO_XDP_SOCK,
    PTR_TRUSTED,
    SCALAR_VALUE,
    Register,
    type_text,
)
from routebpf.verifier.run import Run, unset
from routebpf.verifier.stack_objects import also_saying, dynptr_at, place, set_dynptr
from routebpf.verifier.state import EMPTY, SPILL, ZERO, DynptrSlot

_ARRAYS = (2, 6)  # BPF_MAP_TYPE_ARRAY, _PERCPU_ARRAY: a constant key is there, or is not
_BLOOM_FILTER = 30


class CallMeta:
    """What the arguments looked at so far say about the call (kernel: struct bpf_call_arg_meta)."""

    __slots__ = (
        "callee",
        "constant_key",
        "dynptr_id",
        "dynptr_register",
        "field",
        "function",
        "map",
        "map_uid",
        "memory_size",
        "moves_packet",
        "raw_register",
        "raw_size",
        "ref",
        "release_register",
        "releases_dynptr",
        "row",
        "size_limit",
        "type_id",
    )

    def __init__(self, callee: Callee, row: Helper) -> None:
        self.callee = callee
        self.row = row
        self.map: MapFacts | None = None
        self.map_uid = 0
        self.function = 0
        self.ref = 0
        self.release_register = 0
        self.releases_dynptr = False
        self.raw_register = 0
        self.raw_size = 0
        self.memory_size = 0
        self.size_limit = 0
        self.constant_key: int | None = None
        self.dynptr_register = 0
        self.dynptr_id = 0
        self.field: Field | None = None
        self.type_id = 0
        self.moves_packet = False


def check_arguments(run: Run, meta: CallMeta) -> None:
    """Check every argument of the helper. Raises Fault."""
    for position, argument in enumerate(meta.row.arguments):
        _check_argument(run, meta, position + 1, argument)


def _check_argument(run: Run, meta: CallMeta, number: int, argument: Argument) -> None:
    register = run.regs[number]
    if register.type == NOT_INIT:
        raise unset(number)
    kind = argument.kind
    if kind is ArgKind.ANYTHING:
        if run.is_leak(register):
            raise Fault(Rule.LEAK, f"R{number} leaks addr into helper function", number)
        return
    if register.type == PTR_TO_PACKET and not meta.row.packet_access:
        raise Fault(Rule.ARGUMENT, "helper access to the packet is not allowed", number)
    is_null = register.is_null and argument.may_be_null
    if not is_null:
        _check_type(run, meta, number, register, argument)
        is_release = TypeFlag.OBJ_RELEASE in argument.flags
        if not (is_release and kind is ArgKind.PTR_TO_DYNPTR and register.type == PTR_TO_STACK):
            check_offset(register, number, is_release=is_release)
    if TypeFlag.OBJ_RELEASE in argument.flags:
        _note_release(run, meta, number, register, kind)
    if register.ref and kind is not ArgKind.KPTR_XCHG_DEST:
        if meta.ref:
            raise Fault(Rule.ARGUMENT, f"more than one arg with ref_obj_id R{number} {register.ref} {meta.ref}", number)
        meta.ref = register.ref
    handler = _HANDLERS.get(kind)
    if handler is not None:
        handler(run, meta, number, argument)


_MEMORY = (
    frozenset(
        {
            PTR_TO_STACK,
            PTR_TO_PACKET,
            PTR_TO_MAP_KEY,
            PTR_TO_MAP_VALUE,
            PTR_TO_MEM,
            PTR_TO_MEM | MEM_RINGBUF,
            PTR_TO_BTF_ID | PTR_TRUSTED,
        }
    ),
    "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
)
_SCALAR = (frozenset({SCALAR_VALUE}), "scalar")
_SOCKETS = "sock_common, sock, tcp_sock, xdp_sock"
_MAP_VALUE = (frozenset({PTR_TO_MAP_VALUE}), "map_value")
_OWNER = (frozenset({PTR_TO_MAP_VALUE, PTR_TO_BTF_ID | MEM_ALLOC}), "map_value, ptr_")
_COMPATIBLE: dict[ArgKind, tuple[frozenset[int], str]] = {
    ArgKind.PTR_TO_MAP_KEY: _MEMORY,
    ArgKind.PTR_TO_MAP_VALUE: _MEMORY,
    ArgKind.PTR_TO_MEM: _MEMORY,
    ArgKind.CONST_SIZE: _SCALAR,
    ArgKind.CONST_SIZE_OR_ZERO: _SCALAR,
    ArgKind.CONST_ALLOC_SIZE_OR_ZERO: _SCALAR,
    ArgKind.CONST_MAP_PTR: (frozenset({CONST_PTR_TO_MAP}), "map_ptr"),
    ArgKind.PTR_TO_CTX: (frozenset({PTR_TO_CTX}), "ctx"),
    ArgKind.PTR_TO_SOCK_COMMON: (frozenset({PTR_TO_SOCK_COMMON, PTR_TO_XDP_SOCK}), _SOCKETS),
    ArgKind.PTR_TO_BTF_ID_SOCK_COMMON: (
        frozenset({PTR_TO_SOCK_COMMON, PTR_TO_XDP_SOCK, PTR_TO_BTF_ID, PTR_TO_BTF_ID | PTR_TRUSTED}),
        f"{_SOCKETS}, ptr_, trusted_ptr_",
    ),
    ArgKind.PTR_TO_BTF_ID: (
        frozenset({PTR_TO_BTF_ID, PTR_TO_BTF_ID | PTR_TRUSTED, PTR_TO_BTF_ID | MEM_RCU}),
        "ptr_, trusted_ptr_, rcu_ptr_",
    ),
    ArgKind.PTR_TO_SPIN_LOCK: _OWNER,
    ArgKind.PTR_TO_RINGBUF_MEM: (frozenset({PTR_TO_MEM | MEM_RINGBUF}), "ringbuf_mem"),
    ArgKind.PTR_TO_PERCPU_BTF_ID: (
        frozenset(PTR_TO_BTF_ID | MEM_PERCPU | flags for flags in (0, MEM_RCU, PTR_TRUSTED)),
        "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_",
    ),
    ArgKind.PTR_TO_FUNC: (frozenset({PTR_TO_FUNC}), "func"),
    ArgKind.PTR_TO_STACK: (frozenset({PTR_TO_STACK}), "fp"),
    ArgKind.PTR_TO_CONST_STR: _MAP_VALUE,
    ArgKind.PTR_TO_TIMER: _MAP_VALUE,
    ArgKind.KPTR_XCHG_DEST: _OWNER,
    ArgKind.PTR_TO_DYNPTR: (frozenset({PTR_TO_STACK, CONST_PTR_TO_DYNPTR}), "fp, dynptr_ptr"),
}


def check_is_object(register: Register, number: int, *, may_be_null: bool) -> None:
    """Whether a register holds a pointer to a kernel object that may be given away."""
    kind = register.type & ~PTR_MAYBE_NULL if may_be_null else register.type
    _check_kind(register, number, kind, ArgKind.PTR_TO_BTF_ID)


def _check_kind(register: Register, number: int, kind: int, wanted: ArgKind) -> None:
    types, text = _COMPATIBLE[wanted]
    if kind not in types:
        raise Fault(Rule.ARGUMENT, f"R{number} type={type_text(register.type)} expected={text}", number)


def _check_type(run: Run, meta: CallMeta, number: int, register: Register, argument: Argument) -> None:
    """kernel: check_reg_type()."""
    kind = register.type
    if TypeFlag.MEM_RDONLY in argument.flags:
        kind &= ~MEM_RDONLY
    if argument.may_be_null:
        kind &= ~PTR_MAYBE_NULL
    if argument.kind is ArgKind.PTR_TO_MEM:
        kind &= ~DYNPTR_TYPES
    types, _ = _COMPATIBLE[argument.kind]
    _check_kind(register, number, kind, argument.kind)
    if register.base != PTR_TO_BTF_ID:
        return
    if types is _MEMORY[0]:
        if TypeFlag.MEM_RDONLY not in argument.flags:
            raise Fault(
                Rule.ARGUMENT,
                f"{meta.row.name}() may write into memory pointed by R{number} type={type_text(register.type)}",
                number,
            )
        return
    if register.type & MEM_PERCPU:
        return
    _check_object(run, meta, number, register, argument)


def _check_object(run: Run, meta: CallMeta, number: int, register: Register, argument: Argument) -> None:
    is_release = TypeFlag.OBJ_RELEASE in argument.flags
    if meta.field is not None:
        _check_not_null(register, number, may_be_null=argument.may_be_null and not is_release)
        btf_access.check_kernel_pointer(run, meta.field, register, number)
        return
    name = argument.c_type.removeprefix("struct ").rstrip(" *")
    if argument.kind is ArgKind.PTR_TO_BTF_ID_SOCK_COMMON:
        name = "sock_common"
    wanted = btf_access.types_of(run).find(name, BtfKind.STRUCT)
    check_object(
        run, register, number, wanted, name, may_be_null=argument.may_be_null and not is_release, strict=is_release
    )


def check_object(
    run: Run, register: Register, number: int, wanted: int | None, name: str, *, may_be_null: bool, strict: bool = False
) -> None:
    """Whether a pointer to a kernel object is one to a struct of type `wanted`, called `name`, of the kernel's BTF."""
    _check_not_null(register, number, may_be_null=may_be_null)
    btf = btf_access.types_of(run)
    if wanted is None or not btf_access.is_struct(btf, register.extra, register.off, wanted, strict=strict):
        raise Fault(Rule.ARGUMENT, f"R{number} is of type {btf.name(register.extra)} but {name} is expected", number)


def _check_not_null(register: Register, number: int, *, may_be_null: bool) -> None:
    if register.may_be_null and not may_be_null:
        raise Fault(Rule.ARGUMENT, f"Possibly NULL pointer passed to helper arg{number}", number)


def _note_release(run: Run, meta: CallMeta, number: int, register: Register, kind: ArgKind) -> None:
    if kind is ArgKind.PTR_TO_DYNPTR:
        if register.type != PTR_TO_STACK:
            raise Fault(Rule.REFERENCE, "cannot release unowned const bpf_dynptr", number)
        spi = place(run, register, "dynptr", 2)
        held = None if spi is None else run.state.frames[register.extra].stack.get(spi, EMPTY).object
        if not isinstance(held, DynptrSlot) or not held.ref:
            raise Fault(Rule.REFERENCE, f"arg {number} is an unacquired reference", number)
        meta.releases_dynptr = True
    elif not register.ref and not register.is_null:
        raise Fault(Rule.REFERENCE, f"R{number} must be referenced when passed to release function", number)
    meta.release_register = number


def _map(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    register = run.regs[number]
    one, uid = register.extra.map, register.extra.uid
    if meta.map is not None and (meta.map is not one or meta.map_uid != uid):
        raise Fault(
            Rule.ARGUMENT,
            f"timer pointer in R1 map_uid={meta.map_uid} doesn't match map pointer in R2 map_uid={uid}",
            number,
        )
    meta.map, meta.map_uid = one, uid


def _key(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    assert meta.map is not None
    check(run, number, meta.map.key_size, is_write=False, zero_size_allowed=False)
    if meta.map.type in _ARRAYS:
        meta.constant_key = _constant_key(run, run.regs[number], meta.map.key_size)


def _constant_key(run: Run, register: Register, size: int) -> int | None:
    """A key on the stack that is known (kernel: get_constant_map_key())."""
    if not run.privileged or register.type != PTR_TO_STACK or not register.range.is_const:
        return None
    frame = run.state.frames[register.extra]
    at = -(register.off + register.range.smin) - 1
    spi, index = at // 8, at % 8
    slot = frame.stack.get(spi, EMPTY)
    if _run_length(slot.types, index, ZERO) >= size:
        return 0
    held = slot.register
    if not slot.is_spilled or held is None or held.type != SCALAR_VALUE:
        return None
    if _run_length(slot.types, index, SPILL) != size or not held.range.is_const:
        return None
    mark(run.state, frame.slot_depends.get(spi, 0))
    value: int = held.range.smin
    return value


def _run_length(types: bytes, index: int, kind: int) -> int:
    length = 0
    while index >= 0 and types[index] == kind:
        length += 1
        index -= 1
    return length


def _value(run: Run, meta: CallMeta, number: int, argument: Argument) -> None:
    if run.regs[number].is_null and argument.may_be_null:
        return
    assert meta.map is not None
    flags = argument.flags
    if meta.map.type == _BLOOM_FILTER and flags & TypeFlag.MEM_UNINIT:
        flags = TypeFlag(0)  # it is asked for a value, not given one
    raw = bool(flags & TypeFlag.MEM_UNINIT)
    is_write = bool(flags & TypeFlag.MEM_WRITE)
    if check(run, number, meta.map.value_size, is_write=is_write, zero_size_allowed=False, raw=raw):
        meta.raw_register, meta.raw_size = number, meta.map.value_size


def _memory(run: Run, meta: CallMeta, number: int, argument: Argument) -> None:
    if TypeFlag.MEM_FIXED_SIZE not in argument.flags:
        return
    size = argument.size_bytes
    raw = TypeFlag.MEM_UNINIT in argument.flags
    is_write = TypeFlag.MEM_WRITE in argument.flags
    if check(run, number, size, is_write=is_write, zero_size_allowed=False, raw=raw):
        meta.raw_register, meta.raw_size = number, size
    if TypeFlag.MEM_ALIGNED in argument.flags:
        memory.check_alignment(run.regs[number], 0, size, number)


def _size(run: Run, meta: CallMeta, number: int, argument: Argument) -> None:
    before = meta.row.arguments[number - 2].flags
    meta.size_limit = run.regs[number].range.umax
    sets_all = check_sized(
        run,
        number,
        is_write=TypeFlag.MEM_WRITE in before,
        zero_size_allowed=argument.kind is ArgKind.CONST_SIZE_OR_ZERO,
        raw=TypeFlag.MEM_UNINIT in before,
    )
    if sets_all:
        meta.raw_register, meta.raw_size = number - 1, run.regs[number].range.umax


def _alloc_size(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    size = run.regs[number].range
    if not size.is_const:
        raise Fault(Rule.ARGUMENT, f"R{number} is not a known constant'", number)
    meta.memory_size = size.value & 0xFFFFFFFF
    demand(run, number)


def _function(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    meta.function = run.regs[number].extra


def _constant_text(run: Run, _meta: CallMeta, number: int, _argument: Argument) -> None:
    check_constant_text(run, number)


def _lock(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    takes = meta.callee.effects.special is Special.TAKE_LOCK
    process_lock(run, number, takes=takes, is_resilient=False, with_interrupts=False)


def _timer(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    check_field(run, number, FieldKind.TIMER)
    meta.map, meta.map_uid = run.regs[number].extra


def check_field(run: Run, number: int, kind: FieldKind) -> None:
    """A pointer to a special field of a map's value (kernel: check_map_field_pointer())."""
    register = run.regs[number]
    name = kind.label
    if not register.range.is_const:
        raise Fault(
            Rule.ARGUMENT,
            f"R{number} doesn't have constant offset. {name} has to be at the constant offset",
            number,
        )
    one: MapFacts = register.extra.map
    if not one.has_btf:
        raise Fault(Rule.ARGUMENT, f"map '{one.name}' has to have BTF in order to use {name}", number)
    if not one.has((kind,)):
        raise Fault(Rule.ARGUMENT, f"map '{one.name}' has no valid {name}", number)
    at = register.range.smin + register.off
    if one.offset_of(kind) != at:
        raise Fault(
            Rule.ARGUMENT,
            f"off {at} doesn't point to 'struct {name}' that is at {one.offset_of(kind)}",
            number,
        )


def _kernel_pointer(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    """kernel: process_kptr_func()."""
    register = run.regs[number]
    one: MapFacts = register.extra.map
    if not one.has_btf:
        raise Fault(Rule.ARGUMENT, f"map '{one.name}' has to have BTF in order to use bpf_kptr_xchg", number)
    meta.map = one
    if not register.range.is_const:
        raise Fault(
            Rule.ARGUMENT,
            f"R{number} doesn't have constant offset. kptr has to be at the constant offset",
            number,
        )
    kinds = KERNEL_POINTERS - {FieldKind.UPTR}
    if not one.has(kinds):
        raise Fault(Rule.ARGUMENT, f"R{number} has no valid kptr", number)
    at = register.off + register.range.smin
    field = one.field_at(at, kinds)
    if field is None:
        raise Fault(Rule.ARGUMENT, f"off={at} doesn't point to kptr", number)
    if field.kind is FieldKind.KPTR_UNREF:
        raise Fault(Rule.ARGUMENT, f"off={at} kptr isn't referenced kptr", number)
    meta.field = field


def _per_cpu(run: Run, meta: CallMeta, number: int, _argument: Argument) -> None:
    meta.type_id = run.regs[number].extra


_DYNPTR_FLAGS = {
    TypeFlag.DYNPTR_TYPE_LOCAL: (DYNPTR_TYPE_LOCAL, "local"),
    TypeFlag.DYNPTR_TYPE_RINGBUF: (DYNPTR_TYPE_RINGBUF, "ringbuf"),
}


def _dynptr(run: Run, meta: CallMeta, number: int, argument: Argument) -> None:
    """kernel: process_dynptr_func()."""
    meta.dynptr_register = number
    wanted = next((held for flag, held in _DYNPTR_FLAGS.items() if flag in argument.flags), None)
    register = run.regs[number]
    if TypeFlag.MEM_UNINIT in argument.flags:
        assert wanted is not None
        make_dynptr(run, number, wanted[0], 0)
        return
    if register.type == CONST_PTR_TO_DYNPTR and TypeFlag.MEM_RDONLY not in argument.flags:
        raise Fault(Rule.ARGUMENT, "cannot pass pointer to const bpf_dynptr, the helper mutates it", number)
    check_initialized_dynptr(run, number)
    found = dynptr_at(run, register)
    assert found is not None
    if wanted is not None and found.type != wanted[0]:
        raise Fault(Rule.ARGUMENT, f"Expected a dynptr of type {wanted[1]} as arg #{number - 1}", number)


def make_dynptr(run: Run, number: int, kind: int, clone_of: int) -> None:
    """A function makes a dynptr of type `kind` (a flag) where a register points."""
    register = run.regs[number]
    if register.type == CONST_PTR_TO_DYNPTR:
        raise Fault(Rule.ARGUMENT, "Dynptr has to be an uninitialized dynptr", number)
    with also_saying("Dynptr has to be an uninitialized dynptr"):
        place(run, register, "dynptr", 2)
    for at in (0, 8):
        memory.check(run, memory.Access(number, at, 8, is_write=True))
    set_dynptr(run, register, kind, clone_of)


_HANDLERS: dict[ArgKind, Callable[[Run, CallMeta, int, Argument], None]] = {
    ArgKind.CONST_MAP_PTR: _map,
    ArgKind.PTR_TO_MAP_KEY: _key,
    ArgKind.PTR_TO_MAP_VALUE: _value,
    ArgKind.PTR_TO_MEM: _memory,
    ArgKind.CONST_SIZE: _size,
    ArgKind.CONST_SIZE_OR_ZERO: _size,
    ArgKind.CONST_ALLOC_SIZE_OR_ZERO: _alloc_size,
    ArgKind.PTR_TO_FUNC: _function,
    ArgKind.PTR_TO_CONST_STR: _constant_text,
    ArgKind.PTR_TO_SPIN_LOCK: _lock,
    ArgKind.PTR_TO_TIMER: _timer,
    ArgKind.KPTR_XCHG_DEST: _kernel_pointer,
    ArgKind.PTR_TO_PERCPU_BTF_ID: _per_cpu,
    ArgKind.PTR_TO_DYNPTR: _dynptr,
}
