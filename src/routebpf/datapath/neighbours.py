"""Neighbours: the link addresses of next hops, and the link header that is put before a packet.

kernel: net/core/neighbour.c, net/ipv4/arp.c, net/ipv6/ndisc.c, net/ethernet/eth.c. A neighbour whose header is not
cached yet, or that is on a device without link headers, gets the packet from its network header on, whatever a program
pushed before that; one whose header is cached gets it as it is, behind that header.
"""

from __future__ import annotations

from routebpf.datapath.fib_lookup import spread, table_lookup
from routebpf.datapath.fib_records import (
    FIB_LOCAL,
    HOP_FLAGS,
    HOP_GATEWAY,
    HOP_GATEWAY_FAMILY,
    HOP_IFINDEX,
    HOP_LOCAL,
    HOST_FIB4,
    HOST_FLAGS,
    HOST_MAKES_NEIGHBOURS,
    HOST_NEIGHBOURS,
    HOST_WANTS_HEADERS,
    ROUTE_TYPE,
    RTN_BROADCAST,
)
from routebpf.datapath.verdicts import DEVICE_MTU, LOCAL, NEIGHBOUR_UNRESOLVED, NO_HEADROOM, RECURSION
from routebpf.runtime.cpu import CPU_DEPTH, CPU_HOST, CPU_SINK
from routebpf.runtime.device import (
    DEVICE_ETHERNET,
    DEVICE_FLAGS,
    DEVICE_LOOPBACK,
    DEVICE_MAC,
    DEVICE_NOARP,
    DEVICE_PAIRED,
    DEVICE_TX_DROPPED,
    SINK_BASE,
    device_of,
    is_too_deep,
    transmit,
)
from routebpf.runtime.device import (
    DEVICE_MTU as DEVICE_MTU_AT,
)
from routebpf.runtime.memory import (
    bswap32,
    bswap64,
    cmpxchg32,
    load16,
    load32,
    load64,
    lshr,
    stack,
    store16,
    store32,
    store64,
    store_release32,
    yield_cpu,
)
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    ETH_P_IP,
    ETH_P_IPV6,
    LL_RESERVED_SPACE,
    SKB_DATA,
    SKB_HEAD,
    SKB_HEADER_BEFORE,
    SKB_HEADROOM,
    SKB_IS_PINNED,
    SKB_LEN,
    SKB_NETWORK_HEADER,
    SKB_NEXT_HOP,
    SKB_PROTOCOL,
    SKB_TIME,
)

# The table: open addressing. 64 bits each.
NEIGHBOURS_BUCKETS = 0  # the address of its entries
NEIGHBOURS_MASK = 8  # their number less 1
NEIGHBOURS_LOCK = 16  # held while one is added
NEIGHBOURS_COUNT = 24
NEIGHBOURS_LIMIT = 32  # no more are made up; beyond it headers are not cached
NEIGHBOURS_BYTES = 64

# A neighbour.
NEIGHBOUR_STATE = 0  # 32 bits: 0 for an empty entry
NEIGHBOUR_KEY = 4  # 32 bits: ifindex << 1, and 1 for IPv6
NEIGHBOUR_ADDRESS = 8  # 64 bits each, high and low
NEIGHBOUR_MAC = 24  # 6 bytes
NEIGHBOUR_BYTES = 32

NEIGHBOUR_PRESENT, NEIGHBOUR_VALID, NEIGHBOUR_CONNECTED, NEIGHBOUR_CACHED = (1 << bit for bit in range(4))
_CONNECTED = NEIGHBOUR_PRESENT | NEIGHBOUR_VALID | NEIGHBOUR_CONNECTED

UNRESOLVED, NO_ROOM = -1, -2
_ETHERNET_BYTES = 14
_VLAN_BYTES = 4
_MAC_MASK = 0xFFFFFFFFFFFF


@native
def neighbour_slot(table: int, key: int, high: int, low: int) -> int:
    """The entry of a neighbour, or the empty one where it would go."""
    mask = load64(table + NEIGHBOURS_MASK)
    buckets = load64(table + NEIGHBOURS_BUCKETS)
    at = lshr(spread(high ^ key, low), 32) & mask
    while True:
        entry = buckets + at * NEIGHBOUR_BYTES
        if load32(entry + NEIGHBOUR_STATE) == 0:
            return entry
        if (
            load64(entry + NEIGHBOUR_ADDRESS) == high
            and load64(entry + NEIGHBOUR_ADDRESS + 8) == low
            and load32(entry + NEIGHBOUR_KEY) == key
        ):
            return entry
        at = (at + 1) & mask


