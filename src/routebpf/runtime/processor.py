"""Which CPU runs the program. kernel: kernel/bpf/helpers.c."""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.memory import load32
from routebpf.runtime.native import native


@native
def bpf_get_smp_processor_id(cpu: int) -> int:
    """The number of the CPU: that of the worker thread."""
    return load32(cpu + CPU_ID)


@native
def bpf_get_numa_node_id(cpu: int) -> int:
    """The NUMA node of the CPU: there is one."""
    return 0
