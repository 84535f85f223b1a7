"""Functions of the program that helpers and kfuncs call, at once or later.

kernel: kernel/bpf/verifier.c, push_callback_call(), set_…_callback_state().
"""

from __future__ import annotations

from collections.abc import Callable

from routebpf.objects.btf_types import Kind as BtfKind
from routebpf.spec.effects import Callback, Effects
from routebpf.verifier import btf_access
from routebpf.verifier.bounds import S32_MAX, S32_MIN
from routebpf.verifier.fault import Fault, Rule
from routebpf.verifier.maps import MapFacts
from routebpf.verifier.register import (
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    DYNPTR_TYPE_LOCAL,
    PTR_TO_BTF_ID,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    UNKNOWN_SCALAR,
    MapOf,
    Register,
    pointer,
)
from routebpf.verifier.run import Run
from routebpf.verifier.state import Frame, State, push_frame

_MAIN = -1
Arguments = Callable[[Run, list[Register], MapFacts | None], list[Register]]


def push_callback(run: Run, effects: Effects, number: int, one: MapFacts | None) -> None:
    """The function with this number is called; `one` is the map that was passed."""
    assert effects.callback is not None
    function = run.flow.functions[number]
    if effects.is_asynchronous:
        function.is_async_callback = True
        _push_later(run, effects, number, one)
        return
    run.liveness.note_write(run.at, 0)  # what the function writes, it may not: it may not be called
    queued = run.push(function.start)
    caller = queued.frames[-1]
    frame = push_frame(queued, run.at, number)
    arguments = _ARGUMENTS[effects.callback](run, caller.registers, one)
    frame.registers[1 : 1 + len(arguments)] = arguments
    frame.in_callback = True
    frame.returns = (0, 1)
    queued.callback_unroll_depth += 1
    caller.callback_depth += 1
    run.frame.callback_depth = 0


def _push_later(run: Run, effects: Effects, number: int, one: MapFacts | None) -> None:
    """kernel: push_async_cb(): it starts with a fresh stack, and holds nothing."""
    assert effects.callback is not None
    function = run.flow.functions[number]
    frame = Frame(_MAIN, 0, number)
    state = State(frame, function.start)
    state.in_sleepable = effects.callback_sleeps
    arguments = _ARGUMENTS[effects.callback](run, run.regs, one)
    frame.registers[1 : 1 + len(arguments)] = arguments
    frame.in_async_callback = True
    frame.async_entries = run.frame.async_entries + 1
    frame.returns = (S32_MIN, S32_MAX) if effects.callback is Callback.TASK_WORK else (0, 0)
    run.queue(state, function.start)


def _loop(_run: Run, caller: list[Register], _one: MapFacts | None) -> list[Register]:
    return [UNKNOWN_SCALAR, caller[3]]


def _map_element(_run: Run, caller: list[Register], one: MapFacts | None) -> list[Register]:
    if one is None or one.row is None or "for_each_map_elem" not in one.row.helpers:
        raise Fault(Rule.CALLBACK, "callback function not allowed for map", 1)
    held = MapOf(one)
    return [caller[1], pointer(PTR_TO_MAP_KEY, extra=held), pointer(PTR_TO_MAP_VALUE, extra=held), caller[3]]


def _element_of(held: MapOf) -> list[Register]:
    held = MapOf(held.map)
    return [
        pointer(CONST_PTR_TO_MAP, extra=held),
        pointer(PTR_TO_MAP_KEY, extra=held),
        pointer(PTR_TO_MAP_VALUE, extra=held),
    ]


def _timer(_run: Run, caller: list[Register], _one: MapFacts | None) -> list[Register]:
    return _element_of(caller[1].extra)


def _task_work(_run: Run, caller: list[Register], _one: MapFacts | None) -> list[Register]:
    return _element_of(caller[3].extra)


def _memory_area(run: Run, caller: list[Register], _one: MapFacts | None) -> list[Register]:
    area = btf_access.types_of(run).find("vm_area_struct", BtfKind.STRUCT)
    if area is None:
        raise Fault(Rule.BTF, "the kernel has no struct vm_area_struct")
    return [caller[1], pointer(PTR_TO_BTF_ID, extra=area), caller[4]]


def _user_record(run: Run, caller: list[Register], _one: MapFacts | None) -> list[Register]:
    return [pointer(CONST_PTR_TO_DYNPTR, id=run.new_id(), extra=DYNPTR_TYPE_LOCAL), caller[3]]


_ARGUMENTS: dict[Callback, Arguments] = {
    Callback.LOOP: _loop,
    Callback.MAP_ELEMENT: _map_element,
    Callback.TIMER: _timer,
    Callback.VMA: _memory_area,
    Callback.USER_RECORD: _user_record,
    Callback.TASK_WORK: _task_work,
}