@native
def neighbour_add(table: int, key: int, high: int, low: int, mac: int, state: int) -> int:
    """Add or change a neighbour: its entry, or 0 when the table is full. `mac`: 6 bytes as they are in memory."""
    while cmpxchg32(table + NEIGHBOURS_LOCK, 0, 1) != 0:
        yield_cpu()
    entry = neighbour_slot(table, key, high, low)
    if load32(entry + NEIGHBOUR_STATE) == 0:
        if load64(table + NEIGHBOURS_COUNT) >= load64(table + NEIGHBOURS_LIMIT):
            entry = 0
        else:
            store64(table + NEIGHBOURS_COUNT, load64(table + NEIGHBOURS_COUNT) + 1)
    if entry != 0:
        store32(entry + NEIGHBOUR_KEY, key)
        store64(entry + NEIGHBOUR_ADDRESS, high)
        store64(entry + NEIGHBOUR_ADDRESS + 8, low)
        store64(entry + NEIGHBOUR_MAC, mac)
        store_release32(entry + NEIGHBOUR_STATE, state)
    store_release32(table + NEIGHBOURS_LOCK, 0)
    return entry


@native
def made_up_mac(host: int, device: int, key: int, high: int, low: int) -> int:
    """The link address that a neighbour has by what it is, as 6 bytes in memory; -1: it has to be known.

    Multicast by RFC 1112 and RFC 2464, broadcast, a device without ARP: its own. Made up: 02, 00 and the IPv4 address;
    of IPv6, 06, 00 and its last four bytes. kernel: arp_constructor(), ndisc_constructor().
    """
    flags = load32(device + DEVICE_FLAGS)
    if key & 1:
        if lshr(high, 56) == 0xFF:
            return bswap32(low & 0xFFFFFFFF) << 16 | 0x3333
        if flags & DEVICE_NOARP:
            return load64(device + DEVICE_MAC) & _MAC_MASK
        if load64(host + HOST_FLAGS) & HOST_MAKES_NEIGHBOURS:
            return bswap32(low & 0xFFFFFFFF) << 16 | 0x0006
        return -1
    address = lshr(high, 32)
    if address >> 28 == 0xE:
        return bswap32(address & 0x7FFFFF) << 16 & 0xFFFFFF000000 | 0x5E0001
    if flags & DEVICE_NOARP:
        return load64(device + DEVICE_MAC) & _MAC_MASK
    local = load64(load64(host + HOST_FIB4) + FIB_LOCAL)
    broadcast = address == 0xFFFFFFFF or address == 0
    if local != 0 and not broadcast:
        route = table_lookup(local, high, low, 0, 0, 0)
        broadcast = route != 0 and load32(route + ROUTE_TYPE) == RTN_BROADCAST
    if broadcast:
        return _MAC_MASK
    if load64(host + HOST_FLAGS) & HOST_MAKES_NEIGHBOURS:
        return bswap32(address) << 16 | 0x0002
    return -1


@native
def neighbour_output(cpu: int, skb: int, hop: int) -> int:
    """The packet leaves by its next hop. A reason.

    kernel: ip_finish_output2() from the neighbour on, ip6_finish_output2(), neigh_output(), neigh_resolve_output().
    """
    device = device_of(cpu, load32(hop + HOP_IFINDEX))
    if is_too_deep(device, load32(cpu + CPU_DEPTH)):
        return RECURSION
    sent = 0
    if load32(hop + HOP_FLAGS) & HOP_LOCAL:
        sent = LOCAL
    header = stack(16)
    header_size = 0
    flags = load32(device + DEVICE_FLAGS)
    host = load64(cpu + CPU_HOST)
    if flags & (DEVICE_ETHERNET | DEVICE_LOOPBACK):
        header_size = _ETHERNET_BYTES
        is_wanted = load64(host + HOST_FLAGS) & HOST_WANTS_HEADERS or load64(load64(cpu + CPU_SINK) + SINK_BASE)
        if is_wanted:
            found = _link_header(host, skb, hop, device, header)
            if found < 0:
                return NEIGHBOUR_UNRESOLVED if found == UNRESOLVED else NO_HEADROOM
    else:
        _pull_to_network_header(skb)
    size = load32(skb + SKB_LEN)
    if flags & DEVICE_PAIRED and size > load32(device + DEVICE_MTU_AT) + _VLAN_BYTES:
        # What a veth pair does not take (kernel: is_skb_forwardable()); the sender hears nothing.
        store64(device + DEVICE_TX_DROPPED, load64(device + DEVICE_TX_DROPPED) + 1)
        return DEVICE_MTU
    transmit(cpu, load32(hop + HOP_IFINDEX), header, header_size, load64(skb + SKB_DATA), size, load64(skb + SKB_TIME))
    return sent


