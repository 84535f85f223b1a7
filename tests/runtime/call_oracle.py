"""A list of calls, made by the running kernel and by ours on the same memory: what comes back must be the same.

The memory (`At(offset)`) is the one value of an array map for the kernel and plain memory for ours; the program's
stack (`Stack(offset)`, negative, as from r10) likewise. Each call's result goes into a table.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from kernel_bpf import address, bpf, create_map, load_program, run_program
from routebpf.isa import assemble, encode
from routebpf.objects.btf import read_btf_file
from routebpf.runtime import registry
from routebpf.runtime.cpu import CPU_SKB, new_cpu
from routebpf.runtime.memory import Memory, read, write

MAP_LOOKUP, MAP_UPDATE, MAP_FREEZE = 1, 2, 22
ARRAY = 2
STACK_BYTES = 512
# For hypothesis: a run in the kernel costs milliseconds, and a failed assertion names the call, so nothing is shrunk.
FUZZ = settings(
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@dataclass(frozen=True)
class At:
    """An address in the memory."""

    offset: int


@dataclass(frozen=True)
class Text:
    """An address in the read-only memory."""

    offset: int


@dataclass(frozen=True)
class Stack:
    """An address on the stack, from its end."""

    offset: int


@dataclass(frozen=True)
class Held:
    """A map: the kernel's fd, or the address of ours."""

    name: str


@dataclass(frozen=True)
class Context:
    """The packet."""


@dataclass(frozen=True)
class Call:
    """Call `name`. `kfunc`: by BTF id. `bits` of the result count. `is_void`: nothing comes back.

    `touch`: the result is an address of that many bytes, or null: they are read to `copy_to` and filled with `fill`
    (None: not written), and what counts is whether it was null. `then`: a call that takes the address after that.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    kfunc: bool = False
    bits: int = 64
    is_void: bool = False
    touch: int = 0
    fill: int | None = None
    copy_to: At | None = None
    then: tuple[str, int] | None = None


@dataclass(frozen=True)
class Store:
    """Put 64 bits, or an address, on the stack."""

    to: Stack
    value: Any


Step = Call | Store


@dataclass
class Outcome:
    """The results of the calls, and the memory after them. The kernel's has the packet, too."""

    results: list[int]
    memory: bytes
    packet: bytes = b""


@dataclass
class Program:
    """Steps over memory that starts as `memory`, with `text` read-only."""

    steps: Sequence[Step]
    memory: bytes
    text: bytes = b""
    packet: bytes = bytes(50)
    maps: dict[str, int] = field(default_factory=dict)


_NARROWED = {64: [], 32: ["w0 = w0"], 8: ["r0 &= 255"]}

# In the kernel.


@contextmanager
def kernel_map(kind: int, key_size: int, value_size: int, entries: int, **more: int):
    fd, error = create_map(kind, key_size, value_size, entries, **more)
    assert fd is not None, os.strerror(error)
    try:
        yield fd
    finally:
        os.close(fd)


def set_value(fd: int, value: bytes) -> None:
    import ctypes

    key, data = ctypes.create_string_buffer(4), ctypes.create_string_buffer(value, len(value))
    assert bpf(MAP_UPDATE, struct.pack("<IIQQQ", fd, 0, address(key), address(data), 0))[0] == 0


def get_value(fd: int, size: int) -> bytes:
    import ctypes

    key, data = ctypes.create_string_buffer(4), ctypes.create_string_buffer(size)
    assert bpf(MAP_LOOKUP, struct.pack("<IIQQQ", fd, 0, address(key), address(data), 0))[0] == 0
    return data.raw


def in_kernel(program: Program) -> Outcome:
    """Run by BPF_PROG_TEST_RUN. `program.maps` are fds."""
    results = max(8 * len(program.steps), 8)
    with (
        kernel_map(ARRAY, 4, max(len(program.memory), 8), 1) as memory,
        kernel_map(ARRAY, 4, max(len(program.text), 8), 1, flags=1 << 7) as text,
        kernel_map(ARRAY, 4, results, 1) as table,
    ):
        set_value(memory, program.memory.ljust(8, b"\0"))
        set_value(text, program.text.ljust(8, b"\0"))
        bpf(MAP_FREEZE, struct.pack("<I", text))
        source = assembly(program, memory, text, table)
        fd, error, log = load_program(encode(assemble(source)), log_bytes=1 << 20)
        assert fd is not None, f"{os.strerror(error)}\n{source}\n{log[-3000:]}"
        try:
            _, error, packet = run_program(fd, bytes(14) + program.packet)
        finally:
            os.close(fd)
        assert error == 0, os.strerror(error)
        found = struct.unpack(f"<{results // 8}Q", get_value(table, results))[: len(program.steps)]
        return Outcome(list(found), get_value(memory, max(len(program.memory), 8))[: len(program.memory)], packet[14:])


