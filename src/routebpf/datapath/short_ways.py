"""Which IPv4 destinations can go the short way (datapath.short_send), and by which next hop.

A trie of 16, 8 and 8 bits over all tables, as the kernel's rules lead through them when they are the default ones. What
is not in it goes the long way: host's own addresses, broadcast, multicast, routes with several next hops, programs that
change packets. So it needs to be right only where it has a next hop.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any, NamedTuple

import numpy as np

from routebpf.datapath.fib_image import Image
from routebpf.datapath.fib_records import HOP_BYTES

ROOT_ENTRIES = 1 << 16
NODE_ENTRIES = 1 << 8
IS_NODE = 1 << 31  # in an entry: the rest is the number of a node; else it is that of a next hop, 0 for the long way
# Destinations that no route alone decides: this network, multicast and above.
_LONG_WAYS = (IPv4Network("0.0.0.0/8"), IPv4Network("127.0.0.0/8"), IPv4Network("224.0.0.0/3"))


class Way(NamedTuple):
    """The first route of a prefix that is up. `hop`: the address of its next hop, 0 if it takes the long way."""

    table: int
    prefix: Any
    hop: int


class ShortWays:
    """The trie in memory. `entries` and `hops` are addresses."""

    def __init__(self, ways: Sequence[Way], table_order: Sequence[int], image: Image) -> None:
        """`table_order`: tables in the order of the rules."""
        self._entries = np.zeros(ROOT_ENTRIES + NODE_ENTRIES, np.uint32)
        self._nodes = 0
        numbers: dict[int, int] = {0: 0}
        for table in reversed(table_order):
            for way in sorted((one for one in ways if one.table == table), key=lambda one: int(one.prefix.prefixlen)):
                self._paint(way.prefix, numbers.setdefault(way.hop, len(numbers)))
        for prefix in _LONG_WAYS:
            self._paint(prefix, 0)
        self.entries = int(self._entries.ctypes.data)
        self.hops = image.take(len(numbers) * 8)
        no_way = image.take(HOP_BYTES)  # its HOP_SHORT_MTU is 0
        for hop, number in numbers.items():
            image.put64(self.hops, {number * 8: hop or no_way})

    def _paint(self, prefix: IPv4Network, number: int) -> None:
        """Give all addresses of a prefix this next hop."""
        first, length = int(prefix.network_address), prefix.prefixlen
        base, shift = 0, 16
        while length > 32 - shift:
            base = self._node(base + (first >> shift & (0xFFFF if shift == 16 else 0xFF)))
            shift -= 8
        start = base + (first >> shift & (0xFFFF if shift == 16 else 0xFF))
        self._entries[start : start + (1 << 32 - shift - length)] = number

    def _node(self, entry: int) -> int:
        """The first entry of the node below an entry, a new one if it has none."""
        value = int(self._entries[entry])
        if not value & IS_NODE:
            start = ROOT_ENTRIES + self._nodes * NODE_ENTRIES
            if start + NODE_ENTRIES > len(self._entries):
                self._entries = np.concatenate([self._entries, np.zeros(len(self._entries), np.uint32)])
            self._entries[start : start + NODE_ENTRIES] = value
            self._entries[entry] = IS_NODE | self._nodes
            self._nodes += 1
            return start
        return ROOT_ENTRIES + (value & ~IS_NODE) * NODE_ENTRIES
