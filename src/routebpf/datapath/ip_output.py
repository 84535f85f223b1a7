"""The way out: the program on the route's output, fragments, the program on xmit, reroute, the neighbour.

kernel: net/ipv4/ip_output.c, ip_output() to ip_finish_output2(); net/ipv6/ip6_output.c; net/core/lwtunnel.c,
lwtunnel_output(), lwtunnel_xmit(). A result is a reason.
"""

from __future__ import annotations

from routebpf.datapath.fib_lookup import LOOPBACK_IFINDEX, hop_of, route_of, table_lookup
from routebpf.datapath.fib_records import (
    FIB_LOCAL,
    HOP_BARE,
    HOP_IFINDEX,
    HOP_MTU,
    HOP_OUT,
    HOP_REALM,
    HOP_XMIT,
    HOST_FIB4,
    ROUTE_HOPS,
    ROUTE_PREFIX_BITS,
    ROUTE_TYPE,
    RTN_LOCAL,
)
from routebpf.datapath.fragment import fragment_next, fragment_start
from routebpf.datapath.lwt import lwt_run, lwt_xmit
from routebpf.datapath.neighbours import neighbour_output
from routebpf.datapath.verdicts import (
    DONT_FRAGMENT,
    FIRST_FAILURE,
    IP_HEADER_LENGTH,
    LOCAL,
    MULTICAST_SCOPE,
    NO_ROUTE,
    RECURSION,
    REROUTE_PROTOCOL,
    REROUTED,
    SENT,
    SOURCE_INVALID,
)
from routebpf.runtime.cpu import CPU_DEPTH, CPU_FRAGMENTS, CPU_HOST, CPU_IS_REROUTED, CPU_LEVEL
from routebpf.runtime.device import DEVICE_FLAGS, DEVICE_LOOPBACK, XMIT_RECURSION_LIMIT, device_of
from routebpf.runtime.memory import bswap16, bswap32, bswap64, load8, load16, load32, load64, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    ETH_P_IP,
    ETH_P_IPV6,
    LL_RESERVED_SPACE,
    SKB_DEVICE,
    SKB_HEAD,
    SKB_HEADER_BEFORE,
    SKB_IFINDEX,
    SKB_IS_PINNED,
    SKB_LEN,
    SKB_MARK,
    SKB_NETWORK_HEADER,
    SKB_PROTOCOL,
    SKB_REALM,
    SKB_ROUTE,
    SKB_ROUTE_PROTOCOL,
)
from routebpf.runtime.skb_room import skb_expand_headroom

TOS_MASK = 0x1C  # of a packet, before it is compared with that of routes and rules. kernel: fib_dscp_masked_match()
REROUTE_FAILED = 2  # in CPU_IS_REROUTED
_DF = 0x4000


@native
def output_hop4(cpu: int, dst: int, src: int, tos: int, mark: int) -> int:
    """The next hop of an IPv4 packet that this host sends; negative: a reason. Addresses are 32-bit numbers.

    A multicast or limited broadcast packet of a known source goes by the device that has that address, whatever the
    routes say. kernel: ip_route_output_key_hash_rcu(), __mkroute_output(), for a socket that may use any
    source address.
    """
    if src >> 28 == 0xE or src == 0xFFFFFFFF:
        return -SOURCE_INVALID
    if src != 0 and is_of_many(dst):
        return _hop_of_source(cpu, src)
    if dst == 0:
        dst = 0x7F000001  # "this host"
    route = route_of(cpu, 4, dst << 32, 0, src << 32, 0, tos & TOS_MASK, mark, LOOPBACK_IFINDEX, 0)
    hop = hop_of(route, dst << 32, 0, src << 32, 0, src)
    if hop < 0:
        return hop
    if src >> 24 == 127 and load32(device_of(cpu, load32(hop + HOP_IFINDEX)) + DEVICE_FLAGS) & DEVICE_LOOPBACK == 0:
        return -SOURCE_INVALID
    if dst == 0xFFFFFFFF:
        return load64(hop + HOP_BARE)
    if dst >> 28 == 0xE and load32(route + ROUTE_PREFIX_BITS) < 4:
        return load64(hop + HOP_BARE)
    return hop