@cache
def kfunc_id(name: str) -> int:
    from routebpf.objects.btf_types import Kind

    found = _vmlinux().find(name, Kind.FUNC)
    assert found is not None, name
    return found


@cache
def _vmlinux():
    return read_btf_file("/sys/kernel/btf/vmlinux")


def assembly(program: Program, memory: int, text: int, table: int) -> str:
    """The program as text: r6 is the context."""
    lines = ["r6 = r1"]
    for number, step in enumerate(program.steps):
        if isinstance(step, Store):
            lines += [_operand(1, step.value, program, memory, text), f"*(u64 *)(r10 {step.to.offset:+}) = r1"]
            continue
        for register, one in enumerate(step.arguments, 1):
            lines.append(_operand(register, one, program, memory, text))
        lines.append(_call(step.name, step.kfunc))
        if step.touch:
            lines += _touch(number, step, memory)
        if not step.is_void:
            lines += _NARROWED[step.bits]
            lines += [f"r1 = map[fd:{table}][0]+{8 * number}", "*(u64 *)(r1 +0) = r0"]
    return "\n".join([*lines, "r0 = 0", "exit"])


def _call(name: str, kfunc: bool) -> str:
    return f"call kfunc#{kfunc_id(name)}" if kfunc else f"call {name}"


def _touch(number: int, step: Call, memory: int) -> list[str]:
    lines = ["r7 = 0", f"if r0 == 0 goto null{number}", "r7 = 1", "r8 = r0"]
    if step.copy_to is not None:
        lines.append(f"r1 = map[fd:{memory}][0]+{step.copy_to.offset}")
        for byte in range(step.touch):
            lines += [f"r2 = *(u8 *)(r8 +{byte})", f"*(u8 *)(r1 +{byte}) = r2"]
    if step.fill is not None:
        lines += [f"*(u8 *)(r8 +{byte}) = {(step.fill + byte) & 0xFF}" for byte in range(step.touch)]
    if step.then:
        lines += ["r1 = r8", f"r2 = {step.then[1]}", f"call {step.then[0]}"]
    return [*lines, f"null{number}:", "r0 = r7"]


def _operand(register: int, one: Any, program: Program, memory: int, text: int) -> str:
    match one:
        case At(offset):
            return f"r{register} = map[fd:{memory}][0]+{offset}"
        case Text(offset):
            return f"r{register} = map[fd:{text}][0]+{offset}"
        case Stack(offset):
            return f"r{register} = r10\nr{register} += {offset}"
        case Held(name):
            return f"r{register} = map[fd:{program.maps[name]}]"
        case Context():
            return f"r{register} = r6"
        case int() if -(1 << 31) <= one < 1 << 31:
            return f"r{register} = {one}"
        case int():
            return f"r{register} = {one & (1 << 64) - 1:#x}"
    raise TypeError(one)


# In ours.


def in_ours(program: Program, skb: int = 0, cpu: Memory | None = None) -> Outcome:
    """Run the native functions. `program.maps` are addresses."""
    memory, text, stack = Memory(max(len(program.memory), 8)), Memory(max(len(program.text), 8)), Memory(STACK_BYTES)
    memory.write(0, program.memory)
    text.write(0, program.text)
    if cpu is None:
        cpu, _scratch = new_cpu(0)
    cpu.write(CPU_SKB, skb.to_bytes(8, "little"))
    results = []

    def value(one: Any) -> int:
        match one:
            case At(offset):
                return memory.address + offset
            case Text(offset):
                return text.address + offset
            case Stack(offset):
                return stack.address + STACK_BYTES + offset
            case Held(name):
                return program.maps[name]
            case Context():
                return skb
        return one

    for step in program.steps:
        if isinstance(step, Store):
            stack.write(STACK_BYTES + step.to.offset, (value(step.value) & (1 << 64) - 1).to_bytes(8, "little"))
            results.append(0)
            continue
        function = registry.implementation(step.name)
        assert function is not None, step.name
        given = [*(value(one) for one in step.arguments), 0, 0, 0, 0, 0][: function.arity - 1]
        result = function(cpu.address, *given)
        if step.touch and result:
            if step.copy_to is not None:
                memory.write(step.copy_to.offset, read(result, step.touch))
            if step.fill is not None:
                write(result, bytes((step.fill + byte) & 0xFF for byte in range(step.touch)))
            if step.then:
                release = registry.implementation(step.then[0])
                assert release is not None
                release(cpu.address, result, step.then[1])
            result = 1
        results.append(0 if step.is_void else result & (1 << step.bits) - 1)
    return Outcome(results, memory.read(0, len(program.memory)))
