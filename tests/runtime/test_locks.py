"""Locks that programs take, and sections that do nothing here."""

from __future__ import annotations

import threading
import time

import pytest
from call_oracle import At, Call, Program, Stack, in_kernel, in_ours

from routebpf.runtime.cpu import new_cpu
from routebpf.runtime.locks import (
    bpf_res_spin_lock,
    bpf_res_spin_lock_irqsave,
    bpf_res_spin_unlock,
    bpf_res_spin_unlock_irqrestore,
    bpf_spin_lock,
    bpf_spin_unlock,
)
from routebpf.runtime.memory import Memory, load64, store64, yield_cpu
from routebpf.runtime.native import Native, native

EDEADLK, ETIMEDOUT = 35, 110


@native
def count_up(cpu: int, lock: int, counter: int, times: int) -> int:
    for _ in range(times):
        bpf_spin_lock(cpu, lock)
        before = load64(counter)
        yield_cpu()  # another that is not kept out comes in here
        store64(counter, before + 1)
        bpf_spin_unlock(cpu, lock)
    return 0


@native
def count_up_resilient(cpu: int, lock: int, counter: int, times: int) -> int:
    done = 0
    while done < times:
        if bpf_res_spin_lock(cpu, lock) == 0:
            before = load64(counter)
            yield_cpu()
            store64(counter, before + 1)
            bpf_res_spin_unlock(cpu, lock)
            done += 1
    return 0


@pytest.mark.parametrize("function", [count_up, count_up_resilient])
def test_a_lock_is_held_by_one_thread_at_a_time(function: Native) -> None:
    memory = Memory(128)
    cpus = [new_cpu(number) for number in range(4)]
    call = function.as_callable()
    threads = [
        threading.Thread(target=call, args=(cpu.address, memory.address, memory.address + 64, 3_000)) for cpu, _ in cpus
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert int.from_bytes(memory.read(64, 8), "little") == 4 * 3_000


def test_a_resilient_lock_fails_rather_than_waiting_for_ever() -> None:
    lock, flags = Memory(8), Memory(8)
    mine, _scratch = new_cpu(0)
    other, _other_scratch = new_cpu(1)
    assert bpf_res_spin_lock_irqsave(mine.address, lock.address, flags.address) == 0
    assert bpf_res_spin_lock(mine.address, lock.address) == -EDEADLK
    start = time.monotonic()
    assert bpf_res_spin_lock(other.address, lock.address) == -ETIMEDOUT
    assert 0.2 < time.monotonic() - start < 5
    bpf_res_spin_unlock_irqrestore(mine.address, lock.address, flags.address)
    assert bpf_res_spin_lock(other.address, lock.address) == 0


@pytest.mark.kernel
def test_sections_are_taken_by_the_kernel_and_leave_memory_alone() -> None:
    flags = Stack(-8)
    steps = [
        Call(name, arguments, kfunc=True, is_void=True)
        for name, arguments in (
            ("bpf_rcu_read_lock", ()),
            ("bpf_preempt_disable", ()),
            ("bpf_local_irq_save", (flags,)),
            ("bpf_local_irq_restore", (flags,)),
            ("bpf_preempt_enable", ()),
            ("bpf_rcu_read_unlock", ()),
        )
    ]
    program = Program([*steps, Call("bpf_strtol", (At(0), 2, 0, At(8)))], b"5\0".ljust(16, b"\0"))
    ours, theirs = in_ours(program), in_kernel(program)
    assert (ours.results, ours.memory) == (theirs.results, theirs.memory)
