"""An object on one of our engines: what `object_in_kernel.InKernel` is for the kernel."""

from __future__ import annotations

import ctypes

from routebpf.engine import compile_program, interpret
from routebpf.engine.compiled import Compiled
from routebpf.engine.interpreter import Observer
from routebpf.objects.model import Object
from routebpf.runtime.cpu import CPU_BYTES, CPU_SKB, CPU_TAIL_CALLS, new_cpu
from routebpf.runtime.maps import Map, create_map
from routebpf.runtime.memory import Memory
from routebpf.runtime.packet import PacketBuffer
from routebpf.verifier.gate import admit

ENGINES = ("jit", "interpreter")
ETHERNET = bytes(12) + b"\x08\x00"
_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class Embedded:
    """`maps` by name; `run` gives what a program returns. A fault of the interpreter is raised."""

    def __init__(
        self,
        loaded: Object,
        engine: str,
        *,
        checked: bool = True,
        instruction_limit: int = 10_000_000,
        observer: Observer | None = None,
    ) -> None:
        self.maps: dict[str, Map] = {name: create_map(one) for name, one in loaded.maps.items()}
        self.packet = PacketBuffer(capacity=4096)
        self._cpu, self._scratch = new_cpu(0)
        self.programs: dict[str, Compiled] = {}
        for name, program in loaded.programs.items():
            maps = [self.maps[one] for one in program.maps]
            definitions = [one.definition for one in maps]
            facts = admit(program, definitions, license=loaded.license, btf=loaded.btf) if checked else None
            if engine == "interpreter":
                self.programs[name] = interpret(program, maps, observer=observer, instruction_limit=instruction_limit)
            else:
                assert facts is not None
                self.programs[name] = compile_program(program, facts, maps)
        for definition in loaded.maps.values():
            for slot, name in definition.initial_slots.items():
                held = self.programs[name].entry if definition.type == 3 else self.maps[name]
                self.maps[definition.name].set_slot(slot, held)

    @property
    def cpu(self) -> Memory:
        return self._cpu

    def run(self, name: str, packet: bytes = bytes(50)) -> int:
        """What the program returns, as a signed 32-bit number, on a packet that begins with its IP header."""
        self.packet.set(packet, protocol=0x0800, ifindex=1)
        return self.run_again(name)

    def run_again(self, name: str) -> int:
        """The same on the packet as it is."""
        program = self.programs[name]
        assert self._cpu.size == CPU_BYTES
        self._cpu.write(CPU_TAIL_CALLS, bytes(4))
        self._cpu.write(CPU_SKB, self.packet.address.to_bytes(8, "little"))
        result = _ENTRY(program.entry)(self._cpu.address, self.packet.address)
        fault = program.take_fault(self._cpu.address)
        if fault is not None:
            raise fault
        return ctypes.c_int32(result & 0xFFFFFFFF).value
