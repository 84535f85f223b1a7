"""Taking programs off routes: each is then exactly the route that it was, or gone where we made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from routebpf.errors import InputError
from routebpf.kernel.attach_operation import (
    Operation,
    Put,
    Step,
    carry_out,
    finish,
    is_carried,
    no_step,
    open_operation,
    programs_on,
)
from routebpf.kernel.attach_targets import (
    Prefix,
    RoutesByPrefix,
    Selection,
    choose_route,
    problems,
)
from routebpf.kernel.ledger import Carried, Entry
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.route_identity import RouteKey, is_same_but_programs, key_of, route_text
from routebpf.kernel.routes import KernelRoute

What = Literal["detach", "delete", "gone", "changed"]


@dataclass(frozen=True, slots=True)
class Detached:
    """What was done to a route (or would be, in a dry run). "gone" and "changed": by others, before; it stays so.

    `had`: programs that were there, by hook; `is_as_before`: the route is now what it was when the program came.
    """

    what: What
    key: RouteKey
    route: str
    had: dict[str, str]
    is_as_before: bool = True


@dataclass(slots=True)
class _Target:
    key: RouteKey
    route: KernelRoute | None
    entry: Entry | None
    left: Carried  # what stays on it of ours


def detach(
    prefixes: Sequence[Prefix] | None,
    selection: Selection,
    *,
    hook: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    namespace: Namespace | None = None,
    on_step: Step = no_step,
) -> list[Detached]:
    """Take our programs off the routes of prefixes, all or none; None: off all routes of the namespace.

    `hook`: only that of "in", "out", "xmit". What others put there is only taken off with `force`. Raises InputError
    for a prefix whose route carries nothing of ours: nothing is changed then.
    """
    with open_operation(namespace, on_step) as operation:
        targets = (
            _all_of_ours(operation, hook) if prefixes is None else _find(operation, prefixes, selection, hook, force)
        )
        done = [_describe(operation, one) for one in targets]
        if not dry_run:
            _change(operation, targets, done)
        return done


def _all_of_ours(operation: Operation, hook: str | None) -> list[_Target]:
    entries = operation.ledger.book.entries
    routes = operation.read(entries)
    return [_Target(key, routes.at(key), entry, _left(entry, hook)) for key, entry in entries.items()]


def _left(entry: Entry, hook: str | None) -> Carried:
    if hook is None:
        return Carried()
    programs = {one: name for one, name in entry.carries.programs.items() if one != hook}
    return Carried(programs, entry.carries.headroom if programs else 0)


def _find(
    operation: Operation, prefixes: Sequence[Prefix], selection: Selection, hook: str | None, force: bool
) -> list[_Target]:
    routes = RoutesByPrefix(operation.sock, {one.family for one in prefixes}, selection.table)
    by_prefix: dict[Prefix, list[Entry]] = {}
    for entry in operation.ledger.book.entries.values():
        key = entry.key
        if key.table == selection.table:
            by_prefix.setdefault(Prefix(key.family, key.dst, key.dst_len), []).append(entry)
    targets: dict[RouteKey, _Target] = {}
    errors: list[InputError] = []
    for prefix in prefixes:
        try:
            one = _find_one(operation, routes, by_prefix.get(prefix, []), prefix, selection, hook, force)
            targets[one.key] = one
        except InputError as error:
            errors.append(error)
    if errors:
        raise problems(errors, len(prefixes))
    return list(targets.values())


def _find_one(
    operation: Operation, routes: RoutesByPrefix, entries: list[Entry], prefix: Prefix, selection: Selection,
    hook: str | None, force: bool,
) -> _Target:  # fmt: skip
    wanted = [
        one
        for one in entries
        if selection.metric in (None, one.key.metric)
        and selection.tos in (None, one.key.tos)
        and (hook is None or hook in one.carries.programs)
    ]
    if selection.device is not None:
        ifindex = operation.devices.index(selection.device)
        wanted = [one for one in wanted if _goes_by(routes.at(one.key), ifindex)]
    if len(wanted) > 1:
        keys = "; ".join(str(one.key) for one in wanted)
        raise InputError(f"{prefix}: programs are attached to {keys}; say which with --metric, --tos or --device")
    if wanted:
        return _Target(wanted[0].key, routes.at(wanted[0].key), wanted[0], _left(wanted[0], hook))
    return _others(operation, routes, prefix, selection, force)


def _goes_by(route: KernelRoute | None, ifindex: int) -> bool:
    return route is not None and any(hop.ifindex == ifindex for hop in route.hops)


def _others(operation: Operation, routes: RoutesByPrefix, prefix: Prefix, selection: Selection, force: bool) -> _Target:
    """A route that carries a program of somebody else."""
    route = choose_route(routes, prefix, selection, operation.devices)
    there = programs_on(route) if route else {}
    if route is None or not there:
        what = "there is no such route" if route is None else "its route carries no program"
        raise InputError(f"detach {prefix}: nothing is attached in table {selection.table}: {what}")
    if not force:
        names = ", ".join(f"{name} ({hook})" for hook, name in there.items())
        raise InputError(
            f"detach {prefix}: {names} was not attached by routebpf; --force takes it off, and keeps the route"
        )
    return _Target(key_of(route), route, None, Carried())


def _describe(operation: Operation, target: _Target) -> Detached:
    route, entry = target.route, target.entry
    if route is None:
        return Detached("gone", target.key, str(target.key), {})
    had = programs_on(route)
    text = route_text(route, operation.devices.names)
    if entry is not None and not is_carried(route, entry.carries):
        return Detached("changed", target.key, text, had)
    if entry is not None and entry.was is None and not target.left:
        return Detached("delete", target.key, text, had)
    was = entry.was if entry else None
    is_as_before = was is None or (is_same_but_programs(was, route) and not programs_on(was))
    return Detached("detach", target.key, text, had, is_as_before)


def _change(operation: Operation, targets: Sequence[_Target], done: Sequence[Detached]) -> None:
    book = operation.ledger.book
    puts = []
    old: dict[RouteKey, Carried] = {}
    for target, one in zip(targets, done, strict=True):
        if one.what in ("gone", "changed"):
            del book.entries[target.key]
            continue
        assert target.route is not None
        entry = target.entry or Entry(target.key, target.route, Carried())
        planned = Entry(entry.key, entry.was, entry.carries, target.left)
        if target.entry is not None:
            book.entries[target.key] = planned
            old[target.key] = entry.carries
        after = None if one.what == "delete" else target.route.with_encap(operation.encap(target.left))
        # A route to delete is named without its encap, which could only be given with its programs' fds.
        before = target.route.with_encap(None) if one.what == "delete" else target.route
        puts.append(Put(planned, before, after))
    operation.ledger.write()
    operation.step("planned")
    carry_out(operation, puts, "detach", old)
    finish(operation, [key for key in old if key in book.entries])
