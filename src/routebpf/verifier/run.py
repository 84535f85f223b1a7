"""The verification of a program: what is known of it, where it is, and the loop that follows its paths.

kernel: kernel/bpf/verifier.c, struct bpf_verifier_env, do_check().
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from routebpf.objects.btf import Btf
from routebpf.objects.model import Program
from routebpf.verifier.callees import Callee
from routebpf.verifier.facts import ContextAccess
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.flow import Flow
from routebpf.verifier.liveness import StackLiveness
from routebpf.verifier.maps import MapFacts
from routebpf.verifier.register import (
    BASE,
    MEM_RDONLY,
    NOT_INIT,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_MEM,
    PTR_TO_SOCK_COMMON,
    PTR_TO_XDP_SOCK,
    PTR_UNTRUSTED,
    Register,
)
from routebpf.verifier.state import Checkpoint, Frame, State

if TYPE_CHECKING:
    from routebpf.verifier.loops import Visit

LIMIT_INSTRUCTIONS: Final = 1_000_000
LIMIT_JUMPS: Final = 8192
PATH_ENDS: Final = -1  # what a step gives for an instruction after which its path goes no further
Step = Callable[[], int]
Observer = Callable[["Run"], None]
_DISTINCT_POINTERS = frozenset({PTR_TO_CTX, PTR_TO_SOCK_COMMON, PTR_TO_XDP_SOCK, PTR_TO_BTF_ID, PTR_TO_ARENA})


class Run:
    """What is known of the program, by instruction where it says so, and the path being followed.

    `steps` does what an instruction does to the path, and gives the instruction that is next, or PATH_ENDS.
    """

    def __init__(
        self,
        program: Program,
        maps: Sequence[MapFacts],
        flow: Flow,
        callees: Sequence[Callee | None],
        live: Sequence[tuple[int, ...]],
        loops: Sequence[int],
        *,
        is_gpl: bool,
        btf: Btf | None,
        kernel_btf: Btf | None,
        kernel_version: tuple[int, int],
        privileged: bool,
        observer: Observer | None = None,
    ) -> None:
        self.program = program
        self.maps = maps
        self.flow = flow
        self.callees = callees
        self.live = live
        self.loops = loops
        self.is_gpl = is_gpl
        self.btf = btf
        self.kernel_btf = kernel_btf
        self.kernel_version = kernel_version
        self.privileged = privileged
        self.observer = observer
        self.steps: list[Step] = []
        self.poisons: Mapping[int, str] = {poison.instruction: poison.reason for poison in program.poisons}
        self.liveness = StackLiveness(flow)
        self.arena: MapFacts | None = None
        self.cpus = 1
        self.may_write_packet = program.program_type == "LWT_XMIT"
        self.is_may_goto = [False] * len(program.instructions)

        self.at = 0
        self.ids = 0
        self.state = State(Frame(-1, 0, 0), 0)
        self.frame = self.state.frames[0]
        self.regs = self.frame.registers
        self.depends = self.frame.depends
        self.is_noted = False  # whether this instruction is in the history of jumps already

        self.processed = 0
        self.jumps = 0
        self.processed_at_checkpoint = 0
        self.jumps_at_checkpoint = 0
        self.total_states = 0
        self.waiting: list[tuple[State, int, int]] = []
        self.explored: dict[tuple[int, int], list[Checkpoint]] = {}
        self.visits: dict[tuple[tuple[int, ...], int], Visit] = {}

        count = len(program.instructions)
        self.pointer_types = [NOT_INIT] * count
        self.reachable = bytearray(count)
        self.context: dict[int, ContextAccess] = {}
        self.calls: dict[int, int | None] = {}

    def new_id(self) -> int:
        self.ids += 1
        return self.ids

    def take(self, state: State) -> None:
        """Go on with `state`."""
        self.state = state
        self.enter_frame()

    def enter_frame(self) -> None:
        """The innermost frame is another one."""
        self.frame = self.state.frames[-1]
        self.regs = self.frame.registers
        self.depends = self.frame.depends
        self.liveness.enter(self.state)

    def note_history(self) -> None:
        """kernel: push_jmp_history()."""
        if not self.is_noted:
            self.is_noted = True
            self.state.history_count += 1

    def push(self, at: int) -> State:
        """A copy of the state, to be followed later from instruction `at` on (kernel: push_stack())."""
        new = self.state.copy()
        self.queue(new, at)
        if new.parent is not None:
            new.parent.state.branches += 1
        return new

    def queue(self, state: State, at: int) -> None:
        self.waiting.append((state, at, self.at))
        if len(self.waiting) > LIMIT_JUMPS:
            raise Fault(Rule.SIZE, f"The sequence of {len(self.waiting)} jumps is too complex.")

    def in_sleepable(self) -> bool:
        return self.state.in_sleepable

    def in_rcu_section(self) -> bool:
        """kernel: in_rcu_cs()."""
        return self.state.rcu_lock or self.state.locks > 0 or not self.state.in_sleepable

    def read(self, number: int) -> Register:
        """What is in a register. kernel: check_reg_arg(), SRC_OP."""
        register = self.regs[number]
        if register.type == NOT_INIT:
            raise unset(number)
        return register

    def set_scalar(self, number: int, register: Register) -> None:
        """Put a number that comes from nothing known into a register."""
        self.regs[number] = register
        self.depends[number] = 0

    def is_leak(self, register: Register) -> bool:
        """kernel: is_pointer_value()."""
        return not self.privileged and register.type != 1

    def note_pointer_type(self, kind: int, allow_trust_mismatch: bool = False) -> None:
        """One instruction must not access what is accessed in different ways (kernel: save_aux_ptr_type())."""
        known = self.pointer_types[self.at]
        if known == kind:
            return
        if known == NOT_INIT:
            self.pointer_types[self.at] = kind
            return
        if kind & BASE not in _DISTINCT_POINTERS and known & BASE not in _DISTINCT_POINTERS:
            return
        bases = {kind & BASE, known & BASE}
        if not allow_trust_mismatch or not bases <= {PTR_TO_MEM, PTR_TO_BTF_ID}:
            raise Fault(Rule.POINTER, "same insn cannot be used with different pointers")
        merged = PTR_TO_MEM if PTR_TO_MEM in bases else PTR_TO_BTF_ID
        self.pointer_types[self.at] = merged | (kind | known) & (PTR_UNTRUSTED | MEM_RDONLY)


def unset(number: int) -> Fault:
    """The fault of reading a register that nothing was put into."""
    return Fault(Rule.UNSET, f"R{number} !read_ok", number)


def follow(
    run: Run, state: State, start: int, visited: Callable[[Run, int], bool], ended: Callable[[Run], None]
) -> None:
    """Follow every path from instruction `start` on (kernel: do_check()).

    `visited` says at a pruning point that what follows is known to be safe; `ended` is told when a path ends. Raises
    Fault; `run.at` is the instruction.
    """
    prune, jumps, steps, reachable = run.flow.prune, run.flow.jumps, run.steps, run.reachable
    observer = run.observer
    count = len(steps)
    run.take(state)
    at, previous = start, -1
    while True:
        run.is_noted = False
        run.at = at
        if at >= count:
            raise Fault(Rule.STRUCTURE, f"invalid insn idx {at} insn_cnt {count}")
        run.processed += 1
        if run.processed > LIMIT_INSTRUCTIONS:
            raise Fault(Rule.SIZE, f"BPF program is too large. Processed {run.processed} insn")
        state = run.state
        state.last = previous
        state.at = at
        if prune[at] and visited(run, at):
            following = PATH_ENDS
        else:
            if jumps[at]:
                run.is_noted = True
                state.history_count += 1
                state.history.append((previous, at))
            if observer is not None:
                observer(run)
            reachable[at] = 1
            previous = at
            following = steps[at]()
        if following >= 0:
            at = following
            continue
        ended(run)
        run.liveness.update(run.state)
        if not run.waiting:
            return
        state, at, previous = run.waiting.pop()
        run.take(state)
