"""What an object file says, once read, relocated and linked: values, no behaviour beyond finding a program.

Everything here is symbolic: an instruction names a map, a kfunc or a ksym by its index into the program's own tuples
of names, so the same `Program` serves the embedded host and the kernel. The forms, by `src` of the instruction:

    lddw, BPF_PSEUDO_MAP_IDX (5)        imm = index into Program.maps
    lddw, BPF_PSEUDO_MAP_IDX_VALUE (6)  the same, and imm of the second slot = offset into the map's only value
    lddw, BPF_PSEUDO_BTF_ID (3)         imm = index into Program.ksyms
    lddw, BPF_PSEUDO_FUNC (4)           imm = callback - (this instruction + 1), in instructions
    call, BPF_PSEUDO_CALL (1)           imm = callee - (this instruction + 1), in instructions
    call, BPF_PSEUDO_KFUNC_CALL (2)     imm = index into Program.kfuncs
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from routebpf.errors import InputError

if TYPE_CHECKING:
    from routebpf.isa import Instruction
    from routebpf.objects.btf import Btf


class MapKind(StrEnum):
    """Where a map definition came from."""

    BTF = "btf"  # a variable of section .maps
    LEGACY = "legacy"  # a struct of section maps
    DATA = "data"  # section .data*, global variables
    RODATA = "rodata"  # section .rodata*, constants: frozen once loaded
    BSS = "bss"  # section .bss*, zeroed global variables
    KCONFIG = "kconfig"  # externs of section .kconfig


class ExternKind(StrEnum):
    """What an `extern` of a program names."""

    KFUNC = "kfunc"  # a kernel function, called or tested for existence
    KSYM = "ksym"  # a kernel variable
    KCONFIG = "kconfig"  # a kernel configuration value


PROG_ARRAY = 3  # a MapDefinition.type whose initial slots are programs; those of other types are maps


class MapDefinition(NamedTuple):
    """A map as the object declares it; nothing is created yet.

    Sizes in bytes. `type` and `flags` are the kernel's numbers (`enum bpf_map_type`, `BPF_F_*`). `max_entries` 0 is
    left as written (a perf event array takes the number of CPUs). `section` and `offset` say where it stands in the
    file. `initial_slots` says which map or program, by name, a slot holds from the start.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    numa_node: int = 0
    pinning: int = 0  # 0 none, 1 by name (libbpf); iproute2's 1 object namespace, 2 global namespace
    map_extra: int = 0
    section: str = ""
    offset: int = 0
    kind: MapKind = MapKind.BTF
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    inner: MapDefinition | None = None
    initial_slots: Mapping[int, str] = MappingProxyType({})
    data: bytes | None = None  # the initial value of the single entry, for data kinds
    read_only: bool = False


class Extern(NamedTuple):
    """An `extern` the object refers to. `typed` is false for `extern const void x __ksym`."""

    name: str
    kind: ExternKind
    weak: bool
    btf_type_id: int
    typed: bool = True


class Function(NamedTuple):
    """A function in `Program.instructions`: `start` inclusive, `end` exclusive. `btf_type_id` 0: no BTF."""

    name: str
    start: int
    end: int
    btf_type_id: int
    is_global: bool


class LineInfo(NamedTuple):
    """The C source of the instructions from `instruction` up to the next record. `column` counts bytes, from 1."""

    instruction: int
    file: str
    line: int
    column: int
    text: str
    file_offset: int = 0  # of `file` and `text` in the BTF string section, as bpf(2) wants them
    text_offset: int = 0

    @property
    def letter(self) -> int:
        """`column` in characters of `text`: one that is not ASCII has several bytes."""
        if not self.column or self.text.isascii():
            return self.column
        return len(self.text.encode()[: self.column - 1].decode(errors="replace")) + 1


class Poison(NamedTuple):
    """An instruction that must not be reached, because what it refers to is not there (a field, a weak kfunc)."""

    instruction: int
    reason: str


class Program(NamedTuple):
    """One program with every function it uses linked in after it, each exactly once.

    `program_type` is "LWT_IN", "LWT_OUT" or "LWT_XMIT". `instructions[i]` is the kernel's instruction i: an lddw takes
    two.
    """

    name: str
    section: str
    program_type: str
    instructions: tuple[Instruction, ...]
    functions: tuple[Function, ...]
    lines: tuple[LineInfo, ...] = ()
    maps: tuple[str, ...] = ()
    kfuncs: tuple[str, ...] = ()
    ksyms: tuple[str, ...] = ()
    poisons: tuple[Poison, ...] = ()

    def line_at(self, instruction: int) -> LineInfo | None:
        """The source line that `instruction` belongs to, or None if the object does not say."""
        function = self.function_at(instruction)
        position = bisect_right(self.lines, instruction, key=lambda line: line.instruction)
        if function is None or not position:
            return None
        line = self.lines[position - 1]
        return line if line.instruction >= function.start else None

    def function_at(self, instruction: int) -> Function | None:
        """The function that `instruction` belongs to, or None if it is outside the program."""
        position = bisect_right(self.functions, instruction, key=lambda function: function.start)
        function = self.functions[position - 1] if position else None
        return function if function and instruction < function.end else None


class Object(NamedTuple):
    """A compiled BPF ELF file. `maps` keeps the file's order. `sections`: the executable ones, with their functions."""

    path: str
    license: str
    version: int
    programs: Mapping[str, Program]
    maps: Mapping[str, MapDefinition]
    btf: Btf | None
    externs: Mapping[str, Extern]
    sections: Mapping[str, tuple[str, ...]]

    def program(self, selector: str | None = None) -> Program:
        """The program that `selector` names: a function, or a section that holds one program.

        None takes the only one, those aside that a program array holds. Raises InputError that lists what there is to
        choose from.
        """
        if selector is None:
            held = {name for one in self.maps.values() for name in one.initial_slots.values()}
            entries = [program for program in self.programs.values() if program.name not in held]
            if len(entries) == 1:
                return entries[0]
            raise InputError(f"{self.path}: it holds {len(self.programs)} programs; choose one: {self._choices()}")
        if selector in self.programs:
            return self.programs[selector]
        inside = [program for program in self.programs.values() if program.section == selector]
        if len(inside) == 1:
            return inside[0]
        if inside:
            names = ", ".join(program.name for program in inside)
            raise InputError(f"{self.path}: section {selector} holds {len(inside)} programs; choose one of {names}")
        raise InputError(f"{self.path}: no section or function named {selector}; it has {self._choices()}")

    def _choices(self) -> str:
        return ", ".join(f"{p.name} (section {p.section}, {p.program_type})" for p in self.programs.values())
