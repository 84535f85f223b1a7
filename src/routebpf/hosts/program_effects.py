"""Whether a program leaves packet and context as they are: then nothing needs to be copied for it.

It is enough to be right where the answer is yes. A pointer may be one to the packet if it was loaded from the context,
computed from such a one, or loaded from memory once such a one was stored anywhere.
"""

from __future__ import annotations

from routebpf.isa.opcodes import BPF_LOAD_ACQ, FORMS, PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_KFUNC_CALL, Kind
from routebpf.objects.model import Program
from routebpf.spec import helper_by_id
from routebpf.spec.arguments import ArgKind
from routebpf.verifier.facts import Facts
from routebpf.verifier.flow import call_target, jump_target

_PACKET_FIELDS = frozenset({76, 80, 140})  # data, data_end, data_meta
_SOCKET_FIELD = 168  # sk
# Helpers that take the context and leave it and the packet alone. One that takes none cannot reach them, but:
_HARMLESS = frozenset(
    {
        "bpf_skb_load_bytes",
        "bpf_perf_event_output",
        "bpf_get_route_realm",
        "bpf_get_cgroup_classid",
        "bpf_skb_under_cgroup",
        "bpf_skb_get_tunnel_key",
        "bpf_skb_get_tunnel_opt",
    }
)
_HARMFUL = frozenset({"bpf_redirect", "bpf_tail_call"})
_CALLER_SAVED = 0b111111


def is_plain(program: Program, facts: Facts) -> bool:
    """Whether the program writes neither to the packet nor to the context, nor calls what might, nor redirects, nor
    looks at the socket, which only a packet that is copied has."""
    if any(access.is_write or access.offset == _SOCKET_FIELD for access in facts.context.values()):
        return False
    if not all(_is_harmless(program, at) for at in facts.calls):
        return False
    return not _Pass(program, facts).writes_packet()


def _is_harmless(program: Program, at: int) -> bool:
    one = program.instructions[at]
    if one.src == PSEUDO_CALL:
        return True
    if one.src == PSEUDO_KFUNC_CALL:
        return False
    row = helper_by_id(one.imm)
    if row is None or row.name in _HARMFUL:
        return False
    return row.name in _HARMLESS or not any(argument.kind is ArgKind.PTR_TO_CTX for argument in row.arguments)


class _Pass:
    """Which registers may point into the packet before each instruction, as bits, until nothing changes."""

    def __init__(self, program: Program, facts: Facts) -> None:
        self._program = program
        self._facts = facts
        self._before: dict[int, int] = {}
        self._waiting: list[int] = []
        self._is_stored = False  # whether a pointer to the packet was put into memory
        self._is_returned = False  # whether a function may return one

    def writes_packet(self) -> bool:
        while True:
            known = (self._is_stored, self._is_returned)
            self._before.clear()
            self._arrive(0, 0)
            while self._waiting:
                if self._step(self._waiting.pop()):
                    return True
            if known == (self._is_stored, self._is_returned):
                return False

    def _arrive(self, at: int, registers: int) -> None:
        old = self._before.get(at)
        new = registers | (old or 0)
        if new != old:
            self._before[at] = new
            self._waiting.append(at)

    def _step(self, at: int) -> bool:
        """Follow one instruction. Whether it writes to the packet."""
        one = self._program.instructions[at]
        form = FORMS[one.opcode]
        if form is None:
            return True
        registers = self._before[at]
        dst, src = 1 << one.dst, 1 << one.src
        next_at = at + 1
        match form.kind:
            case Kind.ALU if form.wide and form.operator in ("+=", "-=") and form.register:
                registers |= dst if registers & src else 0
            case Kind.ALU if form.wide and form.operator in ("+=", "-="):
                pass
            case Kind.MOV if form.wide and form.register and registers & src:
                registers |= dst
            case Kind.ALU | Kind.MOV | Kind.NEG | Kind.END | Kind.LDSX:
                registers &= ~dst
            case Kind.LDX:
                registers = registers | dst if self._loads_pointer(at, form.size) else registers & ~dst
            case Kind.LDDW:
                registers &= ~dst
                next_at = at + 2
                if one.src == PSEUDO_FUNC:
                    self._arrive(call_target(at, one) or 0, 0)
            case Kind.ST | Kind.STX | Kind.ATOMIC:
                is_load = form.kind is Kind.ATOMIC and one.imm == BPF_LOAD_ACQ
                if registers & dst and not is_load:
                    return True
                self._is_stored |= form.register and bool(registers & src)
                if form.kind is Kind.ATOMIC and self._is_stored:
                    registers |= dst | src | 1
            case Kind.CALL:
                registers = self._call(at, registers)
            case Kind.EXIT:
                self._is_returned |= bool(registers & 1)
                return False
        target = jump_target(at, one, form.kind)
        if target is not None:
            self._arrive(target, registers)
        if form.kind not in (Kind.JA, Kind.GOTOL):
            self._arrive(next_at, registers)
        return False

    def _loads_pointer(self, at: int, size: int) -> bool:
        access = self._facts.context.get(at)
        if access is not None:
            return access.offset in _PACKET_FIELDS
        return size == 8 and self._is_stored

    def _call(self, at: int, registers: int) -> int:
        one = self._program.instructions[at]
        if one.src == PSEUDO_CALL:
            self._arrive(call_target(at, one) or 0, registers & 0b111110)
            return registers & ~_CALLER_SAVED | int(self._is_returned)
        return registers & ~_CALLER_SAVED
