"""A program's instructions and debug records as BPF_PROG_LOAD takes them: names become fds and ids of this kernel.

kernel: kernel/bpf/verifier.c, resolve_pseudo_ldimm64(), add_subprog_and_kfunc(), check_btf_info().
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from routebpf.errors import InputError
from routebpf.isa import Instruction, encode, load_wide
from routebpf.isa.opcodes import (
    CALL,
    LDDW,
    PSEUDO_BTF_ID,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
)
from routebpf.kernel.kernel_btf import function_id, symbol_address, variable_id
from routebpf.objects.model import Program

_FUNCTION = struct.Struct("<II")  # struct bpf_func_info
_LINE = struct.Struct("<IIII")  # struct bpf_line_info
_MAP_SOURCES = {PSEUDO_MAP_IDX: PSEUDO_MAP_FD, PSEUDO_MAP_IDX_VALUE: PSEUDO_MAP_VALUE}


class Records(NamedTuple):
    """An array of records of one size."""

    data: bytes
    entries: int
    record_bytes: int


def code_for_kernel(program: Program, map_fds: Sequence[int]) -> bytes:
    """The bytes of the instructions; `map_fds` are of `program.maps`, in its order.

    Maps are named by fd, not by their index in an array of fds: every kernel takes that, and the tag leaves fds out.
    Raises InputError, with the place in the source, for a kfunc or ksym that this kernel does not have.
    """
    code = list(program.instructions)
    for at, one in enumerate(program.instructions):
        if one.opcode == CALL and one.src == PSEUDO_KFUNC_CALL:
            name = program.kfuncs[one.imm]
            code[at] = Instruction(CALL, one.dst, one.src, 0, _at(program, at, function_id, name))
        elif one.opcode == LDDW and one.src in _MAP_SOURCES:
            code[at] = Instruction(LDDW, one.dst, _MAP_SOURCES[one.src], 0, map_fds[one.imm])
        elif one.opcode == LDDW and one.src == PSEUDO_BTF_ID:
            code[at : at + 2] = _kernel_symbol(program, at, one)
    return encode(code)


def _kernel_symbol(program: Program, at: int, one: Instruction) -> tuple[Instruction, Instruction]:
    """A typed variable by its id, so that programs may read it; any other symbol is only an address."""
    name = program.ksyms[one.imm]
    found = variable_id(name)
    if found is not None:
        return load_wide(one.dst, found, PSEUDO_BTF_ID)
    return load_wide(one.dst, _at(program, at, symbol_address, name))


def _at(program: Program, instruction: int, find: Callable[[str], int], name: str) -> int:
    """What `find` finds, or its error with the place that refers to the name."""
    try:
        return find(name)
    except InputError as error:
        line = program.line_at(instruction)
        place = f"{line.file}:{line.line}" if line else f"instruction {instruction}"
        raise InputError(f"program {program.name}: {place}: {error}") from error


def function_info(program: Program) -> Records:
    """Where each function starts, and its type."""
    data = b"".join(_FUNCTION.pack(one.start, one.btf_type_id) for one in program.functions)
    return Records(data, len(program.functions), _FUNCTION.size)


def line_info(program: Program) -> Records:
    """The source lines, which the verifier quotes in its log."""
    data = b"".join(
        _LINE.pack(one.instruction, one.file_offset, one.text_offset, one.line << 10 | one.column)
        for one in program.lines
    )
    return Records(data, len(program.lines), _LINE.size)
