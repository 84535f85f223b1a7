"""Tail calls: kernel/bpf/arraymap.c for the program array, arch/x86/net/bpf_jit_comp.c for the limit."""

from __future__ import annotations

from routebpf.isa.opcodes import MAX_TAIL_CALLS
from routebpf.runtime.cpu import CPU_TAIL_CALLS
from routebpf.runtime.map_layout import MAP_MAX_ENTRIES, MAP_OWN
from routebpf.runtime.memory import load32, load64, load_acquire64, low32, store32
from routebpf.runtime.native import native


@native
def tail_call_target(cpu: int, programs: int, index: int) -> int:
    """The entry of the program in a slot of a program array, counted as a tail call; 0: none, or one too many.

    As in the kernel only the low 32 bits of the index count, and an empty slot costs nothing.
    """
    index = low32(index)
    calls = load32(cpu + CPU_TAIL_CALLS)
    if index >= load32(programs + MAP_MAX_ENTRIES) or calls >= MAX_TAIL_CALLS:
        return 0
    target = load_acquire64(load64(programs + MAP_OWN) + index * 8)
    if target != 0:
        store32(cpu + CPU_TAIL_CALLS, calls + 1)
    return target
