"""Open-coded iterators: bpf_iter_num_* and bpf_iter_bits_*. kernel: kernel/bpf/bpf_iter.c, kernel/bpf/helpers.c."""

from __future__ import annotations

from routebpf.runtime.errno_values import E2BIG, EFAULT, EINVAL, ENOMEM, ERANGE
from routebpf.runtime.loop import MAX_LOOPS
from routebpf.runtime.memory import (
    ctz64,
    libc_free,
    libc_malloc,
    load32,
    load64,
    low32,
    sext32,
    store32,
    store64,
)
from routebpf.runtime.native import native
from routebpf.runtime.probe import probe

# struct bpf_iter_num, 32 bits each.
NUM_CURRENT = 0
NUM_END = 4

# struct bpf_iter_bits.
BITS_WORDS = 0  # 64 bits: the word, where there is one, or the address of a copy of them
BITS_COUNT = 8  # 32 bits: how many bits there are
BITS_CURRENT = 12  # 32 bits

_MAX_WORDS = 511  # BITS_ITER_NR_WORDS_MAX


@native
def bpf_iter_num_new(cpu: int, iterator: int, start: int, end: int) -> int:
    """Begin with `start`, end before `end`. 0, or -EINVAL (start after end), -E2BIG (more than 8,388,608)."""
    start = sext32(start)
    end = sext32(end)
    store64(iterator, 0)
    if start > end:
        return -EINVAL
    if end - start > MAX_LOOPS:
        return -E2BIG
    store32(iterator + NUM_CURRENT, start - 1)
    return store32(iterator + NUM_END, end)


@native
def bpf_iter_num_next(cpu: int, iterator: int) -> int:
    """The address of the next number (32 bits), 0 at the end."""
    number = sext32(load32(iterator + NUM_CURRENT) + 1)
    if number >= sext32(load32(iterator + NUM_END)):
        store64(iterator, 0)
        return 0
    store32(iterator + NUM_CURRENT, number)
    return iterator + NUM_CURRENT


@native
def bpf_iter_num_destroy(cpu: int, iterator: int) -> int:
    return store64(iterator, 0)


@native
def bpf_iter_bits_new(cpu: int, iterator: int, words: int, count: int) -> int:
    """Begin with the lowest bit that is set in `count` words of 64 bits, which are copied.

    0, or -EINVAL (no words), -E2BIG (more than 511), -EFAULT (a word is not there), -ERANGE (several are not).
    """
    count = low32(count)
    store64(iterator + BITS_WORDS, 0)
    store32(iterator + BITS_COUNT, 0)
    store32(iterator + BITS_CURRENT, -1)
    if words == 0 or count == 0:
        return -EINVAL
    if count > _MAX_WORDS:
        return -E2BIG
    if count == 1:
        if probe(iterator + BITS_WORDS, words, 8) != 8:
            store64(iterator + BITS_WORDS, 0)
            return -EFAULT
    else:
        memory = libc_malloc(count * 8)
        if memory == 0:
            return -ENOMEM
        if probe(memory, words, count * 8) != count * 8:
            libc_free(memory)
            return -ERANGE
        store64(iterator + BITS_WORDS, memory)
    return store32(iterator + BITS_COUNT, count * 64)


@native
def bpf_iter_bits_next(cpu: int, iterator: int) -> int:
    """The address of the number of the next bit that is set (32 bits), 0 at the end."""
    count = load32(iterator + BITS_COUNT)
    bit = sext32(load32(iterator + BITS_CURRENT)) + 1
    if count == 0 or bit > count:
        return 0
    words = iterator + BITS_WORDS if count == 64 else load64(iterator + BITS_WORDS)
    while bit < count:
        rest = load64(words + (bit >> 6) * 8) & -1 << (bit & 63)
        if rest != 0:
            store32(iterator + BITS_CURRENT, (bit & ~63) + ctz64(rest))
            return iterator + BITS_CURRENT
        bit = (bit | 63) + 1
    store32(iterator + BITS_CURRENT, count)
    return 0


@native
def bpf_iter_bits_destroy(cpu: int, iterator: int) -> int:
    if load32(iterator + BITS_COUNT) > 64:
        libc_free(load64(iterator + BITS_WORDS))
    return 0
