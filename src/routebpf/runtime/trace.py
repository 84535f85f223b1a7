"""What programs print: the trace ring, bpf_trace_printk, bpf_trace_vprintk. kernel: kernel/trace/bpf_trace.c.

A `TraceRing` collects lines of all CPUs; where a CPU has none, text is formatted, for its length, and dropped.
"""

from __future__ import annotations

import struct

from routebpf.runtime.clock import bpf_ktime_get_ns
from routebpf.runtime.cpu import CPU_ID, CPU_TRACE
from routebpf.runtime.errno_values import EINVAL
from routebpf.runtime.map_lock import acquire, release
from routebpf.runtime.memory import Memory, copy, load32, load64, low32, stack, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.text_arguments import MAX_ARGUMENTS, ROOM_BYTES, prepare
from routebpf.runtime.text_format import format_text, length
from routebpf.runtime.trace_line import TraceLine

TEXT_BYTES = 1024  # MAX_BPRINTF_BUF: a line, with its zero byte
_PRINTK_ARGUMENTS = 3  # MAX_TRACE_PRINTK_VARARGS

# The ring: a lock (32 bits), then 64 bits each, then the records.
RING_LOCK = 0
RING_USED = 8
RING_SIZE = 16
RING_LOST = 24  # lines that found no room
RING_RECORDS = 64

# A record: this header, the text, padding to 8 bytes.
LINE_CPU = 0  # 32 bits
LINE_LENGTH = 4  # 32 bits
LINE_TIME = 8  # ns
LINE_HEADER_BYTES = 16
_LINE = struct.Struct("<IIQ")


@native
def bpf_trace_printk(cpu: int, text: int, text_size: int, first: int, second: int, third: int) -> int:
    """Print up to three values: the bytes of text, however long; -EINVAL for a format that is not allowed."""
    values = stack(24)
    store64(values, first)
    store64(values + 8, second)
    store64(values + 16, third)
    return trace(cpu, text, text_size, values, _PRINTK_ARGUMENTS)


@native
def bpf_trace_vprintk(cpu: int, text: int, text_size: int, values: int, values_size: int) -> int:
    """Print `values_size` / 8 values, at most 12; else as bpf_trace_printk."""
    values_size = low32(values_size)
    if values_size % 8 or values_size > MAX_ARGUMENTS * 8 or (values_size and values == 0):
        return -EINVAL
    return trace(cpu, text, text_size, values, values_size // 8)


@native
def trace(cpu: int, text: int, text_size: int, values: int, count: int) -> int:
    """Format, and put the line into the ring, cut off after 1023 bytes: the length of the whole."""
    arguments = stack(ROOM_BYTES)
    status = prepare(text, low32(text_size), values, count, arguments)
    if status < 0:
        return status
    line = stack(TEXT_BYTES)
    size = format_text(line, TEXT_BYTES, text, arguments)
    ring = load64(cpu + CPU_TRACE)
    if ring != 0:
        acquire(ring + RING_LOCK)
        append(cpu, ring, line, length(line))
        release(ring + RING_LOCK)
    return size


@native
def append(cpu: int, ring: int, line: int, size: int) -> int:
    """Put a line of `size` bytes into the ring, if there is room. 0."""
    used = load64(ring + RING_USED)
    needed = LINE_HEADER_BYTES + ((size + 7) & ~7)
    if used + needed > load64(ring + RING_SIZE):
        store64(ring + RING_LOST, load64(ring + RING_LOST) + 1)
        return 0
    record = ring + RING_RECORDS + used
    store32(record + LINE_CPU, load32(cpu + CPU_ID))
    store32(record + LINE_LENGTH, size)
    store64(record + LINE_TIME, bpf_ktime_get_ns(cpu))
    copy(record + LINE_HEADER_BYTES, line, size)
    store64(ring + RING_USED, used + needed)
    return 0


class TraceRing:
    """A ring that CPUs print to: put its `address` at CPU_TRACE of each. It must live as long as they run."""

    def __init__(self, size_bytes: int = 1 << 20) -> None:
        self._memory = Memory(RING_RECORDS + size_bytes)
        self._memory.write(RING_SIZE, size_bytes.to_bytes(8, "little"))
        self.address = self._memory.address

    @property
    def lost(self) -> int:
        """How many lines found no room since the ring was made: call `lines` before it is full."""
        return int.from_bytes(self._memory.read(RING_LOST, 8), "little")

    def lines(self) -> list[TraceLine]:
        """Take what was printed out of the ring, in order."""
        acquire(self.address + RING_LOCK)
        used = int.from_bytes(self._memory.read(RING_USED, 8), "little")
        data = self._memory.read(RING_RECORDS, used)
        self._memory.write(RING_USED, bytes(8))
        release(self.address + RING_LOCK)
        found = []
        at = 0
        while at < used:
            cpu, size, time = _LINE.unpack_from(data, at)
            text = data[at + LINE_HEADER_BYTES : at + LINE_HEADER_BYTES + size]
            found.append(TraceLine(cpu, time, text.decode(errors="replace")))
            at += LINE_HEADER_BYTES + (size + 7 & ~7)
        return found
