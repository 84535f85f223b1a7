"""Taking programs off routes: each is then exactly the route that it was, or gone where we made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
)
from routebpf.kernel.attach_targets import Prefix, Routes, Selection, choose_route, problems, table_name
from routebpf.kernel.ledger import Carried, Entry
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.route_bulk import Route
from routebpf.kernel.route_identity import RouteKey, key_text, read_key

What = Literal["detach", "delete", "gone", "changed"]


class Detached(NamedTuple):
    """What was done to a route (or would be, in a dry run). "gone" and "changed": by others, before; it stays so.

    `route`: as it was; `had`: programs that were there, by hook; `is_as_before`: it is what it was when we came.
    """

    what: What
    key: RouteKey
    route: Route | None
    had: dict[str, str]
    is_as_before: bool = True


class _Target(NamedTuple):
    key: RouteKey
    route: Route | None
    entry: Entry | None
    left: Carried  # what stays on it of ours


_NOTHING = Carried()


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
        done = [_describe(one) for one in targets]
        if not dry_run:
            _change(operation, targets, done)
        return done


def _all_of_ours(operation: Operation, hook: str | None) -> list[_Target]:
    entries = operation.ledger.book.entries
    routes = operation.read(entries)
    return [_Target(key, routes.at(key), entry, _left(entry, hook)) for key, entry in entries.items()]


def _left(entry: Entry, hook: str | None) -> Carried:
    if hook is None:
        return _NOTHING
    programs = {one: name for one, name in entry.carries.programs.items() if one != hook}
    return Carried(programs, entry.carries.headroom if programs else 0)


def _find(
    operation: Operation, prefixes: Sequence[Prefix], selection: Selection, hook: str | None, force: bool
) -> list[_Target]:
    routes = operation.list_table({one.family for one in prefixes}, selection.table)
    by_prefix = _entries_by_prefix(operation, selection.table)
    targets: dict[RouteKey, _Target] = {}
    errors: list[InputError] = []
    for prefix in prefixes:
        try:
            entries = by_prefix.get((prefix.address, prefix.bits), [])
            one = _find_one(operation, routes, entries, prefix, selection, hook, force)
            targets[one.key] = one
        except InputError as error:
            errors.append(error)
    if errors:
        raise problems(errors, len(prefixes))
    return list(targets.values())


def _entries_by_prefix(operation: Operation, table: int) -> dict[tuple[bytes, int], list[Entry]]:
    """Entries of a table by address and length."""
    found: dict[tuple[bytes, int], list[Entry]] = {}
    for entry in operation.ledger.book.entries.values():
        place = read_key(entry.key)
        if place.table == table:
            found.setdefault((place.dst, place.dst_len), []).append(entry)
    return found


def _find_one(
    operation: Operation, routes: Routes, entries: list[Entry], prefix: Prefix, selection: Selection,
    hook: str | None, force: bool,
) -> _Target:  # fmt: skip
    wanted = [one for one in entries if _is_wanted(one, selection, hook)]
    if selection.device is not None:
        ifindex = operation.devices.index(selection.device)
        wanted = [one for one in wanted if _goes_by(routes.at(one.key), ifindex)]
    if len(wanted) > 1:
        wanted = [one for one in wanted if routes.at(one.key) is not None] or wanted
    if len(wanted) > 1:
        keys = "; ".join(key_text(one.key) for one in wanted)
        raise InputError(f"{prefix}: programs are attached to {keys}; say which with --metric, --tos or --device")
    if wanted:
        return _Target(wanted[0].key, routes.at(wanted[0].key), wanted[0], _left(wanted[0], hook))
    return _others(operation, routes, prefix, selection, force)


def _is_wanted(entry: Entry, selection: Selection, hook: str | None) -> bool:
    place = read_key(entry.key)
    return (
        selection.metric in (None, place.metric)
        and selection.tos in (None, place.tos)
        and (hook is None or hook in entry.carries.programs)
    )


def _goes_by(route: Route | None, ifindex: int) -> bool:
    return route is not None and any(hop.ifindex == ifindex for hop in route.shape.route.hops)


def _others(operation: Operation, routes: Routes, prefix: Prefix, selection: Selection, force: bool) -> _Target:
    """A route that carries a program of somebody else."""
    route = choose_route(routes, prefix, selection, operation.devices)
    there = route.shape.programs if route else {}
    if route is None or not there:
        what = "there is no such route" if route is None else "its route carries no program"
        raise InputError(f"detach {prefix}: nothing is attached in table {table_name(selection.table)}: {what}")
    if not force:
        names = ", ".join(f"{name} ({hook})" for hook, name in there.items())
        raise InputError(
            f"detach {prefix}: {names} was not attached by routebpf; --force takes it off, and keeps the route"
        )
    return _Target(route.key, route, None, _NOTHING)


def _describe(target: _Target) -> Detached:
    key, route, entry, left = target
    if route is None:
        return Detached("gone", key, None, {})
    had = route.shape.programs
    if entry is None:
        return Detached("detach", key, route, had)
    if not is_carried(route, entry.carries):
        return Detached("changed", key, route, had)
    if entry.was is None:
        return Detached("detach" if left else "delete", key, route, had)
    is_as_before = entry.was.is_same_but_programs(route) and not entry.was.shape.programs
    return Detached("detach", key, route, had, is_as_before)


def _change(operation: Operation, targets: Sequence[_Target], done: Sequence[Detached]) -> None:
    entries = operation.ledger.book.entries
    puts = []
    keys = []
    for (key, route, entry, left), one in zip(targets, done, strict=True):
        if one.what in ("gone", "changed"):
            del entries[key]
            continue
        if entry is not None:
            entries[key] = Entry(key, entry.was, entry.carries, left)
            keys.append(key)
        carries = entry.carries if entry is not None else _NOTHING
        puts.append(Put(key, route, carries, None if one.what == "delete" else route, left))
    operation.ledger.write()
    operation.step("planned")
    carry_out(operation, puts, "detach from")
    finish(operation, keys)
