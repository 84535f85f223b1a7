"""One row a packet: where its bytes are, how many, when, and of which link type. Packets travel in arrays of rows."""

from __future__ import annotations

import numpy as np

# Offsets in a row, for native code.
ROW_ADDRESS = 0  # 64 bits: the address of the captured bytes
ROW_SIZE = 8  # 32 bits: bytes captured
ROW_WIRE_SIZE = 12  # 32 bits: bytes that the packet had
ROW_TIME = 16  # ns since the epoch, signed
ROW_LINK = 24  # 16 bits: LINKTYPE_*
ROW_FLAGS = 26  # 16 bits: ROW_*
ROW_NUMBER = 28  # 32 bits: the packet's number in the capture, from 0, modulo 2**32
ROW_BYTES = 32

ROW_TIMELESS = 1  # flag: the capture holds no time for this packet; `time` is 0

PACKET_ROW = np.dtype(
    {
        "names": ["address", "size", "wire_size", "time", "link", "flags", "number"],
        "formats": ["u8", "u4", "u4", "i8", "u2", "u2", "u4"],
        "offsets": [ROW_ADDRESS, ROW_SIZE, ROW_WIRE_SIZE, ROW_TIME, ROW_LINK, ROW_FLAGS, ROW_NUMBER],
        "itemsize": ROW_BYTES,
    }
)
