"""The index of a capture's packets, natively: a window of its bytes becomes rows (PACKET_ROW), no Python a packet.

A scan goes from one record to the next until the rows are full, the window is used up, or there is something that
Python must see to; it says which (STOP_*), and its struct says how far it came. Records are those of pcap
(draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng).
"""

# ruff: noqa: SIM109 (native functions have no tuples)

from __future__ import annotations

from routebpf.datapath.capture_format import (
    BLOCK_ENHANCED,
    BLOCK_INTERFACE,
    BLOCK_PACKET,
    BLOCK_SECTION,
    BLOCK_SIMPLE,
    BYTE_ORDER_MAGIC,
    NS_PER_SECOND,
    PCAP_RECORD_BYTES,
)
from routebpf.datapath.packet_rows import (
    ROW_ADDRESS,
    ROW_BYTES,
    ROW_FLAGS,
    ROW_LINK,
    ROW_NUMBER,
    ROW_SIZE,
    ROW_TIME,
    ROW_TIMELESS,
    ROW_WIRE_SIZE,
)
from routebpf.runtime.memory import bswap16, bswap32, load16, load32, load64, lshr, store16, store32, store64, udiv, ugt
from routebpf.runtime.native import native

# The struct of a scan. 64 bits each.
SCAN_POSITION = 0  # the address of the next record
SCAN_END = 8  # the address behind the window
SCAN_ROWS = 16  # the address of the rows
SCAN_ROOM = 24  # how many rows there are
SCAN_COUNT = 32  # rows filled
SCAN_NUMBER = 40  # the number of the next packet
SCAN_SWAPPED = 48  # 1: the other byte order
SCAN_LARGEST = 56  # pcap: more captured bytes are damage
SCAN_INTERFACES = 64  # the address of the table of interfaces; a pcap capture has one
SCAN_INTERFACE_COUNT = 72
SCAN_VALUE = 80  # what STOP_SHORT needs, STOP_SKIP skips, or what is wrong in damage
SCAN_BYTES = 128

# An interface. 64 bits each.
INTERFACE_LINK = 0  # LINKTYPE_*
INTERFACE_SNAPLEN = 8  # 0: any
INTERFACE_UNIT = 16  # UNIT_*: how ticks become nanoseconds
INTERFACE_FACTOR = 24  # of UNIT_MULTIPLY and UNIT_DIVIDE; of UNIT_BINARY the power of two
INTERFACE_TICKS = 32  # the most ticks that are a time in range
INTERFACE_OFFSET = 40  # ns to add
INTERFACE_BYTES = 64

UNIT_MULTIPLY, UNIT_DIVIDE, UNIT_BINARY = range(3)

# Why a scan stopped. From STOP_DAMAGED on the record at SCAN_POSITION is damaged.
STOP_FULL = 0  # all rows are filled
STOP_SHORT = 1  # the window ends within the next record: SCAN_VALUE bytes of it are needed, or more
STOP_SKIP = 2  # the next block, of SCAN_VALUE bytes, is of no use, and not all of it is in the window
STOP_SECTION = 3  # a section header block, of SCAN_VALUE bytes, is next; SCAN_SWAPPED is that of the section
STOP_INTERFACE = 4  # an interface description block, of SCAN_VALUE bytes, is next
STOP_DAMAGED = 5
DAMAGE_SIZE = 5  # SCAN_VALUE captured bytes are more than any packet has
DAMAGE_BLOCK_LENGTH = 6  # SCAN_VALUE is no length of such a block
DAMAGE_TRAILER = 7  # the length behind the block is not the one before it
DAMAGE_INTERFACE = 8  # the section has no interface SCAN_VALUE
DAMAGE_BLOCK_SIZE = 9  # SCAN_VALUE captured bytes do not fit into the block
DAMAGE_MAGIC = 10  # SCAN_VALUE is no byte-order magic of a section

BLOCK_LARGEST = 1 << 24  # bytes of a block that we must see whole
BLOCK_SMALLEST = 12
_PACKET_BYTES = 28  # block header and fields before the packet's bytes, of BLOCK_PACKET and BLOCK_ENHANCED
_SIMPLE_BYTES = 12
_TRAILER_BYTES = 4

