"""The row of a kfunc, and what its C prototype says about its arguments.

The kernel reads the same from a kfunc's BTF: the types of its parameters, and endings of their names (__sz, __ign…).
kernel: Documentation/bpf/kfuncs.rst, kernel/bpf/verifier.c, get_kfunc_ptr_arg_type(); include/linux/btf.h, KF_*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag

from routebpf.spec.arguments import Extent, split_prototype
from routebpf.spec.program_types import LWT


class KfuncFlag(IntFlag):
    """`KF_*`, with the kernel's numbers."""

    ACQUIRE = 1 << 0
    RELEASE = 1 << 1
    RET_NULL = 1 << 2
    TRUSTED_ARGS = 1 << 4
    SLEEPABLE = 1 << 5
    RCU = 1 << 7
    ITER_NEW = 1 << 8
    ITER_NEXT = 1 << 9
    ITER_DESTROY = 1 << 10
    RCU_PROTECTED = 1 << 11
    FASTCALL = 1 << 12
    ARENA_RET = 1 << 13
    ARENA_ARG1 = 1 << 14
    ARENA_ARG2 = 1 << 15


_NO_FLAGS = KfuncFlag(0)


class KfuncArgKind(Enum):
    """What may be passed; the kernel's KF_ARG_* and the endings that make an argument special."""

    SCALAR = "a number"
    CONSTANT = "a number known when the program is loaded"
    SIZE = "the bytes of the memory before it"
    CONTEXT = "the context"
    DYNPTR = "a dynptr on the stack"
    ITERATOR = "an iterator on the stack"
    MAP = "a map"
    MEMORY = "memory, its bytes in the next argument"
    CONST_STR = "text in a read-only map"
    OBJECT = "a kernel object of a BTF type"
    CALLBACK = "a function of the program"
    WORKQUEUE = "a bpf_wq in a map value"
    TASK_WORK = "a bpf_task_work in a map value"
    RES_SPIN_LOCK = "a bpf_res_spin_lock in a map value"
    IRQ_FLAG = "a saved interrupt flag on the stack"
    UNCHECKED = "anything; the kernel does not look at it"
    PROGRAM = "anything; the kernel puts its own pointer there"


@dataclass(frozen=True, slots=True)
class KfuncArgument:
    """An argument of a kfunc; `extent`, `size_argument`, `size_bytes`, `reads` and `writes` as for a helper's."""

    name: str
    c_type: str
    kind: KfuncArgKind
    extent: Extent = Extent.NONE
    size_argument: int | None = None
    size_bytes: int = 0
    reads: bool = False
    writes: bool = False
    may_be_null: bool = False


@dataclass(frozen=True, slots=True)
class Kfunc:
    """A kernel function that programs call by its name; every one needs a GPL-compatible licence.

    `since` is the kernel that brought it. `might_sleep`: only callbacks that may sleep (of a bpf_wq) can call it.
    """

    name: str
    since: tuple[int, int]
    prototype: str
    arguments: tuple[KfuncArgument, ...]
    c_return_type: str
    doc: str
    flags: KfuncFlag
    program_types: frozenset[str]
    might_sleep: bool

    @property
    def returns_pointer(self) -> bool:
        return self.c_return_type.endswith("*")


def kfunc(
    since: tuple[int, int],
    prototype: str,
    doc: str,
    flags: KfuncFlag = _NO_FLAGS,
    *,
    only_in_sleepable: bool = False,
) -> Kfunc:
    """A row. `only_in_sleepable` is for one that the kernel keeps from others without a flag that says so."""
    result, name, parameters = split_prototype(prototype)
    might_sleep = only_in_sleepable or KfuncFlag.SLEEPABLE in flags
    makes_first = KfuncFlag.ITER_NEW in flags
    arguments = tuple(
        _argument(name, position, *one, is_made=makes_first and position == 0)
        for position, one in enumerate(parameters)
    )
    return Kfunc(name, since, prototype, arguments, result, doc, flags, LWT, might_sleep)


