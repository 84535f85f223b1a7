"""Where the network header of a captured packet is: behind the link header of its link type.

A `layer` is one integer: the offset of the network header in the low 32 bits, above it 16 bits of ethertype in host
order (the kernel's skb->protocol is `bswap16` of it), above that the reason why there is no IP packet, 0 if there is.
"""

# ruff: noqa: SIM109 (native functions have no tuples)

from __future__ import annotations

from routebpf.datapath.capture_link_types import (
    DLT_RAW,
    DLT_RAW_OPENBSD,
    LINKTYPE_ETHERNET,
    LINKTYPE_IPV4,
    LINKTYPE_IPV6,
    LINKTYPE_LINUX_SLL,
    LINKTYPE_LINUX_SLL2,
    LINKTYPE_LOOP,
    LINKTYPE_NULL,
    LINKTYPE_RAW,
)
from routebpf.datapath.packet_rows import ROW_ADDRESS, ROW_LINK, ROW_SIZE
from routebpf.runtime.memory import bswap16, bswap32, load8, load16, load32, load64
from routebpf.runtime.native import native

LAYER_OFFSET_MASK = 0xFFFFFFFF
LAYER_ETHERTYPE_SHIFT = 32
LAYER_REASON_SHIFT = 48

# Reasons.
LINK_IP = 0
LINK_NOT_IP = 1  # ARP, LLC, anything but IPv4 and IPv6
LINK_CUT_SHORT = 2  # the captured bytes end within the link header (of raw IP: there are none)
LINK_UNKNOWN = 3  # the packet's link type is none that we read

REASONS = {
    LINK_NOT_IP: "not IP",
    LINK_CUT_SHORT: "link header cut short",
    LINK_UNKNOWN: "unknown link type",
}

ETH_P_802_2 = 0x0004  # what the kernel calls a frame with a length in place of an ethertype
ETH_P_IP = 0x0800
ETH_P_8021Q = 0x8100
ETH_P_IPV6 = 0x86DD
ETH_P_8021AD = 0x88A8
ETH_P_QINQ1 = 0x9100  # 802.1ad before it was a standard
_ETH_P_802_3_MIN = 0x0600  # smaller ones are lengths

_ETHERNET_TYPE, _SLL_HARDWARE, _SLL_TYPE = 12, 2, 14
_SLL2_BYTES, _SLL2_HARDWARE = 20, 8

# With these ARPHRD_* a cooked header's protocol is no ethertype.
_ARPHRD_FRAD = 770
_ARPHRD_IEEE80211_RADIOTAP = 803
_ARPHRD_NETLINK = 824

# AF_INET6 of Linux, of NetBSD and OpenBSD, of FreeBSD, of Darwin.
_AF_INET, _AF_INET6_LINUX, _AF_INET6_NETBSD, _AF_INET6_FREEBSD, _AF_INET6_DARWIN = 2, 10, 24, 28, 30


@native
def network_layer(row: int) -> int:
    """The layer of the packet in a row (of PACKET_ROW)."""
    data = load64(row + ROW_ADDRESS)
    size = load32(row + ROW_SIZE)
    link = load16(row + ROW_LINK)
    if link == LINKTYPE_ETHERNET:
        return _behind_ethertype(data, size, _ETHERNET_TYPE)
    if link == LINKTYPE_LINUX_SLL or link == LINKTYPE_LINUX_SLL2:
        return _cooked(data, size, link)
    if link == LINKTYPE_RAW or link == DLT_RAW or link == DLT_RAW_OPENBSD:
        return _raw(data, size)
    if link == LINKTYPE_NULL or link == LINKTYPE_LOOP:
        return _loopback(data, size)
    if link == LINKTYPE_IPV4:
        return ETH_P_IP << LAYER_ETHERTYPE_SHIFT
    if link == LINKTYPE_IPV6:
        return ETH_P_IPV6 << LAYER_ETHERTYPE_SHIFT
    return LINK_UNKNOWN << LAYER_REASON_SHIFT


@native
def _behind_ethertype(data: int, size: int, at: int) -> int:
    """The layer behind an ethertype at offset `at`, and behind VLAN tags if it is that of a tag."""
    end = at + 2
    while end <= size:
        ethertype = bswap16(load16(data + end - 2))
        if ethertype == ETH_P_IP or ethertype == ETH_P_IPV6:
            return ethertype << LAYER_ETHERTYPE_SHIFT | end
        if ethertype != ETH_P_8021Q and ethertype != ETH_P_8021AD and ethertype != ETH_P_QINQ1:
            if ethertype < _ETH_P_802_3_MIN:
                ethertype = ETH_P_802_2
            return LINK_NOT_IP << LAYER_REASON_SHIFT | ethertype << LAYER_ETHERTYPE_SHIFT | end
        end += 4
    return LINK_CUT_SHORT << LAYER_REASON_SHIFT


@native
def _cooked(data: int, size: int, link: int) -> int:
    """Linux cooked captures: LINKTYPE_LINUX_SLL and _SLL2."""
    if link == LINKTYPE_LINUX_SLL:
        layer = _behind_ethertype(data, size, _SLL_TYPE)
        hardware = _SLL_HARDWARE
    else:
        # The protocol comes first, so what is behind a VLAN tag's ethertype is behind the whole header.
        if size < _SLL2_BYTES:
            return LINK_CUT_SHORT << LAYER_REASON_SHIFT
        hardware = _SLL2_HARDWARE
        ethertype = bswap16(load16(data))
        if ethertype == ETH_P_8021Q or ethertype == ETH_P_8021AD or ethertype == ETH_P_QINQ1:
            layer = _behind_ethertype(data, size, _SLL2_BYTES + 2)
        else:
            layer = _behind_ethertype(data, size, 0) + _SLL2_BYTES - 2
    if layer >> LAYER_REASON_SHIFT == LINK_IP:
        kind = bswap16(load16(data + hardware))
        if kind == _ARPHRD_NETLINK or kind == _ARPHRD_IEEE80211_RADIOTAP or kind == _ARPHRD_FRAD:
            return layer | LINK_NOT_IP << LAYER_REASON_SHIFT
    return layer


@native
def _raw(data: int, size: int) -> int:
    """No link header: the IP version tells which IP it is."""
    if size == 0:
        return LINK_CUT_SHORT << LAYER_REASON_SHIFT
    version = load8(data) >> 4
    if version == 4:
        return ETH_P_IP << LAYER_ETHERTYPE_SHIFT
    if version == 6:
        return ETH_P_IPV6 << LAYER_ETHERTYPE_SHIFT
    return LINK_NOT_IP << LAYER_REASON_SHIFT


@native
def _loopback(data: int, size: int) -> int:
    """BSD loopback: a 32-bit address family, in the byte order of the recording machine or (LOOP) of the network."""
    if size < 4:
        return LINK_CUT_SHORT << LAYER_REASON_SHIFT
    family = load32(data)
    if family > 0xFFFF:
        family = bswap32(family)
    if family == _AF_INET:
        return ETH_P_IP << LAYER_ETHERTYPE_SHIFT | 4
    if (
        family == _AF_INET6_DARWIN
        or family == _AF_INET6_LINUX
        or family == _AF_INET6_FREEBSD
        or family == _AF_INET6_NETBSD
    ):
        return ETH_P_IPV6 << LAYER_ETHERTYPE_SHIFT | 4
    return LINK_NOT_IP << LAYER_REASON_SHIFT | 4
