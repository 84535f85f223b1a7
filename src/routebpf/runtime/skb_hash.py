"""The flow hash: bpf_get_hash_recalc, bpf_set_hash_invalid.

kernel: net/core/flow_dissector.c, __skb_get_hash_net(). Which fields of a packet make up its flow is the kernel's rule:
addresses and ports without regard to direction, IPv6 flow labels, GRE keys, of the innermost packet that is found. The
value is not the kernel's, whose key is random at each boot: here it is the same for a flow on every run.
"""

from __future__ import annotations

from routebpf.runtime.memory import compare, fill, load8, load16, load32, load64, lshr, stack, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    ETH_P_IP,
    ETH_P_IPV6,
    HASH_L4,
    HASH_NONE,
    HASH_SOFTWARE,
    SKB_HASH,
    SKB_HASH_KIND,
    SKB_HEAD,
    SKB_NETWORK_HEADER,
    SKB_PROTOCOL,
    SKB_TAIL,
)

# What a flow is made of: struct flow_keys. 64 bits each.
_KEY_PROTOCOL = 0  # the innermost ethertype, big-endian
_KEY_IP_PROTOCOL = 8
_KEY_FLOW_LABEL = 16
_KEY_GRE_KEY = 24
_KEY_SOURCE_PORT = 32
_KEY_DESTINATION_PORT = 40
_KEY_SOURCE = 48  # 16 bytes
_KEY_DESTINATION = 64  # 16 bytes
_KEY_HEADERS = 80  # how many headers were gone through: no part of the flow
_HASHED_BYTES = 80
_KEY_BYTES = 88
_MAX_HEADERS = 15

_HOPOPTS, _IPIP, _TCP, _UDP, _DCCP, _IPV6, _ROUTING, _FRAGMENT = 0, 4, 6, 17, 33, 41, 43, 44
_GRE, _ESP, _AH, _DSTOPTS, _SCTP, _UDPLITE = 47, 50, 51, 60, 132, 136
_FLAGS_GRE_CSUM, _FLAGS_GRE_ROUTING, _FLAGS_GRE_KEY, _FLAGS_GRE_SEQ = 0x80, 0x40, 0x20, 0x10  # of its first byte
_ETH_P_TEB = 0x5865  # 0x6558 big-endian


@native
def bpf_get_hash_recalc(cpu: int, skb: int) -> int:
    """The packet's flow hash, 32 bits, never 0; computed where there is none."""
    if load32(skb + SKB_HASH_KIND) != HASH_NONE:
        return load32(skb + SKB_HASH)
    keys = stack(88)
    fill(keys, 0, _KEY_BYTES)
    store64(keys + _KEY_PROTOCOL, load16(skb + SKB_PROTOCOL))
    _dissect(keys, load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER), load64(skb + SKB_TAIL))
    _forget_direction(keys)
    total = 0
    for offset in range(0, _HASHED_BYTES, 8):
        total = (total ^ load64(keys + offset)) * -7046029254386353131
        total ^= lshr(total, 29)
    total = lshr(total * -4658895280553007687, 32)
    hash = total if total else 1
    store32(skb + SKB_HASH, hash)
    ports = load64(keys + _KEY_SOURCE_PORT) | load64(keys + _KEY_DESTINATION_PORT)
    store32(skb + SKB_HASH_KIND, HASH_L4 if ports | load64(keys + _KEY_FLOW_LABEL) else HASH_SOFTWARE)
    return hash


@native
def bpf_set_hash_invalid(cpu: int, skb: int) -> int:
    """0."""
    return skb_clear_hash(skb)


@native
def skb_clear_hash(skb: int) -> int:
    """Forget the flow hash: who asks for it next has it computed. 0."""
    store32(skb + SKB_HASH, 0)
    store32(skb + SKB_HASH_KIND, HASH_NONE)
    return 0


@native
def _dissect(keys: int, header: int, end: int) -> int:
    """Fill in the keys from the network header on, packets in packets included. kernel: __skb_flow_dissect(). 0."""
    while header:
        protocol = load64(keys + _KEY_PROTOCOL)
        if protocol == ETH_P_IP:
            header = _dissect_ipv4(keys, header, end)
        elif protocol == ETH_P_IPV6:
            header = _dissect_ipv6(keys, header, end)
        else:
            header = 0
        if header:
            header = _dissect_transport(keys, header, end)
    return 0


