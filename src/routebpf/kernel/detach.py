"""Taking programs off routes: each is then exactly the route that it was, or gone where we made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from routebpf.errors import InputError
from routebpf.kernel.attach_operation import (
    Operation,
    Put,
    Step,
    all_or_none,
    carry_out,
    clean,
    finish,
    is_carried,
    no_step,
    open_operation,
)
from routebpf.kernel.attach_targets import Prefix, Routes, Selection, choose_shape, goes_by, problems, table_name
from routebpf.kernel.ledger import Carried, Entry
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.route_bulk import Shape
from routebpf.kernel.route_identity import RouteKey, key_text, read_key, runs

What = Literal["detach", "delete", "gone", "changed"]


class Detached(NamedTuple):
    """What was done to a route (or would be, in a dry run). "gone" and "changed": by others, before; it stays so.

    `had`: programs that were there, by hook; `left`: those of ours that stay; `is_as_before`: it is what it was when we
    came, but for them.
    """

    what: What
    had: dict[str, str]
    left: dict[str, str]
    is_as_before: bool


class _Target(NamedTuple):
    """Routes to take programs off, alike but for their destinations. `shape`: as they are now, None: they are gone.
    `left`: what stays on them of ours."""

    keys: list[RouteKey]
    shape: Shape | None
    entry: Entry | None
    left: Carried


class _Plan(NamedTuple):
    target: _Target
    what: What
    is_as_before: bool


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
) -> dict[RouteKey, Detached]:
    """Take our programs off the routes of prefixes, all or none; None: off all routes of the namespace. Returns what
    was done to each route, in the order of the prefixes.

    `hook`: only that of "in", "out", "xmit". What others put there is only taken off with `force`. Raises InputError
    for a prefix whose route carries nothing of ours: nothing is changed then.
    """
    with open_operation(namespace, on_step) as operation:
        entries = operation.ledger.book.entries
        if prefixes is None:
            chosen: dict[RouteKey, Entry | None] = {key: one for key, one in entries.items() if _has(one, hook)}
            routes = operation.read(chosen)
        else:
            routes = operation.list_table({one.family for one in prefixes}, selection.table)
            chosen = _find(operation, routes, prefixes, selection, hook, force)
        found = _targets(chosen, routes, hook)
        plans = [_plan(one) for one in {id(one): one for one in found.values()}.values()]
        if not dry_run:
            _change(operation, plans)
        return _report(found, plans)


def _targets(chosen: Mapping[RouteKey, Entry | None], routes: Routes, hook: str | None) -> dict[RouteKey, _Target]:
    """The target that each route belongs to."""
    targets: dict[tuple[Shape | None, int], _Target] = {}
    found: dict[RouteKey, _Target] = {}
    for (entry, shape), alike in runs(chosen, chosen.get, routes.by_key.get):
        kind = (shape, id(entry))
        if kind not in targets:
            targets[kind] = _Target([], shape, entry, _left(entry, hook))
        found |= dict.fromkeys(alike, targets[kind])
        targets[kind].keys.extend(alike)
    return found


def _has(entry: Entry, hook: str | None) -> bool:
    return hook is None or hook in entry.carries.programs


def _left(entry: Entry | None, hook: str | None) -> Carried:
    if entry is None or hook is None:
        return _NOTHING
    programs = {one: name for one, name in entry.carries.programs.items() if one != hook}
    return Carried(programs, entry.carries.headroom if programs else 0)


def _find(
    operation: Operation, routes: Routes, prefixes: Sequence[Prefix], selection: Selection, hook: str | None,
    force: bool,
) -> dict[RouteKey, Entry | None]:  # fmt: skip
    """The route of each prefix, and its entry if it has programs of ours. Raises one InputError for all that are
    wrong."""
    by_prefix = _keys_by_prefix(operation, selection.table)
    found: dict[RouteKey, Entry | None] = {}
    errors: list[InputError] = []
    for prefix in prefixes:
        try:
            keys = by_prefix.get(prefix[1:], [])
            key = _find_one(operation, routes, keys, prefix, selection, hook)
            if key is None:
                found[_others(operation, routes, prefix, selection, hook, force)] = None
            else:
                found[key] = operation.ledger.book.entries[key]
        except InputError as error:
            errors.append(error)
    if errors:
        raise problems(errors, len(prefixes))
    return found


def _keys_by_prefix(operation: Operation, table: int) -> dict[tuple[bytes, int], list[RouteKey]]:
    """The keys of the ledger that are of a table, by address and length."""
    found: dict[tuple[bytes, int], list[RouteKey]] = {}
    for key in operation.ledger.book.entries:
        place = read_key(key)
        if place.table == table:
            found.setdefault((place.dst, place.dst_len), []).append(key)
    return found


def _find_one(
    operation: Operation, routes: Routes, keys: list[RouteKey], prefix: Prefix, selection: Selection, hook: str | None
) -> RouteKey | None:
    """Which of the ledger's keys of a prefix is meant, None if it has none."""
    entries = operation.ledger.book.entries
    wanted = [one for one in keys if selection.has(read_key(one)) and _has(entries[one], hook)]
    if selection.device is not None:
        ifindex = operation.devices.index(selection.device)
        wanted = [one for one in wanted if goes_by(routes.by_key.get(one), ifindex)]
    if len(wanted) > 1:
        wanted = [one for one in wanted if routes.by_key.get(one) is not None] or wanted
    if len(wanted) > 1:
        texts = "; ".join(key_text(one) for one in wanted)
        raise InputError(
            f"{prefix}: programs are attached to {texts}; say which with --metric, --tos, --source or --device"
        )
    return wanted[0] if wanted else None


