"""The headers of captures: pcap's file header, and the section and interface blocks of pcapng.

Packets are not read here (datapath.capture_scan). What is wrong with a header is a `DamagedHeaderError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from routebpf.datapath.capture_format import (
    IF_TSOFFSET,
    IF_TSRESOL,
    NS_PER_SECOND,
    OPTION_END,
    PCAP_MAGIC_MICROSECONDS,
    PCAP_MAGIC_NANOSECONDS,
)
from routebpf.datapath.capture_scan import UNIT_BINARY, UNIT_DIVIDE, UNIT_MULTIPLY

PCAP_HEADER_BYTES = 24
_PCAP_MAGICS = {PCAP_MAGIC_MICROSECONDS: 1000, PCAP_MAGIC_NANOSECONDS: 1}  # nanoseconds that a unit of the fraction is
_PCAP_MAJOR = 2
_LARGEST_PACKET = 1 << 18  # as libpcap has it: more is damage, unless the snapshot length says so
_LARGEST_SNAPLEN = 1 << 27

PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION_SMALLEST = 28
_INTERFACE_SMALLEST = 20
_PCAPNG_MAJOR = 1

_NS_DIGITS = 9
_TIME_MAX = (1 << 63) - 1
_TICKS_MAX = (1 << 64) - 1


class DamagedHeaderError(Exception):
    """What is wrong with a header."""


@dataclass(frozen=True, slots=True)
class CaptureInterface:
    """What an interface's packets have in common; unit, factor and ticks: see INTERFACE_* of capture_scan."""

    link_type: int
    snaplen: int
    unit: int
    factor: int
    ticks: int
    offset_ns: int


@dataclass(frozen=True, slots=True)
class PcapHeader:
    """`largest`: a packet of more captured bytes is damage."""

    largest: int
    interface: CaptureInterface


def pcap_byte_order(head: bytes) -> str | None:
    """ "<" or ">" if these first bytes are those of a pcap file; None if they are not."""
    for order in "<>":
        if len(head) >= 4 and struct.unpack_from(f"{order}I", head)[0] in _PCAP_MAGICS:
            return order
    return None


def pcap_header(data: bytes, order: str) -> PcapHeader:
    """The file header of a pcap capture, 24 bytes."""
    magic, major, minor, _, _, snaplen, link_type = struct.unpack_from(f"{order}IHHiIII", data)
    if major != _PCAP_MAJOR:
        raise DamagedHeaderError(f"it is of pcap version {major}.{minor}; only version {_PCAP_MAJOR} is known")
    largest = max(_LARGEST_PACKET, min(snaplen, _LARGEST_SNAPLEN))
    interface = CaptureInterface(link_type & 0xFFFF, 0, UNIT_MULTIPLY, _PCAP_MAGICS[magic], _TICKS_MAX, 0)
    return PcapHeader(largest, interface)


def check_section(block: bytes, order: str) -> None:
    """Check a whole section header block."""
    if len(block) < _SECTION_SMALLEST:
        raise DamagedHeaderError(
            f"a section header has {len(block)} bytes, but at least {_SECTION_SMALLEST} are needed"
        )
    major, minor = struct.unpack_from(f"{order}HH", block, 12)
    if major != _PCAPNG_MAJOR:
        raise DamagedHeaderError(
            f"a section is of pcapng version {major}.{minor}; only version {_PCAPNG_MAJOR} is known"
        )


def interface_block(block: bytes, order: str) -> CaptureInterface:
    """A whole interface description block."""
    if len(block) < _INTERFACE_SMALLEST:
        raise DamagedHeaderError(
            f"an interface description has {len(block)} bytes, but at least {_INTERFACE_SMALLEST} are needed"
        )
    link_type, _, snaplen = struct.unpack_from(f"{order}HHI", block, 8)
    resolution, offset = 6, 0
    for code, value in _options(block[16:-4], order):
        if code == IF_TSRESOL and len(value) == 1:
            resolution = value[0]
        elif code == IF_TSOFFSET and len(value) == 8:
            (offset,) = struct.unpack(f"{order}q", value)
    offset_ns = max(-_TIME_MAX, min(offset * NS_PER_SECOND, _TIME_MAX))
    return CaptureInterface(link_type, snaplen, *_unit(resolution), offset_ns)


def _unit(resolution: int) -> tuple[int, int, int]:
    """Unit, factor and the most ticks of an if_tsresol: ticks a second are a power of two (bit 7) or of ten."""
    exponent = resolution & 0x7F
    if resolution & 0x80:
        return UNIT_BINARY, exponent, min(((_TIME_MAX + 1 << exponent) - 1) // NS_PER_SECOND, _TICKS_MAX)
    if exponent <= _NS_DIGITS:
        factor = 10 ** (_NS_DIGITS - exponent)
        return UNIT_MULTIPLY, factor, _TIME_MAX // factor
    divisor = 10 ** (exponent - _NS_DIGITS)
    if divisor > _TICKS_MAX:
        return UNIT_MULTIPLY, 0, _TICKS_MAX
    return UNIT_DIVIDE, divisor, _TICKS_MAX


def _options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise DamagedHeaderError("an interface description ends within an option")
        code, size = struct.unpack_from(f"{order}HH", data, at)
        if code == OPTION_END:
            return
        at += 4
        if at + size > len(data):
            left = len(data) - at
            raise DamagedHeaderError(f"option {code} of an interface description claims {size} bytes, {left} are left")
        yield code, data[at : at + size]
        at += size + -size % 4
