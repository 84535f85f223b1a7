"""Calls of helpers and kfuncs in the interpreter: checked, then made natively; what they give the program.

kernel: kernel/bpf/verifier.c, check_helper_call(), check_kfunc_call(), set_map_elem_callback_state() and its kin.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from routebpf.engine.compiled import implementation_for
from routebpf.engine.interpreter_arguments import Call, MapAtAddress, check_arguments
from routebpf.engine.interpreter_regions import Region
from routebpf.engine.interpreter_state import Frame, Run, Source, StepError
from routebpf.engine.tail_calls import tail_call_target
from routebpf.isa.semantics import MASK64
from routebpf.objects.model import PROG_ARRAY, Program
from routebpf.runtime.cpu import CPU_FAULT
from routebpf.spec import ArgKind, Helper, Kfunc, ReturnKind, helper_by_id, kfunc_by_name
from routebpf.spec.kfunc_row import KfuncArgKind

_MAPS_OF_MAPS = (12, 13)
_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
# What a helper puts into r1, r2, ... of its callback that is an address: of a key or a value of the map that it was
# passed, or of a dynptr.
CALLBACK_ADDRESSES: Mapping[str, Mapping[int, str]] = {
    "bpf_for_each_map_elem": {2: "key", 3: "value"},
    "bpf_timer_set_callback": {2: "key", 3: "value"},
    "bpf_user_ringbuf_drain": {1: "dynptr"},
}
_DYNPTR_BYTES = 16
_READ_ONLY_SLICES = frozenset({"bpf_dynptr_slice"})
_SIZED_RESULT = (ArgKind.CONST_ALLOC_SIZE_OR_ZERO, KfuncArgKind.SIZE, KfuncArgKind.CONSTANT)


@dataclass(slots=True)
class Calls:
    """The calls of a program: `maps` it may hold, by address; `callbacks`: its functions by their addresses.

    `pending`: the calls of helpers that are in progress, the last one innermost. `fault_of` gives the failure of the
    interpreted program whose entry is at an address.
    """

    program: Program
    maps: dict[int, MapAtAddress]
    fault_of: Callable[[int, int], BaseException | None]
    callbacks: dict[int, int] = field(default_factory=dict)

    def helper(self, run: Run, frame: Frame, number: int, pending: list[Call]) -> int | None:
        """Call the helper with id `number`: None, or the r0 of the program that a tail call put in the frame's place.

        Raises StepError.
        """
        row = helper_by_id(number)
        if row is None:
            raise StepError(f"invalid func unknown#{number}")
        if self.program.program_type not in row.program_types:
            raise StepError(f"{self.program.program_type} programs cannot use helper {row.name}#{number}")
        call = check_arguments(run, frame, row, self.maps, self.callbacks)
        if row.name == "bpf_tail_call":
            return self._tail_call(run, frame, call)
        result = self._native(run, frame, call, pending)
        if row.moves_packet:
            run.packet_moved(frame.at)
        source = Source(frame.at, row.name) if row.returns is not None and row.returns.is_pointer else None
        self._give(run, frame, call, result)
        frame.clobber(result, source)
        if row.returns is None or row.returns.kind is ReturnKind.VOID:
            frame.registers[0] = None
        return None

    def kfunc(self, run: Run, frame: Frame, index: int, pending: list[Call]) -> None:
        """Call the kfunc that the program's list has at `index`. Raises StepError."""
        name = self.program.kfuncs[index] if 0 <= index < len(self.program.kfuncs) else f"kfunc#{index}"
        row = kfunc_by_name(name.partition("___")[0])
        if row is None or self.program.program_type not in row.program_types:
            raise StepError(f"calling kernel function {name} is not allowed")
        call = check_arguments(run, frame, row, self.maps, self.callbacks)
        result = self._native(run, frame, call, pending)
        self._give_slice(run, call, result)
        frame.clobber(result, Source(frame.at, row.name) if row.returns_pointer else None)

    def _native(self, run: Run, frame: Frame, call: Call, pending: list[Call]) -> int:
        function = implementation_for(call.row.name, self.program.program_type)
        if function is None:
            raise StepError(f"{call.row.name} is not implemented in the embedded host", "Run it on the kernel host.")
        extra = [frame.registers[number] or 0 for number in range(len(call.values) + 1, function.arity)]
        pending.append(call)
        result = function(run.cpu, *map(signed, [*call.values, *extra])) & MASK64
        pending.pop()
        if run.failure is not None:
            raise run.failure
        run.see_packet()
        for address, size in call.written:
            run.note_written(address, size)
        for region in call.released:
            run.regions.take_back(region)
        if call.ends_dynptr:
            for region in run.regions.given():
                if region.owner == call.dynptr:
                    run.regions.take_back(region)
        return result

    def _give(self, run: Run, frame: Frame, call: Call, result: int) -> None:
        """Let the program use what a helper's result points to."""
        row = call.row
        assert isinstance(row, Helper)
        if result == 0 or row.returns is None:
            return
        if row.returns.kind is ReturnKind.PTR_TO_MAP_VALUE:
            self._give_value(run, call, result)
        elif row.returns.kind is ReturnKind.PTR_TO_MEM:
            size = call.value_of(ArgKind.CONST_ALLOC_SIZE_OR_ZERO) or 0
            is_record = call.dynptr is None
            name = f"the record of {row.name}" if is_record else f"the slice of {row.name}"
            reserved_at = frame.at if is_record else None
            run.regions.give(Region(result, size, name, owner=call.dynptr, reserved_at=reserved_at))

    def _give_value(self, run: Run, call: Call, result: int) -> None:
        one = call.map
        assert one is not None
        if one.type(run) in _MAPS_OF_MAPS:
            self.maps.setdefault(result, MapAtAddress(result, ""))
        else:
            run.regions.give(Region(result, one.value_size(run), f"the value of {one.label}", one.is_writable))

    def _give_slice(self, run: Run, call: Call, result: int) -> None:
        row = call.row
        assert isinstance(row, Kfunc)
        size = call.value_of(*_SIZED_RESULT)
        if result and row.returns_pointer and size:
            writable = row.name not in _READ_ONLY_SLICES
            run.regions.give(Region(result, size, f"the slice of {row.name}", writable, owner=call.dynptr))

    def give_to_callback(self, run: Run, call: Call, arguments: Mapping[int, int]) -> None:
        """Let a callback use the addresses that the helper passes to it."""
        one = call.map
        for number, what in CALLBACK_ADDRESSES.get(call.row.name, {}).items():
            if what == "dynptr":
                run.regions.give(Region(arguments[number], _DYNPTR_BYTES, "the dynptr of the record"))
            elif one is not None:
                size = one.key_size(run) if what == "key" else one.value_size(run)
                is_writable = what == "value" and one.is_writable
                run.regions.give(Region(arguments[number], size, f"the {what} of {one.label}", is_writable))

    def _tail_call(self, run: Run, frame: Frame, call: Call) -> int | None:
        which = call.map
        assert which is not None
        if which.type(run) != PROG_ARRAY:
            raise StepError(f"bpf_tail_call needs a program array; {which.label} is none")
        target = tail_call_target(signed(run.cpu), signed(which.address), signed(frame.read(3)))
        frame.clobber(0)
        frame.registers[0] = None
        if target == 0:
            return None
        result = _ENTRY(target)(run.cpu, run.skb)
        if run.load(run.cpu + CPU_FAULT, 4):
            failure = self.fault_of(target, signed(run.cpu))
            raise failure if failure is not None else StepError("the program that it went on in was stopped")
        run.see_packet()
        return int(result) & MASK64


def signed(value: int) -> int:
    """An unsigned 64-bit number as a signed one."""
    return value - (1 << 64) if value >= 1 << 63 else value