@native
def is_of_many(dst: int) -> int:
    """Whether an IPv4 address is multicast or the limited broadcast address."""
    return dst >> 28 == 0xE or dst == 0xFFFFFFFF


@native
def _hop_of_source(cpu: int, src: int) -> int:
    """The next hop by the device that has an IPv4 address, without a gateway; negative: a reason."""
    local = load64(load64(load64(cpu + CPU_HOST) + HOST_FIB4) + FIB_LOCAL)
    route = table_lookup(local, src << 32, 0, 0, 0, 0) if local else 0
    if route == 0 or load32(route + ROUTE_TYPE) != RTN_LOCAL:
        return -NO_ROUTE
    return load64(load64(route + ROUTE_HOPS) + HOP_BARE)


@native
def output_hop6(cpu: int, header: int, mark: int, nobody: int) -> int:
    """The next hop of the IPv6 packet that this host sends, by its header. `nobody`: the address, as a number, that ::
    stands for: ::1 to rawv6_sendmsg(), whose packets have their header (FLOWI_FLAG_KNOWN_NH), itself to a reroute.
    kernel: ip6_route_output_flags()."""
    src = bswap64(load64(header + 8))
    src_low = bswap64(load64(header + 16))
    dst = bswap64(load64(header + 24))
    dst_low = bswap64(load64(header + 32))
    if dst == 0 and dst_low == 0:
        dst_low = nobody
    route = route_of(cpu, 6, dst, dst_low, src, src_low, dscp_of(header), mark, LOOPBACK_IFINDEX, nobody)
    return hop_of(route, dst, dst_low, src, src_low, 0)


@native
def dscp_of(header: int) -> int:
    """Of an IPv6 header's traffic class, what rules compare. kernel: ip6_dscp()."""
    return bswap16(load16(header)) >> 4 & 0xFC


@native
def set_hop(skb: int, hop: int) -> int:
    """Give the packet its route: what the kernel's skb_dst_set() is for. The hop."""
    store64(skb + SKB_ROUTE, hop)
    store32(skb + SKB_IS_PINNED, 0)
    store32(skb + SKB_ROUTE_PROTOCOL, load32(skb + SKB_PROTOCOL))
    store32(skb + SKB_REALM, load32(hop + HOP_REALM))
    store32(skb + SKB_DEVICE, load32(hop + HOP_IFINDEX))
    return hop


@native
def dst_output(cpu: int, skb: int, hop: int) -> int:
    """The packet goes out by its route, one deeper if that has a program on output. kernel: lwtunnel_output()."""
    program = load64(hop + HOP_OUT)
    if program == 0:
        return _output(cpu, skb, hop)
    depth = load32(cpu + CPU_DEPTH)
    if depth > XMIT_RECURSION_LIMIT:
        return RECURSION
    store32(cpu + CPU_DEPTH, depth + 1)
    reason = lwt_run(cpu, skb, program)
    if reason < FIRST_FAILURE:
        reason = _output(cpu, skb, hop)
    store32(cpu + CPU_DEPTH, depth)
    return reason


@native
def _output(cpu: int, skb: int, hop: int) -> int:
    """kernel: ip_output(), ip6_output()."""
    store32(skb + SKB_IFINDEX, load32(hop + HOP_IFINDEX))
    store32(skb + SKB_PROTOCOL, load32(skb + SKB_ROUTE_PROTOCOL))
    if load32(skb + SKB_LEN) > load32(hop + HOP_MTU):
        return _fragment(cpu, skb, hop)
    return _finish_output(cpu, skb, hop)


