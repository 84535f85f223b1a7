"""What the texts of a class may name in braces."""

from __future__ import annotations

import re

from routebpf.isa.opcodes import PSEUDO_CALL
from routebpf.spec import CONTEXT_FIELDS
from routebpf.verifier.explain_case import Case
from routebpf.verifier.explain_origin import called_name, made_by
from routebpf.verifier.explain_path import source_line
from routebpf.verifier.register import BASE, PTR_TO_PACKET

# How what a call gave is released, where the names of the calls do not tell.
_RELEASES = {
    "bpf_ringbuf_reserve": "bpf_ringbuf_submit() or bpf_ringbuf_discard()",
    "bpf_ringbuf_reserve_dynptr": "bpf_ringbuf_submit_dynptr() or bpf_ringbuf_discard_dynptr(), even if it failed",
    "bpf_kptr_xchg": "the release of its type, or bpf_kptr_xchg() into a map",
    "bpf_obj_new_impl": "bpf_obj_drop()",
    "bpf_task_from_pid": "bpf_task_release()",
    "bpf_task_from_vpid": "bpf_task_release()",
    "bpf_cgroup_from_id": "bpf_cgroup_release()",
    "bpf_cgroup_ancestor": "bpf_cgroup_release()",
    "bpf_task_get_cgroup1": "bpf_cgroup_release()",
}
_ASSIGNED = re.compile(r"\b([A-Za-z_]\w*)\s*=(?!=)")
_PAIRS = (("_new", "_destroy"), ("_acquire", "_release"), ("_create", "_release"), ("_save", "_restore"))


# What the kernel calls a type, in words.
_TYPE_WORDS = {
    "scalar": "a number",
    "fp": "the address of a local variable",
    "ctx": "the context",
    "pkt": "a pointer into the packet",
    "pkt_end": "the end of the packet",
    "map_ptr": "a map",
    "map_key": "a pointer to a map's key",
    "map_value": "a pointer to a map's value",
    "mem": "a pointer to memory",
    "rdonly_mem": "a pointer to read-only memory",
    "ringbuf_mem": "a ring buffer record",
    "func": "a function",
    "sock_common": "a socket",
    "sock": "a socket",
    "tcp_sock": "a TCP socket",
    "xdp_sock": "an XDP socket",
    "ptr_": "a kernel object",
    "trusted_ptr_": "a kernel object that is held",
    "rcu_ptr_": "a kernel object in an RCU section",
    "dynptr_ptr": "a dynptr",
}
_NOT_HERE = ("pkt_meta", "buf")  # types that programs of routes never have


class Facts(dict[str, str]):
    """Facts by name; what is not known is "it"."""

    def __missing__(self, name: str) -> str:
        return "it"


def facts_of(case: Case) -> Facts:
    """All that is known."""
    number = case.finding.register
    facts = Facts(case.groups)
    facts["type"] = case.program.program_type
    facts["license"] = case.license or "none"
    facts["do"] = "write" if case.is_write else "read"
    if number is not None:
        facts["reg"] = f"r{number}"
    _add_call(case, facts)
    facts["variable"] = _variable(case)
    _add_packet(case, facts)
    if case.kind == "context-field":
        facts["field"] = _context_field(int(facts["off"]), is_write=case.is_write)
    facts["held_words"] = type_words(facts["held"]) if "held" in facts else "this pointer"
    if "expected" in facts:
        facts["expected_words"] = type_words(facts["expected"])
    if "acquired" in facts:
        facts["release"] = _release(called_name(case.program, int(facts["acquired"])))
    return facts


def _variable(case: Case) -> str:
    """What the source calls the value at fault, by the line that made it; "pointer" if that does not tell."""
    number = case.finding.register
    made = made_by(case.program, case.finding.trace, number, is_pointer=True) if number is not None else None
    line = source_line(case.program, made.at) if made is not None else None
    # Of several in the line, the last one before the place that the instruction comes from.
    names = [found[1] for found in _ASSIGNED.finditer(line.text[: line.letter])] if line is not None else []
    return names[-1] if names else "pointer"


def _context_field(offset: int, *, is_write: bool) -> str:
    held = next((one for one in CONTEXT_FIELDS if one.offset <= offset < one.offset + one.size), None)
    if held is None:
        return f"byte {offset} of the context"
    return f"skb->{held.name} in this way" if (held.write if is_write else held.read) else f"skb->{held.name}"


def type_words(names: str) -> str:
    """Types as the kernel names them ("fp, pkt"), in words."""
    known = [one for one in names.split(", ") if one not in _NOT_HERE]
    words = list(dict.fromkeys(_TYPE_WORDS.get(one, f"a {one.strip('_')} pointer") for one in known))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _add_call(case: Case, facts: Facts) -> None:
    if not case.is_call or case.instruction is None:
        facts.setdefault("callee", "the program")
        facts.setdefault("name", case.program.name)
        return
    name = called_name(case.program, case.at)
    facts["name"] = name
    facts["callee"] = f"{name}()"
    callee, number = case.callee, case.finding.register
    if "position" in facts and number is None:
        number = int(facts["position"]) + 1
    facts["argument"] = f"argument {number}" if number else "an argument"
    row = None if callee is None or case.instruction.src == PSEUDO_CALL else callee.helper or callee.kfunc
    if row is not None and number and number <= len(row.arguments) and row.arguments[number - 1].name:
        facts["argument"] = row.arguments[number - 1].name


def _add_packet(case: Case, facts: Facts) -> None:
    register = case.register
    if register is None and "off" in facts and "size" in facts:
        facts["pointer"] = "data" if "(id=0," in case.finding.message else "pointer"
        facts["end"] = str(int(facts["off"]) + int(facts["size"]))
    if register is None or register.type & BASE != PTR_TO_PACKET:
        return
    is_fixed = register.range.is_const
    facts["pointer"] = "data" if is_fixed else f"(void *){facts['variable']}"
    if "off" in facts and "size" in facts:
        # What the kernel counts from is the pointer before a fixed offset was added to it.
        own = 0 if is_fixed else register.off
        facts["end"] = str(int(facts["off"]) + int(facts["size"]) - own)
    elif case.instruction is not None and case.form is not None:
        own = register.off if is_fixed else 0
        facts["end"] = str(own + case.instruction.offset + case.form.size)


def _release(acquired_by: str) -> str:
    """How to release what a call gave."""
    if acquired_by in _RELEASES:
        return _RELEASES[acquired_by]
    for end, instead in _PAIRS:
        if acquired_by.endswith(end):
            return f"{acquired_by.removesuffix(end)}{instead}()"
    return "the call that releases it"
