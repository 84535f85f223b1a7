"""An accepted program on both engines, over random packets and maps: what it returns and leaves behind."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from against_kernel import Subject

from routebpf.engine import compile_program, interpret
from routebpf.engine.compiled import Compiled
from routebpf.runtime.cpu import CLOCK_SET, CPU_CLOCK, CPU_NOW, CPU_RANDOM, CPU_SKB, CPU_TAIL_CALLS, new_cpu
from routebpf.runtime.maps import Map, create_map
from routebpf.runtime.packet import PacketBuffer
from routebpf.verifier.facts import Facts

MOST_INSTRUCTIONS = 100_000
_ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
_SET_FIELDS = (8, 32, 48, 52, 56, 60, 64)
_FILLED = ("array", "wide", "single", "hash", "lru")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one packet: what was returned, the packet and the maps after it."""

    returned: int
    packet: bytes
    maps: tuple[tuple[tuple[bytes, bytes], ...], ...]


class Machine:
    """A program on an engine, with memory of its own."""

    def __init__(self, asked: Subject, facts: Facts, engine: str) -> None:
        self.maps: list[Map] = [create_map(one) for one in asked.maps]
        self.packet = PacketBuffer(capacity=4096)
        self._cpu, self._scratch = new_cpu(0)
        self.program: Compiled = (
            interpret(asked.program, self.maps, instruction_limit=MOST_INSTRUCTIONS)
            if engine == "interpreter"
            else compile_program(asked.program, facts, self.maps)
        )

    def run(self, seed: int) -> Outcome:
        """One packet over maps, all random by `seed`. Raises RuntimeFault for what the interpreter stops."""
        chance = Random(seed)
        self._fill(chance)
        size = chance.choice((20, 21, 28, 40, 60, 100, 1500))
        self.packet.set(b"\x45" + chance.randbytes(size - 1), ifindex=1)
        for field in _SET_FIELDS:
            self.packet.write32(field, chance.choice((0, 1, 7, 20, 255, 0x80000000, chance.getrandbits(32))))
        for field, value in ((CPU_TAIL_CALLS, bytes(4)), (CPU_CLOCK, CLOCK_SET.to_bytes(4, "little"))):
            self._cpu.write(field, value)
        for field, number in ((CPU_SKB, self.packet.address), (CPU_NOW, 10**15 + seed), (CPU_RANDOM, seed + 1)):
            self._cpu.write(field, number.to_bytes(8, "little"))
        returned = _ENTRY(self.program.entry)(self._cpu.address, self.packet.address)
        fault = self.program.take_fault(self._cpu.address)
        if fault is not None:
            raise fault
        return Outcome(returned, self.packet.data, tuple(_contents(one) for one in self.maps))

    def _fill(self, chance: Random) -> None:
        for one in self.maps:
            if one.name in _FILLED:
                for number in range(min(one.definition.max_entries, 4)):
                    key = number.to_bytes(one.definition.key_size, "little")
                    one.update(key, chance.randbytes(one.user_value_size))


def _contents(one: Map) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(sorted(one.items())) if one.name in _FILLED else ()


def outcomes(asked: Subject, facts: Facts, engine: str, seeds: Sequence[int]) -> list[Outcome]:
    machine = Machine(asked, facts, engine)
    return [machine.run(seed) for seed in seeds]
