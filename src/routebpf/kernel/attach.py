"""Putting a program on routes that are there: one netlink replace each, with all else of the route as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from routebpf.errors import Error, InputError
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
from routebpf.kernel.attach_targets import (
    NewRoute,
    Prefix,
    Routes,
    Selection,
    check_route,
    choose_route,
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
from routebpf.kernel.route_bulk import Route
from routebpf.kernel.route_identity import RouteKey, key_text, route_text
from routebpf.objects.model import Object, Program

What = Literal["attach", "replace", "create", "unchanged"]
MAX_HEADROOM = 256
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
    """What was done to a route (or would be, in a dry run). `route`: as it was, or as it was made; `had`: programs that
    were there, by hook; `program`: what it is called on the route; `kept_maps`: of the program before it."""

    what: What
    route: Route
    hook: str
    program: str
    had: dict[str, str]
    kept_maps: tuple[str, ...] = ()


class _Target(NamedTuple):
    """A route to be given a program: as it is, or as it is to be made."""

    key: RouteKey
    route: Route
    is_new: bool
    entry: Entry | None
    carries: Carried  # of ours, now


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
) -> list[Attached]:
    """Put a program on the routes of prefixes, all or none. The program is loaded once for all.

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
        targets = _find_targets(operation, prefixes, options)
        chosen: Chosen = {
            earlier: _choose_program(operation, source, program, earlier, options)
            for earlier in {_earlier(one, hook) for one in targets}
        }
        operation.step("loaded")
        if time.monotonic() - listed_at > _STALE_SECONDS:
            _check_unchanged(operation, targets)
        planned = _plan(targets, chosen, hook, options)
        done = [_describe(one, chosen[_earlier(one, hook)], carried, hook) for one, carried in planned]
        changing = [pair for pair, one in zip(planned, done, strict=True) if one.what != "unchanged"]
        if not options.dry_run and changing:
            _change(operation, changing, [chosen[one] for one in {_earlier(one, hook) for one, _ in changing}])
        return done


def _check_unchanged(operation: Operation, targets: Sequence[_Target]) -> None:
    """Loading may take seconds: raise Error if somebody has changed a route meanwhile, which a replace would undo."""
    routes = operation.read([one.key for one in targets])
    for one in targets:
        now = routes.at(one.key)
        is_unchanged = now is None if one.is_new else now is not None and _is_equal(now, one.route)
        if not is_unchanged:
            raise Error(
                f"attach to {key_text(one.key)}: somebody else changed the route while the program was loaded; nothing"
                " is changed, try again"
            )


def _is_equal(one: Route, other: Route) -> bool:
    return one.is_same_but_programs(other) and one.shape.programs == other.shape.programs


def _earlier(target: _Target, hook: str) -> str | None:
    """The program of ours that the route carries, or carried when somebody else changed it."""
    return target.entry.carries.programs.get(hook) if target.entry else None


def _find_targets(operation: Operation, prefixes: Sequence[Prefix], options: AttachOptions) -> list[_Target]:
    """The route of each prefix. Raises one InputError for all that are wrong."""
    routes = operation.list_table({one.family for one in prefixes}, options.selection.table)
    targets: dict[RouteKey, _Target] = {}
    errors: list[InputError] = []
    for prefix in prefixes:
        try:
            one = _find_target(operation, routes, prefix, options)
            targets[one.key] = one
        except InputError as error:
            errors.append(error)
    if errors:
        raise problems(errors, len(prefixes))
    return list(targets.values())


def _find_target(operation: Operation, routes: Routes, prefix: Prefix, options: AttachOptions) -> _Target:
    route = choose_route(routes, prefix, options.selection, operation.devices)
    if route is None:
        if options.create is None:
            raise missing_route(operation.sock, prefix, options.selection, operation.devices)
        made = new_route(operation.sock, prefix, options.selection, options.create, operation.devices)
        return _Target(made.key, made, True, None, _NOTHING)
    check_route(route, operation.devices)
    key = route.key
    entry = operation.ledger.book.entries.get(key)
    there = route.shape.programs
    if entry is not None and is_carried(route, entry.carries):
        return _Target(key, route, False, entry, entry.carries)
    if there and not options.force:
        names = ", ".join(f"{name} ({hook})" for hook, name in there.items())
        raise InputError(
            f"route {route_text(route.full, operation.devices.names)}: it carries a program that was not attached by"
            f" routebpf: {names}; --force replaces it, and detach will not bring it back"
        )
    return _Target(key, route, False, entry, _NOTHING)


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


def _plan(
    targets: Sequence[_Target], chosen: Chosen, hook: str, options: AttachOptions
) -> list[tuple[_Target, Carried]]:
    """What each route is to carry; the same object for routes that carry the same."""
    made: dict[tuple[int, str], Carried] = {}
    found = []
    for one in targets:
        name = chosen[_earlier(one, hook)].name
        kind = (id(one.carries), name)
        planned = made.get(kind)
        if planned is None:
            headroom = one.carries.headroom if options.headroom is None else options.headroom
            planned = made[kind] = Carried({**one.carries.programs, hook: name}, headroom)
        found.append((one, planned))
    return found


def _describe(target: _Target, chosen: ProgramRecord | LoadedProgram, planned: Carried, hook: str) -> Attached:
    kept = chosen.kept_maps if isinstance(chosen, LoadedProgram) else ()
    if target.is_new:
        return Attached("create", target.route, hook, chosen.name, {}, kept)
    had = target.route.shape.programs
    what: What = "unchanged" if planned == target.carries else "replace" if had else "attach"
    return Attached(what, target.route, hook, chosen.name, had, kept)


def _change(
    operation: Operation,
    changing: Sequence[tuple[_Target, Carried]],
    programs: Sequence[ProgramRecord | LoadedProgram],
) -> None:
    puts = []
    with _pinned(operation, programs):
        entries = operation.ledger.book.entries
        for target, planned in changing:
            key, route, is_new, _, carries = target
            entries[key] = Entry(key, _route_before(target), carries, planned)
            puts.append(Put(key, None if is_new else route, carries, route, planned))
        operation.ledger.write()
    operation.step("planned")
    carry_out(operation, puts, "attach to")
    keys = [put.key for put in puts]
    routes = operation.read(keys)
    operation.step("verified")
    finish(operation, keys, routes)
    _verify(operation, puts, routes)


@contextmanager
def _pinned(operation: Operation, programs: Sequence[ProgramRecord | LoadedProgram]) -> Iterator[None]:
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


def _route_before(target: _Target) -> Route | None:
    """The route as it was before anything of ours came to it."""
    if target.is_new:
        return None
    if target.entry is not None and target.carries:
        return target.entry.was
    return target.route


def _verify(operation: Operation, puts: Sequence[Put], routes: Routes) -> None:
    """Routes that were read back: each must carry the program, by its id, and be otherwise what it was."""
    for put in puts:
        route = routes.at(put.key)
        if route is not None and is_carried(route, put.planned):
            if put.before is None or put.before.is_same_but_programs(route):
                continue
            what = f"more of it has changed: it was {route_text(put.before.full, operation.devices.names)}"
        else:
            what = "it does not carry the program: somebody else changed it meanwhile"
        now = route_text(route.full, operation.devices.names) if route else "gone"
        raise Error(f"attach to {key_text(put.key)}: {what}; now it is {now}; see routebpf list")
