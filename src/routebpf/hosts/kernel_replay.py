"""Packets through a kernel host, one after the other: sent or put onto a wire, and what came of each."""

from __future__ import annotations

import contextlib
import os
import time as clock
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import numpy as np

from routebpf.datapath.capture_link_types import LINKTYPE_ETHERNET
from routebpf.datapath.fib import ERROR_TYPES, Route
from routebpf.datapath.ip_header import ipv4_length, ipv6_length
from routebpf.datapath.link_layer import (
    ETH_P_IP,
    LAYER_ETHERTYPE_SHIFT,
    LAYER_OFFSET_MASK,
    LAYER_REASON_SHIFT,
    network_layer,
)
from routebpf.datapath.packet_rows import ROW_BYTES
from routebpf.datapath.run_records import NO_ROUTE_NUMBER
from routebpf.datapath.verdicts import (
    DEVICE_DOWN,
    LINK_SHORT,
    LINK_UNKNOWN,
    NOT_IP,
    REASON_COUNT,
    SENT,
    TOO_LONG,
    VERDICT_NAMES,
    reason_of,
)
from routebpf.datapath.worker import RESULT
from routebpf.errors import InputError
from routebpf.hosts.host import Frame, Sent
from routebpf.hosts.kernel_verdict import Seen, Way, reason_of_seen
from routebpf.hosts.kernel_wire import asked_of, frames_of
from routebpf.hosts.replay import COMMENTS, Replay, Watch, batches, interfaces_of
from routebpf.kernel.addresses import KernelNeighbour, put_neighbours
from routebpf.kernel.netlink import Refusal
from routebpf.kernel.routes import RTA, look_up
from routebpf.runtime.device import FRAME_HEADER_BYTES, FRAME_IFINDEX, FRAME_LENGTH, FRAME_PACKET, FRAME_TIME
from routebpf.runtime.memory import read
from routebpf.runtime.skb import MAX_PACKET

if TYPE_CHECKING:
    from routebpf.datapath.devices import Device
    from routebpf.hosts.kernel import KernelHost

_ROUTE_TYPES = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"}
_NEIGHBOUR_ROUNDS = 16  # a packet asks for one neighbour after the other at most so often: fragments, clones, reroutes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one packet: a reason, the errno, the route's number (None: none), the frames."""

    reason: int
    errno: int
    route: int | None
    frames: tuple[Frame, ...]


def run_one(host: KernelHost, packet: bytes, *, time: int, mark: int, ingress: Device | None) -> Sent:
    """Send one packet, or let it come in."""
    with _on_one_cpu():
        host.ready()
        wrong = _unsound(packet, len(packet), exact=ingress is None)
        if wrong:
            outcome = Outcome(wrong, reason_of(wrong).errno, None, ())
        else:
            outcome = _Runner(host, ingress).run(packet, time, mark)
    reason = reason_of(outcome.reason)
    return Sent(VERDICT_NAMES[reason.verdict], reason.name, outcome.errno, outcome.frames)


def run_capture(
    host: KernelHost,
    packets: str | os.PathLike[str] | np.ndarray[Any, Any],
    write: str | os.PathLike[str] | None,
    ingress: Device | None,
    *,
    keep_packets: bool,
    columns: bool,
    progress: Callable[[int, int], None] | None,
    watch: Watch | None,
) -> Replay:
    """Run every packet of a capture; see `KernelHost.replay`."""
    with ExitStack() as stack:
        rows_in_batches = batches(packets, stack, progress)
        stack.enter_context(_on_one_cpu())
        host.ready()
        run = _Capture(_Runner(host, ingress), keep_packets=keep_packets, columns=columns, watch=watch)
        started = clock.perf_counter()
        damage: InputError | None = None
        if write is not None:
            from routebpf.datapath.capture_writer import CaptureWriter

            run.writer = stack.enter_context(CaptureWriter(write, interfaces=interfaces_of(host.devices.values())))
            run.writer.set_comments(COMMENTS)
        try:
            for rows in rows_in_batches:
                run.batch(rows)
        except InputError as error:
            damage = error
        return run.result(clock.perf_counter() - started, damage)


