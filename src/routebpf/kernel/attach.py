"""Putting a program on routes that are there: one netlink replace each, with all else of the route as it was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Literal, NamedTuple

from routebpf.errors import Error, InputError
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
from routebpf.kernel.attach_targets import (
    NewRoute,
    Prefix,
    Routes,
    Selection,
    check_route,
    choose_shape,
    missing_route,
    new_route,
    problems,
)
from routebpf.kernel.attached_programs import (
    HOOKS,
    LoadedProgram,
    find_loaded,
    keepable_maps,
    load,
    pin_program,
    remove_unused_pins,
)
from routebpf.kernel.ledger import Carried, Entry, ProgramRecord
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.route_bulk import Route, Shape
from routebpf.kernel.route_identity import RouteKey, key_text, route_text, runs
from routebpf.objects.model import Object, Program

What = Literal["attach", "replace", "create", "unchanged"]
MAX_HEADROOM = 256
_MOST_BYTES = 32_000  # of a route in a dump, whose parts are 32 KiB less what the kernel itself needs of them
_STALE_SECONDS = 0.1  # how old a list of routes may be when they are replaced


class AttachOptions(NamedTuple):
    """How to attach. `create`: where to go with a route that is not there. `headroom` in bytes, None: as it is."""

    selection: Selection = Selection()
    create: NewRoute | None = None
    reset_maps: bool = False
    headroom: int | None = None
    force: bool = False
    dry_run: bool = False


class Attached(NamedTuple):
    """What was done to a route (or would be, in a dry run). `program`: what it is called on the route; `had`: programs
    that were there, by hook; `kept_maps`: of the program before."""

    what: What
    hook: str
    program: str
    had: dict[str, str]
    kept_maps: tuple[str, ...] = ()


class _Target(NamedTuple):
    """Routes to be given a program, alike but for their destinations: as they are, or as they are to be made.
    `carries`: of ours, now."""

    keys: list[RouteKey]
    shape: Shape
    is_new: bool
    entry: Entry | None
    carries: Carried


class _Plan(NamedTuple):
    """What a target is to carry, and what is told of it."""

    target: _Target
    planned: Carried
    what: What
    chosen: ProgramRecord | LoadedProgram


_NOTHING = Carried()
Chosen = dict[str | None, ProgramRecord | LoadedProgram]


def attach(
    source: Object,
    program: Program,
    prefixes: Sequence[Prefix],
    options: AttachOptions,
    *,
    namespace: Namespace | None = None,
    on_step: Step = no_step,
) -> dict[RouteKey, Attached]:
    """Put a program on the routes of prefixes, all or none. The program is loaded once for all. Returns what was done
    to each route, in the order of the prefixes.

    A route that carries the same program already stays as it is; another program of ours is replaced, and maps whose
    definition is unchanged are kept. What others put there is only replaced with `force`. `on_step` is called with a
    name after each step. Raises InputError for a route that is not there or cannot carry a program, RejectedError for
    a program that the kernel refuses, MapError, MissingError: nothing is changed then.
    """
    hook = HOOKS[program.program_type]
    if options.headroom is not None and not 0 <= options.headroom <= MAX_HEADROOM:
        raise InputError(f"headroom {options.headroom}: the kernel takes 0 to {MAX_HEADROOM} bytes")
    with open_operation(namespace, on_step) as operation:
        listed_at = time.monotonic()
        found = _find_targets(operation, prefixes, options)
        targets = list({id(one): one for one in found.values()}.values())
        chosen: Chosen = {
            earlier: _choose_program(operation, source, program, earlier, options)
            for earlier in {_earlier(one, hook) for one in targets}
        }
        operation.step("loaded")
        if time.monotonic() - listed_at > _STALE_SECONDS:
            _check_unchanged(operation, targets)
        plans = _plan(targets, chosen, hook, options)
        changing = [one for one in plans if one.what != "unchanged"]
        _check_listable(operation, changing)
        if not options.dry_run and changing:
            _change(operation, changing)
        return _report(found, plans, hook)


def _check_unchanged(operation: Operation, targets: Sequence[_Target]) -> None:
    """Loading may take seconds: raise Error if somebody has changed a route meanwhile, which a replace would undo."""
    routes = operation.read(key for one in targets for key in one.keys)
    for one in targets:
        for now, key in routes.shapes_at(one.keys).items():
            is_unchanged = now is None if one.is_new else now is not None and _is_equal(now, one.shape)
            if not is_unchanged:
                raise Error(
                    f"attach to {key_text(key)}: somebody else changed the route while the program was loaded; nothing"
                    " is changed, try again"
                )


def _is_equal(one: Shape, other: Shape) -> bool:
    return one.is_same_but_programs(other) and one.programs == other.programs


def _earlier(target: _Target, hook: str) -> str | None:
    """The program of ours that the routes carry, or carried when somebody else changed them."""
    return target.entry.carries.programs.get(hook) if target.entry else None


def _find_targets(operation: Operation, prefixes: Sequence[Prefix], options: AttachOptions) -> dict[RouteKey, _Target]:
    """The target that the route of each prefix belongs to. Raises one InputError for all that are wrong."""
    routes = operation.list_table({one.family for one in prefixes}, options.selection.table)
    found: dict[RouteKey, _Target] = {}
    known: dict[tuple[Shape, int], _Target] = {}
    errors: list[InputError] = []
    for (there,), alike in runs(prefixes, routes.by_prefix.get):
        try:
            found |= _targets_of(operation, routes, there or (), alike, options, known)
        except InputError:
            for one in alike:  # each has an error of its own
                try:
                    found |= _targets_of(operation, routes, there or (), [one], options, known)
                except InputError as error:
                    errors.append(error)
    if errors:
        raise problems(errors, len(prefixes))
    for (target,), keys in runs(found, found.get):
        target.keys.extend(keys)
    return found


def _targets_of(
    operation: Operation, routes: Routes, there: Sequence[Shape], prefixes: Sequence[Prefix], options: AttachOptions,
    known: dict[tuple[Shape, int], _Target],
) -> dict[RouteKey, _Target]:  # fmt: skip
    """The targets that the routes of prefixes belong to, whose routes are of the same shapes. `known`: by shape and
    entry, those that there are so far."""
    shape = choose_shape(there, prefixes[0], options.selection, operation.devices)
    if shape is None:
        return dict(_make_target(operation, routes, one, options) for one in prefixes)
    found: dict[RouteKey, _Target] = {}
    keys = map(shape.place.__add__, map(attrgetter("address"), prefixes))
    for (entry,), alike in runs(keys, operation.ledger.book.entries.get):
        kind = (shape, id(entry))
        if kind not in known:
            known[kind] = _check_target(operation, shape.route_at(alike[0]), entry, options)
        found |= dict.fromkeys(alike, known[kind])
    return found


def _make_target(
    operation: Operation, routes: Routes, prefix: Prefix, options: AttachOptions
) -> tuple[RouteKey, _Target]:
    """A route that is not there. Raises InputError if it may not be made."""
    if options.create is None:
        raise missing_route(operation.sock, prefix, options.selection, operation.devices)
    made = new_route(operation.sock, prefix, options.selection, options.create, operation.devices)
    there = routes.at(made.key)
    if there is not None:  # for IPv6 metric 0 is 1024
        raise InputError(
            f"{prefix}: the route to make is there: {route_text(there.full, operation.devices.names)}; leave out"
            " --metric, or give another"
        )
    return made.key, _Target([], made.shape, True, None, _NOTHING)


def _check_target(operation: Operation, route: Route, entry: Entry | None, options: AttachOptions) -> _Target:
    """The target of a route that is there, and of those that are like it. Raises InputError if it may have none."""
    check_route(route, operation.devices)
    shape = route.shape
    if entry is not None and is_carried(shape, entry.carries):
        return _Target([], shape, False, entry, entry.carries)
    if shape.programs and not options.force:
        names = ", ".join(f"{name} ({hook})" for hook, name in shape.programs.items())
        raise InputError(
            f"route {route_text(route.full, operation.devices.names)}: it carries a program that was not attached by"
            f" routebpf: {names}; --force replaces it, and detach will not bring it back"
        )
    return _Target([], shape, False, entry, _NOTHING)


def _choose_program(
    operation: Operation, source: Object, program: Program, earlier: str | None, options: AttachOptions
) -> ProgramRecord | LoadedProgram:
    """The program for routes that carry `earlier`: one that is loaded already, or a new one with the earlier's maps."""
    before = operation.ledger.book.programs.get(earlier) if earlier else None
    kept = keepable_maps(source, [before]) if before and not options.reset_maps else {}
    if not options.reset_maps:
        for record in find_loaded(operation.ledger, source, program):
            if all(record.maps[name].id == held.id for name, held in kept.items() if name in record.maps):
                return record
    loaded = load(source, program, kept, operation.held)
    operation.program_fds[loaded.name] = loaded.kernel.fd
    return loaded


