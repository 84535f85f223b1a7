"""IPv4 fragments, one at a time. kernel: net/ipv4/ip_output.c, ip_frag_init(), ip_frag_next(), ip_do_fragment()."""

from __future__ import annotations

from routebpf.datapath.ip_options import blank_options
from routebpf.runtime.checksum import fill_ipv4_header_checksum
from routebpf.runtime.memory import bswap16, copy, load8, load16, load32, load64, store16, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    CHECKSUM_NONE,
    HEADROOM,
    LL_RESERVED_SPACE,
    SKB_BYTES,
    SKB_CSUM_LEVEL,
    SKB_DATA,
    SKB_ENCAPSULATION,
    SKB_END,
    SKB_HEAD,
    SKB_HEADROOM,
    SKB_IP_SUMMED,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_MAC_LEN,
    SKB_NETWORK_HEADER,
    SKB_OPTIONS_SIZE,
    SKB_QUEUE_MAPPING,
    SKB_TAIL,
    SKB_TRANSPORT_HEADER,
    UNSET,
)

_MF = 0x2000
_OFFSET = 0x1FFF


@native
def fragment_start(skb: int, mtu: int) -> int:
    """Whether the packet's header lets it be cut to the MTU. With room for some bytes behind it, but fewer than 8, the
    kernel makes empty fragments without end; here the packet is dropped."""
    header = _header_size(skb)
    return header <= load32(skb + SKB_LEN) and (mtu < header or mtu - header >= 8)


@native
def _header_size(skb: int) -> int:
    """What its IP header says, wherever the packet begins: a program may have put something before it."""
    return (load8(load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER)) & 15) * 4


@native
def fragment_next(skb: int, piece: int, mtu: int, done: int) -> int:
    """Make `piece` the fragment behind `done` bytes of payload: the bytes done now, -1 when it is the last.

    Where not even the header fits, as with a small MTU of a route of which the headroom is taken off, the kernel's
    number of bytes left wraps around, and one fragment has them all.
    """
    data = load64(skb + SKB_DATA)
    header = _header_size(skb)
    left = load32(skb + SKB_LEN) - header - done
    size = left if mtu < header else min(left, mtu - header)
    if size < left:
        size &= ~7
    new = load64(piece + SKB_HEAD) + HEADROOM
    _take_metadata(skb, piece, header, header + size)
    copy(new, data, header)
    copy(new + header, data + header + done, size)
    fields = bswap16(load16(load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER) + 6))
    place = (fields & _OFFSET) + (done >> 3)
    more = _MF if size < left else fields & _MF
    store16(new + 6, bswap16(place | more))
    store16(new + 2, bswap16(header + size))
    fill_ipv4_header_checksum(new)
    if place == 0:
        blank_options(skb)
    return done + size if size < left else -1


@native
def _take_metadata(skb: int, piece: int, header: int, length: int) -> int:
    """Make `piece` like the packet, but for its buffer and what was found out about it. kernel: ip_copy_metadata()."""
    head = load64(piece + SKB_HEAD)
    end = load64(piece + SKB_END)
    copy(piece, skb, SKB_BYTES)
    store64(piece + SKB_HEAD, head)
    store64(piece + SKB_END, end)
    store64(piece + SKB_DATA, head + HEADROOM)
    store64(piece + SKB_TAIL, head + HEADROOM + length)
    store32(piece + SKB_LEN, length)
    store64(piece + SKB_MAC_HEADER, UNSET)
    store32(piece + SKB_MAC_LEN, 0)
    store32(piece + SKB_QUEUE_MAPPING, 0)
    store32(piece + SKB_IP_SUMMED, CHECKSUM_NONE)
    store32(piece + SKB_CSUM_LEVEL, 0)
    store32(piece + SKB_ENCAPSULATION, 0)
    store32(piece + SKB_OPTIONS_SIZE, 0)
    store64(piece + SKB_NETWORK_HEADER, HEADROOM)
    store64(piece + SKB_HEADROOM, LL_RESERVED_SPACE)
    store64(piece + SKB_TRANSPORT_HEADER, HEADROOM + header)
    return 0
