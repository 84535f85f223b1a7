"""Captures in: pcap and pcapng, from a file or "-", gzip or zstd around it or not, as batches of rows.

with open_capture("in.pcapng") as capture:
    for batch in capture.batches():
        batch.rows  # a numpy array of PACKET_ROW
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from routebpf.datapath import capture_scan as scan
from routebpf.datapath.capture_format import PCAP_RECORD_BYTES
from routebpf.datapath.capture_headers import (
    PCAP_HEADER_BYTES,
    PCAPNG_MAGIC,
    CaptureInterface,
    DamagedHeaderError,
    check_section,
    interface_block,
    pcap_byte_order,
    pcap_header,
)
from routebpf.datapath.capture_link_types import READABLE, unreadable
from routebpf.datapath.capture_source import Window, open_window
from routebpf.datapath.packet_rows import PACKET_ROW
from routebpf.errors import InputError
from routebpf.runtime.memory import Memory, read

BATCH_PACKETS = 65_536

_MAGIC_BYTES = 4
_DAMAGES = {
    scan.DAMAGE_SIZE: "the record there claims {value} captured bytes, more than any packet has",
    scan.DAMAGE_BLOCK_LENGTH: "the block there claims {value} bytes, which is no length of such a block",
    scan.DAMAGE_TRAILER: "the block there claims {value} bytes, but the length behind these is another one",
    scan.DAMAGE_INTERFACE: "the packet there is of interface {value}, which the section does not describe",
    scan.DAMAGE_BLOCK_SIZE: "the packet there claims {value} captured bytes, more than its block has",
    scan.DAMAGE_MAGIC: "the section there has {value:#010x} in place of the byte-order magic 0x1a2b3c4d",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """Packets in the order of the capture: `rows`, and the bytes that they point to, hold until the next is taken."""

    rows: np.ndarray[Any, Any]  # of PACKET_ROW

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def address(self) -> int:
        """The address of the first row."""
        return int(self.rows.ctypes.data)

    def packet(self, index: int) -> bytes:
        """The captured bytes of one packet."""
        row = self.rows[index]
        return read(int(row["address"]), int(row["size"]))


class Capture:
    """An open capture: a context manager. `format` is "pcap" or "pcapng"; `link_types` are those described so far."""

    def __init__(self, path: str, window: Window) -> None:
        self.path = path
        self.link_types: set[int] = set()
        self._window = window
        self._memory = Memory(scan.SCAN_BYTES)
        self._scan = self._memory.array.view(np.int64)
        self._interfaces = np.zeros((8, scan.INTERFACE_BYTES // 8), np.uint64)
        self.format = self._read_format()
        if self.format == "pcap":
            self._run = scan.scan_pcap
            self._read_file_header()
        else:
            self._run = scan.scan_pcapng
            self._fill_rows()  # there is no room for rows: up to the first packet
        if self.link_types and not self.link_types & READABLE.keys():
            raise InputError(f"cannot read the capture {path}: {unreadable(self.link_types)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. The bytes that rows point to are gone."""
        self._window.close()

    def progress(self) -> tuple[int, int]:
        """Bytes of the file that were read, and how many it has: 0 if that is not known (a pipe)."""
        return self._window.progress()

    def batches(self, max_packets: int = BATCH_PACKETS) -> Iterator[Batch]:
        """All packets that are left, in batches of at most `max_packets`; of a pipe, what is there.

        Raises InputError behind the last packet before the damage if the capture is truncated or corrupt.
        """
        rows = np.zeros(max_packets, PACKET_ROW)
        self._put(scan.SCAN_ROWS, rows.ctypes.data)
        self._put(scan.SCAN_ROOM, max_packets)
        is_more, damage = True, None
        while is_more and not damage:
            self._put(scan.SCAN_COUNT, 0)
            try:
                is_more = self._fill_rows()
            except InputError as error:
                damage = error
            if count := self._get(scan.SCAN_COUNT):
                yield Batch(rows[:count])
        if damage:
            raise damage

    def _read_format(self) -> str:
        window = self._window
        window.more(_MAGIC_BYTES)
        head = read(window.address, min(window.size, _MAGIC_BYTES))
        if pcap_byte_order(head):
            return "pcap"
        if head == PCAPNG_MAGIC:
            return "pcapng"
        if window.damage:
            raise self._damaged(window.damage)
        if not head:
            raise InputError(f"cannot read the capture {self.path}: it is empty")
        raise InputError(
            f"cannot read {self.path}: it is neither a pcap nor a pcapng capture, plain or in gzip or zstd"
            f" (it starts with the bytes {head.hex(' ')})"
        )

    def _read_file_header(self) -> None:
        window = self._window
        if not window.more(PCAP_HEADER_BYTES):
            cut = f"the file header is cut short: {window.size} of {PCAP_HEADER_BYTES} bytes are there"
            raise self._damaged(window.damage or cut)
        data = read(window.address, PCAP_HEADER_BYTES)
        order = pcap_byte_order(data) or "<"
        self._put(scan.SCAN_SWAPPED, order != _OWN_ORDER)
        try:
            header = pcap_header(data, order)
        except DamagedHeaderError as damage:
            raise self._damaged(str(damage)) from None
        self._put(scan.SCAN_LARGEST, header.largest)
        self._add_interface(header.interface)
        window.advance(PCAP_HEADER_BYTES)

    def _fill_rows(self) -> bool:
        """Fill rows until there is no room, or the window must move on: whether there may be more packets."""
        while True:
            stop, value = self._scan_window()
            if stop == scan.STOP_FULL:
                return True
            if stop in (scan.STOP_SHORT, scan.STOP_SKIP):
                if self._get(scan.SCAN_COUNT):
                    return True
                if not (self._more(value) if stop == scan.STOP_SHORT else self._skip(value)):
                    return False
            else:
                self._read_block(stop, value)

    def _scan_window(self) -> tuple[int, int]:
        """Scan from the start of the window, and move it to where the scan stopped: STOP_*, SCAN_VALUE."""
        window = self._window
        start = window.address
        self._put(scan.SCAN_POSITION, start)
        self._put(scan.SCAN_END, start + window.size)
        stop = self._run(self._memory.address)
        window.advance(self._get(scan.SCAN_POSITION) - start)
        return stop, self._get(scan.SCAN_VALUE)

    def _more(self, needed: int) -> bool:
        """Have the next record, of at least `needed` bytes, in the window: False at the end of the capture."""
        window = self._window
        if window.more(needed):
            return True
        if window.size == 0 and not window.damage:
            return False
        raise self._cut_short(needed, window.offset)

    def _skip(self, size: int) -> bool:
        offset = self._window.offset
        if self._window.skip(size):
            return True
        raise self._cut_short(size, offset)

    def _cut_short(self, needed: int, offset: int) -> InputError:
        """The error of a record of at least `needed` bytes at `offset`, behind which the capture ends too early."""
        end = self._window.offset + self._window.size
        if self._window.damage:
            return self._damaged(self._window.damage, end)
        left = end - offset
        is_pcap = self.format == "pcap"
        what, head = ("record", PCAP_RECORD_BYTES) if is_pcap else ("block", scan.BLOCK_SMALLEST)
        if needed <= head:
            return self._damaged(f"the {what} there is cut short: {left} bytes are left, and {head} are its least")
        header = head if is_pcap else 0
        return self._damaged(f"the {what} there claims {needed - header} bytes, {left - header} are left")

    def _read_block(self, stop: int, value: int) -> None:
        """What a scan leaves to Python: a section, an interface, damage."""
        if stop >= scan.STOP_DAMAGED:
            raise self._damaged(_DAMAGES[stop].format(value=value))
        block = read(self._window.address, value)
        order = _OTHER_ORDER if self._get(scan.SCAN_SWAPPED) else _OWN_ORDER
        try:
            if stop == scan.STOP_SECTION:
                check_section(block, order)
                self._put(scan.SCAN_INTERFACE_COUNT, 0)
            else:
                self._add_interface(interface_block(block, order))
        except DamagedHeaderError as damage:
            raise self._damaged(str(damage)) from None
        self._window.advance(value)

    def _add_interface(self, interface: CaptureInterface) -> None:
        number = self._get(scan.SCAN_INTERFACE_COUNT)
        if number == len(self._interfaces):
            self._interfaces = np.concatenate([self._interfaces, np.zeros_like(self._interfaces)])
        row = self._interfaces[number]
        row[scan.INTERFACE_LINK // 8] = interface.link_type
        row[scan.INTERFACE_SNAPLEN // 8] = interface.snaplen
        row[scan.INTERFACE_UNIT // 8] = interface.unit
        row[scan.INTERFACE_FACTOR // 8] = interface.factor
        row[scan.INTERFACE_TICKS // 8] = interface.ticks
        row.view(np.int64)[scan.INTERFACE_OFFSET // 8] = interface.offset_ns
        self.link_types.add(interface.link_type)
        self._put(scan.SCAN_INTERFACES, self._interfaces.ctypes.data)
        self._put(scan.SCAN_INTERFACE_COUNT, number + 1)

    def _damaged(self, what: str, offset: int | None = None) -> InputError:
        at = self._window.offset if offset is None else offset
        unit = "decompressed byte" if self._window.is_compressed else "byte"
        return InputError(f"the capture {self.path} is damaged at {unit} {at}: {what}")

    def _get(self, field: int) -> int:
        return int(self._scan[field // 8])

    def _put(self, field: int, value: int) -> None:
        self._scan[field // 8] = value


_OWN_ORDER, _OTHER_ORDER = ("<", ">") if sys.byteorder == "little" else (">", "<")


def open_capture(path: str | os.PathLike[str]) -> Capture:
    """Open a capture; "-" is standard input. Raises InputError if it is none, or none of a link type that we read."""
    name = os.fspath(path)
    window = open_window(name)
    try:
        return Capture("(standard input)" if name == "-" else name, window)
    except BaseException:
        window.close()
        raise
