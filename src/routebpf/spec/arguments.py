"""What the kernel says of a helper's arguments and result, and the rows that say it for each function.

kernel: include/linux/bpf.h, enum bpf_arg_type, enum bpf_return_type, enum bpf_type_flag, struct bpf_func_proto. The
members are the kernel's names without their prefix; `str()` of a type gives the kernel's own spelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag


class ArgKind(Enum):
    """`ARG_*`: what may be passed."""

    CONST_MAP_PTR = "ARG_CONST_MAP_PTR"
    PTR_TO_MAP_KEY = "ARG_PTR_TO_MAP_KEY"
    PTR_TO_MAP_VALUE = "ARG_PTR_TO_MAP_VALUE"
    PTR_TO_MEM = "ARG_PTR_TO_MEM"
    CONST_SIZE = "ARG_CONST_SIZE"
    CONST_SIZE_OR_ZERO = "ARG_CONST_SIZE_OR_ZERO"
    CONST_ALLOC_SIZE_OR_ZERO = "ARG_CONST_ALLOC_SIZE_OR_ZERO"
    PTR_TO_CTX = "ARG_PTR_TO_CTX"
    ANYTHING = "ARG_ANYTHING"
    PTR_TO_SPIN_LOCK = "ARG_PTR_TO_SPIN_LOCK"
    PTR_TO_TIMER = "ARG_PTR_TO_TIMER"
    PTR_TO_SOCK_COMMON = "ARG_PTR_TO_SOCK_COMMON"
    PTR_TO_BTF_ID = "ARG_PTR_TO_BTF_ID"
    PTR_TO_BTF_ID_SOCK_COMMON = "ARG_PTR_TO_BTF_ID_SOCK_COMMON"
    PTR_TO_PERCPU_BTF_ID = "ARG_PTR_TO_PERCPU_BTF_ID"
    PTR_TO_RINGBUF_MEM = "ARG_PTR_TO_RINGBUF_MEM"
    PTR_TO_FUNC = "ARG_PTR_TO_FUNC"
    PTR_TO_STACK = "ARG_PTR_TO_STACK"
    PTR_TO_CONST_STR = "ARG_PTR_TO_CONST_STR"
    KPTR_XCHG_DEST = "ARG_KPTR_XCHG_DEST"
    PTR_TO_DYNPTR = "ARG_PTR_TO_DYNPTR"


class ReturnKind(Enum):
    """`RET_*`: what comes back in r0."""

    INTEGER = "RET_INTEGER"
    VOID = "RET_VOID"
    PTR_TO_MAP_VALUE = "RET_PTR_TO_MAP_VALUE"
    PTR_TO_MEM = "RET_PTR_TO_MEM"
    PTR_TO_MEM_OR_BTF_ID = "RET_PTR_TO_MEM_OR_BTF_ID"
    PTR_TO_BTF_ID = "RET_PTR_TO_BTF_ID"


class TypeFlag(IntFlag):
    """`enum bpf_type_flag`, by name; the numbers are ours, because the kernel's differ between versions."""

    PTR_MAYBE_NULL = 1
    MEM_RDONLY = 2
    MEM_UNINIT = 4
    MEM_WRITE = 8
    MEM_FIXED_SIZE = 16
    MEM_ALIGNED = 32
    MEM_RINGBUF = 64
    OBJ_RELEASE = 128
    PTR_TRUSTED = 256
    DYNPTR_TYPE_LOCAL = 512
    DYNPTR_TYPE_RINGBUF = 1024


NO_FLAGS = TypeFlag(0)


class Extent(Enum):
    """How far the memory goes that an argument points to."""

    NONE = "no memory that the function reads or writes by this argument"
    ARGUMENT = "as many bytes as another argument says"
    FIXED = "a fixed number of bytes"
    MAP_KEY = "a key of the map that is passed too"
    MAP_VALUE = "a value of the map that is passed too"
    STRING = "up to a zero byte"
    RECORD = "the ring buffer record that it starts"


@dataclass(frozen=True, slots=True)
class ArgType:
    """A kind with its flags. `size_bytes` belongs to MEM_FIXED_SIZE."""

    kind: ArgKind
    flags: TypeFlag = NO_FLAGS
    size_bytes: int = 0

    def __str__(self) -> str:
        return _spell(self.kind.value, self.flags)