# By the ending of the parameter's name; by the C type that a pointer is to, with its size in bytes.
_BY_ENDING = {
    "__ign": KfuncArgKind.UNCHECKED,
    "__prog": KfuncArgKind.PROGRAM,
    "__map": KfuncArgKind.MAP,
    "__str": KfuncArgKind.CONST_STR,
    "__sz": KfuncArgKind.SIZE,
    "__szk": KfuncArgKind.SIZE,
    "__k": KfuncArgKind.CONSTANT,
    "__irq_flag": KfuncArgKind.IRQ_FLAG,
}
_BY_TYPE = {
    "struct __sk_buff": (KfuncArgKind.CONTEXT, 0),
    "struct bpf_map": (KfuncArgKind.MAP, 0),
    "struct bpf_dynptr": (KfuncArgKind.DYNPTR, 16),
    "struct bpf_wq": (KfuncArgKind.WORKQUEUE, 16),
    "struct bpf_task_work": (KfuncArgKind.TASK_WORK, 8),
    "struct bpf_res_spin_lock": (KfuncArgKind.RES_SPIN_LOCK, 4),
    "struct bpf_iter_num": (KfuncArgKind.ITERATOR, 8),
    "struct bpf_iter_bits": (KfuncArgKind.ITERATOR, 16),
    "struct bpf_iter_css": (KfuncArgKind.ITERATOR, 24),
    "struct bpf_iter_css_task": (KfuncArgKind.ITERATOR, 8),
    "struct bpf_iter_task": (KfuncArgKind.ITERATOR, 24),
    "struct bpf_iter_task_vma": (KfuncArgKind.ITERATOR, 8),
    "struct bpf_iter_kmem_cache": (KfuncArgKind.ITERATOR, 8),
    "struct bpf_iter_dmabuf": (KfuncArgKind.ITERATOR, 8),
}
# Parameters whose C type says less than the kernel asks of them.
_SPECIAL = {("bpf_cast_to_kern_ctx", "obj"): KfuncArgKind.CONTEXT}
_IRQ_FLAG_BYTES = 8
# Those that put something where the flag is to be; the others take it from there. kernel: process_irq_flag().
_IRQ_SAVING = frozenset({"bpf_local_irq_save", "bpf_res_spin_lock_irqsave"})


def _argument(function: str, position: int, c_type: str, name: str, *, is_made: bool) -> KfuncArgument:
    """An argument. `is_made`: the function puts an object there, over whatever there was."""
    base, _, rest = name.partition("__")
    ending = f"__{rest}" if rest else ""
    kind, size_bytes = _kind(function, c_type, name, ending)
    writes = not c_type.startswith("const ")
    may_be_null = ending in ("__opt", "__nullable")
    if kind is KfuncArgKind.MEMORY:
        return KfuncArgument(base, c_type, kind, Extent.ARGUMENT, position + 1, 0, not writes, writes, may_be_null)
    if kind is KfuncArgKind.CONST_STR:
        return KfuncArgument(base, c_type, kind, Extent.STRING, reads=True)
    if size_bytes:
        is_made |= ending == "__uninit" or (kind is KfuncArgKind.IRQ_FLAG and function in _IRQ_SAVING)
        return KfuncArgument(base, c_type, kind, Extent.FIXED, None, size_bytes, not is_made, writes)
    return KfuncArgument(base, c_type, kind, may_be_null=may_be_null)


def _kind(function: str, c_type: str, name: str, ending: str) -> tuple[KfuncArgKind, int]:
    """The kind of an argument, and the bytes behind it where they are fixed."""
    named = _SPECIAL.get((function, name)) or _BY_ENDING.get(ending)
    if named is not None:
        return named, _IRQ_FLAG_BYTES if named is KfuncArgKind.IRQ_FLAG else 0
    if "(*)" in c_type or c_type.endswith("callback_t"):
        return KfuncArgKind.CALLBACK, 0
    if not c_type.endswith("*"):
        return KfuncArgKind.SCALAR, 0
    if c_type.endswith("void *"):
        return KfuncArgKind.MEMORY, 0
    return _BY_TYPE.get(c_type.removeprefix("const ").rstrip(" *"), (KfuncArgKind.OBJECT, 0))
