"""The gate before the engines: a program that the verifier takes, and that calls nothing which is not here, may run."""

from __future__ import annotations

from collections.abc import Sequence

from routebpf.errors import InputError, MissingError, RejectedError
from routebpf.isa.opcodes import CALL, LDDW, PSEUDO_BTF_ID, PSEUDO_CALL, PSEUDO_KFUNC_CALL
from routebpf.objects.btf import Btf
from routebpf.objects.model import MapDefinition, Program
from routebpf.objects.program_text import message_at
from routebpf.runtime.registry import is_implemented
from routebpf.spec import helper_by_id, helper_name
from routebpf.verifier.btf_access import NO_TYPES
from routebpf.verifier.facts import Facts
from routebpf.verifier.fault import Rejected
from routebpf.verifier.verify import verify

_ELSEWHERE = "Run it on the kernel host: with `--backend kernel`, or by routebpf.KernelHost."


class RefusedError(RejectedError):
    """The verifier refuses the program: `finding` says all that is known, the message is for a person."""


class UnknownCallError(RejectedError, InputError):
    """The program calls what no kernel has: its file is wrong."""


class MissingCallError(RejectedError, MissingError):
    """The program uses what kernels have, and the embedded host has not."""


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
            raise MissingCallError(_told(program, at, message, _ELSEWHERE))
    return facts


def _check_known(program: Program, refused: Rejected) -> None:
    """Tell apart a call that no kernel has from one that this program may not make."""
    at = refused.finding.at
    if at is None or any(one.instruction == at for one in program.poisons):
        return
    if refused.finding.message.startswith(NO_TYPES):
        message = "this is about a kernel object, and the embedded host has none"
        raise MissingCallError(_told(program, at, message, _ELSEWHERE)) from None
    one = program.instructions[at] if at < len(program.instructions) else None
    if one is not None and one.opcode == LDDW and one.src == PSEUDO_BTF_ID:
        message = f"the kernel variable {program.ksyms[one.imm]} is not there on the embedded host"
        raise MissingCallError(_told(program, at, message, _ELSEWHERE)) from None
    if one is not None and one.opcode == CALL and one.src == 0 and helper_by_id(one.imm) is None:
        message = refused.finding.message
        raise UnknownCallError(_told(program, at, message, "No kernel has a helper of that number.")) from None


def _told(program: Program, at: int, message: str, todo: str) -> str:
    """What is wrong with the call at an instruction, and what to do."""
    return f"{message_at('verifying', program, at, message)}\n{todo}"


def _called(program: Program, at: int) -> str | None:
    """The helper (with its number) or kfunc that the instruction calls."""
    one = program.instructions[at]
    if one.src == PSEUDO_KFUNC_CALL:
        return program.kfuncs[one.imm].partition("___")[0]
    return None if one.src == PSEUDO_CALL else f"{helper_name(one.imm)}#{one.imm}"
