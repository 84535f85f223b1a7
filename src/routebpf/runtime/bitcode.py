"""Bitcode of native functions: from the cache, or by Numba."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import Any

from routebpf.runtime import cache as files
from routebpf.runtime.memory import Primitive
from routebpf.runtime.native import Native


def bitcode(function: Native) -> bytes:
    """The bitcode of one function: `i64 symbol(i64…)`, the functions it calls as declarations."""
    name = cached_name(function)
    found = files.read(name)
    if found is None:
        found = compile_bitcode(function)
        files.write(name, found)
    return found


def cached_name(function: Native) -> str:
    return f"{function.symbol}-{function.key[:16]}-{_toolchain()}.bc"


@cache
def _toolchain() -> str:
    """The versions that bitcode depends on. Read from the packages' metadata: importing Numba takes long."""
    from importlib.metadata import version

    python = f"{sys.version_info.major}{sys.version_info.minor}"
    return f"py{python}-numba{version('numba')}-llvmlite{version('llvmlite')}-{platform.machine()}"


def compile_bitcode(function: Native) -> bytes:
    """Compile by Numba, always."""
    import llvmlite.binding as llvm

    from routebpf.runtime.machine import optimise, target_machine

    text, inner = _numba_ir(function)
    module = llvm.parse_assembly(text + _face(function, inner))
    for one in (*module.functions, *module.global_variables):
        if not one.is_declaration and one.name != function.symbol:
            one.linkage = "internal"
    optimise(module, target_machine(portable=True), inline=True)
    return bytes(module.as_bitcode())


def _face(function: Native, inner: str) -> str:
    """A function with a plain signature around the one that Numba makes (`i32 f(result*, exception*, arguments…)`)."""
    arguments = ", ".join(f"i64 %a{n}" for n in range(function.arity))
    passed = "".join(f", i64 %a{n}" for n in range(function.arity))
    return f"""
define i64 @{function.symbol}({arguments}) {{
  %result = alloca i64
  %exception = alloca ptr
  %status = call i32 @{inner}(ptr %result, ptr %exception{passed})
  %value = load i64, ptr %result
  ret i64 %value
}}
"""


def _numba_ir(function: Native) -> tuple[str, str]:
    """The function's LLVM IR, and the name of it there."""
    from numba.core import compiler, types
    from numba.core.registry import cpu_target

    typing_context, target_context = cpu_target.typing_context, cpu_target.target_context
    typing_context.refresh()
    target_context.refresh()
    flags = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.nrt = False
    flags.error_model = "numpy"  # no exceptions: nothing here can raise
    code = function.function
    scope: dict[str, Any] = {"__builtins__": __builtins__, "__name__": code.__module__}
    for name, one in function.references.items():
        scope[name] = one if isinstance(one, int) else _intrinsic(one)
    body = FunctionType(code.__code__, scope, code.__name__)
    with _wrapping_arithmetic():
        result = compiler.compile_extra(
            typing_context, target_context, body, (types.int64,) * function.arity, types.int64, flags, {}
        )
    return result.library.get_llvm_str(), result.fndesc.llvm_func_name


@contextmanager
def _wrapping_arithmetic() -> Iterator[None]:
    """Numba tells LLVM that signed sums never overflow; here they wrap around, and LLVM must not assume otherwise."""
    from numba.cpython import numbers

    before = numbers._int_arith_flags
    numbers._int_arith_flags = lambda _: []
    try:
        yield
    finally:
        numbers._int_arith_flags = before


@cache
def _intrinsic(callee: Native | Primitive) -> Any:
    """What a name in a native function is for Numba: IR in place, or a call of another native function."""
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic

    word = ir.IntType(64)
    signature = types.int64(*[types.int64] * callee.arity)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if isinstance(callee, Primitive):
            return callee.emit(builder, list(arguments))
        found = builder.module.globals.get(callee.symbol)
        kind = ir.FunctionType(word, [word] * callee.arity)
        return builder.call(found or ir.Function(builder.module, kind, callee.symbol), list(arguments))

    def generate_literal(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        assert isinstance(callee, Primitive)
        return callee.emit(builder, [word(signature.args[0].literal_value)])

    names = ", ".join(f"a{n}" for n in range(callee.arity))
    space: dict[str, Any] = {"signature": signature, "generate": generate}
    if isinstance(callee, Primitive) and callee.literal:
        space |= {"types": types, "generate": generate_literal}
        source = "def form(context, a0):\n if isinstance(a0, types.IntegerLiteral): return types.int64(a0), generate\n"
        exec(source, space)
        return intrinsic(prefer_literal=True)(space["form"])
    exec(f"def form(context, {names}):\n return signature, generate\n", space)
    return intrinsic(space["form"])
