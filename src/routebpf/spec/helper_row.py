"""The row of a helper, and the vocabulary that rows are written in."""

from __future__ import annotations

from dataclasses import dataclass

from routebpf.spec.arguments import (
    ArgKind,
    ArgType,
    Argument,
    ReturnKind,
    ReturnType,
    TypeFlag,
    name_arguments,
)
from routebpf.spec.program_types import LWT as LWT

XMIT = frozenset({"LWT_XMIT"})
IN_XMIT = frozenset({"LWT_IN", "LWT_XMIT"})
PERFMON = "CAP_PERFMON"
FIRST_LWT = (4, 10)


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper function of the kernel.

    `since` is the kernel that brought it, `lwt_since` the first whose LWT programs have it; `program_types` is empty
    for one that no LWT program has, and then `prototype`, `arguments` and `returns` are not given. `arguments` are
    those that the kernel checks: one whose prototype ends with `...` takes more. `capability` is what it needs beyond
    CAP_BPF and CAP_NET_ADMIN. `moves_packet`: pointers to the packet are void after it. `packet_access`: its memory
    arguments may point to the packet. `might_sleep`: only callbacks that may sleep (of a bpf_wq) can call it.
    """

    id: int
    name: str
    since: tuple[int, int]
    prototype: str = ""
    arguments: tuple[Argument, ...] = ()
    returns: ReturnType | None = None
    program_types: frozenset[str] = frozenset()
    doc: str = ""
    gpl_only: bool = False
    capability: str = ""
    lwt_since: tuple[int, int] | None = None
    moves_packet: bool = False
    packet_access: bool = False
    might_sleep: bool = False


def helper(
    number: int,
    since: tuple[int, int],
    prototype: str,
    arguments: tuple[ArgType, ...],
    returns: ReturnType,
    program_types: frozenset[str],
    doc: str,
    *,
    gpl_only: bool = False,
    capability: str = "",
    lwt_since: tuple[int, int] = FIRST_LWT,
    moves_packet: bool = False,
    packet_access: bool = False,
    might_sleep: bool = False,
) -> Helper:
    """A row: its name and the names of its arguments stand in the prototype."""
    return Helper(
        number,
        prototype[: prototype.index("(")].rpartition(" ")[2].lstrip("*"),
        since,
        prototype,
        name_arguments(prototype, arguments),
        returns,
        program_types,
        doc,
        gpl_only,
        capability,
        max(since, lwt_since),
        moves_packet,
        packet_access,
        might_sleep,
    )


_NULL, _OUT = TypeFlag.PTR_MAYBE_NULL, TypeFlag.MEM_UNINIT | TypeFlag.MEM_WRITE

# What helpers take.
MAP = ArgType(ArgKind.CONST_MAP_PTR)
KEY = ArgType(ArgKind.PTR_TO_MAP_KEY)
VALUE = ArgType(ArgKind.PTR_TO_MAP_VALUE)
VALUE_OUT = ArgType(ArgKind.PTR_TO_MAP_VALUE, _OUT)
VALUE_OR_NULL = ArgType(ArgKind.PTR_TO_MAP_VALUE, _NULL)
MEM = ArgType(ArgKind.PTR_TO_MEM, TypeFlag.MEM_RDONLY)
MEM_OR_NULL = ArgType(ArgKind.PTR_TO_MEM, TypeFlag.MEM_RDONLY | _NULL)
MEM_OUT = ArgType(ArgKind.PTR_TO_MEM, _OUT)
MEM_WRITE = ArgType(ArgKind.PTR_TO_MEM, TypeFlag.MEM_WRITE)
MEM_WRITE_OR_NULL = ArgType(ArgKind.PTR_TO_MEM, TypeFlag.MEM_WRITE | _NULL)
LONG_OUT = ArgType(ArgKind.PTR_TO_MEM, _OUT | TypeFlag.MEM_FIXED_SIZE | TypeFlag.MEM_ALIGNED, 8)
SIZE = ArgType(ArgKind.CONST_SIZE)
SIZE_OR_ZERO = ArgType(ArgKind.CONST_SIZE_OR_ZERO)
ALLOC_SIZE = ArgType(ArgKind.CONST_ALLOC_SIZE_OR_ZERO)
CTX = ArgType(ArgKind.PTR_TO_CTX)
ANY = ArgType(ArgKind.ANYTHING)
SPIN_LOCK = ArgType(ArgKind.PTR_TO_SPIN_LOCK)
TIMER = ArgType(ArgKind.PTR_TO_TIMER)
BTF_ID = ArgType(ArgKind.PTR_TO_BTF_ID)
BTF_ID_OR_NULL = ArgType(ArgKind.PTR_TO_BTF_ID, _NULL)
BTF_ID_RELEASED = ArgType(ArgKind.PTR_TO_BTF_ID, _NULL | TypeFlag.OBJ_RELEASE)
SOCK = ArgType(ArgKind.PTR_TO_BTF_ID_SOCK_COMMON)
SOCK_COMMON = ArgType(ArgKind.PTR_TO_SOCK_COMMON)
PERCPU_BTF_ID = ArgType(ArgKind.PTR_TO_PERCPU_BTF_ID)
RECORD = ArgType(ArgKind.PTR_TO_RINGBUF_MEM, TypeFlag.OBJ_RELEASE)
FUNC = ArgType(ArgKind.PTR_TO_FUNC)
STACK_OR_NULL = ArgType(ArgKind.PTR_TO_STACK, _NULL)
CONST_STR = ArgType(ArgKind.PTR_TO_CONST_STR)
KPTR = ArgType(ArgKind.KPTR_XCHG_DEST)
DYNPTR = ArgType(ArgKind.PTR_TO_DYNPTR, TypeFlag.MEM_RDONLY)
DYNPTR_LOCAL_OUT = ArgType(ArgKind.PTR_TO_DYNPTR, _OUT | TypeFlag.DYNPTR_TYPE_LOCAL)
DYNPTR_RECORD_OUT = ArgType(ArgKind.PTR_TO_DYNPTR, _OUT | TypeFlag.DYNPTR_TYPE_RINGBUF)
DYNPTR_RECORD = ArgType(ArgKind.PTR_TO_DYNPTR, TypeFlag.OBJ_RELEASE | TypeFlag.DYNPTR_TYPE_RINGBUF)

# What helpers return.
INTEGER = ReturnType(ReturnKind.INTEGER)
VOID = ReturnType(ReturnKind.VOID)
MAP_VALUE_OR_NULL = ReturnType(ReturnKind.PTR_TO_MAP_VALUE, _NULL)
RECORD_OR_NULL = ReturnType(ReturnKind.PTR_TO_MEM, _NULL | TypeFlag.MEM_RINGBUF)
MEMORY_OR_NULL = ReturnType(ReturnKind.PTR_TO_MEM, _NULL)
OBJECT = ReturnType(ReturnKind.PTR_TO_BTF_ID)
OBJECT_OR_NULL = ReturnType(ReturnKind.PTR_TO_BTF_ID, _NULL)
TRUSTED_OBJECT = ReturnType(ReturnKind.PTR_TO_BTF_ID, TypeFlag.PTR_TRUSTED)
PERCPU = ReturnType(ReturnKind.PTR_TO_MEM_OR_BTF_ID, TypeFlag.MEM_RDONLY)
PERCPU_OR_NULL = ReturnType(ReturnKind.PTR_TO_MEM_OR_BTF_ID, TypeFlag.MEM_RDONLY | _NULL)
