"""What an interpreted run has at a moment: its frames, registers, and where the pointers in them came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from routebpf.engine.interpreter_regions import Region, Regions, Stack
from routebpf.engine.jit_writer import BUDGET
from routebpf.isa.opcodes import FRAMES, R10
from routebpf.isa.semantics import MASK64
from routebpf.objects.model import Program
from routebpf.runtime.cpu import SOCKET_BYTES
from routebpf.runtime.memory import read, write
from routebpf.runtime.skb import CONTEXT_BYTES, SKB_DATA, SKB_TAIL

_REGISTERS = R10 + 1


class StepError(Exception):
    """What is wrong with the instruction at hand, and what to do."""

    def __init__(self, message: str, todo: str = "") -> None:
        self.message = message
        self.todo = todo
        super().__init__(message)


class Source(NamedTuple):
    """Where a pointer came from: instruction `at`, which called `name` or loaded the context's `name`.

    `epoch` counts how often the packet had moved, for a pointer into it.
    """

    at: int
    name: str
    epoch: int | None = None


class Frame:
    """A function that runs: `registers` are unsigned 64-bit numbers, None where nothing may be read."""

    __slots__ = ("at", "budget", "registers", "sources")

    def __init__(self, frame_pointer: int, arguments: Mapping[int, int]) -> None:
        self.registers: list[int | None] = [None] * _REGISTERS
        self.sources: list[Source | None] = [None] * _REGISTERS
        self.registers[R10] = frame_pointer
        for number, value in arguments.items():
            self.registers[number] = value & MASK64
        self.budget = BUDGET
        self.at = 0

    def read(self, register: int) -> int:
        """What the register holds. Raises StepError if nothing was put there."""
        value = self.registers[register]
        if value is None:
            raise StepError(f"R{register} !read_ok", f"Nothing was put into r{register} on the way here.")
        return value

    def write(self, register: int, value: int, source: Source | None = None) -> None:
        if register == R10:
            raise StepError("frame pointer is read only", "Copy r10 into another register and change that one.")
        self.registers[register] = value
        self.sources[register] = source

    def clobber(self, result: int, source: Source | None = None) -> None:
        """After a call: r0 holds its result, r1 to r5 nothing."""
        self.registers[:6] = [result & MASK64, None, None, None, None, None]
        self.sources[:6] = [source, None, None, None, None, None]


@dataclass(slots=True)
class Run:
    """One run of a program: `cpu` and `skb` as it was entered with; `count` instructions so far.

    `epoch` counts how often the packet moved, `moved_at` is the instruction that did it last. `spilled`: by address
    on the stack, where the pointer there came from.
    """

    program: Program
    cpu: int
    skb: int
    regions: Regions = field(default_factory=lambda: Regions(Stack()))
    frames: list[Frame] = field(default_factory=list)
    count: int = 0
    epoch: int = 0
    moved_at: int = 0
    spilled: dict[int, Source] = field(default_factory=dict)
    failure: BaseException | None = None

    def enter(self, name: str, arguments: Mapping[int, int]) -> Frame:
        """A new frame. Raises StepError if that is one too many."""
        if len(self.frames) == FRAMES:
            raise StepError(f"the call stack of {FRAMES + 1} frames is too deep", f"At most {FRAMES} are allowed.")
        frame = Frame(self.regions.stack.push(name), arguments)
        self.frames.append(frame)
        return frame

    def leave(self) -> None:
        self.frames.pop()
        self.regions.stack.pop()

    def see_packet(self) -> None:
        """Take the bounds of the packet, and the context, from the skb: at the start, and after a call."""
        start, end = (int.from_bytes(read(self.skb + at, 8), "little") for at in (SKB_DATA, SKB_TAIL))
        self.regions.packet = Region(start, end - start, "the packet", self.program.program_type == "LWT_XMIT")
        if self.regions.context is None:
            self.regions.context = Region(self.skb, CONTEXT_BYTES, "the context")

    def packet_moved(self, at: int) -> None:
        """Instruction `at` may have moved the packet: addresses in it, slices too, are void."""
        self.epoch += 1
        self.moved_at = at
        packet = self.regions.packet
        for region in self.regions.given():
            if packet is not None and packet.holds(region.start, 0):
                self.regions.take_back(region)

    def give_socket(self, address: int) -> None:
        """Let the program read the socket that the context names, if there is one."""
        if address:
            self.regions.give(Region(address, SOCKET_BYTES, "the socket", is_writable=False))

    def check(
        self, address: int, size: int, *, reads: bool, writes: bool, source: Source | None = None
    ) -> Region | None:
        """Check an access; gives its region, None for the stack. Raises StepError."""
        stack = self.regions.stack
        if stack.holds(address, size):
            unwritten = stack.first_unwritten(address, size) if reads else None
            if unwritten is not None:
                raise StepError(
                    f"byte {unwritten - address} of {size} at {address:#x} ({self.regions.describe(address)}) was never"
                    " written",
                    "Give the variable a value on every path, padding included.",
                )
            return None
        region = self.regions.find(address, size)
        doing = "writing" if writes else "reading"
        if region is None:
            missed = self.regions.missed(address, size)
            raise StepError(f"{doing} {size} bytes at {address:#x}: {missed}{self._unchecked(address, source)}")
        if writes and not region.is_writable:
            raise StepError(f"writing {size} bytes at {address:#x}: {region.name} is read-only")
        if region is self.regions.packet and source is not None and source.epoch not in (None, self.epoch):
            raise StepError(
                f"{doing} {size} bytes at {address:#x}, an address from before instruction {self.moved_at}, which may"
                " have moved the packet",
                "Load data and data_end again after it, and check the bounds again.",
            )
        return region

    def _unchecked(self, address: int, source: Source | None) -> str:
        if source is None or address >= 1 << 12:
            return ""
        line = self.program.line_at(source.at)
        where = f"line {line.line} (instruction {source.at})" if line else f"instruction {source.at}"
        return f", the result of {source.name} at {where} was not checked"

    def load(self, address: int, size: int) -> int:
        """Bytes that were checked, as a number."""
        return int.from_bytes(read(address, size), "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Put a number into bytes that were checked."""
        write(address, (value & (1 << size * 8) - 1).to_bytes(size, "little"))
        self.note_written(address, size)

    def note_written(self, address: int, size: int) -> None:
        if self.regions.stack.holds(address, size):
            self.regions.stack.written(address, size)
            for at in [one for one in self.spilled if address - 8 < one < address + size]:
                del self.spilled[at]
