"""What is known of a register, as the kernel's log prints it (kernel: kernel/bpf/log.c, print_reg_state())."""

from __future__ import annotations

from routebpf.objects.btf import Btf
from routebpf.verifier import tnum
from routebpf.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN
from routebpf.verifier.register import (
    ADD_CONST,
    BASE,
    CONST_PTR_TO_MAP,
    PTR_TO_BTF_ID,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_STACK,
    SCALAR_VALUE,
    Register,
    type_text,
)
from routebpf.verifier.scalar import Range
from routebpf.verifier.state import DynptrSlot, IrqSlot, IteratorSlot, Slot
from routebpf.verifier.tnum import M32, M64

_U_DECIMAL = 0xFFFF
_S_DECIMAL = 0x7FFF
_BYTE_LETTERS = "?rm0dif"


def _unsigned(value: int) -> str:
    return str(value) if value <= _U_DECIMAL else f"{value:#x}"


def _signed(value: int, mask: int) -> str:
    return str(value) if -_S_DECIMAL - 1 <= value <= _S_DECIMAL else f"{value & mask:#x}"


def _half(value: int) -> int:
    """What a signed bound of 32 bits counts as: one that is shown as hexadecimal, without its sign."""
    return value if -_S_DECIMAL - 1 <= value <= _S_DECIMAL else value & M32


def _ranges(r: Range) -> str:
    """kernel: print_scalar_ranges(): bounds that are equal are printed once."""
    rows = (
        ("smin", r.smin, r.smin == S64_MIN, _signed(r.smin, M64)),
        ("smax", r.smax, r.smax == S64_MAX, _signed(r.smax, M64)),
        ("umin", r.umin, r.umin == 0, _unsigned(r.umin)),
        ("umax", r.umax, r.umax == M64, _unsigned(r.umax)),
        ("smin32", _half(r.s32min), r.s32min == S32_MIN, _signed(r.s32min, M32)),
        ("smax32", _half(r.s32max), r.s32max == S32_MAX, _signed(r.s32max, M32)),
        ("umin32", r.u32min, r.u32min == 0, _unsigned(r.u32min)),
        ("umax32", r.u32max, r.u32max == M32, _unsigned(r.u32max)),
    )
    text = ""
    printed: set[int] = set()
    for index, (name, value, is_trivial, shown) in enumerate(rows):
        if is_trivial or index in printed:
            continue
        text += f",{name}"
        for later in range(index + 2, len(rows), 2):
            if later not in printed and not rows[later][2] and rows[later][1] == value:
                printed.add(later)
                text += f"={rows[later][0]}"
        text += f"={shown}"
    return text


def register_text(register: Register, btf: Btf | None = None, frame: int = 0) -> str:
    """What stands after `R1=` in the log of function call `frame`, 0 being the program itself."""
    kind = register.type
    r = register.range
    if kind == SCALAR_VALUE and r.is_const:
        return _signed(r.smin, M64)
    base = kind & BASE
    name = type_text(kind)
    if base == PTR_TO_STACK:
        name = "fp" if register.extra == frame else f"fp[{register.extra}]"
        if r.is_const:
            return f"{name}{register.off + r.smin}"
    if base == PTR_TO_BTF_ID:
        name += btf.name(register.extra) if btf is not None and register.extra else ""
    parts = ""
    if register.id:
        parts += f",id={register.id & ~ADD_CONST}"
    if register.id & ADD_CONST:
        parts += f"{register.off:+d}"
    if register.ref:
        parts += f",ref_obj_id={register.ref}"
    if kind != SCALAR_VALUE:
        parts += _of_pointer(register, base)
    if not r.is_const:
        parts += _ranges(r)
        if r.bits != tnum.UNKNOWN:
            parts += f",var_off={tnum.text(r.bits)}"
    elif r.value:
        parts += f",imm={_unsigned(r.value)}"
    return f"{name}({parts[1:]})"


def _of_pointer(register: Register, base: int) -> str:
    parts = ""
    if base in (CONST_PTR_TO_MAP, PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE):
        one = register.extra.map
        parts += f",map={one.name}" if one.name else ""
        parts += f",ks={one.key_size},vs={one.value_size}"
    if register.off:
        parts += f",off={_signed(register.off, M64)}"
    if base == PTR_TO_PACKET:
        parts += f",r={_unsigned(register.extra & M64)}"
    elif base == PTR_TO_MEM:
        parts += f",sz={register.extra.size}"
    return parts


def slot_text(slot: Slot, btf: Btf | None = None, frame: int = 0) -> str:
    """What stands after `fp-8=`."""
    match slot.object:
        case DynptrSlot() as held:
            return f"dynptr(ref_id={held.ref})" if held.ref else "dynptr"
        case IteratorSlot() as held:
            state = "active" if held.is_active else "drained"
            return f"{held.name}(ref_id={held.ref},state={state},depth={held.depth})"
        case IrqSlot() as held:
            return f"irq_flag(ref_id={held.ref})"
    letters = "".join(_BYTE_LETTERS[kind] for kind in slot.types)
    if slot.register is None:
        return letters
    text = register_text(slot.register, btf, frame)
    return text if letters == "rrrrrrrr" else f"{letters.replace('r', '?')}{text}"
