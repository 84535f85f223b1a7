"""routebpf: put an eBPF program on a route, and see, test and trust what it does.

    obj = routebpf.load("filter.bpf.c")
    host = routebpf.EmbeddedHost()
    host.add_device("veth0", address="10.0.0.1/24")
    host.add_route("192.168.253.0/24", via="10.0.0.2", dev="veth0", xmit=obj.programs["filter"])
    sent = host.send(packet)
    stats = host.replay("in.pcap", write="out.pcapng")

Everything here is imported at its first use: importing routebpf costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routebpf.datapath.fib import Hop as Hop
    from routebpf.datapath.fib import Rule as Rule
    from routebpf.errors import Error as Error
    from routebpf.errors import InputError as InputError
    from routebpf.errors import MapError as MapError
    from routebpf.errors import MissingError as MissingError
    from routebpf.errors import RejectedError as RejectedError
    from routebpf.errors import RuntimeFault as RuntimeFault
    from routebpf.hosts.embedded import EmbeddedHost as EmbeddedHost
    from routebpf.hosts.host import Frame as Frame
    from routebpf.hosts.host import Sent as Sent
    from routebpf.hosts.kernel import KernelHost as KernelHost
    from routebpf.hosts.load import LoadedObject as LoadedObject
    from routebpf.hosts.load import LoadedProgram as LoadedProgram
    from routebpf.hosts.load import load as load
    from routebpf.hosts.replay import Replay as Replay

_MODULES = {
    "EmbeddedHost": "hosts.embedded",
    "Error": "errors",
    "Frame": "hosts.host",
    "Hop": "datapath.fib",
    "InputError": "errors",
    "KernelHost": "hosts.kernel",
    "LoadedObject": "hosts.load",
    "LoadedProgram": "hosts.load",
    "MapError": "errors",
    "MissingError": "errors",
    "RejectedError": "errors",
    "Replay": "hosts.replay",
    "Rule": "datapath.fib",
    "RuntimeFault": "errors",
    "Sent": "hosts.host",
    "load": "hosts.load",
}
__all__ = sorted(_MODULES)


def importer(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` (PEP 562) of a package whose names are imported at their first use: `places` has the module
    below it that each is of."""

    def import_name(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{places[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return import_name


__getattr__ = importer(__name__, _MODULES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
