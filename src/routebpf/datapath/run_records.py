"""What a batch of packets is run with, and what comes of each packet. 64 bits each unless said."""

from __future__ import annotations

RUN_ROWS = 0  # the address of the rows (PACKET_ROW)
RUN_COUNT = 8  # how many
RUN_DONE = 16  # how many are done
RUN_RESULTS = 24  # the address of RESULT_BYTES for each, 0: nobody wants them
RUN_REASONS = 32  # the address of the first 8 bytes of a result, by reason
RUN_FLAGS = 40
RUN_SKB = 48  # the address of the packet's struct skb, with a buffer
RUN_INGRESS = 56  # the ifindex of the device that the packets come in by; 0: this host sends them
RUN_NUMBER = 64  # the number of the first packet in the replay
RUN_ROOM = 72  # stop when the sink has less room than that
RUN_ROUTE = 80  # the address of the route that the packet took first, 0: none
RUN_LENGTH = 88  # bytes of the packet, from its IP header
RUN_MARK = 96  # the mark that packets start with
RUN_PLAIN = 104  # the address of a second struct skb, without a buffer: for packets that nothing changes
RUN_BYTES = 128

RUN_EXACT = 1  # packets are as long as their rows say, whatever their headers say
RUN_SET_CLOCK = 2  # the clock is each packet's time

# A result.
RESULT_VERDICT = 0  # 8 bits
RESULT_REASON = 2  # 16 bits
RESULT_ERRNO = 4  # 32 bits
RESULT_ROUTE = 8  # 32 bits: the number of the route it took first, NO_ROUTE_NUMBER
RESULT_SIZE = 12  # 32 bits: bytes from the IP header on
RESULT_FRAMES = 16  # 32 bits: how many left
RESULT_BYTES = 24

NO_ROUTE_NUMBER = 0xFFFFFFFF

# Counters by route and verdict: packets, bytes.
COUNT_BYTES = 16
VERDICTS = 5
ROUTE_COUNT_BYTES = COUNT_BYTES * VERDICTS
