"""What a program is told of the task that happens to run: the idle task, as the kernel would tell of it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from call_oracle import At, Call, Program, in_kernel, in_ours

from routebpf.runtime.cpu import new_cpu

PR_SET_NAME = 15
FIRST_PID_NAMESPACE = 0xEFFFFFFC


@pytest.fixture
def named_swapper() -> Iterator[None]:
    """This thread has the name of the idle task of CPU 12."""
    libc = ctypes.CDLL(None)
    comm = Path("/proc/thread-self/comm")
    before = comm.read_bytes().strip()
    libc.prctl(PR_SET_NAME, b"swapper/12", 0, 0, 0)
    yield
    libc.prctl(PR_SET_NAME, before, 0, 0, 0)


@pytest.mark.kernel
def test_the_name_of_the_idle_task_comes_as_the_kernel_gives_names(named_swapper: None) -> None:
    sizes = [1, 2, 8, 9, 10, 11, 12, 16, 17, 40]
    steps = [Call("bpf_get_current_comm", (At(40 * number), size)) for number, size in enumerate(sizes)]
    program = Program(steps, b"\xaa" * 40 * len(sizes))
    cpu, _scratch = new_cpu(12)
    ours, theirs = in_ours(program, cpu=cpu), in_kernel(program)
    assert ours.results == theirs.results
    assert ours.memory == theirs.memory


@pytest.mark.kernel
def test_ids_are_those_of_process_0_and_root() -> None:
    """The test runs as root, so the kernel says the same of user and group."""
    calls = [Call("bpf_get_current_uid_gid"), Call("bpf_get_current_ancestor_cgroup_id", (0,))]
    calls += [Call("bpf_get_current_ancestor_cgroup_id", (level,)) for level in (-1, 100)]
    program = Program(calls, bytes(8))
    assert in_ours(program).results == in_kernel(program).results
    own = Program([Call("bpf_get_current_pid_tgid"), Call("bpf_get_current_cgroup_id")], bytes(8))
    assert in_ours(own).results == [0, 1]


@pytest.mark.kernel
def test_ids_by_a_pid_namespace_are_given_where_it_is_the_task_s() -> None:
    """Into 0xaa: all of them where the kernel gives none, and two ids where it gives those of this process."""
    own = os.stat("/proc/self/ns/pid")
    cases = [(0, 0, 8), (own.st_dev | 1 << 32, own.st_ino, 8), (own.st_dev, own.st_ino, 12)]
    if own.st_ino == FIRST_PID_NAMESPACE:
        cases.append((own.st_dev, own.st_ino, 8))
    for device, inode, size in cases:
        steps = [Call("bpf_get_ns_current_pid_tgid", (device, inode, At(0), size))]
        program = Program(steps, b"\xaa" * 16)
        ours, theirs = in_ours(program), in_kernel(program)
        assert ours.results == theirs.results
        assert ours.memory[8:] == theirs.memory[8:]
        assert ours.memory[:8] == bytes(8)
