"""Stacks: last in, first out. kernel: kernel/bpf/queue_stack_maps.c."""

from __future__ import annotations

from routebpf.runtime import map_queue
from routebpf.runtime.map_queue import get
from routebpf.runtime.native import native

push = map_queue.push


@native
def pop(cpu: int, map: int, key_size: int, value_size: int, value: int) -> int:
    """Take the newest value. 0, or ENOENT: then it is zeroed."""
    return get(map, value_size, value, 1, 1)


@native
def peek(cpu: int, map: int, key_size: int, value_size: int, value: int) -> int:
    """The newest value. 0, or ENOENT: then it is zeroed."""
    return get(map, value_size, value, 1, 0)
