"""What every host does, and what it says of a packet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import numpy as np

    from routebpf.datapath.devices import Device
    from routebpf.datapath.fib import Hop, Route, Rule
    from routebpf.hosts.load import Engine
    from routebpf.hosts.replay import Replay, Watch
    from routebpf.hosts.topology_apply import TopologyApplier


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
    """A thing with devices, addresses, neighbours, routes, maps and a clock, that sends packets.

    `EmbeddedHost` is one in this process, `KernelHost` one in a network namespace. Both raise InputError for what
    cannot be, as the kernel refuses it.
    """

    @property
    def devices(self) -> Mapping[str, Device]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Give back what the host has; a second time does nothing."""

    def add_device(
        self,
        name: str,
        *,
        address: str | Sequence[str] = (),
        kind: str = "ethernet",
        mac: bytes | None = None,
        mtu: int | None = None,
        ifindex: int | None = None,
        up: bool = True,
        arp: bool = True,
    ) -> Device: ...

    def set_device(
        self,
        name: str,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        mac: bytes | None = None,
        arp: bool | None = None,
    ) -> Device: ...

    def delete_device(self, name: str) -> None: ...

    def device(self, name: str) -> Device: ...

    def add_address(
        self, device: str, address: str, *, peer: str | None = None, broadcast: str | None = None
    ) -> None: ...

    def delete_address(self, device: str, address: str) -> None: ...

    def has_address(self, device: str, address: str) -> bool: ...

    def add_neighbour(self, device: str, address: str, mac: bytes, *, state: str = "permanent") -> None: ...

    def delete_neighbour(self, device: str, address: str) -> None: ...

    def add_route(
        self,
        prefix: str,
        *,
        via: str | None = None,
        dev: str | None = None,
        table: int = ...,
        metric: int | None = None,
        tos: int = 0,
        src: str | None = None,
        realm: int = 0,
        type: str = "unicast",
        mtu: int = 0,
        nexthops: Sequence[Hop] = (),
        xmit: Any = None,
        in_: Any = None,
        out: Any = None,
        headroom: int = 0,
        onlink: bool = False,
        replace: bool = False,
        append: bool = False,
    ) -> Route:
        """Add a route, with the programs that it carries: what `load` gives."""

    def delete_route(
        self,
        prefix: str,
        *,
        via: str | None = None,
        dev: str | None = None,
        table: int = ...,
        metric: int | None = None,
        tos: int | None = None,
        type: str | None = None,
    ) -> Any: ...

    def routes(self, family: int | None = None) -> Iterator[Route]: ...

    def add_rule(self, rule: Rule, family: int = 4) -> None: ...

    def load(
        self, source: str | os.PathLike[str] | bytes, *, program_type: str | None = None, engine: Engine = "jit"
    ) -> Any:
        """Load a program file for this host: `programs` and `maps` by name, and `program(selector)`, which checks the
        one that it chooses. `engine` is what runs programs in this process."""

    def topology(self, engine: Engine = "jit") -> TopologyApplier:
        """What does the commands of a topology on this host: see `topology_apply.apply_topology`."""

    def send(self, packet: bytes, *, time: int = 0, mark: int = 0) -> Sent:
        """Send a packet, from its IP header on, as a raw socket does. `time` in ns."""

    def receive(self, packet: bytes, device: str, *, time: int = 0, mark: int = 0) -> Sent:
        """A packet, from its IP header on, comes in by a device."""

    def replay(
        self,
        packets: str | os.PathLike[str] | np.ndarray[Any, Any],
        *,
        write: str | os.PathLike[str] | None = None,
        device: str | None = None,
        keep_packets: bool = False,
        columns: bool = True,
        progress: Callable[[int, int], None] | None = None,
        watch: Watch | None = None,
    ) -> Replay:
        """Send every packet of a capture, or with `device` let it come in there."""

    def trace(self) -> None:
        """From now on, keep what programs print (bpf_printk): `traced` gives it."""

    def traced(self) -> list[Any]:
        """What programs printed since the last call, if `trace` was called."""
