"""The memory that a program may touch at a moment, and what an access beside it missed."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from routebpf.isa.opcodes import FRAMES, STACK_BYTES
from routebpf.runtime.memory import Memory

_NEAR_BYTES = 1 << 16  # an access that missed a region by more than this is said to be nowhere near it
_NULL_BYTES = 1 << 12
_FRAME_STRIDE = 2 * STACK_BYTES  # what lies between two frames belongs to none


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes at `start`. `owner`: the address of the dynptr that it is a slice of. `reserved_at`: the
    instruction that must have its counterpart (submit, discard) before the program ends."""

    start: int
    size: int
    name: str
    is_writable: bool = True
    owner: int | None = None
    reserved_at: int | None = None

    @property
    def end(self) -> int:
        return self.start + self.size

    def holds(self, address: int, size: int) -> bool:
        return self.start <= address and address + size <= self.end


class Stack:
    """The memory of all frames of a run, and which bytes of it were written."""

    __slots__ = ("_memory", "_written", "depth", "names")

    def __init__(self) -> None:
        self._memory = Memory(FRAMES * _FRAME_STRIDE)
        self._written = bytearray(FRAMES * _FRAME_STRIDE)
        self.names: list[str] = []
        self.depth = 0

    def push(self, name: str) -> int:
        """A new frame for the function `name`: its frame pointer."""
        self.names.append(name)
        self.depth += 1
        start = (self.depth - 1) * _FRAME_STRIDE
        self._written[start : start + STACK_BYTES] = bytes(STACK_BYTES)
        return self._memory.address + start + STACK_BYTES

    def pop(self) -> None:
        self.names.pop()
        self.depth -= 1

    def regions(self) -> Iterator[Region]:
        for number, name in enumerate(self.names):
            yield Region(self._memory.address + number * _FRAME_STRIDE, STACK_BYTES, f"the stack of {name}")

    def holds(self, address: int, size: int) -> bool:
        """Whether the bytes are in one frame."""
        offset = address - self._memory.address
        return 0 <= offset < self.depth * _FRAME_STRIDE and offset % _FRAME_STRIDE + size <= STACK_BYTES

    def written(self, address: int, size: int) -> None:
        """Note that the bytes, which are in a frame, hold something now."""
        offset = address - self._memory.address
        self._written[offset : offset + size] = b"\1" * size

    def first_unwritten(self, address: int, size: int) -> int | None:
        """The address of the first of the bytes that nothing was written to."""
        offset = address - self._memory.address
        found = self._written.find(0, offset, offset + size)
        return None if found < 0 else address + found - offset


@dataclass(slots=True)
class Regions:
    """The stack, the packet and the context; and regions that the program was given, by their start."""

    stack: Stack
    context: Region | None = None
    packet: Region | None = None
    _given: dict[int, Region] = field(default_factory=dict)
    _starts: list[int] = field(default_factory=list)
    _largest: int = 0

    def give(self, region: Region) -> None:
        """The program may use the region from now on. A larger one that starts there stays."""
        known = self._given.get(region.start)
        if known is None:
            insort(self._starts, region.start)
        elif known.size > region.size:
            return
        self._given[region.start] = region
        self._largest = max(self._largest, region.size)

    def take_back(self, region: Region) -> None:
        """The program may no longer use the region, nor what is a slice of it."""
        del self._given[region.start]
        self._starts.remove(region.start)

    def at(self, start: int) -> Region | None:
        """What the program was given that starts at the address."""
        return self._given.get(start)

    def given(self) -> list[Region]:
        return list(self._given.values())

    def find(self, address: int, size: int) -> Region | None:
        """The region that holds all the bytes; those in a frame are not looked for."""
        if self.packet is not None and self.packet.holds(address, size):
            return self.packet
        if self.context is not None and self.context.holds(address, size):
            return self.context
        position = bisect_right(self._starts, address) - 1
        while position >= 0 and address - self._starts[position] < self._largest:
            region = self._given[self._starts[position]]
            if region.holds(address, size):
                return region
            position -= 1
        return None

    def all(self) -> Iterator[Region]:
        yield from self.stack.regions()
        if self.packet is not None:
            yield self.packet
        if self.context is not None:
            yield self.context
        yield from self._given.values()

    def describe(self, address: int) -> str:
        """What an address is: "packet+14", "fp-8 of parse", or nothing for a number."""
        for frame in self.stack.regions():
            if frame.start <= address <= frame.end:
                return f"fp{address - frame.end:+d} of {frame.name.removeprefix('the stack of ')}"
        region = next((one for one in self.all() if one.start <= address < one.end), None)
        if region is None:
            region = next((one for one in self.all() if address == one.end), None)
        return "" if region is None else f"{region.name.removeprefix('the ')}+{address - region.start}"

    def missed(self, address: int, size: int) -> str:
        """What an access of `size` bytes missed, in words: it is in no region."""
        if address < _NULL_BYTES:
            return "a null pointer" if address == 0 else f"{address} bytes from a null pointer"
        nearest = min(self.all(), key=lambda one: _gap(one, address, size), default=None)
        if nearest is None or _gap(nearest, address, size) > _NEAR_BYTES:
            return "in no memory of the program"
        length = f"({nearest.size} bytes)"
        if address + size > nearest.end and address >= nearest.start:
            return f"{_bytes(address + size - nearest.end)} past the end of {nearest.name} {length}"
        return f"{_bytes(nearest.start - address)} before {nearest.name} {length}"


def _gap(region: Region, address: int, size: int) -> int:
    return max(region.start - address, address + size - region.end)


def _bytes(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"
