"""Ring buffers: what programs get, what is read, and what user space may do, against the kernel's."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import threading
from typing import Any

import pytest
from call_oracle import FUZZ, At, Call, Held, Program, Stack, Step, in_kernel, in_ours, kernel_map
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_bpf import address, bpf, create_map
from routebpf.errors import MapError
from routebpf.objects.model import MapDefinition
from routebpf.runtime import ring_memory
from routebpf.runtime.cpu import new_cpu
from routebpf.runtime.maps import create_map as create_ours
from routebpf.runtime.memory import Memory, write
from routebpf.runtime.ringbuf import RingBufMap
from routebpf.runtime.ringbuf_records import (
    bpf_ringbuf_discard,
    bpf_ringbuf_output,
    bpf_ringbuf_reserve,
    bpf_ringbuf_submit,
)

RINGBUF, USER_RINGBUF = 27, 31
BUSY, DISCARD = 1 << 31, 1 << 30
PAGE = mmap.PAGESIZE


def new_ring(size: int = 4096) -> RingBufMap:
    ring = create_ours(MapDefinition("ring", RINGBUF, 0, 0, size))
    assert isinstance(ring, RingBufMap)
    return ring


class KernelRing:
    """The kernel's ring as a reader maps it: the consumer's page, then the producer's and the data twice."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self.consumer = mmap.mmap(fd, PAGE, mmap.MAP_SHARED)
        self.rest = mmap.mmap(fd, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)

    def consume(self) -> list[bytes]:
        found = []
        (position,) = struct.unpack_from("<Q", self.consumer)
        (end,) = struct.unpack_from("<Q", self.rest)
        while position < end:
            start = PAGE + (position & (self.size - 1))
            (size,) = struct.unpack_from("<I", self.rest, start)
            assert not size & BUSY
            if not size & DISCARD:
                found.append(self.rest[start + 8 : start + 8 + size])
            position += (size & ~DISCARD) + 15 & ~7
            struct.pack_into("<Q", self.consumer, 0, position)
        return found


RING = Held("ring")
SIZES = st.one_of(st.integers(1, 100), st.sampled_from([504, 1000, 2040, 4080, 4087, 4088, 4089, 1 << 20]))
SLOTS = [Stack(-16 * number) for number in range(1, 5)]


@st.composite
def ring_steps(draw: Any) -> list[Step]:
    """Calls on a ring, up to four records at a time by dynptrs, and every record committed at the end."""
    steps: list[Step] = []
    held: list[Stack] = []
    for _ in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(["reserve", "output", "query", "begin", "begin", "end"]))
        flags = draw(st.sampled_from([0, 0, 1, 2, 3, 4, 1 << 40]))
        if kind == "reserve":
            size = draw(st.integers(1, 64))
            then = draw(st.sampled_from(["bpf_ringbuf_submit", "bpf_ringbuf_discard"]))
            # Bytes that the program leaves alone are those of older records.
            written = draw(st.integers(1, size))
            reserved = draw(st.sampled_from([0, 0, 0, 0, 1]))
            steps.append(
                Call("bpf_ringbuf_reserve", (RING, size, reserved), touch=written, fill=size, then=(then, flags & 3))
            )
        elif kind == "output":
            size = draw(st.one_of(st.integers(0, 100), st.just(4088)))
            steps.append(Call("bpf_ringbuf_output", (RING, At(draw(st.integers(0, 8))), size, flags)))
        elif kind == "query":
            steps.append(Call("bpf_ringbuf_query", (RING, draw(st.sampled_from([0, 1, 2, 3, 4, 1 << 32])))))
        elif kind == "begin" and len(held) < len(SLOTS):
            slot = next(one for one in SLOTS if one not in held)
            held.append(slot)
            refused = draw(st.sampled_from([0, 0, 0, 0, 0, 1]))
            steps.append(Call("bpf_ringbuf_reserve_dynptr", (RING, draw(SIZES), refused, slot)))
            steps.append(Call("bpf_dynptr_write", (slot, 0, At(0), draw(st.integers(1, 40)), 0)))
        elif kind == "end" and held:
            steps.append(end(held.pop(draw(st.integers(0, len(held) - 1))), draw(st.booleans())))
    return [*steps, *(end(slot, True) for slot in held)]


def end(slot: Stack, submit: bool) -> Call:
    return Call(f"bpf_ringbuf_{'submit' if submit else 'discard'}_dynptr", (slot, 0), is_void=True)


