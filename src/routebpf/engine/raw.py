"""Bare instructions: run once over some memory, as the test suites of the instruction set do."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from routebpf.engine.interpreter import interpret
from routebpf.engine.interpreter_regions import Region
from routebpf.isa import Instruction
from routebpf.objects.model import Program
from routebpf.runtime.memory import Memory
from routebpf.verifier.bare import RAW, bare_facts

_RAW_ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


def run_raw(
    instructions: Sequence[Instruction], memory: bytes = b"", *, engine: str = "interpreter"
) -> tuple[int, bytes]:
    """Run with r1 = the address of `memory` and r2 = its size: (r0, unsigned 64-bit; the memory after it).

    `engine` is "interpreter", which checks every access, or "jit", which checks none. Raises RejectedError if the
    instructions are not well-formed, RuntimeFault for what the interpreter stops.
    """
    facts = bare_facts(instructions)
    room = Memory(max(len(memory), 1))
    room.write(0, memory)
    if engine == "jit":
        from routebpf.engine.jit import compile_raw

        compiled = compile_raw(instructions, facts)
        result = int(_RAW_ENTRY(compiled.entry)(room.address, len(memory)))
    else:
        program = Program("instructions", "", RAW, tuple(instructions), ())
        result = interpret(program, ()).run_raw(Region(room.address, len(memory), "the memory"))
    return result, room.read(0, len(memory))
