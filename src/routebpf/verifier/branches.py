"""Steps of jumps: which ways a path may go, and what is known on each.

kernel: kernel/bpf/verifier.c, check_cond_jmp_op(), is_branch_taken(), sync_linked_regs(), try_match_pkt_pointers().
"""

from __future__ import annotations

from routebpf.isa import Form, Instruction, Kind
from routebpf.isa.opcodes import MAY_GOTO
from routebpf.verifier import tnum
from routebpf.verifier.arithmetic import fails
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.loops import previous_entry, widen
from routebpf.verifier.map_fields import LOCKS, FieldKind
from routebpf.verifier.precision import demand
from routebpf.verifier.references import forget
from routebpf.verifier.register import (
    ADD_CONST,
    ADD_CONST32,
    AT_PKT_END,
    BASE,
    BEYOND_PKT_END,
    CONST_PTR_TO_MAP,
    MAX_PACKET_OFF,
    NOT_INIT,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_MAP_VALUE,
    PTR_TO_PACKET,
    PTR_TO_PACKET_END,
    PTR_TO_XDP_SOCK,
    SCALAR_VALUE,
    MapOf,
    Register,
    is_not_null,
    is_packet,
    known,
)
from routebpf.verifier.run import Run, Step, unset
from routebpf.verifier.scalar import Range, constant, sane_range_of
from routebpf.verifier.scalar_alu import add_bounds
from routebpf.verifier.scalar_branch import FLIPPED, is_taken, refine
from routebpf.verifier.state import SPILL, Frame, Slot, State

_KNOW_THEIR_MAP = (FieldKind.TIMER, FieldKind.WORKQUEUE, FieldKind.TASK_WORK)
_MOST_LINKED = 6
_XSKMAP = 17
_ORDERS = (">", ">=", "<", "<=")
Linked = list[tuple[int, bool, int]]  # (frame, whether a register, its number or the slot)


def ja_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """`goto`."""
    if one.dst or one.src or (one.imm if form.kind is Kind.JA else one.offset):
        return fails(Rule.STRUCTURE, "BPF_JA uses reserved fields")
    target = at + 1 + (one.offset if form.kind is Kind.JA else one.imm)

    def step() -> int:
        run.jumps += 1
        return target

    return step


def may_goto_step(run: Run, at: int, one: Instruction, _form: Form) -> Step:
    """`may_goto`: the loop may end at any time."""
    if one.dst or one.src != MAY_GOTO or one.imm:
        return fails(Rule.STRUCTURE, f"invalid may_goto imm {one.imm}")
    target = at + one.offset + 1

    def step() -> int:
        run.jumps += 1
        parent = run.state.parent
        before = previous_entry(run, parent.state, at) if parent is not None else None
        queued = run.push(at + 1)
        queued.may_goto_depth += 1
        if before is not None:
            widen(before, queued)
        return target

    return step


def branch_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """`if dst operator operand goto`."""
    is_ill_formed = bool(one.imm if form.register else one.src)
    dst, src = one.dst, one.src if form.register else -1
    operator, wide = form.operator, form.wide
    target, following = at + one.offset + 1, at + 1
    number = known(one.imm & (1 << 64) - 1)

    def step() -> int:
        run.jumps += 1
        regs = run.regs
        a = regs[dst]
        if a.type == NOT_INIT:
            raise unset(dst)
        if is_ill_formed:
            raise Fault(Rule.STRUCTURE, "BPF_JMP/JMP32 uses reserved fields")
        b = number
        if src >= 0:
            b = regs[src]
            if b.type == NOT_INIT:
                raise unset(src)
            if run.is_leak(b) and not (is_packet(a) and is_packet(b)):
                raise Fault(Rule.LEAK, f"R{src} pointer comparison prohibited", src)
            if a.type == 6 or b.type == 6:
                run.note_history()
        elif a.type == 6:
            run.note_history()
        if a.type == SCALAR_VALUE and b.type == SCALAR_VALUE:
            taken = is_taken(a.range, b.range, operator, wide)
        else:
            taken = _is_pointer_branch_taken(a, b, operator, wide)
        if taken is not None:
            if a.type == SCALAR_VALUE:
                demand(run, dst)
            if src >= 0 and b.type == SCALAR_VALUE:
                demand(run, src)
            return target if taken else following
        _fork(run, dst, src, a, b, operator, wide, target)
        return following

    return step


def _is_pointer_branch_taken(a: Register, b: Register, operator: str, wide: bool) -> bool | None:
    """kernel: is_branch_taken(), where one of the two is a pointer."""
    if wide and is_packet(a) and is_packet(b):
        return _is_packet_branch_taken(a, b, operator)
    if not _is_number(b, wide):
        a, b, operator = b, a, FLIPPED[operator]
    if not _is_number(b, wide) or not is_not_null(a):
        return None
    value = b.range.value if wide else b.range.value & tnum.M32
    if value:
        return None
    return {"==": False, "!=": True}.get(operator)