_TIME_MAX = (1 << 63) - 1


@native
def scan_pcap(scan: int) -> int:
    """Scan a window of pcap records."""
    position, end = load64(scan + SCAN_POSITION), load64(scan + SCAN_END)
    count, room = load64(scan + SCAN_COUNT), load64(scan + SCAN_ROOM)
    number, swapped = load64(scan + SCAN_NUMBER), load64(scan + SCAN_SWAPPED)
    largest, interface = load64(scan + SCAN_LARGEST), load64(scan + SCAN_INTERFACES)
    link, factor = load64(interface + INTERFACE_LINK), load64(interface + INTERFACE_FACTOR)
    row = load64(scan + SCAN_ROWS) + count * ROW_BYTES
    stop = STOP_FULL
    value = 0
    while count < room:
        left = end - position
        value = PCAP_RECORD_BYTES
        if left < value:
            stop = STOP_SHORT
            break
        size = _word(position + 8, swapped)
        if size > largest:
            stop, value = DAMAGE_SIZE, size
            break
        value += size
        if left < value:
            stop = STOP_SHORT
            break
        time = _word(position, swapped) * NS_PER_SECOND + _word(position + 4, swapped) * factor
        _fill_row(row, position + PCAP_RECORD_BYTES, size, _word(position + 12, swapped), time, link, 0, number)
        position += value
        row += ROW_BYTES
        count += 1
        number += 1
    store64(scan + SCAN_POSITION, position)
    store64(scan + SCAN_COUNT, count)
    store64(scan + SCAN_NUMBER, number)
    store64(scan + SCAN_VALUE, value)
    return stop


@native
def scan_pcapng(scan: int) -> int:
    """Scan a window of pcapng blocks. Blocks that describe no packet, section or interface are passed over."""
    stop = STOP_FULL
    while stop == STOP_FULL:
        position = load64(scan + SCAN_POSITION)
        left = load64(scan + SCAN_END) - position
        if left < BLOCK_SMALLEST:
            store64(scan + SCAN_VALUE, BLOCK_SMALLEST)
            return STOP_SHORT
        if load32(position) == BLOCK_SECTION and _enter_section(scan, position):
            return DAMAGE_MAGIC
        swapped = load64(scan + SCAN_SWAPPED)
        kind = _word(position, swapped)
        length = _word(position + 4, swapped)
        store64(scan + SCAN_VALUE, length)
        if length < BLOCK_SMALLEST or length & 3:
            return DAMAGE_BLOCK_LENGTH
        if _is_passed_over(kind):
            if left < length:
                return STOP_SKIP
            store64(scan + SCAN_POSITION, position + length)
            continue
        if length > BLOCK_LARGEST:
            return DAMAGE_BLOCK_LENGTH
        if left < length:
            return STOP_SHORT
        if _word(position + length - _TRAILER_BYTES, swapped) != length:
            return DAMAGE_TRAILER
        if kind == BLOCK_SECTION:
            return STOP_SECTION
        if kind == BLOCK_INTERFACE:
            return STOP_INTERFACE
        if load64(scan + SCAN_COUNT) == load64(scan + SCAN_ROOM):
            return STOP_FULL
        stop = _packet_block(scan, position, kind, length, swapped)
    return stop


@native
def _is_passed_over(kind: int) -> int:
    if kind == BLOCK_ENHANCED or kind == BLOCK_SIMPLE or kind == BLOCK_PACKET:
        return 0
    if kind == BLOCK_INTERFACE or kind == BLOCK_SECTION:
        return 0
    return 1


@native
def _enter_section(scan: int, block: int) -> int:
    """Take the byte order of a section header block, which is its own; 1 if it has none."""
    magic = load32(block + 8)
    store64(scan + SCAN_VALUE, magic)
    swapped = 0
    if magic != BYTE_ORDER_MAGIC:
        if bswap32(magic) != BYTE_ORDER_MAGIC:
            return 1
        swapped = 1
    store64(scan + SCAN_SWAPPED, swapped)
    return 0