@native
def _link_header(host: int, skb: int, hop: int, device: int, header: int) -> int:
    """Write the Ethernet header, and pull the packet to its network header as the kernel does. 0, or UNRESOLVED, or
    NO_ROOM: a program has left the kernel no room for it."""
    protocol = load16(skb + SKB_PROTOCOL)
    family = load32(hop + HOP_GATEWAY_FAMILY)
    key = load32(hop + HOP_IFINDEX) << 1
    high = load64(hop + HOP_GATEWAY)
    low = load64(hop + HOP_GATEWAY + 8)
    is_crossing = family == 6 and protocol == ETH_P_IP
    if family == 6:
        key |= 1
    if family == 0 and load32(skb + SKB_IS_PINNED):
        key |= protocol == ETH_P_IPV6
        high = load64(skb + SKB_NEXT_HOP)
        low = load64(skb + SKB_NEXT_HOP + 8)
    elif family == 0:
        network = load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER)
        if protocol == ETH_P_IPV6:
            # ip6_finish_output2() finds the destination before the program runs: an outer header is not seen.
            network = load64(skb + SKB_HEAD) + load64(skb + SKB_HEADER_BEFORE)
            key |= 1
            high = bswap64(load64(network + 24))
            low = bswap64(load64(network + 32))
        else:
            high = bswap32(load32(network + 16)) << 32
            low = 0
    if key & 1 == 0 and load32(device + DEVICE_FLAGS) & DEVICE_LOOPBACK:
        high = 0  # kernel: __ipv4_neigh_lookup_noref(): one for all
    table = load64(host + HOST_NEIGHBOURS)
    entry = neighbour_slot(table, key, high, low)
    state = load32(entry + NEIGHBOUR_STATE)
    mac = load64(entry + NEIGHBOUR_MAC)
    if state & NEIGHBOUR_VALID == 0:
        mac = made_up_mac(host, device, key, high, low)
        if mac < 0:
            return UNRESOLVED
        state = _CONNECTED
        entry = neighbour_add(table, key, high, low, mac, state)
    is_cached = state & NEIGHBOUR_CACHED and state & NEIGHBOUR_CONNECTED and not is_crossing
    if is_cached and load64(skb + SKB_HEADROOM) < LL_RESERVED_SPACE:
        return NO_ROOM  # kernel: neigh_hh_output()
    if is_cached:
        protocol = ETH_P_IP
        if key & 1:
            protocol = ETH_P_IPV6
    else:
        if entry != 0:
            store32(entry + NEIGHBOUR_STATE, state | NEIGHBOUR_CACHED)
        _pull_to_network_header(skb)
    store64(header, mac)
    store64(header + 6, load64(device + DEVICE_MAC))
    store16(header + 12, protocol)
    return 0


@native
def _pull_to_network_header(skb: int) -> int:
    start = load64(skb + SKB_HEAD) + load64(skb + SKB_NETWORK_HEADER)
    store32(skb + SKB_LEN, load32(skb + SKB_LEN) - (start - load64(skb + SKB_DATA)))
    store64(skb + SKB_DATA, start)
    return 0


@native
def neighbours_move(old: int, count: int, table: int) -> int:
    """Add the neighbours of `count` old entries to a table: how many there were."""
    moved = 0
    for index in range(count):
        entry = old + index * NEIGHBOUR_BYTES
        state = load32(entry + NEIGHBOUR_STATE)
        if state:
            high = load64(entry + NEIGHBOUR_ADDRESS)
            low = load64(entry + NEIGHBOUR_ADDRESS + 8)
            neighbour_add(table, load32(entry + NEIGHBOUR_KEY), high, low, load64(entry + NEIGHBOUR_MAC), state)
            moved += 1
    return moved
