"""Numbers of the two formats of captures, which reading and writing share.

pcap: draft-ietf-opsawg-pcap; pcapng: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

PCAP_MAGIC_MICROSECONDS = 0xA1B2C3D4
PCAP_MAGIC_NANOSECONDS = 0xA1B23C4D
PCAP_RECORD_BYTES = 16

BYTE_ORDER_MAGIC = 0x1A2B3C4D
BLOCK_SECTION = 0x0A0D0D0A
BLOCK_INTERFACE = 1
BLOCK_PACKET = 2  # obsolete
BLOCK_SIMPLE = 3
BLOCK_ENHANCED = 6

OPTION_END = 0
OPTION_COMMENT = 1
SHB_USERAPPL = 4
IF_NAME = 2
IF_TSRESOL = 9
IF_TSOFFSET = 14

NS_PER_SECOND = 1_000_000_000