def _plan(targets: Sequence[_Target], chosen: Chosen, hook: str, options: AttachOptions) -> list[_Plan]:
    """What each target is to carry; the same object for those that carry the same."""
    made: dict[tuple[int, str], Carried] = {}
    plans = []
    for one in targets:
        program = chosen[_earlier(one, hook)]
        kind = (id(one.carries), program.name)
        planned = made.get(kind)
        if planned is None:
            headroom = one.carries.headroom if options.headroom is None else options.headroom
            planned = made[kind] = Carried({**one.carries.programs, hook: program.name}, headroom)
        plans.append(_Plan(one, planned, _what(one, planned), program))
    return plans


def _check_listable(operation: Operation, plans: Sequence[_Plan]) -> None:
    """Raise InputError for a route so long that the kernel could not list it any more, nor those behind it."""
    for (keys, shape, *_), planned, _, _ in plans:
        encap = operation.encap(planned)
        if encap is not None and shape.listed_bytes(encap) > _MOST_BYTES:
            raise InputError(
                f"route {key_text(keys[0])}: it has {len(shape.route.hops)} next hops, and with programs on all of them"
                " the kernel could not list it any more, nor the routes behind it; give it fewer next hops"
            )


def _what(target: _Target, planned: Carried) -> What:
    if target.is_new:
        return "create"
    if planned == target.carries:
        return "unchanged"
    return "replace" if target.shape.programs else "attach"