@dataclass(frozen=True, slots=True)
class ReturnType:
    """A kind with its flags."""

    kind: ReturnKind
    flags: TypeFlag = NO_FLAGS

    def __str__(self) -> str:
        return _spell(self.kind.value, self.flags)

    @property
    def is_pointer(self) -> bool:
        return self.kind not in (ReturnKind.INTEGER, ReturnKind.VOID)

    @property
    def may_be_null(self) -> bool:
        return TypeFlag.PTR_MAYBE_NULL in self.flags


def _spell(name: str, flags: TypeFlag) -> str:
    return "|".join([name, *(flag.name or "" for flag in TypeFlag if flag in flags)])


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a helper: its name and C type, and what the kernel takes there.

    `extent` says how far the memory behind it goes: with ARGUMENT, `size_argument` is the position (from 0) of the
    argument that holds its bytes; with FIXED, `size_bytes` are. `reads` and `writes` say what the helper does to it.
    """

    name: str
    c_type: str
    type: ArgType
    extent: Extent
    size_argument: int | None = None
    size_bytes: int = 0

    @property
    def kind(self) -> ArgKind:
        return self.type.kind

    @property
    def flags(self) -> TypeFlag:
        return self.type.flags

    @property
    def may_be_null(self) -> bool:
        return TypeFlag.PTR_MAYBE_NULL in self.type.flags

    @property
    def reads(self) -> bool:
        return self.extent is not Extent.NONE and not self.type.flags & (TypeFlag.MEM_UNINIT | TypeFlag.MEM_WRITE)

    @property
    def writes(self) -> bool:
        return TypeFlag.MEM_WRITE in self.type.flags or self.type.kind in _WRITTEN


_WRITTEN = (ArgKind.PTR_TO_SPIN_LOCK, ArgKind.PTR_TO_TIMER, ArgKind.KPTR_XCHG_DEST)
# sizeof(struct bpf_spin_lock), bpf_timer, bpf_dynptr, and of a kptr.
_FIXED_BYTES = {
    ArgKind.PTR_TO_SPIN_LOCK: 4,
    ArgKind.PTR_TO_TIMER: 16,
    ArgKind.PTR_TO_DYNPTR: 16,
    ArgKind.KPTR_XCHG_DEST: 8,
}
_EXTENTS = {
    ArgKind.PTR_TO_MAP_KEY: Extent.MAP_KEY,
    ArgKind.PTR_TO_MAP_VALUE: Extent.MAP_VALUE,
    ArgKind.PTR_TO_CONST_STR: Extent.STRING,
    ArgKind.PTR_TO_RINGBUF_MEM: Extent.RECORD,
}


def name_arguments(prototype: str, types: tuple[ArgType, ...]) -> tuple[Argument, ...]:
    """Join a C prototype and what the kernel takes: as many arguments as `types` has.

    The size of memory stands in the argument after it (kernel: check_func_arg(), ARG_CONST_SIZE).
    """
    named = split_prototype(prototype)[2]
    arguments = []
    for position, (one, (c_type, name)) in enumerate(zip(types, named, strict=False)):
        extent, size_argument, size_bytes = _EXTENTS.get(one.kind, Extent.NONE), None, 0
        if one.size_bytes or one.kind in _FIXED_BYTES:
            extent, size_bytes = Extent.FIXED, one.size_bytes or _FIXED_BYTES[one.kind]
        elif one.kind is ArgKind.PTR_TO_MEM:
            extent, size_argument = Extent.ARGUMENT, position + 1
        arguments.append(Argument(name, c_type, one, extent, size_argument, size_bytes))
    return tuple(arguments)


def split_prototype(prototype: str) -> tuple[str, str, list[tuple[str, str]]]:
    """(type of the result, name, (type, name) of each parameter) of a C prototype; "..." is left out."""
    head, _, tail = prototype.partition("(")
    result, name = _split_name(head)
    parameters = tail[: tail.rindex(")")]
    if parameters == "void":
        return result, name, []
    return result, name, [_split_name(one) for one in _split_commas(parameters) if one != "..."]


def _split_commas(parameters: str) -> list[str]:
    """The parameters; a comma inside parentheses separates none."""
    found = [""]
    depth = 0
    for character in parameters:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return [one.strip() for one in found]


def _split_name(declaration: str) -> tuple[str, str]:
    """(C type, name) of "const char *fmt", or of a pointer to a function "int (*callback)(void *)"."""
    if "(*" in declaration:
        name = declaration.partition("(*")[2].partition(")")[0]
        return declaration.replace(f"(*{name})", "(*)"), name
    start = max(declaration.rfind(" "), declaration.rfind("*")) + 1
    return declaration[:start].strip(), declaration[start:]
