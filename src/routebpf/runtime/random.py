"""Random numbers of a CPU: xorshift64* (Marsaglia 2003, Vigna 2016), seeded by the host, the same for the same seed."""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_RANDOM
from routebpf.runtime.memory import load64, lshr, store64
from routebpf.runtime.native import native

_MULTIPLIER = 0x2545F4914F6CDD1D


@native
def bpf_get_prandom_u32(cpu: int) -> int:
    """The next random number, 32 bits."""
    state = load64(cpu + CPU_RANDOM)
    state ^= lshr(state, 12)
    state ^= state << 25
    state ^= lshr(state, 27)
    store64(cpu + CPU_RANDOM, state)
    return lshr(state * _MULTIPLIER, 32)
