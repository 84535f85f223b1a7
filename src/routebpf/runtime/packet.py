"""One packet in memory: a struct skb and its buffer, for who has a single packet to run a program on."""

from __future__ import annotations

from routebpf.runtime.memory import Memory
from routebpf.runtime.skb import (
    ETH_P_IP,
    ETH_P_IPV6,
    HEADROOM,
    MAX_PACKET,
    SKB_BYTES,
    SKB_DATA,
    SKB_DEVICE,
    SKB_END,
    SKB_HAS_SOCKET,
    SKB_HEAD,
    SKB_IFINDEX,
    SKB_LEN,
    SKB_MAC_HEADER,
    SKB_NETWORK_HEADER,
    SKB_PKT_TYPE,
    SKB_PROTOCOL,
    SKB_TAIL,
    SKB_TRANSPORT_HEADER,
    TAILROOM,
    UNSET,
)


class PacketBuffer:
    """A packet that begins with its network header. `address` is that of its struct skb: a program's context."""

    def __init__(self, data: bytes = b"", *, capacity: int = MAX_PACKET) -> None:
        """`capacity`: the longest packet that it will hold, in bytes, without the headroom and tailroom around it."""
        self._skb = Memory(SKB_BYTES)
        self._buffer = Memory(HEADROOM + max(capacity, len(data)) + TAILROOM)
        self.address = self._skb.address
        self.set(data)

    def set(
        self, data: bytes, *, protocol: int | None = None, ifindex: int = 0, pkt_type: int = 0, has_socket: bool = False
    ) -> None:
        """Make it a new packet, all else unset, as one that the host sends. `protocol`: an ethertype in the host's
        order, by default what the packet's first byte says (0 for neither IPv4 nor IPv6).

        Raises ValueError for a packet beyond the capacity.
        """
        if len(data) > self._buffer.size - HEADROOM - TAILROOM:
            raise ValueError(f"a packet of {len(data)} bytes in a buffer for {self._buffer.size - HEADROOM - TAILROOM}")
        self._skb.write(0, bytes(SKB_BYTES))
        self._buffer.write(HEADROOM, data)
        start = self._buffer.address + HEADROOM
        versions = {4: ETH_P_IP, 6: ETH_P_IPV6}
        by_version = versions.get(data[0] >> 4, 0) if data else 0
        ethertype = by_version if protocol is None else (protocol & 0xFF) << 8 | protocol >> 8
        for field, value in (
            (SKB_LEN, len(data)),
            (SKB_PKT_TYPE, pkt_type),
            (SKB_PROTOCOL, ethertype),
            (SKB_IFINDEX, ifindex),
            (SKB_DEVICE, ifindex),
            (SKB_HAS_SOCKET, int(has_socket)),
        ):
            self.write32(field, value)
        for field, value in (
            (SKB_HEAD, self._buffer.address),
            (SKB_DATA, start),
            (SKB_TAIL, start + len(data)),
            (SKB_END, self._buffer.address + self._buffer.size),
            (SKB_MAC_HEADER, UNSET),
            (SKB_NETWORK_HEADER, HEADROOM),
            (SKB_TRANSPORT_HEADER, UNSET),
        ):
            self.write64(field, value)

    @property
    def data(self) -> bytes:
        """The packet's bytes, from `data` on."""
        return self._buffer.read(self.read64(SKB_DATA) - self._buffer.address, self.read32(SKB_LEN))

    def read32(self, field: int) -> int:
        """An SKB_* field of 32 bits, unsigned."""
        return int.from_bytes(self._skb.read(field, 4), "little")

    def read64(self, field: int) -> int:
        """An SKB_* field of 64 bits, signed."""
        return int.from_bytes(self._skb.read(field, 8), "little", signed=True)

    def write32(self, field: int, value: int) -> None:
        self._skb.write(field, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def write64(self, field: int, value: int) -> None:
        self._skb.write(field, (value & (1 << 64) - 1).to_bytes(8, "little"))

    def regions(self) -> list[tuple[int, int, bool]]:
        """(address, size, writable) of the struct and of the buffer."""
        return [(self._skb.address, self._skb.size, True), (self._buffer.address, self._buffer.size, True)]
