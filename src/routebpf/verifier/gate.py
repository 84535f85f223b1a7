"""The gate before the engines: a program that the verifier takes, and that calls nothing which is not here, may run."""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.errors import RejectedError
from routebpf.isa.opcodes import CALL, PSEUDO_CALL, PSEUDO_KFUNC_CALL
from routebpf.objects.btf import Btf
from routebpf.objects.model import MapDefinition, Program
from routebpf.runtime.registry import is_implemented
from routebpf.spec import helper_by_id, helper_name
from routebpf.verifier.fault import Rejected
from routebpf.verifier.structure_facts import Facts, MissingCallError, StructureError, UnknownCallError, rejected
from routebpf.verifier.verify import verify


class RefusedError(RejectedError):
    """The verifier refuses the program: `finding` says all that is known, the message is for a person."""


def admit(program: Program, maps: Sequence[MapDefinition], *, license: str = "GPL", btf: Btf | None = None) -> Facts:
    """Verify `program`, whose maps are defined by `maps` in the order of `program.maps`: what the engines need to know.

    `btf` is the object's. The verdict is that of a 6.18 kernel, whatever machine this is. Raises RefusedError with the
    refusal explained, UnknownCallError and MissingCallError for a helper or kfunc that nobody, or not we, have.
    """
    try:
        facts = verify(program, maps, license=license, btf=btf).facts
    except Rejected as refused:
        _check_known(program, refused)
        from routebpf.verifier.explain import explain
        from routebpf.verifier.explain_text import explanation_text

        text = explanation_text(explain(program, refused.finding, license=license))
        raise RefusedError(f"the verifier refuses {program.name}\n{text}") from None
    for at in sorted(facts.calls):
        name = _called(program, at)
        if name is not None and not is_implemented(name.partition("#")[0]):
            message = f"{name} is not implemented in the embedded host"
            raise rejected(program, StructureError(at, message, "Run it on the kernel host.", MissingCallError))
    return facts


def _check_known(program: Program, refused: Rejected) -> None:
    """Tell apart a call that no kernel has from one that this program may not make."""
    at = refused.finding.at
    one = program.instructions[at] if at is not None and at < len(program.instructions) else None
    if one is not None and one.opcode == CALL and one.src == 0 and helper_by_id(one.imm) is None:
        fault = StructureError(at, refused.finding.message, "No kernel has a helper of that number.", UnknownCallError)
        raise rejected(program, fault) from None


def _called(program: Program, at: int) -> str | None:
    """The helper (with its number) or kfunc that the instruction calls."""
    one = program.instructions[at]
    if one.src == PSEUDO_KFUNC_CALL:
        return program.kfuncs[one.imm].partition("___")[0]
    return None if one.src == PSEUDO_CALL else f"{helper_name(one.imm)}#{one.imm}"
