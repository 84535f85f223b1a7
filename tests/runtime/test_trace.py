"""What programs print: the lines of the trace ring, against the kernel's trace."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from call_oracle import At, Call, Program, in_kernel, in_ours

from routebpf.runtime.cpu import CPU_NOW, CPU_TRACE, new_cpu
from routebpf.runtime.memory import Memory
from routebpf.runtime.trace import LINE_HEADER_BYTES, TraceRing, bpf_trace_printk


@pytest.fixture
def tracefs(tmp_path: Path) -> Iterator[Path]:
    done = subprocess.run(["mount", "-t", "tracefs", "routebpf", str(tmp_path)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no tracefs here")
    switch = tmp_path / "tracing_on"
    before = switch.read_text()
    switch.write_text("1")  # an oops of the kernel turns it off
    yield tmp_path
    switch.write_text(before)
    subprocess.run(["umount", str(tmp_path)], check=True)


def traced(number: int, ring: TraceRing) -> tuple[Memory, Memory]:
    cpu, scratch = new_cpu(number)
    cpu.write(CPU_TRACE, ring.address.to_bytes(8, "little"))
    return cpu, scratch


FORMATS = [b"plain", b"%d %x", b"%d %u %lld", b"tail %s|", b"x" * 900 + b"%500d", b"", b"100%%"]


@pytest.mark.kernel
def test_lines_and_lengths_are_those_of_the_kernels_trace(tracefs: Path) -> None:
    mark = f"routebpf-{os.getpid()}-"
    data, steps = b"string\0\0", []
    for one in FORMATS:
        text = mark.encode() + one + b"\0"
        steps.append(Call("bpf_trace_printk", (At(len(data)), len(text), At(0) if b"%s" in one else -7, 1 << 40, 5)))
        data += text
    program = Program(steps, data)
    theirs = in_kernel(program)
    trace = (tracefs / "trace").read_text(errors="replace")
    printed = re.findall(rf"bpf_trace_printk: ({mark}.*)", trace)
    ring = TraceRing()
    cpu, _scratch = traced(0, ring)
    ours = in_ours(program, cpu=cpu)
    assert ours.results == theirs.results
    assert [line.text for line in ring.lines()] == printed
    assert len(printed) == len(FORMATS)


def test_a_line_has_its_cpu_and_time_and_is_taken_once() -> None:
    ring = TraceRing()
    memory = Memory(64)
    memory.write(0, b"cpu %d\0")
    kept = []
    for number in range(3):
        cpu, scratch = traced(number, ring)
        kept.append((cpu, scratch))
        cpu.write(CPU_NOW, (1_500_000_000 * number).to_bytes(8, "little"))
        assert bpf_trace_printk(cpu.address, memory.address, 7, number, 0, 0) == 5
    lines = ring.lines()
    assert [(line.cpu, line.time, line.text) for line in lines] == [
        (number, 1_500_000_000 * number, f"cpu {number}") for number in range(3)
    ]
    assert str(lines[1]) == "[001] 1.500000: cpu 1"
    assert ring.lines() == []


def test_lines_that_find_no_room_are_counted() -> None:
    ring = TraceRing(2 * (LINE_HEADER_BYTES + 8))
    cpu, _scratch = traced(0, ring)
    memory = Memory(64)
    memory.write(0, b"8 bytes.\0")
    for _ in range(5):
        assert bpf_trace_printk(cpu.address, memory.address, 9, 0, 0, 0) == 8
    assert ring.lost == 3
    assert [line.text for line in ring.lines()] == ["8 bytes."] * 2
    assert bpf_trace_printk(cpu.address, memory.address, 9, 0, 0, 0) == 8
    assert len(ring.lines()) == 1


def test_without_a_ring_the_length_is_the_same_and_nothing_is_kept() -> None:
    cpu, _scratch = new_cpu(0)
    text = ctypes.create_string_buffer(b"%d")
    assert bpf_trace_printk(cpu.address, ctypes.addressof(text), 3, 12345, 0, 0) == 5
