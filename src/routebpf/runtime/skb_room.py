"""Room at a packet's ends: bpf_skb_change_head, bpf_skb_change_tail, and what they and the datapath grow it with.

kernel: net/core/filter.c, net/core/skbuff.c, include/linux/skbuff.h.

What bpf_skb_change_head leaves: `data` is the new header, zeroed; the MAC header is there and `mac_len` is the distance
to the network header, which stays where the IP header is, as the protocol, the transport header and the hash stay what
they were. So a redirect finds a link header (MAC header before network header). With BPF_OK the kernel goes on to the
neighbour as if nothing had happened: where that fills the link header itself (no cached header yet) it first pulls
`data` to the network header and the pushed bytes are gone; where the cached header is copied it is put before `data`
and the frame has both.
"""

from __future__ import annotations

from routebpf.runtime.errno_values import EINVAL, ENOMEM, ENOTSUPP
from routebpf.runtime.memory import bswap64, fill, load32, load64, low32, move, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    CHECKSUM_COMPLETE,
    CHECKSUM_NONE,
    CHECKSUM_PARTIAL,
    ETH_P_IPV6,
    SKB_CSUM_OFFSET,
    SKB_CSUM_START,
    SKB_DATA,
    SKB_ENCAPSULATION,
    SKB_END,
    SKB_GSO_SEGS,
    SKB_GSO_SIZE,
    SKB_GSO_TYPE,
    SKB_HEAD,
    SKB_HEADER_BEFORE,
    SKB_HEADROOM,
    SKB_INNER_NETWORK_HEADER,
    SKB_IP_SUMMED,
    SKB_IS_PINNED,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_MAC_LEN,
    SKB_NETWORK_HEADER,
    SKB_NEXT_HOP,
    SKB_ROUTE_PROTOCOL,
    SKB_TAIL,
    SKB_TRANSPORT_HEADER,
    UNSET,
)

# SKB_MAX_ALLOC: four pages without the 320 bytes of struct skb_shared_info, with pages of 4 KiB.
MAX_LENGTH = 4 * 4096 - 320
_ALIGNMENT = 64  # NET_SKB_PAD
_IPV6_DESTINATION = 24


@native
def bpf_skb_change_head(cpu: int, skb: int, size: int, flags: int) -> int:
    """Put `size` zero bytes before the packet, as its MAC header. -EINVAL: flags, or more than MAX_LENGTH then."""
    size = low32(size)
    length = load32(skb + SKB_LEN) + size
    if flags or size > 0x7FFFFFFF or (load32(skb + SKB_GSO_SIZE) == 0 and length > MAX_LENGTH):
        return -EINVAL
    skb_expand_headroom(skb, size)
    if skb_cow(skb, size):
        return -ENOMEM
    fill(skb_push(skb, size), 0, size)
    skb_reset_mac_header(skb)
    store32(skb + SKB_MAC_LEN, (load64(skb + SKB_NETWORK_HEADER) - load64(skb + SKB_MAC_HEADER)) & 0xFFFF)
    return 0


@native
def bpf_skb_change_tail(cpu: int, skb: int, length: int, flags: int) -> int:
    """Make the packet `length` bytes long, new ones zero; GSO ends. -EINVAL: flags, longer than MAX_LENGTH, or shorter
    than its headers or its open checksum; -ENOTSUPP: it is encapsulated."""
    length = low32(length)
    if flags or length > MAX_LENGTH or length < _least_length(skb):
        return -EINVAL
    if load32(skb + SKB_ENCAPSULATION):
        return -ENOTSUPP
    old = load32(skb + SKB_LEN)
    if length != old:
        if load32(skb + SKB_IP_SUMMED) == CHECKSUM_COMPLETE:
            store32(skb + SKB_IP_SUMMED, CHECKSUM_NONE)
        if length > old:
            if skb_make_tailroom(skb, length - old):
                return -ENOMEM
            fill(load64(skb + SKB_TAIL), 0, length - old)
        store32(skb + SKB_LEN, length)
        store64(skb + SKB_TAIL, load64(skb + SKB_DATA) + length)
    if load32(skb + SKB_GSO_SIZE):
        store32(skb + SKB_GSO_SIZE, 0)
        store32(skb + SKB_GSO_SEGS, 0)
        store32(skb + SKB_GSO_TYPE, 0)
    return 0


@native
def _least_length(skb: int) -> int:
    """kernel: __bpf_skb_min_len()."""
    start = load64(skb + SKB_DATA) - load64(skb + SKB_HEAD)
    least = max(load64(skb + SKB_NETWORK_HEADER) - start, 0)
    transport = load64(skb + SKB_TRANSPORT_HEADER)
    if transport != UNSET and transport > start:
        least = transport - start
    if load32(skb + SKB_IP_SUMMED) == CHECKSUM_PARTIAL:
        end = load64(skb + SKB_CSUM_START) - start + load64(skb + SKB_CSUM_OFFSET) + 2
        if end > 0:
            least = end
    return least


