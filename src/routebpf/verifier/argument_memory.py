"""Memory that is passed to a function: whether all of it may be read or written.

kernel: kernel/bpf/verifier.c, check_helper_mem_access(), check_mem_size_reg(), check_mem_reg(),
check_func_arg_reg_off(), check_reg_const_str().
"""

from __future__ import annotations

from routebpf.verifier import btf_access, memory, stack
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.maps import MapFacts
from routebpf.verifier.precision import demand
from routebpf.verifier.register import (
    BASE,
    CONST_PTR_TO_DYNPTR,
    MAX_VAR_SIZ,
    MEM_ALLOC,
    MEM_RCU,
    MEM_RDONLY,
    MEM_RINGBUF,
    NON_OWN_REF,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_STACK,
    PTR_TRUSTED,
    SCALAR_VALUE,
    Register,
    type_text,
)
from routebpf.verifier.run import Run
from routebpf.verifier.stack_objects import also_saying, dynptr_at, note_read, place

_ANY_OFFSET = frozenset(
    {
        PTR_TO_STACK,
        PTR_TO_PACKET,
        PTR_TO_MAP_KEY,
        PTR_TO_MAP_VALUE,
        PTR_TO_MEM,
        PTR_TO_MEM | MEM_RDONLY,
        PTR_TO_MEM | MEM_RINGBUF,
        PTR_TO_ARENA,
        SCALAR_VALUE,
    }
)
_FIXED_OFFSET = frozenset(
    PTR_TO_BTF_ID | flags
    for flags in (0, MEM_ALLOC, PTR_TRUSTED, MEM_RCU, MEM_ALLOC | NON_OWN_REF, MEM_ALLOC | NON_OWN_REF | MEM_RCU)
)


def check_offset(register: Register, number: int, *, is_release: bool = False) -> None:
    """Whether a pointer may be passed with the offset that it has (kernel: check_func_arg_reg_off())."""
    if is_release:
        if register.off:
            raise Fault(
                Rule.ARGUMENT,
                f"R{number} must have zero offset when passed to release func or trusted arg to kfunc",
                number,
            )
        memory.check_unmodified(register, number)
    elif register.type not in _ANY_OFFSET:
        memory.check_unmodified(register, number, fixed_off_ok=register.type in _FIXED_OFFSET)


def check(run: Run, number: int, size: int, *, is_write: bool, zero_size_allowed: bool, raw: bool = False) -> bool:
    """Whether a function may read or write `size` bytes at a register. True if it will set them all (`raw`).

    kernel: check_helper_mem_access().
    """
    register = run.regs[number]
    kind = register.type
    base = kind & BASE
    if base == PTR_TO_STACK:
        return stack.check_initialized(
            run, number, register.off, size, zero_size_allowed=zero_size_allowed, is_write=is_write, raw=raw
        )
    if base == PTR_TO_PACKET:
        memory.check_packet(run, number, register.off, size, zero_size_allowed=zero_size_allowed)
    elif base == PTR_TO_MAP_VALUE:
        memory.check_map_permission(register.extra.map, register.off, size, is_write=is_write)
        memory.check_map_value(run, number, register.off, size, zero_size_allowed=zero_size_allowed, by_helper=True)
    elif base == PTR_TO_MAP_KEY:
        if is_write:
            raise Fault(Rule.ARGUMENT, f"R{number} cannot write into {type_text(kind)}", number)
        memory.check_region(run, number, register.off, size, register.extra.map.key_size)
    elif base == PTR_TO_MEM:
        if is_write and kind & MEM_RDONLY:
            raise Fault(Rule.ARGUMENT, f"R{number} cannot write into {type_text(kind)}", number)
        memory.check_region(run, number, register.off, size, register.extra.size, zero_size_allowed=zero_size_allowed)
    elif base == PTR_TO_BTF_ID:
        access = memory.Access(number, 0, size, is_write=False)
        btf_access.check(run, access, register, register.off)
    elif not (zero_size_allowed and size == 0 and register.is_null):
        raise Fault(Rule.ARGUMENT, f"R{number} type={type_text(kind)} expected=fp", number)
    return False


def check_sized(run: Run, number: int, *, is_write: bool, zero_size_allowed: bool, raw: bool = False) -> bool:
    """Memory whose size is in register `number`, and its address in the one before (kernel: check_mem_size_reg())."""
    size = run.regs[number].range
    if size.smin < 0:
        raise Fault(
            Rule.ARGUMENT,
            f"R{number} min value is negative, either use unsigned or 'var &= const'",
            number,
        )
    if size.umin == 0 and not zero_size_allowed:
        raise Fault(Rule.ARGUMENT, f"R{number} invalid zero-sized read: u64=[{size.umin},{size.umax}]", number)
    if size.umax >= MAX_VAR_SIZ:
        raise Fault(
            Rule.ARGUMENT,
            f"R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'",
            number,
        )
    sets_all = check(
        run,
        number - 1,
        size.umax,
        is_write=is_write,
        zero_size_allowed=zero_size_allowed,
        raw=raw and size.is_const,
    )
    demand(run, number)
    return sets_all


def as_not_null(run: Run, number: int) -> Register | None:
    """Take a pointer that may be null for one that is not; gives what to put back (kernel: check_mem_reg())."""
    from routebpf.verifier.branches import not_null

    register = run.regs[number]
    if not register.may_be_null:
        return None
    run.regs[number] = not_null(register)
    return register


def check_both_ways(run: Run, number: int, size: int) -> None:
    """Memory that may be null, or else is read and written (kernel: check_mem_reg())."""
    if run.regs[number].is_null:
        return
    saved = as_not_null(run, number)
    try:
        check(run, number, size, is_write=False, zero_size_allowed=True)
        check(run, number, size, is_write=True, zero_size_allowed=True)
    finally:
        if saved is not None:
            run.regs[number] = saved


def check_constant_text(run: Run, number: int) -> bytes:
    """Text in a map that nothing can change, up to its zero byte (kernel: check_reg_const_str())."""
    register = run.regs[number]
    one: MapFacts = register.extra.map
    if one.contents is None:
        raise Fault(Rule.ARGUMENT, f"R{number} does not point to a readonly map'", number)
    if not register.range.is_const:
        raise Fault(Rule.ARGUMENT, f"R{number} is not a constant address'", number)
    if one.row is None or not one.row.direct_value:
        raise Fault(Rule.ARGUMENT, "no direct value access support for this map type", number)
    memory.check_map_value(run, number, register.off, one.value_size - register.off, by_helper=True)
    start = register.off + register.range.smin
    text, zero, _ = one.contents[start:].partition(b"\0")
    if not zero:
        raise Fault(Rule.ARGUMENT, "string is not zero-terminated", number)
    return text


def check_initialized_dynptr(run: Run, number: int) -> None:
    """A dynptr that will only be read (kernel: process_dynptr_func())."""
    register = run.regs[number]
    if register.type not in (PTR_TO_STACK, CONST_PTR_TO_DYNPTR):
        raise Fault(Rule.ARGUMENT, f"arg#{number - 1} expected pointer to stack or const struct bpf_dynptr", number)
    words = f"Expected an initialized dynptr as arg #{number - 1}"
    with also_saying(words):
        found = dynptr_at(run, register)
    if found is None:
        raise Fault(Rule.ARGUMENT, words, number)
    if register.type == PTR_TO_STACK:
        spi = place(run, register, "dynptr", 2)
        assert spi is not None
        note_read(run, register, spi, 2)