@native
def _packet_block(scan: int, block: int, kind: int, length: int, swapped: int) -> int:
    """The row of a whole block of a packet: STOP_FULL, and the scan goes on behind it, or damage."""
    used = _SIMPLE_BYTES if kind == BLOCK_SIMPLE else _PACKET_BYTES
    if length < used + _TRAILER_BYTES:
        return DAMAGE_BLOCK_LENGTH
    number = 0
    if kind == BLOCK_ENHANCED:
        number = _word(block + 8, swapped)
    elif kind == BLOCK_PACKET:
        number = bswap16(load16(block + 8)) if swapped else load16(block + 8)
    if number >= load64(scan + SCAN_INTERFACE_COUNT):
        store64(scan + SCAN_VALUE, number)
        return DAMAGE_INTERFACE
    interface = load64(scan + SCAN_INTERFACES) + number * INTERFACE_BYTES
    time = 0
    flags = 0
    if kind == BLOCK_SIMPLE:
        wire_size = _word(block + 8, swapped)
        size = wire_size
        snaplen = load64(interface + INTERFACE_SNAPLEN)
        if snaplen > 0 and snaplen < size:
            size = snaplen
        flags = ROW_TIMELESS
    else:
        size = _word(block + 20, swapped)
        wire_size = _word(block + 24, swapped)
        time = _nanoseconds(interface, _word(block + 12, swapped) << 32 | _word(block + 16, swapped))
    if size > length - used - _TRAILER_BYTES:
        store64(scan + SCAN_VALUE, size)
        return DAMAGE_BLOCK_SIZE
    count = load64(scan + SCAN_COUNT)
    packet = load64(scan + SCAN_NUMBER)
    row = load64(scan + SCAN_ROWS) + count * ROW_BYTES
    _fill_row(row, block + used, size, wire_size, time, load64(interface + INTERFACE_LINK), flags, packet)
    store64(scan + SCAN_COUNT, count + 1)
    store64(scan + SCAN_NUMBER, packet + 1)
    store64(scan + SCAN_POSITION, block + length)
    return STOP_FULL


@native
def _nanoseconds(interface: int, ticks: int) -> int:
    """Ticks (unsigned) of an interface as ns since the epoch; a time out of range is the last in range."""
    if ugt(ticks, load64(interface + INTERFACE_TICKS)):
        return _TIME_MAX
    factor = load64(interface + INTERFACE_FACTOR)
    unit = load64(interface + INTERFACE_UNIT)
    time = 0
    if unit == UNIT_MULTIPLY:
        time = ticks * factor
    elif unit == UNIT_DIVIDE:
        time = udiv(ticks, factor)
    elif factor < 32:
        fraction = ticks & ((1 << factor) - 1)
        time = lshr(ticks, factor) * NS_PER_SECOND + (fraction * NS_PER_SECOND >> factor)
    else:
        # The fraction times a billion has up to 94 bits: its upper 62, the lower 32 of them are gone.
        fraction = ticks
        if factor < 64:
            fraction = ticks & ((1 << factor) - 1)
            time = lshr(ticks, factor) * NS_PER_SECOND
        upper = lshr(fraction, 32) * NS_PER_SECOND + ((fraction & 0xFFFFFFFF) * NS_PER_SECOND >> 32)
        if factor < 96:
            time += upper >> (factor - 32)
    offset = load64(interface + INTERFACE_OFFSET)
    if offset > 0 and time > _TIME_MAX - offset:
        return _TIME_MAX
    return time + offset


@native
def _fill_row(row: int, data: int, size: int, wire_size: int, time: int, link: int, flags: int, number: int) -> int:
    store64(row + ROW_ADDRESS, data)
    store32(row + ROW_SIZE, size)
    store32(row + ROW_WIRE_SIZE, wire_size)
    store64(row + ROW_TIME, time)
    store16(row + ROW_LINK, link)
    store16(row + ROW_FLAGS, flags)
    store32(row + ROW_NUMBER, number)
    return 0


@native
def _word(address: int, swapped: int) -> int:
    """32 bits, unsigned."""
    if swapped:
        return bswap32(load32(address))
    return load32(address)
