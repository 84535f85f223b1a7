"""Bloom filters: whether a value was ever added: no, or probably. kernel: kernel/bpf/bloom_filter.c.

The hash is the kernel's (Bob Jenkins' lookup3) with seed 0: the same false positives as in a kernel map that was
created with BPF_F_ZERO_SEED.
"""

from __future__ import annotations

from routebpf.runtime.errno_values import EINVAL, ENOENT, EOPNOTSUPP
from routebpf.runtime.map_layout import MAP_OWN
from routebpf.runtime.memory import atomic_or64, load8, load32, load64, load_acquire64, low32, lshr
from routebpf.runtime.native import native

BLOOM_BITS = MAP_OWN  # 64 bits: the address of the bits
BLOOM_MASK = MAP_OWN + 8  # 64 bits: bits - 1
BLOOM_HASHES = MAP_OWN + 16  # 64 bits: hash functions

_START = 0xDEADBEEF


@native
def rotated(word: int, bits: int) -> int:
    """32 bits, rotated to the left."""
    return low32(word << bits) | lshr(word, 32 - bits)


@native
def word_of(data: int, size: int) -> int:
    """Up to 4 bytes, little-endian."""
    if size >= 4:
        return load32(data)
    word = 0
    for number in range(size):
        word |= load8(data + number) << (8 * number)
    return word


@native
def jenkins_hash(data: int, size: int, seed: int) -> int:
    """The 32-bit hash of bytes."""
    a = low32(_START + size + seed)
    b = a
    c = a
    while size > 12:
        a = low32(a + load32(data))
        b = low32(b + load32(data + 4))
        c = low32(c + load32(data + 8))
        a = low32(a - c) ^ rotated(c, 4)
        c = low32(c + b)
        b = low32(b - a) ^ rotated(a, 6)
        a = low32(a + c)
        c = low32(c - b) ^ rotated(b, 8)
        b = low32(b + a)
        a = low32(a - c) ^ rotated(c, 16)
        c = low32(c + b)
        b = low32(b - a) ^ rotated(a, 19)
        a = low32(a + c)
        c = low32(c - b) ^ rotated(b, 4)
        b = low32(b + a)
        data += 12
        size -= 12
    a = low32(a + word_of(data, size))
    b = low32(b + word_of(data + 4, max(size - 4, 0)))
    c = low32(c + word_of(data + 8, max(size - 8, 0)))
    c = low32((c ^ b) - rotated(b, 14))
    a = low32((a ^ c) - rotated(c, 11))
    b = low32((b ^ a) - rotated(a, 25))
    c = low32((c ^ b) - rotated(b, 16))
    a = low32((a ^ c) - rotated(c, 4))
    b = low32((b ^ a) - rotated(a, 14))
    return low32((c ^ b) - rotated(b, 24))


@native
def push(cpu: int, map: int, key_size: int, value_size: int, value: int, flags: int) -> int:
    """Add a value. 0, or EINVAL for any flag."""
    if flags != 0:
        return -EINVAL
    for number in range(load64(map + BLOOM_HASHES)):
        bit = jenkins_hash(value, value_size, number) & load64(map + BLOOM_MASK)
        atomic_or64(load64(map + BLOOM_BITS) + (bit >> 6) * 8, 1 << (bit & 63))
    return 0


@native
def peek(cpu: int, map: int, key_size: int, value_size: int, value: int) -> int:
    """0 if the value was probably added, ENOENT if it never was."""
    for number in range(load64(map + BLOOM_HASHES)):
        bit = jenkins_hash(value, value_size, number) & load64(map + BLOOM_MASK)
        if load_acquire64(load64(map + BLOOM_BITS) + (bit >> 6) * 8) & (1 << (bit & 63)) == 0:
            return -ENOENT
    return 0


@native
def pop(cpu: int, map: int, key_size: int, value_size: int, value: int) -> int:
    """EOPNOTSUPP: what was added stays."""
    return -EOPNOTSUPP
