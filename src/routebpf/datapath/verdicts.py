"""What became of a packet: its verdict, the reason, and the errno that its sender sees. One row a reason.

Native code hands around the number of a reason; everything else about it is in its row. The errno is what sendto()
gives on a raw socket with IP_RECVERR (IPV6_RECVERR), which hears what a socket without it does not (ENOBUFS). It is
ENOBUFS for whatever fails once a packet was rerouted.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from routebpf.runtime.errno_values import (
    EACCES,
    EAFNOSUPPORT,
    EFAULT,
    EHOSTUNREACH,
    EINVAL,
    EMSGSIZE,
    ENETUNREACH,
    ENOBUFS,
    EPERM,
)


class Verdict(IntEnum):
    """What became of a packet."""

    SENT = 0
    DROPPED = 1
    REDIRECTED = 2
    REROUTED = 3
    ERROR = 4


class Reason(NamedTuple):
    """Why. `name` is the key in reports, `text` what a person reads."""

    code: int
    name: str
    verdict: Verdict
    errno: int
    text: str


# Their order counts: from PROGRAM_DROP on, sending fails, and the fragments that would follow are not sent.
SENT = 0
REDIRECTED = 1
REROUTED = 2
LOCAL = 3
REDIRECT_FAILED = 4
MULTICAST_SCOPE = 5
NOT_FORWARDED = 6
TTL_EXCEEDED = 7
DEVICE_DOWN = 8
PROGRAM_DROP = 9
RETURN_CODE = 10
PROTOCOL_CHANGED = 11
RECURSION = 12
DEVICE_MTU = 13
PROGRAM_FAULT = 14
BLACKHOLE = 15
MARTIAN = 16
FRAGMENTATION_NEEDED = 17
IP_CHECKSUM = 18
NO_ROUTE = 19
UNREACHABLE = 20
PROHIBITED = 21
TOO_LONG = 22
DONT_FRAGMENT = 23
SOURCE_INVALID = 24
RULE_UNREACHABLE = 25
NEIGHBOUR_UNRESOLVED = 26
REROUTE_PROTOCOL = 27
NOT_IP = 28
LINK_SHORT = 29
LINK_UNKNOWN = 30
IP_SHORT = 31
IP_VERSION = 32
IP_HEADER_LENGTH = 33
IP_TOTAL_LENGTH = 34
IP_OPTIONS = 35
NO_HEADROOM = 36
FIRST_FAILURE = PROGRAM_DROP

_V = Verdict
REASONS: tuple[Reason, ...] = (
    Reason(SENT, "sent", _V.SENT, 0, "it left"),
    Reason(REDIRECTED, "redirected", _V.REDIRECTED, 0, "the program redirected it to another device"),
    Reason(REROUTED, "rerouted", _V.REROUTED, 0, "the program had its route looked up anew, and it left"),
    Reason(LOCAL, "delivered", _V.SENT, 0, "it is for the host itself"),
    Reason(
        REDIRECT_FAILED,
        "redirect-failed",
        _V.DROPPED,
        0,
        "the device that it was redirected to did not take it: not there, down, or it needs a link header",
    ),
    Reason(MULTICAST_SCOPE, "multicast-scope", _V.DROPPED, 0, "its scope keeps this multicast packet on the host"),
    Reason(
        NOT_FORWARDED,
        "not-forwarded",
        _V.DROPPED,
        0,
        "a broadcast or multicast packet, or one of another host's link: these are not forwarded",
    ),
    Reason(TTL_EXCEEDED, "ttl-exceeded", _V.DROPPED, 0, "its TTL or hop limit ended here"),
    Reason(
        DEVICE_DOWN,
        "device-down",
        _V.DROPPED,
        0,
        "the device that it came in by is down, or has too small an MTU for IPv6",
    ),
    Reason(PROGRAM_DROP, "program-drop", _V.DROPPED, EPERM, "the program returned BPF_DROP"),
    Reason(
        RETURN_CODE,
        "return-code",
        _V.DROPPED,
        EINVAL,
        "the program returned a number that is no return code of its type",
    ),
    Reason(
        PROTOCOL_CHANGED,
        "protocol-changed",
        _V.DROPPED,
        EINVAL,
        "the program returned BPF_OK for a packet whose protocol it had changed",
    ),
    Reason(
        RECURSION,
        "recursion-limit",
        _V.DROPPED,
        ENOBUFS,
        "its programs rerouted it more often than the kernel lets them",
    ),
    Reason(DEVICE_MTU, "device-mtu", _V.DROPPED, ENOBUFS, "it is longer than the device takes, after the program"),
    Reason(PROGRAM_FAULT, "program-fault", _V.DROPPED, EFAULT, "the program did what it must not and was stopped"),
    Reason(BLACKHOLE, "blackhole", _V.DROPPED, EINVAL, "its route is a blackhole"),
    Reason(MARTIAN, "martian", _V.DROPPED, EINVAL, "it came in with an address that cannot come from there"),
    Reason(
        FRAGMENTATION_NEEDED,
        "fragmentation-needed",
        _V.DROPPED,
        EMSGSIZE,
        "it is longer than the MTU of its route and must not be fragmented on the way",
    ),
    Reason(IP_CHECKSUM, "ip-checksum", _V.DROPPED, EINVAL, "it came in with a wrong IP header checksum"),
    Reason(NO_ROUTE, "no-route", _V.ERROR, ENETUNREACH, "no route to its destination"),
    Reason(UNREACHABLE, "unreachable", _V.ERROR, EHOSTUNREACH, "its route says unreachable"),
    Reason(PROHIBITED, "prohibited", _V.ERROR, EACCES, "its route says prohibit"),
    Reason(TOO_LONG, "too-long", _V.ERROR, EMSGSIZE, "it is longer than the MTU of the device"),
    Reason(
        DONT_FRAGMENT,
        "dont-fragment",
        _V.ERROR,
        EMSGSIZE,
        "it is longer than the MTU of its route and must not be fragmented",
    ),
    Reason(SOURCE_INVALID, "source-address", _V.ERROR, EINVAL, "no packet can be sent from its source address"),
    Reason(RULE_UNREACHABLE, "rule-unreachable", _V.ERROR, ENETUNREACH, "a rule says unreachable"),
    Reason(
        NEIGHBOUR_UNRESOLVED,
        "neighbour-unresolved",
        _V.ERROR,
        EHOSTUNREACH,
        "the neighbour that it goes to has no known link address",
    ),
    Reason(
        REROUTE_PROTOCOL, "reroute-protocol", _V.ERROR, EAFNOSUPPORT, "it was rerouted, and is neither IPv4 nor IPv6"
    ),
    Reason(NOT_IP, "not-ip", _V.ERROR, EINVAL, "neither IPv4 nor IPv6: no route takes it"),
    Reason(LINK_SHORT, "link-header-short", _V.ERROR, EINVAL, "its link header is cut short"),
    Reason(LINK_UNKNOWN, "link-type", _V.ERROR, EINVAL, "its link type is not known"),
    Reason(IP_SHORT, "ip-header-short", _V.ERROR, EINVAL, "its IP header is cut short"),
    Reason(IP_VERSION, "ip-version", _V.ERROR, EINVAL, "the version in its IP header is wrong"),
    Reason(IP_HEADER_LENGTH, "ip-header-length", _V.ERROR, EINVAL, "the header length in its IP header is wrong"),
    Reason(
        IP_TOTAL_LENGTH,
        "ip-total-length",
        _V.ERROR,
        EINVAL,
        "the length in its IP header is more than the packet has, or less than the header",
    ),
    Reason(IP_OPTIONS, "ip-options", _V.DROPPED, EINVAL, "it came in with IP options that are broken, or not allowed"),
    Reason(
        NO_HEADROOM,
        "no-headroom",
        _V.DROPPED,
        ENOBUFS,
        "the program pushed a header that leaves no room for the link header",
    ),
)

VERDICT_NAMES = tuple(one.name.lower() for one in Verdict)
REASON_COUNT = 64  # places in tables by reason


def reason_of(code: int) -> Reason:
    """The row of a reason."""
    return REASONS[code]
