"""Steps of arithmetic and moves: what is required of them, and what they do.

kernel: kernel/bpf/verifier.c, check_alu_op(), adjust_reg_min_max_vals().
"""

from __future__ import annotations

from collections.abc import Callable

from routebpf.isa import Form, Instruction, Kind
from routebpf.isa.opcodes import ADDR_SPACE_CAST, MOVSX_BITS, R10, SIGNED_OPERATORS
from routebpf.verifier.bounds import S32_MAX, S32_MIN, s32
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.pointer_arithmetic import move, plain
from routebpf.verifier.precision import demand
from routebpf.verifier.register import (
    ADD_CONST,
    ADD_CONST32,
    ADD_CONST64,
    NOT_INIT,
    NULL,
    PTR_TO_ARENA,
    SCALAR_VALUE,
    UNKNOWN_SCALAR,
    Register,
    known,
)
from routebpf.verifier.run import Run, Step, unset
from routebpf.verifier.scalar import UNKNOWN, Range, extend_sign, extend_sign32, low32, range_of
from routebpf.verifier.scalar_alu import OPERATIONS, in_byte_order, negate
from routebpf.verifier.tnum import M32, M64

_SHIFTS = ("<<=", ">>=", "s>>=")
_DIVISIONS = ("/=", "%=")
_BITWISE = ("&=", "|=", "^=")
_LINKING = ("+=", "-=")
_FORKING = ("&=", "|=")


def fails(rule: Rule, message: str) -> Step:
    """The step of an instruction that is wrong in itself, whatever the registers hold."""

    def step() -> int:
        raise Fault(rule, message)

    return step


def read_only_frame_pointer() -> Fault:
    return Fault(Rule.STRUCTURE, "frame pointer is read only", R10)


def alu_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """`dst operator= operand`."""
    problem = _alu_problem(one, form)
    if problem:
        return fails(Rule.STRUCTURE, problem)
    operator = SIGNED_OPERATORS[form.operator] if one.offset == 1 else form.operator
    if form.register:
        return _register_step(run, at, one.dst, one.src, operator, form.wide)
    return _constant_step(run, at, one, operator, form.wide)


def _alu_problem(one: Instruction, form: Form) -> str:
    signed = one.offset == 1 and form.operator in SIGNED_OPERATORS
    if (one.offset and not signed) or (one.imm if form.register else one.src):
        return "BPF_ALU uses reserved fields"
    return ""


def _constant_problem(one: Instruction, operator: str, wide: bool) -> str:
    if operator.removeprefix("s") in _DIVISIONS and one.imm == 0:
        return "div by zero"
    if operator in _SHIFTS and not 0 <= one.imm < (64 if wide else 32):
        return f"invalid shift {one.imm}"
    return ""


def _constant_step(run: Run, at: int, one: Instruction, operator: str, wide: bool) -> Step:
    dst, following = one.dst, at + 1
    number = known(one.imm & (1 << 64) - 1)
    by = number.range
    compute = OPERATIONS[operator, wide]
    problem = _constant_problem(one, operator, wide)
    is_bitwise = operator in _BITWISE
    links = operator in _LINKING
    forks = operator in _FORKING

    def step() -> int:
        a = run.regs[dst]
        if a.type == NOT_INIT:
            raise unset(dst)
        if problem:
            raise Fault(Rule.STRUCTURE, problem)
        if dst == R10:
            raise read_only_frame_pointer()
        if a.type != SCALAR_VALUE:
            run.regs[dst] = _pointer_and_number(run, dst, a, number, operator, wide)
            run.depends[dst] = 0
            return following
        if forks and (a.range.smin == -1 or a.range.s32min == -1):
            a = _fork_sign(run, at, dst, a)
        new = compute(a.range, by)
        off, id = a.off, 0
        if links and a.id:
            id, off = _link(a, by, operator, wide)
        elif new is UNKNOWN or (is_bitwise and new.is_const):
            off = 0
        run.regs[dst] = Register(SCALAR_VALUE, new, off, id)
        return following

    return step


