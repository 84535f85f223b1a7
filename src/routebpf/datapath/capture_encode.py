"""Frames become records of pcap or blocks of pcapng, natively: from the frame sink (runtime.device) into a buffer.

Both formats are written little-endian with times in nanoseconds.
"""

from __future__ import annotations

from routebpf.datapath.capture_format import BLOCK_ENHANCED, NS_PER_SECOND, PCAP_RECORD_BYTES
from routebpf.runtime.device import FRAME_HEADER_BYTES, FRAME_IFINDEX, FRAME_LENGTH, FRAME_PACKET, FRAME_TIME
from routebpf.runtime.memory import copy, load16, load32, load64, store32, store64, udiv, ult, urem
from routebpf.runtime.native import native

# The struct of an encoder. 64 bits each.
ENCODE_POSITION = 0  # the address of the next frame's record
ENCODE_END = 8  # the address behind the records
ENCODE_OUT = 16  # the address of the next byte of output
ENCODE_OUT_END = 24  # the address behind the output's buffer
ENCODE_FRAMES = 32  # how many were written
ENCODE_INTERFACES = 40  # the address of 32 bits for each ifindex: the number of the interface + 1, 0: none
ENCODE_INTERFACE_COUNT = 48
ENCODE_COMMENT_IDS = 56  # the address of 16 bits for each packet: its comment
ENCODE_FIRST_PACKET = 64  # the number of the first of these packets
ENCODE_PACKETS = 72  # how many there are; other packets have no comment
ENCODE_COMMENTS = 80  # the address of comment 0 (COMMENT_BYTES each); before it is the one that is none
ENCODE_NEEDED = 88  # with ENCODED_FULL: bytes of output that the next frame needs
ENCODE_BYTES = 128

# A comment: a pcapng option, padded, with its header. 64 bits each.
COMMENT_ADDRESS = 0
COMMENT_SIZE = 8  # 0: no option
COMMENT_BYTES = 16

# Why encoding stopped.
ENCODED_ALL = 0
ENCODED_FULL = 1  # the next frame does not fit into the output
ENCODED_UNKNOWN = 2  # the next frame is of an ifindex that is no interface

_BLOCK_FIELDS_BYTES = 28  # before the frame
_BLOCK_END_BYTES = 16  # epb_flags, opt_endofopt and the length; between the frame and them: the comment
_EPB_FLAGS_OPTION = 4 << 16 | 2  # length and code
_OUTBOUND = 2


@native
def encode_pcap(encoder: int) -> int:
    """Write frames as pcap records until all are written or the output is full."""
    position, end = load64(encoder + ENCODE_POSITION), load64(encoder + ENCODE_END)
    out, out_end = load64(encoder + ENCODE_OUT), load64(encoder + ENCODE_OUT_END)
    frames = load64(encoder + ENCODE_FRAMES)
    stop = ENCODED_ALL
    while position < end:
        length = load32(position + FRAME_LENGTH)
        if out + PCAP_RECORD_BYTES + length > out_end:
            store64(encoder + ENCODE_NEEDED, PCAP_RECORD_BYTES + length)
            stop = ENCODED_FULL
            break
        if _interface_of(encoder, load32(position + FRAME_IFINDEX)) < 0:
            stop = ENCODED_UNKNOWN
            break
        time = max(load64(position + FRAME_TIME), 0)
        store32(out, udiv(time, NS_PER_SECOND))
        store32(out + 4, urem(time, NS_PER_SECOND))
        store32(out + 8, length)
        store32(out + 12, length)
        copy(out + PCAP_RECORD_BYTES, position + FRAME_HEADER_BYTES, length)
        out += PCAP_RECORD_BYTES + length
        position += FRAME_HEADER_BYTES + ((length + 7) & ~7)
        frames += 1
    store64(encoder + ENCODE_POSITION, position)
    store64(encoder + ENCODE_OUT, out)
    store64(encoder + ENCODE_FRAMES, frames)
    return stop


@native
def encode_pcapng(encoder: int) -> int:
    """Write frames as enhanced packet blocks until all are written or the output is full."""
    position, end = load64(encoder + ENCODE_POSITION), load64(encoder + ENCODE_END)
    out, out_end = load64(encoder + ENCODE_OUT), load64(encoder + ENCODE_OUT_END)
    frames = load64(encoder + ENCODE_FRAMES)
    stop = ENCODED_ALL
    while position < end:
        length = load32(position + FRAME_LENGTH)
        comment = _comment_of(encoder, load64(position + FRAME_PACKET))
        comment_size = load64(comment + COMMENT_SIZE)
        size = _BLOCK_FIELDS_BYTES + ((length + 3) & ~3) + comment_size + _BLOCK_END_BYTES
        if out + size > out_end:
            store64(encoder + ENCODE_NEEDED, size)
            stop = ENCODED_FULL
            break
        interface = _interface_of(encoder, load32(position + FRAME_IFINDEX))
        if interface < 0:
            stop = ENCODED_UNKNOWN
            break
        behind = _packet_fields(out, size, interface, position, length)
        copy(behind, load64(comment + COMMENT_ADDRESS), comment_size)
        _end_block(behind + comment_size, size)
        out += size
        position += FRAME_HEADER_BYTES + ((length + 7) & ~7)
        frames += 1
    store64(encoder + ENCODE_POSITION, position)
    store64(encoder + ENCODE_OUT, out)
    store64(encoder + ENCODE_FRAMES, frames)
    return stop


@native
def _packet_fields(out: int, size: int, interface: int, record: int, length: int) -> int:
    """The fields of an enhanced packet block, and the frame padded with zeros: the address behind it."""
    time = max(load64(record + FRAME_TIME), 0)
    store32(out, BLOCK_ENHANCED)
    store32(out + 4, size)
    store32(out + 8, interface)
    store32(out + 12, time >> 32)
    store32(out + 16, time)
    store32(out + 20, length)
    store32(out + 24, length)
    data = out + _BLOCK_FIELDS_BYTES
    behind = data + ((length + 3) & ~3)
    if length & 3:
        store32(behind - 4, 0)
    copy(data, record + FRAME_HEADER_BYTES, length)
    return behind


@native
def _end_block(out: int, size: int) -> int:
    """The options behind the comment: outbound, no more; and the block's length."""
    store32(out, _EPB_FLAGS_OPTION)
    store32(out + 4, _OUTBOUND)
    store32(out + 8, 0)
    store32(out + 12, size)
    return 0


@native
def _comment_of(encoder: int, packet: int) -> int:
    """The address of a packet's comment: of the one that is none for a packet that has no id."""
    comments = load64(encoder + ENCODE_COMMENTS)
    index = packet - load64(encoder + ENCODE_FIRST_PACKET)
    if ult(index, load64(encoder + ENCODE_PACKETS)):
        return comments + load16(load64(encoder + ENCODE_COMMENT_IDS) + 2 * index) * COMMENT_BYTES
    return comments - COMMENT_BYTES


@native
def _interface_of(encoder: int, ifindex: int) -> int:
    """The number of the interface of an ifindex, -1 if there is none."""
    if ifindex >= load64(encoder + ENCODE_INTERFACE_COUNT):
        return -1
    return load32(load64(encoder + ENCODE_INTERFACES) + 4 * ifindex) - 1
