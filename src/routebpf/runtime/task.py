"""The task that happens to run: here, as on a router that forwards in softirq, the idle task of the CPU.

It is process 0, swapper/N on CPU N, of user and group 0, in the root cgroup and the first pid namespace. kernel:
kernel/bpf/helpers.c; include/linux/cgroup.h, the root's id is 1.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_ID
from routebpf.runtime.errno_values import EINVAL
from routebpf.runtime.memory import copy, fill, load32, low32, stack, store64
from routebpf.runtime.native import native
from routebpf.runtime.text_output import put_number

_ROOT_CGROUP = 1
_SWAPPER = int.from_bytes(b"swapper/", "little")
_COMM_BYTES = 16  # TASK_COMM_LEN
# The first pid namespace, by the device and inode that stat() of /proc/1/ns/pid gives: PROC_PID_INIT_INO of nsfs, which
# is the fourth of the devices that are none (0:4) on the kernels that were looked at.
_PIDNS_DEVICE = 4
_PIDNS_INODE = 0xEFFFFFFC
_PIDNS_INFO_BYTES = 8  # struct bpf_pidns_info


@native
def bpf_get_current_pid_tgid(cpu: int) -> int:
    return 0


@native
def bpf_get_ns_current_pid_tgid(cpu: int, dev: int, ino: int, out: int, size: int) -> int:
    """Both ids, which are 0, where device and inode are those of the task's pid namespace; else EINVAL, and zeros."""
    size = low32(size)
    fill(out, 0, size)
    if size != _PIDNS_INFO_BYTES or dev != _PIDNS_DEVICE or ino != _PIDNS_INODE:
        return -EINVAL
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
