"""Primitives of native functions: memory, unsigned arithmetic, atomics, calls by address. And memory that Python owns.

A primitive is the LLVM IR that stands for it; it exists in native functions only. Everything is a signed 64-bit
integer: loads of 8 to 32 bits are zero-extended, stores take the low bits. Accesses need no alignment, atomics do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from llvmlite import ir

Emit = Callable[["ir.IRBuilder", list["ir.Value"]], "ir.Value"]


@dataclass(frozen=True, slots=True)
class Primitive:
    """`emit(builder, arguments)` writes the IR and gives the i64 result. The name is also the LLVM-level form."""

    name: str
    arity: int
    emit: Emit
    literal: bool = False  # whether its argument must be a constant

    @property
    def symbol(self) -> str:
        return self.name

    @property
    def key_of_form(self) -> str:
        return FORM

    def __call__(self, *_: int) -> int:
        raise TypeError(f"{self.name} is a primitive: only native functions have it")


FORM = "2"  # of the primitives: counts up when what one means changes, and with it all cached bitcode goes


def _ir() -> Any:
    from llvmlite import ir

    return ir


def _int(bits: int) -> ir.IntType:
    return _ir().IntType(bits)


def _pointer(builder: ir.IRBuilder, address: ir.Value, bits: int) -> ir.Value:
    return builder.inttoptr(address, _int(bits).as_pointer())


def _load(bits: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        value = b.load(_pointer(b, a[0], bits), align=1)
        return value if bits == 64 else b.zext(value, _int(64))

    return Primitive(f"load{bits}", 1, emit)


def _store(bits: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        value = a[1] if bits == 64 else b.trunc(a[1], _int(bits))
        b.store(value, _pointer(b, a[0], bits), align=1)
        return _int(64)(0)

    return Primitive(f"store{bits}", 2, emit)


load8, load16, load32, load64 = (_load(bits) for bits in (8, 16, 32, 64))
store8, store16, store32, store64 = (_store(bits) for bits in (8, 16, 32, 64))


def _swap(bits: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        swap = b.module.declare_intrinsic("llvm.bswap", [_int(bits)])
        if bits == 64:
            return b.call(swap, [a[0]])
        return b.zext(b.call(swap, [b.trunc(a[0], _int(bits))]), _int(64))

    return Primitive(f"bswap{bits}", 1, emit)


bswap16, bswap32, bswap64 = (_swap(bits) for bits in (16, 32, 64))


def _signed(bits: int) -> Primitive:
    return Primitive(f"sext{bits}", 1, lambda b, a: b.sext(b.trunc(a[0], _int(bits)), _int(64)))


sext8, sext16, sext32 = (_signed(bits) for bits in (8, 16, 32))
low32 = Primitive("low32", 1, lambda b, a: b.and_(a[0], _int(64)(0xFFFFFFFF)))


def _compare(name: str, operator: str) -> Primitive:
    return Primitive(name, 2, lambda b, a: b.zext(b.icmp_unsigned(operator, a[0], a[1]), _int(64)))


ult, ule, ugt, uge = (_compare(name, op) for name, op in (("ult", "<"), ("ule", "<="), ("ugt", ">"), ("uge", ">=")))
# The divisor must not be zero.
udiv = Primitive("udiv", 2, lambda b, a: b.udiv(a[0], a[1]))
urem = Primitive("urem", 2, lambda b, a: b.urem(a[0], a[1]))
lshr = Primitive("lshr", 2, lambda b, a: b.lshr(a[0], a[1]))  # by less than 64


def _choose(name: str, operator: str) -> Primitive:
    return Primitive(name, 2, lambda b, a: b.select(b.icmp_signed(operator, a[0], a[1]), a[0], a[1]))


# What `min` and `max` of two numbers are in a native function.
minimum, maximum = _choose("minimum", "<"), _choose("maximum", ">")


def _counting(name: str, llvm_name: str, with_flag: bool) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        ir = _ir()
        kinds = [_int(64)] + ([_int(1)] if with_flag else [])
        function = b.module.declare_intrinsic(llvm_name, [_int(64)], ir.FunctionType(_int(64), kinds))
        return b.call(function, [a[0], *([_int(1)(0)] if with_flag else [])])

    return Primitive(name, 1, emit)


clz64 = _counting("clz64", "llvm.ctlz", True)  # 64 for zero
ctz64 = _counting("ctz64", "llvm.cttz", True)  # 64 for zero
popcount64 = _counting("popcount64", "llvm.ctpop", False)


# copy(destination, source, size): not overlapping. move(...): may overlap. fill(destination, byte, size).
# compare(a, b, size): memcmp, its sign counts.
def _copying(name: str, intrinsic: str) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        byte = _int(8).as_pointer()
        function = b.module.declare_intrinsic(intrinsic, [byte, byte, _int(64)])
        b.call(function, [b.inttoptr(a[0], byte), b.inttoptr(a[1], byte), a[2], _int(1)(0)])
        return _int(64)(0)

    return Primitive(name, 3, emit)


copy = _copying("copy", "llvm.memcpy")
move = _copying("move", "llvm.memmove")


def _emit_fill(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
    byte = _int(8).as_pointer()
    function = b.module.declare_intrinsic("llvm.memset", [byte, _int(64)])
    b.call(function, [b.inttoptr(a[0], byte), b.trunc(a[1], _int(8)), a[2], _int(1)(0)])
    return _int(64)(0)


fill = Primitive("fill", 3, _emit_fill)


def _external(b: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    ir = _ir()
    found = b.module.globals.get(name)
    return found or ir.Function(b.module, ir.FunctionType(result, arguments), name)


def _emit_compare(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
    byte = _int(8).as_pointer()
    function = _external(b, "memcmp", _int(32), [byte, byte, _int(64)])
    return b.sext(b.call(function, [b.inttoptr(a[0], byte), b.inttoptr(a[1], byte), a[2]]), _int(64))


compare = Primitive("compare", 3, _emit_compare)


def _emit_clock(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
    ir = _ir()
    with b.goto_entry_block():
        room = b.alloca(ir.ArrayType(_int(64), 2))
    function = _external(b, "clock_gettime", _int(32), [_int(32), room.type])
    b.call(function, [b.trunc(a[0], _int(32)), room])
    zero, one = _int(32)(0), _int(32)(1)
    seconds, nanoseconds = (b.load(b.gep(room, [zero, index])) for index in (zero, one))
    return b.add(b.mul(seconds, _int(64)(1_000_000_000)), nanoseconds)


clock = Primitive("clock", 1, _emit_clock)  # nanoseconds of the machine's clock with that clockid


def _emit_stack(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
    ir = _ir()
    with b.goto_entry_block():
        room = b.alloca(ir.ArrayType(_int(8), int(a[0].constant)))
        room.align = 16
    return b.ptrtoint(room, _int(64))


stack = Primitive("stack", 1, _emit_stack, literal=True)  # the address of that many bytes, until the function returns


def _call(arguments: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        ir = _ir()
        kind = ir.FunctionType(_int(64), [_int(64)] * arguments)
        return b.call(b.inttoptr(a[0], kind.as_pointer()), a[1:])

    return Primitive(f"call{arguments}", 1 + arguments, emit)


call2, call6 = _call(2), _call(6)  # call the function at an address with so many arguments


# Atomics, sequentially consistent, at aligned addresses. atomic_<op>(address, value): the old value.
def _atomic(name: str, operation: str, bits: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        value = a[1] if bits == 64 else b.trunc(a[1], _int(bits))
        old = b.atomic_rmw(operation, _pointer(b, a[0], bits), value, "seq_cst")
        return old if bits == 64 else b.zext(old, _int(64))

    return Primitive(f"{name}{bits}", 2, emit)


atomic_add32, atomic_add64 = _atomic("atomic_add", "add", 32), _atomic("atomic_add", "add", 64)
atomic_or32, atomic_or64 = _atomic("atomic_or", "or", 32), _atomic("atomic_or", "or", 64)
atomic_and32, atomic_and64 = _atomic("atomic_and", "and", 32), _atomic("atomic_and", "and", 64)
atomic_xchg32, atomic_xchg64 = _atomic("atomic_xchg", "xchg", 32), _atomic("atomic_xchg", "xchg", 64)


def _cmpxchg(bits: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        expected, value = (one if bits == 64 else b.trunc(one, _int(bits)) for one in a[1:])
        pair = b.cmpxchg(_pointer(b, a[0], bits), expected, value, "seq_cst", "seq_cst")
        old = b.extract_value(pair, 0)
        return old if bits == 64 else b.zext(old, _int(64))

    return Primitive(f"cmpxchg{bits}", 3, emit)


cmpxchg32, cmpxchg64 = _cmpxchg(32), _cmpxchg(64)  # (address, expected, new): the old value


def _atomic_load(bits: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        value = b.load_atomic(_pointer(b, a[0], bits), "acquire", bits // 8)
        return value if bits == 64 else b.zext(value, _int(64))

    return Primitive(f"load_acquire{bits}", 1, emit)


def _atomic_store(bits: int) -> Primitive:
    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        value = a[1] if bits == 64 else b.trunc(a[1], _int(bits))
        b.store_atomic(value, _pointer(b, a[0], bits), "release", bits // 8)
        return _int(64)(0)

    return Primitive(f"store_release{bits}", 2, emit)


load_acquire32, load_acquire64 = _atomic_load(32), _atomic_load(64)
store_release32, store_release64 = _atomic_store(32), _atomic_store(64)


def _emit_fence(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
    b.fence("acquire")
    return _int(64)(0)


fence_acquire = Primitive("fence_acquire", 0, _emit_fence)  # what was loaded before is loaded before what follows


def _emit_yield(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
    return b.sext(b.call(_external(b, "sched_yield", _int(32), []), []), _int(64))


yield_cpu = Primitive("yield_cpu", 0, _emit_yield)  # let another thread run: for one that waits for a lock


def _libc(name: str, result: int, *arguments: int) -> Primitive:
    """A function of the C library, by the bits of its result and arguments; a pointer has 64."""

    def emit(b: ir.IRBuilder, a: list[ir.Value]) -> ir.Value:
        function = _external(b, name, _int(result), [_int(bits) for bits in arguments])
        given = [one if bits == 64 else b.trunc(one, _int(bits)) for one, bits in zip(a, arguments, strict=True)]
        value = b.call(function, given)
        return value if result == 64 else b.sext(value, _int(64))

    return Primitive(f"libc_{name}", len(arguments), emit)


libc_pipe, libc_close = _libc("pipe", 32, 64), _libc("close", 32, 32)
libc_read, libc_write = _libc("read", 64, 32, 64, 64), _libc("write", 64, 32, 64, 64)
libc_malloc, libc_free = _libc("malloc", 64, 64), _libc("free", 64, 64)


class Memory:
    """Zeroed memory at a fixed address, owned by this object: `address` (aligned to a cache line), `size` in bytes.

    Native code may use it as long as this object lives.
    """

    __slots__ = ("_buffer", "address", "size")

    _ALIGNMENT = 64

    def __init__(self, size: int) -> None:
        import numpy as np

        self._buffer: np.ndarray[Any, Any] = np.zeros(size + self._ALIGNMENT, np.uint8)
        start = self._buffer.ctypes.data
        self.address = -(-start // self._ALIGNMENT) * self._ALIGNMENT
        self.size = size

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The bytes, as a numpy array that shares them."""
        first = self.address - self._buffer.ctypes.data
        return self._buffer[first : first + self.size]

    def read(self, offset: int, size: int) -> bytes:
        return read(self.address + self._inside(offset, size), size)

    def write(self, offset: int, data: bytes) -> None:
        write(self.address + self._inside(offset, len(data)), data)

    def _inside(self, offset: int, size: int) -> int:
        if not 0 <= offset <= self.size - size:
            raise IndexError(f"{size} bytes at {offset} of memory of {self.size} bytes")
        return offset


def read(address: int, size: int) -> bytes:
    """The bytes at an address: it must be valid."""
    return ctypes.string_at(address, size)


def write(address: int, data: bytes) -> None:
    """Put bytes at an address: it must be valid."""
    ctypes.memmove(address, data, len(data))
