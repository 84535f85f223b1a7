"""Steps of loads, stores, atomics and 64-bit immediates.

kernel: kernel/bpf/verifier.c, check_load_mem(), check_store_reg(), check_atomic(), check_ld_imm().
"""

from __future__ import annotations

from routebpf.isa import Form, Instruction, Kind, wide_immediate
from routebpf.isa.opcodes import (
    ATOMICS,
    BPF_AND,
    BPF_FETCH,
    BPF_OR,
    BPF_XOR,
    PSEUDO_BTF_ID,
    PSEUDO_FUNC,
    PSEUDO_MAP_IDX_VALUE,
    R10,
    AtomicKind,
)
from routebpf.objects.btf_types import Composite, Datasec, Var
from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.spec import kfunc_by_name, map_type_by_number
from routebpf.verifier import btf_access, memory
from routebpf.verifier.arithmetic import fails, read_only_frame_pointer
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.memory import Access
from routebpf.verifier.register import (
    CONST_PTR_TO_MAP,
    MAX_VAR_OFF,
    MEM_PERCPU,
    MEM_RDONLY,
    NOT_INIT,
    NULL,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_SOCK_COMMON,
    UNKNOWN_SCALAR,
    MapOf,
    Memory,
    Register,
    known,
    pointer,
    type_text,
)
from routebpf.verifier.run import Run, Step, unset
from routebpf.verifier.stack import NO_REGISTER, Write

_ARENA = 33
_NOT_ATOMIC = frozenset({PTR_TO_CTX, PTR_TO_PACKET, PTR_TO_SOCK_COMMON})
# What the JIT of x86-64 makes a loop of, which cannot take a fault (kernel: bpf_jit_supports_insn()).
_NOT_IN_ARENA = frozenset(operator | BPF_FETCH for operator in (BPF_OR, BPF_AND, BPF_XOR))


def load_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """`dst = *(size *)(src + offset)`."""
    access = Access(one.src, one.offset, form.size, is_write=False, target=one.dst, is_signed=form.kind is Kind.LDSX)
    return _load(run, at, one, access)


def _load(run: Run, at: int, one: Instruction, access: Access) -> Step:
    dst, src, following = one.dst, one.src, at + 1
    allow_trust_mismatch = not access.is_aligned

    def step() -> int:
        base = run.regs[src]
        if base.type == NOT_INIT:
            raise unset(src)
        if dst == R10:
            raise read_only_frame_pointer()
        memory.load(run, access)
        run.note_pointer_type(base.type, allow_trust_mismatch)
        return following

    return step


def store_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """`*(size *)(dst + offset) = src`, or `= imm`."""
    if form.kind is Kind.STX:
        if one.imm:
            return fails(Rule.STRUCTURE, "BPF_STX uses reserved fields")
        return _store(run, at, one, Access(one.dst, one.offset, form.size, is_write=True, what=Write(one.src)))
    if one.src:
        return fails(Rule.STRUCTURE, "BPF_ST uses reserved fields")
    return _store(run, at, one, Access(one.dst, one.offset, form.size, is_write=True, what=Write(constant=one.imm)))


def _store(run: Run, at: int, one: Instruction, access: Access) -> Step:
    dst, src, following = one.dst, access.what.register, at + 1

    def step() -> int:
        regs = run.regs
        if src >= 0 and regs[src].type == NOT_INIT:
            raise unset(src)
        base = regs[dst]
        if base.type == NOT_INIT:
            raise unset(dst)
        written = memory.check(run, access)
        run.liveness.note_write(at, written)
        run.note_pointer_type(base.type)
        return following

    return step


def atomic_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """An atomic operation, load-acquire or store-release."""
    atomic = ATOMICS.get(one.imm)
    if atomic is None:
        return fails(Rule.STRUCTURE, f"BPF_ATOMIC uses invalid atomic opcode {one.imm & 0xFFFFFFFF:02x}")
    if form.size not in atomic.sizes:
        return fails(Rule.STRUCTURE, "invalid atomic operand size")
    if atomic.kind is AtomicKind.LOAD_ACQUIRE:
        access = Access(one.src, one.offset, form.size, is_write=False, target=one.dst, is_aligned=True, form="atomic")
        return _checked(run, _load(run, at, one, access), one.src, "loads from")
    if atomic.kind is AtomicKind.STORE_RELEASE:
        access = Access(
            one.dst, one.offset, form.size, is_write=True, what=Write(one.src), is_aligned=True, form="atomic"
        )
        return _checked(run, _store(run, at, one, access), one.dst, "stores into")
    return _read_modify_write(run, at, one, form.size, atomic.kind)


def _checked(run: Run, then: Step, number: int, doing: str) -> Step:
    def step() -> int:
        base = run.read(number)
        following = then()
        # The kernel looks at the register as it is now, with what was loaded in it perhaps: so it takes what it
        # refuses else, which is harmless in a packet.
        if base.type != PTR_TO_PACKET or run.regs[number] is base:
            _check_atomic_pointer(base, number, doing)
        return following

    return step


def _check_atomic_pointer(base: Register, number: int, doing: str, *, in_arena: bool = True) -> None:
    """kernel: atomic_ptr_type_ok(). `in_arena`: whether the JIT has this operation there."""
    if base.type in _NOT_ATOMIC or (base.type == PTR_TO_ARENA and not in_arena):
        raise Fault(Rule.POINTER, f"BPF_ATOMIC {doing} R{number} {type_text(base.type)} is not allowed", number)


