"""Perf event arrays: what bpf_perf_event_output says, and the samples that are read, against the kernel's."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from call_oracle import FUZZ, At, Call, Context, Held, Program, in_kernel, in_ours, kernel_map
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_bpf import address, bpf, create_map
from routebpf.errors import InputError, MapError
from routebpf.objects.model import MapDefinition
from routebpf.runtime.cpu import new_cpu
from routebpf.runtime.maps import create_map as create_ours
from routebpf.runtime.packet import PacketBuffer
from routebpf.runtime.perf import PerfEventArrayMap

PERF_EVENT_ARRAY = 4
MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY = range(1, 5)
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}.get(os.uname().machine, 0)
SOFTWARE, BPF_OUTPUT, SAMPLE_RAW = 1, 10, 1 << 10
HEAD, TAIL = 1024, 1032  # offsets in struct perf_event_mmap_page
PAGES = 2
PACKET = bytes(range(60))
MEMORY = bytes(number * 13 & 255 for number in range(6000))
CURRENT = 0xFFFFFFFF


class KernelBuffer:
    """A perf event of a CPU, and its memory as a reader maps it."""

    def __init__(self, cpu: int) -> None:
        attributes = struct.pack("<IIQQQQQIIQ", SOFTWARE, 112, BPF_OUTPUT, 1, SAMPLE_RAW, 0, 0, 1, 0, 0).ljust(
            112, b"\0"
        )
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.syscall(PERF_EVENT_OPEN, attributes, -1, cpu, -1, 8)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())
        self.memory = mmap.mmap(self.fd, (1 + PAGES) * mmap.PAGESIZE)
        self.lost = 0

    def consume(self) -> list[bytes]:
        (head,), (tail,) = struct.unpack_from("<Q", self.memory, HEAD), struct.unpack_from("<Q", self.memory, TAIL)
        size = PAGES * mmap.PAGESIZE
        ring = self.memory[mmap.PAGESIZE :] * 2
        found = []
        while tail < head:
            start = tail % size
            kind, _, length = struct.unpack_from("<IHH", ring, start)
            if kind == 9:
                (raw_size,) = struct.unpack_from("<I", ring, start + 8)
                found.append(ring[start + 12 : start + 12 + raw_size])
            else:
                assert kind == 2
                self.lost += struct.unpack_from("<Q", ring, start + 16)[0]
            tail += length
        struct.pack_into("<Q", self.memory, TAIL, tail)
        return found

    def close(self) -> None:
        self.memory.close()
        os.close(self.fd)


@contextlib.contextmanager
def on_one_cpu() -> Iterator[int]:
    """This thread stays on one CPU: its number."""
    before = os.sched_getaffinity(0)
    cpu = max(before)
    os.sched_setaffinity(0, {cpu})
    try:
        yield cpu
    finally:
        os.sched_setaffinity(0, before)


class Pair:
    """An array of one slot more than there are CPUs, in the kernel and here, with a buffer for each CPU."""

    def __init__(self, fd: int, cpu: int) -> None:
        self.fd, self.cpu = fd, cpu
        self.cpus = cpu + 1
        self.sizes: list[int] = []  # of the samples that were written and not read yet
        self.buffers = [KernelBuffer(number) for number in range(self.cpus)]
        for number, one in enumerate(self.buffers):
            key, value = ctypes.create_string_buffer(struct.pack("<I", number), 4), struct.pack("<I", one.fd)
            kept = ctypes.create_string_buffer(value, 4)
            assert bpf(MAP_UPDATE, struct.pack("<IIQQQ", fd, 0, address(key), address(kept), 0))[0] == 0
        definition = MapDefinition("perf", PERF_EVENT_ARRAY, 4, 4, self.cpus + 1)
        self.ours = PerfEventArrayMap(definition, self.cpus, pages=PAGES)

    def run(self, calls: list[Call]) -> None:
        packet = PacketBuffer(PACKET)
        cpu, _scratch = new_cpu(self.cpu)
        here = in_ours(Program(calls, MEMORY, maps={"perf": self.ours.address}), packet.address, cpu)
        there = in_kernel(Program(calls, MEMORY, packet=PACKET, maps={"perf": self.fd}))
        for number, one in enumerate(calls):
            assert here.results[number] == there.results[number], one
            if here.results[number] == 0:
                self.sizes.append(one.arguments[4] + (one.arguments[2] >> 32))

    def check_samples(self) -> None:
        """Read both. Behind the data, the kernel leaves what was there before, and we zeros."""
        theirs = [(number, sample) for number, one in enumerate(self.buffers) for sample in one.consume()]
        ours = self.ours.consume()
        assert [(cpu, len(sample)) for cpu, sample in ours] == [(cpu, len(sample)) for cpu, sample in theirs]
        for size, (_, here), (_, there) in zip(self.sizes, ours, theirs, strict=True):
            assert here == there[:size].ljust(len(there), b"\0")
        self.sizes.clear()


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    with on_one_cpu() as cpu, kernel_map(PERF_EVENT_ARRAY, 4, 4, cpu + 2) as fd:
        both = Pair(fd, cpu)
        try:
            yield both
        finally:
            for one in both.buffers:
                one.close()


def output(flags: int, size: int) -> Call:
    return Call("bpf_perf_event_output", (Context(), Held("perf"), flags, At(0), size))


SIZES = st.one_of(st.integers(0, 200), st.sampled_from([1000, 2000, 4000, 5000]))
OF_PACKET = st.sampled_from([0, 0, 1, 13, 59, 60, 61, 0xFFFFF])
CALLS = st.builds(lambda of_packet, size: output(of_packet << 32 | CURRENT, size), OF_PACKET, SIZES)


@pytest.mark.kernel
@settings(FUZZ, max_examples=20)
@given(st.lists(st.tuples(st.lists(CALLS, min_size=1, max_size=12), st.booleans()), min_size=2, max_size=8))
def test_any_samples_are_written_lost_and_read_as_the_kernels(runs: list[tuple[list[Call], bool]]) -> None:
    with pair() as both:
        for calls, consume in runs:
            both.run(calls)
            if consume:
                both.check_samples()
        # The next sample that finds room says how many were lost.
        both.check_samples()
        both.run([output(CURRENT, 8)])
        both.check_samples()
        assert both.ours.lost == sum(one.lost for one in both.buffers)


@pytest.mark.kernel
@pytest.mark.parametrize("gap", range(0, 72, 8))
def test_a_sample_after_a_loss_needs_room_for_the_record_that_says_so(gap: int) -> None:
    with pair() as both:
        most = PAGES * mmap.PAGESIZE - 4000 - 12 - 12
        both.run([output(CURRENT, 4000 - 4), output(CURRENT, most - gap), output(CURRENT, 5000), output(CURRENT, 4)])
        both.check_samples()
        both.run([output(CURRENT, 4)])
        both.check_samples()
        assert both.ours.lost == sum(one.lost for one in both.buffers)


@pytest.mark.kernel
def test_slots_and_flags_that_are_refused_are_refused_with_the_kernels_errno() -> None:
    with pair() as both:
        slots = [0, both.cpu, both.cpus, both.cpus + 1, 0x7FFFFFFF, CURRENT]
        both.run([output(slot | more, 4) for slot in slots for more in (0, 5 << 32, 61 << 32, 1 << 52, 1 << 63)])
        both.check_samples()
        key = ctypes.create_string_buffer(struct.pack("<I", both.cpu), 4)
        assert bpf(MAP_DELETE, struct.pack("<IIQQQ", both.fd, 0, address(key), 0, 0))[0] == 0
        both.ours.delete(struct.pack("<I", both.cpu))
        both.run([output(CURRENT, 4)])


@pytest.mark.kernel
def test_user_space_gets_the_kernels_answers() -> None:
    with pair() as both:
        keys = [struct.pack("<I", number) for number in (0, both.cpus, both.cpus + 1, both.cpus + 9)]

        def kernel(command: int, key: bytes) -> tuple[int, bytes]:
            kept, value = ctypes.create_string_buffer(key, 4), ctypes.create_string_buffer(4)
            out = 0 if command == MAP_DELETE else address(value)
            _, error, _ = bpf(command, struct.pack("<IIQQQ", both.fd, 0, address(kept), out, 0))
            return error, value.raw

        def ours(call: Any, key: bytes) -> int:
            try:
                call(key)
            except MapError as error:
                return error.errno
            return 0

        for key in keys:
            assert ours(both.ours.lookup, key) == kernel(MAP_LOOKUP, key)[0]
            error, following = kernel(MAP_NEXT_KEY, key)
            assert both.ours.next_key(key) == (None if error else following)
        for key in [*keys, keys[0]]:
            assert ours(both.ours.delete, key) == kernel(MAP_DELETE, key)[0]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("key_size", "value_size", "entries", "flags"),
    [(4, 4, 2, 0), (4, 8, 2, 0), (8, 4, 2, 0), (0, 4, 2, 0), *((4, 4, 2, 1 << bit) for bit in range(14) if bit != 2)],
)
def test_creation_takes_and_refuses_what_the_kernel_does(
    key_size: int, value_size: int, entries: int, flags: int
) -> None:
    fd, error = create_map(PERF_EVENT_ARRAY, key_size, value_size, entries, flags=flags)
    if fd is not None:
        os.close(fd)
    definition = MapDefinition("perf", PERF_EVENT_ARRAY, key_size, value_size, entries, flags)
    if error:
        with pytest.raises(MapError) as raised:
            create_ours(definition, cpus=2)
        assert raised.value.errno == error
    else:
        assert create_ours(definition, cpus=2).address


def test_without_a_number_of_entries_there_is_a_slot_for_each_cpu() -> None:
    array = create_ours(MapDefinition("perf", PERF_EVENT_ARRAY, 4, 4, 0), cpus=3)
    assert array.definition.max_entries == 3
    assert list(array.items()) == []
    with pytest.raises(InputError, match="from the start"):
        array.update(bytes(4), bytes(4))