def _is_number(register: Register, wide: bool) -> bool:
    return register.type == SCALAR_VALUE and (register.range.is_const if wide else register.range.is_const32())


def _is_packet_branch_taken(a: Register, b: Register, operator: str) -> bool | None:
    """kernel: is_pkt_ptr_branch_taken()."""
    if b.type == PTR_TO_PACKET_END:
        packet = a
    elif a.type == PTR_TO_PACKET_END:
        packet, operator = b, FLIPPED[operator]
    else:
        return None
    if packet.type != PTR_TO_PACKET or packet.extra >= 0:
        return None
    if operator in ("<=", ">") and packet.extra == BEYOND_PKT_END:
        return operator == ">"
    if operator in ("<", ">="):
        return operator == ">="
    return None


def _fork(run: Run, dst: int, src: int, a: Register, b: Register, operator: str, wide: bool, target: int) -> None:
    """Both ways are possible: the jump is followed later."""
    linked: Linked = []
    if src >= 0 and b.type == SCALAR_VALUE and b.id:
        _collect_linked(run, b.id, linked)
    if a.type == SCALAR_VALUE and a.id:
        _collect_linked(run, a.id, linked)
    if len(linked) > 1:
        run.note_history()
        _share_dependencies(run.state, linked)
    regs = run.regs
    a, b = regs[dst], regs[src] if src >= 0 else b
    if src >= 0 and a.type == SCALAR_VALUE and b.type == SCALAR_VALUE:
        both = run.depends[dst] | run.depends[src]
        run.depends[dst] = run.depends[src] = both
    other = run.push(target)
    if a.type == SCALAR_VALUE and b.type == SCALAR_VALUE:
        _refine(run, other, dst, src, a, b, operator, wide, linked)
        return
    _compare_pointers(run, other, dst, src, a, b, operator, wide)


def _refine(
    run: Run,
    other: State,
    dst: int,
    src: int,
    a: Register,
    b: Register,
    operator: str,
    wide: bool,
    linked: Linked,
) -> None:
    true_a, true_b, false_a, false_b = refine(a.range, b.range, operator, wide, is_same=src == dst)
    for state, new_a, new_b in ((run.state, false_a, false_b), (other, true_a, true_b)):
        regs = state.frames[-1].registers
        if new_a is not a.range:
            regs[dst] = a.with_range(new_a)
        if src >= 0 and src != dst and new_b is not b.range:
            regs[src] = b.with_range(new_b)
        if len(linked) > 1:
            if src >= 0 and regs[src].id:
                _sync_linked(state, regs[src], src, linked)
            if regs[dst].id:
                _sync_linked(state, regs[dst], dst, linked)


