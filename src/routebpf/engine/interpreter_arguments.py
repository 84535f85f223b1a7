"""What helpers and kfuncs may be given, checked before they are called: by the argument kinds of `spec`.

kernel: kernel/bpf/verifier.c, check_func_arg(), check_kfunc_args(); here with the values at hand.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from routebpf.engine.interpreter_regions import Region
from routebpf.engine.interpreter_state import Frame, Run, StepError
from routebpf.runtime.map_layout import MAP_KEY_SIZE, MAP_TYPE, MAP_VALUE_SIZE
from routebpf.spec import ArgKind, Argument, Extent, Helper, Kfunc, TypeFlag
from routebpf.spec.kfunc_row import KfuncArgKind, KfuncArgument

_MAX_SIZE = 1 << 29  # kernel: BPF_MAX_VAR_SIZ
_SIZES = (ArgKind.CONST_SIZE, KfuncArgKind.SIZE)


@dataclass(frozen=True, slots=True)
class MapAtAddress:
    """A map that the program may hold: its header is at `address`. `name` is "" for an inner one."""

    address: int
    name: str
    is_writable: bool = True

    @property
    def label(self) -> str:
        return f"map {self.name}" if self.name else "an inner map"

    def type(self, run: Run) -> int:
        return run.load(self.address + MAP_TYPE, 4)

    def key_size(self, run: Run) -> int:
        return run.load(self.address + MAP_KEY_SIZE, 4)

    def value_size(self, run: Run) -> int:
        return run.load(self.address + MAP_VALUE_SIZE, 4)


@dataclass(slots=True)
class Call:
    """A call whose arguments were checked: `values`, as they are passed; what it will write, and what it releases."""

    row: Helper | Kfunc
    values: list[int]
    map: MapAtAddress | None = None
    written: list[tuple[int, int]] = field(default_factory=list)
    released: list[Region] = field(default_factory=list)
    dynptr: int | None = None
    ends_dynptr: bool = False

    @property
    def arguments(self) -> Sequence[Argument | KfuncArgument]:
        return self.row.arguments

    def value_of(self, *kinds: ArgKind | KfuncArgKind) -> int | None:
        """The value of the last argument of one of these kinds."""
        found = [v for one, v in zip(self.arguments, self.values, strict=False) if one.kind in kinds]
        return found[-1] if found else None


def check_arguments(
    run: Run, frame: Frame, row: Helper | Kfunc, maps: dict[int, MapAtAddress], callbacks: Collection[int]
) -> Call:
    """Check r1, r2, ... against `row`. Raises StepError, which names the argument."""
    call = Call(row, [frame.read(number) for number in range(1, len(row.arguments) + 1)])
    for position, one in enumerate(call.arguments):
        if one.kind in (ArgKind.CONST_MAP_PTR, KfuncArgKind.MAP):
            call.map = maps.get(call.values[position])
            if call.map is None:
                raise _bad(call, position, "is no map")
    for position, one in enumerate(call.arguments):
        _check(run, frame, call, position, one, callbacks)
    return call


def _bad(call: Call, position: int, what: str, todo: str = "") -> StepError:
    one = call.arguments[position]
    register = f"r{position + 1} = {call.values[position]:#x}"
    return StepError(f"argument {position + 1} of {call.row.name}, `{one.name}` ({register}), {what}", todo)


def _check(
    run: Run, frame: Frame, call: Call, position: int, one: Argument | KfuncArgument, callbacks: Collection[int]
) -> None:
    value = call.values[position]
    if one.kind in (ArgKind.PTR_TO_CTX, KfuncArgKind.CONTEXT):
        if value != run.skb:
            raise _bad(call, position, "is not the context", "Pass the context as the program got it.")
    elif one.kind in (ArgKind.PTR_TO_FUNC, KfuncArgKind.CALLBACK):
        if value not in callbacks:
            raise _bad(call, position, "is no function of the program")
    elif one.kind in _SIZES and value == 0:
        raise _bad(call, position, "is a size and must not be 0")
    elif one.kind is ArgKind.PTR_TO_STACK:
        if value and not run.regions.stack.holds(value, 1):
            raise _bad(call, position, "must be an address on the stack, or null")
    elif one.extent is Extent.RECORD:
        _release(run, call, position)
    elif one.extent is not Extent.NONE:
        _check_memory(run, frame, call, position, one)
    if one.kind in (ArgKind.PTR_TO_DYNPTR, KfuncArgKind.DYNPTR):
        call.dynptr = value if call.dynptr is None else call.dynptr
        call.ends_dynptr = isinstance(one, Argument) and TypeFlag.OBJ_RELEASE in one.flags


def _release(run: Run, call: Call, position: int) -> None:
    record = run.regions.at(call.values[position])
    if record is None or record.reserved_at is None:
        raise _bad(call, position, "is no record that was reserved, or it is gone already")
    call.released.append(record)


def _check_memory(run: Run, frame: Frame, call: Call, position: int, one: Argument | KfuncArgument) -> None:
    address = call.values[position]
    size = _size(run, call, one, position)
    if address == 0 and (one.may_be_null or size == 0):
        return
    if size > _MAX_SIZE:
        raise _bad(call, position, f"is memory of {size} bytes, beyond what a program can have")
    try:
        source = frame.sources[position + 1]
        region = run.check(address, size, reads=one.reads, writes=_may_write(one), source=source)
    except StepError as stopped:
        raise _bad(call, position, f"is memory of {size} bytes; {stopped.message}", stopped.todo) from None
    if region is not None and region is run.regions.packet and not _reaches_packet(call):
        raise _bad(call, position, "is in the packet, which this helper cannot reach", "Copy it to the stack first.")
    if _may_write(one):
        call.written.append((address, size))


def _reaches_packet(call: Call) -> bool:
    return isinstance(call.row, Kfunc) or call.row.packet_access


def _may_write(one: Argument | KfuncArgument) -> bool:
    return one.writes or (isinstance(one, Argument) and TypeFlag.MEM_UNINIT in one.flags)


def _size(run: Run, call: Call, one: Argument | KfuncArgument, position: int) -> int:
    """The bytes of memory that an argument points to."""
    match one.extent:
        case Extent.ARGUMENT:
            assert one.size_argument is not None
            return call.values[one.size_argument]
        case Extent.FIXED:
            return one.size_bytes
        case Extent.STRING:
            return _string_size(run, call, position)
    if call.map is None:
        raise _bad(call, position, "belongs to a map, and none was passed")
    return call.map.key_size(run) if one.extent is Extent.MAP_KEY else call.map.value_size(run)


def _string_size(run: Run, call: Call, position: int) -> int:
    """The bytes of text with its zero."""
    address = call.values[position]
    size = 1
    while run.regions.find(address, size) is not None:
        if run.load(address + size - 1, 1) == 0:
            return size
        size += 1
    return size
