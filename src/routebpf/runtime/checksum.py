"""The internet checksum: sums, folding, incremental change, the IPv4 header's.

Words are as a little-endian processor loads them from the packet, as in the kernel: a sum of 16-bit words does not
depend on the order of bytes (RFC 1071), so results are stored as they are. A *sum* has 32 bits and is not complemented
(`__wsum`), a *checksum* has 16 bits and is what a header carries (`__sum16`). Zero comes out where the kernel's comes
out: sums wrap around as x86-64's do, and the few sums with two representations (0 and all ones) are told apart.
"""

from __future__ import annotations

from routebpf.runtime.memory import load8, load16, load32, load64, lshr, store8, store16, ult
from routebpf.runtime.native import native


@native
def sum_add(sum: int, addend: int) -> int:
    """Two sums added, with the carry brought around. kernel: csum_add()."""
    total = (sum & 0xFFFFFFFF) + (addend & 0xFFFFFFFF)
    return (total & 0xFFFFFFFF) + (total >> 32)


@native
def sum_subtract(sum: int, subtrahend: int) -> int:
    """kernel: csum_sub()."""
    return sum_add(sum, ~subtrahend)


@native
def sum_of(data: int, size: int, seed: int) -> int:
    """The sum of `size` bytes, which start at an even place of what is summed, onto `seed`. kernel: csum_partial()."""
    total = seed & 0xFFFFFFFF
    end = data + size
    while data + 8 <= end:
        word = load64(data)
        total += word
        total += ult(total, word)
        data += 8
    word = 0
    shift = 0
    if size & 4:
        word = load32(data)
        data += 4
        shift = 32
    if size & 2:
        word |= load16(data) << shift
        data += 2
        shift += 16
    if size & 1:
        word |= load8(data) << shift
    total += word
    total += ult(total, word)
    return sum_add(total, lshr(total, 32))


@native
def fold_sum(sum: int) -> int:
    """A sum brought to 16 bits, not complemented. kernel: csum_from32to16()."""
    total = (sum & 0xFFFF) + (sum >> 16 & 0xFFFF)
    return (total & 0xFFFF) + (total >> 16)


@native
def fold(sum: int) -> int:
    """The checksum of a sum. kernel: csum_fold()."""
    return fold_sum(sum) ^ 0xFFFF


@native
def checksum(data: int, size: int) -> int:
    """The checksum of `size` bytes. RFC 1071; kernel: ip_compute_csum()."""
    return fold(sum_of(data, size, 0))


@native
def ipv4_header_checksum(header: int) -> int:
    """What belongs into the header's checksum field, which must be 0, or 0 where it is right. kernel: ip_fast_csum().

    With an impossible length (IHL below 5) it is the header's first 16 bits: the x86-64 kernel sums nothing then.
    """
    words = load8(header) & 15
    if words < 5:
        return load16(header)
    return fold(sum_of(header, words * 4, 0))


@native
def fill_ipv4_header_checksum(header: int) -> int:
    """Set the checksum field. kernel: ip_send_check(). 0."""
    store16(header + 10, 0)
    store16(header + 10, ipv4_header_checksum(header))
    return 0


@native
def decrease_ttl(header: int) -> int:
    """Take one from the time to live of an IPv4 header, mend its checksum: the new TTL. kernel: ip_decrease_ttl()."""
    check = load16(header + 10) + 1  # the TTL is the high byte of its word: 0x0100 less, in network order
    store16(header + 10, check + (1 if check >= 0xFFFF else 0))
    ttl = (load8(header + 8) - 1) & 0xFF
    store8(header + 8, ttl)
    return ttl


@native
def replace16(field: int, old: int, new: int) -> int:
    """Mend the checksum at `field` for a 16-bit word that changed. RFC 1624; kernel: csum_replace2(). 0."""
    total = (load16(field) ^ 0xFFFF) + (~old & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16) + (new & 0xFFFF)
    store16(field, ~((total & 0xFFFF) + (total >> 16)))
    return 0


@native
def replace32(field: int, old: int, new: int) -> int:
    """Mend the checksum at `field` for a 32-bit word that changed. kernel: csum_replace4(). 0."""
    store16(field, fold(sum_add(sum_subtract(~load16(field), old), new)))
    return 0


@native
def replace_by_difference(field: int, difference: int) -> int:
    """Mend the checksum at `field` by the sum of what came minus what went. kernel: csum_replace_by_diff(). 0."""
    store16(field, fold(sum_add(difference, ~load16(field))))
    return 0