def _collect_linked(run: Run, id: int, linked: Linked) -> None:
    """Numbers that are known to be the same, or a constant apart (kernel: collect_linked_regs())."""
    id &= ~ADD_CONST
    for frame in reversed(run.state.frames):
        for number in run.live[run.state.instruction_of(frame.number)]:
            register = frame.registers[number]
            if register.type == SCALAR_VALUE and register.id & ~ADD_CONST == id:
                if len(linked) < _MOST_LINKED:
                    linked.append((frame.number, True, number))
                else:
                    frame.registers[number] = register.with_id(0)
        for spi in range(frame.allocated // 8):
            slot = frame.stack.get(spi)
            held = slot.register if slot is not None and slot.types[7] == SPILL else None
            if slot is not None and held is not None and held.type == SCALAR_VALUE and held.id & ~ADD_CONST == id:
                if len(linked) < _MOST_LINKED:
                    linked.append((frame.number, False, spi))
                else:
                    frame.stack[spi] = Slot(slot.types, held.with_id(0))


def _share_dependencies(state: State, linked: Linked) -> None:
    """What is learnt of one is learnt of all: if one of them matters, they all do."""
    mask = 0
    for number, is_register, place in linked:
        frame = state.frames[number]
        mask |= frame.depends[place] if is_register else frame.slot_depends.get(place, 0)
    for number, is_register, place in linked:
        frame = state.frames[number]
        if is_register:
            frame.depends[place] = mask
        else:
            frame.slot_depends[place] = mask


def _sync_linked(state: State, learnt: Register, number: int, linked: Linked) -> None:
    """kernel: sync_linked_regs()."""
    for frame_number, is_register, place in linked:
        frame = state.frames[frame_number]
        if is_register and frame is state.frames[-1] and place == number:
            continue
        register = _held(frame, is_register, place)
        if register is None or register.type != SCALAR_VALUE or (register.id ^ learnt.id) & ~ADD_CONST:
            continue
        if (register.id ^ learnt.id) & ADD_CONST == ADD_CONST:
            continue  # the one in 32 bits, the other in 64: they may be more than their constants apart
        if not (register.id | learnt.id) & ADD_CONST or register.off == learnt.off:
            new = learnt
        else:
            narrow = bool((register.id | learnt.id) & ADD_CONST32)
            range = _shifted(learnt.range, register.off - learnt.off, narrow)
            new = Register(SCALAR_VALUE, range, register.off, register.id)
        if is_register:
            frame.registers[place] = new
        else:
            frame.stack[place] = Slot(frame.stack[place].types, new)


def _held(frame: Frame, is_register: bool, place: int) -> Register | None:
    if is_register:
        return frame.registers[place]
    slot = frame.stack.get(place)
    return slot.register if slot is not None else None


def _shifted(a: Range, by: int, narrow: bool) -> Range:
    """`a` and `by`; `narrow`: of the low 32 bits."""
    delta = constant(by)
    b = a.bounds()
    add_bounds(b, delta)
    b.bits = tnum.add(b.bits, delta.bits)
    if narrow:
        b.extend32()
    b.sync()
    return sane_range_of(b)


def _compare_pointers(
    run: Run, other: State, dst: int, src: int, a: Register, b: Register, operator: str, wide: bool
) -> None:
    regs, other_regs = run.regs, other.frames[-1].registers
    if (
        wide
        and src >= 0
        and a.type != SCALAR_VALUE
        and b.type != SCALAR_VALUE
        and (a.type ^ b.type) & PTR_MAYBE_NULL
        and PTR_TO_BTF_ID not in (a.type & BASE, b.type & BASE)
        and operator in ("==", "!=")
    ):
        equal_regs = other_regs if operator == "==" else regs
        place = src if b.type & PTR_MAYBE_NULL else dst
        equal_regs[place] = not_null(equal_regs[place])
    if wide and src < 0 and b.is_null and operator in ("==", "!=") and a.type & PTR_MAYBE_NULL:
        settle_null(run.state, a, is_null=operator == "!=")
        settle_null(other, a, is_null=operator == "==")
    elif not _match_packet(run, other, dst, src, a, b, operator, wide) and run.is_leak(a):
        raise Fault(Rule.LEAK, f"R{dst} pointer comparison prohibited", dst)


def not_null(register: Register) -> Register:
    """A pointer that was found not to be null (kernel: mark_ptr_not_null_reg())."""
    kind = register.type & ~PTR_MAYBE_NULL
    if kind & BASE != PTR_TO_MAP_VALUE:
        return register.with_type(kind)
    one = register.extra.map
    if one.inner is not None:
        # Which inner map it is matters only for what is set up with its map.
        held = MapOf(one.inner, register.id if one.inner.has(_KNOW_THEIR_MAP) else 0)
        return Register(CONST_PTR_TO_MAP, register.range, register.off, register.id, register.ref, held)
    if one.type == _XSKMAP:
        kind = PTR_TO_XDP_SOCK
    return register.with_type(kind)


def settle_null(state: State, pointer: Register, *, is_null: bool) -> None:
    """All copies of a pointer that may be null are null, or not (kernel: mark_ptr_or_null_regs())."""
    id = pointer.id
    if pointer.ref and pointer.ref == id and is_null:
        forget(state, id)

    def settle(register: Register) -> Register:
        if not register.type & PTR_MAYBE_NULL or register.id != id:
            return register
        if is_null:
            return Register(SCALAR_VALUE, register.range, register.off, 0, 0, register.extra)
        new = not_null(register)
        holds_lock = new.type == PTR_TO_MAP_VALUE and new.extra.map.has(LOCKS)
        return new if holds_lock else new.with_id(0)

    state.replace_registers(settle)


def _match_packet(
    run: Run, other: State, dst: int, src: int, a: Register, b: Register, operator: str, wide: bool
) -> bool:
    """A packet pointer compared with its end: what is there on either side (kernel: try_match_pkt_pointers())."""
    if src < 0 or not wide or operator not in _ORDERS:
        return False
    if a.type == PTR_TO_PACKET and b.type == PTR_TO_PACKET_END:
        packet, number = a, dst
    elif a.type == PTR_TO_PACKET_END and b.type == PTR_TO_PACKET:
        packet, number, operator = b, src, FLIPPED[operator]
    else:
        return False
    inside, outside = (run.state, other) if operator in (">", ">=") else (other, run.state)
    is_open = operator in (">=", "<")  # beside the jump, the pointer is below the end, not at it
    _find_good(inside, packet, is_open)
    regs = outside.frames[-1].registers
    if regs[number].type == PTR_TO_PACKET:
        regs[number] = regs[number].with_extra(AT_PKT_END if is_open else BEYOND_PKT_END)
    return True


def _find_good(state: State, packet: Register, is_open: bool) -> None:
    """kernel: find_good_pkt_pointers()."""
    if packet.off < 0 or (packet.off == 0 and is_open):
        return
    umax = packet.range.umax
    if umax > MAX_PACKET_OFF or umax + packet.off > MAX_PACKET_OFF:
        return
    there = packet.off + is_open

    def extend(register: Register) -> Register:
        if register.type == PTR_TO_PACKET and register.id == packet.id and register.extra < there:
            return register.with_extra(there)
        return register

    state.replace_registers(extend)


STEPS = {
    Kind.JA: ja_step,
    Kind.GOTOL: ja_step,
    Kind.MAY_GOTO: may_goto_step,
    Kind.BRANCH: branch_step,
}