class _Runner:
    """Runs packets, one after the other, with the routes as they are now."""

    def __init__(self, host: KernelHost, ingress: Device | None) -> None:
        self.host = host
        self.ingress = ingress
        self.routes: list[Route] = list(host.routes())
        self._numbers = {_key(one): number for number, one in enumerate(self.routes)}
        self._up = host.up_devices()
        self._bare = {name for name, one in host.devices.items() if one.link_type != LINKTYPE_ETHERNET}
        host.wires.settle(self._up)

    def run(self, packet: bytes, time: int, mark: int) -> Outcome:
        """One packet that is sound."""
        host = self.host
        if self.ingress is not None and not self.ingress.is_up:
            return Outcome(DEVICE_DOWN, reason_of(DEVICE_DOWN).errno, None, ())
        if self.ingress is None:
            errno = host.sender.send(packet, mark=mark)
        else:
            errno = host.wires.put_in(self.ingress.name, self.ingress.mac, packet)
        frames, is_asked = self._frames(packet, time)
        way = self._way(packet, mark)
        seen = Seen(packet, errno, frames, way, is_asked, self.ingress is not None)
        reason = reason_of_seen(seen, host.devices, host.neighbours)
        if self.ingress is not None:
            errno = reason_of(reason).errno
        return Outcome(reason, errno, way.number, tuple(frames))

    def _frames(self, packet: bytes, time: int) -> tuple[list[Frame], bool]:
        """The frames that left, and whether the kernel still waits for a neighbour."""
        frames: list[Frame] = []
        is_asked = False
        for _ in range(_NEIGHBOUR_ROUNDS):
            seen = self.host.wires.settle(self._up)
            frames += frames_of(seen, packet, time, self._bare)
            new = {(self.host.devices[one.device].ifindex, one.address): one.device for one in asked_of(seen)}
            own = [key for key, device in new.items() if self.host.makes_neighbours(device)]
            is_asked |= len(own) < len(new)
            if not own:
                break
            made = [KernelNeighbour(ifindex, address, made_up_mac(address)) for ifindex, address in own]
            refused = put_neighbours(self.host.netlink, made)
            for at, one in enumerate(made):
                if at not in refused and one.mac is not None:
                    self.host.neighbours[new[one.ifindex, one.address], one.address] = one.mac
        return frames, is_asked

    def _way(self, packet: bytes, mark: int) -> Way:
        is_ipv4 = packet[0] >> 4 == 4
        source, destination = (packet[12:16], packet[16:20]) if is_ipv4 else (packet[8:24], packet[24:40])
        tos = packet[1] & 0x1C if is_ipv4 else int.from_bytes(packet[:2], "big") >> 4 & 0xFC
        iif = self.ingress.ifindex if self.ingress is not None else 0
        key = (source, destination, tos, mark, iif)
        way = self.host.lookups.get(key)
        if way is None:
            way = self.host.lookups[key] = self._look_up(source, destination, tos, mark, iif)
        return way

    def _look_up(self, source: bytes, destination: bytes, tos: int, mark: int, iif: int) -> Way:
        asked: dict[str, Any] = {"tos": tos, "mark": mark, "iif": iif}
        sources = (source, b"") if any(source) and not iif else (source,)
        for own in sources:
            found = look_up(self.host.netlink, destination, source=own, **asked)
            matched = look_up(self.host.netlink, destination, source=own, match=True, **asked)
            if not isinstance(found, Refusal) and not isinstance(matched, Refusal):
                break
        else:
            errno = found.errno if isinstance(found, Refusal) else 0
            number, kind = self._unnamed(destination)
            return Way(number, type=kind, refusal=errno)
        names = {one.ifindex: name for name, one in self.host.devices.items()}
        route = self.host.route_of(matched)
        gateway = found.gateway
        return Way(
            self._numbers.get(_key(route)),
            names.get(found.number(RTA.OIF) or 0, ""),
            gateway.packed if gateway else destination,
            _ROUTE_TYPES.get(found.type, "unicast"),
            has_program=bool(route.programs),
        )

    def _unnamed(self, destination: bytes) -> tuple[int | None, str]:
        """The longest route that fits of those that the kernel does not name when it is asked, by number, and its type:
        those that refuse, and of what comes in those of multicast."""
        address = ip_address(destination)
        fitting = [
            (route.prefix.prefixlen, -number)
            for number, route in enumerate(self.routes)
            if (route.type in ERROR_TYPES or self._takes_in(route))
            and address.version == route.prefix.version
            and address in route.prefix
        ]
        if not fitting:
            return None, "unicast"
        number = -max(fitting)[1]
        return number, self.routes[number].type

    def _takes_in(self, route: Route) -> bool:
        return self.ingress is not None and route.type == "multicast" and route.hops[0].device == self.ingress.name


