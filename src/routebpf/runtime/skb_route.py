"""A packet's route and socket: bpf_get_route_realm, bpf_get_cgroup_classid, bpf_skb_under_cgroup."""

from __future__ import annotations

from routebpf.runtime.errno_values import E2BIG, EAGAIN, ENOENT
from routebpf.runtime.map_layout import MAP_MAX_ENTRIES
from routebpf.runtime.memory import load32, low32
from routebpf.runtime.native import native
from routebpf.runtime.skb import SKB_HAS_SOCKET, SKB_REALM


@native
def bpf_get_route_realm(cpu: int, skb: int) -> int:
    """The realms of the route: source << 16 | destination; 0 without. kernel: dst_tclassid()."""
    return load32(skb + SKB_REALM)


@native
def bpf_get_cgroup_classid(cpu: int, skb: int) -> int:
    """0: no net_cls control group has a class here. kernel: task_get_classid()."""
    return 0


@native
def bpf_skb_under_cgroup(cpu: int, skb: int, map: int, index: int) -> int:
    """-ENOENT without a socket, -E2BIG beyond the map, else -EAGAIN: there are no control groups to put into a slot."""
    if load32(skb + SKB_HAS_SOCKET) == 0:
        return -ENOENT
    if low32(index) >= load32(map + MAP_MAX_ENTRIES):
        return -E2BIG
    return -EAGAIN
