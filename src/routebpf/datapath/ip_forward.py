"""A packet that came in by a device: its route, the program on the route's input, forwarding or delivery.

kernel: net/ipv4/ip_input.c, route.c (ip_route_input_slow()), ip_forward.c; net/ipv6/ip6_input.c, ip6_output.c
(ip6_forward()); net/core/lwtunnel.c, lwtunnel_input(). The host forwards, does not filter by reverse path, answers with
no ICMP and is in no multicast group. A result is a reason.
"""

from __future__ import annotations

from routebpf.datapath.fib_lookup import LOOPBACK_IFINDEX, fib_lookup, hop_of, route_of
from routebpf.datapath.fib_records import (
    FIB_LOOKS_BACK,
    HOP_FLAGS,
    HOP_FORWARD_MTU,
    HOP_IFINDEX,
    HOP_IN,
    HOP_LOCAL,
    HOP_MTU,
    HOP_ROUTE,
    HOST_FIB4,
    HOST_FIB6,
    ROUTE_TYPE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
)
from routebpf.datapath.ip_header import has_good_checksum, priority_of_tos
from routebpf.datapath.ip_options import take_hop_by_hop, take_ipv4_options
from routebpf.datapath.ip_output import TOS_MASK, dscp_of, dst_output, set_hop
from routebpf.datapath.ip_send import new_packet
from routebpf.datapath.lwt import lwt_run
from routebpf.datapath.run_records import RUN_INGRESS, RUN_MARK, RUN_ROUTE, RUN_SKB
from routebpf.datapath.verdicts import (
    FIRST_FAILURE,
    FRAGMENTATION_NEEDED,
    IP_CHECKSUM,
    IP_OPTIONS,
    LOCAL,
    MARTIAN,
    NOT_FORWARDED,
    RECURSION,
    REROUTED,
    SENT,
    TTL_EXCEEDED,
)
from routebpf.runtime.checksum import decrease_ttl, fill_ipv4_header_checksum
from routebpf.runtime.cpu import CPU_DEPTH, CPU_HOST, CPU_IS_REROUTED
from routebpf.runtime.device import DEVICE_HARD_HEADER_LEN, DEVICE_TYPE, XMIT_RECURSION_LIMIT, device_of
from routebpf.runtime.memory import (
    bswap16,
    bswap32,
    bswap64,
    load8,
    load16,
    load32,
    load64,
    lshr,
    store8,
    store32,
    store64,
)
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    ETH_P_IP,
    ETH_P_IPV6,
    HEADROOM,
    LL_RESERVED_SPACE,
    SKB_DATA,
    SKB_HEADROOM,
    SKB_IFINDEX,
    SKB_INGRESS_IFINDEX,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_MAC_LEN,
    SKB_MARK,
    SKB_OPTIONS_CHANGED,
    SKB_PRIORITY,
    SKB_PROTOCOL,
    SKB_QUEUE_MAPPING,
    SKB_ROUTE_PROTOCOL,
    SKB_TRANSPORT_HEADER,
)

_DF = 0x4000
_LINK_LOCAL = 0x3FA  # the first ten bits of fe80::/10
_ARPHRD_NONE = 0xFFFE
IPV6_MIN_MTU = 1280
_TUN_HEADROOM = 64  # NET_SKB_PAD; what a packet socket leaves behind a link header is LL_RESERVED_SPACE


