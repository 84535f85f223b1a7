"""What programs put out to ring buffers and perf event arrays is read, once, in order, and what was lost is counted."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from routebpf.errors import InputError
from routebpf.kernel import perf_reader
from routebpf.kernel.map_create import create_map
from routebpf.kernel.object import load_in_kernel
from routebpf.kernel.perf_reader import PerfReader
from routebpf.kernel.ringbuf_reader import RingBufReader
from routebpf.kernel.running import online_cpus
from routebpf.objects.model import MapDefinition

pytestmark = pytest.mark.kernel

PACKET = bytes(64)
RING = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
__u32 number, failed;
SEC("lwt_xmit/put") int put(struct __sk_buff *skb) {
    __u32 record[4] = { ++number, skb->mark };
    if (bpf_ringbuf_output(&ring, record, 4 + (number & 3) * 4, 0)) failed++;
    return 0;
}
SEC("lwt_xmit/discard") int discard(struct __sk_buff *skb) {
    void *record = bpf_ringbuf_reserve(&ring, 100, 0);
    if (record) bpf_ringbuf_discard(record, 0);
    return 0;
}
"""
PERF = """
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, __u32); __type(value, __u32); } samples SEC(".maps");
__u32 number; int result;
SEC("lwt_xmit") int put(struct __sk_buff *skb) {
    __u32 sample[8] = { ++number, 7, 7, 7, 7, 7, 7, 7 };
    result = bpf_perf_event_output(skb, &samples, BPF_F_CURRENT_CPU, sample, sizeof(sample));
    return 0;
}
"""


def record(number: int) -> bytes:
    return (number.to_bytes(4, "little") + bytes(12))[: 4 + (number & 3) * 4]


def test_records_of_a_ring_buffer_come_once_and_in_order_however_often_it_wraps(read):
    with load_in_kernel(read(RING)) as loaded:
        put, discard = loaded.programs["put"], loaded.programs["discard"]
        taken: list[bytes] = []
        for _ in range(40):
            put.run(PACKET, repeat=20)
            discard.run(PACKET, repeat=3)
            put.run(PACKET, repeat=17)
            taken += loaded.maps["ring"].consume()
        assert taken == [record(number) for number in range(1, 40 * 37 + 1)]
        assert loaded.maps["ring"].consume() == []


def test_a_full_ring_buffer_keeps_the_first_records_and_has_room_once_they_are_read(read):
    with load_in_kernel(read(RING)) as loaded:
        put = loaded.programs["put"]
        put.run(PACKET, repeat=1000)
        failed = int.from_bytes(loaded.maps[".bss"].lookup(bytes(4))[4:], "little")
        taken = loaded.maps["ring"].consume()
        assert 0 < len(taken) == 1000 - failed < 1000
        assert taken == [record(number) for number in range(1, len(taken) + 1)]
        put.run(PACKET)
        assert loaded.maps["ring"].consume() == [record(1001)]


def test_records_are_waited_for(read):
    with load_in_kernel(read(RING)) as loaded, RingBufReader(loaded.maps["ring"]) as reader:
        start = time.monotonic()
        assert list(reader.records(timeout_seconds=0.05)) == []
        assert time.monotonic() - start >= 0.05
        sender = threading.Timer(0.05, loaded.programs["put"].run, (PACKET,))
        sender.start()
        waiting = reader.records(timeout_seconds=10)
        assert next(waiting) == record(1)
        sender.join()
        waiting.close()


def sample(number: int) -> bytes:
    return number.to_bytes(4, "little") + b"\7\0\0\0" * 7


def test_samples_of_a_perf_event_array_come_once_and_in_order_by_cpu(read):
    with load_in_kernel(read(PERF)) as loaded:
        loaded.open_perf_buffers()
        put = loaded.programs["put"]
        cpus = sorted(os.sched_getaffinity(0))
        expected = []
        try:
            for turn in range(200):
                cpu = cpus[turn % len(cpus)]
                os.sched_setaffinity(0, {cpu})
                put.run(PACKET, repeat=30)
                samples = [(cpu, sample(number)) for number in range(30 * turn + 1, 30 * turn + 31)]
                assert [(at, data[:32]) for at, data in loaded.maps["samples"].consume()] == samples
                expected += samples
        finally:
            os.sched_setaffinity(0, cpus)
        assert len(expected) == 6000  # 48 bytes each: the buffers wrapped
        assert loaded.maps["samples"].lost == 0


