"""What programs are made of beside helpers, kfuncs and maps, with the kernel that brought it.

kernel: kernel/bpf/verifier.c and include/uapi/linux/bpf.h of each version. Programs of routes exist since Linux 4.10;
what is older than that has no row.
"""

from __future__ import annotations

from dataclasses import dataclass

from routebpf.isa import AtomicKind, Instruction, Kind
from routebpf.isa.opcodes import (
    ADDR_SPACE_CAST,
    ATOMICS,
    FORMS,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    Form,
)

FIRST = (4, 10)  # LWT programs
OLD_MOST_INSTRUCTIONS = 4096  # of a program, before 5.2
OLD_MOST_PROCESSED = 131_072  # by the verifier, before 5.2


@dataclass(frozen=True, slots=True)
class Feature:
    """`name` in the plural, as it stands in "… are there since Linux 5.1"; `instead`: what to do for older kernels."""

    name: str
    since: tuple[int, int]
    instead: str = ""


JUMPS_V2 = Feature("the jumps <, <=, s< and s<=", (4, 14), "compile with -mcpu=v1")
CALLS = Feature("functions of the program", (4, 16), "make them `static __always_inline`")
JUMPS32 = Feature("32-bit jumps", (5, 1), "compile with -mcpu=v2")
DIRECT_VALUES = Feature("global variables", (5, 2), "keep what is global in a map of your own")
READ_ONLY_MAPS = Feature("maps that are read-only for programs", (5, 2), "use no constants that need .rodata")
LARGE_PROGRAMS = Feature("programs of more than 4,096 instructions", (5, 2), "split it with tail calls")
LONG_PATHS = Feature(
    "programs whose verification takes more than 131,072 instructions", (5, 2), "split it with tail calls"
)
LOOPS = Feature("loops", (5, 3), "unroll them: `#pragma unroll`")
GLOBAL_FUNCTIONS = Feature("functions that are verified once", (5, 6), "make them `static`")
KERNEL_VARIABLES = Feature("kernel variables with types", (5, 10), "")
TAIL_CALLS_IN_FUNCTIONS = Feature("tail calls of programs with functions", (5, 10), "inline the functions")
ATOMICS_V3 = Feature("atomic operations other than +=", (5, 12), "use `__sync_fetch_and_add()` without its result")
CALLBACKS = Feature("callbacks", (5, 13), "write a loop")
KFUNCS = Feature("kfuncs", (5, 13), "")
INSTRUCTIONS_V4 = Feature("the instructions of -mcpu=v4", (6, 6), "compile with -mcpu=v3")
MAY_GOTO = Feature("loops with may_goto (cond_break)", (6, 9), "count in the loop against a constant limit")
ARENA_CASTS = Feature("casts of address spaces", (6, 9), "")
ACQUIRE_RELEASE = Feature("loads that acquire and stores that release", (6, 15), "use `__sync_…` operations")

_BY_KIND = {
    Kind.LDSX: INSTRUCTIONS_V4,
    Kind.GOTOL: INSTRUCTIONS_V4,
    Kind.MAY_GOTO: MAY_GOTO,
}
_BY_CALL = {PSEUDO_CALL: CALLS, PSEUDO_KFUNC_CALL: KFUNCS}
_BY_IMMEDIATE = {
    PSEUDO_FUNC: CALLBACKS,
    PSEUDO_BTF_ID: KERNEL_VARIABLES,
    PSEUDO_MAP_VALUE: DIRECT_VALUES,
    PSEUDO_MAP_IDX_VALUE: DIRECT_VALUES,
}
_BY_ATOMIC = {AtomicKind.LOAD_ACQUIRE: ACQUIRE_RELEASE, AtomicKind.STORE_RELEASE: ACQUIRE_RELEASE}
_OF_V2 = ("<", "<=", "s<", "s<=")

# Context fields that came after the program types (include/uapi/linux/bpf.h, struct __sk_buff).
CONTEXT_SINCE: dict[str, tuple[int, int]] = {
    "napi_id": (4, 12),
    "gso_segs": (5, 1),
    "sk": (5, 1),
    "gso_size": (5, 7),
}


def features_of(one: Instruction) -> tuple[Feature, ...]:
    """What an instruction needs that LWT programs have not had from the start."""
    form = FORMS[one.opcode]
    if form is None:
        return ()
    found = _BY_KIND.get(form.kind)
    if found is not None:
        return (found,)
    if form.kind is Kind.BRANCH:
        return _of_jump(form)
    if form.kind is Kind.CALL:
        return (_BY_CALL[one.src],) if one.src in _BY_CALL else ()
    if form.kind is Kind.LDDW:
        return (_BY_IMMEDIATE[one.src],) if one.src in _BY_IMMEDIATE else ()
    if form.kind is Kind.ATOMIC:
        return _of_atomic(one)
    return _of_arithmetic(one, form)


def _of_jump(form: Form) -> tuple[Feature, ...]:
    if not form.wide:
        return (JUMPS32,)
    return (JUMPS_V2,) if form.operator in _OF_V2 else ()


def _of_atomic(one: Instruction) -> tuple[Feature, ...]:
    atomic = ATOMICS.get(one.imm)
    if atomic is None:
        return ()
    if atomic.kind is AtomicKind.PLAIN and atomic.operator == "+=":
        return ()
    return (_BY_ATOMIC.get(atomic.kind, ATOMICS_V3),)


def _of_arithmetic(one: Instruction, form: Form) -> tuple[Feature, ...]:
    """Signed division and sign-extending moves are told by their `offset`."""
    if form.kind is Kind.END:
        return (INSTRUCTIONS_V4,) if form.operator == "bswap" else ()
    if form.kind is Kind.MOV and form.wide and form.register and one.offset == ADDR_SPACE_CAST:
        return (ARENA_CASTS,)
    if form.kind in (Kind.MOV, Kind.ALU) and one.offset:
        return (INSTRUCTIONS_V4,)
    return ()
