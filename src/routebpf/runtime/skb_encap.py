"""Pushing an outer IP header: bpf_lwt_push_encap.

kernel: net/core/filter.c (bpf_lwt_xmit_push_encap), net/core/lwt_bpf.c (bpf_lwt_push_ip_encap).
"""

from __future__ import annotations

from routebpf.runtime.checksum import ipv4_header_checksum
from routebpf.runtime.errno_values import EINVAL, ENOMEM, ENOTSUPP, EPROTONOSUPPORT
from routebpf.runtime.memory import copy, load8, load16, load32, load64, low32, store16, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    ETH_P_IP,
    ETH_P_IPV6,
    GSO_DODGY,
    GSO_GRE,
    GSO_GRE_CSUM,
    GSO_IPXIP4,
    GSO_IPXIP6,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_TUNNEL,
    GSO_UDP_TUNNEL_CSUM,
    LL_RESERVED_SPACE,
    SKB_ENCAPSULATION,
    SKB_GSO_SEGS,
    SKB_GSO_SIZE,
    SKB_GSO_TYPE,
    SKB_INNER_NETWORK_HEADER,
    SKB_INNER_PROTOCOL,
    SKB_NETWORK_HEADER,
    SKB_PROTOCOL,
    SKB_TRANSPORT_HEADER,
)
from routebpf.runtime.skb_hash import skb_clear_hash
from routebpf.runtime.skb_room import skb_cow, skb_expand_headroom, skb_push, skb_reset_network_header

BPF_LWT_ENCAP_SEG6, BPF_LWT_ENCAP_SEG6_INLINE, BPF_LWT_ENCAP_IP = range(3)
_MAX_HEADER = 256  # LWT_BPF_MAX_HEADROOM
_HOPOPTS, _UDP, _IPV6, _GRE = 0, 17, 41, 47
_GRE_CSUM = 0x80  # in its first byte


@native
def bpf_lwt_push_encap(cpu: int, skb: int, kind: int, header: int, size: int) -> int:
    """Put an outer IPv4 or IPv6 header, and what follows it (GRE, UDP, GUE …), before the packet.

    The network header and the protocol are the outer ones then, the hash is gone. The transport header stays the inner
    one, but with UDP it is the outer one (Linux 6.18.44; older kernels leave it and need no whole UDP header).
    No length is filled in, and the IPv4 checksum only where it is 0. -EINVAL: a kind other than BPF_LWT_ENCAP_IP, or
    a header that is none; -ENOTSUPP, -EPROTONOSUPPORT, -EINVAL: a GSO packet that cannot be cut so, and the header is
    there nevertheless.
    """
    if low32(kind) != BPF_LWT_ENCAP_IP:
        return -EINVAL
    size = low32(size)
    if size < 20 or size > _MAX_HEADER:
        return -EINVAL
    version = load8(header) >> 4
    if version != 4 and version != 6:
        return -EINVAL
    next_header = (load8(header) & 15) * 4 if version == 4 else 40
    protocol = load8(header + (9 if version == 4 else 6))
    if size < next_header + (8 if protocol == _UDP else 0):
        return -EINVAL
    skb_expand_headroom(skb, size + LL_RESERVED_SPACE)
    if skb_cow(skb, size):
        return -ENOMEM
    store64(skb + SKB_INNER_NETWORK_HEADER, load64(skb + SKB_NETWORK_HEADER))
    store32(skb + SKB_INNER_PROTOCOL, load32(skb + SKB_PROTOCOL))
    store32(skb + SKB_ENCAPSULATION, 1)
    outer = skb_push(skb, size)
    skb_reset_network_header(skb)
    copy(outer, header, size)
    if protocol == _UDP:
        store64(skb + SKB_TRANSPORT_HEADER, load64(skb + SKB_NETWORK_HEADER) + next_header)
    skb_clear_hash(skb)
    if version == 4:
        store32(skb + SKB_PROTOCOL, ETH_P_IP)
        if load16(outer + 10) == 0:
            store16(outer + 10, ipv4_header_checksum(outer))
    else:
        store32(skb + SKB_PROTOCOL, ETH_P_IPV6)
    if load32(skb + SKB_GSO_SIZE):
        return _encapsulate_gso(skb, outer, version, size)
    return 0


@native
def _encapsulate_gso(skb: int, outer: int, version: int, size: int) -> int:
    """kernel: handle_gso_encap(), handle_gso_type(). An IPIP header (protocol 4) is not among what it knows."""
    if load32(skb + SKB_GSO_TYPE) & (GSO_TCPV4 | GSO_TCPV6) == 0:
        return -ENOTSUPP
    protocol = load8(outer + (9 if version == 4 else 6))
    next_header = 20 if version == 4 else 40
    if protocol == _GRE:
        if next_header + 4 > size:
            return -EINVAL
        kind = GSO_GRE_CSUM if load8(outer + next_header) & _GRE_CSUM else GSO_GRE
    elif protocol == _UDP:
        if next_header + 8 > size:
            return -EINVAL
        kind = GSO_UDP_TUNNEL_CSUM if load16(outer + next_header + 6) else GSO_UDP_TUNNEL
    elif protocol == _HOPOPTS or protocol == _IPV6:
        kind = GSO_IPXIP4 if version == 4 else GSO_IPXIP6
    else:
        return -EPROTONOSUPPORT
    store32(skb + SKB_GSO_TYPE, load32(skb + SKB_GSO_TYPE) | kind | GSO_DODGY)
    store32(skb + SKB_GSO_SIZE, (load32(skb + SKB_GSO_SIZE) - size) & 0xFFFF)
    store32(skb + SKB_GSO_SEGS, 0)
    return 0
