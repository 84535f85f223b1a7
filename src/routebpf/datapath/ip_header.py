"""What an IP header says: is it sound, how long is the packet, which priority does it have.

kernel: net/ipv4/ip_input.c, ip_rcv_core(); net/ipv6/ip6_input.c, ip6_rcv_core(); include/net/route.h,
rt_tos2priority().
"""

from __future__ import annotations

from routebpf.datapath.verdicts import IP_HEADER_LENGTH, IP_SHORT, IP_TOTAL_LENGTH, IP_VERSION
from routebpf.runtime.memory import bswap16, load8, load16, load32, urem
from routebpf.runtime.native import native

IPV4_BYTES = 20
IPV6_BYTES = 40
_HOP_BY_HOP = 0


@native
def ipv4_length(data: int, have: int, wire: int, is_exact: int) -> int:
    """The length of the IPv4 packet of which `have` bytes of `wire` are there; negative: what is wrong with its header.

    `is_exact`: the packet is all that there is, whatever its header says. Else the header's total length counts; 0 is
    what a card fills in when it cuts the packet into segments: all there is.
    """
    if have < IPV4_BYTES:
        return -IP_SHORT
    first = load8(data)
    if first >> 4 != 4:
        return -IP_VERSION
    header = (first & 15) * 4
    if header < IPV4_BYTES:
        return -IP_HEADER_LENGTH
    total = bswap16(load16(data + 2))
    if is_exact or total == 0:
        total = wire
    if header > total or total > wire:
        return -IP_TOTAL_LENGTH
    if have < header:
        return -IP_SHORT
    return total


@native
def ipv6_length(data: int, have: int, wire: int, is_exact: int) -> int:
    """As `ipv4_length`, of an IPv6 packet. A payload length of 0 is a jumbogram's: all there is."""
    if have < IPV6_BYTES:
        return -IP_SHORT
    if load8(data) >> 4 != 6:
        return -IP_VERSION
    payload = bswap16(load16(data + 4))
    if is_exact or (payload == 0 and load8(data + 6) == _HOP_BY_HOP):
        return wire
    if payload + IPV6_BYTES > wire:
        return -IP_TOTAL_LENGTH
    return payload + IPV6_BYTES


@native
def has_good_checksum(data: int) -> int:
    """Whether the checksum of an IPv4 header is right."""
    # A sum of 32-bit words is, modulo 2**16 - 1, that of their 16-bit halves; all words being 0 is no header.
    total = load32(data) + load32(data + 4) + load32(data + 8) + load32(data + 12) + load32(data + 16)
    end = data + (load8(data) & 15) * 4
    at = data + IPV4_BYTES
    while at < end:
        total += load32(at)
        at += 4
    return urem(total, 0xFFFF) == 0


@native
def priority_of_tos(tos: int) -> int:
    """kernel: rt_tos2priority(), ip_tos2prio[]."""
    kind = (tos & 0x1E) >> 1
    if kind >= 12:
        return 4
    if kind >= 8:
        return 6
    if kind >= 4:
        return 2
    return 0
