"""Instructions of BPF (ISA v4, RFC 9669): decode, encode, assemble, disassemble. Opcodes are in `isa.opcodes`.

Most commands have nothing to do with text: what reads and writes it is imported at its first use.
"""

from typing import TYPE_CHECKING

from routebpf import importer
from routebpf.isa.instruction import SLOT_BYTES, Instruction, decode, encode, load_wide, signed32, wide_immediate
from routebpf.isa.opcodes import FORMS, AtomicKind, Form, Kind

if TYPE_CHECKING:
    from routebpf.isa.assembler import assemble
    from routebpf.isa.disassembler import Names, disassemble, disassemble_lines, disassemble_one

_MODULES = {
    "Names": "disassembler",
    "assemble": "assembler",
    "disassemble": "disassembler",
    "disassemble_lines": "disassembler",
    "disassemble_one": "disassembler",
}
__all__ = [
    "FORMS",
    "SLOT_BYTES",
    "AtomicKind",
    "Form",
    "Instruction",
    "Kind",
    "Names",
    "assemble",
    "decode",
    "disassemble",
    "disassemble_lines",
    "disassemble_one",
    "encode",
    "load_wide",
    "signed32",
    "wide_immediate",
]


__getattr__ = importer(__name__, _MODULES)
