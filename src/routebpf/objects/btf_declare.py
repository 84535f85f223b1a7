"""Writing a BTF type as the C that declares it."""

from __future__ import annotations

from routebpf.objects.btf import Btf
from routebpf.objects.btf_types import (
    Array,
    Composite,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ptr,
    Qualifier,
    Typedef,
    Var,
)

_MAX_NESTING = 64


def declare(btf: Btf, type_id: int, name: str = "") -> str:
    """The declaration of `name` as that type, such as `const char *name[4]`; with no name, the type alone.

    Structs, unions and enums that have a name are referred to; those without are written out on one line.
    """
    return _declarator(btf, type_id, name, 0)


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)


def _keyword(found: Composite) -> str:
    return _join("union" if found.kind is Kind.UNION else "struct", found.name)


def _member(btf: Btf, type_id: int, name: str, bits: int, depth: int) -> str:
    return _declarator(btf, type_id, name, depth) + (f" : {bits}" if bits else "")


def _declarator(btf: Btf, type_id: int, inner: str, depth: int) -> str:
    """C declarations nest from the name outwards: `inner` is what has been built around the name so far."""
    if depth > _MAX_NESTING:
        return _join("…", inner)
    found = btf.type(type_id)
    match found:
        case Ptr():
            target, qualifiers = _qualifiers(btf, found.type_id)
            needs_parentheses = isinstance(btf.type(target), Array | FuncProto)
            pointer = f"*{inner}"
            if needs_parentheses:
                return _declarator(btf, target, f"({pointer})", depth + 1)
            return _join(qualifiers, _declarator(btf, target, pointer, depth + 1))
        case Array():
            return _declarator(btf, found.type_id, f"{inner}[{found.length or ''}]", depth + 1)
        case FuncProto():
            parameters = [declare(btf, one.type_id, one.name) if one.type_id else "..." for one in found.parameters]
            return _declarator(btf, found.type_id, f"{inner}({', '.join(parameters) or 'void'})", depth + 1)
        case Qualifier(kind=Kind.TYPE_TAG):
            return _declarator(btf, found.type_id, inner, depth + 1)
        case Qualifier():
            word = found.kind.name.lower()
            if isinstance(btf.type(found.type_id), Ptr):
                return _declarator(btf, found.type_id, _join(word, inner), depth + 1)
            return _join(word, _declarator(btf, found.type_id, inner, depth + 1))
        case Var() | Func():
            return _declarator(btf, found.type_id, inner or found.name, depth + 1)
        case _:
            return _join(_plain(btf, type_id, depth), inner)


def _qualifiers(btf: Btf, type_id: int) -> tuple[int, str]:
    """What a pointer points to, with the qualifiers of a non-pointer taken off, to stand in front."""
    words: list[str] = []
    start = type_id
    for _ in range(_MAX_NESTING):
        found = btf.type(type_id)
        if not isinstance(found, Qualifier):
            break
        if found.kind is not Kind.TYPE_TAG:
            words.append(found.kind.name.lower())
        type_id = found.type_id
    if isinstance(btf.type(type_id), Ptr | Qualifier):
        return start, ""
    return type_id, " ".join(words)


def _plain(btf: Btf, type_id: int, depth: int) -> str:
    """A type that stands wholly in front of the name."""
    found = btf.type(type_id)
    match found:
        case Int() | Float() | Typedef():
            return found.name
        case Composite(name=""):
            inside = " ".join(f"{_member(btf, one.type_id, one.name, one.bits, depth + 1)};" for one in found.members)
            return f"{_keyword(found)} {{ {inside} }}"
        case Composite():
            return _keyword(found)
        case Enum(name=""):
            return f"enum {{ {', '.join(name for name, _ in found.values)} }}"
        case Enum():
            return f"enum {found.name}"
        case Fwd():
            return f"{'union' if found.is_union else 'struct'} {found.name}"
        case _:
            return btf.name(type_id) or "void"
