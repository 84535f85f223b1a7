"""Reading and writing a packet's bytes: bpf_skb_load_bytes, bpf_skb_store_bytes, bpf_skb_pull_data.

kernel: net/core/filter.c. A packet here is linear, so what the kernel pulls in is there already.
"""

from __future__ import annotations

from routebpf.runtime.errno_values import EFAULT, EINVAL, ENOMEM
from routebpf.runtime.memory import copy, fill, load32, load64, low32
from routebpf.runtime.native import native
from routebpf.runtime.skb import SKB_DATA, SKB_LEN
from routebpf.runtime.skb_csum import skb_postpull_rcsum, skb_postpush_rcsum
from routebpf.runtime.skb_hash import skb_clear_hash

BPF_F_RECOMPUTE_CSUM, BPF_F_INVALIDATE_HASH = 1, 2
_STORE_FLAGS = BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH


@native
def bpf_skb_load_bytes(cpu: int, skb: int, offset: int, to: int, size: int) -> int:
    """0, or -EFAULT and zeros at `to` where the packet does not hold all of the bytes."""
    offset = low32(offset)
    size = low32(size)
    if offset + size > load32(skb + SKB_LEN):
        fill(to, 0, size)
        return -EFAULT
    copy(to, load64(skb + SKB_DATA) + offset, size)
    return 0


@native
def bpf_skb_store_bytes(cpu: int, skb: int, offset: int, source: int, size: int, flags: int) -> int:
    """0, -EINVAL for unknown flags, -EFAULT where the packet does not hold all of the bytes."""
    if flags & ~_STORE_FLAGS:
        return -EINVAL
    offset = low32(offset)
    size = low32(size)
    if offset + size > load32(skb + SKB_LEN):
        return -EFAULT
    place = load64(skb + SKB_DATA) + offset
    if flags & BPF_F_RECOMPUTE_CSUM:
        skb_postpull_rcsum(skb, place, size, offset)
    copy(place, source, size)
    if flags & BPF_F_RECOMPUTE_CSUM:
        skb_postpush_rcsum(skb, place, size, offset)
    if flags & BPF_F_INVALIDATE_HASH:
        skb_clear_hash(skb)
    return 0


@native
def bpf_skb_pull_data(cpu: int, skb: int, size: int) -> int:
    """0, or -ENOMEM where the packet has not that many bytes (0 stands for all)."""
    if low32(size) > load32(skb + SKB_LEN):
        return -ENOMEM
    return 0
