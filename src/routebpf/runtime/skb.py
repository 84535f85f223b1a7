"""The packet in memory: one struct holds the context as programs see it and what struct sk_buff has beside.

The first bytes are `struct __sk_buff`, each field at its own offset, so a narrow load is a load. Only `data` and
`data_end` are elsewhere: they are addresses, 8 bytes each (`CONTEXT_ADDRESSES`). All data is linear.
"""

from __future__ import annotations

# struct __sk_buff. 32 bits each unless said.
SKB_LEN = 0
SKB_PKT_TYPE = 4
SKB_MARK = 8
SKB_QUEUE_MAPPING = 12
SKB_PROTOCOL = 16  # the ethertype, big-endian in the low 16 bits
SKB_PRIORITY = 32
SKB_INGRESS_IFINDEX = 36
SKB_IFINDEX = 40
SKB_TC_INDEX = 44
SKB_CB = 48  # 20 bytes
SKB_HASH = 68
SKB_NAPI_ID = 84
SKB_GSO_SEGS = 164
SKB_SK = 168  # 64 bits: the address of a struct bpf_sock, or 0
SKB_GSO_SIZE = 176
CONTEXT_BYTES = 192

# What the kernel's sk_buff has beside. 64 bits each unless said; headers are offsets from `head`, as in the kernel.
SKB_HEAD = 192  # the address of the buffer's first byte
SKB_DATA = 200  # the address of the packet's first byte
SKB_TAIL = 208  # the address behind its last byte: data + len
SKB_END = 216  # the address behind the buffer
SKB_MAC_HEADER = 224  # UNSET where there is none
SKB_NETWORK_HEADER = 232
SKB_TRANSPORT_HEADER = 240
SKB_MAC_LEN = 248  # 32 bits
SKB_IP_SUMMED = 252  # 32 bits: CHECKSUM_*
SKB_CSUM = 256  # 32 bits
SKB_CSUM_LEVEL = 260  # 32 bits
SKB_CSUM_START = 264  # offset from head
SKB_CSUM_OFFSET = 272
SKB_ENCAPSULATION = 280  # 32 bits
SKB_HASH_KIND = 284  # 32 bits: HASH_*
SKB_REALM = 288  # 32 bits: the route's tclassid
SKB_DEVICE = 292  # 32 bits: the ifindex of the route's device
SKB_ROUTE = 296  # the datapath's record of the route, or 0
SKB_TUNNEL = 304  # the address of a tunnel key, or 0
SKB_TIME = 312  # nanoseconds
SKB_GSO_TYPE = 320  # 32 bits
SKB_HAS_SOCKET = 324  # 32 bits: whether the host itself sent it
SKB_INNER_NETWORK_HEADER = 328
SKB_INNER_PROTOCOL = 336  # 32 bits
SKB_IS_PINNED = 340  # 32 bits: whether SKB_NEXT_HOP is where it goes on its link, whatever its destination becomes
SKB_NEXT_HOP = 344  # an address, high and low word (datapath.fib_records)
SKB_OPTIONS_SIZE = 360  # 32 bits: how many bytes of IPv4 options it came in with
SKB_OPTIONS_CHANGED = 364  # 32 bits: whether the checksum does not know yet what became of them
SKB_HEADROOM = 368  # 64 bits: how many bytes the kernel would have free before the packet
SKB_ROUTE_PROTOCOL = 376  # 32 bits: of its route; a program on input may have made the packet another's
SKB_HEADER_BEFORE = 384  # where the IP header was before the program on xmit
SKB_BYTES = 392

UNSET = -1
CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL = range(4)
HASH_NONE, HASH_SOFTWARE, HASH_L4 = range(3)
PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST = range(4)
ETH_P_IP, ETH_P_IPV6 = 0x0008, 0xDD86  # as in SKB_PROTOCOL: big-endian
# SKB_GSO_TYPE. kernel: include/linux/skbuff.h, SKB_GSO_*
GSO_TCPV4, GSO_DODGY, GSO_TCPV6, GSO_GRE, GSO_GRE_CSUM, GSO_IPXIP4, GSO_IPXIP6, GSO_UDP_TUNNEL, GSO_UDP_TUNNEL_CSUM = (
    1 << bit for bit in (0, 1, 4, 6, 7, 8, 9, 10, 11)
)

# Context fields that live elsewhere: offset in struct __sk_buff, offset here.
CONTEXT_ADDRESSES = {76: SKB_DATA, 80: SKB_TAIL}
# How many bytes struct sk_buff has of fields that it has not 4 of: pkt_type, queue_mapping, protocol, vlan_tci,
# vlan_proto, tc_index, gso_segs, gso_size.
_SHORT_FIELDS = {4: 1, 12: 2, 16: 2, 24: 2, 28: 2, 44: 2, 164: 2, 176: 2}


def context_place(offset: int, size: int) -> int:
    """Where a load of `size` bytes at `offset` of the context finds what the kernel would give.

    A part that is no smaller than the field really is gives the field, whichever part it is: so do the upper 2 bytes of
    `protocol`. kernel: kernel/bpf/verifier.c, convert_ctx_accesses(), target_size.
    """
    field = offset & ~3
    return field if size >= _SHORT_FIELDS.get(field, size + 1) else offset


# The buffer that the datapath gives a packet.
HEADROOM = 512  # at least so many bytes are before the data: growth within it copies nothing
MAX_PACKET = 65_575  # 65,535 and an IPv6 header, as the kernel's IP6_MAX_MTU has it
TAILROOM = 512
LL_RESERVED_SPACE = 16  # what the kernel leaves free for a link header, of every device there is here
