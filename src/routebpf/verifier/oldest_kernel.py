"""What a program needs of the kernel, and so the oldest kernel that can take it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from routebpf.isa import FORMS, Kind
from routebpf.isa.opcodes import PSEUDO_CALL, PSEUDO_KFUNC_CALL
from routebpf.objects.model import MapDefinition, Program
from routebpf.spec import CONTEXT_FIELDS, PROGRAM_TYPES, helper_by_id, helper_number, kfunc_by_name, map_type_by_number
from routebpf.spec import instruction_versions as versions
from routebpf.verifier.flow import jump_target
from routebpf.verifier.reach import leads_to
from routebpf.verifier.verify import Verified

Version = tuple[int, int]
_RDONLY_PROG = 1 << 7


@dataclass(frozen=True, slots=True)
class Need:
    """Something that Linux has since a version; `at` is the first instruction that needs it, None for the program as a
    whole. `instead`: what to do for older kernels. `kernel`: what these say, where it is known."""

    what: str
    since: Version
    at: int | None = None
    instead: str = ""
    kernel: str = ""


def needs_of(program: Program, maps: Sequence[MapDefinition], verified: Verified | None) -> list[Need]:
    """What the program needs, the newest first, each once. Of a program that was verified (`verified`), only what can
    be reached counts."""
    found: dict[str, Need] = {}
    for one in (*_of_program(program, maps, verified), *_of_instructions(program, verified), *_of_context(verified)):
        found.setdefault(one.what, one)
    return sorted(found.values(), key=lambda one: one.since, reverse=True)


def oldest_kernel(needs: Iterable[Need]) -> Version:
    """The oldest kernel that has all of it."""
    return max((one.since for one in needs), default=versions.FIRST)


def _need(feature: versions.Feature, at: int | None = None, kernel: str = "") -> Need:
    return Need(feature.name, feature.since, at, feature.instead, kernel)


def _of_program(program: Program, maps: Sequence[MapDefinition], verified: Verified | None) -> Iterator[Need]:
    row = next((one for one in PROGRAM_TYPES if one.name == program.program_type), None)
    if row is not None:
        yield Need(f"{row.name} programs", row.since)
    for definition in maps:
        kind = map_type_by_number(definition.type)
        if kind is not None:
            yield Need(f"maps of type {kind.name} ({definition.name})", max(kind.since, versions.FIRST))
        if definition.flags & _RDONLY_PROG:
            yield _need(versions.READ_ONLY_MAPS)
    if len(program.instructions) > versions.OLD_MOST_INSTRUCTIONS:
        yield _need(versions.LARGE_PROGRAMS)
    if verified is not None and verified.instructions_processed > versions.OLD_MOST_PROCESSED:
        yield _need(versions.LONG_PATHS)


def _of_instructions(program: Program, verified: Verified | None) -> Iterator[Need]:
    reachable = verified.facts.reachable if verified is not None else None
    has_functions = any(
        one.src == PSEUDO_CALL and (form := FORMS[one.opcode]) is not None and form.kind is Kind.CALL
        for at, one in enumerate(program.instructions)
        if reachable is None or reachable[at]
    )
    tail_call = helper_number("bpf_tail_call")
    for at, one in enumerate(program.instructions):
        form = FORMS[one.opcode]
        if form is None or (reachable is not None and not reachable[at]):
            continue
        for feature in versions.features_of(one):
            yield _need(feature, at)
        target = jump_target(at, one, form.kind)
        if target is not None and target <= at and leads_to(program, target, at):
            yield _need(versions.LOOPS, at, f"back-edge from insn {at} to {target}")
        if form.kind is not Kind.CALL:
            continue
        if one.src == PSEUDO_CALL:
            callee = program.function_at(at + 1 + one.imm)
            if callee is not None and callee.is_global:
                yield _need(versions.GLOBAL_FUNCTIONS, at)
        elif one.src == PSEUDO_KFUNC_CALL:
            yield from _of_kfunc(program, at, one.imm)
        else:
            yield from _of_helper(at, one.imm)
            if one.imm == tail_call and has_functions:
                yield _need(versions.TAIL_CALLS_IN_FUNCTIONS, at)


def _of_helper(at: int, number: int) -> Iterator[Need]:
    row = helper_by_id(number)
    if row is not None and row.program_types:
        since = row.lwt_since or row.since
        yield Need(f"{row.name}()", since, at, "", f"unknown func {row.name}#{number}")


def _of_kfunc(program: Program, at: int, index: int) -> Iterator[Need]:
    row = kfunc_by_name(program.kfuncs[index].partition("___")[0]) if index < len(program.kfuncs) else None
    if row is not None:
        instead = f"test for it with bpf_ksym_exists({row.name}), declared __weak"
        yield Need(f"{row.name}()", row.since, at, instead)


def _of_context(verified: Verified | None) -> Iterator[Need]:
    names = {one.offset: one.name for one in CONTEXT_FIELDS}
    for at, access in verified.facts.context.items() if verified is not None else ():
        name = names.get(access.offset, "")
        if name in versions.CONTEXT_SINCE:
            yield Need(f"skb->{name}", versions.CONTEXT_SINCE[name], at)
