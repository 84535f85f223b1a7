"""bpf_user_ringbuf_drain: what it calls back with and says, against the kernel's on the same ring."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from compilers import Compiler, commands
from object_in_kernel import InKernel
from routebpf.errors import MapError
from routebpf.objects.loader import load_object
from routebpf.objects.model import MapDefinition
from routebpf.runtime.cpu import new_cpu
from routebpf.runtime.dynptr import bpf_dynptr_read
from routebpf.runtime.maps import create_map
from routebpf.runtime.memory import Memory, write
from routebpf.runtime.ringbuf import UserRingBufMap
from routebpf.runtime.ringbuf_records import RING_BUSY, RING_CONSUMER, RING_PRODUCER
from routebpf.runtime.ringbuf_user import bpf_user_ringbuf_drain

SIZE, PAGE, SAMPLES = 4096, mmap.PAGESIZE, 64
BUSY, DISCARD = 1 << 31, 1 << 30
STOP_AT = b"stop"
EBUSY, ENOSPC, E2BIG = 16, 28, 7
CALLBACK = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 7)

SOURCE = """
struct bpf_dynptr { __u64 opaque[2]; };
struct { __uint(type, 31); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, 2); __uint(max_entries, 64); __type(key, __u32); __type(value, __u64[2]); } samples SEC(".maps");
struct { __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64[2]); } state SEC(".maps");
static long (*bpf_user_ringbuf_drain)(void *map, void *callback, void *ctx, __u64 flags) = (void *) 209;
static long (*bpf_dynptr_read)(void *to, __u32 len, void *from, __u32 offset, __u64 flags) = (void *) 201;

static long take(struct bpf_dynptr *sample, __u32 *number) {
    __u64 *place = bpf_map_lookup_elem(&samples, number);
    if (!place) return 1;
    ++*number;
    if (bpf_dynptr_read(place, 16, sample, 0, 0)) bpf_dynptr_read(place, 4, sample, 0, 0);
    return *(__u32 *)place == 0x706f7473;
}
SEC("lwt_xmit") int run(void *ctx) {
    __u32 number = 0, zero = 0; __u64 *out = bpf_map_lookup_elem(&state, &zero);
    if (!out) return -1;
    out[1] = bpf_user_ringbuf_drain(&ring, take, &number, out[0]);
    return number;
}
"""


class KernelRing:
    """The kernel's ring as a writer maps it."""

    def __init__(self, fd: int) -> None:
        self.positions = mmap.mmap(fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
        self.rest = mmap.mmap(fd, PAGE + 2 * SIZE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=PAGE)

    @property
    def consumer(self) -> int:
        return int(struct.unpack_from("<Q", self.positions)[0])

    def put(self, producer: int, position: int, data: bytes) -> None:
        """Data at a position, then the producer's position."""
        start = PAGE + (position & SIZE - 1)
        self.rest[start : start + len(data)] = data
        struct.pack_into("<Q", self.rest, 0, producer)


class OurRing:
    """The same of ours."""

    def __init__(self, ring: UserRingBufMap) -> None:
        self.ring = ring

    @property
    def consumer(self) -> int:
        return self.ring._get(RING_CONSUMER)

    def put(self, producer: int, position: int, data: bytes) -> None:
        write(self.ring._ring.address + (position & SIZE - 1), data)
        self.ring._set(RING_PRODUCER, producer)


def drain(ring: UserRingBufMap, flags: int) -> tuple[int, list[bytes]]:
    """What SOURCE does, by the native functions: the result, and the start of each sample."""
    cpu, _scratch = new_cpu(0)
    room, samples = Memory(16), []

    def take(address: int, dynptr: int, context: int, *_: int) -> int:
        if len(samples) == SAMPLES:
            return 1
        room.write(0, bytes(16))
        for size in (16, 4):
            if bpf_dynptr_read(address, room.address, size, dynptr, 0, 0) == 0:
                break
        samples.append(room.read(0, 16))
        return int(samples[-1][:4] == STOP_AT)

    callback = CALLBACK(take)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    return bpf_user_ringbuf_drain(cpu.address, ring.address, address, 0, flags), samples


def new_ring() -> UserRingBufMap:
    ring = create_map(MapDefinition("ring", 31, 0, 0, SIZE))
    assert isinstance(ring, UserRingBufMap)
    return ring


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InKernel]:
    place: Path = tmp_path_factory.mktemp("user_ringbuf")
    for name, (command, big_endian) in commands().items():
        compiler = Compiler(name, command, big_endian, place)
        with InKernel(load_object(compiler.compile(SOURCE, "-O2", "-g"))) as inside:
            yield inside
        return
    pytest.skip("no clang here")


