"""Calls in LLVM IR: of helpers and kfuncs, which are native functions, of BPF functions, and tail calls."""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.engine.compiled import MapFace
from routebpf.engine.jit_writer import FunctionWriter
from routebpf.engine.tail_calls import tail_call_target
from routebpf.errors import RejectedError
from routebpf.runtime import registry
from routebpf.runtime.native import Native
from routebpf.spec import helper_name
from routebpf.verifier.structure_facts import CallFacts

ARGUMENTS = range(1, 6)


def call_function(w: FunctionWriter, start: int) -> None:
    """The function that starts at instruction `start`: r1 to r5 are its arguments."""
    _call(w, function_symbol(start), [w.read(register) for register in ARGUMENTS])


def function_symbol(start: int) -> str:
    return f"function_{start}"


def call_helper(w: FunctionWriter, number: int, known: CallFacts | None, maps: Sequence[MapFace]) -> Native:
    """The helper with id `number`: the native function that was called."""
    name = helper_name(number) or f"helper {number}"
    if name == "bpf_tail_call":
        return _tail_call(w)
    which = known.maps[0] if known else None
    if which is not None:
        one = maps[which]
        operation = registry.map_operation(name, one.definition.type)
        if operation is not None:
            given = [one.address, one.definition.key_size, one.definition.value_size]
            rest = [w.read(register) for register in range(2, operation.arity - 2)]
            _call(w, operation.symbol, [*map(str, given), *rest])
            return operation
    return call_native(w, name)


def call_native(w: FunctionWriter, name: str) -> Native:
    """A helper or kfunc by its name."""
    function = registry.implementation(name)
    if function is None:
        raise RejectedError(f"{name} is not implemented in the embedded host; run the program on the kernel host")
    _call(w, function.symbol, [w.read(register) for register in range(1, function.arity)])
    return function


def _call(w: FunctionWriter, symbol: str, arguments: Sequence[str]) -> None:
    given = "".join(f", i64 {one}" for one in arguments)
    result = w.value(f"call i64 @{symbol}(i64 %cpu{given})")
    w.forget(ARGUMENTS)
    w.write(0, result)


def _tail_call(w: FunctionWriter) -> Native:
    """Go on in another program, in place of this frame; where there is none, go on here."""
    context, which, index = w.read(1), w.read(2), w.read(3)
    target = w.value(f"call i64 @{tail_call_target.symbol}(i64 %cpu, i64 {which}, i64 {index})")
    is_none = w.value(f"icmp eq i64 {target}, 0")
    w.forget(ARGUMENTS)
    w.save()
    leave, stay = w.label(), w.label()
    w.line(f"br i1 {is_none}, label %{stay}, label %{leave}")
    w.line(f"{leave}:")
    pointer = w.value(f"inttoptr i64 {target} to ptr")
    w.line(f"ret i64 {w.value(f'call i64 {pointer}(i64 %cpu, i64 {context})')}")
    w.start(stay)
    return tail_call_target
