"""Iterators over numbers and bits, against the kernel's."""

from __future__ import annotations

import struct

import pytest
from call_oracle import FUZZ, At, Call, Program, Stack, Step, in_kernel, in_ours
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.kernel

NUM, BITS = Stack(-8), Stack(-32)


def kfunc(name: str, *arguments: object, **more: object) -> Call:
    return Call(name, arguments, kfunc=True, **{"bits": 32, **more})  # type: ignore[arg-type]


def walk(kind: str, iterator: Stack, begin: Call, rounds: int, found_at: int) -> list[Step]:
    """Begin, take so many elements, and end: each element is put into the memory."""
    taken = [
        kfunc(f"bpf_iter_{kind}_next", iterator, touch=4, copy_to=At(found_at + 4 * number), bits=64)
        for number in range(rounds)
    ]
    return [begin, *taken, kfunc(f"bpf_iter_{kind}_destroy", iterator, is_void=True)]


def check_against_kernel(steps: list[Step], memory: bytes) -> None:
    program = Program(steps, memory)
    ours, theirs = in_ours(program), in_kernel(program)
    assert ours.results == theirs.results
    assert ours.memory == theirs.memory


LIMIT = 1 << 23
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
RANGES = [
    *((0, 0), (0, 3), (3, 0), (-2, 2), (5, 6), (INT_MIN, INT_MIN + 2), (INT_MAX - 2, INT_MAX), (INT_MAX, INT_MAX)),
    *((INT_MIN, INT_MAX), (0, LIMIT), (0, LIMIT + 1), (-1, LIMIT), (INT_MIN, INT_MIN), (1 << 32, (1 << 32) + 2)),
]


@pytest.mark.parametrize(("start", "end"), RANGES)
def test_numbers_are_the_kernels(start: int, end: int) -> None:
    check_against_kernel(walk("num", NUM, kfunc("bpf_iter_num_new", NUM, start, end), 5, 0), b"\xaa" * 20)


WORDS = st.lists(st.sampled_from([0, 1, 1 << 63, 0x8001, (1 << 64) - 1]), min_size=1, max_size=5)


@settings(FUZZ, max_examples=30)
@given(WORDS, st.integers(0, 5))
def test_bits_are_the_kernels(words: list[int], count: int) -> None:
    data = struct.pack(f"<{len(words)}Q", *words).ljust(40, b"\0")
    begin = kfunc("bpf_iter_bits_new", BITS, At(0), count)
    check_against_kernel(walk("bits", BITS, begin, 12, 40), data + b"\xaa" * 48)


@pytest.mark.parametrize(("address", "count"), [(0, 1), (8, 1), (8, 2), (At(0), 512), (At(0), 511), (At(0), 1 << 29)])
def test_words_that_cannot_be_had_are_refused_as_by_the_kernel(address: object, count: int) -> None:
    begin = kfunc("bpf_iter_bits_new", BITS, address, count)
    check_against_kernel(walk("bits", BITS, begin, 2, 0), bytes(511 * 8))
