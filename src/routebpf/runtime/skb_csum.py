"""Checksum helpers: bpf_csum_diff, bpf_csum_update, bpf_csum_level, bpf_l3_csum_replace, bpf_l4_csum_replace.

kernel: net/core/filter.c, net/core/utils.c (inet_proto_csum_replace4, …_by_diff), include/linux/skbuff.h.
"""

from __future__ import annotations

from routebpf.runtime.checksum import (
    fold_sum,
    replace16,
    replace32,
    replace_by_difference,
    sum_add,
    sum_of,
    sum_subtract,
)
from routebpf.runtime.errno_values import EACCES, EFAULT, EINVAL, ENOTSUPP
from routebpf.runtime.memory import load16, load32, load64, low32, store16, store32
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    CHECKSUM_COMPLETE,
    CHECKSUM_NONE,
    CHECKSUM_PARTIAL,
    CHECKSUM_UNNECESSARY,
    SKB_CSUM,
    SKB_CSUM_LEVEL,
    SKB_CSUM_START,
    SKB_DATA,
    SKB_HEAD,
    SKB_IP_SUMMED,
    SKB_LEN,
)

BPF_F_HDR_FIELD_MASK = 0xF
BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0, BPF_F_MARK_ENFORCE, BPF_F_IPV6 = (1 << bit for bit in (4, 5, 6, 7))
_L4_FLAGS = BPF_F_HDR_FIELD_MASK | BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_IPV6
LEVEL_QUERY, LEVEL_INC, LEVEL_DEC, LEVEL_RESET = range(4)
_MAX_CSUM_LEVEL = 3
_CSUM_MANGLED_0 = 0xFFFF


@native
def bpf_csum_diff(cpu: int, old: int, old_size: int, new: int, new_size: int, seed: int) -> int:
    """The sum that turns a checksum over `old` into one over `new`, onto `seed`; 16 bits, as since Linux 6.13."""
    total = low32(seed)
    old_size = low32(old_size)
    new_size = low32(new_size)
    if new_size and old_size:
        total = sum_subtract(sum_of(new, new_size, total), sum_of(old, old_size, 0))
    elif new_size:
        total = sum_of(new, new_size, total)
    elif old_size:
        total = ~sum_of(old, old_size, ~total)
    return fold_sum(total)


@native
def bpf_csum_update(cpu: int, skb: int, csum: int) -> int:
    """The packet's new sum, where the device summed it (CHECKSUM_COMPLETE); -ENOTSUPP else."""
    if load32(skb + SKB_IP_SUMMED) != CHECKSUM_COMPLETE:
        return -ENOTSUPP
    total = sum_add(load32(skb + SKB_CSUM), csum)
    store32(skb + SKB_CSUM, total)
    return total


@native
def bpf_csum_level(cpu: int, skb: int, level: int) -> int:
    """How many checksums were found right: asked for, one more, one less, or forgotten. -EACCES: none was looked at."""
    summed = load32(skb + SKB_IP_SUMMED)
    depth = load32(skb + SKB_CSUM_LEVEL)
    if level == LEVEL_QUERY:
        return depth if summed == CHECKSUM_UNNECESSARY else -EACCES
    if level == LEVEL_INC:
        if summed == CHECKSUM_UNNECESSARY:
            depth = min(depth + 1, _MAX_CSUM_LEVEL)
        elif summed == CHECKSUM_NONE:
            summed = CHECKSUM_UNNECESSARY
            depth = 0
    elif level == LEVEL_DEC or level == LEVEL_RESET:
        if summed == CHECKSUM_UNNECESSARY:
            if level == LEVEL_RESET or depth == 0:
                summed = CHECKSUM_NONE
                depth = 0
            else:
                depth -= 1
    else:
        return -EINVAL
    store32(skb + SKB_IP_SUMMED, summed)
    store32(skb + SKB_CSUM_LEVEL, depth)
    return 0


@native
def bpf_l3_csum_replace(cpu: int, skb: int, offset: int, old: int, new: int, flags: int) -> int:
    """Mend the IP header's checksum at `offset` for a field of 2 or 4 bytes, or, with size 0, by a bpf_csum_diff."""
    if flags & ~BPF_F_HDR_FIELD_MASK:
        return -EINVAL
    offset = low32(offset)
    if offset > 0xFFFF or offset & 1 or offset + 2 > load32(skb + SKB_LEN):
        return -EFAULT
    field = load64(skb + SKB_DATA) + offset
    if flags == 4:
        return replace32(field, old, new)
    if flags == 2:
        return replace16(field, old, new)
    if flags == 0 and old == 0:
        return replace_by_difference(field, new)
    return -EINVAL


