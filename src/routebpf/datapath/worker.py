"""A CPU of the embedded host with all the memory that its packets need, and the running of a batch on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from routebpf.datapath import run_records as at
from routebpf.datapath.devices import Device, write_devices
from routebpf.datapath.fib_image import Image
from routebpf.datapath.fib_lookup import CACHE_ENTRIES, CACHE_ENTRY_BYTES
from routebpf.datapath.fib_records import (
    HOST_FIB4,
    HOST_FIB6,
    HOST_FLAGS,
    HOST_NEIGHBOURS,
    HOST_SHORT_HOPS,
    HOST_SHORT_WAYS,
)
from routebpf.datapath.replay import replay_batch
from routebpf.datapath.verdicts import REASON_COUNT, REASONS
from routebpf.runtime import cpu as cpu_at
from routebpf.runtime import device as device_at
from routebpf.runtime import skb as skb_at
from routebpf.runtime.memory import Memory, read, write

RESULT = np.dtype(
    {
        "names": ["verdict", "reason", "errno", "route", "size", "frames"],
        "formats": ["u1", "u2", "i4", "u4", "u4", "u4"],
        "offsets": [at.RESULT_VERDICT, at.RESULT_REASON, at.RESULT_ERRNO, at.RESULT_ROUTE, at.RESULT_SIZE,
                    at.RESULT_FRAMES],
        "itemsize": at.RESULT_BYTES,
    }
)  # fmt: skip

_LEVELS = 10  # of fragments of fragments: every level is one reroute, and there are at most nine
_BUFFER_BYTES = skb_at.HEADROOM + skb_at.MAX_PACKET + skb_at.TAILROOM
SINK_BYTES = 8 << 20
SINK_ROOM = 1 << 20  # what one packet's frames may take


@dataclass(frozen=True, slots=True)
class HostImage:
    """What all CPUs share: the addresses of the FIBs and the neighbour table, HOST_* flags, the number of routes."""

    fib4: int
    fib6: int
    neighbours: int
    flags: int
    routes: int
    short_ways: int
    short_hops: int


class Worker:
    """A CPU: struct cpu, packet buffers, sink, route cache, counters, and devices of its own, whose counters it has
    to itself."""

    def __init__(self, number: int, *, seed: int) -> None:
        self._cpu, self._scratch = cpu_at.new_cpu(number, seed=seed)
        self.address = self._cpu.address
        self._replay = replay_batch.as_callable()  # here, because LLVM is not to be used by two threads at once
        self._packets = [_packet() for _ in range(_LEVELS + 2)]
        self._plain = Memory(skb_at.SKB_BYTES)
        self._plain.write(skb_at.SKB_MAC_HEADER, (-1).to_bytes(8, "little", signed=True))
        self._plain.write(skb_at.SKB_HAS_SOCKET, (1).to_bytes(4, "little"))
        self._plain.write(skb_at.SKB_HEADROOM, skb_at.LL_RESERVED_SPACE.to_bytes(8, "little"))
        self._fragments = Memory(_LEVELS * 8)
        for level in range(_LEVELS):
            self._fragments.write(level * 8, self._packets[2 + level][0].address.to_bytes(8, "little"))
        self._sink = Memory(device_at.SINK_BYTES)
        self._empty_sink = device_at.empty_sink.as_callable()
        self._frames: Memory | None = None
        self._keeps_frames = False
        self._cache = Memory(CACHE_ENTRIES * CACHE_ENTRY_BYTES)
        self._reason_counts = Memory(REASON_COUNT * 8)
        self._route_counts = Memory(at.ROUTE_COUNT_BYTES)
        self._reasons = _reason_rows()
        self._run = Memory(at.RUN_BYTES)
        self._image = Image()
        self._host = Memory(device_at.HOST_BYTES)
        self._devices = 0
        for field, value in (
            (cpu_at.CPU_SINK, self._sink.address),
            (cpu_at.CPU_CLONE, self._packets[1][0].address),
            (cpu_at.CPU_ROUTE_CACHE, self._cache.address),
            (cpu_at.CPU_REASON_COUNTS, self._reason_counts.address),
            (cpu_at.CPU_FRAGMENTS, self._fragments.address),
            (cpu_at.CPU_HOST, self._host.address),
        ):
            self.put(field, value)
        for field, value in (
            (at.RUN_SKB, self._packets[0][0].address),
            (at.RUN_PLAIN, self._plain.address),
            (at.RUN_REASONS, self._reasons.address),
            (at.RUN_ROOM, SINK_ROOM),
        ):
            self._put_run(field, value)

    def use(self, host: HostImage, devices: list[Device]) -> None:
        """Run with these routes and devices from now on. Counters start at 0."""
        self._image = Image()
        self._devices, count = write_devices(self._image, devices)
        for field, value in (
            (device_at.HOST_DEVICES, self._devices),
            (device_at.HOST_DEVICE_COUNT, count),
            (HOST_FIB4, host.fib4),
            (HOST_FIB6, host.fib6),
            (HOST_NEIGHBOURS, host.neighbours),
            (HOST_FLAGS, host.flags),
            (HOST_SHORT_WAYS, host.short_ways),
            (HOST_SHORT_HOPS, host.short_hops),
        ):
            self._host.write(field, value.to_bytes(8, "little"))
        self._cache.array[:] = 0
        self._route_counts = Memory((host.routes + 1) * at.ROUTE_COUNT_BYTES)
        self.put(cpu_at.CPU_ROUTE_COUNTS, self._route_counts.address)
        self.clear_counts()

    def clear_counts(self) -> None:
        """Start all counters at 0."""
        self._route_counts.array[:] = 0
        self._reason_counts.array[:] = 0
        count = int.from_bytes(self._host.read(device_at.HOST_DEVICE_COUNT, 8), "little")
        for ifindex in range(count):
            write(self._devices + ifindex * device_at.DEVICE_BYTES + device_at.DEVICE_TX_FRAMES, bytes(24))

    def set_clock(self, clock: int, now: int) -> None:
        """CLOCK_SET with `now` in ns, or CLOCK_MACHINE."""
        self._cpu.write(cpu_at.CPU_CLOCK, clock.to_bytes(4, "little"))
        self.put(cpu_at.CPU_NOW, now)

    def start(
        self, rows: np.ndarray[Any, Any], first: int, *, results: int, flags: int, ingress: int, mark: int
    ) -> None:
        """Take on a batch. `first`: the number of its first packet; `results`: where its results go, 0: nowhere."""
        for field, value in (
            (at.RUN_ROWS, rows.ctypes.data),
            (at.RUN_COUNT, len(rows)),
            (at.RUN_DONE, 0),
            (at.RUN_RESULTS, results),
            (at.RUN_FLAGS, flags),
            (at.RUN_INGRESS, ingress),
            (at.RUN_NUMBER, first),
            (at.RUN_MARK, mark),
        ):
            self._put_run(field, value)

    def run(self) -> int:
        """Go on with the batch, without the GIL: how many of its packets are done. Fewer than all: the sink is to be
        emptied, or a program was stopped (`has_fault`)."""
        return self._replay(self.address, self._run.address)

    @property
    def has_fault(self) -> bool:
        return bool(int.from_bytes(self._cpu.read(cpu_at.CPU_FAULT, 4), "little"))

    def clear_fault(self) -> None:
        self._cpu.write(cpu_at.CPU_FAULT, bytes(4))

    def keep_frames(self, keep: bool) -> None:
        """Whether frames that leave are kept in the sink, or only counted."""
        if keep and self._frames is None:
            self._frames = Memory(SINK_BYTES)
        self._keeps_frames = keep
        self._sink.write(device_at.SINK_OVERFLOW, bytes(8))
        self.empty_sink()

    def sink(self) -> tuple[int, int]:
        """The address of the records of frames, and how many bytes they are."""
        return (
            int.from_bytes(self._sink.read(device_at.SINK_BASE, 8), "little"),
            int.from_bytes(self._sink.read(device_at.SINK_USED, 8), "little"),
        )

    def empty_sink(self) -> None:
        base = self._frames.address if self._keeps_frames and self._frames is not None else 0
        self._empty_sink(self._sink.address, base, SINK_BYTES)

    @property
    def lost_frames(self) -> int:
        """Frames that found no room in the sink, for all that it grew."""
        return int.from_bytes(self._sink.read(device_at.SINK_OVERFLOW, 8), "little")

    def device_counts(self, ifindex: int) -> tuple[int, int]:
        """Frames that left by a device, and their bytes."""
        place = self._devices + ifindex * device_at.DEVICE_BYTES + device_at.DEVICE_TX_FRAMES
        data = read(place, 16)
        return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")

    def route_counts(self) -> np.ndarray[Any, Any]:
        """Packets and bytes: [route number + 1, verdict, 0 or 1]; row 0 is that of packets that found no route."""
        return self._route_counts.array.view(np.uint64).reshape(-1, at.VERDICTS, 2)

    def reason_counts(self) -> np.ndarray[Any, Any]:
        """Packets by reason."""
        return self._reason_counts.array.view(np.uint64)

    def put(self, field: int, value: int) -> None:
        """Write a 64-bit field of the CPU's struct."""
        self._cpu.write(field, (value & (1 << 64) - 1).to_bytes(8, "little"))

    def _put_run(self, field: int, value: int) -> None:
        self._run.write(field, value.to_bytes(8, "little"))


def _packet() -> tuple[Memory, Memory]:
    """A struct skb with a buffer."""
    skb, buffer = Memory(skb_at.SKB_BYTES), Memory(_BUFFER_BYTES)
    skb.write(skb_at.SKB_HEAD, buffer.address.to_bytes(8, "little"))
    skb.write(skb_at.SKB_END, (buffer.address + buffer.size).to_bytes(8, "little"))
    return skb, buffer


def _reason_rows() -> Memory:
    """The first 8 bytes of a result, by reason."""
    memory = Memory(REASON_COUNT * 8)
    rows = memory.array.view(np.dtype({"names": ["verdict", "reason", "errno"], "formats": ["u1", "u2", "i4"],
                                       "offsets": [0, 2, 4], "itemsize": 8}))  # fmt: skip
    for one in REASONS:
        rows[one.code] = (one.verdict, one.code, one.errno)
    return memory
