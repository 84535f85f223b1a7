"""Packets that want to break what reads them, each at the end or the start of memory that nothing may touch beyond."""

from __future__ import annotations

import ctypes
import mmap
from random import Random

import numpy as np
from capture_files import SHIPPED

from routebpf.datapath.capture_reader import open_capture
from routebpf.datapath.packet_rows import PACKET_ROW

_ETHERNET, _RAW = 1, 101
_LINKS = (1, 101, 0, 108, 113, 276, 228, 229, 147, 12, 14)
_NEXT_HEADERS = (0, 43, 44, 60, 51, 47, 4, 41, 6, 17, 59)
_SLOT = 17 * mmap.PAGESIZE


class GuardedRows:
    """Room for `count` packets, each with pages before and behind it that cannot be read."""

    def __init__(self, count: int) -> None:
        self._libc = ctypes.CDLL(None)
        self._memory = mmap.mmap(-1, count * _SLOT + mmap.PAGESIZE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._count = count
        self._protect(0)

    def rows(self, packets: list[tuple[int, bytes]], random: Random) -> np.ndarray:
        rows = np.zeros(len(packets), PACKET_ROW)
        for number, (link, packet) in enumerate(packets):
            data = packet[: _SLOT - mmap.PAGESIZE]
            first = self._start + number * _SLOT + mmap.PAGESIZE
            if number % 4:
                first += _SLOT - mmap.PAGESIZE - len(data)
            ctypes.memmove(first, data, len(data))
            wire = len(data) if number % 10 else random.choice((0, len(data) + 5, 70_000, 0xFFFFFFFF))
            rows[number] = (first, len(data), wire, random.randrange(1 << 60), link, 0, number)
        return rows

    def close(self) -> None:
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)

    def _protect(self, access: int) -> None:
        for number in range(self._count + 1):
            place = ctypes.c_void_p(self._start + number * _SLOT)
            assert self._libc.mprotect(place, ctypes.c_size_t(mmap.PAGESIZE), access) == 0


def real_packets() -> list[tuple[int, bytes]]:
    """(link type, bytes) of the packets of the shipped captures."""
    found = []
    for path in SHIPPED:
        with open_capture(path) as capture:
            for batch in capture.batches():
                found += [(int(row["link"]), batch.packet(number)) for number, row in enumerate(batch.rows)]
    return found


def hostile_packet(random: Random, real: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    """A link type and a packet: garbage, or one that is nearly right."""
    link, data = _made(random, real)
    if data and random.random() < 0.5:
        changed = bytearray(data)
        for _ in range(random.choice((1, 2, 4))):
            end = min(len(changed), random.choice((64, 99_999)))
            changed[random.randrange(end)] = random.choice((0, 255, 1, random.randrange(256)))
        data = bytes(changed)
    return link, data[: random.randrange(len(data) + 1)] if random.random() < 0.2 else data


def _made(random: Random, real: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    match random.randrange(7):
        case 0 | 1:
            return random.choice(real)
        case 2:
            return random.choice(_LINKS), random.randbytes(random.choice((0, 1, 13, 14, 19, 20, 40, 64, 1500)))
        case 3:
            return _RAW, _ipv6(random)
        case 4:
            return _RAW, _ipv4(random)
        case 5:
            return _RAW, _gre(random)
    tags = random.choice((b"", b"\x81\0\0\1", b"\x88\xa8\0\1\x81\0\0\2"))
    inside = random.choice((b"\x08\0" + _ipv4(random), b"\x86\xdd" + _ipv6(random), b"\0\x2e"))
    return _ETHERNET, random.randbytes(12) + tags + inside


def _ipv6(random: Random) -> bytes:
    """With a chain of extension headers that leads anywhere."""
    extensions = b"".join(
        bytes([random.choice(_NEXT_HEADERS), random.choice((0, 0, 1, 255, random.randrange(256)))])
        + random.randbytes(6)
        for _ in range(random.randrange(12))
    )
    first = bytes([0x60, 0, 0, 0]) + len(extensions).to_bytes(2, "big")
    addresses = [random.choice((b"\xfd", b"\xff\2", b"\0", b"\xfe\x80")).ljust(16, bytes([one])) for one in (1, 2)]
    return first + bytes([random.choice(_NEXT_HEADERS), random.randrange(256)]) + b"".join(addresses) + extensions


def _ipv4(random: Random, protocol: int | None = None, body: bytes | None = None) -> bytes:
    """With options, or a header length that is none; mostly with a right checksum."""
    words = random.choice((5, 6, 15, 15, random.randrange(16))) if body is None else 5
    options = random.randbytes(max(words * 4 - 20, 0))
    if body is None:
        body = random.randbytes(random.choice((0, 1, 8, 100, 3000, random.randrange(9000))))
    total = random.choice([20 + len(options) + len(body)] * 6 + [0, random.randrange(65_536)]) & 0xFFFF
    head = bytes([0x40 | words, random.randrange(256)]) + total.to_bytes(2, "big") + random.randbytes(2)
    head += random.choice([b"\0\0"] * 4 + [random.randbytes(2)]) + bytes([random.randrange(256)])
    head += bytes([random.choice((6, 17, 4, 41, 47, 51, 132)) if protocol is None else protocol])
    destination = bytes([random.choice((10, 10, 10, 192, 224, 255, 127, 0)), random.randrange(4), 0, 9])
    behind = bytes([10, 0, 0, 1]) + destination + options
    check = 0
    if random.random() < 0.9:
        total = sum(int.from_bytes((head + behind)[at : at + 2], "big") for at in range(0, len(head + behind), 2))
        total = (total & 0xFFFF) + (total >> 16)
        check = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    return head + check.to_bytes(2, "big") + behind + body


def _gre(random: Random) -> bytes:
    flags = bytes([random.choice((0, 0x80, 0x20, 0xB0, 0x40, 0x10)), random.choice((0, 0, 0, 1, 2))])
    protocol = random.choice((b"\x08\0", b"\x86\xdd", b"\x65\x58"))
    inner = random.choice((_ipv4, _ipv6))(random)
    return _ipv4(random, 47, flags + protocol + random.randbytes(random.choice((0, 4, 8, 12))) + inner)
