"""Native functions: Python functions over 64-bit integers that become machine code, once, and are cached as bitcode.

    @native
    def checksum(data: int, size: int) -> int: ...

Arguments and result are signed 64-bit integers (an address is one, too) and arithmetic wraps; what Python's operators
cannot say (memory, unsigned comparison, atomics) are the primitives of `runtime.memory`. A native function may use
other native functions, primitives, module-level integers, `range`, `min`, `max`, `abs`; nothing else. Called from
Python it runs as machine code without the GIL; linked into a module by LLVM it is inlined.

Each function is compiled apart from those that it calls, so its bitcode depends on its own code alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType

from routebpf.runtime.memory import Primitive, maximum, minimum

_PREFIX = "routebpf_"
_BUILTINS = frozenset({"range", "abs"})
_BUILTIN_PRIMITIVES = {"min": minimum, "max": maximum}  # Numba's own are functions apart, which nothing would link


class Native:
    """A native function. `symbol` is its name in bitcode and machine code."""

    __slots__ = ("_callable", "_key", "_references", "function", "symbol")

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        module = function.__module__.removeprefix("routebpf.").replace(".", "_")
        self.symbol = f"{_PREFIX}{module}_{function.__name__}"
        self._references: dict[str, Native | Primitive | int] | None = None
        self._key: str | None = None
        self._callable: Callable[..., int] | None = None

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def arity(self) -> int:
        return self.function.__code__.co_argcount

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.function.__doc__

    def __call__(self, *arguments: int) -> int:
        """Run the machine code. Integers are taken modulo 2**64."""
        if self._callable is None:
            self._callable = self.as_callable()
        return self._callable(*arguments)

    def as_callable(self) -> Callable[..., int]:
        """The machine code as a ctypes function: it keeps what it needs alive."""
        if self._callable is None:
            from routebpf.runtime.machine import function_address

            prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * self.arity)
            self._callable = prototype(function_address(self))
        return self._callable

    @property
    def references(self) -> dict[str, Native | Primitive | int]:
        """Every global that the code names: other native functions, primitives, integers."""
        if self._references is None:
            self._references = dict(_references(self.function))
        return self._references

    def calls(self) -> Iterator[Native]:
        """The native functions that the code calls."""
        return (one for one in self.references.values() if isinstance(one, Native))

    @property
    def key(self) -> str:
        """What the bitcode depends on: the code, the integers and signatures it uses; not the functions it calls."""
        if self._key is None:
            parts: list[object] = [_code_parts(self.function.__code__)]
            for name, one in sorted(self.references.items()):
                parts.append((name, one if isinstance(one, int) else (one.symbol, one.arity, one.key_of_form)))
            self._key = hashlib.sha256(repr(parts).encode()).hexdigest()
        return self._key

    @property
    def key_of_form(self) -> str:
        """What a caller's bitcode depends on."""
        return ""


def native(function: Callable[..., int]) -> Native:
    """Make `function` a native one."""
    assert isinstance(function, FunctionType)
    return Native(function)


def closure(functions: list[Native]) -> list[Native]:
    """`functions` and all that they call, each once."""
    found: dict[str, Native] = {}
    waiting = list(functions)
    while waiting:
        one = waiting.pop()
        if one.symbol not in found:
            found[one.symbol] = one
            waiting.extend(one.calls())
    return list(found.values())


def _references(function: FunctionType) -> Iterator[tuple[str, Native | Primitive | int]]:
    scope = inspect.getclosurevars(function).globals if function.__closure__ else function.__globals__
    for name in function.__code__.co_names:
        if name not in scope:
            if name in _BUILTIN_PRIMITIVES:
                yield name, _BUILTIN_PRIMITIVES[name]
            elif name not in _BUILTINS:
                raise TypeError(f"{function.__module__}.{function.__name__}: {name} is no global of a native function")
            continue
        one = scope[name]
        if isinstance(one, int):
            yield name, int(one)
        elif isinstance(one, (Native, Primitive)):
            yield name, one
        else:
            raise TypeError(
                f"{function.__module__}.{function.__name__}: {name} is {type(one).__name__}; a native function may"
                " use native functions, primitives and integers"
            )


def _code_parts(code: CodeType) -> tuple[object, ...]:
    constants = tuple(_code_parts(one) if isinstance(one, CodeType) else one for one in code.co_consts[1:])
    first = code.co_consts[:1] if code.co_consts and not isinstance(code.co_consts[0], str) else ()
    return (code.co_code, first, constants, code.co_names, code.co_varnames, code.co_argcount)