@native
def ip_receive(cpu: int, run: int, family: int, data: int, have: int, length: int, time: int) -> int:
    """A packet of `length` bytes from its IP header on, sound but for its checksum, came in by RUN_INGRESS."""
    skb = load64(run + RUN_SKB)
    packet = new_packet(skb, data, have, length, time)
    ifindex = load64(run + RUN_INGRESS)
    store32(skb + SKB_MARK, load64(run + RUN_MARK))
    store32(skb + SKB_IFINDEX, ifindex)
    store32(skb + SKB_INGRESS_IFINDEX, ifindex)
    device = device_of(cpu, ifindex)
    if load32(device + DEVICE_TYPE) == _ARPHRD_NONE:
        store32(skb + SKB_QUEUE_MAPPING, 1)  # kernel: drivers/net/tun.c, skb_record_rx_queue() of the first queue
    link = load32(device + DEVICE_HARD_HEADER_LEN)
    store64(skb + SKB_HEADROOM, LL_RESERVED_SPACE if link else _TUN_HEADROOM)
    if link:
        store64(skb + SKB_MAC_HEADER, HEADROOM - link)
        store32(skb + SKB_MAC_LEN, link)
    if family == 6:
        store32(skb + SKB_PROTOCOL, ETH_P_IPV6)
        store64(skb + SKB_TRANSPORT_HEADER, HEADROOM + 40)
    else:
        store32(skb + SKB_PROTOCOL, ETH_P_IP)
        store64(skb + SKB_TRANSPORT_HEADER, HEADROOM + (load8(packet) & 15) * 4)
        if not has_good_checksum(packet):
            return IP_CHECKSUM
    if (take_hop_by_hop(skb) if family == 6 else take_ipv4_options(skb)) == 0:
        return IP_OPTIONS
    return _input(cpu, run, skb, ifindex)


@native
def _input(cpu: int, run: int, skb: int, ifindex: int) -> int:
    """Route the packet and run the program on its input, again if that reroutes; then deliver or forward it. All that
    follows a program on input is one deeper. A rerouted IPv4 packet comes in by the device of the route that it had.

    kernel: lwtunnel_input(), bpf_lwt_input_reroute().
    """
    where = ifindex
    while True:
        hop = _input_hop4(cpu, skb, where) if load32(skb + SKB_PROTOCOL) == ETH_P_IP else _input_hop6(cpu, skb, ifindex)
        if hop < 0:
            return -hop
        if load64(run + RUN_ROUTE) == 0:
            store64(run + RUN_ROUTE, load64(hop + HOP_ROUTE))
        set_hop(skb, hop)
        program = load64(hop + HOP_IN)
        reason = SENT
        if program:
            depth = load32(cpu + CPU_DEPTH)
            if depth > XMIT_RECURSION_LIMIT:
                return RECURSION
            store32(cpu + CPU_DEPTH, depth + 1)
            reason = lwt_run(cpu, skb, program)
            if reason >= FIRST_FAILURE:
                return reason
        if reason != REROUTED:
            break
        where = load32(hop + HOP_IFINDEX)
        store64(cpu + CPU_IS_REROUTED, 1)
    if load32(hop + HOP_FLAGS) & HOP_LOCAL:
        return LOCAL
    if _is_of_many(skb, hop):
        return NOT_FORWARDED
    reason = _forward4(cpu, skb, hop) if load32(skb + SKB_ROUTE_PROTOCOL) == ETH_P_IP else _forward6(cpu, skb, hop)
    if reason == SENT and load64(cpu + CPU_IS_REROUTED):
        return REROUTED
    return reason


@native
def _input_hop4(cpu: int, skb: int, ifindex: int) -> int:
    """The next hop of an IPv4 packet that came in; negative: a reason. kernel: ip_route_input_slow()."""
    header = load64(skb + SKB_DATA)
    src = bswap32(load32(header + 12))
    dst = bswap32(load32(header + 16))
    if src >> 28 == 0xE or src == 0xFFFFFFFF or src >> 24 == 127 or dst >> 24 == 127:
        return -MARTIAN
    if dst >> 28 == 0xE:
        return -NOT_FORWARDED
    if dst == 0xFFFFFFFF or (src == 0 and dst == 0):
        return -NOT_FORWARDED
    if src == 0 or dst == 0:
        return -MARTIAN
    tos = load8(header + 1) & TOS_MASK
    mark = load32(skb + SKB_MARK)
    route = route_of(cpu, 4, dst << 32, 0, src << 32, 0, tos, mark, ifindex, 0)
    hop = hop_of(route, dst << 32, 0, src << 32, 0, 0)
    if hop < 0:
        return hop
    if _is_of_a_host(cpu, src, dst, tos, hop) == 0:
        return -MARTIAN
    return hop


