"""The host that `routebpf run PROG` makes where nobody describes one: a device, and a route with the program."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from routebpf.datapath.fib import RouteProgram
from routebpf.errors import InputError
from routebpf.hosts.arguments import HOOK_TYPES
from routebpf.hosts.embedded import Clock, EmbeddedHost
from routebpf.hosts.host import Host

DEVICE = "veth0"
# So long that no packet of a capture is too long for it, and no address that a capture is likely to hold.
_MTU = 65_535
_MAC = bytes.fromhex("fe5246504601")
_EVERYWHERE = ("0.0.0.0/0", "::/0")
_HOOKS = {program_type: hook for hook, program_type in HOOK_TYPES.items()}


def one_route_host(
    program: RouteProgram, prefixes: Sequence[str] = (), *, seed: int = 1, clock: Clock = "capture", cpus: int = 1
) -> EmbeddedHost:
    """A host with one Ethernet device. Packets to `prefixes` take a route that carries the program, all others one
    that carries none; without prefixes, all take the program's. Neighbours are made up.

    Raises InputError for what is no prefix.
    """
    host = EmbeddedHost(seed=seed, clock=clock, cpus=cpus)
    add_one_route(host, program, prefixes)
    return host


def add_one_route(host: Host, program: RouteProgram, prefixes: Sequence[str] = ()) -> None:
    """Give a host that device and those routes. `program`: what the host's `load` gives."""
    host.add_device(DEVICE, mtu=_MTU, mac=_MAC)
    carried = [_prefix(one) for one in prefixes] or list(_EVERYWHERE)
    for prefix in _EVERYWHERE:
        if prefix not in carried:
            host.add_route(prefix, dev=DEVICE)
    for prefix in carried:
        host.add_route(prefix, dev=DEVICE, **{_HOOKS[program.program_type]: program})  # type: ignore[arg-type]


def _prefix(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise InputError(f"--to {text}: {error}; a prefix is written 10.0.0.0/8 or fd00::/16") from None
