"""Link types of captures: the numbers, the names that a user meets, and which of them we read.

The numbers are those of the registry of link-layer header types (tcpdump.org, LINKTYPE_*).
"""

from __future__ import annotations

from collections.abc import Iterable

LINKTYPE_NULL = 0
LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101
LINKTYPE_LOOP = 108
LINKTYPE_LINUX_SLL = 113
LINKTYPE_IPV4 = 228
LINKTYPE_IPV6 = 229
LINKTYPE_LINUX_SLL2 = 276
# What systems call raw IP in their own files: DLT_RAW of most, and of OpenBSD.
DLT_RAW = 12
DLT_RAW_OPENBSD = 14

READABLE = {
    LINKTYPE_NULL: "NULL",
    LINKTYPE_ETHERNET: "ETHERNET",
    DLT_RAW: "RAW",
    DLT_RAW_OPENBSD: "RAW",
    LINKTYPE_RAW: "RAW",
    LINKTYPE_LOOP: "LOOP",
    LINKTYPE_LINUX_SLL: "LINUX_SLL",
    LINKTYPE_IPV4: "IPV4",
    LINKTYPE_IPV6: "IPV6",
    LINKTYPE_LINUX_SLL2: "LINUX_SLL2",
}

_OTHERS = {
    6: "IEEE802_5",
    8: "SLIP",
    9: "PPP",
    10: "FDDI",
    50: "PPP_HDLC",
    51: "PPP_ETHER",
    100: "ATM_RFC1483",
    104: "C_HDLC",
    105: "IEEE802_11",
    107: "FRELAY",
    117: "PFLOG",
    119: "IEEE802_11_PRISM",
    127: "IEEE802_11_RADIOTAP",
    138: "APPLE_IP_OVER_IEEE1394",
    163: "IEEE802_11_AVS",
    187: "BLUETOOTH_HCI_H4",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4_WITHFCS",
    201: "BLUETOOTH_HCI_H4_WITH_PHDR",
    220: "USB_LINUX_MMAPPED",
    227: "CAN_SOCKETCAN",
    230: "IEEE802_15_4_NOFCS",
    231: "DBUS",
    239: "NFLOG",
    240: "NETANALYZER",
    242: "IPOIB",
    247: "INFINIBAND",
    249: "USBPCAP",
    252: "WIRESHARK_UPPER_PDU",
    253: "NETLINK",
    254: "BLUETOOTH_LINUX_MONITOR",
    258: "PKTAP",
    271: "VSOCK",
}


def described(link_type: int) -> str:
    """A link type as a message names it: "189 (USB_LINUX)"."""
    name = READABLE.get(link_type) or _OTHERS.get(link_type)
    return f"{link_type} ({name})" if name else str(link_type)


def unreadable(link_types: Iterable[int]) -> str:
    """What is wrong with a capture of link types that we do not read, and what we do read."""
    named = ", ".join(described(one) for one in sorted(set(link_types)))
    readable = ", ".join(described(one) for one in READABLE)
    return f"its link type {named} is none that routebpf reads; it reads {readable}"
