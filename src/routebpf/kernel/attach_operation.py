"""One command that changes routes, from taking the lock to letting it go; and what an interrupted one left.

The order of every change: load, pin, write the ledger (planned), replace in the kernel, read back, write the ledger
(done), unpin what nobody uses. Killed anywhere, the ledger knows both ends of what was under way, and the routes say
which of them is there.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from routebpf.errors import Error, InputError
from routebpf.kernel.attach_targets import Devices, Routes
from routebpf.kernel.attached_programs import forget_unused, open_program, remove_all_pins, remove_unused_pins
from routebpf.kernel.ledger import (
    Carried,
    Entry,
    Ledger,
    identify,
    locked_ledger,
    remove_ledgers_of_gone_namespaces,
)
from routebpf.kernel.lwt_encap import BpfEncap, EncapProgram
from routebpf.kernel.namespaces import Namespace, open_route_socket, run_inside
from routebpf.kernel.netlink import Refusal, RouteSocket
from routebpf.kernel.route_bulk import Route, Shapes, add_routes, remove_routes, replace_routes
from routebpf.kernel.route_identity import RouteKey, key_text, table_of

Step = Callable[[str], None]


def no_step(_name: str) -> None:
    """What is called after each step of a change: nothing."""


@dataclass(slots=True)
class Operation:
    """A command that holds the ledger of a namespace. `held`: fds that are closed at its end."""

    namespace: Namespace | None
    sock: RouteSocket
    ledger: Ledger
    devices: Devices
    step: Step
    held: ExitStack
    program_fds: dict[str, int] = field(default_factory=dict)
    shapes: Shapes = field(default_factory=dict)
    _encaps: dict[int, tuple[Carried, BpfEncap]] = field(default_factory=dict)

    def encap(self, carried: Carried) -> BpfEncap | None:
        """The encap that puts programs on a route. Raises InputError if one is in the kernel no more."""
        if not carried:
            return None
        known = self._encaps.get(id(carried))
        if known is None:
            fds = {hook: self._fd(name) for hook, name in carried.programs.items()}
            programs = {hook: EncapProgram(name, fds[hook]) for hook, name in carried.names.items()}
            made = BpfEncap(programs.get("in"), programs.get("out"), programs.get("xmit"), carried.headroom)
            known = self._encaps[id(carried)] = (carried, made)
        return known[1]

    def _fd(self, name: str) -> int:
        if name not in self.program_fds:
            record = self.ledger.book.programs.get(name)
            if record is None:
                raise InputError(f"program {name} is not in the ledger {self.ledger.path}")
            self.program_fds[name] = self.held.enter_context(open_program(record)).fd
        return self.program_fds[name]

    def list_table(self, families: Iterable[int], table: int | None) -> Routes:
        """The routes of a table, None: of all, as they are now."""
        return Routes(self.sock, [(family, table) for family in sorted(set(families))], self.shapes)

    def read(self, keys: Iterable[RouteKey]) -> Routes:
        """The routes of the tables that these keys are of, as they are now."""
        places = {table_of(key) for key in keys}
        return Routes(self.sock, sorted(places), self.shapes)


@contextmanager
def open_operation(namespace: Namespace | None, step: Step) -> Iterator[Operation]:
    """Hold the ledger of a namespace; what an interrupted command left undecided is decided first."""
    with ExitStack() as held:
        held.enter_context(_no_collection())
        sock = held.enter_context(open_route_socket(namespace))
        ledger = held.enter_context(locked_ledger(identify(namespace), namespace))
        step("locked")
        devices = Devices(run_inside(namespace, socket.if_nameindex))
        operation = Operation(namespace, sock, ledger, devices, step, held)
        if ledger.is_stale:
            remove_all_pins(ledger.identity.inode)
        for inode in remove_ledgers_of_gone_namespaces():
            remove_all_pins(inode)
        undecided = [one.key for one in ledger.book.entries.values() if one.planned is not None]
        if undecided:
            settle(operation, undecided)
            _write(operation)
        yield operation


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected meanwhile: looking for some among tens of thousands of tuples finds none, and took 15 %
    of attaching to 10,000 routes."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def is_carried(route: Route | None, carried: Carried) -> bool:
    """Whether a route carries just these programs."""
    return route is not None and route.shape.programs == carried.names


def settle(operation: Operation, keys: Sequence[RouteKey], routes: Routes | None = None) -> None:
    """Decide for entries with something planned, by what is on the route, if it was done. Only the book changes."""
    if not keys:
        return
    routes = routes or operation.read(keys)
    entries = operation.ledger.book.entries
    for key in keys:
        settled = settled_entry(entries[key], routes.at(key))
        if settled is None:
            del entries[key]
        else:
            entries[key] = settled


def settled_entry(entry: Entry, route: Route | None) -> Entry | None:
    """The entry with nothing under way, None if there is nothing of ours on the route then."""
    planned = entry.planned
    if planned is None:
        return entry
    if planned and is_carried(route, planned):
        return entry.settled(planned)
    # A detach that was done leaves the route bare, or none; an attach that was not done leaves it as it was.
    if entry.carries and (planned or is_carried(route, entry.carries)):
        return entry.settled(entry.carries)
    return None


class Put(NamedTuple):
    """A change in the kernel. `before`: the route as it is, None: it is made. `carried`: what it carries then of ours.
    `after`: the route to make, or the one to put in its place; None: it is deleted."""

    key: RouteKey
    before: Route | None
    carried: Carried
    after: Route | None
    planned: Carried


def carry_out(operation: Operation, puts: Sequence[Put], doing: str) -> None:
    """Make changes, all or none: where one is refused, those that were done are taken back. Raises its error."""
    refusals = put_all(operation, puts)
    operation.step("replaced")
    refused = [(put, why) for put, why in zip(puts, refusals, strict=True) if why is not None]
    if not refused:
        return
    done = [put for put, why in zip(puts, refusals, strict=True) if why is None]
    put_all(operation, [Put(one.key, one.after, one.planned, one.before, one.carried) for one in done])
    finish(operation, [put.key for put in puts])
    raise _refused(refused, len(puts), doing)


def put_all(operation: Operation, puts: Sequence[Put]) -> list[Refusal | None]:
    """Make changes, many in a batch: the refusal of each, in order."""
    encap, sock = operation.encap, operation.sock
    replaced = [(one.after, encap(one.planned)) for one in puts if one.before is not None and one.after is not None]
    added = [(one.after, encap(one.planned)) for one in puts if one.before is None and one.after is not None]
    deleted = [one.before for one in puts if one.before is not None and one.after is None]
    answers = {
        (True, True): iter(replace_routes(sock, replaced)),
        (False, True): iter(add_routes(sock, added)),
        (True, False): iter(remove_routes(sock, deleted)),
    }
    return [next(answers[one.before is not None, one.after is not None]) for one in puts]


def finish(operation: Operation, keys: Iterable[RouteKey], routes: Routes | None = None) -> None:
    """Decide by the routes what was done, write the ledger, remove what nobody uses. `routes`: as they are now."""
    settle(operation, [key for key in keys if operation.ledger.book.entries[key].planned is not None], routes)
    _write(operation)


def _write(operation: Operation) -> None:
    forget_unused(operation.ledger)
    operation.ledger.write()
    operation.step("done")
    remove_unused_pins(operation.ledger)
    operation.step("cleaned")


def _refused(refused: Sequence[tuple[Put, Refusal]], total: int, doing: str) -> Error:
    errors = [why.error(f"{doing} {key_text(put.key)}") for put, why in refused]
    first = errors[0]
    more = "" if total == 1 else f"; {len(errors)} of {total} routes were refused"
    return type(first)(f"{first}{more}; nothing is changed", first.errno)  # type: ignore[attr-defined]
