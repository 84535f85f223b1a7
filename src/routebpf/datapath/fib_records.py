"""Routes as running code sees them: records in memory that `datapath.fib` writes and everything native reads.

An address is two 64-bit words, high and low, as numbers; an IPv4 address is the upper half of the high word, so one
search by prefix serves both families. 32 bits each unless said.
"""

from __future__ import annotations

# In the host's struct (runtime.device), behind the devices. 64 bits each.
HOST_FIB4 = 16  # the address of the family's FIB
HOST_FIB6 = 24
HOST_NEIGHBOURS = 32  # the address of the neighbour table
HOST_FLAGS = 40
HOST_SHORT_WAYS = 48  # the address of the trie of datapath.short_ways
HOST_SHORT_HOPS = 56  # and of the addresses of its next hops

HOST_MAKES_NEIGHBOURS = 1  # a neighbour that nobody named gets a made-up address
HOST_WANTS_HEADERS = 2  # link headers matter: a program can push one

# The FIB of one family. 64 bits each.
FIB_RULES = 0  # the address of its rules, in order
FIB_RULE_COUNT = 8
FIB_INPUTS = 16  # FIB_USES_*
FIB_LOCAL = 24  # the address of table local
FIB_LOOKS_BACK = 32  # of IPv4: the source of what comes in is looked up whole, not only among the host's addresses
FIB_BYTES = 64

# What a lookup depends on besides the destination.
FIB_USES_SOURCE, FIB_USES_MARK, FIB_USES_IIF, FIB_USES_TOS = (1 << bit for bit in range(4))

# A rule.
RULE_TABLE = 0  # 64 bits: the address of a table, 0 if there is none
RULE_REASON = 8  # what a packet that matches gets, 0: look up the table
RULE_FLAGS = 12
RULE_SOURCE = 16  # 64 bits each, high and low, as the next three
RULE_SOURCE_MASK = 32
RULE_DESTINATION = 48
RULE_DESTINATION_MASK = 64
RULE_MARK = 80
RULE_MARK_MASK = 84
RULE_IIF = 88  # 0: any
RULE_TOS = 92  # 0: any
RULE_SUPPRESS = 96  # routes with prefixes of at most so many bits less 1 do not count
RULE_BYTES = 128

RULE_INVERTED = 1
RULE_SKIPPED = 2  # it matches, and nothing comes of it (nop)

# A table: TABLE_COUNT prefix lengths, longest first. 64 bits each.
TABLE_COUNT = 0
TABLE_LENGTHS = 8
TABLE_BYTES = 16

LENGTH_MASK = 0  # high and low
LENGTH_BUCKETS = 16  # the address of a hash table with open addressing
LENGTH_BUCKET_MASK = 24  # its number of buckets less 1
LENGTH_BYTES = 32

BUCKET_KEY = 0  # high and low
BUCKET_ROUTE = 16  # the first route of the prefix, 0: the bucket is empty
BUCKET_BYTES = 24

# A route.
ROUTE_NEXT = 0  # 64 bits: the next one of the same prefix
ROUTE_HOPS = 8  # 64 bits: the address of its next hops
ROUTE_HOP_COUNT = 16
ROUTE_TYPE = 20  # RTN_*
ROUTE_TOS = 24
ROUTE_NUMBER = 28
ROUTE_REASON = 32  # what a packet gets, 0: it goes on by a next hop
ROUTE_PREFIX_BITS = 36
ROUTE_HAS_EQUAL = (
    40  # IPv6: the next one has the same metric, and is taken instead where it goes by the device of input
)
ROUTE_BYTES = 64

RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST = range(1, 6)
RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT, RTN_THROW = range(6, 10)

# A next hop: with its route it is what the kernel calls a dst.
HOP_ROUTE = 0  # 64 bits
HOP_GATEWAY = 16  # 64 bits each, high and low
HOP_XMIT = 32  # 64 bits: a program's entry, 0: none
HOP_IN = 40
HOP_OUT = 48
HOP_BARE = 56  # 64 bits: a next hop of the same device with no gateway and no program
HOP_GATEWAY_FAMILY = 64  # 4, 6, 0: no gateway
HOP_IFINDEX = 68
HOP_BOUND = 72  # of the hash that chooses among next hops: up to here
HOP_MTU = 76  # of the route, or the device; less the headroom
HOP_REALM = 80
HOP_FLAGS = 84
HOP_SOURCE = 88  # of IPv4: the address that the device has for it
HOP_PREFERRED = 92  # of IPv4: the source of packets that have none; 0 of a local one: their destination
HOP_FORWARD_MTU = 96  # of the device or a locked one of the route, less the headroom: what IPv6 forwards
HOP_SHORT_MTU = 104  # up to so many bytes a packet may take the short way (datapath.short_send)
HOP_SHORT_HEADER = 108  # bytes of link header
HOP_COUNTS = 112  # 64 bits: where the route's counters begin among all
HOP_BYTES = 128

HOP_PLAIN = 1  # no program on it can change a packet, and there is none but on xmit
HOP_LOCAL = 2  # the packet is for the host itself
HASH_BITS = 31
