"""The types of BTF as values (kernel: Documentation/bpf/btf.rst, include/uapi/linux/btf.h).

Sizes are in bytes, member offsets in bits. A `type_id` is an index into the `Btf` that the value came from; 0 is void.
Named tuples, because making seventeen frozen dataclasses at import takes 10 ms more.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class Linkage(IntEnum):
    """BTF_FUNC_STATIC… and BTF_VAR_STATIC…: the same numbers for functions and variables."""

    STATIC = 0
    GLOBAL = 1
    EXTERN = 2


class Void(NamedTuple):
    """Type 0."""


class Int(NamedTuple):
    """`bits` of the `size` bytes are the value, from bit `bit_offset` on (only ancient compilers make them differ)."""

    name: str
    size: int
    bits: int
    bit_offset: int
    signed: bool
    is_char: bool
    is_bool: bool


class Float(NamedTuple):
    name: str
    size: int


class Ptr(NamedTuple):
    type_id: int


class Array(NamedTuple):
    type_id: int
    index_type_id: int
    length: int


class Member(NamedTuple):
    """`bit_offset` from the start of the struct. `bits` is the width of a bitfield, 0 for any other member."""

    name: str
    type_id: int
    bit_offset: int
    bits: int


class Composite(NamedTuple):
    """A struct or a union."""

    kind: Kind
    name: str
    size: int
    members: tuple[Member, ...]


class Enum(NamedTuple):
    """ENUM and ENUM64 alike: `size` says how wide the values are."""

    kind: Kind
    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]


class Fwd(NamedTuple):
    name: str
    is_union: bool


class Typedef(NamedTuple):
    name: str
    type_id: int


class Qualifier(NamedTuple):
    """CONST, VOLATILE, RESTRICT; and TYPE_TAG, whose `name` is the tag."""

    kind: Kind
    name: str
    type_id: int


class Func(NamedTuple):
    name: str
    type_id: int
    linkage: int


class Parameter(NamedTuple):
    name: str
    type_id: int


class FuncProto(NamedTuple):
    """A last parameter with no name and type 0 stands for `...`."""

    type_id: int
    parameters: tuple[Parameter, ...]


class Var(NamedTuple):
    name: str
    type_id: int
    linkage: int


class SectionVariable(NamedTuple):
    """A VAR (or an extern FUNC) of a DATASEC, and where in the section it lies."""

    type_id: int
    offset: int
    size: int


class Datasec(NamedTuple):
    name: str
    size: int
    variables: tuple[SectionVariable, ...]


class DeclTag(NamedTuple):
    """`component` is the index of the member or parameter that is tagged, -1 for the type itself."""

    name: str
    type_id: int
    component: int


BtfType = (
    Void
    | Int
    | Float
    | Ptr
    | Array
    | Composite
    | Enum
    | Fwd
    | Typedef
    | Qualifier
    | Func
    | FuncProto
    | Var
    | Datasec
    | DeclTag
)
