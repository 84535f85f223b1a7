"""Arguments of kfuncs: whether a register holds what the kfunc takes there, one function for each kind.

kernel: kernel/bpf/verifier.c, check_kfunc_args(), get_kfunc_ptr_arg_type().
"""

from __future__ import annotations

from collections.abc import Callable

from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.spec import Kfunc, KfuncArgKind, KfuncArgument, KfuncFlag
from routebpf.spec.effects import Special
from routebpf.verifier import btf_access, memory
from routebpf.verifier.argument_memory import (
    as_not_null,
    check_constant_text,
    check_initialized_dynptr,
    check_offset,
    check_sized,
)
from routebpf.verifier.callees import Callee
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.helper_arguments import check_field, make_dynptr
from routebpf.verifier.locks import process_lock
from routebpf.verifier.map_fields import FieldKind
from routebpf.verifier.maps import MapFacts
from routebpf.verifier.precision import demand
from routebpf.verifier.register import (
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    DYNPTR_TYPE_SKB,
    MEM_ALLOC,
    MEM_RCU,
    NOT_INIT,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_VALUE,
    PTR_TO_SOCK_COMMON,
    PTR_TO_STACK,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    Register,
    has_unsafe_flags,
    is_trusted,
    type_text,
)
from routebpf.verifier.run import Run, unset
from routebpf.verifier.stack_objects import (
    also_saying,
    can_save_interrupts,
    can_set_iterator,
    dynptr_at,
    end_iterator,
    is_stale,
    iterator_at,
    note_read,
    restore_interrupts,
    save_interrupts,
    saved_interrupts,
    set_iterator,
)
from routebpf.verifier.state import DynptrSlot, IteratorSlot

_AS_OBJECTS = (PTR_TO_BTF_ID, PTR_TO_SOCK_COMMON, CONST_PTR_TO_MAP)


class KfuncMeta:
    """What the arguments looked at so far say about the call (kernel: struct bpf_kfunc_call_arg_meta)."""

    __slots__ = (
        "callee",
        "constant",
        "dynptr",
        "function",
        "iterator",
        "iterator_frame",
        "iterator_spi",
        "map",
        "map_uid",
        "ref",
        "row",
    )

    def __init__(self, callee: Callee, row: Kfunc) -> None:
        self.callee = callee
        self.row = row
        self.ref = 0
        self.constant: int | None = None
        self.function = 0
        self.map: MapFacts | None = None
        self.map_uid = 0
        self.dynptr: DynptrSlot | None = None
        self.iterator: IteratorSlot | None = None
        self.iterator_frame = 0
        self.iterator_spi = 0


def check_arguments(run: Run, meta: KfuncMeta) -> None:
    """Check every argument of the kfunc. Raises Fault."""
    for position, argument in enumerate(meta.row.arguments):
        if argument.kind in _SKIPPED:
            continue
        if argument.kind is KfuncArgKind.SIZE and _sizes_memory(meta.row, position):
            continue
        _check_argument(run, meta, position, argument)


_SKIPPED = (KfuncArgKind.UNCHECKED, KfuncArgKind.PROGRAM)
_NUMBERS = (KfuncArgKind.SCALAR, KfuncArgKind.CONSTANT, KfuncArgKind.SIZE)


def _sizes_memory(row: Kfunc, position: int) -> bool:
    return position > 0 and row.arguments[position - 1].kind is KfuncArgKind.MEMORY


def _check_argument(run: Run, meta: KfuncMeta, position: int, argument: KfuncArgument) -> None:
    number = position + 1
    register = run.regs[number]
    if argument.kind in _NUMBERS:
        _number(run, meta, number, argument)
        return
    flags = meta.row.flags
    is_trusting = bool(flags & (KfuncFlag.TRUSTED_ARGS | KfuncFlag.RCU))
    is_nullable = argument.may_be_null and argument.kind is KfuncArgKind.OBJECT
    if is_trusting and (register.is_null or register.may_be_null) and not is_nullable:
        raise Fault(Rule.ARGUMENT, f"Possibly NULL pointer passed to trusted arg{position}", number)
    if register.type == NOT_INIT:
        raise _not_memory(run, meta, position, argument)
    if register.ref:
        meta.ref = register.ref
    if is_nullable and register.is_null:
        return
    if argument.kind in (KfuncArgKind.MAP, KfuncArgKind.OBJECT):
        _check_trust(register, number, flags, argument)
    check_offset(register, number)
    _HANDLERS[argument.kind](run, meta, position, argument)