def _others(
    operation: Operation, routes: Routes, prefix: Prefix, selection: Selection, hook: str | None, force: bool
) -> RouteKey:
    """A route that carries a program of somebody else."""
    shape = choose_shape(routes.by_prefix.get(prefix, ()), prefix, selection, operation.devices)
    if shape is None or not shape.programs:
        what = "there is no such route" if shape is None else "its route carries no program"
        raise InputError(f"detach {prefix}: nothing is attached in table {table_name(selection.table)}: {what}")
    names = ", ".join(f"{name} ({at})" for at, name in shape.programs.items())
    if hook is not None and hook not in shape.programs:
        raise InputError(f"detach {prefix}: its route carries no program of hook {hook}, but {names}")
    if not force:
        raise InputError(
            f"detach {prefix}: {names} was not attached by routebpf; --force takes it off, and keeps the route"
        )
    if hook is not None and len(shape.programs) > 1:
        raise InputError(
            f"detach {prefix}: of {names} the kernel tells only the names, so none can stay when another goes; without"
            " --hook all are taken off"
        )
    return RouteKey(shape.place + prefix.address)


def _plan(target: _Target) -> _Plan:
    _, shape, entry, left = target
    if shape is None:
        return _Plan(target, "gone", True)
    if entry is None:
        return _Plan(target, "detach", True)
    if not is_carried(shape, entry.carries):
        return _Plan(target, "changed", True)
    if entry.was is None:
        return _Plan(target, "detach" if left else "delete", True)
    return _Plan(target, "detach", entry.was.is_same_but_programs(shape) and not entry.was.programs)


def _change(operation: Operation, plans: Sequence[_Plan]) -> None:
    entries = operation.ledger.book.entries
    puts = []
    ours: list[RouteKey] = []
    for (keys, shape, entry, left), what, _ in plans:
        if what in ("gone", "changed"):
            for key in keys:
                del entries[key]
            continue
        if entry is not None:
            entries |= dict.fromkeys(keys, entry._replace(planned=left))
            ours += keys
        carries = entry.carries if entry is not None else _NOTHING
        puts.append(Put(keys, shape, carries, None if what == "delete" else shape, left))
    with all_or_none(operation, puts):
        operation.ledger.write()
        operation.step("planned")
        carry_out(operation, puts, "detach from")
        finish(operation, ours)
    clean(operation)


def _report(found: Mapping[RouteKey, _Target], plans: Sequence[_Plan]) -> dict[RouteKey, Detached]:
    """What was done to each route, in the order of `found`."""
    told: dict[int, Detached] = {}
    for target, what, is_as_before in plans:
        left = target.left.names if what == "detach" else {}
        told[id(target)] = Detached(what, target.shape.programs if target.shape else {}, left, is_as_before)
    return {key: told[id(target)] for key, target in found.items()}