@native
def _dissect_ipv4(keys: int, header: int, end: int) -> int:
    """The address behind the header, or 0: no more to find (a fragment has no ports)."""
    if header + 20 > end:
        return 0
    words = load8(header) & 15
    if words < 5:
        return 0
    store64(keys + _KEY_IP_PROTOCOL, load8(header + 9))
    fill(keys + _KEY_SOURCE, 0, 32)
    store32(keys + _KEY_SOURCE, load32(header + 12))
    store32(keys + _KEY_DESTINATION, load32(header + 16))
    if load16(header + 6) & 0xFF3F:  # more fragments, or an offset
        return 0
    return header + words * 4


@native
def _dissect_ipv6(keys: int, header: int, end: int) -> int:
    """The address behind the header and its extensions, or 0: no more to find (a flow label is enough)."""
    if header + 40 > end:
        return 0
    next_header = load8(header + 6)
    store64(keys + _KEY_IP_PROTOCOL, next_header)
    for offset in range(0, 32, 8):
        store64(keys + _KEY_SOURCE + offset, load64(header + 8 + offset))
    label = load32(header) & 0xFFFF0F00
    if label:
        store64(keys + _KEY_FLOW_LABEL, label)
        return 0
    header += 40
    while next_header == _HOPOPTS or next_header == _ROUTING or next_header == _DSTOPTS:
        if header + 2 > end or _count_header(keys):
            return 0
        next_header = load8(header)
        store64(keys + _KEY_IP_PROTOCOL, next_header)
        header += (load8(header + 1) + 1) * 8
    if next_header == _FRAGMENT:
        if header + 8 <= end:
            store64(keys + _KEY_IP_PROTOCOL, load8(header))
        return 0
    return header


@native
def _dissect_transport(keys: int, header: int, end: int) -> int:
    """The address of a network header inside, or 0: no more to find."""
    protocol = load64(keys + _KEY_IP_PROTOCOL)
    if protocol == _IPIP or protocol == _IPV6:
        store64(keys + _KEY_PROTOCOL, ETH_P_IP if protocol == _IPIP else ETH_P_IPV6)
        return 0 if _count_header(keys) else header
    if protocol == _GRE:
        return _dissect_gre(keys, header, end)
    if protocol == _AH:
        header += 4
    elif not (
        protocol == _TCP
        or protocol == _UDP
        or protocol == _SCTP
        or protocol == _ESP
        or protocol == _DCCP
        or protocol == _UDPLITE
    ):
        return 0
    if header + 4 <= end:
        store64(keys + _KEY_SOURCE_PORT, load16(header))
        store64(keys + _KEY_DESTINATION_PORT, load16(header + 2))
    return 0


@native
def _dissect_gre(keys: int, header: int, end: int) -> int:
    """As _dissect_transport, of version 0 without routing; of PPTP (version 1) the protocol. RFC 2784, RFC 2890."""
    if header + 4 > end:
        return 0
    flags = load8(header)
    version = load8(header + 1) & 7
    if flags & _FLAGS_GRE_ROUTING or version > 1:
        return 0
    store64(keys + _KEY_PROTOCOL, load16(header + 2))
    if version == 1:
        return 0
    header += 8 if flags & _FLAGS_GRE_CSUM else 4
    if flags & _FLAGS_GRE_KEY:
        if header + 4 > end:
            return 0
        store64(keys + _KEY_GRE_KEY, load32(header))
        header += 4
    if flags & _FLAGS_GRE_SEQ:
        header += 4
    if load64(keys + _KEY_PROTOCOL) == _ETH_P_TEB:
        if header + 14 > end:
            return 0
        store64(keys + _KEY_PROTOCOL, load16(header + 12))
        header += 14
    return 0 if _count_header(keys) else header


@native
def _count_header(keys: int) -> int:
    """Not 0 once the kernel would have stopped."""
    count = load64(keys + _KEY_HEADERS) + 1
    store64(keys + _KEY_HEADERS, count)
    return 1 if count > _MAX_HEADERS else 0


@native
def _forget_direction(keys: int) -> int:
    """Put the lower address, and the lower port, first. kernel: __flow_hash_consistentify(). 0."""
    if compare(keys + _KEY_DESTINATION, keys + _KEY_SOURCE, 16) < 0:
        for offset in range(0, 16, 8):
            kept = load64(keys + _KEY_SOURCE + offset)
            store64(keys + _KEY_SOURCE + offset, load64(keys + _KEY_DESTINATION + offset))
            store64(keys + _KEY_DESTINATION + offset, kept)
    port = load64(keys + _KEY_SOURCE_PORT)
    if load64(keys + _KEY_DESTINATION_PORT) < port:
        store64(keys + _KEY_SOURCE_PORT, load64(keys + _KEY_DESTINATION_PORT))
        store64(keys + _KEY_DESTINATION_PORT, port)
    return 0