class _Capture:
    """A replay that is going on."""

    def __init__(self, runner: _Runner, *, keep_packets: bool, columns: bool, watch: Watch | None) -> None:
        self.runner = runner
        self.writer: Any = None
        self._keep_packets = keep_packets
        self._keep_columns = columns
        self._watch = watch
        self._columns: list[np.ndarray[Any, Any]] = []
        self._packet_frames: list[list[Frame]] = []
        self._route_counts = np.zeros((len(runner.routes) + 1, len(VERDICT_NAMES), 2), np.int64)
        self._reason_counts = np.zeros(REASON_COUNT, np.int64)
        self._frames: dict[str, int] = {}
        self._frame_bytes: dict[str, int] = {}
        self._number = 0

    def batch(self, rows: np.ndarray[Any, Any]) -> None:
        results = np.zeros(len(rows), RESULT)
        for index, row in enumerate(rows):
            reason, packet, length = _packet_of(rows, index)
            if reason:
                outcome = Outcome(reason, reason_of(reason).errno, None, ())
            else:
                outcome = self.runner.run(packet, int(row["time"]), 0)
            self._count(outcome, length, results[index : index + 1])
        if self._keep_columns:
            self._columns.append(results)
        if self._watch is not None:
            self._watch(rows, results)

    def _count(self, outcome: Outcome, length: int, result: np.ndarray[Any, Any]) -> None:
        verdict = reason_of(outcome.reason).verdict
        route = NO_ROUTE_NUMBER if outcome.route is None else outcome.route
        result[0] = (verdict, outcome.reason, outcome.errno, route, length, len(outcome.frames))
        place = self._route_counts[0 if outcome.route is None else outcome.route + 1, verdict]
        place += (1, length)
        if outcome.reason != SENT:
            self._reason_counts[outcome.reason] += 1
        for frame in outcome.frames:
            self._frames[frame.device] = self._frames.get(frame.device, 0) + 1
            self._frame_bytes[frame.device] = self._frame_bytes.get(frame.device, 0) + len(frame.data)
        if self._keep_packets:
            self._packet_frames.append(list(outcome.frames))
        if self.writer is not None and outcome.frames:
            records = _records(self.runner.host, outcome.frames, self._number)
            reasons = np.array([outcome.reason], np.uint16)
            self.writer.write_frames(records.ctypes.data, len(records) * 8, reasons, self._number)
        self._number += 1

    def result(self, seconds: float, damage: InputError | None) -> Replay:
        """All that came of it."""
        devices = self.runner.host.devices
        return Replay(
            routes=self.runner.routes,
            route_counts=self._route_counts,
            reason_counts=self._reason_counts,
            frames={name: self._frames[name] for name in devices if name in self._frames},
            frame_bytes=self._frame_bytes,
            seconds=seconds,
            columns=np.concatenate(self._columns) if self._columns else None,
            packet_frames=self._packet_frames if self._keep_packets else None,
            damage=damage,
        )


def made_up_mac(address: bytes) -> bytes:
    """The link address that a neighbour nobody named has: that of the embedded host (datapath.neighbours)."""
    return (b"\x02\x00" if len(address) == 4 else b"\x06\x00") + address[-4:]


@contextlib.contextmanager
def _on_one_cpu() -> Iterator[None]:
    """This thread stays on one CPU, so that frames arrive in order and per-CPU maps have all in one place."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _key(route: Route) -> tuple[Any, ...]:
    return route.prefix, route.table, route.tos, route.metric, route.type


def _unsound(packet: bytes, wire: int, *, exact: bool) -> int:
    """What is wrong with an IP header, a reason; 0: nothing."""
    if not packet:
        return LINK_SHORT
    version = packet[0] >> 4
    if version not in (4, 6):
        return NOT_IP
    data = np.frombuffer(packet, np.uint8)
    check = (ipv4_length if version == 4 else ipv6_length).as_callable()
    length = check(data.ctypes.data, len(packet), wire, int(exact))
    return -length if length < 0 else 0


def _packet_of(rows: np.ndarray[Any, Any], index: int) -> tuple[int, bytes, int]:
    """The IP packet in a row: what is wrong with it (0: nothing), its bytes, its length. What was not captured is 0.

    As `datapath.replay` has it."""
    row = rows[index]
    layer = network_layer.as_callable()(rows.ctypes.data + index * ROW_BYTES)
    offset = layer & LAYER_OFFSET_MASK
    data, have = int(row["address"]) + offset, int(row["size"]) - offset
    wire = max(int(row["wire_size"]) - offset, have)
    if layer >> LAYER_REASON_SHIFT:
        return min(NOT_IP - 1 + (layer >> LAYER_REASON_SHIFT), LINK_UNKNOWN), b"", max(wire, 0)
    is_ipv4 = layer >> LAYER_ETHERTYPE_SHIFT == ETH_P_IP
    length = (ipv4_length if is_ipv4 else ipv6_length).as_callable()(data, have, wire, 0)
    if length < 0:
        return -length, b"", max(wire, 0)
    if length > MAX_PACKET or (is_ipv4 and length > 0xFFFF):
        return TOO_LONG, b"", length
    return 0, read(data, min(have, length)).ljust(length, b"\0"), length


def _records(host: KernelHost, frames: tuple[Frame, ...], packet: int) -> np.ndarray[Any, Any]:
    """Frames as records of a sink (runtime.device, FRAME_*), in words of 8 bytes."""
    data = bytearray()
    for frame in frames:
        head = bytearray(FRAME_HEADER_BYTES)
        for place, size, value in (
            (FRAME_IFINDEX, 4, host.devices[frame.device].ifindex),
            (FRAME_LENGTH, 4, len(frame.data)),
            (FRAME_PACKET, 8, packet),
            (FRAME_TIME, 8, frame.time),
        ):
            head[place : place + size] = value.to_bytes(size, "little")
        data += head + frame.data + bytes(-len(frame.data) % 8)
    return np.frombuffer(bytes(data), np.uint64).copy()
