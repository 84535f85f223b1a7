"""Packets through the embedded host: one, or a capture in batches on all its CPUs."""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from routebpf.datapath.capture_link_types import LINKTYPE_RAW
from routebpf.datapath.packet_rows import PACKET_ROW
from routebpf.datapath.run_records import RUN_EXACT, RUN_SET_CLOCK
from routebpf.datapath.verdicts import REASONS, VERDICT_NAMES, reason_of
from routebpf.datapath.worker import RESULT, SINK_ROOM, Worker
from routebpf.errors import InputError, RuntimeFault
from routebpf.hosts.host import Frame, Sent
from routebpf.runtime.cpu import CLOCK_MACHINE, CLOCK_SET
from routebpf.runtime.device import (
    FRAME_HEADER_BYTES,
    FRAME_IFINDEX,
    FRAME_LENGTH,
    FRAME_PACKET,
    FRAME_TIME,
    SINK_LARGEST,
)

if TYPE_CHECKING:
    from routebpf.datapath.capture_reader import Capture
    from routebpf.datapath.devices import Device
    from routebpf.datapath.fib import Route
    from routebpf.hosts.embedded import EmbeddedHost

COMMENTS = [": ".join(dict.fromkeys((VERDICT_NAMES[one.verdict], one.name))) for one in REASONS]

Bytes = np.ndarray[Any, Any]
# Is shown each batch: its rows (PACKET_ROW) and what became of them (RESULT).
Watch = Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], None]


@dataclass(slots=True)
class Replay:
    """What became of the packets of a capture.

    `verdicts` and `reasons`: packets by name; `bytes`: theirs, from the IP header on. `columns`: a row a packet
    (verdict, reason, errno, route, size, frames), None if they were not kept; `verdict` and `reason` are numbers of
    `datapath.verdicts`, `route` is an index into `routes`, or 0xffffffff. `route_counts`: [route, verdict, packets or
    bytes]. `frames`: how many left, by device. `seconds`: how long it took. `packet_frames`: those of each packet, if
    they were kept.
    """

    routes: Sequence[Route]
    route_counts: np.ndarray[Any, Any]
    reason_counts: np.ndarray[Any, Any]
    frames: dict[str, int]
    frame_bytes: dict[str, int]
    seconds: float = 0.0
    columns: np.ndarray[Any, Any] | None = None
    packet_frames: list[list[Frame]] | None = None
    damage: InputError | None = None

    @property
    def packets(self) -> int:
        """How many packets there were."""
        return int(self.route_counts[:, :, 0].sum())

    @property
    def bytes(self) -> int:
        """Their bytes, from their IP headers on."""
        return int(self.route_counts[:, :, 1].sum())

    @property
    def verdicts(self) -> dict[str, int]:
        """Packets by verdict, all five."""
        totals = self.route_counts[:, :, 0].sum(axis=0)
        return {name: int(totals[number]) for number, name in enumerate(VERDICT_NAMES)}

    @property
    def reasons(self) -> dict[str, int]:
        """Packets by reason, for all that were not simply sent; the most frequent first."""
        counted = [(int(count), reason_of(code).name) for code, count in enumerate(self.reason_counts) if count]
        return {name: count for count, name in sorted(counted, key=lambda one: (-one[0], one[1]))}

    def report(self) -> dict[str, Any]:
        """The replay as `run --json` prints it; see `hosts.report`."""
        from routebpf.hosts.report import report

        return report(self)


