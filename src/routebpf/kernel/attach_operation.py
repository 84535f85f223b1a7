"""One command that changes routes, from taking the lock to letting it go; and what an interrupted one left.

The order of every change: load, pin, write the ledger (planned), replace in the kernel, read back, write the ledger
(done), unpin what nobody uses. Killed anywhere, the ledger knows both ends of what was under way, and the routes say
which of them is there.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from routebpf.errors import Error, InputError
from routebpf.kernel.attach_targets import Devices, RoutesByPrefix
from routebpf.kernel.attached_programs import forget_unused, namespace_folder, remove_unused_pins
from routebpf.kernel.ledger import (
    Carried,
    Entry,
    Ledger,
    identify,
    locked_ledger,
)
from routebpf.kernel.lwt_encap import BpfEncap, EncapProgram
from routebpf.kernel.namespaces import Namespace, open_route_socket, run_inside
from routebpf.kernel.netlink import Refusal, RouteSocket
from routebpf.kernel.programs import program_at
from routebpf.kernel.route_identity import RouteKey
from routebpf.kernel.routes import KernelRoute, delete_routes, put_routes

Step = Callable[[str], None]
_SHOWN_REFUSALS = 3


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

    def encap(self, carried: Carried) -> BpfEncap | None:
        """The encap that puts programs on a route. Raises InputError if the pin of one is gone."""
        if not carried:
            return None
        programs = {hook: EncapProgram(name, self._fd(carried.programs[hook])) for hook, name in carried.names.items()}
        return BpfEncap(programs.get("in"), programs.get("out"), programs.get("xmit"), carried.headroom)

    def _fd(self, name: str) -> int:
        if name not in self.program_fds:
            record = self.ledger.book.programs.get(name)
            if record is None:
                raise InputError(f"program {name} is not in the ledger {self.ledger.path}")
            self.program_fds[name] = self.held.enter_context(program_at(record.pin)).fd
        return self.program_fds[name]

    def read(self, keys: Iterable[RouteKey]) -> RoutesByPrefix:
        """The routes of the tables that these keys are of, as they are now."""
        found = RoutesByPrefix(self.sock, (), None)
        for family, table in sorted({(key.family, key.table) for key in keys}):
            one = RoutesByPrefix(self.sock, [family], table)
            found.by_key |= one.by_key
            found.by_prefix |= one.by_prefix
        return found


@contextmanager
def open_operation(namespace: Namespace | None, step: Step) -> Iterator[Operation]:
    """Hold the ledger of a namespace; what an interrupted command left undecided is decided first."""
    with ExitStack() as held:
        sock = held.enter_context(open_route_socket(namespace))
        ledger = held.enter_context(locked_ledger(identify(namespace)))
        step("locked")
        devices = Devices(run_inside(namespace, socket.if_nameindex))
        operation = Operation(namespace, sock, ledger, devices, step, held)
        if ledger.is_stale:
            shutil.rmtree(namespace_folder(ledger), ignore_errors=True)
        settle(operation, [one.key for one in ledger.book.entries.values() if one.planned is not None])
        yield operation


def programs_on(route: KernelRoute) -> dict[str, str]:
    """What a route calls the programs on all its ways, by hook. Those of different ways are named side by side."""
    encaps = [hop.encap or BpfEncap() for hop in route.hops]
    found: dict[str, list[str]] = {}
    for encap in encaps:
        for hook, program in encap.programs.items():
            found.setdefault(hook, []).append(program.name)
    programs: dict[str, str] = {}
    for one, names in found.items():
        is_everywhere = len(names) == len(encaps) and len(set(names)) == 1
        programs[one] = names[0] if is_everywhere else ", ".join(names) + " (on some ways)"
    return programs


def is_carried(route: KernelRoute | None, carried: Carried) -> bool:
    """Whether a route carries just these programs."""
    return route is not None and programs_on(route) == carried.names


def settle(operation: Operation, keys: Sequence[RouteKey], routes: RoutesByPrefix | None = None) -> None:
    """Decide for entries with something planned, by what is on the route, if it was done. Only the book changes."""
    if not keys:
        return
    routes = routes or operation.read(keys)
    for key in keys:
        settled = settled_entry(operation.ledger.book.entries[key], routes.at(key))
        if settled is None:
            del operation.ledger.book.entries[key]
        else:
            operation.ledger.book.entries[key] = settled


def settled_entry(entry: Entry, route: KernelRoute | None) -> Entry | None:
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


@dataclass(frozen=True, slots=True)
class Put:
    """A change in the kernel: `before` gives way to `after`. No `before`: it is made; no `after`: it is deleted."""

    entry: Entry
    before: KernelRoute | None
    after: KernelRoute | None


def carry_out(operation: Operation, puts: Sequence[Put], doing: str, old: Mapping[RouteKey, Carried]) -> None:
    """Make changes, all or none: one that is refused has those before it taken back. Raises the refusals' error.

    `old`: what routes carried of ours before.
    """
    refusals = put_all(operation, puts)
    operation.step("replaced")
    refused = [(put, why) for put, why in zip(puts, refusals, strict=True) if why is not None]
    if not refused:
        return
    done = [put for put, why in zip(puts, refusals, strict=True) if why is None]
    put_all(operation, [_reverse(operation, put, old) for put in done])
    finish(operation, [put.entry.key for put in puts])
    raise _refused(refused, len(puts), doing)


def put_all(operation: Operation, puts: Sequence[Put]) -> list[Refusal | None]:
    """Make changes, many in a batch: the refusal of each, in order."""
    replaced = [put.after for put in puts if put.before is not None and put.after is not None]
    added = [put.after for put in puts if put.before is None and put.after is not None]
    deleted = [put.before for put in puts if put.before is not None and put.after is None]
    sock = operation.sock
    answers = {
        (True, True): iter(put_routes(sock, replaced, "change")),
        (False, True): iter(put_routes(sock, added, "add")),
        (True, False): iter(delete_routes(sock, deleted)),
    }
    return [next(answers[put.before is not None, put.after is not None]) for put in puts]


def _reverse(operation: Operation, put: Put, old: Mapping[RouteKey, Carried]) -> Put:
    back = put.before.with_encap(operation.encap(old[put.entry.key])) if put.before else None
    return replace(put, before=put.after, after=back)


def finish(operation: Operation, keys: Sequence[RouteKey], routes: RoutesByPrefix | None = None) -> None:
    """Decide by the routes what was done, write the ledger, remove what nobody uses. `routes`: as they are now."""
    settle(operation, [key for key in keys if operation.ledger.book.entries[key].planned is not None], routes)
    forget_unused(operation.ledger)
    operation.ledger.write()
    operation.step("done")
    remove_unused_pins(operation.ledger)
    operation.step("cleaned")


def _refused(refused: Sequence[tuple[Put, Refusal]], total: int, doing: str) -> Error:
    errors = [why.error(f"{doing} {put.entry.key}") for put, why in refused]
    first = errors[0]
    more = "" if total == 1 else f"; {len(errors)} of {total} routes were refused"
    return type(first)(f"{first}{more}; nothing is changed", first.errno)  # type: ignore[attr-defined]
