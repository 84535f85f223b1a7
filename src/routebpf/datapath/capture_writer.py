"""Captures out: the frames that left devices, as pcap or pcapng, where each frame's comment says what became of it.

with CaptureWriter("out.pcapng", interfaces=[Interface("veth0", LINKTYPE_ETHERNET, ifindex=2)]) as writer:
    writer.set_comments(["sent", "redirected"])
    writer.write_frames(sink_base, sink_used, comment_ids, first_packet)
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from routebpf.datapath import capture_encode as encode
from routebpf.datapath.capture_format import (
    BLOCK_INTERFACE,
    BLOCK_SECTION,
    BYTE_ORDER_MAGIC,
    IF_NAME,
    IF_TSRESOL,
    OPTION_COMMENT,
    OPTION_END,
    PCAP_MAGIC_NANOSECONDS,
    SHB_USERAPPL,
)
from routebpf.datapath.capture_link_types import described
from routebpf.datapath.capture_output import Output
from routebpf.errors import InputError
from routebpf.runtime.memory import Memory

FORMATS = ("pcap", "pcapng")

_BUFFER_BYTES = 1 << 20
_SNAPLEN = 262_144
_LENGTH_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Interface:
    """A device whose frames are written: its name, LINKTYPE_* of its frames, and its ifindex in frame records."""

    name: str
    link_type: int
    ifindex: int


class CaptureWriter:
    """A capture being written: a context manager that completes it, or after an error leaves no trace of it.

    `path` is a file or "-" (standard output); `.gz` and `.zst` compress. The format is that of the name (.pcap or
    .pcapng), pcapng on standard output. Times are in nanoseconds. Comments are in pcapng only. `frames` counts.
    Raises InputError if the output cannot be written, or pcap is asked for interfaces of several link types.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, interfaces: Sequence[Interface], format: str | None = None
    ) -> None:
        name = os.fspath(path)
        self.format = format or _format_of(name)
        header = _pcap_header(name, interfaces) if self.format == "pcap" else _pcapng_header(interfaces)
        self._encode = encode.encode_pcap if self.format == "pcap" else encode.encode_pcapng
        self._memory = Memory(encode.ENCODE_BYTES)
        self._fields = self._memory.array.view(np.int64)
        self._buffer = Memory(_BUFFER_BYTES)
        self._interfaces = np.zeros(max((one.ifindex for one in interfaces), default=0) + 1, np.uint32)
        for number, one in enumerate(interfaces):
            self._interfaces[one.ifindex] = number + 1
        self._put(encode.ENCODE_INTERFACES, self._interfaces.ctypes.data)
        self._put(encode.ENCODE_INTERFACE_COUNT, len(self._interfaces))
        self.set_comments([])
        self._is_open = True
        self._output = Output(name)
        self._output.write(memoryview(header))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @property
    def frames(self) -> int:
        """Frames written so far."""
        return int(self._fields[encode.ENCODE_FRAMES // 8])

    def set_comments(self, texts: Sequence[str]) -> None:
        """The comments that ids stand for, from 0 on: for the frames written from now on. "" is none."""
        options = [_option(OPTION_COMMENT, text.encode()) if text else b"" for text in texts]
        self._comment_bytes = np.frombuffer(b"".join(options) + b"\0", np.uint8)
        table = np.zeros((1 + len(options), encode.COMMENT_BYTES // 8), np.int64)
        table[1:, encode.COMMENT_SIZE // 8] = [len(one) for one in options]
        ends = np.cumsum(table[:, encode.COMMENT_SIZE // 8])
        table[:, encode.COMMENT_ADDRESS // 8] = (
            self._comment_bytes.ctypes.data + ends - table[:, encode.COMMENT_SIZE // 8]
        )
        self._comments = table
        self._put(encode.ENCODE_COMMENTS, table.ctypes.data + encode.COMMENT_BYTES)

    def write_frames(
        self, records: int, used: int, comment_ids: np.ndarray[Any, Any] | None = None, first_packet: int = 0
    ) -> None:
        """Write the frames of a sink: `used` bytes of records (runtime.device, FRAME_*) at the address `records`.

        `comment_ids[n]` is the comment of every frame of packet `first_packet + n` (FRAME_PACKET); others have none.
        """
        ids = np.ascontiguousarray(np.zeros(0) if comment_ids is None else comment_ids, np.uint16)
        if len(ids) and int(ids.max()) >= len(self._comments) - 1:
            raise IndexError(f"comment {ids.max()} of {len(self._comments) - 1}")
        self._put(encode.ENCODE_COMMENT_IDS, ids.ctypes.data)
        self._put(encode.ENCODE_PACKETS, len(ids))
        self._put(encode.ENCODE_FIRST_PACKET, first_packet)
        self._put(encode.ENCODE_POSITION, records)
        self._put(encode.ENCODE_END, records + used)
        stop = encode.ENCODED_FULL
        while stop == encode.ENCODED_FULL:
            stop = self._write_bufferful()
        if stop == encode.ENCODED_UNKNOWN:
            raise InputError(f"{self._output.path}: a frame is of a device that is no interface of this capture")

    def close(self) -> None:
        """Complete the capture and put it in its place; once."""
        if self._is_open:
            self._is_open = False
            self._output.close()

    def abort(self) -> None:
        """Leave no trace: what was at the path before is still there."""
        if self._is_open:
            self._is_open = False
            self._output.abort()

    def _write_bufferful(self) -> int:
        """Encode into the buffer and write it out: ENCODED_*."""
        buffer = self._buffer
        self._put(encode.ENCODE_OUT, buffer.address)
        self._put(encode.ENCODE_OUT_END, buffer.address + buffer.size)
        stop = self._encode(self._memory.address)
        size = int(self._fields[encode.ENCODE_OUT // 8]) - buffer.address
        if size:
            self._output.write(buffer.array.data[:size])
        elif stop == encode.ENCODED_FULL:
            self._buffer = Memory(int(self._fields[encode.ENCODE_NEEDED // 8]))
        return stop

    def _put(self, field: int, value: int) -> None:
        self._fields[field // 8] = value


def _format_of(path: str) -> str:
    if path == "-":
        return "pcapng"
    stem = path.removesuffix(".gz").removesuffix(".zst")
    for one in FORMATS:
        if stem.endswith(f".{one}"):
            return one
    raise InputError(
        f"cannot tell which capture format {path} is to have: name it .pcap or .pcapng (.gz or .zst may follow)"
    )


def _pcap_header(path: str, interfaces: Sequence[Interface]) -> bytes:
    link_types = sorted({one.link_type for one in interfaces})
    if len(link_types) > 1:
        named = ", ".join(f"{one.name}: {described(one.link_type)}" for one in interfaces)
        raise InputError(
            f"cannot write {path}: a pcap capture has one link type, and the devices have several ({named});"
            " name it .pcapng"
        )
    link_type = link_types[0] if link_types else 1
    return struct.pack("<IHHiIII", PCAP_MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, link_type)


def _pcapng_header(interfaces: Sequence[Interface]) -> bytes:
    end = _option(OPTION_END, b"")
    section = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, _LENGTH_UNKNOWN) + _option(SHB_USERAPPL, b"routebpf") + end
    blocks = [_block(BLOCK_SECTION, section)]
    for one in interfaces:
        options = _option(IF_NAME, one.name.encode()) + _option(IF_TSRESOL, b"\x09") + end
        blocks.append(_block(BLOCK_INTERFACE, struct.pack("<HHI", one.link_type, 0, _SNAPLEN) + options))
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
