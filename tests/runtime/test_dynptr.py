"""Dynptrs of memory and of the packet: every call against the kernel's."""

from __future__ import annotations

from typing import Any

import pytest
from call_oracle import FUZZ, At, Call, Context, Program, Stack, Step, in_kernel, in_ours
from hypothesis import given, settings
from hypothesis import strategies as st

from routebpf.runtime.packet import PacketBuffer

pytestmark = pytest.mark.kernel

# The memory: what dynptrs are made of, a buffer to read to and write from, and what was read.
SOURCE, BUFFER, READ = 0, 256, 512
READ_BYTES = 48
PACKET = bytes(range(100, 164))
SLOTS = [Stack(-16 * number) for number in (1, 2, 3, 4)]
MEMORY, OTHER, PACKET_DYNPTR, NOTHING = SLOTS


def kfunc(name: str, *arguments: Any, **more: Any) -> Call:
    return Call(name, arguments, kfunc=True, **{"bits": 32, **more})


# Four dynptrs: of 100 bytes, of 60 that overlap them, of the packet, and one that holds nothing.
BEGIN: list[Step] = [
    Call("bpf_dynptr_from_mem", (At(SOURCE), 100, 0, MEMORY)),
    Call("bpf_dynptr_from_mem", (At(SOURCE + 80), 60, 0, OTHER)),
    kfunc("bpf_dynptr_from_skb", Context(), 0, PACKET_DYNPTR),
    Call("bpf_dynptr_from_mem", (At(SOURCE), 8, 1, NOTHING)),
]
DYNPTRS = st.sampled_from(SLOTS)
OFFSETS = st.sampled_from([0, 1, 10, 40, 59, 60, 63, 64, 65, 99, 100, 101, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 32) + 5])
SIZES = st.sampled_from([1, 4, 17, READ_BYTES])
FLAGS = st.sampled_from([0, 0, 0, 1, 2, 4])
BYTES = st.sampled_from([0, 7, 255, 256 + 3])


def read(dynptr: Stack, offset: int, size: int, flags: int) -> Call:
    return Call("bpf_dynptr_read", (At(BUFFER), size, dynptr, offset, flags))


def write(dynptr: Stack, offset: int, size: int, flags: int) -> Call:
    return Call("bpf_dynptr_write", (dynptr, offset, At(BUFFER), size, flags))


def data(dynptr: Stack, offset: int, size: int, fill: int) -> Call:
    return Call("bpf_dynptr_data", (dynptr, offset, size), touch=size, fill=fill & 255, copy_to=At(READ))


def look(dynptr: Stack, offset: int, size: int) -> Call:
    return kfunc("bpf_dynptr_slice", dynptr, offset, 0, size, touch=size, copy_to=At(READ), bits=64)


def change(dynptr: Stack, offset: int, size: int, fill: int) -> Call:
    return kfunc("bpf_dynptr_slice_rdwr", dynptr, offset, 0, size, touch=size, fill=fill & 255, bits=64)


STEPS = st.one_of(
    st.builds(read, DYNPTRS, OFFSETS, SIZES, FLAGS),
    st.builds(write, DYNPTRS, OFFSETS, SIZES, FLAGS),
    st.builds(data, DYNPTRS, OFFSETS, SIZES, BYTES),
    st.builds(look, DYNPTRS, OFFSETS, SIZES),
    st.builds(change, DYNPTRS, OFFSETS, SIZES, BYTES),
    st.builds(lambda one, start, end: kfunc("bpf_dynptr_adjust", one, start, end), DYNPTRS, OFFSETS, OFFSETS),
    st.builds(lambda one: kfunc("bpf_dynptr_size", one), DYNPTRS),
    st.builds(lambda one: kfunc("bpf_dynptr_is_null", one, bits=8), DYNPTRS),
    st.builds(lambda one: kfunc("bpf_dynptr_is_rdonly", one, bits=8), DYNPTRS),
    st.builds(
        lambda to, at, one, offset, size: kfunc("bpf_dynptr_copy", to, at, one, offset, size),
        *(DYNPTRS, OFFSETS, DYNPTRS, OFFSETS, SIZES),
    ),
    st.builds(
        lambda one, offset, size, byte: kfunc("bpf_dynptr_memset", one, offset, size, byte),
        *(DYNPTRS, OFFSETS, SIZES, BYTES),
    ),
)


def check_against_kernel(steps: list[Step]) -> None:
    program = Program([*BEGIN, *steps], bytes(number * 7 & 255 for number in range(768)), packet=PACKET)
    packet = PacketBuffer(PACKET)
    ours = in_ours(program, packet.address)
    theirs = in_kernel(program)
    for number, step in enumerate(program.steps):
        assert ours.results[number] == theirs.results[number], step
    assert ours.memory == theirs.memory
    assert packet.data == theirs.packet


@settings(FUZZ, max_examples=25)
@given(st.lists(STEPS, min_size=20, max_size=40))
def test_any_calls_do_what_the_kernel_does(steps: list[Step]) -> None:
    check_against_kernel(steps)


def test_a_clone_is_narrowed_apart_from_its_original() -> None:
    clone = Stack(-80)
    for source in (MEMORY, PACKET_DYNPTR, NOTHING):
        check_against_kernel(
            [
                kfunc("bpf_dynptr_adjust", source, 10, 50),
                kfunc("bpf_dynptr_clone", source, clone),
                kfunc("bpf_dynptr_adjust", clone, 5, 30),
                kfunc("bpf_dynptr_size", clone),
                kfunc("bpf_dynptr_size", source),
                read(clone, 0, 17, 0),
                read(source, 0, 17, 0),
                kfunc("bpf_dynptr_is_null", clone, bits=8),
            ]
        )


def test_flags_and_sizes_that_are_refused_leave_a_dynptr_that_holds_nothing() -> None:
    one = Stack(-80)
    for make in (
        kfunc("bpf_dynptr_from_skb", Context(), 1, one),
        Call("bpf_dynptr_from_mem", (At(0), 8, 1 << 40, one)),
        Call("bpf_dynptr_from_mem", (At(0), 0, 0, one)),
    ):
        check_against_kernel(
            [make, kfunc("bpf_dynptr_is_null", one, bits=8), kfunc("bpf_dynptr_size", one), read(one, 0, 1, 0)]
        )
