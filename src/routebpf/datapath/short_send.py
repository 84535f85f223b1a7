"""The short way of an IPv4 packet that this host sends, for next hops whose program changes nothing.

It does what `ip_send4` does for the packets that it takes, and takes none that it is not sure of: nobody wants frames
or link headers, the header is plain and right as it stands, and the destination has one next hop. 64 bytes of packet
cost 20 to 30 ns on the long way, and 5 to 8 ns on this one.
"""

from __future__ import annotations

from routebpf.datapath.capture_link_types import LINKTYPE_ETHERNET, LINKTYPE_RAW
from routebpf.datapath.fib_records import (
    HOP_COUNTS,
    HOP_IFINDEX,
    HOP_REALM,
    HOP_ROUTE,
    HOP_SHORT_HEADER,
    HOP_SHORT_MTU,
    HOP_XMIT,
    HOST_SHORT_HOPS,
    HOST_SHORT_WAYS,
    ROUTE_NUMBER,
)
from routebpf.datapath.ip_header import priority_of_tos
from routebpf.datapath.packet_rows import ROW_ADDRESS, ROW_LINK, ROW_SIZE, ROW_TIME
from routebpf.datapath.run_records import RESULT_FRAMES, RESULT_ROUTE, RUN_LENGTH, RUN_PLAIN, RUN_ROUTE
from routebpf.runtime.cpu import CPU_HOST, CPU_ROUTE_COUNTS, CPU_SKB
from routebpf.runtime.device import DEVICE_BYTES, DEVICE_TX_BYTES, DEVICE_TX_FRAMES, HOST_DEVICES
from routebpf.runtime.memory import (
    bswap16,
    bswap32,
    call2,
    load8,
    load16,
    load32,
    load64,
    low32,
    store32,
    store64,
    urem,
)
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    ETH_P_IP,
    SKB_DATA,
    SKB_END,
    SKB_HEAD,
    SKB_IFINDEX,
    SKB_LEN,
    SKB_MARK,
    SKB_PRIORITY,
    SKB_PROTOCOL,
    SKB_REALM,
    SKB_ROUTE,
    SKB_TAIL,
    SKB_TIME,
    SKB_TRANSPORT_HEADER,
)

_ETHERNET_BYTES = 14
_HEADER_BYTES = 20
_NODE_BIT = 31
_ROOT_BYTES = 4 << 16
_NODE_BYTES_SHIFT = 10
NOT_TAKEN = -1


@native
def short_send(cpu: int, run: int, row: int, result: int) -> int:
    """Send the packet in a row if it can go the short way: the low 32 bits of what its program returned, 0 without one.

    0 has been seen to, anything else is for the caller. NOT_TAKEN: nothing was done. `result`: 0 if not wanted."""
    data = load64(row + ROW_ADDRESS)
    size = load32(row + ROW_SIZE)
    link = load16(row + ROW_LINK)
    if link == LINKTYPE_ETHERNET:
        if size < _ETHERNET_BYTES or load16(data + _ETHERNET_BYTES - 2) != ETH_P_IP:
            return NOT_TAKEN
        data += _ETHERNET_BYTES
        size -= _ETHERNET_BYTES
    elif link != LINKTYPE_RAW:
        return NOT_TAKEN
    if size < _HEADER_BYTES or load8(data) != 0x45:
        return NOT_TAKEN
    length = bswap16(load16(data + 2))
    if length < _HEADER_BYTES or length > size:
        return NOT_TAKEN
    # Neither an id nor don't-fragment: it gets an id. Source: a unicast address, not this host's own network.
    source = load8(data + 12)
    if load32(data + 4) & 0x40FFFF == 0 or source - 1 & 0xFF >= 223 or source == 127:
        return NOT_TAKEN
    total = load32(data) + load32(data + 4) + load32(data + 8) + load32(data + 12) + load32(data + 16)
    if urem(total, 0xFFFF) != 0:
        return NOT_TAKEN
    host = load64(cpu + CPU_HOST)
    hop = _short_way(host, bswap32(load32(data + 16)))
    if length > load32(hop + HOP_SHORT_MTU):
        return NOT_TAKEN
    code = _run(cpu, run, row, hop, data, length)
    if code == 0:
        device = load64(host + HOST_DEVICES) + load32(hop + HOP_IFINDEX) * DEVICE_BYTES
        store64(device + DEVICE_TX_FRAMES, load64(device + DEVICE_TX_FRAMES) + 1)
        store64(device + DEVICE_TX_BYTES, load64(device + DEVICE_TX_BYTES) + length + load32(hop + HOP_SHORT_HEADER))
        counts = load64(cpu + CPU_ROUTE_COUNTS) + load64(hop + HOP_COUNTS)
        store64(counts, load64(counts) + 1)
        store64(counts + 8, load64(counts + 8) + length)
        if result:
            store64(result, 0)
            store64(result + RESULT_ROUTE, load32(load64(hop + HOP_ROUTE) + ROUTE_NUMBER) | length << 32)
            store64(result + RESULT_FRAMES, 1)
    return code


@native
def _short_way(host: int, address: int) -> int:
    """The next hop of an address; of one that has none, a next hop whose HOP_SHORT_MTU is 0."""
    entries = load64(host + HOST_SHORT_WAYS)
    entry = load32(entries + (address >> 16) * 4)
    if entry >> _NODE_BIT:
        node = entries + _ROOT_BYTES + ((entry & 0x7FFFFFFF) << _NODE_BYTES_SHIFT)
        entry = load32(node + (address >> 8 & 0xFF) * 4)
        if entry >> _NODE_BIT:
            node = entries + _ROOT_BYTES + ((entry & 0x7FFFFFFF) << _NODE_BYTES_SHIFT)
            entry = load32(node + (address & 0xFF) * 4)
    return load64(load64(host + HOST_SHORT_HOPS) + entry * 8)


@native
def _run(cpu: int, run: int, row: int, hop: int, data: int, length: int) -> int:
    """Run the next hop's program on the packet where it lies: the low 32 bits of r0, 0 without a program."""
    store64(run + RUN_ROUTE, load64(hop + HOP_ROUTE))
    store64(run + RUN_LENGTH, length)
    program = load64(hop + HOP_XMIT)
    if program == 0:
        return 0
    skb = load64(run + RUN_PLAIN)
    store64(skb + SKB_LEN, length)
    store64(skb + SKB_MARK, 0)
    store32(skb + SKB_PROTOCOL, ETH_P_IP)
    store64(skb + SKB_PRIORITY, priority_of_tos(load8(data + 1)))
    store32(skb + SKB_IFINDEX, load32(hop + HOP_IFINDEX))
    store64(skb + SKB_HEAD, data)
    store64(skb + SKB_DATA, data)
    store64(skb + SKB_TAIL, data + length)
    store64(skb + SKB_END, data + length)
    store64(skb + SKB_TRANSPORT_HEADER, _HEADER_BYTES)
    store64(skb + SKB_REALM, load32(hop + HOP_REALM) | load32(hop + HOP_IFINDEX) << 32)
    store64(skb + SKB_ROUTE, hop)
    store64(skb + SKB_TIME, load64(row + ROW_TIME))
    store64(cpu + CPU_SKB, skb)
    return low32(call2(program, cpu, skb))