def _read_modify_write(run: Run, at: int, one: Instruction, size: int, kind: AtomicKind) -> Step:
    """kernel: check_atomic_rmw()."""
    dst, src = one.dst, one.src
    target = NO_REGISTER
    in_arena = one.imm not in _NOT_IN_ARENA
    if kind is AtomicKind.CMPXCHG:
        target = 0
    elif kind in (AtomicKind.FETCH, AtomicKind.XCHG):
        target = src

    def access(*, is_write: bool, target: int = NO_REGISTER) -> Access:
        return Access(dst, one.offset, size, is_write=is_write, target=target, is_aligned=True, form="atomic")

    probe, fetch, write = access(is_write=False), access(is_write=False, target=target), access(is_write=True)

    def step() -> int:
        given = [src, 0] if kind is AtomicKind.CMPXCHG else [src]
        run.read(src)
        base = run.read(dst)
        for number in reversed(given):
            if run.is_leak(run.read(number)):
                raise Fault(Rule.LEAK, f"R{number} leaks addr into mem", number)
        _check_atomic_pointer(base, dst, "stores into", in_arena=in_arena)
        if target == R10:
            raise read_only_frame_pointer()
        if target >= 0:
            run.set_scalar(target, UNKNOWN_SCALAR)
        memory.check(run, probe)
        if target >= 0:
            memory.load(run, fetch)
        if base.type == PTR_TO_ARENA:
            run.note_pointer_type(base.type)
        run.liveness.note_write(at, memory.check(run, write))
        return at + 1

    return step


def wide_step(run: Run, at: int, one: Instruction, _form: Form) -> Step:
    """`dst = ` a 64-bit immediate: a number, a map, an address in its value, a function, a kernel symbol."""
    dst, following = one.dst, at + 2
    if one.offset:
        return fails(Rule.STRUCTURE, "BPF_LD_IMM64 uses reserved fields")
    try:
        register = _wide_value(run, at, one)
    except Fault as fault:
        problem = fault

        def refuse() -> int:
            raise problem

        return refuse

    def step() -> int:
        if dst == R10:
            raise read_only_frame_pointer()
        run.regs[dst] = register
        run.depends[dst] = 0
        run.reachable[at + 1] = 0
        return following

    return step


def _wide_value(run: Run, at: int, one: Instruction) -> Register:
    second = run.program.instructions[at + 1]
    if one.src == 0:
        return known(wide_immediate(one, second))
    if one.src == PSEUDO_FUNC:
        return _function(run, at + one.imm + 1)
    if one.src == PSEUDO_BTF_ID:
        return _symbol(run, run.program.ksyms[one.imm])
    facts = run.maps[one.imm]
    if one.src != PSEUDO_MAP_IDX_VALUE:
        return pointer(CONST_PTR_TO_MAP, extra=MapOf(facts))
    if facts.type == _ARENA:
        return UNKNOWN_SCALAR
    return pointer(PTR_TO_MAP_VALUE, off=second.imm, extra=MapOf(facts))


def _function(run: Run, start: int) -> Register:
    number = run.flow.function_index(start)
    function = run.flow.functions[number]
    if not function.btf_type_id:
        raise Fault(Rule.FUNCTION, "missing btf func_info")
    if function.is_global:
        raise Fault(Rule.FUNCTION, "callback function not static")
    return pointer(PTR_TO_FUNC, extra=number)


def _symbol(run: Run, name: str) -> Register:
    """kernel: __check_pseudo_btf_id(). A kfunc that is not there is null, as a loader makes it."""
    row = kfunc_by_name(name.partition("___")[0])
    btf = run.kernel_btf
    if btf is None:
        if row is not None:
            return pointer(PTR_TO_MEM | MEM_RDONLY, extra=Memory(0)) if row.since <= run.kernel_version else NULL
        btf = btf_access.types_of(run)
    type_id = btf.find(name, BtfKind.VAR, BtfKind.FUNC)
    if type_id is None:
        return NULL
    held = btf.type(type_id)
    if not isinstance(held, Var):
        return pointer(PTR_TO_MEM | MEM_RDONLY, extra=Memory(0))
    if any(
        variable.type_id == type_id
        for _, section in btf.datasecs()
        if isinstance(section, Datasec) and section.name == ".data..percpu"
        for variable in section.variables
    ):
        return pointer(PTR_TO_BTF_ID | MEM_PERCPU, extra=held.type_id)
    stripped_id, target = btf.strip(held.type_id)
    if isinstance(target, Composite):
        return pointer(PTR_TO_BTF_ID, extra=stripped_id)
    return pointer(PTR_TO_MEM | MEM_RDONLY, extra=Memory(btf.size_of(held.type_id)))


def direct_value_problem(run: Run, one: Instruction, off: int) -> str:
    """Why a map's value cannot be addressed, "" if it can (kernel: resolve_pseudo_ldimm64())."""
    facts = run.maps[one.imm]
    row = map_type_by_number(facts.type)
    if off & 0xFFFFFFFF >= MAX_VAR_OFF:
        return f"direct value offset of {off & 0xFFFFFFFF} is not allowed"
    if row is None or not row.direct_value:
        return "no direct value access support for this map type"
    if facts.type != _ARENA and (facts.max_entries != 1 or off >= facts.value_size):
        return f"invalid access to map value pointer, value_size={facts.value_size} off={off}"
    return ""


STEPS = {
    Kind.LDX: load_step,
    Kind.LDSX: load_step,
    Kind.ST: store_step,
    Kind.STX: store_step,
    Kind.ATOMIC: atomic_step,
    Kind.LDDW: wide_step,
}
