"""A spin lock: 32 bits, 0 when free. What `struct bpf_spin_lock` in a map's value is, too."""

from __future__ import annotations

from routebpf.runtime.memory import cmpxchg32, load_acquire32, store_release32, yield_cpu
from routebpf.runtime.native import native

SPINS = 64  # before the CPU goes to a thread that may hold the lock


@native
def acquire(lock: int) -> int:
    """Wait for the lock and take it. 0."""
    while cmpxchg32(lock, 0, 1) != 0:
        spins = 0
        while load_acquire32(lock) != 0:
            spins += 1
            if spins == SPINS:
                yield_cpu()
                spins = 0
    return 0


@native
def release(lock: int) -> int:
    """Give the lock back. 0."""
    return store_release32(lock, 0)
