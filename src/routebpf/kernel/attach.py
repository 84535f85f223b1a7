"""Putting a program on routes that are there: one netlink replace each, with all else of the route as it was."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

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
    programs_on,
)
from routebpf.kernel.attach_targets import (
    NewRoute,
    Prefix,
    RoutesByPrefix,
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
)
from routebpf.kernel.ledger import Carried, Entry, ProgramRecord
from routebpf.kernel.namespaces import Namespace
from routebpf.kernel.route_identity import RouteKey, is_same_but_programs, key_of, route_text
from routebpf.kernel.routes import KernelRoute
from routebpf.objects.model import Object, Program

What = Literal["attach", "replace", "create", "unchanged"]
MAX_HEADROOM = 256


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """How to attach. `create`: where to go with a route that is not there. `headroom` in bytes, None: as it is."""

    selection: Selection = field(default_factory=Selection)
    create: NewRoute | None = None
    reset_maps: bool = False
    headroom: int | None = None
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Attached:
    """What was done to a route (or would be, in a dry run). `route`: in words; `had`: programs that were there, by
    hook; `program`: what it is called on the route, "" in a dry run of one not loaded; `kept_maps`: of the program
    before it."""

    what: What
    key: RouteKey
    route: str
    hook: str
    program: str
    had: dict[str, str]
    kept_maps: tuple[str, ...] = ()


@dataclass(slots=True)
class _Target:
    """A route to be given a program: `route` as it is, or as it is to be made."""

    key: RouteKey
    route: KernelRoute
    is_new: bool
    entry: Entry | None
    carries: Carried  # of ours, now

    def earlier(self, hook: str) -> str | None:
        """The program of ours that the route carries, or carried when somebody else changed it."""
        return self.entry.carries.programs.get(hook) if self.entry else None


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
        targets = _find_targets(operation, prefixes, options)
        groups: dict[str | None, list[_Target]] = {}
        for one in targets:
            groups.setdefault(one.earlier(hook), []).append(one)
        chosen = {earlier: _choose_program(operation, source, program, earlier, options) for earlier in groups}
        operation.step("loaded")
        done = {one.key: _describe(operation, one, chosen[one.earlier(hook)], hook, options) for one in targets}
        changing = [one for one in targets if done[one.key].what != "unchanged"]
        if not options.dry_run and changing:
            _change(operation, changing, chosen, hook, options)
        return list(done.values())


def _find_targets(operation: Operation, prefixes: Sequence[Prefix], options: AttachOptions) -> list[_Target]:
    """The route of each prefix. Raises one InputError for all that are wrong."""
    routes = RoutesByPrefix(operation.sock, {one.family for one in prefixes}, options.selection.table)
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


def _find_target(operation: Operation, routes: RoutesByPrefix, prefix: Prefix, options: AttachOptions) -> _Target:
    entries = operation.ledger.book.entries
    route = choose_route(routes, prefix, options.selection, operation.devices)
    if route is None:
        if options.create is None:
            raise missing_route(operation.sock, prefix, options.selection, operation.devices)
        made = new_route(operation.sock, prefix, options.selection, options.create, operation.devices)
        key = key_of(made)
        if prefix.family == socket.AF_INET6 and not key.metric:
            key = key._replace(metric=1024)
        return _Target(key, made, True, None, Carried())
    check_route(route, routes, operation.devices)
    key = key_of(route)
    entry = entries.get(key)
    there = programs_on(route)
    is_ours = entry is not None and is_carried(route, entry.carries)
    if there and not is_ours and not options.force:
        names = ", ".join(f"{name} ({hook})" for hook, name in there.items())
        raise InputError(
            f"route {route_text(route, operation.devices.names)}: it carries a program that was not attached by"
            f" routebpf: {names}; --force replaces it, and detach will not bring it back"
        )
    return _Target(key, route, False, entry, entry.carries if entry and is_ours else Carried())


def _choose_program(
    operation: Operation, source: Object, program: Program, earlier: str | None, options: AttachOptions
) -> ProgramRecord | LoadedProgram:
    """The program for routes that carry `earlier`: one that is loaded already, or a new one with the earlier's maps."""
    before = operation.ledger.book.programs.get(earlier) if earlier else None
    kept = keepable_maps(source, [before]) if before and not options.reset_maps else {}
    if not options.reset_maps:
        for record in find_loaded(operation.ledger, source, program):
            if all(record.maps[name].id == held.id for name, held in kept.items()):
                return record
    loaded = load(source, program, kept, operation.held)
    operation.program_fds[loaded.name] = loaded.kernel.fd
    return loaded


def _next_carried(target: _Target, program: str, hook: str, options: AttachOptions) -> Carried:
    headroom = target.carries.headroom if options.headroom is None else options.headroom
    return Carried({**target.carries.programs, hook: program}, headroom)


def _describe(
    operation: Operation,
    target: _Target,
    chosen: ProgramRecord | LoadedProgram,
    hook: str,
    options: AttachOptions,
) -> Attached:
    had = {} if target.is_new else programs_on(target.route)
    what: What = "create" if target.is_new else "replace" if had else "attach"
    if not target.is_new and _next_carried(target, chosen.name, hook, options) == target.carries:
        what = "unchanged"
    kept = chosen.kept_maps if isinstance(chosen, LoadedProgram) else ()
    text = route_text(target.route, operation.devices.names)
    return Attached(what, target.key, text, hook, chosen.name, had, kept)


def _change(
    operation: Operation,
    targets: Sequence[_Target],
    chosen: dict[str | None, ProgramRecord | LoadedProgram],
    hook: str,
    options: AttachOptions,
) -> None:
    book = operation.ledger.book
    for one in {one.earlier(hook) for one in targets}:
        program = chosen[one]
        if isinstance(program, LoadedProgram):
            pin_program(operation.ledger, program)
    operation.step("pinned")
    puts = []
    old: dict[RouteKey, Carried] = {}
    for target in targets:
        planned = _next_carried(target, chosen[target.earlier(hook)].name, hook, options)
        entry = Entry(target.key, _route_before(target), target.carries, planned)
        after = target.route.with_encap(operation.encap(planned))
        puts.append(Put(entry, None if target.is_new else target.route, after))
        book.entries[target.key] = entry
        old[target.key] = target.carries
    operation.ledger.write()
    operation.step("planned")
    carry_out(operation, puts, "attach to", old)
    routes = operation.read(old)
    operation.step("verified")
    finish(operation, list(old), routes)
    _verify(operation, puts, routes)


def _route_before(target: _Target) -> KernelRoute | None:
    """The route as it was before anything of ours came to it."""
    if target.is_new:
        return None
    if target.entry is not None and target.carries:
        return target.entry.was
    return target.route


def _verify(operation: Operation, puts: Sequence[Put], routes: RoutesByPrefix) -> None:
    """Routes that were read back: each must carry the program, by its id, and be otherwise what it was."""
    for put in puts:
        route = routes.at(put.entry.key)
        planned = put.entry.planned
        assert planned is not None
        if route is not None and is_carried(route, planned):
            if put.before is None or is_same_but_programs(put.before, route):
                continue
            what = f"the kernel changed more of it: it was {route_text(put.before, operation.devices.names)}"
        else:
            what = "it does not carry the program: somebody else changed it meanwhile"
        now = route_text(route, operation.devices.names) if route else "gone"
        raise Error(f"attach to {put.entry.key}: {what}; now it is {now}; see routebpf list")
