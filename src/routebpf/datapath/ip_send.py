"""A packet that this host sends as it is, IP header and all.

kernel: net/ipv4/raw.c, raw_send_hdrinc(); net/ipv6/raw.c, rawv6_send_hdrinc(), for a socket with the packet's TOS that
may send broadcasts. It has the packet's source address, too (IP_PKTINFO), so that rules see it; not for multicast and
limited broadcast packets, which would then go by the device of that address and no route. A result is a reason.
"""

from __future__ import annotations

from routebpf.datapath.fib_records import (
    HOP_FLAGS,
    HOP_GATEWAY_FAMILY,
    HOP_IFINDEX,
    HOP_LOCAL,
    HOP_MTU,
    HOP_PLAIN,
    HOP_PREFERRED,
    HOP_ROUTE,
    HOP_XMIT,
)
from routebpf.datapath.ip_header import has_good_checksum, priority_of_tos
from routebpf.datapath.ip_output import dst_output, is_of_many, output_hop4, output_hop6, reroute, set_hop
from routebpf.datapath.lwt import BPF_OK, run_program, xmit_verdict
from routebpf.datapath.neighbours import neighbour_output
from routebpf.datapath.run_records import RUN_MARK, RUN_PLAIN, RUN_ROUTE, RUN_SKB
from routebpf.datapath.verdicts import REROUTED, TOO_LONG
from routebpf.runtime.checksum import checksum
from routebpf.runtime.cpu import CPU_DEPTH, CPU_IPV4_IDS, CPU_REDIRECT_IFINDEX, CPU_SOCKETS, SOCKET_BYTES
from routebpf.runtime.device import DEVICE_MTU, device_of
from routebpf.runtime.memory import (
    bswap16,
    bswap32,
    bswap64,
    copy,
    fill,
    load8,
    load16,
    load32,
    load64,
    store16,
    store32,
    store64,
)
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    ETH_P_IP,
    ETH_P_IPV6,
    HEADROOM,
    LL_RESERVED_SPACE,
    SKB_BYTES,
    SKB_DATA,
    SKB_END,
    SKB_HAS_SOCKET,
    SKB_HEAD,
    SKB_HEADROOM,
    SKB_IFINDEX,
    SKB_IS_PINNED,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_MARK,
    SKB_NETWORK_HEADER,
    SKB_NEXT_HOP,
    SKB_PRIORITY,
    SKB_PROTOCOL,
    SKB_SK,
    SKB_TAIL,
    SKB_TIME,
    SKB_TRANSPORT_HEADER,
    UNSET,
)

_DF = 0x4000


@native
def ip_send4(cpu: int, run: int, data: int, have: int, length: int, time: int) -> int:
    """Send an IPv4 packet of `length` bytes, of which `have` are at `data` and the others are 0."""
    tos = load8(data + 1)
    dst = bswap32(load32(data + 16))
    src = bswap32(load32(data + 12))
    if is_of_many(dst):
        src = 0  # so that the routes decide
    hop = output_hop4(cpu, dst, src, tos, load64(run + RUN_MARK))
    if hop < 0:
        return -hop
    store64(run + RUN_ROUTE, load64(hop + HOP_ROUTE))
    if length > load32(device_of(cpu, load32(hop + HOP_IFINDEX)) + DEVICE_MTU):
        return TOO_LONG
    is_plain = load32(hop + HOP_FLAGS) & HOP_PLAIN and length <= load32(hop + HOP_MTU)
    if is_plain and have >= length and _is_complete(data, length):
        return _send_plain(cpu, run, hop, data, length, ETH_P_IP, time)
    source = load32(hop + HOP_PREFERRED)
    if source == 0 and load32(hop + HOP_FLAGS) & HOP_LOCAL:
        source = dst
    skb = _new_sent(cpu, run, data, have, length, ETH_P_IP, source, time)
    set_hop(skb, hop)
    _pin(skb, hop)
    return dst_output(cpu, skb, hop)


@native
def ip_send6(cpu: int, run: int, data: int, have: int, length: int, time: int) -> int:
    """Send an IPv6 packet of `length` bytes, of which `have` are at `data` and the others are 0."""
    hop = output_hop6(cpu, data, load64(run + RUN_MARK), 1)
    if hop < 0:
        return -hop
    store64(run + RUN_ROUTE, load64(hop + HOP_ROUTE))
    if length > load32(device_of(cpu, load32(hop + HOP_IFINDEX)) + DEVICE_MTU):
        return TOO_LONG
    is_plain = load32(hop + HOP_FLAGS) & HOP_PLAIN and length <= load32(hop + HOP_MTU)
    # A multicast packet may have to stay on the host; that is rare enough to go the long way.
    if is_plain and have >= length and load8(data + 24) != 0xFF:
        return _send_plain(cpu, run, hop, data, length, ETH_P_IPV6, time)
    skb = _new_sent(cpu, run, data, have, length, ETH_P_IPV6, 0, time)
    set_hop(skb, hop)
    _pin(skb, hop)
    return dst_output(cpu, skb, hop)


@native
def _pin(skb: int, hop: int) -> int:
    """On a route without a gateway the packet goes to the neighbour that it was sent to, even if its program changes
    the destination. Only packets that are sent with their header are so: FLOWI_FLAG_KNOWN_NH, rt_set_nexthop()."""
    if load32(hop + HOP_GATEWAY_FAMILY) or load64(hop + HOP_ROUTE) == 0:
        return 0
    header = load64(skb + SKB_DATA)
    store32(skb + SKB_IS_PINNED, 1)
    if load32(skb + SKB_PROTOCOL) == ETH_P_IP:
        store64(skb + SKB_NEXT_HOP, bswap32(load32(header + 16)) << 32)
        return 0
    store64(skb + SKB_NEXT_HOP, bswap64(load64(header + 24)))
    store64(skb + SKB_NEXT_HOP + 8, bswap64(load64(header + 32)))
    return 0


