"""Calls of helpers: may it be called, are the arguments right, what comes back.

kernel: kernel/bpf/verifier.c, check_helper_call(), do_refine_retval_range(), check_map_func_compatibility().
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from routebpf.objects.btf_types import Composite
from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.objects.model import PROG_ARRAY
from routebpf.spec import MAP_TYPES, Helper, ReturnKind, TypeFlag
from routebpf.spec.effects import Bound, Special
from routebpf.verifier import btf_access, format_string, scalar
from routebpf.verifier.callbacks import push_callback
from routebpf.verifier.callees import Callee
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.functions import clear_caller_saved
from routebpf.verifier.helper_arguments import CallMeta, check_arguments
from routebpf.verifier.map_fields import LOCKS
from routebpf.verifier.maps import BPF_F_RDONLY_PROG
from routebpf.verifier.memory import Access
from routebpf.verifier.memory import check as check_access
from routebpf.verifier.precision import demand
from routebpf.verifier.references import acquire, check_nothing_held, release
from routebpf.verifier.register import (
    DYNPTR_TYPE_SKB,
    MEM_RDONLY,
    MEM_RINGBUF,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TRUSTED,
    SCALAR_VALUE,
    UNKNOWN_SCALAR,
    UNSET,
    MapOf,
    Memory,
    Register,
    pointer,
    type_text,
)
from routebpf.verifier.run import Run
from routebpf.verifier.stack_objects import dynptr_at, release_dynptr

_MAX_ERRNO = 4095


def call_helper(run: Run, callee: Callee) -> None:
    """What a call of a helper requires and does; pointers to the packet are looked after by the caller."""
    row = _available(run, callee)
    meta = CallMeta(callee, row)
    check_arguments(run, meta)
    _check_map_writes(run, meta)
    for at in range(meta.raw_size):
        check_access(run, Access(meta.raw_register, at, 1, is_write=True))
    if meta.release_register:
        _release(run, meta)
    special = callee.effects.special
    if special is not None and special in _SPECIAL:
        _SPECIAL[special](run, meta)
    if callee.effects.callback is not None and special is not Special.BOUNDED_CALLBACK:
        push_callback(run, callee.effects, meta.function, meta.map)
    clear_caller_saved(run.frame)
    run.set_scalar(0, _result(run, meta))
    _check_map_type(meta)
    if meta.moves_packet:
        from routebpf.verifier.calls import forget_packet

        forget_packet(run)


def _available(run: Run, callee: Callee) -> Helper:
    row = callee.helper
    if run.at in run.poisons:
        raise Fault(Rule.UNAVAILABLE, "invalid func unknown#195896080", note=run.poisons[run.at])
    number = run.program.instructions[run.at].imm
    if not number:
        raise Fault(Rule.UNAVAILABLE, "program of this type cannot use helper bpf_unspec#0")
    if row is None:
        raise Fault(Rule.UNAVAILABLE, f"invalid func unknown#{number}")
    is_old = row.lwt_since is not None and row.lwt_since > run.kernel_version
    if run.program.program_type not in row.program_types or is_old or (row.capability and not run.privileged):
        raise Fault(Rule.UNAVAILABLE, f"program of this type cannot use helper {row.name}#{number}")
    if row.gpl_only and not run.is_gpl:
        raise Fault(Rule.UNAVAILABLE, "cannot call GPL-restricted function from non-GPL compatible program")
    if row.might_sleep:
        state = run.state
        if not run.in_sleepable():
            raise Fault(Rule.UNAVAILABLE, "helper call might sleep in a non-sleepable prog")
        for is_in, where in (
            (state.rcu_lock, "rcu_read_lock region"),
            (state.preempt_locks, "non-preemptible region"),
            (state.active_irq, "IRQ-disabled region"),
        ):
            if is_in:
                raise Fault(Rule.LOCK, f"sleepable helper {row.name}#{number} in {where}")
    return row


def _check_map_writes(run: Run, meta: CallMeta) -> None:
    """kernel: record_func_map()."""
    effects = meta.callee.effects
    if effects.writes_map and meta.map is not None and meta.map.flags & BPF_F_RDONLY_PROG:
        raise Fault(Rule.ARGUMENT, "write into map forbidden", 1)
    if effects.special is Special.TAIL_CALL:
        if meta.map is None or meta.map.type != PROG_ARRAY:
            raise Fault(Rule.ARGUMENT, "expected prog array map for tail call", 2)
        index = run.regs[3].range
        if index.is_const and index.value < meta.map.max_entries:
            demand(run, 3)


def _release(run: Run, meta: CallMeta) -> None:
    number = meta.release_register
    if meta.releases_dynptr:
        release_dynptr(run, run.regs[number])
        return
    is_held = release(run, meta.ref) if meta.ref else run.regs[number].is_null
    if not is_held:
        raise Fault(
            Rule.REFERENCE,
            f"func {meta.row.name}#{meta.row.id} reference has not been acquired before",
            number,
        )


def _tail_call(run: Run, _meta: CallMeta) -> None:
    check_nothing_held(run, "tail_call", check_locks=True)


def _format(run: Run, _meta: CallMeta) -> None:
    """kernel: check_bpf_snprintf_call()."""
    size = run.regs[5].range
    if size.value % 8:
        raise Fault(Rule.ARGUMENT, "", 5, note="The values must be an array of 64-bit numbers.")
    pointer_to = run.regs[3]
    start = pointer_to.off + pointer_to.range.smin
    contents = pointer_to.extra.map.contents or b""
    problem = format_string.problem(contents[start:].partition(b"\0")[0], size.value // 8)
    if problem:
        raise Fault(Rule.ARGUMENT, "Invalid format string", 3, note=problem)


def _bounded_callback(run: Run, meta: CallMeta) -> None:
    if run.regs[4].is_null:
        demand(run, 4)
    if run.regs[1].type != SCALAR_VALUE:
        note = "How many rounds a loop has must be a number."
        raise Fault(Rule.ARGUMENT, "verifier bug: backtracking misuse", 1, note=note)
    demand(run, 1)
    if run.frame.callback_depth < run.regs[1].range.umax:
        push_callback(run, meta.callee.effects, meta.function, meta.map)
    else:
        run.frame.callback_depth = 0


def _map_value_only(run: Run, meta: CallMeta) -> None:
    kind = run.regs[1].type
    if kind != PTR_TO_MAP_VALUE:
        raise Fault(Rule.ARGUMENT, f"Unsupported reg type {type_text(kind)} for {meta.row.name} data", 1)


def _dynptr_slice(run: Run, meta: CallMeta) -> None:
    found = dynptr_at(run, run.regs[meta.dynptr_register])
    assert found is not None
    meta.dynptr_id, meta.ref = found.id, found.ref


def _dynptr_write(run: Run, meta: CallMeta) -> None:
    found = dynptr_at(run, run.regs[meta.dynptr_register])
    meta.moves_packet = found is not None and found.type == DYNPTR_TYPE_SKB


_SPECIAL: dict[Special, Callable[[Run, CallMeta], None]] = {
    Special.TAIL_CALL: _tail_call,
    Special.FORMAT: _format,
    Special.BOUNDED_CALLBACK: _bounded_callback,
    Special.MAP_VALUE_ONLY: _map_value_only,
    Special.DYNPTR_SLICE: _dynptr_slice,
    Special.DYNPTR_WRITE: _dynptr_write,
}


def _result(run: Run, meta: CallMeta) -> Register:
    returns = meta.row.returns
    assert returns is not None
    kind = returns.kind
    if kind is ReturnKind.VOID:
        return UNSET
    if kind is ReturnKind.INTEGER:
        return _number(run, meta)
    flags = PTR_MAYBE_NULL if returns.may_be_null else 0
    match kind:
        case ReturnKind.PTR_TO_MAP_VALUE:
            register = _map_value(run, meta, flags)
        case ReturnKind.PTR_TO_MEM:
            if TypeFlag.MEM_RINGBUF in returns.flags:
                flags |= MEM_RINGBUF
            register = pointer(PTR_TO_MEM | flags, extra=Memory(meta.memory_size, meta.dynptr_id))
        case ReturnKind.PTR_TO_BTF_ID:
            flags |= PTR_TRUSTED if TypeFlag.PTR_TRUSTED in returns.flags else 0
            register = pointer(PTR_TO_BTF_ID | flags, extra=_result_type(run, meta))
        case _:
            register = _variable(run, meta, flags)
    if register.type & PTR_MAYBE_NULL:
        register = register.with_id(run.new_id())
    effects = meta.callee.effects
    if effects.shares_reference or effects.special is Special.DYNPTR_SLICE:
        return register.with_ref(meta.ref)
    if effects.acquires:
        id = acquire(run)
        return register.with_id(id).with_ref(id)
    return register


def _number(run: Run, meta: CallMeta) -> Register:
    """kernel: do_refine_retval_range()."""
    bound = meta.callee.effects.bound
    if bound is Bound.SIZE:
        b = scalar.unbounded()
        b.smax = meta.size_limit
        b.s32max = meta.size_limit
        b.smin = b.s32min = -_MAX_ERRNO
        b.sync()
        return Register(UNKNOWN_SCALAR.type, scalar.sane_range_of(b))
    if bound is Bound.CPU:
        last = run.cpus - 1
        b = scalar.unbounded()
        b.umax = b.u32max = b.smax = b.s32max = last
        b.umin = b.u32min = b.smin = b.s32min = 0
        b.sync()
        return Register(UNKNOWN_SCALAR.type, scalar.sane_range_of(b))
    return UNKNOWN_SCALAR


def _map_value(run: Run, meta: CallMeta, flags: int) -> Register:
    one = meta.map
    assert one is not None
    is_found = (
        meta.callee.effects.may_find and meta.constant_key is not None and 0 <= meta.constant_key < one.max_entries
    )
    if is_found:
        flags &= ~PTR_MAYBE_NULL
    id = run.new_id() if not flags & PTR_MAYBE_NULL and one.has(LOCKS) else 0
    return pointer(PTR_TO_MAP_VALUE | flags, id=id, extra=MapOf(one, meta.map_uid))


def _result_type(run: Run, meta: CallMeta) -> int:
    btf = btf_access.types_of(run)
    if meta.field is not None:
        name = meta.field.pointee
    else:
        name = meta.row.prototype.split("*", 1)[0].removeprefix("struct ").strip()
        name = _RESULT_TYPES.get(meta.row.name, name)
    found = btf.find(name, BtfKind.STRUCT)
    if found is None:
        raise Fault(Rule.BTF, f"the kernel has no struct {name}")
    return found


_RESULT_TYPES = {"bpf_task_pt_regs": "pt_regs"}


def _variable(run: Run, meta: CallMeta, flags: int) -> Register:
    """A per-CPU variable of the kernel, by its type."""
    btf = btf_access.types_of(run)
    type_id, held = btf.strip(meta.type_id)
    if isinstance(held, Composite):
        return pointer(PTR_TO_BTF_ID | flags, extra=type_id)
    return pointer(PTR_TO_MEM | MEM_RDONLY | flags, extra=Memory(btf.size_of(meta.type_id)))


@cache
def _types_of_helper(name: str) -> frozenset[int]:
    """The types of map that a helper is for, if it is for some only."""
    return frozenset(row.number for row in MAP_TYPES if name in row.helpers)


_GENERAL = ("map_lookup_elem", "map_update_elem", "map_delete_elem", "for_each_map_elem")


def _check_map_type(meta: CallMeta) -> None:
    """kernel: check_map_func_compatibility()."""
    one = meta.map
    if one is None or one.row is None:
        return
    name = meta.row.name.removeprefix("bpf_")
    types = _types_of_helper(name)
    is_right = one.type in types or (one.row.is_open and (name in _GENERAL or not types))
    if not is_right:
        raise Fault(Rule.ARGUMENT, f"cannot pass map_type {one.type} into func {meta.row.name}#{meta.row.id}")
