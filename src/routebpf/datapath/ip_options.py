"""What a packet that comes in has beside its plain header: IPv4 options, IPv6 hop-by-hop options.

kernel: net/ipv4/ip_options.c, __ip_options_compile(), ip_options_fragment(), ip_input.c (ip_rcv_options());
net/ipv6/exthdrs.c, ipv6_parse_hopopts(), ip6_parse_tlv(). Routes by source and CIPSO labels are refused, as the kernel
does by default. A router's own entries (record route, timestamp) are not written.
"""

# ruff: noqa: SIM109 (native functions have no tuples)

from __future__ import annotations

from routebpf.runtime.memory import fill, load8, load32, load64, store8, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    SKB_DATA,
    SKB_HEAD,
    SKB_LEN,
    SKB_NETWORK_HEADER,
    SKB_OPTIONS_CHANGED,
    SKB_OPTIONS_SIZE,
    SKB_TRANSPORT_HEADER,
)

_HEADER_BYTES, _IPV6_HEADER_BYTES = 20, 40
_END, _NOP, _RECORD_ROUTE, _TIMESTAMP, _LSRR, _CIPSO, _SSRR, _ROUTER_ALERT = 0, 1, 7, 68, 131, 134, 137, 148
_WITH_ADDRESS, _PRESPECIFIED = 1, 3  # of a timestamp: its entries have addresses; those of routers named before
_COPIED = 0x80
_HOP_BY_HOP = 0
_PAD1, _PADN, _HOP_ROUTER_ALERT, _JUMBO = 0, 1, 5, 0xC2
_MAX_PADDING, _MAX_OPTIONS = 7, 8
_UNKNOWN_ACTION = 0xC0  # of an option's type: what to do with a packet of an option that is not known; 0: go on


@native
def take_ipv4_options(skb: int) -> int:
    """Read the options of an IPv4 packet that came in: 1, or 0 where they are such that it is dropped.

    What follows the end of the options becomes zero; the header's checksum is mended when the packet is forwarded.
    """
    header = load64(skb + SKB_DATA)
    size = (load8(header) & 15) * 4 - _HEADER_BYTES
    store32(skb + SKB_OPTIONS_SIZE, size)
    at = header + _HEADER_BYTES
    end = at + size
    routes = 0
    timestamps = 0
    while at < end:
        kind = load8(at)
        if kind == _END:
            _clear(skb, at + 1, end)
            return 1
        if kind == _NOP:
            at += 1
            continue
        if end - at < 2:
            return 0
        length = load8(at + 1)
        if length < 2 or at + length > end:
            return 0
        if kind == _LSRR or kind == _SSRR or kind == _CIPSO or (kind == _ROUTER_ALERT and length < 4):
            return 0
        if kind == _RECORD_ROUTE:
            routes += 1
            if routes > 1 or _is_sound_record(at, length) == 0:
                return 0
        if kind == _TIMESTAMP:
            timestamps += 1
            if timestamps > 1 or _take_timestamp(skb, at, length) == 0:
                return 0
        at += length
    return 1


@native
def _is_sound_record(at: int, length: int) -> int:
    """Whether a record route is full, or has room for an address where it says."""
    if length < 3 or load8(at + 2) < 4:
        return 0
    return load8(at + 2) > length or load8(at + 2) + 3 <= length


@native
def _take_timestamp(skb: int, at: int, length: int) -> int:
    """Whether a timestamp is sound. A full one counts the routers that it has no room for, up to 15."""
    if length < 4 or load8(at + 2) < 5:
        return 0
    kind = load8(at + 3) & 15
    if load8(at + 2) <= length:
        has_address = kind == _WITH_ADDRESS or kind == _PRESPECIFIED
        return load8(at + 2) + (7 if has_address else 3) <= length
    if kind == _PRESPECIFIED:
        return 1
    if load8(at + 3) >> 4 == 15:
        return 0
    store8(at + 3, load8(at + 3) + 16)
    store32(skb + SKB_OPTIONS_CHANGED, 1)
    return 1


@native
def _clear(skb: int, at: int, end: int) -> int:
    """Make bytes zero, and note whether they were not. 0."""
    while at < end:
        if load8(at):
            store32(skb + SKB_OPTIONS_CHANGED, 1)
            fill(at, 0, 1)
        at += 1
    return 0


@native
def blank_options(skb: int) -> int:
    """Make the options that only the first fragment carries into no-operations. kernel: ip_options_fragment(). 0."""
    at = load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER) + _HEADER_BYTES
    end = at + load32(skb + SKB_OPTIONS_SIZE)
    while at < end:
        kind = load8(at)
        if kind == _END:
            return 0
        size = 1
        if kind != _NOP:
            size = load8(at + 1)
            if size < 2 or at + size > end:
                return 0
            if kind & _COPIED == 0:
                fill(at, _NOP, size)
        at += size
    return 0


@native
def take_hop_by_hop(skb: int) -> int:
    """Read the hop-by-hop options of an IPv6 packet that came in, if it has some: 1, or 0 where they are such that it
    is dropped. The transport header is behind them."""
    header = load64(skb + SKB_DATA)
    if load8(header + 6) != _HOP_BY_HOP:
        return 1
    if load32(skb + SKB_LEN) < _IPV6_HEADER_BYTES + 8:
        return 0
    size = (load8(header + _IPV6_HEADER_BYTES + 1) + 1) * 8
    if load32(skb + SKB_LEN) < _IPV6_HEADER_BYTES + size:
        return 0
    at = header + _IPV6_HEADER_BYTES + 2
    end = header + _IPV6_HEADER_BYTES + size
    padding = 0
    options = 0
    while at < end:
        kind = load8(at)
        if kind == _PAD1:
            padding += 1
            at += 1
        else:
            if end - at < 2:
                return 0
            length = load8(at + 1) + 2
            if at + length > end:
                return 0
            if kind == _PADN:
                padding += length
                if _is_zero(at + 2, at + length) == 0:
                    return 0
            else:
                padding = 0
                options += 1
                if options > _MAX_OPTIONS or _is_taken(kind, length) == 0:
                    return 0
            at += length
        if padding > _MAX_PADDING:
            return 0
    store64(skb + SKB_TRANSPORT_HEADER, load64(skb + SKB_TRANSPORT_HEADER) + size)
    return 1


@native
def _is_zero(at: int, end: int) -> int:
    """Whether all bytes are."""
    while at < end:
        if load8(at):
            return 0
        at += 1
    return 1


@native
def _is_taken(kind: int, length: int) -> int:
    """Whether a packet with such an option goes on. A jumbogram is none that comes here."""
    if kind == _HOP_ROUTER_ALERT:
        return length == 4
    return kind != _JUMBO and kind & _UNKNOWN_ACTION == 0
