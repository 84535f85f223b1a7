"""The interpreter: one instruction after the other, every access checked. The reference, and the debugger.

It needs no verified program. What a program must not do stops it with a RuntimeFault that says where and why.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence

from routebpf.engine.compiled import MapFace, ksym_value
from routebpf.engine.interpreter_arguments import Call, MapAtAddress
from routebpf.engine.interpreter_calls import Calls, signed
from routebpf.engine.interpreter_fault import fault_at
from routebpf.engine.interpreter_regions import Region
from routebpf.engine.interpreter_state import Frame, Run, Source, StepError
from routebpf.engine.interpreter_steps import STEPS, Step
from routebpf.isa import FORMS, Form, Instruction, Kind, wide_immediate
from routebpf.isa.opcodes import (
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_IDX,
    PSEUDO_MAP_IDX_VALUE,
)
from routebpf.isa.semantics import MASK64
from routebpf.objects.model import Program
from routebpf.runtime.cpu import CPU_FAULT
from routebpf.runtime.locks import release_held_lock
from routebpf.runtime.memory import write

INSTRUCTION_LIMIT = 10_000_000  # of one run
Observer = Callable[[Program, int, Sequence[int | None]], None]

_I64 = ctypes.c_int64
_ENTRY = ctypes.CFUNCTYPE(_I64, _I64, _I64)
_FUNCTION = ctypes.CFUNCTYPE(_I64, *[_I64] * 6)
_ARGUMENTS = range(1, 6)
_BPF_F_RDONLY_PROG = 1 << 7
_STOP = 1  # what a callback returns so that its caller calls it no more

_by_entry: weakref.WeakValueDictionary[int, InterpretedProgram] = weakref.WeakValueDictionary()


class InterpretedProgram:
    """A program that the interpreter runs.

    `entry` is the address of `i64 entry(i64 cpu, i64 skb)`, as long as this object lives. `fault` is why the last
    run was stopped: then it gave 0 and CPU_FAULT is set. `observer` sees each instruction before it is run: the
    program, its number, and r0 to r10 (None: nothing may be read there).
    """

    def __init__(
        self,
        program: Program,
        maps: Sequence[MapFace],
        *,
        observer: Observer | None = None,
        instruction_limit: int = INSTRUCTION_LIMIT,
    ) -> None:
        self.program = program
        self._faults: dict[int, BaseException] = {}  # by the address of the CPU that was stopped
        self._maps = tuple(maps)
        self._observer = observer
        self._limit = instruction_limit
        self._steps = [_step(one) for one in program.instructions]
        known = {one.address: _known_map(one) for one in maps}
        self._calls = Calls(program, known, _failure_at)
        self._functions: dict[int, tuple[object, int]] = {}  # of callbacks, and their addresses, by first instruction
        self._running = threading.local()
        self._entry = _ENTRY(self._enter)
        self.entry = ctypes.cast(self._entry, ctypes.c_void_p).value or 0
        _by_entry[self.entry] = self

    def run_raw(self, memory: Region) -> int:
        """Run bare instructions with r1 = the address of memory and r2 = its size: r0. Raises RuntimeFault."""
        run = Run(self.program, 0, 0)
        run.regions.give(memory)
        return self._start(run, {1: memory.start, 2: memory.size})

    def _enter(self, cpu: int, skb: int) -> int:
        try:
            run = Run(self.program, cpu & MASK64, skb & MASK64)
            run.see_packet()
            return signed(self._start(run, {1: skb}))
        except BaseException as error:
            self._faults[cpu] = error
            release_held_lock(cpu)
            write(cpu + CPU_FAULT, b"\1\0\0\0")
            return 0

    def take_fault(self, cpu: int) -> BaseException | None:
        """Why it was stopped on the CPU at that address, and then no more; None if it was not."""
        return self._faults.pop(cpu, None)

    def _start(self, run: Run, arguments: Mapping[int, int]) -> int:
        runs: list[tuple[Run, list[Call]]] = self._running.__dict__.setdefault("runs", [])
        runs.append((run, []))
        try:
            return self._call(run, 0, arguments)[0]
        finally:
            runs.pop()

    def _call(
        self, run: Run, start: int, arguments: Mapping[int, int], sources: Sequence[Source | None] = ()
    ) -> tuple[int, Source | None]:
        """Run the function that starts at an instruction, in a new frame: its r0, and where that came from.

        `arguments` by register; `sources` those of r0, r1, ...
        """
        function = self.program.function_at(start)
        name = function.name if function is not None else self.program.name
        frame = run.enter(name, arguments)
        frame.sources[: len(sources)] = sources
        try:
            return self._follow(run, frame, start), frame.sources[0]
        except StepError as stopped:
            raise fault_at(run, frame, stopped) from None
        finally:
            run.leave()

    def _follow(self, run: Run, frame: Frame, start: int) -> int:
        steps, instructions, observer = self._steps, self.program.instructions, self._observer
        at = start
        while True:
            frame.at = at
            if not 0 <= at < len(steps):
                raise StepError(
                    f"instruction {at} does not exist: the program ran out of its {len(steps)} instructions"
                )
            run.count += 1
            if run.count > self._limit:
                raise StepError(f"it ran {self._limit:,} instructions and did not end")
            if observer is not None:
                observer(self.program, at, tuple(frame.registers))
            step, form = steps[at]
            one = instructions[at]
            if step is not None:
                at = step(run, frame, one, form)
            elif form.kind is Kind.EXIT:
                return self._exit(run, frame)
            elif form.kind is Kind.LDDW:
                at = self._wide(run, frame, one)
            else:
                result = self._call_out(run, frame, one)
                if result is not None:
                    return result
                at += 1

    def _exit(self, run: Run, frame: Frame) -> int:
        kept = [one for one in run.regions.given() if one.reserved_at is not None]
        if len(run.frames) == 1 and kept:
            raise StepError(
                f"{kept[0].name}, reserved at instruction {kept[0].reserved_at}, is still there at the end",
                "Submit or discard it on every path.",
            )
        if len(run.frames) == 1:
            return frame.read(0)
        return frame.registers[0] or 0

    def _wide(self, run: Run, frame: Frame, one: Instruction) -> int:
        second = self.program.instructions[frame.at + 1]
        match one.src:
            case s if s == PSEUDO_FUNC:
                value = self._function_address(frame.at + one.imm + 1)
            case s if s == PSEUDO_MAP_IDX:
                value = self._maps[one.imm].address
            case s if s == PSEUDO_MAP_IDX_VALUE:
                value = self._give_value(run, one.imm) + second.imm
            case s if s == PSEUDO_BTF_ID:
                value = ksym_value(self.program, one.imm)
            case _:
                value = wide_immediate(one, second)
        frame.write(one.dst, value & MASK64)
        return frame.at + 2

    def _give_value(self, run: Run, number: int) -> int:
        """The address of the value of a map of global data, which the program may use from now on."""
        one = self._maps[number]
        start = one.value_address()
        size = one.definition.value_size
        writable = not one.definition.read_only and not one.definition.flags & _BPF_F_RDONLY_PROG
        run.regions.give(Region(start, size, f"the value of map {one.definition.name}", writable))
        return start

    def _function_address(self, start: int) -> int:
        made = self._functions.get(start)
        if made is None:
            function = _FUNCTION(lambda _cpu, *arguments: self._call_back(start, arguments))
            made = (function, ctypes.cast(function, ctypes.c_void_p).value or 0)
            self._calls.callbacks[made[1]] = start
            made = self._functions.setdefault(start, made)  # another thread may have been first
        return made[1]

    def _call_back(self, start: int, values: Sequence[int]) -> int:
        """A helper calls a function of the program."""
        run, pending = self._running.runs[-1]
        arguments = {number: value & MASK64 for number, value in zip(_ARGUMENTS, values, strict=True)}
        try:
            self._calls.give_to_callback(run, pending[-1], arguments)
            return signed(self._call(run, start, arguments)[0])
        except BaseException as error:
            run.failure = error
            return _STOP

    def _call_out(self, run: Run, frame: Frame, one: Instruction) -> int | None:
        """A call of any kind: None, or the r0 with which the frame is done."""
        if one.src == PSEUDO_CALL:
            registers = {number: frame.registers[number] for number in _ARGUMENTS}
            arguments = {number: value for number, value in registers.items() if value is not None}
            frame.clobber(*self._call(run, frame.at + one.imm + 1, arguments, frame.sources[:6]))
            return None
        _, pending = self._running.runs[-1]
        if one.src == PSEUDO_KFUNC_CALL:
            self._calls.kfunc(run, frame, one.imm, pending)
            return None
        return self._calls.helper(run, frame, one.imm, pending)


def interpret(
    program: Program,
    maps: Sequence[MapFace],
    *,
    observer: Observer | None = None,
    instruction_limit: int = INSTRUCTION_LIMIT,
) -> InterpretedProgram:
    """A program for the interpreter, verified or not; `maps` in the order of `program.maps`."""
    return InterpretedProgram(program, maps, observer=observer, instruction_limit=instruction_limit)


_NO_FORM = Form(0, Kind.LD_ABS)


def _step(one: Instruction) -> tuple[Step | None, Form]:
    form = FORMS[one.opcode]
    if form is None or max(one.dst, one.src) > 10:
        return _unknown, _NO_FORM
    return STEPS.get(form.kind), form


def _unknown(_run: Run, _frame: Frame, one: Instruction, _form: Form) -> int:
    raise StepError(f"unknown opcode {one.opcode:02x}")


def _known_map(one: MapFace) -> MapAtAddress:
    return MapAtAddress(one.address, one.definition.name, not one.definition.flags & _BPF_F_RDONLY_PROG)


def _failure_at(entry: int, cpu: int) -> BaseException | None:
    found = _by_entry.get(entry)
    return found.take_fault(cpu) if found is not None else None