def run_one(host: EmbeddedHost, packet: bytes, *, time: int, mark: int, ingress: int) -> Sent:
    """Send one packet, or let it come in."""
    data = np.frombuffer(packet + b"\0", np.uint8)
    rows = np.zeros(1, PACKET_ROW)
    rows[0] = (data.ctypes.data, len(packet), len(packet), time, LINKTYPE_RAW, 0, 0)
    results = np.zeros(1, RESULT)
    worker = host.ready()[0]
    host.neighbours_for(SINK_ROOM // 1024)
    _set_clock(host, worker)
    worker.keep_frames(True)
    flags = RUN_EXACT if not ingress else 0
    flags |= RUN_SET_CLOCK if host.clock == "capture" else 0
    worker.start(rows, host.take_numbers(1), results=results.ctypes.data, flags=flags, ingress=ingress, mark=mark)
    worker.run()
    _check_workers(host, [worker])
    frames = tuple(frame for _, frame in _frames_in(_sink_copy(worker), _device_names(host)))
    worker.keep_frames(False)
    reason = reason_of(int(results[0]["reason"]))
    return Sent(VERDICT_NAMES[reason.verdict], reason.name, int(results[0]["errno"]), frames)


def run_capture(
    host: EmbeddedHost,
    packets: str | os.PathLike[str] | np.ndarray[Any, Any],
    write: str | os.PathLike[str] | None,
    ingress: int,
    *,
    keep_packets: bool,
    columns: bool,
    progress: Callable[[int, int], None] | None,
    watch: Watch | None,
) -> Replay:
    """Run every packet of a capture; see `EmbeddedHost.replay`."""
    with ExitStack() as stack:
        # What is no capture ends here, before anything is made or written.
        all_rows = batches(packets, stack, progress)
        workers = host.ready()
        for worker in workers:
            worker.clear_counts()
            _set_clock(host, worker)
            worker.keep_frames(write is not None or keep_packets)
        run = _Run(host, workers, ingress, keep_frames=keep_packets, keep_columns=columns, watch=watch)
        started = clock.perf_counter()
        if write is not None:
            from routebpf.datapath.capture_writer import CaptureWriter

            run.writer = stack.enter_context(CaptureWriter(write, interfaces=interfaces_of(host.devices.values())))
            run.writer.set_comments(COMMENTS)
        run.pool = stack.enter_context(ThreadPoolExecutor(len(workers))) if len(workers) > 1 else None
        damage = run.all(all_rows)
    result = run.result()
    result.damage = damage
    result.seconds = clock.perf_counter() - started
    for worker in workers:
        worker.keep_frames(False)
    return result


def batches(
    packets: str | os.PathLike[str] | np.ndarray[Any, Any],
    stack: ExitStack,
    progress: Callable[[int, int], None] | None,
) -> Iterator[np.ndarray[Any, Any]]:
    """The rows of packets, a batch at a time; a capture is opened now."""
    if isinstance(packets, np.ndarray):
        return iter([np.ascontiguousarray(packets)])
    from routebpf.datapath.capture_reader import open_capture

    return _captured(stack.enter_context(open_capture(packets)), progress)


def _captured(capture: Capture, progress: Callable[[int, int], None] | None) -> Iterator[np.ndarray[Any, Any]]:
    for batch in capture.batches():
        yield batch.rows
        if progress is not None:
            progress(*capture.progress())


class _Run:
    """A replay that is going on."""

    def __init__(
        self,
        host: EmbeddedHost,
        workers: list[Worker],
        ingress: int,
        *,
        keep_frames: bool,
        keep_columns: bool,
        watch: Watch | None,
    ) -> None:
        self.host = host
        self.workers = workers
        self.ingress = ingress
        self.writer: Any = None
        self.pool: ThreadPoolExecutor | None = None
        self.keep_frames = keep_frames
        self.keep_columns = keep_columns
        self.watch = watch
        self._columns: list[np.ndarray[Any, Any]] = []
        self._packet_frames: list[list[Frame]] = []
        self._names = _device_names(host)
        self._flags = RUN_SET_CLOCK if host.clock == "capture" else 0

    def all(self, batches: Iterator[np.ndarray[Any, Any]]) -> InputError | None:
        """Run them all, up to where the capture is damaged: the error that says so."""
        while True:
            try:
                rows = next(batches, None)
            except InputError as damage:
                return damage
            if rows is None:
                return None
            self.batch(rows)

    def batch(self, rows: np.ndarray[Any, Any]) -> None:
        """Run a batch: each CPU takes a part of it, in order."""
        first = self.host.take_numbers(len(rows))
        self.host.neighbours_for(min(len(rows), 1 << 20))
        wanted = self.keep_columns or self.keep_frames or self.writer is not None or self.watch is not None
        results = np.zeros(len(rows) if wanted else 0, RESULT)
        cuts = [len(rows) * number // len(self.workers) for number in range(len(self.workers) + 1)]
        parts = [(worker, cuts[n], cuts[n + 1]) for n, worker in enumerate(self.workers)]

        def work(part: tuple[Worker, int, int]) -> Iterator[Bytes]:
            worker, start, end = part
            place = results.ctypes.data + start * RESULT.itemsize if wanted else 0
            worker.start(rows[start:end], first + start, results=place, flags=self._flags, ingress=self.ingress, mark=0)
            return self._work(worker, end - start)

        # All threads end before anything is raised. One CPU's frames are taken as they leave, so they need no room.
        kept = list(self.pool.map(lambda part: list(work(part)), parts)) if self.pool else map(work, parts)
        for (worker, _, _), chunks in zip(parts, kept, strict=True):
            for chunk in chunks:
                self._take(chunk, results, first)
            if worker.has_fault:
                break
        _check_workers(self.host, self.workers)
        if self.keep_columns:
            self._columns.append(results)
        if self.watch is not None:
            self.watch(rows, results)

    def _work(self, worker: Worker, count: int) -> Iterator[Bytes]:
        """Run a CPU's part: the frames that left."""
        done = -1
        while done < count and not worker.has_fault:
            done = worker.run()
            chunk = _sink_copy(worker)
            worker.empty_sink()
            if len(chunk):
                yield chunk

    def _take(self, chunk: Bytes, results: np.ndarray[Any, Any], first: int) -> None:
        if self.writer is not None:
            self.writer.write_frames(chunk.ctypes.data, len(chunk), results["reason"], first)
        if self.keep_frames:
            start = first - self.start_number(first)
            while len(self._packet_frames) < start + len(results):
                self._packet_frames.append([])
            for number, frame in _frames_in(chunk, self._names):
                self._packet_frames[start + number - first].append(frame)

    def start_number(self, first: int) -> int:
        """The number of the replay's first packet."""
        if not hasattr(self, "_first"):
            self._first = first
        return self._first

    def result(self) -> Replay:
        """All that came of it."""
        frames, sizes = {}, {}
        for name, device in self.host.devices.items():
            counts = [worker.device_counts(device.ifindex) for worker in self.workers]
            if any(count for count, _ in counts):
                frames[name] = sum(count for count, _ in counts)
                sizes[name] = sum(size for _, size in counts)
        return Replay(
            routes=self.host.numbered_routes(),
            route_counts=np.add.reduce([worker.route_counts() for worker in self.workers]).astype(np.int64),
            reason_counts=np.add.reduce([worker.reason_counts() for worker in self.workers]).astype(np.int64),
            frames=frames,
            frame_bytes=sizes,
            columns=np.concatenate(self._columns) if self._columns else None,
            packet_frames=self._packet_frames if self.keep_frames else None,
        )


def _set_clock(host: EmbeddedHost, worker: Worker) -> None:
    if host.clock == "machine":
        worker.set_clock(CLOCK_MACHINE, 0)
    else:
        worker.set_clock(CLOCK_SET, host.clock if isinstance(host.clock, int) else 0)


def _check_workers(host: EmbeddedHost, workers: Sequence[Worker]) -> None:
    """Raise what stopped a program, if one was, or that frames which left are not among those that were kept."""
    faults = [_take_fault(host, worker) for worker in workers if worker.has_fault]
    if faults:
        raise faults[0]
    lost = sum(worker.lost_frames for worker in workers)
    if lost:
        raise RuntimeFault(
            f"keeping the frames that left: those of one packet took more than {SINK_LARGEST >> 30} GiB, and"
            f" {lost:,} found no room; run without keeping frames to count them only"
        )


def _take_fault(host: EmbeddedHost, worker: Worker) -> BaseException:
    """What stopped a program on a CPU, which may run on then."""
    worker.clear_fault()
    for route in host.numbered_routes():
        for program in route.programs:
            fault = program.take_fault(worker.address)
            if fault is not None:
                return fault
    raise AssertionError("a CPU was stopped, but no program on it")


def _device_names(host: EmbeddedHost) -> dict[int, str]:
    return {one.ifindex: one.name for one in host.devices.values()}


def interfaces_of(devices: Iterable[Device]) -> list[Any]:
    """The interfaces of a capture of frames that leave by these devices."""
    from routebpf.datapath.capture_writer import Interface

    return [Interface(one.name, one.link_type, one.ifindex) for one in devices]


def _sink_copy(worker: Worker) -> Bytes:
    """The records of frames in the sink: a copy, aligned as the sink is."""
    base, used = worker.sink()
    if not used:
        return np.zeros(0, np.uint8)
    copy = np.zeros(used // 8, np.uint64)
    import ctypes

    ctypes.memmove(copy.ctypes.data, base, used)
    return copy.view(np.uint8)


def _frames_in(chunk: Bytes, names: dict[int, str]) -> Iterator[tuple[int, Frame]]:
    """The frames of a sink, each with the number of its packet."""
    data = chunk.tobytes()
    at = 0
    while at < len(data):
        ifindex = int.from_bytes(data[at + FRAME_IFINDEX : at + FRAME_IFINDEX + 4], "little")
        length = int.from_bytes(data[at + FRAME_LENGTH : at + FRAME_LENGTH + 4], "little")
        packet = int.from_bytes(data[at + FRAME_PACKET : at + FRAME_PACKET + 8], "little")
        time = int.from_bytes(data[at + FRAME_TIME : at + FRAME_TIME + 8], "little", signed=True)
        start = at + FRAME_HEADER_BYTES
        yield packet, Frame(names.get(ifindex, f"if{ifindex}"), data[start : start + length], time)
        at = start + (length + 7) // 8 * 8