@native
def _is_of_a_host(cpu: int, src: int, dst: int, tos: int, hop: int) -> int:
    """Whether a source is neither this host's own nor, where that is looked at, a broadcast address: to rules as if it
    came in by the device that the packet leaves by. kernel: fib_validate_source()."""
    where = LOOPBACK_IFINDEX
    if load32(load64(hop + HOP_ROUTE) + ROUTE_TYPE) == RTN_UNICAST:
        where = load32(hop + HOP_IFINDEX)
    back = route_of(cpu, 4, src << 32, 0, dst << 32, 0, tos, 0, where, 0)
    if back < 0:
        return 1
    kind = load32(back + ROUTE_TYPE)
    if kind == RTN_BROADCAST or kind == RTN_MULTICAST:  # noqa: SIM109 (native functions have no tuples)
        return load64(load64(load64(cpu + CPU_HOST) + HOST_FIB4) + FIB_LOOKS_BACK) == 0
    return kind != RTN_LOCAL


@native
def _input_hop6(cpu: int, skb: int, ifindex: int) -> int:
    """The next hop of an IPv6 packet that came in; negative: a reason. kernel: ip6_rcv_core(), ip6_route_input()."""
    header = load64(skb + SKB_DATA)
    src = bswap64(load64(header + 8))
    src_low = bswap64(load64(header + 16))
    dst = bswap64(load64(header + 24))
    dst_low = bswap64(load64(header + 32))
    if lshr(src, 56) == 0xFF or (src == 0 and src_low == 1) or (dst == 0 and dst_low == 1):
        return -MARTIAN
    mark = load32(skb + SKB_MARK)
    if lshr(dst, 54) == _LINK_LOCAL:
        fib = load64(load64(cpu + CPU_HOST) + HOST_FIB6)
        route = fib_lookup(fib, dst, dst_low, src, src_low, dscp_of(header), mark, ifindex, ifindex, 0)
    else:
        route = route_of(cpu, 6, dst, dst_low, src, src_low, dscp_of(header), mark, ifindex, 0)
    return hop_of(route, dst, dst_low, src, src_low, 0)


@native
def _is_of_many(skb: int, hop: int) -> int:
    """Whether a packet that was routed is broadcast or IPv6 multicast."""
    if load32(skb + SKB_ROUTE_PROTOCOL) == ETH_P_IPV6 and load8(load64(skb + SKB_DATA) + 24) == 0xFF:
        return 1
    kind = load32(load64(hop + HOP_ROUTE) + ROUTE_TYPE)
    if kind == RTN_BROADCAST:
        return 1
    return kind == RTN_MULTICAST


@native
def _forward4(cpu: int, skb: int, hop: int) -> int:
    """kernel: ip_forward()."""
    header = load64(skb + SKB_DATA)
    ttl = load8(header + 8)
    if ttl <= 1:
        return TTL_EXCEEDED
    if load32(skb + SKB_LEN) > load32(hop + HOP_MTU) and bswap16(load16(header + 6)) & _DF:
        return FRAGMENTATION_NEEDED
    decrease_ttl(header)
    if load32(skb + SKB_OPTIONS_CHANGED):
        store32(skb + SKB_OPTIONS_CHANGED, 0)
        fill_ipv4_header_checksum(header)
    store32(skb + SKB_PRIORITY, priority_of_tos(load8(header + 1)))
    return dst_output(cpu, skb, hop)


@native
def _forward6(cpu: int, skb: int, hop: int) -> int:
    """kernel: ip6_forward()."""
    header = load64(skb + SKB_DATA)
    limit = load8(header + 7)
    if limit <= 1:
        return TTL_EXCEEDED
    if load32(hop + HOP_IFINDEX) != load32(skb + SKB_INGRESS_IFINDEX) and _stays_on_link(header) != 0:
        return NOT_FORWARDED
    if load32(skb + SKB_LEN) > max(load32(hop + HOP_FORWARD_MTU), IPV6_MIN_MTU):
        return FRAGMENTATION_NEEDED
    store8(header + 7, limit - 1)
    return dst_output(cpu, skb, hop)


@native
def _stays_on_link(header: int) -> int:
    """Whether no packet of this IPv6 source is forwarded from one device to another: none, the loopback, multicast,
    link-local."""
    source = bswap64(load64(header + 8))
    if source == 0 and lshr(bswap64(load64(header + 16)), 1) == 0:
        return 1
    return lshr(source, 56) == 0xFF or lshr(source, 54) == _LINK_LOCAL
