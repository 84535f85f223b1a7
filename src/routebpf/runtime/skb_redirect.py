"""Sending a packet by another device: bpf_redirect, bpf_clone_redirect, and what a verdict of BPF_REDIRECT does.

kernel: net/core/filter.c (__bpf_redirect), net/core/lwt_bpf.c (run_lwt_bpf), net/core/dev.c, drivers/net/veth.c.

A device with link headers takes what begins at `data`, if the MAC header lies before the network header: so a packet
that this host sends needs bpf_skb_change_head first, while bpf_clone_redirect of a forwarded one, which still knows its
old MAC header, sends the bare IP packet as if it were a frame. A device without takes the packet from its network
header on. With BPF_F_INGRESS the packet is the device's to receive: nothing leaves, and it is not followed further.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_DEPTH, CPU_REDIRECT_FLAGS, CPU_REDIRECT_IFINDEX
from routebpf.runtime.device import (
    DEVICE_FLAGS,
    DEVICE_HARD_HEADER_LEN,
    DEVICE_MTU,
    DEVICE_PAIRED,
    DEVICE_TX_DROPPED,
    DEVICE_TYPE,
    DEVICE_UP,
    XMIT_RECURSION_LIMIT,
    device_of,
    is_too_deep,
    transmit,
)
from routebpf.runtime.errno_values import EBADMSG, EINVAL, EMSGSIZE, ENETDOWN, ERANGE
from routebpf.runtime.memory import load32, load64, low32, store32, store64
from routebpf.runtime.native import native
from routebpf.runtime.skb import (
    SKB_DATA,
    SKB_GSO_SIZE,
    SKB_GSO_TYPE,
    SKB_HEAD,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_NETWORK_HEADER,
    SKB_TIME,
    UNSET,
)
from routebpf.runtime.skb_room import skb_leave_buffer, skb_reset_mac_header

BPF_F_INGRESS = 1
TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
NET_RX_DROP, NET_XMIT_DROP, NET_XMIT_CN = 1, 1, 2
RECEIVED = 1
TOO_DEEP = 2  # in programs that reroute: __bpf_tx_skb() and __dev_queue_xmit() count how deep they are

_ARPHRD_PPP, _ARPHRD_RAWIP, _ARPHRD_TUNNEL, _ARPHRD_TUNNEL6, _ARPHRD_SIT = 512, 519, 768, 769, 776
_ARPHRD_IPGRE, _ARPHRD_IP6GRE, _ARPHRD_NONE, _ARPHRD_VOID = 778, 823, 0xFFFE, 0xFFFF
_ETHERNET_BYTES, _VLAN_BYTES = 14, 4


@native
def bpf_redirect(cpu: int, ifindex: int, flags: int) -> int:
    """TC_ACT_REDIRECT, which is what the program has to return for it; TC_ACT_SHOT for unknown flags. The device is not
    looked at yet."""
    if flags & ~BPF_F_INGRESS:
        return TC_ACT_SHOT
    store32(cpu + CPU_REDIRECT_FLAGS, flags)
    store32(cpu + CPU_REDIRECT_IFINDEX, ifindex)
    return TC_ACT_REDIRECT


@native
def bpf_clone_redirect(cpu: int, skb: int, ifindex: int, flags: int) -> int:
    """A copy of the packet leaves at once.

    0; -EINVAL: unknown flags, no such device; -EBADMSG: GSO of no type; -ERANGE: no link header; -ENETDOWN: the packet
    was rerouted too often; or what the device says: NET_XMIT_CN where it is down, NET_XMIT_DROP where the frame is too
    long, NET_RX_DROP where one is down that should receive.
    """
    if flags & ~BPF_F_INGRESS:
        return -EINVAL
    if load32(skb + SKB_GSO_SIZE) and load32(skb + SKB_GSO_TYPE) == 0:
        return -EBADMSG
    if device_of(cpu, low32(ifindex)):
        skb_leave_buffer(skb)  # which the clone keeps
    result = _redirect(cpu, skb, low32(ifindex), flags)
    if result == RECEIVED:
        return 0
    if result == TOO_DEEP:
        return -ENETDOWN
    if result == -EMSGSIZE:
        return NET_XMIT_DROP
    if result == -ENETDOWN:
        return NET_RX_DROP if flags & BPF_F_INGRESS else NET_XMIT_CN
    return result


@native
def skb_do_redirect(cpu: int, skb: int) -> int:
    """What a verdict of BPF_REDIRECT does with the packet.

    0: it left. RECEIVED: a device has received it, nothing leaves. Negative, and it is dropped, though the kernel tells
    no sender: -EINVAL: no such device, or bpf_redirect was not called; -ERANGE: no link header; -ENETDOWN: the device
    is down, or the packet was rerouted too often; -EMSGSIZE: the frame is too long for it.
    """
    ifindex = load32(cpu + CPU_REDIRECT_IFINDEX)
    flags = load32(cpu + CPU_REDIRECT_FLAGS)
    store32(cpu + CPU_REDIRECT_IFINDEX, 0)
    store32(cpu + CPU_REDIRECT_FLAGS, 0)
    skb_reset_mac_header(skb)
    result = _redirect(cpu, skb, ifindex, flags)
    return -ENETDOWN if result == TOO_DEEP else result


@native
def _redirect(cpu: int, skb: int, ifindex: int, flags: int) -> int:
    """kernel: __bpf_redirect()."""
    device = device_of(cpu, ifindex)
    if device == 0:
        return -EINVAL
    size = load32(skb + SKB_LEN)
    network = load64(skb + SKB_NETWORK_HEADER)
    offset = network - (load64(skb + SKB_DATA) - load64(skb + SKB_HEAD))
    if has_mac_header(load32(device + DEVICE_TYPE)):
        mac = load64(skb + SKB_MAC_HEADER)
        if mac == UNSET or mac >= network or size == 0:
            return -ERANGE
        offset = 0
    elif offset < 0 or size <= offset:
        return -ERANGE
    depth = load32(cpu + CPU_DEPTH)
    if flags & BPF_F_INGRESS == 0 and depth > XMIT_RECURSION_LIMIT:
        return TOO_DEEP
    if load32(device + DEVICE_FLAGS) & DEVICE_UP == 0:
        return -ENETDOWN
    if flags & BPF_F_INGRESS:
        return RECEIVED
    if is_too_deep(device, depth + 1):
        return TOO_DEEP
    return dev_queue_xmit(cpu, skb, ifindex, offset)


@native
def dev_queue_xmit(cpu: int, skb: int, ifindex: int, offset: int) -> int:
    """A frame, which is the packet from `offset` on, leaves by a device that is up. 0, or -EMSGSIZE where one end of a
    veth pair would not take it: too long for the other's MTU (GSO packets never are), or no whole link header."""
    device = device_of(cpu, ifindex)
    size = load32(skb + SKB_LEN) - offset
    if load32(device + DEVICE_FLAGS) & DEVICE_PAIRED:
        longest = load32(device + DEVICE_MTU) + load32(device + DEVICE_HARD_HEADER_LEN) + _VLAN_BYTES
        if size < _ETHERNET_BYTES or (size > longest and load32(skb + SKB_GSO_SIZE) == 0):
            store64(device + DEVICE_TX_DROPPED, load64(device + DEVICE_TX_DROPPED) + 1)
            return -EMSGSIZE
    return transmit(cpu, ifindex, 0, 0, load64(skb + SKB_DATA) + offset, size, load64(skb + SKB_TIME))


@native
def has_mac_header(device_type: int) -> int:
    """Whether frames of a device of that ARPHRD_* type begin with a link header. kernel: dev_is_mac_header_xmit()."""
    if device_type == _ARPHRD_TUNNEL or device_type == _ARPHRD_TUNNEL6 or device_type == _ARPHRD_SIT:
        return 0
    if device_type == _ARPHRD_IPGRE or device_type == _ARPHRD_IP6GRE or device_type == _ARPHRD_RAWIP:
        return 0
    if device_type == _ARPHRD_NONE or device_type == _ARPHRD_VOID or device_type == _ARPHRD_PPP:
        return 0
    return 1
