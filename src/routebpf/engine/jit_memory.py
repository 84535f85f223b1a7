"""Loads, stores and atomics in LLVM IR. Addresses are real; that they are good is what the verifier proved.

A load or store of the context goes to where `runtime.skb` has the field.
"""

from __future__ import annotations

from routebpf.engine.jit_writer import FunctionWriter
from routebpf.isa import Form, Instruction, Kind
from routebpf.isa.opcodes import ATOMICS, AtomicKind
from routebpf.runtime.skb import CONTEXT_ADDRESSES, context_place

_OPERATIONS = {"+=": "add", "|=": "or", "&=": "and", "^=": "xor"}


def load(w: FunctionWriter, one: Instruction, form: Form) -> None:
    _load_from(w, one, form, one.offset)


def _load_from(w: FunctionWriter, one: Instruction, form: Form, offset: int) -> None:
    bits = form.size * 8
    value = w.value(f"load i{bits}, ptr {w.address(one.src, offset)}, align 1")
    w.write(one.dst, _extended(w, value, bits, "sext" if form.kind is Kind.LDSX else "zext"))


def load_context(w: FunctionWriter, one: Instruction, form: Form) -> None:
    """A load through the context as the program got it: of an address, or of a field at its own place."""
    place = CONTEXT_ADDRESSES.get(one.offset)
    if place is None:
        _load_from(w, one, form, context_place(one.offset, form.size))
    else:
        w.write(one.dst, w.value(f"load i64, ptr {w.address(one.src, place)}, align 8"))


def store(w: FunctionWriter, one: Instruction, form: Form) -> None:
    bits = form.size * 8
    value = _low(w, w.read(one.src), bits) if form.register else str(one.imm)
    w.line(f"store i{bits} {value}, ptr {w.address(one.dst, one.offset)}, align 1")


def atomic(w: FunctionWriter, one: Instruction, form: Form) -> None:
    operation, bits = ATOMICS[one.imm], form.size * 8
    match operation.kind:
        case AtomicKind.LOAD_ACQUIRE:
            pointer = w.address(one.src, one.offset)
            value = w.value(f"load atomic i{bits}, ptr {pointer} acquire, align {form.size}")
            w.write(one.dst, _extended(w, value, bits, "zext"))
        case AtomicKind.STORE_RELEASE:
            value, pointer = _low(w, w.read(one.src), bits), w.address(one.dst, one.offset)
            w.line(f"store atomic i{bits} {value}, ptr {pointer} release, align {form.size}")
        case AtomicKind.CMPXCHG:
            expected, value = _low(w, w.read(0), bits), _low(w, w.read(one.src), bits)
            pointer = w.address(one.dst, one.offset)
            pair = w.value(f"cmpxchg ptr {pointer}, i{bits} {expected}, i{bits} {value} seq_cst seq_cst")
            w.write(0, _extended(w, w.value(f"extractvalue {{ i{bits}, i1 }} {pair}, 0"), bits, "zext"))
        case kind:
            name = "xchg" if kind is AtomicKind.XCHG else _OPERATIONS[operation.operator]
            value, pointer = _low(w, w.read(one.src), bits), w.address(one.dst, one.offset)
            old = w.value(f"atomicrmw {name} ptr {pointer}, i{bits} {value} seq_cst")
            if kind is not AtomicKind.PLAIN:
                w.write(one.src, _extended(w, old, bits, "zext"))


def _low(w: FunctionWriter, value: str, bits: int) -> str:
    return value if bits == 64 else w.value(f"trunc i64 {value} to i{bits}")


def _extended(w: FunctionWriter, value: str, bits: int, how: str) -> str:
    return value if bits == 64 else w.value(f"{how} i{bits} {value} to i64")