def test_samples_that_find_no_room_are_counted_when_there_is_room_again(read):
    with load_in_kernel(read(PERF)) as loaded, PerfReader(loaded.maps["samples"], pages=1) as reader:
        put = loaded.programs["put"]
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cpus)})
        try:
            put.run(PACKET, repeat=500)
            taken = reader.consume()
            put.run(PACKET)
            after = reader.consume()
            first_lost = reader.lost
            put.run(PACKET, repeat=500)
            taken_later = reader.consume()
            put.run(PACKET)
            reader.consume()
        finally:
            os.sched_setaffinity(0, cpus)
        assert [data[:32] for _, data in taken] == [sample(number) for number in range(1, len(taken) + 1)]
        assert [data[:32] for _, data in after] == [sample(501)]
        assert first_lost == 500 - len(taken) > 0
        assert reader.lost == first_lost + 500 - len(taken_later) > first_lost


def test_without_a_reader_programs_are_told_that_nobody_reads(read):
    with load_in_kernel(read(PERF)) as loaded:
        put, bss = loaded.programs["put"], loaded.maps[".bss"]

        def result() -> int:
            put.run(PACKET)
            return int.from_bytes(bss.lookup(bytes(4))[4:], "little", signed=True)

        assert result() == -2
        with PerfReader(loaded.maps["samples"]) as reader:
            assert result() == 0
            start = time.monotonic()
            assert len(list(reader.samples(timeout_seconds=0.03))) == 1
            assert time.monotonic() - start >= 0.03
        assert result() == -2


def test_a_reused_array_has_buffers_of_its_own(read):
    source = read(PERF)
    with create_map(source.maps["samples"]) as array, load_in_kernel(source, reuse_maps={"samples": array}) as loaded:
        loaded.open_perf_buffers()
        loaded.programs["put"].run(PACKET)
        assert [data[:32] for _, data in loaded.maps["samples"].consume()] == [sample(1)]


def test_a_cpu_that_an_array_has_no_slot_for_has_no_buffer():
    with create_map(MapDefinition("samples", 4, 4, 4, 1)) as array, PerfReader(array) as reader:
        assert reader.consume() == []


def test_a_cpu_that_goes_offline_meanwhile_is_left_out(read, monkeypatch):
    def open_event(cpu):
        if cpu == max(online_cpus()):
            raise OSError(errno.ENODEV, "No such device")
        return open_event_as_ever(cpu)

    open_event_as_ever = perf_reader._open_event
    monkeypatch.setattr(perf_reader, "_open_event", open_event)
    with create_map(MapDefinition("samples", 4, 4, 4, 0)) as array, PerfReader(array) as reader:
        assert len(reader._buffers) == len(online_cpus()) - 1


def test_a_buffer_that_is_too_large_is_refused(read):
    with load_in_kernel(read(PERF)) as loaded:
        with pytest.raises(InputError, match="map samples: open perf buffers: Cannot allocate memory"):
            PerfReader(loaded.maps["samples"], pages=1 << 24)
        with PerfReader(loaded.maps["samples"], pages=1):
            pass


def test_a_ring_buffer_of_another_size_is_not_read(read):
    with load_in_kernel(read(RING)) as loaded:
        ring = loaded.maps["ring"]
        ring.definition = ring.definition._replace(max_entries=8192)
        with pytest.raises(InputError, match="map ring: cannot map its records: Invalid argument"):
            RingBufReader(ring)


def test_a_buffer_that_is_no_power_of_two_of_pages_is_refused(read):
    with load_in_kernel(read(PERF)) as loaded:
        for pages in (0, 3):
            with pytest.raises(InputError, match=f"map samples: {pages} pages for a buffer; give a power of two"):
                PerfReader(loaded.maps["samples"], pages=pages)