def _register_step(run: Run, at: int, dst: int, src: int, operator: str, wide: bool) -> Step:
    following = at + 1
    compute = OPERATIONS[operator, wide]
    is_bitwise = operator in _BITWISE
    links = operator in _LINKING and dst != src
    forks = operator in _FORKING

    def step() -> int:
        regs = run.regs
        b = regs[src]
        if b.type == NOT_INIT:
            raise unset(src)
        a = regs[dst]
        if a.type == NOT_INIT:
            raise unset(dst)
        if dst == R10:
            raise read_only_frame_pointer()
        if a.type != SCALAR_VALUE or b.type != SCALAR_VALUE:
            regs[dst] = _with_pointer(run, dst, src, operator, wide)
            run.depends[dst] = 0
            return following
        if forks and b.range.is_const and (a.range.smin == -1 or a.range.s32min == -1):
            a = _fork_sign(run, at, dst, a)
        new = compute(a.range, b.range)
        off, id = a.off, 0
        if links and a.id and (b.range.is_const if wide else b.range.is_const32()):
            id, off = _link(a, b.range, operator, wide)
        elif new is UNKNOWN or (is_bitwise and new.is_const):
            off = 0
        regs[dst] = Register(SCALAR_VALUE, new, off, id)
        run.depends[dst] |= run.depends[src]
        return following

    return step


def _fork_sign(run: Run, at: int, dst: int, a: Register) -> Register:
    """A number that is 0 or -1, as a sign shifted down is, is followed as both: this path goes on with -1.

    kernel: maybe_fork_scalars().
    """
    if a.range.smin == -1 and a.range.smax == 0:
        run.push(at).frames[-1].registers[dst] = NULL
        return known(M64)
    if a.range.s32min == -1 and a.range.s32max == 0:
        zero, ones = a.range.bounds(), a.range.bounds()
        zero.set_known32(0)
        ones.set_known32(M32)
        run.push(at).frames[-1].registers[dst] = a.with_range(range_of(zero))
        return a.with_range(range_of(ones))
    return a


def _link(a: Register, by: Range, operator: str, wide: bool) -> tuple[int, int]:
    """(id, off) of a number that was linked to others, after a constant was added to it or taken from it.

    kernel: adjust_reg_min_max_vals().
    """
    distance = by.smin if wide else s32(by.value)
    if operator == "-=":
        distance = -distance if distance != S32_MIN else S32_MAX + 1
    fits = S32_MIN <= distance <= S32_MAX
    if not fits or a.id & ADD_CONST or (not wide and a.range.umax > M32):
        return 0, 0
    return a.id | (ADD_CONST64 if wide else ADD_CONST32), distance


def _pointer_and_number(run: Run, dst: int, pointer: Register, number: Register, operator: str, wide: bool) -> Register:
    if pointer.type == PTR_TO_ARENA:
        return pointer
    return move(run, dst, pointer, number, operator, wide=wide, pointer_is_dst=True)


def _with_pointer(run: Run, dst: int, src: int, operator: str, wide: bool) -> Register:
    """kernel: adjust_reg_min_max_vals(), where one of the two or both are pointers."""
    a, b = run.regs[dst], run.regs[src]
    if PTR_TO_ARENA in (a.type, b.type):
        return a if a.type == PTR_TO_ARENA else b
    if b.type == SCALAR_VALUE:
        demand(run, src)
        return move(run, dst, a, b, operator, wide=wide, pointer_is_dst=True)
    if a.type == SCALAR_VALUE:
        demand(run, dst)
        return move(run, dst, b, a, operator, wide=wide, pointer_is_dst=False)
    if operator == "-=" and run.privileged:
        return UNKNOWN_SCALAR
    raise Fault(Rule.ARITHMETIC, f"R{dst} pointer {plain(operator)} pointer prohibited", dst)


def neg_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """`dst = -dst`."""
    if one.src or one.offset or one.imm:
        return fails(Rule.STRUCTURE, "BPF_NEG uses reserved fields")
    dst, wide = one.dst, form.wide

    def step() -> int:
        a = _operand_of_unary(run, dst)
        if a.type == SCALAR_VALUE:
            run.regs[dst] = Register(SCALAR_VALUE, negate(a.range, wide))
        else:
            run.regs[dst] = UNKNOWN_SCALAR
            run.depends[dst] = 0
        return at + 1

    return step


def end_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """Change of byte order."""
    if one.src or one.offset or one.imm not in (16, 32, 64):
        return fails(Rule.STRUCTURE, "BPF_END uses reserved fields")
    dst, bits = one.dst, one.imm
    is_swap = form.operator != "le"

    def step() -> int:
        a = _operand_of_unary(run, dst)
        if a.type != SCALAR_VALUE:
            run.regs[dst] = UNKNOWN_SCALAR
            run.depends[dst] = 0
        elif is_swap or bits != 64:
            run.regs[dst] = Register(SCALAR_VALUE, in_byte_order(a.range, bits, is_swap=is_swap))
        return at + 1

    return step