@native
def skb_push(skb: int, size: int) -> int:
    """Begin the packet `size` bytes earlier, in its headroom: the new `data`."""
    data = load64(skb + SKB_DATA) - size
    store64(skb + SKB_DATA, data)
    store32(skb + SKB_LEN, load32(skb + SKB_LEN) + size)
    store64(skb + SKB_HEADROOM, load64(skb + SKB_HEADROOM) - size)
    return data


@native
def skb_reset_mac_header(skb: int) -> int:
    """The MAC header is where the packet begins. 0."""
    store64(skb + SKB_MAC_HEADER, load64(skb + SKB_DATA) - load64(skb + SKB_HEAD))
    return 0


@native
def skb_reset_network_header(skb: int) -> int:
    """The network header is where the packet begins. 0."""
    store64(skb + SKB_NETWORK_HEADER, load64(skb + SKB_DATA) - load64(skb + SKB_HEAD))
    return 0


@native
def skb_expand_headroom(skb: int, headroom: int) -> int:
    """What the kernel does where fewer than `headroom` bytes are free before the packet. 0. kernel: __skb_cow()."""
    missing = headroom - load64(skb + SKB_HEADROOM)
    if missing > 0:
        skb_leave_buffer(skb)
        more = (missing + _ALIGNMENT - 1) & -_ALIGNMENT
        store64(skb + SKB_HEADROOM, load64(skb + SKB_HEADROOM) + more)
    return 0


@native
def skb_leave_buffer(skb: int) -> int:
    """The kernel gives the packet another buffer. 0.

    An IPv6 packet on its way out goes to the link address of the destination in the one that it had, where its route
    has no gateway. kernel: ip6_finish_output2(), daddr.
    """
    place = load64(skb + SKB_HEADER_BEFORE)
    if place and load32(skb + SKB_ROUTE_PROTOCOL) == ETH_P_IPV6 and load32(skb + SKB_IS_PINNED) == 0:
        address = load64(skb + SKB_HEAD) + place + _IPV6_DESTINATION
        store64(skb + SKB_NEXT_HOP, bswap64(load64(address)))
        store64(skb + SKB_NEXT_HOP + 8, bswap64(load64(address + 8)))
        store32(skb + SKB_IS_PINNED, 1)
    return 0


@native
def skb_cow(skb: int, headroom: int) -> int:
    """See that `headroom` bytes are free before the packet: 0, or -ENOMEM where the buffer is too small."""
    missing = headroom - (load64(skb + SKB_DATA) - load64(skb + SKB_HEAD))
    if missing <= 0:
        return 0
    free = load64(skb + SKB_END) - load64(skb + SKB_TAIL)
    if missing > free:
        return -ENOMEM
    return _shift(skb, min((missing + _ALIGNMENT - 1) & -_ALIGNMENT, free))


@native
def skb_make_tailroom(skb: int, tailroom: int) -> int:
    """See that `tailroom` bytes are free behind the packet: 0, or -ENOMEM where the buffer is too small."""
    missing = tailroom - (load64(skb + SKB_END) - load64(skb + SKB_TAIL))
    if missing <= 0:
        return 0
    if missing > load64(skb + SKB_DATA) - load64(skb + SKB_HEAD):
        return -ENOMEM
    return _shift(skb, -missing)


@native
def _shift(skb: int, distance: int) -> int:
    """Move the packet in its buffer, with the bytes of the headers before it, and every header's place with it. 0."""
    head = load64(skb + SKB_HEAD)
    tail = load64(skb + SKB_TAIL)
    first = head if distance > 0 else head - distance
    move(first + distance, first, tail - first)
    store64(skb + SKB_DATA, load64(skb + SKB_DATA) + distance)
    store64(skb + SKB_TAIL, tail + distance)
    store64(skb + SKB_NETWORK_HEADER, load64(skb + SKB_NETWORK_HEADER) + distance)
    store64(skb + SKB_INNER_NETWORK_HEADER, load64(skb + SKB_INNER_NETWORK_HEADER) + distance)
    store64(skb + SKB_HEADER_BEFORE, load64(skb + SKB_HEADER_BEFORE) + distance)
    if load64(skb + SKB_TRANSPORT_HEADER) != UNSET:
        store64(skb + SKB_TRANSPORT_HEADER, load64(skb + SKB_TRANSPORT_HEADER) + distance)
    if load64(skb + SKB_MAC_HEADER) != UNSET:
        store64(skb + SKB_MAC_HEADER, load64(skb + SKB_MAC_HEADER) + distance)
    if load32(skb + SKB_IP_SUMMED) == CHECKSUM_PARTIAL:
        store64(skb + SKB_CSUM_START, load64(skb + SKB_CSUM_START) + distance)
    return 0
