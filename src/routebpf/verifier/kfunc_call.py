"""Calls of kfuncs: may it be called, what sections it begins or ends, what comes back.

kernel: kernel/bpf/verifier.c, check_kfunc_call(), check_special_kfunc(), process_iter_next_call().
"""

from __future__ import annotations

from routebpf.objects.btf_types import Composite
from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.spec import Kfunc, KfuncFlag
from routebpf.spec.effects import Special
from routebpf.verifier import btf_access, scalar
from routebpf.verifier.branches import not_null
from routebpf.verifier.callbacks import push_callback
from routebpf.verifier.callees import Callee
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.functions import clear_caller_saved
from routebpf.verifier.kfunc_arguments import KfuncMeta, check_arguments
from routebpf.verifier.loops import previous_entry, widen
from routebpf.verifier.register import (
    MEM_RCU,
    MEM_RDONLY,
    NULL,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
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
from routebpf.verifier.state import IteratorSlot, Slot, State

_MAX_ERRNO = 4095
_FAILED = Register(SCALAR_VALUE, scalar.narrowed(scalar.UNKNOWN, -_MAX_ERRNO, -1))


def call_kfunc(run: Run, callee: Callee) -> None:
    """What a call of a kfunc requires and does."""
    row = _available(run, callee)
    effects = callee.effects
    if effects.special is Special.TRAP:
        raise Fault(Rule.UNAVAILABLE, "unexpected __bpf_trap() due to uninitialized variable?")
    if effects.special is Special.TAKE_LOCK:
        _push_failure(run)
    is_sleepable = KfuncFlag.SLEEPABLE in row.flags
    if is_sleepable and not run.in_sleepable():
        raise Fault(Rule.UNAVAILABLE, f"program must be sleepable to call sleepable kfunc {row.name}")
    meta = KfuncMeta(callee, row)
    check_arguments(run, meta)
    if effects.callback is not None:
        push_callback(run, effects, meta.function, meta.map)
    _enter_or_leave_sections(run, callee, row.name, is_sleepable)
    if KfuncFlag.RCU_PROTECTED in row.flags and not run.in_rcu_section():
        raise Fault(Rule.LOCK, f"kernel func {row.name} requires RCU critical section protection")
    clear_caller_saved(run.frame)
    run.set_scalar(0, _result(run, meta))
    if callee.is_iterator_next:
        _next(run, meta)


def _available(run: Run, callee: Callee) -> Kfunc:
    row = callee.kfunc
    if run.at in run.poisons:
        raise Fault(Rule.UNAVAILABLE, "invalid func unknown#195896080", note=run.poisons[run.at])
    if row is None or run.program.program_type not in row.program_types or row.since > run.kernel_version:
        raise Fault(Rule.UNAVAILABLE, f"calling kernel function {callee.name} is not allowed")
    return row


def _push_failure(run: Run) -> None:
    """A resilient lock may not be got: then it gives an errno."""
    queued = run.push(run.at + 1)
    frame = queued.frames[-1]
    clear_caller_saved(frame)
    frame.registers[0] = _FAILED


def _enter_or_leave_sections(run: Run, callee: Callee, name: str, is_sleepable: bool) -> None:
    """Sections of RCU and without preemption."""
    effects, state = callee.effects, run.state
    if state.rcu_lock:
        if effects.rcu > 0:
            raise Fault(Rule.LOCK, f"nested rcu read lock (kernel function {name})")
        if effects.rcu < 0:
            _leave_rcu(run)
        elif is_sleepable:
            raise Fault(Rule.LOCK, f"kernel func {name} is sleepable within rcu_read_lock region")
    elif effects.rcu > 0:
        state.rcu_lock = True
    elif effects.rcu < 0:
        raise Fault(Rule.LOCK, f"unmatched rcu read unlock (kernel function {name})")
    if effects.preemption < 0 and not state.preempt_locks:
        raise Fault(Rule.LOCK, f"unmatched attempt to enable preemption (kernel function {name})")
    state.preempt_locks += effects.preemption
    if state.preempt_locks and not effects.preemption and is_sleepable:
        raise Fault(Rule.LOCK, f"kernel func {name} is sleepable within non-preemptible region")
    if state.active_irq and is_sleepable:
        raise Fault(Rule.LOCK, f"kernel func {name} is sleepable within IRQ-disabled region")


def _leave_rcu(run: Run) -> None:
    state = run.state
    state.rcu_lock = False

    def distrust(register: Register) -> Register:
        if not register.type & MEM_RCU:
            return register
        return register.with_type(register.type & ~(MEM_RCU | PTR_MAYBE_NULL) | PTR_UNTRUSTED)

    state.replace_registers(distrust)
    for frame in state.frames:
        for spi, slot in list(frame.stack.items()):
            held = slot.object
            if isinstance(held, IteratorSlot) and held.flags & MEM_RCU:
                flags = held.flags & ~MEM_RCU | PTR_UNTRUSTED
                frame.stack[spi] = Slot(slot.types, None, held._replace(flags=flags))


def _result(run: Run, meta: KfuncMeta) -> Register:
    row = meta.row
    c_type = row.c_return_type
    if c_type == "void":
        return UNSET
    if not row.returns_pointer:
        return NULL if meta.callee.effects.special is Special.TAKE_LOCK else UNKNOWN_SCALAR
    register = _special_result(run, meta)
    if register is None:
        name = c_type.removeprefix("const ").rstrip(" *")
        if name == "void":
            register = UNKNOWN_SCALAR
        elif name.startswith("struct "):
            register = _object(run, meta, name.removeprefix("struct "))
        else:
            register = pointer(PTR_TO_MEM | MEM_RDONLY, ref=meta.ref, extra=Memory(_C_SIZES[name]))
    if KfuncFlag.RET_NULL in row.flags:
        return register.with_type(register.type | PTR_MAYBE_NULL).with_id(run.new_id())
    return register


_C_SIZES = {"int": 4}


def _special_result(run: Run, meta: KfuncMeta) -> Register | None:
    match meta.callee.effects.special:
        case Special.CONTEXT_CAST:
            return pointer(PTR_TO_BTF_ID | PTR_TRUSTED, extra=_struct(run, "sk_buff"))
        case Special.READ_ONLY_CAST:
            return _cast(run, meta.constant or 0)
        case Special.READ_ONLY_SLICE | Special.WRITABLE_SLICE as special:
            flags = meta.dynptr.type if meta.dynptr is not None else 0
            if special is Special.READ_ONLY_SLICE:
                flags |= MEM_RDONLY
            elif not run.may_write_packet:
                raise Fault(Rule.PACKET, "the prog does not allow writes to packet data")
            id = meta.dynptr.id if meta.dynptr is not None else 0
            return pointer(PTR_TO_MEM | flags, extra=Memory((meta.constant or 0) & 0xFFFFFFFF, id))
    return None


def _cast(run: Run, type_id: int) -> Register:
    if type_id == 0:
        return pointer(PTR_TO_MEM | MEM_RDONLY | PTR_UNTRUSTED, extra=Memory(0))
    btf = btf_access.types_of(run)
    if type_id >= len(btf):
        raise Fault(Rule.BTF, f"Unknown type ID {type_id} passed to kfunc bpf_rdonly_cast")
    if not isinstance(btf.type(type_id), Composite):
        raise Fault(Rule.BTF, "kfunc bpf_rdonly_cast type ID argument must be of a struct or void")
    return pointer(PTR_TO_BTF_ID | PTR_UNTRUSTED, extra=type_id)


def _struct(run: Run, name: str) -> int:
    found = btf_access.types_of(run).find(name, BtfKind.STRUCT)
    if found is None:
        raise Fault(Rule.BTF, f"the kernel has no struct {name}")
    return found


def _object(run: Run, meta: KfuncMeta, name: str) -> Register:
    # Without the kernel's types, the object can be compared with null and passed on, but not read: type 0 is no struct.
    type_id = _struct(run, name) if run.kernel_btf is not None else 0
    kind = PTR_TO_BTF_ID
    if meta.callee.effects.special is Special.UNTRUSTED_RESULT:
        kind |= PTR_UNTRUSTED
    elif KfuncFlag.RCU_PROTECTED in meta.row.flags:
        kind |= MEM_RCU
    if meta.iterator is not None and meta.callee.is_iterator_next:
        kind |= MEM_RCU if meta.iterator.flags & MEM_RCU else PTR_TRUSTED
    return pointer(kind, extra=type_id)


def _next(run: Run, meta: KfuncMeta) -> None:
    """The iterator is at its end, or it is not: then the path is followed later."""
    assert meta.iterator is not None
    frame = run.state.frames[meta.iterator_frame]
    if meta.iterator.is_active:
        parent = run.state.parent
        before = previous_entry(run, parent.state, run.at) if parent is not None else None
        queued = run.push(run.at + 1)
        _set_iterator(queued, meta, meta.iterator._replace(depth=meta.iterator.depth + 1))
        if before is not None:
            widen(before, queued)
        regs = queued.frames[-1].registers
        regs[0] = not_null(regs[0])
    held = meta.iterator._replace(is_active=False)
    frame.stack[meta.iterator_spi] = Slot(frame.stack[meta.iterator_spi].types, None, held)
    run.set_scalar(0, NULL)


def _set_iterator(state: State, meta: KfuncMeta, held: IteratorSlot) -> None:
    stack = state.frames[meta.iterator_frame].stack
    stack[meta.iterator_spi] = Slot(stack[meta.iterator_spi].types, None, held)