def record(data: bytes, bits: int = 0) -> bytes:
    return (struct.pack("<II", len(data) | bits, 0) + data).ljust(8 + (len(data) + 7 & ~7), b"\0")


GOOD = record(b"a sample of sixteen") + record(b"four")
# What the producer puts into the ring, how far it says it went, and the flags of the drain.
RUNS = {
    "nothing": (b"", 0, 0),
    "two records": (GOOD, len(GOOD), 0),
    "flags for waking up": (GOOD, len(GOOD), 3),
    "other flags": (GOOD, len(GOOD), 4),
    "records thrown away are passed": (record(b"gone", DISCARD) + GOOD, 16 + len(GOOD), 0),
    "only records thrown away": (record(b"gone", DISCARD) * 3, 48, 0),
    "it stops at a record that is not finished": (GOOD + record(b"later", BUSY), len(GOOD) + 16, 0),
    "one thrown away while not finished": (record(b"gone", DISCARD | BUSY) + GOOD, 16 + len(GOOD), 0),
    "it stops when the callback says so": (record(STOP_AT) + GOOD, 16 + len(GOOD), 0),
    "an empty record": (record(b"") + GOOD, 8 + len(GOOD), 0),
    "a record longer than what was put there": (GOOD + struct.pack("<II", 100, 0), len(GOOD) + 8, 0),
    "a record longer than the ring": (GOOD + struct.pack("<II", 5000, 0), len(GOOD) + 6000, 0),
    "a position that is no multiple of 8": (GOOD, len(GOOD) + 4, 0),
}


@pytest.mark.kernel
def test_what_a_writer_puts_there_is_taken_as_by_the_kernel(kernel: InKernel) -> None:
    for name, (data, length, flags) in RUNS.items():
        # A wrong record stays, so each run has a ring of its own.
        with InKernel(kernel.object) as inside:
            ours, theirs = OurRing(new_ring()), KernelRing(inside.maps["ring"])
            for ring in (ours, theirs):
                ring.put(length, 0, data)
            inside.update("state", bytes(4), struct.pack("<QQ", flags, 0))
            count = inside.run("run")
            (_, result) = struct.unpack("<Qq", inside.lookup("state", bytes(4)))
            taken = [inside.lookup("samples", struct.pack("<I", number)) for number in range(count)]
            assert drain(ours.ring, flags) == (result, taken), name
            assert ours.consumer == theirs.consumer, name


@pytest.mark.kernel
def test_records_that_wrap_are_taken_as_by_the_kernel(kernel: InKernel) -> None:
    ring, theirs = new_ring(), KernelRing(kernel.maps["ring"])
    producer = theirs.consumer
    for round in range(40):
        data = bytes((round + index) & 255 for index in range(900 + 8 * round))
        ring.submit(data)
        theirs.put(producer + len(record(data)), producer, record(data))
        producer += len(record(data))
        kernel.update("state", bytes(4), bytes(16))
        assert kernel.run("run") == 1
        assert drain(ring, 0) == (1, [kernel.lookup("samples", bytes(4))])


def test_a_full_ring_takes_no_more_until_it_is_drained() -> None:
    ring = new_ring()
    with pytest.raises(MapError) as raised:
        ring.submit(bytes(SIZE - 7))
    assert raised.value.errno == E2BIG
    ring.submit(bytes(SIZE - 24))
    with pytest.raises(MapError, match="drains it") as raised:
        ring.submit(bytes(9))
    assert raised.value.errno == ENOSPC
    ring.submit(bytes(8))
    assert drain(ring, 0)[0] == 2
    ring.submit(b"again")


def test_another_that_drains_finds_it_busy() -> None:
    ring = new_ring()
    ring._set(RING_BUSY, 1)
    assert drain(ring, 0) == (-EBUSY, [])
