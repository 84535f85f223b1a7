"""Locks of programs, and the sections that here are nothing: no RCU, no preemption, no interrupts.

kernel: kernel/bpf/helpers.c; kernel/bpf/rqspinlock.c for the resilient spin lock.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_HELD_LOCK, CPU_ID
from routebpf.runtime.errno_values import EDEADLK, ETIMEDOUT
from routebpf.runtime.map_lock import SPINS, acquire, release
from routebpf.runtime.memory import clock, cmpxchg32, load32, load64, store64, store_release32, yield_cpu
from routebpf.runtime.native import native

_MONOTONIC = 1  # clockid_t
_TIMEOUT = 250_000_000  # ns: RES_DEF_TIMEOUT


@native
def bpf_spin_lock(cpu: int, lock: int) -> int:
    """Wait for a struct bpf_spin_lock in a map's value, and take it. Nothing comes back."""
    acquire(lock)
    return store64(cpu + CPU_HELD_LOCK, lock)


@native
def bpf_spin_unlock(cpu: int, lock: int) -> int:
    store64(cpu + CPU_HELD_LOCK, 0)
    return release(lock)


@native
def release_held_lock(cpu: int) -> int:
    """Give the lock back that a program held when it was stopped: else other CPUs wait for it for ever. 0."""
    lock = load64(cpu + CPU_HELD_LOCK)
    return bpf_spin_unlock(cpu, lock) if lock else 0


@native
def bpf_res_spin_lock(cpu: int, lock: int) -> int:
    """0; -EDEADLK where this CPU holds it, -ETIMEDOUT after a quarter of a second of the machine's clock.

    A free lock is 0, one that is held is 1 + the number of the CPU that holds it.
    """
    holder = load32(cpu + CPU_ID) + 1
    start = 0
    found = cmpxchg32(lock, 0, holder)
    while found != 0:
        if found == holder:
            return -EDEADLK
        for _ in range(SPINS):
            found = cmpxchg32(lock, 0, holder)
            if found == 0:
                return 0
        now = clock(_MONOTONIC)
        if start == 0:
            start = now
        if now - start > _TIMEOUT:
            return -ETIMEDOUT
        yield_cpu()
    return 0


@native
def bpf_res_spin_unlock(cpu: int, lock: int) -> int:
    return store_release32(lock, 0)


@native
def bpf_res_spin_lock_irqsave(cpu: int, lock: int, flags: int) -> int:
    """The same; the interrupt flag that it saves is 0."""
    store64(flags, 0)
    return bpf_res_spin_lock(cpu, lock)


@native
def bpf_res_spin_unlock_irqrestore(cpu: int, lock: int, flags: int) -> int:
    return store_release32(lock, 0)


@native
def bpf_rcu_read_lock(cpu: int) -> int:
    """Nothing: memory that a program may touch lives as long as the run."""
    return 0


@native
def bpf_rcu_read_unlock(cpu: int) -> int:
    return 0


@native
def bpf_preempt_disable(cpu: int) -> int:
    """Nothing: a CPU is a thread, and none other runs on it."""
    return 0


@native
def bpf_preempt_enable(cpu: int) -> int:
    return 0


@native
def bpf_local_irq_save(cpu: int, flags: int) -> int:
    """Nothing, and the flag that it saves is 0."""
    return store64(flags, 0)


@native
def bpf_local_irq_restore(cpu: int, flags: int) -> int:
    return 0