@pytest.mark.kernel
@settings(FUZZ, max_examples=20)
@given(st.lists(st.tuples(ring_steps(), st.booleans()), min_size=2, max_size=8))
def test_any_calls_give_the_kernels_results_and_records(runs: list[tuple[list[Step], bool]]) -> None:
    memory = bytes(number * 11 & 255 for number in range(4200))
    ours = new_ring()
    with kernel_map(RINGBUF, 0, 0, 4096) as fd:
        theirs = KernelRing(fd, 4096)
        for steps, consume in runs:
            here = in_ours(Program(steps, memory, maps={"ring": ours.address}))
            there = in_kernel(Program(steps, memory, maps={"ring": fd}))
            for number, step in enumerate(steps):
                assert here.results[number] == there.results[number], step
            if consume:
                assert ours.consume() == theirs.consume()
        assert ours.consume() == theirs.consume()


@pytest.mark.kernel
@pytest.mark.parametrize("kind", [RINGBUF, USER_RINGBUF])
@pytest.mark.parametrize(
    ("key_size", "value_size", "size", "flags"),
    [
        *((0, 0, size, 0) for size in (0, 1, 4095, 4096, 8192, 12288, 4096 + 8, 1 << 20)),
        *((0, 0, 4096, 1 << bit) for bit in range(16) if bit != 2),
        *((4, 0, 4096, 0), (0, 4, 4096, 0)),
    ],
)
def test_creation_takes_and_refuses_what_the_kernel_does(
    kind: int, key_size: int, value_size: int, size: int, flags: int
) -> None:
    fd, error = create_map(kind, key_size, value_size, size, flags=flags)
    if fd is not None:
        os.close(fd)
    definition = MapDefinition("ring", kind, key_size, value_size, size, flags)
    if error:
        with pytest.raises(MapError) as raised:
            create_ours(definition)
        assert raised.value.errno == error
    else:
        assert create_ours(definition).address


@pytest.mark.kernel
@pytest.mark.parametrize("kind", [RINGBUF, USER_RINGBUF])
def test_user_space_gets_the_kernels_errno_for_what_a_ring_does_not_do(kind: int) -> None:
    ours = create_ours(MapDefinition("ring", kind, 0, 0, 4096))
    value = ctypes.create_string_buffer(8)
    calls = {1: lambda: ours.lookup(b""), 2: lambda: ours.update(b"", b""), 3: lambda: ours.delete(b"")}
    with kernel_map(kind, 0, 0, 4096) as fd:
        for command, call in calls.items():
            _, error, _ = bpf(command, struct.pack("<IIQQQ", fd, 0, 0, address(value) if command < 3 else 0, 0))
            with pytest.raises(MapError) as raised:
                call()
            assert raised.value.errno == error


def test_reading_stops_at_a_record_that_is_still_reserved() -> None:
    ring = new_ring()
    cpu, _scratch = new_cpu(0)
    first = bpf_ringbuf_reserve(cpu.address, ring.address, 5, 0)
    second = bpf_ringbuf_reserve(cpu.address, ring.address, 6, 0)
    third = bpf_ringbuf_reserve(cpu.address, ring.address, 7, 0)
    write(second, b"second")
    write(third, b"the 3rd")
    bpf_ringbuf_submit(cpu.address, second, 0)
    assert ring.consume() == []
    bpf_ringbuf_discard(cpu.address, first, 0)
    assert ring.consume() == [b"second"]
    bpf_ringbuf_submit(cpu.address, third, 0)
    assert ring.consume() == [b"the 3rd"]


@pytest.mark.parametrize("mapped_twice", [True, False])
def test_a_record_is_whole_where_the_ring_wraps(monkeypatch: pytest.MonkeyPatch, mapped_twice: bool) -> None:
    if not mapped_twice:
        monkeypatch.setattr(ring_memory, "_map_twice", lambda _: None)
    ring = new_ring()
    cpu, _scratch = new_cpu(0)
    data = Memory(2000)
    for round in range(200):
        record = bytes((round + index) & 255 for index in range(1000 + 7 * round % 900))
        data.write(0, record)
        assert bpf_ringbuf_output(cpu.address, ring.address, data.address, len(record), 0) == 0
        assert ring.consume() == [record]


def test_threads_lose_and_mix_no_records() -> None:
    ring = new_ring(1 << 16)
    count = 3000
    taken: list[bytes] = []

    def produce(number: int) -> None:
        cpu, _scratch = new_cpu(number)
        data = Memory(16)
        for index in range(count):
            data.write(0, struct.pack("<QQ", number, index))
            while bpf_ringbuf_output(cpu.address, ring.address, data.address, 16, 0) == -errno.EAGAIN:
                pass

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(3)]
    for one in threads:
        one.start()
    while len(taken) < 3 * count:
        taken += ring.consume()
    for one in threads:
        one.join()
    for number in range(3):
        indices = [index for who, index in (struct.unpack("<QQ", one) for one in taken) if who == number]
        assert indices == list(range(count))


def test_the_memory_of_a_ring_is_given_back() -> None:
    def mapped() -> int:
        return sum("routebpf-ring" in line for line in open("/proc/self/maps"))

    before = mapped()
    rings = [new_ring() for _ in range(4)]
    assert mapped() >= before + 4
    del rings
    assert mapped() <= before
