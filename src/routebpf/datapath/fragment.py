"""IPv4 fragments, one at a time. kernel: net/ipv4/ip_output.c, ip_frag_init(), ip_frag_next(), ip_do_fragment()."""

from __future__ import annotations

from routebpf.runtime.checksum import checksum
from routebpf.runtime.memory import bswap16, copy, fill, load8, load16, load32, load64, store16, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    HEADROOM,
    SKB_BYTES,
    SKB_DATA,
    SKB_END,
    SKB_HAS_SOCKET,
    SKB_HEAD,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_MAC_LEN,
    SKB_NETWORK_HEADER,
    SKB_TAIL,
    SKB_TRANSPORT_HEADER,
    UNSET,
)

_MF = 0x2000
_OFFSET = 0x1FFF
_HEADER_BYTES = 20
_OPTION_END, _OPTION_NOP = 0, 1
_OPTION_COPIED = 0x80


@native
def fragment_start(skb: int, mtu: int) -> int:
    """Whether the packet's header lets it be cut to the MTU."""
    header = (load8(load64(skb + SKB_DATA)) & 15) * 4
    return header >= _HEADER_BYTES and header <= load32(skb + SKB_LEN) and mtu - header >= 8


@native
def fragment_next(skb: int, piece: int, mtu: int, done: int) -> int:
    """Make `piece` the fragment behind `done` bytes of payload: the bytes done now, -1 when it is the last."""
    data = load64(skb + SKB_DATA)
    header = (load8(data) & 15) * 4
    left = load32(skb + SKB_LEN) - header - done
    size = min(left, mtu - header)
    if size < left:
        size &= ~7
    new = load64(piece + SKB_HEAD) + HEADROOM
    _take_metadata(skb, piece, header, header + size)
    copy(new, data, header)
    copy(new + header, data + header + done, size)
    fields = bswap16(load16(data + 6)) & (_MF | _OFFSET)
    place = fields + (done >> 3)
    if size < left:
        place |= _MF
    store16(new + 6, bswap16(place))
    store16(new + 2, bswap16(header + size))
    store16(new + 10, 0)
    store16(new + 10, checksum(new, header))
    if done == 0 and load32(skb + SKB_HAS_SOCKET) == 0:
        _blank_options(data, header)
    return done + size if size < left else -1


@native
def _take_metadata(skb: int, piece: int, header: int, length: int) -> int:
    """Make `piece` like the packet, but for its buffer. kernel: ip_copy_metadata()."""
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
    store64(piece + SKB_NETWORK_HEADER, HEADROOM)
    store64(piece + SKB_TRANSPORT_HEADER, HEADROOM + header)
    return 0


@native
def _blank_options(data: int, header: int) -> int:
    """Make the options that only the first fragment carries into no-operations. kernel: ip_options_fragment()."""
    at = data + _HEADER_BYTES
    end = data + header
    while at < end:
        kind = load8(at)
        if kind == _OPTION_END:
            return 0
        size = 1
        if kind != _OPTION_NOP:
            size = load8(at + 1)
            if size < 2 or at + size > end:
                return 0
            if kind & _OPTION_COPIED == 0:
                fill(at, _OPTION_NOP, size)
        at += size
    return 0
