"""What each opcode byte means, as data: RFC 9669 and the kernel's include/uapi/linux/bpf.h (to 6.18).

`FORMS[opcode]` is the form of an instruction, or None for a byte that is no opcode. What an opcode leaves open is in
the small tables beside it: atomics by `imm` (`ATOMICS`), sign extension of a move by `offset` (`MOVSX_BITS`), signed
division by `offset` 1, the source of a 64-bit immediate by `src` (`PSEUDO_*`).
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

# Instruction classes: the low three bits.
BPF_LD, BPF_LDX, BPF_ST, BPF_STX, BPF_ALU, BPF_JMP, BPF_JMP32, BPF_ALU64 = range(8)
# Where the second operand of arithmetic or of a jump is.
BPF_K, BPF_X = 0x00, 0x08
# Sizes and modes of loads and stores.
BPF_W, BPF_H, BPF_B, BPF_DW = 0x00, 0x08, 0x10, 0x18
BPF_IMM, BPF_ABS, BPF_IND, BPF_MEM, BPF_MEMSX, BPF_ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0
# Arithmetic.
BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_LSH, BPF_RSH = range(0x00, 0x80, 0x10)
BPF_NEG, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH, BPF_END = range(0x80, 0xE0, 0x10)
# Jumps.
BPF_JA, BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET, BPF_JNE, BPF_JSGT, BPF_JSGE = range(0x00, 0x80, 0x10)
BPF_CALL, BPF_EXIT, BPF_JLT, BPF_JLE, BPF_JSLT, BPF_JSLE, BPF_JCOND = range(0x80, 0xF0, 0x10)
# `imm` of an atomic.
BPF_FETCH = 0x01
BPF_XCHG = 0xE0 | BPF_FETCH
BPF_CMPXCHG = 0xF0 | BPF_FETCH
BPF_LOAD_ACQ = 0x100
BPF_STORE_REL = 0x110

# `src` of a 64-bit immediate load.
PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2
PSEUDO_BTF_ID = 3
PSEUDO_FUNC = 4
PSEUDO_MAP_IDX = 5
PSEUDO_MAP_IDX_VALUE = 6
# `src` of a call.
PSEUDO_CALL = 1
PSEUDO_KFUNC_CALL = 2

MAY_GOTO = 0  # `src` of BPF_JCOND
ADDR_SPACE_CAST = 1  # `offset` of a 64-bit register move

LDDW = BPF_LD | BPF_IMM | BPF_DW  # the only instruction of two slots
CALL = BPF_JMP | BPF_CALL
EXIT = BPF_JMP | BPF_EXIT

STACK_BYTES = 512  # of a frame, and of all frames together
FRAMES = 8
MAX_TAIL_CALLS = 33
MAX_INSTRUCTIONS = 1_000_000
R10 = 10  # the frame pointer


class Kind(Enum):
    """What an instruction does, apart from operator, width and operands."""

    ALU = "arithmetic: dst = dst operator operand"
    NEG = "dst = -dst"
    MOV = "dst = operand"
    END = "byte order of dst: `operator` is le, be or bswap"
    LDX = "dst = memory at src, zero-extended"
    LDSX = "dst = memory at src, sign-extended"
    ST = "memory at dst = imm"
    STX = "memory at dst = src"
    ATOMIC = "atomic operation on memory at dst"
    LDDW = "dst = 64-bit immediate, in two slots"
    LD_ABS = "legacy packet load at imm"
    LD_IND = "legacy packet load at src + imm"
    JA = "goto offset"
    GOTOL = "goto imm"
    MAY_GOTO = "goto offset once the budget of the frame is spent"
    BRANCH = "goto offset if dst operator operand"
    CALL = "call a helper, a function or a kfunc"
    EXIT = "return r0"


class Form(NamedTuple):
    """An opcode taken apart. `size` in bytes is what memory it touches, else 0.

    `wide` is true for 64-bit arithmetic and comparison; `register` if the operand is `src` and not `imm`. `operator`
    is the kernel's text (`+=`, `s>`); for the signed forms of `/=` and `%=` see `SIGNED_OPERATORS`.
    """

    opcode: int
    kind: Kind
    operator: str = ""
    wide: bool = True
    register: bool = False
    size: int = 0


ALU_OPERATORS = {
    BPF_ADD: "+=",
    BPF_SUB: "-=",
    BPF_MUL: "*=",
    BPF_DIV: "/=",
    BPF_OR: "|=",
    BPF_AND: "&=",
    BPF_LSH: "<<=",
    BPF_RSH: ">>=",
    BPF_MOD: "%=",
    BPF_XOR: "^=",
    BPF_ARSH: "s>>=",
}
SIGNED_OPERATORS = {"/=": "s/=", "%=": "s%="}  # with `offset` 1
JUMP_OPERATORS = {
    BPF_JEQ: "==",
    BPF_JGT: ">",
    BPF_JGE: ">=",
    BPF_JSET: "&",
    BPF_JNE: "!=",
    BPF_JSGT: "s>",
    BPF_JSGE: "s>=",
    BPF_JLT: "<",
    BPF_JLE: "<=",
    BPF_JSLT: "s<",
    BPF_JSLE: "s<=",
}
SIZES = {BPF_W: 4, BPF_H: 2, BPF_B: 1, BPF_DW: 8}
MOVSX_BITS = {True: (8, 16, 32), False: (8, 16)}  # by `wide`: the values of `offset` that sign-extend


class AtomicKind(Enum):
    """What an atomic gives back, and where."""

    PLAIN = "nothing"
    FETCH = "the old value, in src, after an operation"
    XCHG = "the old value, in src, after src was stored"
    CMPXCHG = "the old value, in r0"
    LOAD_ACQUIRE = "the value at src, in dst"
    STORE_RELEASE = "nothing, src is stored"


class Atomic(NamedTuple):
    """An atomic operation: `operator` in the plain form, `name` in the fetching one."""

    imm: int
    kind: AtomicKind
    name: str
    operator: str
    sizes: tuple[int, ...] = (4, 8)


def _atomics() -> dict[int, Atomic]:
    rows = []
    for imm, name, operator in (
        (BPF_ADD, "add", "+="),
        (BPF_OR, "or", "|="),
        (BPF_AND, "and", "&="),
        (BPF_XOR, "xor", "^="),
    ):
        rows.append(Atomic(imm, AtomicKind.PLAIN, name, operator))
        rows.append(Atomic(imm | BPF_FETCH, AtomicKind.FETCH, name, operator))
    rows.append(Atomic(BPF_XCHG, AtomicKind.XCHG, "xchg", "="))
    rows.append(Atomic(BPF_CMPXCHG, AtomicKind.CMPXCHG, "cmpxchg", "="))
    rows.append(Atomic(BPF_LOAD_ACQ, AtomicKind.LOAD_ACQUIRE, "load_acquire", "=", (1, 2, 4, 8)))
    rows.append(Atomic(BPF_STORE_REL, AtomicKind.STORE_RELEASE, "store_release", "=", (1, 2, 4, 8)))
    return {row.imm: row for row in rows}


ATOMICS = _atomics()


def _arithmetic_forms() -> list[Form]:
    forms = []
    for klass, wide in ((BPF_ALU, False), (BPF_ALU64, True)):
        for source, register in ((BPF_K, False), (BPF_X, True)):
            for operation, operator in ALU_OPERATORS.items():
                forms.append(Form(klass | operation | source, Kind.ALU, operator, wide, register))
            forms.append(Form(klass | BPF_MOV | source, Kind.MOV, "=", wide, register))
        forms.append(Form(klass | BPF_NEG, Kind.NEG, "-", wide))
    forms.append(Form(BPF_ALU | BPF_END | BPF_K, Kind.END, "le"))
    forms.append(Form(BPF_ALU | BPF_END | BPF_X, Kind.END, "be"))
    forms.append(Form(BPF_ALU64 | BPF_END | BPF_K, Kind.END, "bswap"))
    return forms


def _memory_forms() -> list[Form]:
    forms = [Form(LDDW, Kind.LDDW)]
    for bits, size in SIZES.items():
        forms.append(Form(BPF_LDX | BPF_MEM | bits, Kind.LDX, size=size))
        forms.append(Form(BPF_ST | BPF_MEM | bits, Kind.ST, size=size))
        forms.append(Form(BPF_STX | BPF_MEM | bits, Kind.STX, register=True, size=size))
        forms.append(Form(BPF_STX | BPF_ATOMIC | bits, Kind.ATOMIC, register=True, size=size))
        if size < 8:
            forms.append(Form(BPF_LDX | BPF_MEMSX | bits, Kind.LDSX, size=size))
            forms.append(Form(BPF_LD | BPF_ABS | bits, Kind.LD_ABS, size=size))
            forms.append(Form(BPF_LD | BPF_IND | bits, Kind.LD_IND, register=True, size=size))
    return forms


def _jump_forms() -> list[Form]:
    forms = [
        Form(BPF_JMP | BPF_JA, Kind.JA),
        Form(BPF_JMP32 | BPF_JA, Kind.GOTOL),
        Form(BPF_JMP | BPF_JCOND, Kind.MAY_GOTO),
        Form(CALL, Kind.CALL),
        Form(EXIT, Kind.EXIT),
    ]
    for klass, wide in ((BPF_JMP, True), (BPF_JMP32, False)):
        for source, register in ((BPF_K, False), (BPF_X, True)):
            for operation, operator in JUMP_OPERATORS.items():
                forms.append(Form(klass | operation | source, Kind.BRANCH, operator, wide, register))
    return forms


def _forms() -> tuple[Form | None, ...]:
    table: list[Form | None] = [None] * 256
    for form in (*_arithmetic_forms(), *_memory_forms(), *_jump_forms()):
        table[form.opcode] = form
    return tuple(table)


FORMS: tuple[Form | None, ...] = _forms()
