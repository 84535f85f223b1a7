"""A network namespace with two ways out of it, a ledger and pins of its own, and iproute2 to look at its routes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routebpf.kernel.attach import Attached, AttachOptions, attach
from routebpf.kernel.attach_targets import NewRoute, Selection, parse_prefix
from routebpf.kernel.detach import Detached, detach
from routebpf.kernel.ledger import identify
from routebpf.kernel.namespaces import Namespace, create_namespace, remove_namespace, write_sysctl
from routebpf.kernel.route_identity import RouteKey
from routebpf.objects.model import Object

DEVICES = """
link add veth0 address 02:00:00:00:00:01 type veth peer name far0 address 02:00:00:00:00:02
link add veth1 address 02:00:00:00:01:01 type veth peer name far1 address 02:00:00:00:01:02
link set veth0 up
link set far0 up
link set veth1 up
link set far1 up
addr add 10.0.0.1/24 dev veth0
addr add 10.0.1.1/24 dev veth1
addr add fd00::1/64 dev veth0 nodad
addr add fd01::1/64 dev veth1 nodad
neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev veth0
neigh add 10.0.1.2 lladdr 02:00:00:00:01:02 dev veth1
neigh add fd00::2 lladdr 02:00:00:00:00:02 dev veth0
neigh add fd01::2 lladdr 02:00:00:00:01:02 dev veth1
"""
COUNT = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); }
    packets SEC(".maps");
SEC("%s") int count(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __u64 *found = bpf_map_lookup_elem(&packets, &zero);
    if (found)
        __sync_fetch_and_add(found, 1);
    return %s;
}
"""
# What iproute2 says of a BPF encap, whatever hooks it has.
_OF_ENCAP = ("encap", "in", "out", "xmit", "headroom")


@dataclass(frozen=True)
class OperatorGround:
    namespace: Namespace
    pins: Path
    run: Path

    @property
    def name(self) -> str:
        return self.namespace.name

    def run_inside(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", f"--net={self.namespace.path}", *command]
        return subprocess.run(inside, **({"check": True, "capture_output": True, "text": True} | options))

    def ip(self, *words: str) -> str:
        """One command of `ip`, its words in one string or several."""
        return self.run_inside("ip", *" ".join(words).split()).stdout

    def batch(self, lines: str) -> None:
        self.run_inside("ip", "-batch", "-", input=lines)

    def routes(self) -> list[Any]:
        """Every route as `ip -details -json` tells it, but for ages."""
        found = []
        for family in ("-4", "-6"):
            for route in json.loads(self.ip(family, "-details -json route show table all") or "[]"):
                route.pop("expires", None)
                found.append({"family": family} | route)
        return found

    def bare_routes(self) -> list[Any]:
        """The same without programs."""
        return [_bare(one) for one in self.routes()]

    def encap(self, prefix: str, *words: str) -> str:
        """The programs on a route in iproute2's words."""
        return self.ip(*(["-6"] if ":" in prefix else []), "route show exact", prefix, *words)

    def attach(self, source: Object, *prefixes: str, **options: Any) -> list[Attached]:
        """What was done to the route of each prefix."""
        return list(self.attach_by_key(source, *prefixes, **options).values())

    def attach_by_key(self, source: Object, *prefixes: str, **options: Any) -> dict[RouteKey, Attached]:
        steps = {"on_step": options.pop("on_step")} if "on_step" in options else {}
        selector = options.pop("program", None)
        given = AttachOptions(**_with_selection(options))
        wanted = [parse_prefix(one) for one in prefixes]
        return attach(source, source.program(selector), wanted, given, namespace=self.namespace, **steps)

    def detach(self, *prefixes: str, **options: Any) -> list[Detached]:
        """What was done to the route of each prefix."""
        return list(self.detach_by_key(*prefixes, **options).values())

    def detach_by_key(self, *prefixes: str, **options: Any) -> dict[RouteKey, Detached]:
        options = _with_selection(options)
        selection = options.pop("selection", Selection())
        wanted = [parse_prefix(one) for one in prefixes] or None
        return detach(wanted, selection, namespace=self.namespace, **options)

    def pinned(self) -> list[str]:
        """Names of what is pinned for this namespace."""
        return sorted(str(one.relative_to(self.pins)) for one in self.pins.rglob("*") if not one.is_dir())


def _with_selection(options: dict[str, Any]) -> dict[str, Any]:
    names = {name: options.pop(name) for name in ("table", "metric", "tos", "device") if name in options}
    return {**options, "selection": Selection(**names)} if names else options


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items() if name not in _OF_ENCAP}
    return [_bare(one) for one in value] if isinstance(value, list) else value


@contextmanager
def operator_ground(folder: Path) -> Iterator[OperatorGround]:
    """A namespace with DEVICES; its ledger is in `folder`. All is gone afterwards."""
    namespace = create_namespace()
    before = os.environ.get("ROUTEBPF_RUN")
    os.environ["ROUTEBPF_RUN"] = str(folder)
    pins = Path("/sys/fs/bpf/routebpf", str(identify(namespace).inode))
    ground = OperatorGround(namespace, pins, folder)
    try:
        # No link-local addresses: their routes would come while a test looks at all routes.
        write_sysctl(namespace, "ipv6/conf/default/addr_gen_mode", 1)
        ground.batch(DEVICES)
        _wait_for_addresses(ground)
        yield ground
    finally:
        if before is None:
            del os.environ["ROUTEBPF_RUN"]
        else:
            os.environ["ROUTEBPF_RUN"] = before
        remove_namespace(namespace)
        shutil.rmtree(pins, ignore_errors=True)


def _wait_for_addresses(ground: OperatorGround) -> None:
    """The kernel makes the routes to IPv6 addresses of its own when it comes to it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        there = ground.ip("-6 route show table local")
        if there.count("local fd0") == 2 and there.count("multicast ff00::/8") == 4:
            return
        time.sleep(0.01)
    raise AssertionError(there)


__all__ = ["COUNT", "DEVICES", "NewRoute", "OperatorGround", "operator_ground"]
