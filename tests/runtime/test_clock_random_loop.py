"""Clocks, random numbers, CPU ids and bpf_loop of the embedded host."""

from __future__ import annotations

import ctypes
import time

import pytest

from routebpf.runtime.clock import (
    bpf_jiffies64,
    bpf_ktime_get_boot_ns,
    bpf_ktime_get_coarse_ns,
    bpf_ktime_get_ns,
    bpf_ktime_get_tai_ns,
)
from routebpf.runtime.cpu import CLOCK_MACHINE, CPU_BOOT_OFFSET, CPU_CLOCK, CPU_NOW, CPU_TAI_OFFSET, new_cpu
from routebpf.runtime.loop import bpf_loop
from routebpf.runtime.memory import Memory, load64, store64
from routebpf.runtime.native import native
from routebpf.runtime.processor import bpf_get_smp_processor_id
from routebpf.runtime.random import bpf_get_prandom_u32

CALLBACK = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 7)


@pytest.fixture
def cpu() -> Memory:
    memory, scratch = new_cpu(3)
    cpu.scratch = scratch  # type: ignore[attr-defined]
    return memory


def test_a_set_clock_stands_still_and_the_others_keep_their_distance(cpu: Memory) -> None:
    cpu.write(CPU_NOW, (10_000_000_007).to_bytes(8, "little"))
    cpu.write(CPU_BOOT_OFFSET, (5).to_bytes(8, "little"))
    cpu.write(CPU_TAI_OFFSET, (37_000_000_000).to_bytes(8, "little"))
    assert bpf_ktime_get_ns(cpu.address) == 10_000_000_007
    assert bpf_ktime_get_boot_ns(cpu.address) == 10_000_000_012
    assert bpf_ktime_get_tai_ns(cpu.address) == 47_000_000_007
    assert bpf_ktime_get_coarse_ns(cpu.address) == 10_000_000_000
    before = bpf_jiffies64(cpu.address)
    cpu.write(CPU_NOW, (11_000_000_007).to_bytes(8, "little"))
    assert bpf_jiffies64(cpu.address) - before == 250


@pytest.mark.parametrize(
    ("function", "clock"),
    [
        (bpf_ktime_get_ns, time.CLOCK_MONOTONIC),
        (bpf_ktime_get_boot_ns, time.CLOCK_BOOTTIME),
        (bpf_ktime_get_tai_ns, time.CLOCK_TAI),
    ],
)
def test_the_machines_clock_is_that_of_python(cpu: Memory, function: object, clock: int) -> None:
    cpu.write(CPU_CLOCK, CLOCK_MACHINE.to_bytes(4, "little"))
    before = time.clock_gettime_ns(clock)
    assert before <= function(cpu.address) <= time.clock_gettime_ns(clock)  # type: ignore[operator]


def xorshift64star(state: int) -> tuple[int, int]:
    """As the paper has it, in Python."""
    mask = (1 << 64) - 1
    state ^= state >> 12
    state ^= state << 25 & mask
    state ^= state >> 27
    return state, (state * 0x2545F4914F6CDD1D & mask) >> 32


def test_random_numbers_are_xorshift64star_of_the_seed(cpu: Memory) -> None:
    state = int.from_bytes(cpu.read(32, 8), "little")
    for _ in range(1000):
        state, expected = xorshift64star(state)
        assert bpf_get_prandom_u32(cpu.address) == expected


def test_cpus_and_seeds_have_random_numbers_of_their_own() -> None:
    firsts = set()
    for number in range(4):
        for seed in range(4):
            cpu, _scratch = new_cpu(number, seed=seed)
            firsts.add(bpf_get_prandom_u32(cpu.address))
    assert len(firsts) == 16


def test_the_cpu_id_is_the_workers(cpu: Memory) -> None:
    assert bpf_get_smp_processor_id(cpu.address) == 3


@native
def adds_index(cpu: int, index: int, total: int, _c: int, _d: int, _e: int) -> int:
    store64(total, load64(total) + index)
    return 0


def test_loop_calls_back_with_each_index(cpu: Memory) -> None:
    from routebpf.runtime.machine import function_address

    total = Memory(8)
    assert bpf_loop(cpu.address, 1000, function_address(adds_index), total.address, 0) == 1000
    assert int.from_bytes(total.read(0, 8), "little") == sum(range(1000))


@pytest.mark.parametrize(("stop_at", "count", "expected"), [(0, 9, 1), (4, 9, 5), (100, 9, 9), (0, 0, 0)])
def test_loop_stops_when_the_callback_returns_1(cpu: Memory, stop_at: int, count: int, expected: int) -> None:
    callback = CALLBACK(lambda _cpu, index, *_: int(index == stop_at))
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    assert bpf_loop(cpu.address, count, address, 0, 0) == expected


def test_loop_refuses_flags_and_too_many_rounds(cpu: Memory) -> None:
    assert bpf_loop(cpu.address, 1, 0, 0, 1) == -22
    assert bpf_loop(cpu.address, (1 << 23) + 1, 0, 0, 0) == 0xFFFFFFF9  # -E2BIG of 32 bits, as in the kernel
    assert bpf_loop(cpu.address, 1 << 32, 0, 0, 0) == 0  # u32: no rounds
