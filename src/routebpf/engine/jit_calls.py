"""Calls in LLVM IR: of helpers and kfuncs, which are native functions, of BPF functions, and tail calls."""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.engine.compiled import MapFace, implementation_for
from routebpf.engine.jit_writer import FunctionWriter
from routebpf.engine.tail_calls import tail_call_target
from routebpf.errors import RejectedError
from routebpf.runtime import registry
from routebpf.runtime.bitcode import bitcode
from routebpf.runtime.machine import function_address
from routebpf.runtime.native import Native, closure
from routebpf.spec import helper_name

ARGUMENTS = range(1, 6)
# Bitcode of a function and all that it calls. A hash lookup has 21 KB and takes 20 ms to compile; an update, 52 KB and
# 60 ms. Inlined, neither saves more than 3 ns a call.
_LARGE_BYTES = 24_000


class Callees:
    """The native functions that a program calls. `linked`: those that become part of it, by symbol.

    A small one is compiled with the program, so that LLVM inlines it and knows its constants. A large one costs more
    time to compile again than it would ever save: its own machine code is called.
    """

    def __init__(self, program_type: str) -> None:
        self.program_type = program_type
        self.linked: dict[str, Native] = {}

    def name(self, function: Native) -> str:
        """What to call in IR."""
        if function.symbol not in self.linked:
            if sum(len(bitcode(one)) for one in closure([function])) > _LARGE_BYTES:
                return f"inttoptr (i64 {function_address(function)} to ptr)"
            self.linked[function.symbol] = function
        return f"@{function.symbol}"


def call_function(w: FunctionWriter, start: int) -> None:
    """The function that starts at instruction `start`: r1 to r5 are its arguments."""
    _call(w, f"@{function_symbol(start)}", [w.read(register) for register in ARGUMENTS])


def function_symbol(start: int) -> str:
    return f"function_{start}"


def call_helper(w: FunctionWriter, number: int, which: int | None, maps: Sequence[MapFace], using: Callees) -> None:
    """The helper with id `number`; `which` of the maps its first argument is, None if that is not known."""
    name = helper_name(number) or f"helper {number}"
    if name == "bpf_tail_call":
        _tail_call(w, using)
        return
    if which is not None:
        one = maps[which]
        operation = registry.map_operation(name, one.definition.type)
        if operation is not None:
            given = [one.address, one.definition.key_size, one.definition.value_size]
            rest = [w.read(register) for register in range(2, operation.arity - 2)]
            _call(w, using.name(operation), [*map(str, given), *rest])
            return
    call_native(w, name, using)


def call_native(w: FunctionWriter, name: str, using: Callees) -> None:
    """A helper or kfunc by its name."""
    function = implementation_for(name, using.program_type)
    if function is None:
        raise RejectedError(f"{name} is not implemented in the embedded host; run the program on the kernel host")
    _call(w, using.name(function), [w.read(register) for register in range(1, function.arity)])


def _call(w: FunctionWriter, callee: str, arguments: Sequence[str]) -> None:
    given = "".join(f", i64 {one}" for one in arguments)
    result = w.value(f"call i64 {callee}(i64 %cpu{given})")
    w.forget(ARGUMENTS)
    w.write(0, result)


def _tail_call(w: FunctionWriter, using: Callees) -> None:
    """Go on in another program, in place of this frame; where there is none, go on here."""
    context, which, index = w.read(1), w.read(2), w.read(3)
    target = w.value(f"call i64 {using.name(tail_call_target)}(i64 %cpu, i64 {which}, i64 {index})")
    is_none = w.value(f"icmp eq i64 {target}, 0")
    w.forget(ARGUMENTS)
    w.save()
    leave, stay = w.label(), w.label()
    w.line(f"br i1 {is_none}, label %{stay}, label %{leave}")
    w.line(f"{leave}:")
    pointer = w.value(f"inttoptr i64 {target} to ptr")
    w.line(f"ret i64 {w.value(f'call i64 {pointer}(i64 %cpu, i64 {context})')}")
    w.start(stay)
