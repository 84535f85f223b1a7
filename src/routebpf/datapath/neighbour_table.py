"""The table of neighbours, as Python has it."""

from __future__ import annotations

from routebpf.datapath import neighbours as at
from routebpf.datapath.fib import words_of
from routebpf.runtime.memory import Memory

_STATES = {
    "permanent": at.NEIGHBOUR_VALID | at.NEIGHBOUR_CONNECTED,
    "noarp": at.NEIGHBOUR_VALID | at.NEIGHBOUR_CONNECTED,
    "reachable": at.NEIGHBOUR_VALID | at.NEIGHBOUR_CONNECTED,
    "stale": at.NEIGHBOUR_VALID,
    "delay": at.NEIGHBOUR_VALID,
    "probe": at.NEIGHBOUR_VALID,
    "incomplete": 0,
    "failed": 0,
    "none": 0,
}
STATES = frozenset(_STATES)
_SMALLEST = 1024


class NeighbourTable:
    """Neighbours by device and address. `address` is that of its struct in memory, which stays where it is."""

    def __init__(self) -> None:
        self._struct = Memory(at.NEIGHBOURS_BYTES)
        self.address = self._struct.address
        self._buckets = Memory(0)
        self._set_size(_SMALLEST)

    def set(self, ifindex: int, family: int, address: int, mac: bytes, state: str) -> None:
        """Add or change a neighbour. `state` is the NUD state in lower case; only some have a link address to use."""
        self.make_room(1)
        high, low = words_of(address, family)
        flags = at.NEIGHBOUR_PRESENT | _STATES[state]
        at.neighbour_add(
            self.address, _key(ifindex, family), high, low, int.from_bytes(mac.ljust(8, b"\0"), "little"), flags
        )

    def delete(self, ifindex: int, family: int, address: int) -> bool:
        """Forget a neighbour: whether there was one."""
        high, low = words_of(address, family)
        entry = at.neighbour_slot(self.address, _key(ifindex, family), high, low)
        offset = entry - self._buckets.address
        if not int.from_bytes(self._buckets.read(offset, 4), "little"):
            return False
        self._buckets.write(offset, bytes(4))
        self._rehash(self._size)
        return True

    def make_room(self, more: int) -> None:
        """Make room for that many more."""
        needed = self._get(at.NEIGHBOURS_COUNT) + more
        size = self._size
        while needed > size // 4 * 3:
            size *= 2
        if size != self._size:
            self._rehash(size)

    @property
    def _size(self) -> int:
        return self._get(at.NEIGHBOURS_MASK) + 1

    def _rehash(self, size: int) -> None:
        old = self._buckets
        self._set_size(size)
        at.neighbours_move(old.address, old.size // at.NEIGHBOUR_BYTES, self.address)

    def _set_size(self, size: int) -> None:
        self._buckets = Memory(size * at.NEIGHBOUR_BYTES)
        self._put(at.NEIGHBOURS_BUCKETS, self._buckets.address)
        self._put(at.NEIGHBOURS_MASK, size - 1)
        self._put(at.NEIGHBOURS_COUNT, 0)
        self._put(at.NEIGHBOURS_LIMIT, size // 4 * 3)

    def _get(self, field: int) -> int:
        return int.from_bytes(self._struct.read(field, 8), "little")

    def _put(self, field: int, value: int) -> None:
        self._struct.write(field, value.to_bytes(8, "little"))


def _key(ifindex: int, family: int) -> int:
    return ifindex << 1 | (family == 6)
