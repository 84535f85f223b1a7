"""The task that happens to run: here, as on a router that forwards in softirq, the idle task of the CPU.

It is process 0, swapper/N on CPU N, of user and group 0, in the root cgroup. kernel: kernel/bpf/helpers.c;
include/linux/cgroup.h, the root's id is 1.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.memory import copy, fill, load32, low32, stack, store64
from routebpf.runtime.native import native
from routebpf.runtime.text_output import put_number

_ROOT_CGROUP = 1
_SWAPPER = int.from_bytes(b"swapper/", "little")
_COMM_BYTES = 16  # TASK_COMM_LEN


@native
def bpf_get_current_pid_tgid(cpu: int) -> int:
    return 0


@native
def bpf_get_current_uid_gid(cpu: int) -> int:
    return 0


@native
def bpf_get_current_comm(cpu: int, out: int, size: int) -> int:
    """The name of the task, cut off, with at least one zero, all of `size` bytes written. 0."""
    size = low32(size)
    name = stack(_COMM_BYTES)
    store64(name, _SWAPPER)
    length = put_number(name + 8, name + _COMM_BYTES - 1, load32(cpu + CPU_ID), 0, -1) - name
    length = min(length, size - 1)
    copy(out, name, length)
    return fill(out + length, 0, size - length)


@native
def bpf_get_current_cgroup_id(cpu: int) -> int:
    return _ROOT_CGROUP


@native
def bpf_get_current_ancestor_cgroup_id(cpu: int, level: int) -> int:
    """The root is its own ancestor at level 0; 0 for other levels."""
    return _ROOT_CGROUP if low32(level) == 0 else 0