def _report(found: Mapping[RouteKey, _Target], plans: Sequence[_Plan], hook: str) -> dict[RouteKey, Attached]:
    """What was done to each route, in the order of `found`."""
    told: dict[int, Attached] = {}
    for target, planned, what, chosen in plans:
        kept = chosen.kept_maps if isinstance(chosen, LoadedProgram) else ()
        told[id(target)] = Attached(
            what, hook, planned.names[hook], {} if target.is_new else target.shape.programs, kept
        )
    return {key: told[id(target)] for key, target in found.items()}


def _change(operation: Operation, plans: Sequence[_Plan]) -> None:
    puts = []
    with _pinned(operation, {one.chosen.name: one.chosen for one in plans}.values()):
        entries = operation.ledger.book.entries
        for target, planned, _, _ in plans:
            keys, shape, is_new, _, carries = target
            entries |= dict.fromkeys(keys, Entry(_shape_before(target), carries, planned))
            puts.append(Put(keys, None if is_new else shape, carries, shape, planned))
    with all_or_none(operation, puts):
        operation.ledger.write()
        operation.step("planned")
        carry_out(operation, puts, "attach to")
        keys = [key for put in puts for key in put.keys]
        routes = operation.read(keys)
        operation.step("verified")
        finish(operation, keys, routes)
    clean(operation)
    _verify(operation, puts, routes)


@contextmanager
def _pinned(operation: Operation, programs: Iterable[ProgramRecord | LoadedProgram]) -> Iterator[None]:
    """New programs are pinned, and no longer if what they are needed for fails."""
    book = operation.ledger.book
    before = dict(book.programs)
    try:
        for program in programs:
            if isinstance(program, LoadedProgram):
                pin_program(operation.ledger, program)
        operation.step("pinned")
        yield
    except BaseException:
        book.programs = before
        remove_unused_pins(operation.ledger)
        raise


def _shape_before(target: _Target) -> Shape | None:
    """The routes as they were before anything of ours came to them."""
    if target.is_new:
        return None
    if target.entry is not None and target.carries:
        return target.entry.was
    return target.shape


def _verify(operation: Operation, puts: Sequence[Put], routes: Routes) -> None:
    """Routes that were read back: each must carry the program, by its id, and be otherwise what it was."""
    for put in puts:
        for shape, key in routes.shapes_at(put.keys).items():
            if shape is not None and is_carried(shape, put.planned):
                if put.before is None or put.before.is_same_but_programs(shape):
                    continue
                before = route_text(put.before.route_at(key).full, operation.devices.names)
                what = f"more of it has changed: it was {before}"
            else:
                what = "it does not carry the program: somebody else changed it meanwhile"
            now = route_text(shape.route_at(key).full, operation.devices.names) if shape else "gone"
            raise Error(f"attach to {key_text(key)}: {what}; now it is {now}; see routebpf list")
