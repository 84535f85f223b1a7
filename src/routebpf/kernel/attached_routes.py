"""What is attached, and in which state: read from the routes and the ledger, changing neither."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from routebpf.kernel.attach_operation import is_carried
from routebpf.kernel.attach_targets import Devices, Routes
from routebpf.kernel.ledger import Entry, Ledger, ProgramRecord, identify, read_ledger
from routebpf.kernel.namespaces import Namespace, hold_namespace, open_route_socket, run_inside
from routebpf.kernel.route_bulk import Route, Shape
from routebpf.kernel.route_identity import RouteKey, key_text, read_key, route_text

State = Literal[
    "attached", "by others", "interrupted: done", "interrupted: not done", "changed by others", "route is gone"
]


@dataclass(frozen=True, slots=True)
class AttachedRoute:
    """A route that carries programs, or that the ledger says does. `programs`: what the route calls them, by hook; what
    the ledger has, if the route is gone. `records`: those of ours."""

    key: RouteKey
    route: Route | None
    entry: Entry | None
    state: State
    programs: dict[str, str]
    records: dict[str, ProgramRecord]

    @property
    def is_ours(self) -> bool:
        return self.entry is not None

    @property
    def was(self) -> Route | None:
        """The route before we came, None if we made it or it is not ours."""
        return self.entry.was.route_at(self.key) if self.entry and self.entry.was else None

    @property
    def created(self) -> bool:
        """Whether we made the route."""
        return self.entry is not None and self.entry.was is None


@dataclass(frozen=True, slots=True)
class Listing:
    """All attached routes of a namespace, with the names of its devices."""

    routes: list[AttachedRoute]
    devices: Devices
    ledger: Ledger

    def text(self, one: AttachedRoute) -> str:
        """A route in words."""
        return route_text(one.route.full, self.devices.names) if one.route else key_text(one.key)


def list_attached(namespace: Namespace | None = None) -> Listing:
    """What is attached in a namespace, by us (whatever has become of it) and by others, in the order of tables."""
    with hold_namespace(namespace) as held, open_route_socket(held) as sock:
        ledger = read_ledger(identify(held))
        devices = Devices(run_inside(held, socket.if_nameindex))
        routes = Routes(sock, [(socket.AF_INET, None), (socket.AF_INET6, None)], {})
    found = list(_with_entries(routes, ledger))
    found.sort(key=lambda one: _order(one.key))
    return Listing(found, devices, ledger)


def _order(key: RouteKey) -> tuple[int, int, bytes, int, int, int]:
    place = read_key(key)
    return place.table, place.family, place.dst, place.dst_len, place.tos, place.metric


def _with_entries(routes: Routes, ledger: Ledger) -> Iterator[AttachedRoute]:
    entries = ledger.book.entries
    for route in routes.listed:
        if route.shape.programs and (route.key not in entries or routes.at(route.key) != route):
            yield AttachedRoute(route.key, route, None, "by others", route.shape.programs, {})
    for key, entry in entries.items():
        there = routes.at(key)
        programs = there.shape.programs if there else entry.carries.names
        state = _state(entry, there.shape if there else None)
        yield AttachedRoute(key, there, entry, state, programs, _records(ledger, programs))


def _records(ledger: Ledger, programs: dict[str, str]) -> dict[str, ProgramRecord]:
    """The headroom, which is part of the name on the route, is not the program's."""
    known = ledger.book.programs
    names = {hook: name.partition("+")[0] for hook, name in programs.items()}
    return {hook: known[name] for hook, name in names.items() if name in known}


def _state(entry: Entry, shape: Shape | None) -> State:
    planned = entry.planned
    if planned is None:
        if shape is None:
            return "route is gone"
        return "attached" if is_carried(shape, entry.carries) else "changed by others"
    if planned:
        is_done = is_carried(shape, planned)
    else:
        is_done = shape is None if entry.was is None else shape is not None and not shape.programs
    return "interrupted: done" if is_done else "interrupted: not done"