@native
def bpf_l4_csum_replace(cpu: int, skb: int, offset: int, old: int, new: int, flags: int) -> int:
    """Mend a transport header's checksum at `offset` for a field of 2 or 4 bytes, or, with size 0, by a bpf_csum_diff.

    A CHECKSUM_PARTIAL packet holds the sum of its pseudo header there, so only fields of that matter.
    """
    if flags & ~_L4_FLAGS:
        return -EINVAL
    offset = low32(offset)
    if offset > 0xFFFF or offset & 1 or offset + 2 > load32(skb + SKB_LEN):
        return -EFAULT
    field = load64(skb + SKB_DATA) + offset
    mangled = flags & BPF_F_MARK_MANGLED_0
    if mangled and flags & BPF_F_MARK_ENFORCE == 0 and load16(field) == 0:
        return 0
    size = flags & BPF_F_HDR_FIELD_MASK
    pseudo = flags & BPF_F_PSEUDO_HDR
    if size == 0 and old == 0:
        _proto_replace_by_difference(skb, field, new, pseudo, flags & BPF_F_IPV6)
    elif size == 2:
        _proto_replace(skb, field, old & 0xFFFF, new & 0xFFFF, pseudo)
    elif size == 4:
        _proto_replace(skb, field, old, new, pseudo)
    else:
        return -EINVAL
    if mangled and load16(field) == 0:
        store16(field, _CSUM_MANGLED_0)
    return 0


@native
def _proto_replace(skb: int, field: int, old: int, new: int, pseudo: int) -> int:
    """kernel: inet_proto_csum_replace4()."""
    summed = load32(skb + SKB_IP_SUMMED)
    if summed == CHECKSUM_PARTIAL:
        if pseudo:
            store16(field, fold_sum(sum_add(sum_subtract(load16(field), old), new)))
        return 0
    replace32(field, old, new)
    if summed == CHECKSUM_COMPLETE and pseudo:
        store32(skb + SKB_CSUM, ~sum_add(sum_subtract(~load32(skb + SKB_CSUM), old), new))
    return 0


@native
def _proto_replace_by_difference(skb: int, field: int, difference: int, pseudo: int, ipv6: int) -> int:
    """kernel: inet_proto_csum_replace_by_diff()."""
    summed = load32(skb + SKB_IP_SUMMED)
    if summed == CHECKSUM_PARTIAL:
        if pseudo:
            store16(field, fold_sum(sum_add(difference, load16(field))))
        return 0
    replace_by_difference(field, difference)
    if summed == CHECKSUM_COMPLETE and pseudo and ipv6 == 0:
        store32(skb + SKB_CSUM, ~sum_subtract(difference, load32(skb + SKB_CSUM)))
    return 0


@native
def skb_postpull_rcsum(skb: int, start: int, size: int, offset: int) -> int:
    """Take bytes that are about to go, at `offset` of what the checksum covers, out of a CHECKSUM_COMPLETE sum. 0.

    A CHECKSUM_PARTIAL packet whose checksum started in what is gone already has none any more.
    """
    summed = load32(skb + SKB_IP_SUMMED)
    if summed == CHECKSUM_COMPLETE:
        _add_block(skb, ~sum_of(start, size, 0), offset)
    elif summed == CHECKSUM_PARTIAL and load64(skb + SKB_CSUM_START) < load64(skb + SKB_DATA) - load64(skb + SKB_HEAD):
        store32(skb + SKB_IP_SUMMED, CHECKSUM_NONE)
    return 0


@native
def skb_postpush_rcsum(skb: int, start: int, size: int, offset: int) -> int:
    """Take bytes that have come, at `offset` of what the checksum covers, into a CHECKSUM_COMPLETE sum. 0."""
    if load32(skb + SKB_IP_SUMMED) == CHECKSUM_COMPLETE:
        _add_block(skb, sum_of(start, size, 0), offset)
    return 0


@native
def _add_block(skb: int, block: int, offset: int) -> int:
    """kernel: csum_block_add(): the sum of a block that starts at an odd place has its bytes the other way round."""
    block = low32(block)
    if offset & 1:
        block = (block & 0xFF) << 24 | block >> 8
    store32(skb + SKB_CSUM, sum_add(load32(skb + SKB_CSUM), block))
    return 0
