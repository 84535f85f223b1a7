"""One command that changes routes, from taking the lock to letting it go; and what an interrupted one left.

The order of every change: load, pin, write the ledger (planned), replace in the kernel, read back, write the ledger
(done), unpin what nobody uses. Killed anywhere, the ledger knows both ends of what was under way, and the routes say
which of them is there.
"""

from __future__ import annotations

import errno
import gc
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
from routebpf.kernel.namespaces import Namespace, hold_namespace, open_route_socket, run_inside
from routebpf.kernel.netlink import Refusal, RouteSocket
from routebpf.kernel.route_bulk import Alike, Shape, Shapes, add_routes, remove_routes, replace_routes
from routebpf.kernel.route_identity import RouteKey, key_text, runs, tables_of

Step = Callable[[str], None]
_ADVICE = {
    errno.ENETUNREACH: "; a route whose gateway cannot be reached takes no change: give it a way there, or delete it"
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        return Routes(self.sock, sorted(tables_of(keys)), self.shapes)


@contextmanager
def open_operation(namespace: Namespace | None, step: Step) -> Iterator[Operation]:
    """Hold the ledger of a namespace; what an interrupted command left undecided is decided first."""
    with ExitStack() as held:
        held.enter_context(_no_collection())
        namespace = held.enter_context(hold_namespace(namespace))
        sock = held.enter_context(open_route_socket(namespace))
        ledger = held.enter_context(locked_ledger(identify(namespace), namespace))
        step("locked")
        devices = Devices(run_inside(namespace, socket.if_nameindex))
        operation = Operation(namespace, sock, ledger, devices, step, held)
        if ledger.is_stale:
            remove_all_pins(ledger.identity.inode)
        for inode in remove_ledgers_of_gone_namespaces(besides=ledger.identity.inode):
            remove_all_pins(inode)
        undecided = [key for key, one in ledger.book.entries.items() if one.planned is not None]
        if undecided:
            finish(operation, undecided)
            clean(operation)
        else:
            remove_unused_pins(ledger)  # of a command that was killed before it wrote what it was about to do
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


def is_carried(shape: Shape | None, carried: Carried) -> bool:
    """Whether routes of a shape carry just these programs; None: there is no route."""
    return shape is not None and shape.programs == carried.names


def settle(operation: Operation, keys: Collection[RouteKey], routes: Routes | None = None) -> None:
    """Decide for entries with something planned, by what is on the route, if it was done. Only the book changes.
    `routes`: as they are now, None: they are read."""
    if not keys:
        return
    routes = routes or operation.read(keys)
    entries = operation.ledger.book.entries
    decided: dict[tuple[int, Shape | None], tuple[Entry, Entry | None]] = {}  # holds the entry, so that its id stays
    for (entry, shape), alike in runs(keys, entries.get, routes.by_key.get):
        if entry is None:  # what others attached and a detach was to take off
            continue
        kind = (id(entry), shape)
        if kind not in decided:
            decided[kind] = (entry, settled_entry(entry, shape))
        settled = decided[kind][1]
        if settled is not None:
            entries |= dict.fromkeys(alike, settled)
            continue
        for key in alike:
            del entries[key]


def settled_entry(entry: Entry, shape: Shape | None) -> Entry | None:
    """The entry with nothing under way, None if there is nothing of ours on the route then. `shape`: of the route as it
    is now."""
    planned = entry.planned
    if planned is None:
        return entry
    if planned and is_carried(shape, planned):
        return entry.settled(planned)
    # A detach that was done leaves the route bare, or none; an attach that was not done leaves it as it was.
    if entry.carries and (planned or is_carried(shape, entry.carries)):
        return entry.settled(entry.carries)
    return None


class Put(NamedTuple):
    """A change in the kernel of routes that are alike. `before`: as they are, None: they are made. `carried`: what they
    carry then of ours. `after`: what to make, or to put in their place; None: they are deleted."""

    keys: Sequence[RouteKey]
    before: Shape | None
    carried: Carried
    after: Shape | None
    planned: Carried

    def is_done(self, shape: Shape | None) -> bool:
        """Whether a route of that shape, None: one that is not there, is as it is to be."""
        return shape is None if self.after is None else is_carried(shape, self.planned)

    def of(self, shape: Shape) -> Alike:
        """The routes, with that shape."""
        return Alike(shape, [key[-shape.dst_bytes :] for key in self.keys])


@contextmanager
def all_or_none(operation: Operation, puts: Sequence[Put]) -> Iterator[None]:
    """What changes in the kernel meanwhile is taken back if it ends with an error, or with Ctrl-C."""
    book = operation.ledger.book
    entries, programs = dict(book.entries), dict(book.programs)
    try:
        yield
    except BaseException:
        book.entries, book.programs = entries, programs
        with _unbroken(), open_route_socket(operation.namespace) as operation.sock:
            _take_back(operation, puts)  # the old socket may hold answers that nobody read
        raise


@contextmanager
def _unbroken() -> Iterator[None]:
    """What tells the process to end comes to it afterwards. A mask would not do: the kernel then gives the signal to
    another thread, and Python runs its handler in the main thread all the same, and in no other."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before: dict[int, Any] = {}
    try:
        for one in _SIGNALS:
            before[one] = signal.signal(one, lambda number, _: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def _take_back(operation: Operation, puts: Sequence[Put]) -> None:
    keys = [key for one in puts for key in one.keys]
    shape_at = operation.read(keys).by_key.get
    done = [one._replace(keys=[key for key in one.keys if one.is_done(shape_at(key))]) for one in puts]
    put_all(operation, [Put(one.keys, one.after, one.planned, one.before, one.carried) for one in done])
    try:
        finish(operation, keys)
    finally:
        clean(operation)


def carry_out(operation: Operation, puts: Sequence[Put], doing: str) -> None:
    """Make changes. Raises one error for those that are refused."""
    refused = put_all(operation, puts)
    if refused:
        raise _refused(refused, sum(len(one.keys) for one in puts), doing)
    operation.step("replaced")


def put_all(operation: Operation, puts: Sequence[Put]) -> dict[RouteKey, Refusal]:
    """Make changes, many in a batch: those that were refused."""
    encap, sock = operation.encap, operation.sock
    replaced = [one for one in puts if one.before is not None and one.after is not None]
    added = [one for one in puts if one.before is None]
    deleted = [one for one in puts if one.after is None]
    answers = (
        (replaced, replace_routes(sock, [(one.of(one.after), encap(one.planned)) for one in replaced if one.after])),
        (added, add_routes(sock, [(one.of(one.after), encap(one.planned)) for one in added if one.after])),
        (deleted, remove_routes(sock, [one.of(one.before) for one in deleted if one.before])),
    )
    refused: dict[RouteKey, Refusal] = {}
    for changes, refusals in answers:
        keys = [key for one in changes for key in one.keys]
        refused |= {keys[at]: why for at, why in refusals.items()}
    return refused


def finish(operation: Operation, keys: Collection[RouteKey], routes: Routes | None = None) -> None:
    """Decide by the routes what was done, and write the ledger. `routes`: as they are now."""
    with _unbroken():
        settle(operation, keys, routes)
        forget_unused(operation.ledger)
        operation.ledger.write()


def clean(operation: Operation) -> None:
    """Remove what nobody uses, now that the ledger is written."""
    operation.step("done")
    remove_unused_pins(operation.ledger)
    operation.step("cleaned")


def _refused(refused: Mapping[RouteKey, Refusal], total: int, doing: str) -> Error:
    errors = [why.error(f"{doing} {key_text(key)}") for key, why in refused.items()]
    first = errors[0]
    advice = _ADVICE.get(next(iter(refused.values())).errno, "")
    more = "" if total == 1 else f"; {len(errors)} of {total} routes were refused"
    return type(first)(f"{first}{advice}{more}; nothing is changed", first.errno)  # type: ignore[attr-defined]
