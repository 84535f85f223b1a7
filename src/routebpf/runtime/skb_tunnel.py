"""Tunnel metadata for a device in collect-metadata mode: bpf_skb_set_tunnel_key, …_get_tunnel_key, …_opt.

kernel: net/core/filter.c, include/net/ip_tunnels.h (struct ip_tunnel_info). There is one record a CPU, as there.
"""

from __future__ import annotations

from routebpf.runtime.cpu import CPU_TUNNEL
from routebpf.runtime.errno_values import EINVAL, ENOENT, ENOMEM, EPROTO
from routebpf.runtime.memory import (
    copy,
    fill,
    load8,
    load16,
    load32,
    load64,
    low32,
    stack,
    store8,
    store16,
    store32,
    store64,
)
from routebpf.runtime.native import native
from routebpf.runtime.skb import SKB_REALM, SKB_TUNNEL

# The record at SKB_TUNNEL. 32 bits each unless said.
TUNNEL_FLAGS = 0  # IP_TUNNEL_*_BIT
TUNNEL_IS_IPV6 = 4
TUNNEL_ID = 8
TUNNEL_LABEL = 12
TUNNEL_TOS = 16  # 8 bits
TUNNEL_TTL = 17  # 8 bits
TUNNEL_OPTIONS_SIZE = 20
TUNNEL_LOCAL = 24  # 16 bytes: an IPv6 address, or 4 bytes, in the host's order, of an IPv4 one
TUNNEL_REMOTE = 40  # 16 bytes, as above
TUNNEL_OPTIONS = 56  # 255 bytes at most
_TUNNEL_HEAD_BYTES = 56

# struct bpf_tunnel_key
_KEY_ID, _KEY_REMOTE, _KEY_TOS, _KEY_TTL, _KEY_EXT, _KEY_LABEL, _KEY_LOCAL, _KEY_BYTES = 0, 4, 20, 21, 22, 24, 28, 44
_KEY_V4_BYTES = 8  # the struct as it was at first, and its later sizes
_KEY_BYTES_1, _KEY_BYTES_2, _KEY_BYTES_3 = 22, 24, 28

BPF_F_TUNINFO_IPV6, BPF_F_ZERO_CSUM_TX, BPF_F_DONT_FRAGMENT, BPF_F_SEQ_NUMBER, BPF_F_TUNINFO_FLAGS = (
    1 << bit for bit in range(5)
)
BPF_F_NO_TUNNEL_KEY = 1 << 4
_SET_FLAGS = BPF_F_TUNINFO_IPV6 | BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT | BPF_F_SEQ_NUMBER | BPF_F_NO_TUNNEL_KEY
_GET_FLAGS = BPF_F_TUNINFO_IPV6 | BPF_F_TUNINFO_FLAGS
_FLAG_CSUM, _FLAG_KEY, _FLAG_SEQ, _FLAG_DONT_FRAGMENT, _FLAG_NOCACHE = (1 << bit for bit in (0, 2, 3, 8, 13))
_FLAGS_OPTIONS = 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15  # GENEVE, VXLAN, ERSPAN, GTP
_MAX_OPTIONS = 255


@native
def _is_size(size: int) -> int:
    """Whether the struct has that many bytes, or once had."""
    if size == _KEY_BYTES or size == _KEY_BYTES_3 or size == _KEY_BYTES_2 or size == _KEY_BYTES_1:
        return 1
    return 1 if size == _KEY_V4_BYTES else 0


@native
def bpf_skb_set_tunnel_key(cpu: int, skb: int, key: int, size: int, flags: int) -> int:
    """0; -EINVAL: unknown flags, a size no version of the struct has, a label without IPv6, a tunnel_ext.

    The packet's route is replaced by the metadata: it has no realm any more.
    """
    size = low32(size)
    if flags & ~_SET_FLAGS or _is_size(size) == 0:
        return -EINVAL
    whole = stack(48)
    fill(whole, 0, _KEY_BYTES)
    copy(whole, key, size)
    ipv6 = flags & BPF_F_TUNINFO_IPV6
    if (ipv6 == 0 and load32(whole + _KEY_LABEL)) or load16(whole + _KEY_EXT):
        return -EINVAL
    tunnel = cpu + CPU_TUNNEL
    fill(tunnel, 0, _TUNNEL_HEAD_BYTES)
    store32(tunnel + TUNNEL_FLAGS, _tunnel_flags(flags))
    store32(tunnel + TUNNEL_IS_IPV6, ipv6)
    store32(tunnel + TUNNEL_ID, load32(whole + _KEY_ID))
    store8(tunnel + TUNNEL_TOS, load8(whole + _KEY_TOS))
    store8(tunnel + TUNNEL_TTL, load8(whole + _KEY_TTL))
    store32(tunnel + TUNNEL_LABEL, load32(whole + _KEY_LABEL) & 0xFFFFF)
    address_size = 16 if ipv6 else 4
    copy(tunnel + TUNNEL_REMOTE, whole + _KEY_REMOTE, address_size)
    copy(tunnel + TUNNEL_LOCAL, whole + _KEY_LOCAL, address_size)
    store64(skb + SKB_TUNNEL, tunnel)
    store32(skb + SKB_REALM, 0)
    return 0


