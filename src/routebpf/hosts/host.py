"""What every host does, and what it says of a packet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that left: its bytes, with the link header that its device has. `time` in ns."""

    device: str
    data: bytes
    time: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a packet. `verdict`: sent, dropped, redirected, rerouted or error; `reason` says why, by the names
    of `datapath.verdicts`. `errno`: what its sender sees (positive), 0 for none."""

    verdict: str
    reason: str
    errno: int
    frames: tuple[Frame, ...]


class Host(Protocol):
    """A thing with devices, addresses, neighbours, routes, maps and a clock, that sends packets."""

    def send(self, packet: bytes) -> Sent:
        """Send a packet, from its IP header on, as a raw socket does."""

    def receive(self, packet: bytes, device: str) -> Sent:
        """A packet, from its IP header on, comes in by a device."""
