"""Argument and result types of every helper against the running kernel's own struct bpf_func_proto, in its memory.

The structs lie in the kernel's read-only data and are found by the helper's address in them, that of /proc/kallsyms.
A BPF program copies that data out. Layout and the names of numbers come from the kernel's BTF.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from kernel_bpf import address, bpf, create_map, instruction, load_program, run_program
from routebpf.objects.btf import Btf, read_btf_file
from routebpf.objects.btf_types import Composite, Enum, Kind
from routebpf.spec import HELPERS, Helper

CHUNK = 1 << 16
MAP_LOOKUP, MAP_UPDATE = 1, 2
# Helpers whose function is called otherwise; tail calls have none.
FUNCTIONS = {"bpf_get_prandom_u32": "bpf_user_rnd_u32", "bpf_lwt_push_encap": "bpf_lwt_xmit_push_encap"}
WITHOUT_FUNCTION = ("bpf_tail_call",)
ROWS = [row for row in HELPERS if row.program_types and row.name not in WITHOUT_FUNCTION]


class Proto(NamedTuple):
    gpl_only: bool
    packet_access: bool
    might_sleep: bool
    returns: str
    arguments: tuple[str, ...]


@pytest.fixture(scope="module")
def protos() -> dict[str, list[Proto]]:
    """The structs by the name of the function that they hold."""
    symbols = _symbols()
    memory = _copy(symbols["__start_rodata"], symbols["__start_ro_after_init"])
    names: dict[int, list[str]] = {}
    for name, at in symbols.items():
        if name.startswith("bpf_"):
            names.setdefault(at, []).append(name)
    read = _Reader(read_btf_file("/sys/kernel/btf/vmlinux"))
    found: dict[str, list[Proto]] = {}
    for at in range(0, len(memory) - read.size, 8):
        owners = names.get(struct.unpack_from("<Q", memory, at)[0])
        proto = read(memory, at) if owners else None
        if proto is not None:
            for name in owners or ():
                found.setdefault(name, []).append(proto)
    return found


def _symbols() -> dict[str, int]:
    with open("/proc/kallsyms") as file:
        split = (line.split()[:3] for line in file if "bpf_" in line or "__start_ro" in line)
        return {name: int(at, 16) for at, _, name in split}


def _copy(start: int, end: int) -> bytes:
    """The kernel's memory, by a program that copies as much as a map value holds at a time."""
    map_fd, _ = create_map(2, 4, CHUNK + 8, 1)
    assert map_fd is not None
    load_map = instruction(0x18, 1, 1, 0, map_fd) + instruction(0)
    code = (
        instruction(0x7A, 10, 0, -8)
        + load_map
        + instruction(0xBF, 2, 10)
        + instruction(0x07, 2, imm=-8)
        + instruction(0x85, imm=1)
        + instruction(0x55, 0, 0, 2)
        + instruction(0xB7, 0, imm=1)
        + instruction(0x95)
        + instruction(0x79, 3, 0)
        + instruction(0xBF, 1, 0)
        + instruction(0x07, 1, imm=8)
        + instruction(0xB7, 2, imm=CHUNK)
        + instruction(0x85, imm=113)
        + instruction(0x95)
    )
    program_fd, _, log = load_program(code)
    assert program_fd is not None, log
    key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(CHUNK + 8)
    element = struct.pack("<IIQQQ", map_fd, 0, address(key), address(value), 0)
    pieces = []
    for at in range(start, end, CHUNK):
        struct.pack_into("<Q", value, 0, at)
        assert bpf(MAP_UPDATE, element)[0] == 0
        assert run_program(program_fd)[:2] == (0, 0)
        assert bpf(MAP_LOOKUP, element)[0] == 0
        pieces.append(value.raw[8:])
    os.close(program_fd)
    os.close(map_fd)
    return b"".join(pieces)


class _Reader:
    """Reads a struct bpf_func_proto, None where there is something else."""

    def __init__(self, kernel: Btf) -> None:
        found = kernel.find("bpf_func_proto", Kind.STRUCT)
        proto = kernel.type(found or 0)
        assert isinstance(proto, Composite)
        self.size = proto.size
        self.at = dict(_members(kernel, proto, 0))
        self.arguments = dict(_values(kernel, "bpf_arg_type"))
        self.returns = dict(_values(kernel, "bpf_return_type"))
        self.flags = [one for one in _values(kernel, "bpf_type_flag") if not one[1].startswith("__")]

    def __call__(self, memory: bytes, at: int) -> Proto | None:
        flags = [memory[at + self.at[name]] for name in ("gpl_only", "pkt_access", "might_sleep")]
        returns = struct.unpack_from("<I", memory, at + self.at["ret_type"])[0]
        arguments = struct.unpack_from("<5I", memory, at + self.at["arg1_type"])
        if max(flags) > 1 or returns & 0xFF not in self.returns:
            return None
        if any(one & 0xFF not in self.arguments for one in arguments):
            return None
        spelled = (self._spell(one, self.arguments) for one in arguments if one)
        return Proto(*map(bool, flags), self._spell(returns, self.returns), tuple(spelled))

    def _spell(self, number: int, names: dict[int, str]) -> str:
        return "|".join([names[number & 0xFF], *sorted(name for bit, name in self.flags if number & bit)])


def _members(kernel: Btf, composite: Composite, base: int) -> Iterator[tuple[str, int]]:
    for member in composite.members:
        at = base + member.bit_offset // 8
        _, inner = kernel.strip(member.type_id)
        if not member.name and isinstance(inner, Composite):
            yield from _members(kernel, inner, at)
        yield member.name, at


def _values(kernel: Btf, name: str) -> list[tuple[int, str]]:
    """(number, name) of an enum, the first name of each number."""
    enum = kernel.type(kernel.find(name, Kind.ENUM) or 0)
    assert isinstance(enum, Enum)
    return [(value, one) for one, value in reversed(enum.values)]


def spelled(text: str) -> str:
    kind, *flags = text.split("|")
    return "|".join([kind, *sorted(flags)])


@pytest.mark.kernel
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_of_arguments_and_result_what_the_kernel_s_proto_says(
    row: Helper, protos: dict[str, list[Proto]]
) -> None:
    assert row.returns is not None
    ours = Proto(
        row.gpl_only,
        row.packet_access,
        row.might_sleep,
        spelled(str(row.returns)),
        tuple(spelled(str(one.type)) for one in row.arguments),
    )
    assert ours in protos[FUNCTIONS.get(row.name, row.name)]