@native
def _tunnel_flags(flags: int) -> int:
    """The IP_TUNNEL_*_BIT that a caller's flags stand for."""
    found = _FLAG_NOCACHE
    if flags & BPF_F_DONT_FRAGMENT:
        found |= _FLAG_DONT_FRAGMENT
    if flags & BPF_F_ZERO_CSUM_TX == 0:
        found |= _FLAG_CSUM
    if flags & BPF_F_SEQ_NUMBER:
        found |= _FLAG_SEQ
    if flags & BPF_F_NO_TUNNEL_KEY == 0:
        found |= _FLAG_KEY
    return found


@native
def bpf_skb_get_tunnel_key(cpu: int, skb: int, key: int, size: int, flags: int) -> int:
    """0, or zeros at `key` and: -EINVAL: no metadata, unknown flags, a size no version of the struct has; -EPROTO: it
    is of the other address family. Remote is the source that metadata of a received packet would have, so of metadata
    that was just set it is the local address."""
    size = low32(size)
    tunnel = load64(skb + SKB_TUNNEL)
    error = 0
    if tunnel == 0 or flags & ~_GET_FLAGS:
        error = -EINVAL
    elif load32(tunnel + TUNNEL_IS_IPV6) != flags & BPF_F_TUNINFO_IPV6:
        error = -EPROTO
    elif _is_size(size) == 0 or (size == _KEY_V4_BYTES and load32(tunnel + TUNNEL_IS_IPV6)):
        error = -EINVAL
    if error:
        fill(key, 0, size)
        return error
    whole = stack(48)
    fill(whole, 0, _KEY_BYTES)
    store32(whole + _KEY_ID, load32(tunnel + TUNNEL_ID))
    copy(whole + _KEY_REMOTE, tunnel + TUNNEL_LOCAL, 16)
    store8(whole + _KEY_TOS, load8(tunnel + TUNNEL_TOS))
    store8(whole + _KEY_TTL, load8(tunnel + TUNNEL_TTL))
    if flags & BPF_F_TUNINFO_FLAGS:
        present = load32(tunnel + TUNNEL_FLAGS)
        store16(whole + _KEY_EXT, (present & 0xFF) << 8 | (present >> 8 & 0xFF))
    store32(whole + _KEY_LABEL, load32(tunnel + TUNNEL_LABEL))
    copy(whole + _KEY_LOCAL, tunnel + TUNNEL_REMOTE, 16)
    copy(key, whole, size)
    return 0


@native
def bpf_skb_set_tunnel_opt(cpu: int, skb: int, options: int, size: int) -> int:
    """0; -EINVAL: no metadata was set, or a size that is no multiple of 4; -ENOMEM: over 255 bytes."""
    size = low32(size)
    tunnel = load64(skb + SKB_TUNNEL)
    if tunnel == 0 or tunnel != cpu + CPU_TUNNEL or size & 3:
        return -EINVAL
    if size > _MAX_OPTIONS:
        return -ENOMEM
    store32(tunnel + TUNNEL_OPTIONS_SIZE, size)
    copy(tunnel + TUNNEL_OPTIONS, options, size)
    store32(tunnel + TUNNEL_FLAGS, load32(tunnel + TUNNEL_FLAGS) | _FLAGS_OPTIONS)
    return 0


@native
def bpf_skb_get_tunnel_opt(cpu: int, skb: int, options: int, size: int) -> int:
    """The size of the options, which are at `options` then, zeros behind them; or zeros and: -ENOENT: no metadata or
    no options; -ENOMEM: they are longer."""
    size = low32(size)
    tunnel = load64(skb + SKB_TUNNEL)
    found = 0
    error = -ENOENT
    if tunnel != 0 and load32(tunnel + TUNNEL_FLAGS) & _FLAGS_OPTIONS:
        found = load32(tunnel + TUNNEL_OPTIONS_SIZE)
        error = -ENOMEM if size < found else 0
    if error:
        fill(options, 0, size)
        return error
    copy(options, tunnel + TUNNEL_OPTIONS, found)
    fill(options + found, 0, size - found)
    return found
