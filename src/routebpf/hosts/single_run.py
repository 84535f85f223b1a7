"""One program, run once on one packet: what it returned and what it changed. No route, no device: just the program."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

from routebpf.errors import InputError
from routebpf.hosts.load import Engine, load_unchecked
from routebpf.hosts.map_view import MapView
from routebpf.hosts.report import listed_maps
from routebpf.runtime.cpu import CPU_CLONE, CPU_FAULT, CPU_SKB, CPU_TRACE, new_cpu
from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.trace import TraceRing
from routebpf.spec import CONTEXT_FIELDS, RETURN_CODES

_ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


@dataclass(frozen=True, slots=True)
class SingleRun:
    """`r0`: unsigned 64-bit. `meaning`: what its low 32 bits mean to the program type. `packet`: its bytes afterwards.
    `context`: the fields of struct __sk_buff that are other than before. `maps`: those that a report
    lists and that hold anything. `trace`: what it
    printed."""

    r0: int
    meaning: str
    packet: bytes
    context: dict[str, int]
    maps: dict[str, MapView]
    trace: list[str]


def run_once(
    path: str,
    selector: str | None,
    packet: bytes,
    context: Mapping[str, int],
    *,
    engine: Engine = "interpreter",
    verify: bool = True,
    program_type: str | None = None,
) -> SingleRun:
    """Run the program of a file on `packet`, which begins with its IP header, with fields of the context set first.

    The context may hold what BPF_PROG_TEST_RUN takes as ctx_in, and more: every 32-bit field a program can read. Raises
    InputError for a field that is none, RuntimeFault for what the interpreter stops.
    """
    loaded = load_unchecked(path, program_type=program_type, engine=engine, verify=verify)
    program = loaded.program(selector)
    buffer = PacketBuffer(packet)
    offsets = _field_offsets()
    for name, value in context.items():
        if name not in offsets:
            raise InputError(f"struct __sk_buff has no field {name} that can be set; there are {', '.join(offsets)}")
        if not -(1 << 31) <= value < 1 << 32:
            raise InputError(f"the field {name} of struct __sk_buff has 32 bits: {value} does not fit")
        buffer.write32(offsets[name], value)
    before = {name: buffer.read32(offset) for name, offset in offsets.items()}
    cpu, _scratch = new_cpu(0)
    clone, trace = PacketBuffer(), TraceRing()
    for field, address in ((CPU_SKB, buffer.address), (CPU_CLONE, clone.address), (CPU_TRACE, trace.address)):
        cpu.write(field, address.to_bytes(8, "little"))
    r0 = int(_ENTRY(program.entry)(cpu.address, buffer.address))
    if int.from_bytes(cpu.read(CPU_FAULT, 4), "little"):
        fault = program.take_fault(cpu.address)
        assert fault is not None
        raise fault
    return SingleRun(
        r0=r0,
        meaning=_meaning(program.program_type, r0),
        packet=buffer.data,
        context={name: now for name, offset in offsets.items() if (now := buffer.read32(offset)) != before[name]},
        maps={name: view for name, view in listed_maps([loaded]).items() if len(view)},
        trace=[str(line) for line in trace.lines()],
    )


def _field_offsets() -> dict[str, int]:
    """The numbers of the context that programs can read, by name: their offsets. The length is the packet's."""
    return {
        field.name: field.offset
        for field in CONTEXT_FIELDS
        if field.read and not field.is_pointer and field.name != "len"
    }


def _meaning(program_type: str, r0: int) -> str:
    number = r0 & 0xFFFFFFFF
    names = [one.name for one in RETURN_CODES if one.number == number and program_type in one.program_types]
    return names[0] if names else "no return code of this program type"