def _check_trust(register: Register, number: int, flags: KfuncFlag, argument: KfuncArgument) -> None:
    if argument.kind is KfuncArgKind.MAP and register.type != CONST_PTR_TO_MAP:
        raise Fault(Rule.ARGUMENT, f"pointer in R{number} isn't map pointer", number)
    if not flags & (KfuncFlag.TRUSTED_ARGS | KfuncFlag.RCU) or is_trusted(register):
        return
    if argument.kind is KfuncArgKind.OBJECT and register.base not in _AS_OBJECTS:
        return
    if not flags & KfuncFlag.RCU:
        raise Fault(Rule.ARGUMENT, f"R{number} must be referenced or trusted", number)
    if not register.type & MEM_RCU:
        raise Fault(Rule.ARGUMENT, f"R{number} must be a rcu pointer", number)


def _not_memory(run: Run, meta: KfuncMeta, position: int, argument: KfuncArgument) -> Fault:
    return (
        unset(position + 1)
        if run.regs[position + 1].type == NOT_INIT
        else Fault(Rule.ARGUMENT, f"arg#{position} of {meta.row.name}: {argument.c_type}", position + 1)
    )


def _number(run: Run, meta: KfuncMeta, number: int, argument: KfuncArgument) -> None:
    register = run.regs[number]
    if register.type != SCALAR_VALUE:
        raise Fault(Rule.ARGUMENT, f"R{number} is not a scalar", number)
    if argument.kind is KfuncArgKind.CONSTANT:
        if not register.range.is_const:
            raise Fault(Rule.ARGUMENT, f"R{number} must be a known constant", number)
        demand(run, number)
        meta.constant = register.range.value


