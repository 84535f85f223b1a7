"""What a register or a stack slot can hold, as far as the structural check follows it: where a pointer comes from.

This is no proof: a pointer that may be null or out of bounds is still that pointer. Where paths meet, a value that is
the context (a map, a function, the stack) on one and a number on another stays the context: a program that the kernel
takes uses it as a pointer only where it is one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from routebpf.isa.semantics import ARITHMETIC64, MASK64, sign_extend


class Origin(IntEnum):
    """Where a value comes from."""

    UNSET = 0  # never written, or clobbered by a call
    NUMBER = 1  # no pointer
    CONSTANT = 2  # the number `offset`, unsigned 64-bit
    CONTEXT = 3  # `offset` bytes into the context
    MAP = 4  # the map `which`
    MAP_VALUE = 5  # `offset` bytes into a value of the map `which`
    FUNCTION = 6  # the function that starts at instruction `which`
    STACK = 7  # `offset` bytes from the frame pointer of function number `which`
    OTHER = 8  # anything else, a packet pointer for one
    MIXED = 9  # the context on one path, another pointer on another


class Value(NamedTuple):
    """An origin with its details; `offset` None is an offset that varies."""

    origin: Origin
    which: int = 0
    offset: int | None = None


UNSET = Value(Origin.UNSET)
NUMBER = Value(Origin.NUMBER)
OTHER = Value(Origin.OTHER)
MIXED = Value(Origin.MIXED)
CONTEXT = Value(Origin.CONTEXT, 0, 0)

_NUMBERS = (Origin.NUMBER, Origin.CONSTANT)
_WITH_OFFSET = (Origin.CONTEXT, Origin.MAP_VALUE, Origin.STACK)
_POINTERS = (*_WITH_OFFSET, Origin.MAP, Origin.FUNCTION, Origin.OTHER, Origin.MIXED)


def constant(value: int) -> Value:
    """The number `value`, signed or not."""
    return Value(Origin.CONSTANT, 0, value & MASK64)


def join(a: Value, b: Value) -> Value:
    """What is known where a path with `a` meets a path with `b`."""
    if a == b:
        return a
    if a.origin is Origin.UNSET or b.origin is Origin.UNSET:
        return UNSET
    if a.origin in _NUMBERS:
        return NUMBER if b.origin in _NUMBERS else b
    if b.origin in _NUMBERS:
        return a
    if a.origin is b.origin and a.which == b.which:
        return Value(a.origin, a.which, None)
    if {a.origin, b.origin} & {Origin.CONTEXT, Origin.MIXED}:
        return MIXED
    return OTHER


def arithmetic64(operator: str, a: Value, b: Value) -> Value:
    """`a operator b` of 64 bits."""
    if a.origin is Origin.CONSTANT and b.origin is Origin.CONSTANT:
        assert a.offset is not None
        assert b.offset is not None
        return constant(ARITHMETIC64[operator](a.offset, b.offset))
    if operator == "+=" and b.origin in _POINTERS and a.origin in _NUMBERS:
        a, b = b, a
    if operator not in ("+=", "-=") or a.origin not in _POINTERS:
        return NUMBER
    if a.origin not in _WITH_OFFSET:
        return a if a.origin is Origin.MIXED else OTHER
    if b.origin in _WITH_OFFSET:
        return NUMBER  # the distance of two pointers
    if b.origin is not Origin.CONSTANT or a.offset is None:
        return Value(a.origin, a.which, None)
    assert b.offset is not None
    distance = sign_extend(b.offset, 64)
    return Value(a.origin, a.which, a.offset + distance if operator == "+=" else a.offset - distance)