def _operand_of_unary(run: Run, dst: int) -> Register:
    a = run.read(dst)
    if run.is_leak(a):
        raise Fault(Rule.LEAK, f"R{dst} pointer arithmetic prohibited", dst)
    if dst == R10:
        raise read_only_frame_pointer()
    return a


def mov_step(run: Run, at: int, one: Instruction, form: Form) -> Step:
    """`dst = operand`, whole, the low half, or a part with its sign extended."""
    if not form.register:
        if one.src or one.offset:
            return fails(Rule.STRUCTURE, "BPF_MOV uses reserved fields")
        return _mov_constant(run, at, one.dst, one.imm & ((1 << 64 if form.wide else 1 << 32) - 1))
    if form.wide and one.offset == ADDR_SPACE_CAST:
        return _cast_step(run, at, one)
    if one.imm or (one.offset and one.offset not in MOVSX_BITS[form.wide]):
        return fails(Rule.STRUCTURE, "BPF_MOV uses reserved fields")
    if form.wide and not one.offset:
        return _mov_whole(run, at, one.dst, one.src)
    return _mov_part(run, at, one, form)


def _mov_constant(run: Run, at: int, dst: int, value: int) -> Step:
    register = known(value)
    following = at + 1

    def step() -> int:
        if dst == R10:
            raise read_only_frame_pointer()
        run.regs[dst] = register
        run.depends[dst] = 0
        return following

    return step


def with_new_id(run: Run, number: int) -> Register:
    """The number in a register, with an id by which copies of it are known (kernel: assign_scalar_id_before_mov())."""
    a = run.regs[number]
    if a.type != SCALAR_VALUE:
        return a
    if a.id & ADD_CONST:
        a = Register(SCALAR_VALUE, a.range, 0, 0)
        if not a.range.is_const:
            a = a.with_id(run.new_id())
    elif not a.id and not a.range.is_const:
        a = Register(SCALAR_VALUE, a.range, a.off, run.new_id(), a.ref, a.extra)
    else:
        return a
    run.regs[number] = a
    return a


def _mov_whole(run: Run, at: int, dst: int, src: int) -> Step:
    following = at + 1

    def step() -> int:
        a = run.regs[src]
        if a.type == NOT_INIT:
            raise unset(src)
        if dst == R10:
            raise read_only_frame_pointer()
        if a.type == SCALAR_VALUE:
            a = with_new_id(run, src)
        run.regs[dst] = a
        run.depends[dst] = run.depends[src]
        return following

    return step


def _mov_part(run: Run, at: int, one: Instruction, form: Form) -> Step:
    dst, src, wide, bits = one.dst, one.src, form.wide, one.offset
    fits = 1 << (bits - 1 if bits else 32)
    convert: Callable[..., object] = (extend_sign if wide else extend_sign32) if bits else low32
    size = (bits // 8,) if bits else ()
    leak = "sign-extension part of pointer" if wide else "partial copy of pointer"

    def step() -> int:
        a = run.read(src)
        if dst == R10:
            raise read_only_frame_pointer()
        if run.is_leak(a):
            raise Fault(Rule.LEAK, f"R{src} {leak}", src)
        if a.type != SCALAR_VALUE:
            new = UNKNOWN_SCALAR if wide else Register(SCALAR_VALUE, low32(UNKNOWN))
            run.set_scalar(dst, new)
            return at + 1
        stays = a.range.umax < fits
        if stays:
            a = with_new_id(run, src)
        new = Register(SCALAR_VALUE, convert(a.range, *size), a.off, a.id if stays else 0, a.ref, a.extra)  # type: ignore[arg-type]
        run.regs[dst] = new
        run.depends[dst] = run.depends[src]
        return at + 1

    return step


def _cast_step(run: Run, at: int, one: Instruction) -> Step:
    if one.imm not in (1, 1 << 16):
        return fails(Rule.STRUCTURE, "addr_space_cast insn can only convert between address space 1 and 0")
    if run.arena is None:
        return fails(Rule.STRUCTURE, "addr_space_cast insn can only be used in a program that has an associated arena")
    dst, src = one.dst, one.src
    new = Register(PTR_TO_ARENA, UNKNOWN) if one.imm == 1 else UNKNOWN_SCALAR

    def step() -> int:
        run.read(src)
        if dst == R10:
            raise read_only_frame_pointer()
        run.set_scalar(dst, new)
        return at + 1

    return step


STEPS = {Kind.ALU: alu_step, Kind.NEG: neg_step, Kind.END: end_step, Kind.MOV: mov_step}
