"""What more there is to say about some classes of refusal: facts of this program, not of the class."""

from __future__ import annotations

from collections.abc import Callable

from routebpf.isa.opcodes import PSEUDO_CALL
from routebpf.spec import CONTEXT_FIELDS, helper_by_name, kfunc_by_name
from routebpf.verifier.explain_case import Case
from routebpf.verifier.explain_origin import called_name, made_by, packet_moved_by, released_by
from routebpf.verifier.explain_path import source_line
from routebpf.verifier.explain_values import number_text
from routebpf.verifier.register import BASE, MAX_PACKET_OFF, PTR_TO_PACKET


def notes_of(case: Case) -> tuple[str, ...]:
    """Sentences, the most telling first."""
    found = [_NOTES[case.kind](case)] if case.kind in _NOTES else []
    found.append(_callers(case))
    return tuple(filter(None, [case.finding.note, *found]))


def _callers(case: Case) -> str:
    """The helpers and kfuncs that the function at hand is a callback of; the path tells of other calls."""
    calls = [at for at in case.finding.callers if case.program.instructions[at].src != PSEUDO_CALL]
    told = [f"{called_name(case.program, at)}() {_where(case, at)}" for at in reversed(calls)]
    return f"it is a callback of {', inside one of '.join(told)}" if told else ""


def _where(case: Case, at: int) -> str:
    line = source_line(case.program, at)
    return f"in line {line.line}: `{line.text.strip()}`" if line else f"by instruction {at}"


def _about_moved_packet(case: Case) -> str:
    at = packet_moved_by(case.program, case.finding.trace)
    if at is None:
        return ""
    return f"{called_name(case.program, at)}() may have moved it {_where(case, at)}"


def _about_packet(case: Case) -> str:
    register = case.register
    if register is None or register.type & BASE != PTR_TO_PACKET:
        return ""
    if register.range.umax > MAX_PACKET_OFF or register.range.smin < 0:
        return (
            f"the offset that was added to the pointer is {number_text(register.range)}; only one that is known to be "
            "from 0 to 65,535 can be compared with the end: bound it before it is added, as in `offset & 0xff`"
        )
    return ""


def _about_context(case: Case) -> str:
    off = int(case.groups["off"])
    size = int(case.groups["size"])
    held = next((one for one in CONTEXT_FIELDS if one.offset <= off < one.offset + one.size), None)
    if held is None:
        return f"byte {off} of the context belongs to no field"
    name = f"skb->{held.name}"
    if case.is_write and held.read and not held.write:
        return f"{name} is read-only"
    if not held.read and not held.write:
        return f"{name} is for other program types"
    if off != held.offset or size != held.size:
        return f"bytes {off} to {off + size - 1} are not {name} as a whole ({held.size} bytes from {held.offset} on)"
    return f"{name} is at fault"


def _about_helper(case: Case) -> str:
    row = helper_by_name(case.groups["helper"])
    if row is None:
        return ""
    if case.program.program_type in row.program_types:
        needs = f" and {row.capability}" if row.capability else ""
        version = ".".join(map(str, row.lwt_since or row.since))
        return f"{case.program.program_type} programs have it since Linux {version}{needs}"
    if row.program_types:
        return f"it is for {', '.join(sorted(row.program_types))} programs"
    return "it is for program types that are on no route"


def _about_kfunc(case: Case) -> str:
    row = kfunc_by_name(case.groups["kfunc"])
    if row is None:
        return ""
    return f"it is there since Linux {'.'.join(map(str, row.since))}"


def _about_acquired(case: Case) -> str:
    at = int(case.groups["acquired"])
    name = called_name(case.program, at)
    return f"acquired by {name}() {_where(case, at)}" if name else f"acquired {_where(case, at)}"


def _about_unset_byte(case: Case) -> str:
    return f"of its {case.groups['size']} bytes, the one at offset {case.groups['index']} is not set"


def _about_released(case: Case) -> str:
    number = case.finding.register
    made = made_by(case.program, case.finding.trace, number) if number is not None else None
    at = released_by(case.program, case.finding.trace, made) if made is not None else None
    return "" if at is None else f"released by {called_name(case.program, at)}() {_where(case, at)}"


_NOTES: dict[str, Callable[[Case], str]] = {
    "packet-moved": _about_moved_packet,
    "released": _about_released,
    "packet-bounds": _about_packet,
    "context-field": _about_context,
    "helper-of-other-type": _about_helper,
    "kfunc-not-allowed": _about_kfunc,
    "reference-leak": _about_acquired,
    "stack-uninitialised": _about_unset_byte,
}
