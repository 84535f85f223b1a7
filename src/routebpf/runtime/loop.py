"""bpf_loop. kernel: kernel/bpf/bpf_iter.c."""

from __future__ import annotations

from routebpf.runtime.errno_values import E2BIG, EINVAL
from routebpf.runtime.memory import call6, low32
from routebpf.runtime.native import native

MAX_LOOPS = 1 << 23  # BPF_MAX_LOOPS


@native
def bpf_loop(cpu: int, count: int, callback: int, context: int, flags: int) -> int:
    """Call `callback(index, context)` up to `count` times, until it returns 1: how often it was called.

    EINVAL for any flag. E2BIG for more than 8,388,608 times, as a 32-bit number: where the flags are 0, the kernel puts
    its own code in place of the call (kernel/bpf/verifier.c, inline_bpf_loop()).
    """
    count = low32(count)
    if flags != 0:
        return -EINVAL
    if count > MAX_LOOPS:
        return low32(-E2BIG)
    for index in range(count):
        if call6(callback, cpu, index, context, 0, 0, 0) != 0:
            return index + 1
    return count