def _context(run: Run, _meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    kind = run.regs[position + 1].type
    if kind != PTR_TO_CTX:
        raise Fault(Rule.ARGUMENT, f"arg#{position} expected pointer to ctx, but got {type_text(kind)}", position + 1)


def _dynptr(run: Run, meta: KfuncMeta, position: int, argument: KfuncArgument) -> None:
    number = position + 1
    register = run.regs[number]
    if register.type not in (PTR_TO_STACK, CONST_PTR_TO_DYNPTR):
        raise Fault(Rule.ARGUMENT, f"arg#{position} expected pointer to stack or const struct bpf_dynptr", number)
    if argument.reads:
        check_initialized_dynptr(run, number)
        meta.dynptr = dynptr_at(run, register)
        return
    kind, clone_of = DYNPTR_TYPE_SKB, 0
    if meta.callee.effects.special is Special.CLONE_DYNPTR and meta.dynptr is not None:
        kind, clone_of = meta.dynptr.type, meta.dynptr.ref
    make_dynptr(run, number, kind, clone_of)


def _iterator(run: Run, meta: KfuncMeta, position: int, argument: KfuncArgument) -> None:
    """kernel: process_iter_arg()."""
    number = position + 1
    if meta.callee.effects.special is Special.SLEEPABLE_ITERATOR and not run.in_sleepable():
        raise Fault(Rule.UNAVAILABLE, "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs", number)
    register = run.regs[number]
    if register.type != PTR_TO_STACK:
        raise Fault(Rule.ARGUMENT, f"arg#{position} expected pointer to an iterator on stack", number)
    name = argument.c_type.removeprefix("struct bpf_").rstrip(" *")
    slots = argument.size_bytes // 8
    if KfuncFlag.ITER_NEW in meta.row.flags:
        _new_iterator(run, meta, position, name, slots)
        return
    try:
        found = iterator_at(run, register, name, slots)
    except Fault as fault:
        raise Fault(
            Rule.ARGUMENT, f"{fault.message}\nexpected an initialized {name} as arg #{position}", number
        ) from None
    if found is None:
        raise Fault(Rule.ARGUMENT, f"expected an initialized {name} as arg #{position}", number)
    meta.iterator_spi, meta.iterator = found
    meta.iterator_frame = register.extra
    if is_stale(meta.iterator):
        raise Fault(Rule.LOCK, f"expected an RCU CS when using {meta.row.name}", number)
    note_read(run, register, meta.iterator_spi, slots)
    meta.ref = meta.iterator.ref
    if KfuncFlag.ITER_DESTROY in meta.row.flags:
        end_iterator(run, register, meta.iterator_spi, slots)


def _new_iterator(run: Run, meta: KfuncMeta, position: int, name: str, slots: int) -> None:
    number = position + 1
    register = run.regs[number]
    problem = f"expected uninitialized {name} as arg #{position}"
    try:
        can_set = can_set_iterator(run, register, slots)
    except Fault as fault:
        raise Fault(Rule.ARGUMENT, f"{fault.message}\n{problem}", number) from None
    if not can_set:
        raise Fault(Rule.ARGUMENT, problem, number)
    for at in range(0, slots * 8, 8):
        memory.check(run, memory.Access(number, at, 8, is_write=True))
    flags = 0
    if KfuncFlag.RCU_PROTECTED in meta.row.flags:
        flags = MEM_RCU if run.in_rcu_section() else PTR_UNTRUSTED
    set_iterator(run, register, name, slots, flags)


def _map(run: Run, meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    number = position + 1
    one, uid = run.regs[number].extra
    if meta.map is not None and (meta.map is not one or meta.map_uid != uid):
        if one.has((FieldKind.TASK_WORK,)):
            message = "bpf_task_work pointer in R2 map_uid={} doesn't match map pointer in R3 map_uid={}"
        else:
            message = "workqueue pointer in R1 map_uid={} doesn't match map pointer in R2 map_uid={}"
        raise Fault(Rule.ARGUMENT, message.format(meta.map_uid, uid), number)
    meta.map, meta.map_uid = one, uid


def _memory(run: Run, meta: KfuncMeta, position: int, argument: KfuncArgument) -> None:
    number = position + 1
    size = run.regs[number + 1]
    if size.type != SCALAR_VALUE:
        raise Fault(
            Rule.ARGUMENT,
            f"arg#{position} pointer type UNKNOWN  must point to scalar, or struct with scalar",
            number,
        )
    if not (argument.may_be_null and run.regs[number].is_null):
        saved = as_not_null(run, number)
        try:
            check_sized(run, number + 1, is_write=False, zero_size_allowed=True)
            check_sized(run, number + 1, is_write=True, zero_size_allowed=True)
        except Fault as fault:
            pair = f"arg#{position} arg#{position + 1} memory, len pair leads to invalid memory access"
            raise Fault(fault.rule, f"{fault.message}\n{pair}", number) from None
        finally:
            if saved is not None:
                run.regs[number] = saved
    if argument.may_be_null:
        if not size.range.is_const:
            raise Fault(Rule.ARGUMENT, f"R{number + 1} must be a known constant", number + 1)
        demand(run, number + 1)
        meta.constant = size.range.value


def _constant_text(run: Run, _meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    if run.regs[position + 1].type != PTR_TO_MAP_VALUE:
        raise Fault(Rule.ARGUMENT, f"arg#{position} doesn't point to a const string", position + 1)
    check_constant_text(run, position + 1)


def _object(run: Run, meta: KfuncMeta, position: int, argument: KfuncArgument) -> None:
    number = position + 1
    register = run.regs[number]
    name = argument.c_type.removeprefix("const ").removeprefix("struct ").rstrip(" *")
    if register.base not in _AS_OBJECTS:
        raise Fault(
            Rule.ARGUMENT,
            f"arg#{position} pointer type STRUCT {name} must point to scalar, or struct with scalar",
            number,
        )
    if register.base == PTR_TO_BTF_ID and has_unsafe_flags(register.type) and not register.type & MEM_RCU:
        raise Fault(
            Rule.ARGUMENT,
            f"arg#{position} is {type_text(register.type)} expected {type_text(PTR_TO_BTF_ID)} or socket",
            number,
        )
    btf = btf_access.types_of(run)
    wanted = btf.find(name, BtfKind.STRUCT)
    held = register.extra if register.base == PTR_TO_BTF_ID else btf.find(_STRUCTS[register.base], BtfKind.STRUCT)
    if wanted is None or held is None or not btf_access.is_struct(btf, held, register.off, wanted):
        raise Fault(
            Rule.ARGUMENT,
            f"kernel function {meta.row.name} args#{position} expected pointer to STRUCT {name}"
            f" but R{number} has a pointer to STRUCT {btf.name(held or 0)}",
            number,
        )


_STRUCTS = {PTR_TO_SOCK_COMMON: "sock_common", CONST_PTR_TO_MAP: "bpf_map"}


def _callback(run: Run, meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    register = run.regs[position + 1]
    if register.type != PTR_TO_FUNC:
        raise Fault(Rule.ARGUMENT, f"arg{position} expected pointer to func", position + 1)
    meta.function = register.extra


def _work_queue(run: Run, meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    """kernel: process_wq_func()."""
    register = run.regs[position + 1]
    if register.type != PTR_TO_MAP_VALUE:
        raise Fault(Rule.ARGUMENT, f"arg#{position} doesn't point to a map value", position + 1)
    check_field(run, position + 1, FieldKind.WORKQUEUE)
    meta.map, meta.map_uid = register.extra


def _task_work(run: Run, meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    register = run.regs[position + 1]
    if register.type != PTR_TO_MAP_VALUE:
        raise Fault(Rule.ARGUMENT, f"arg#{position} doesn't point to a map value", position + 1)
    check_field(run, position + 1, FieldKind.TASK_WORK)
    meta.map, meta.map_uid = register.extra


def _interrupts(run: Run, meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    """kernel: process_irq_flag()."""
    number = position + 1
    register = run.regs[number]
    if register.type != PTR_TO_STACK:
        raise Fault(Rule.ARGUMENT, f"arg#{position} doesn't point to an irq flag on stack", number)
    effects = meta.callee.effects
    if effects.saves_interrupts:
        words = f"expected uninitialized irq flag as arg#{position}"
        with also_saying(words):
            can_save = can_save_interrupts(run, register)
        if not can_save:
            raise Fault(Rule.ARGUMENT, words, number)
        memory.check(run, memory.Access(number, 0, 8, is_write=True))
        save_interrupts(run, register, effects.interrupts)
        return
    words = f"expected an initialized irq flag as arg#{position}"
    with also_saying(words):
        found = saved_interrupts(run, register)
    if found is None:
        raise Fault(Rule.ARGUMENT, words, number)
    note_read(run, register, found[0], 1)
    restore_interrupts(run, register, found[0], found[1], effects.interrupts)


def _lock(run: Run, meta: KfuncMeta, position: int, _argument: KfuncArgument) -> None:
    number = position + 1
    if run.regs[number].type not in (PTR_TO_MAP_VALUE, PTR_TO_BTF_ID | MEM_ALLOC):
        raise Fault(Rule.ARGUMENT, f"arg#{position} doesn't point to map value or allocated object", number)
    effects = meta.callee.effects
    process_lock(
        run,
        number,
        takes=effects.special is Special.TAKE_LOCK,
        is_resilient=True,
        with_interrupts=bool(effects.interrupts),
    )


_HANDLERS: dict[KfuncArgKind, Callable[[Run, KfuncMeta, int, KfuncArgument], None]] = {
    KfuncArgKind.CONTEXT: _context,
    KfuncArgKind.DYNPTR: _dynptr,
    KfuncArgKind.ITERATOR: _iterator,
    KfuncArgKind.MAP: _map,
    KfuncArgKind.MEMORY: _memory,
    KfuncArgKind.CONST_STR: _constant_text,
    KfuncArgKind.OBJECT: _object,
    KfuncArgKind.CALLBACK: _callback,
    KfuncArgKind.WORKQUEUE: _work_queue,
    KfuncArgKind.TASK_WORK: _task_work,
    KfuncArgKind.RES_SPIN_LOCK: _lock,
    KfuncArgKind.IRQ_FLAG: _interrupts,
}
