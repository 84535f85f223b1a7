"""Instructions of BPF (ISA v4, RFC 9669): decode, encode, assemble, disassemble. Opcodes are in `isa.opcodes`."""

from routebpf.isa.assemble import assemble
from routebpf.isa.disassemble import Names, disassemble, disassemble_lines, disassemble_one
from routebpf.isa.instruction import SLOT_BYTES, Instruction, decode, encode, load_wide, signed32, wide_immediate
from routebpf.isa.opcodes import FORMS, AtomicKind, Form, Kind

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
