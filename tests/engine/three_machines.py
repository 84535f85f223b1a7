"""The same instructions on three machines: the running kernel's JIT, ours, and our interpreter.

A body runs with r0 to r9 and eight stack slots, fp-8 to fp-64, set from inputs that no verifier knows; all of them
are outputs. Functions stand behind it.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from kernel_bpf import bpf, create_map, load_program, run_program
from routebpf.engine import run_raw
from routebpf.engine.jit import compile_raw
from routebpf.isa import Instruction, assemble, encode
from routebpf.runtime.memory import Memory
from routebpf.verifier.bare import bare_facts

REGISTERS = 10
SLOTS = 8
INPUTS = REGISTERS + SLOTS
_OUTPUT = 8 * INPUTS
_MEMORY_BYTES = 2 * _OUTPUT
_BASE = -8 * (SLOTS + 1)  # where the frame keeps the address of the memory
_MAP_LOOKUP, _MAP_UPDATE = 1, 2


@dataclass(frozen=True)
class State:
    """r0 to r9, and the stack slots from fp-8 down, unsigned."""

    values: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.values) == INPUTS

    def __str__(self) -> str:
        registers = " ".join(f"r{n}={value:#x}" for n, value in enumerate(self.values[:REGISTERS]))
        slots = " ".join(f"fp-{8 * n}={value:#x}" for n, value in enumerate(self.values[REGISTERS:], 1))
        return f"{registers} {slots}"


def _before() -> str:
    """Sets the inputs; r1 is the address of the memory."""
    before = [f"*(u64 *)(r10 {_BASE}) = r1"]
    for slot in range(SLOTS):
        before += [f"r2 = *(u64 *)(r1 +{8 * (REGISTERS + slot)})", f"*(u64 *)(r10 {-8 * (slot + 1)}) = r2"]
    before += [f"r{n} = *(u64 *)(r1 +{8 * n})" for n in (0, 2, 3, 4, 5, 6, 7, 8, 9, 1)]
    return "\n".join(before)


def _after() -> str:
    """Keeps the outputs, and ends."""
    spill = _BASE - 8 * (REGISTERS + 1)
    after = [f"*(u64 *)(r10 {spill + 8 * n}) = r{n}" for n in range(REGISTERS)]
    after += [f"r1 = *(u64 *)(r10 {_BASE})"]
    for n in range(REGISTERS):
        after += [f"r2 = *(u64 *)(r10 {spill + 8 * n})", f"*(u64 *)(r1 +{_OUTPUT + 8 * n}) = r2"]
    for slot in range(SLOTS):
        at = _OUTPUT + 8 * (REGISTERS + slot)
        after += [f"r2 = *(u64 *)(r10 {-8 * (slot + 1)})", f"*(u64 *)(r1 +{at}) = r2"]
    return "\n".join([*after, "r0 = 0", "exit"])


def around(body: Sequence[Instruction]) -> list[Instruction]:
    return [*assemble(_before()), *body, *assemble(_after())]


def around_text(body: str, functions: str = "") -> list[Instruction]:
    return assemble("\n".join([_before(), body, _after(), functions]))


def interpreted(instructions: Sequence[Instruction], inputs: State) -> State:
    memory = struct.pack(f"<{INPUTS}Q", *inputs.values) + bytes(_OUTPUT)
    _, after = run_raw(instructions, memory)
    return State(struct.unpack_from(f"<{INPUTS}Q", after, _OUTPUT))


class JitProgram:
    """Instructions in our JIT, over memory of our own."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self._compiled = compile_raw(instructions, bare_facts(instructions))
        self._memory = Memory(_MEMORY_BYTES)
        self._entry = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)(self._compiled.entry)

    def run(self, inputs: State) -> State:
        self._memory.write(0, struct.pack(f"<{INPUTS}Q", *inputs.values))
        self._entry(self._memory.address, _MEMORY_BYTES)
        return State(struct.unpack(f"<{INPUTS}Q", self._memory.read(_OUTPUT, _OUTPUT)))


class KernelProgram:
    """Instructions loaded into the running kernel, over the value of an array map."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self._map, error = create_map(2, 4, _MEMORY_BYTES, 1)
        assert self._map is not None, os.strerror(error)
        code = encode([*assemble("r1 = map[idx:0][0]+0"), *instructions])
        self._program, error, log = load_program(code, fds=[self._map])
        if self._program is None:
            os.close(self._map)
            raise AssertionError(f"{os.strerror(error)}: {log}")

    def run(self, inputs: State) -> State:
        key = (ctypes.c_uint32 * 1)(0)
        value = ctypes.create_string_buffer(struct.pack(f"<{INPUTS}Q", *inputs.values), _MEMORY_BYTES)
        attributes = struct.pack("<IIQQQ", self._map, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        assert bpf(_MAP_UPDATE, attributes)[0] == 0
        assert run_program(self._program)[1] == 0
        assert bpf(_MAP_LOOKUP, attributes)[0] == 0
        return State(struct.unpack_from(f"<{INPUTS}Q", value.raw, _OUTPUT))

    def close(self) -> None:
        os.close(self._program)
        os.close(self._map)


def agree(
    instructions: Sequence[Instruction],
    every_input: Sequence[State],
    engines: Sequence[str] = ("jit", "interpreter"),
) -> None:
    """Run in the kernel and on our engines, and compare everything."""
    kernel, jit = KernelProgram(instructions), JitProgram(instructions)
    try:
        for inputs in every_input:
            want = kernel.run(inputs)
            for engine in engines:
                got = jit.run(inputs) if engine == "jit" else interpreted(instructions, inputs)
                assert got == want, f"{engine} from {inputs}:\nhas    {got}\nkernel {want}"
    finally:
        kernel.close()