@native
def _is_complete(data: int, length: int) -> int:
    """Whether raw_send_hdrinc() would leave the IPv4 header as it is."""
    has_id = load16(data + 4) or load8(data + 6) & 0x40
    return has_id and load32(data + 12) and bswap16(load16(data + 2)) == length and has_good_checksum(data)


@native
def _new_sent(cpu: int, run: int, data: int, have: int, length: int, protocol: int, source: int, time: int) -> int:
    """A packet of this host's own, in a buffer. The address of its struct skb. `source`: of an IPv4 packet without."""
    skb = load64(run + RUN_SKB)
    packet = new_packet(skb, data, have, length, time)
    store32(skb + SKB_PROTOCOL, protocol)
    store32(skb + SKB_MARK, load64(run + RUN_MARK))
    store32(skb + SKB_HAS_SOCKET, 1)
    store64(skb + SKB_SK, cpu + CPU_SOCKETS + (0 if protocol == ETH_P_IP else SOCKET_BYTES))
    store64(skb + SKB_TRANSPORT_HEADER, HEADROOM)
    if protocol == ETH_P_IP:
        header = (load8(packet) & 15) * 4
        store32(skb + SKB_PRIORITY, priority_of_tos(load8(packet + 1)))
        store64(skb + SKB_TRANSPORT_HEADER, HEADROOM + header)
        _complete_header(cpu, packet, header, length, source)
    return skb


@native
def new_packet(skb: int, data: int, have: int, length: int, time: int) -> int:
    """Start a packet anew in its buffer: all of its struct, and a copy of its bytes. Where its IP header is."""
    head = load64(skb + SKB_HEAD)
    end = load64(skb + SKB_END)
    packet = head + HEADROOM
    fill(skb, 0, SKB_BYTES)
    store64(skb + SKB_HEAD, head)
    store64(skb + SKB_END, end)
    store64(skb + SKB_DATA, packet)
    store64(skb + SKB_TAIL, packet + length)
    store32(skb + SKB_LEN, length)
    store64(skb + SKB_MAC_HEADER, UNSET)
    store64(skb + SKB_NETWORK_HEADER, HEADROOM)
    store64(skb + SKB_HEADROOM, LL_RESERVED_SPACE)
    store64(skb + SKB_TIME, time)
    taken = min(have, length)
    copy(packet, data, taken)
    if taken < length:
        fill(packet + taken, 0, length - taken)
    return packet


@native
def _complete_header(cpu: int, packet: int, header: int, length: int, source: int) -> int:
    """Total length, an id and a source where there is none, checksum: what raw_send_hdrinc() sees to."""
    if load32(packet + 12) == 0:
        store32(packet + 12, bswap32(source))
    store16(packet + 2, bswap16(length))
    if load16(packet + 4) == 0 and bswap16(load16(packet + 6)) & _DF == 0:
        count = load64(cpu + CPU_IPV4_IDS) + 1
        store64(cpu + CPU_IPV4_IDS, count)
        store16(packet + 4, bswap16((count - 1) % 0xFFFF + 1))
    store16(packet + 10, 0)
    store16(packet + 10, checksum(packet, header))
    return 0


@native
def _send_plain(cpu: int, run: int, hop: int, data: int, length: int, protocol: int, time: int) -> int:
    """Send a packet whose program changes nothing: it sees the bytes where they are, nothing is copied.

    Of the struct skb, RUN_PLAIN, only what differs from packet to packet is set: such a program leaves it as it is.
    """
    skb = load64(run + RUN_PLAIN)
    priority = 0
    transport = 0
    if protocol == ETH_P_IP:
        priority = priority_of_tos(load8(data + 1))
        transport = (load8(data) & 15) * 4
    store64(skb + SKB_LEN, length)
    store64(skb + SKB_MARK, load64(run + RUN_MARK))
    store32(skb + SKB_PROTOCOL, protocol)
    store64(skb + SKB_PRIORITY, priority)
    store32(skb + SKB_IFINDEX, load32(hop + HOP_IFINDEX))
    store64(skb + SKB_HEAD, data)
    store64(skb + SKB_DATA, data)
    store64(skb + SKB_TAIL, data + length)
    store64(skb + SKB_END, data + length)
    store64(skb + SKB_TRANSPORT_HEADER, transport)
    store64(skb + SKB_TIME, time)
    set_hop(skb, hop)
    program = load64(hop + HOP_XMIT)
    if program:
        code = run_program(cpu, skb, program)
        if code != BPF_OK:
            return end_plain(cpu, run, code)
    return neighbour_output(cpu, skb, hop)


@native
def end_plain(cpu: int, run: int, code: int) -> int:
    """Carry out what a program that changes nothing returned for the packet in RUN_PLAIN, if it was not BPF_OK.

    Where it is rerouted it may come to a program that does change it: it goes on as a copy.
    """
    store64(cpu + CPU_REDIRECT_IFINDEX, 0)  # what an earlier program left there: this one calls no bpf_redirect
    plain = load64(run + RUN_PLAIN)
    protocol = load32(plain + SKB_PROTOCOL)
    reason = xmit_verdict(cpu, plain, code, protocol)
    if reason != REROUTED:
        return reason
    length = load32(plain + SKB_LEN)
    skb = _new_sent(cpu, run, load64(plain + SKB_DATA), length, length, protocol, 0, load64(plain + SKB_TIME))
    store32(cpu + CPU_DEPTH, 1)
    return reroute(cpu, skb)