@native
def _fragment(cpu: int, skb: int, hop: int) -> int:
    """Cut an IPv4 packet to the MTU and send the pieces, until one fails; IPv6 is never cut on its way.

    kernel: ip_fragment(), ip_do_fragment(); ip6_fragment(), whose packets here never ignore DF.
    """
    header = load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER)
    if load32(skb + SKB_PROTOCOL) != ETH_P_IP or bswap16(load16(header + 6)) & _DF:
        return DONT_FRAGMENT
    level = load64(cpu + CPU_LEVEL)
    piece = load64(load64(cpu + CPU_FRAGMENTS) + level * 8)
    if fragment_start(skb, load32(hop + HOP_MTU)) == 0:
        return IP_HEADER_LENGTH
    store64(cpu + CPU_LEVEL, level + 1)
    worst = SENT
    done = 0
    while done >= 0:
        done = fragment_next(skb, piece, load32(hop + HOP_MTU), done)
        reason = _finish_output(cpu, piece, hop)
        worst = max(worst, reason)
        if reason >= FIRST_FAILURE:
            break
    store64(cpu + CPU_LEVEL, level)
    return worst


@native
def _finish_output(cpu: int, skb: int, hop: int) -> int:
    """kernel: ip_finish_output2(), ip6_finish_output2()."""
    if load32(skb + SKB_PROTOCOL) == ETH_P_IPV6 and _stays_on_host(cpu, skb, hop):
        return MULTICAST_SCOPE
    skb_expand_headroom(skb, LL_RESERVED_SPACE)
    store64(skb + SKB_HEADER_BEFORE, load64(skb + SKB_NETWORK_HEADER))  # see skb_leave_buffer()
    program = load64(hop + HOP_XMIT)
    if program:
        depth = load32(cpu + CPU_DEPTH)
        if depth > XMIT_RECURSION_LIMIT:
            return RECURSION
        store32(cpu + CPU_DEPTH, depth + 1)
        reason = lwt_xmit(cpu, skb, program)
        if reason == REROUTED:
            reason = reroute(cpu, skb)
        store32(cpu + CPU_DEPTH, depth)
        if reason != SENT:
            return reason
    return neighbour_output(cpu, skb, hop)


@native
def _stays_on_host(cpu: int, skb: int, hop: int) -> int:
    """Whether an IPv6 packet is multicast of interface scope, and its device not the loopback."""
    header = load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER)
    if load8(header + 24) != 0xFF or load8(header + 25) & 15 > 1:
        return 0
    return load32(device_of(cpu, load32(hop + HOP_IFINDEX)) + DEVICE_FLAGS) & DEVICE_LOOPBACK == 0


@native
def reroute(cpu: int, skb: int) -> int:
    """Look the packet's route up anew, by its IP header and mark, and send it there. What then fails is ENOBUFS to the
    sender, whatever it is; only a failed lookup is told as it is. kernel: bpf_lwt_xmit_reroute()."""
    header = load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER)
    protocol = load32(skb + SKB_PROTOCOL)
    mark = load32(skb + SKB_MARK)
    if protocol == ETH_P_IP:
        dst = bswap32(load32(header + 16))
        hop = output_hop4(cpu, dst, bswap32(load32(header + 12)), load8(header + 1), mark)
    elif protocol == ETH_P_IPV6:
        hop = output_hop6(cpu, header, mark, 0)
    else:
        return REROUTE_PROTOCOL
    if hop < 0:
        return -hop
    store64(cpu + CPU_IS_REROUTED, 1)
    skb_expand_headroom(skb, LL_RESERVED_SPACE)
    reason = dst_output(cpu, skb, set_hop(skb, hop))
    if reason == SENT or reason == LOCAL:  # noqa: SIM109 (native functions have no tuples)
        return REROUTED
    if reason >= FIRST_FAILURE:
        store64(cpu + CPU_IS_REROUTED, REROUTE_FAILED)
    return reason
