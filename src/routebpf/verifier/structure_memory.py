"""Loads, stores and atomics in the pass: what they may touch, and what a load gives.

kernel: kernel/bpf/verifier.c, check_mem_access(); net/core/filter.c, lwt_is_valid_access() for the context.
"""

from __future__ import annotations

from routebpf.isa import Form, Instruction, Kind
from routebpf.isa.opcodes import ATOMICS, STACK_BYTES, AtomicKind
from routebpf.isa.semantics import sign_extend
from routebpf.objects.model import MapDefinition
from routebpf.verifier import structure_rules as rules
from routebpf.verifier.structure_facts import ContextAccess
from routebpf.verifier.structure_pass import Pass, State
from routebpf.verifier.structure_values import NUMBER, OTHER, Origin, Value, constant

_BPF_F_RDONLY_PROG = 1 << 7


def load(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    base = run.read(state, one.src)
    state.registers[one.dst] = _access(run, one.src, base, one.offset, form, state, is_write=False)
    return True


def store(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    value = run.read(state, one.src) if form.register else NUMBER
    base = run.read(state, one.dst)
    _access(run, one.dst, base, one.offset, form, state, is_write=True)
    _put(run, base, one.offset, form.size, value, state)
    return True


def atomic(run: Pass, one: Instruction, form: Form, state: State) -> bool:
    kind = ATOMICS[one.imm].kind
    register = one.src if kind is AtomicKind.LOAD_ACQUIRE else one.dst
    if run.read(state, register).origin is Origin.CONTEXT:
        doing = "loads from" if kind is AtomicKind.LOAD_ACQUIRE else "stores into"
        raise run.fault(f"BPF_ATOMIC {doing} R{register} ctx is not allowed")
    if kind is AtomicKind.LOAD_ACQUIRE:
        return load(run, one, form, state)
    if kind is AtomicKind.STORE_RELEASE:
        return store(run, one, form, state)
    run.read(state, one.src)
    if kind is AtomicKind.CMPXCHG:
        run.read(state, 0)
    base = run.read(state, one.dst)
    _access(run, one.dst, base, one.offset, form, state, is_write=True)
    _put(run, base, one.offset, form.size, NUMBER, state)
    if kind is not AtomicKind.PLAIN:
        state.registers[0 if kind is AtomicKind.CMPXCHG else one.src] = NUMBER
    return True


def _access(run: Pass, register: int, base: Value, offset: int, form: Form, state: State, *, is_write: bool) -> Value:
    """Check an access of `form.size` bytes at `base` + `offset`, and note it. What a load of it gives."""
    match base.origin:
        case Origin.CONTEXT:
            return _context_access(run, register, base, offset, form, is_write=is_write)
        case Origin.STACK:
            return _stack_access(run, register, base, offset, form, state, is_write=is_write)
        case Origin.MAP_VALUE if is_write:
            _check_map_write(run, run.maps[base.which])
        case Origin.MAP_VALUE:
            return _map_load(run.maps[base.which], base.offset, offset, form)
        case Origin.MIXED:
            raise run.fault(
                "same insn cannot be used with different pointers",
                f"r{register} is the context on one path and another pointer on another; use a register for each.",
            )
    return _unknown(form)


def _unknown(form: Form) -> Value:
    return OTHER if form.size == 8 else NUMBER


def _context_access(run: Pass, register: int, base: Value, offset: int, form: Form, *, is_write: bool) -> Value:
    if base.offset is None:
        raise run.fault("variable ctx access disallowed", "Use constant offsets into the context.")
    if base.offset:
        kind = "negative offset" if base.offset < 0 else "dereference of modified"
        raise run.fault(f"{kind} ctx ptr R{register} off={base.offset} disallowed", "Use the context as it came.")
    is_pointer = rules.context_accesses(run.program.program_type).get((offset, form.size, is_write))
    if is_pointer is None or (is_pointer and form.kind is Kind.LDSX):
        raise run.fault(f"invalid bpf_context access off={offset} size={form.size}", _context_todo(run, offset))
    run.context[run.at] = ContextAccess(offset, form.size, is_write)
    return OTHER if is_pointer else NUMBER


def _context_todo(run: Pass, offset: int) -> str:
    allowed = sorted(size for at, size, write in rules.context_accesses(run.program.program_type) if at == offset)
    return f"Sizes that may be accessed at {offset}: {allowed}" if allowed else ""


def _stack_access(
    run: Pass, register: int, base: Value, offset: int, form: Form, state: State, *, is_write: bool
) -> Value:
    if base.offset is None:
        return _unknown(form)
    at, size = base.offset + offset, form.size
    if at % size and -STACK_BYTES <= at < 0:
        raise run.fault(f"misaligned stack access off 0+{base.offset}+{offset} size {size}")
    if not -STACK_BYTES <= at <= -size:
        doing = "write to" if is_write else "read from"
        todo = f"The stack is r10-{STACK_BYTES} to r10-1."
        raise run.fault(f"invalid {doing} stack R{register} off={at} size={size}", todo)
    run.use_stack(base.which, at)
    if is_write or size < 8:
        return NUMBER
    return state.slots.get((base.which, at), NUMBER)


def _put(run: Pass, base: Value, offset: int, size: int, value: Value, state: State) -> None:
    """A store into a frame. A constant is noted as just a number: memory changes in ways that are not followed."""
    if base.origin is not Origin.STACK or base.offset is None:
        return
    if size < 8 or value.origin is Origin.CONSTANT:
        value = NUMBER
    key = (base.which, (base.offset + offset) // 8 * 8)
    state.slots[key] = value
    run.note_write(key, value)


def _check_map_write(run: Pass, definition: MapDefinition) -> None:
    if definition.read_only or definition.flags & _BPF_F_RDONLY_PROG:
        raise run.fault("write into map forbidden", f"Programs can only read map {definition.name}.")


def _map_load(definition: MapDefinition, base: int | None, offset: int, form: Form) -> Value:
    """A load from a map's value: known if it is constant data."""
    if not definition.read_only or definition.data is None or base is None or base + offset < 0:
        return NUMBER
    held = definition.data[base + offset : base + offset + form.size]
    if len(held) < form.size:
        return NUMBER
    value = int.from_bytes(held, "little")
    return constant(sign_extend(value, form.size * 8) if form.kind is Kind.LDSX else value)
