"""Random straight-line programs with forward jumps, and every opcode by itself, against the running kernel."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from three_machines import INPUTS, REGISTERS, SLOTS, State, agree, around

from routebpf.isa import FORMS, Form, Instruction, Kind
from routebpf.isa.opcodes import ATOMICS, MOVSX_BITS, SIGNED_OPERATORS, AtomicKind

pytestmark = pytest.mark.kernel

_INTERESTING = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 63,
    (1 << 63) - 1,
)
_VALUES = st.one_of(
    st.sampled_from(_INTERESTING),
    st.sampled_from(_INTERESTING).map(lambda value: -value & (1 << 64) - 1),
    st.integers(0, (1 << 64) - 1),
)
_STATES = st.lists(_VALUES, min_size=INPUTS, max_size=INPUTS).map(lambda values: State(tuple(values)))
_NUMBERS = st.one_of(
    st.sampled_from((0, 1, -1, 2, 31, 32, 63, -(1 << 31), (1 << 31) - 1)), st.integers(-(1 << 31), (1 << 31) - 1)
)
_REGISTERS = st.integers(0, REGISTERS - 1)
_SHIFTS = ("<<=", ">>=", "s>>=")
_DIVISIONS = ("/=", "%=")

Draw = Callable[[st.SearchStrategy], object]


def _alu(draw: Draw, form: Form) -> Instruction:
    signed = form.operator in SIGNED_OPERATORS and draw(st.booleans())
    if form.register:
        return Instruction(form.opcode, draw(_REGISTERS), draw(_REGISTERS), int(signed))
    number = draw(_NUMBERS)
    if form.operator in _SHIFTS:
        number %= 64 if form.wide else 32
    if form.operator in _DIVISIONS and number == 0:
        number = 1
    return Instruction(form.opcode, draw(_REGISTERS), 0, int(signed), number)


def _mov(draw: Draw, form: Form) -> Instruction:
    if form.register:
        bits = draw(st.sampled_from((0, *MOVSX_BITS[form.wide])))
        return Instruction(form.opcode, draw(_REGISTERS), draw(_REGISTERS), bits)
    return Instruction(form.opcode, draw(_REGISTERS), imm=draw(_NUMBERS))


def _neg(draw: Draw, form: Form) -> Instruction:
    return Instruction(form.opcode, draw(_REGISTERS))


def _end(draw: Draw, form: Form) -> Instruction:
    return Instruction(form.opcode, draw(_REGISTERS), imm=draw(st.sampled_from((16, 32, 64))))


def _offset(draw: Draw, form: Form) -> int:
    return -8 * SLOTS + form.size * draw(st.integers(0, 8 * SLOTS // form.size - 1))


def _load(draw: Draw, form: Form) -> Instruction:
    return Instruction(form.opcode, draw(_REGISTERS), 10, _offset(draw, form))


def _store(draw: Draw, form: Form) -> Instruction:
    if form.register:
        return Instruction(form.opcode, 10, draw(_REGISTERS), _offset(draw, form))
    return Instruction(form.opcode, 10, 0, _offset(draw, form), draw(_NUMBERS))


def _atomic(draw: Draw, form: Form) -> Instruction:
    imm = draw(st.sampled_from([one.imm for one in ATOMICS.values() if form.size in one.sizes]))
    offset = _offset(draw, form)
    if ATOMICS[imm].kind is AtomicKind.LOAD_ACQUIRE:
        return Instruction(form.opcode, draw(_REGISTERS), 10, offset, imm)
    return Instruction(form.opcode, 10, draw(_REGISTERS), offset, imm)


def _branch(draw: Draw, form: Form) -> Instruction:
    offset = draw(st.integers(0, 3))  # made to fit the program when it is complete
    if form.register:
        return Instruction(form.opcode, draw(_REGISTERS), draw(_REGISTERS), offset)
    return Instruction(form.opcode, draw(_REGISTERS), 0, offset, draw(_NUMBERS))


_MAKERS = {
    Kind.ALU: _alu, Kind.MOV: _mov, Kind.NEG: _neg, Kind.END: _end, Kind.LDX: _load, Kind.LDSX: _load,
    Kind.ST: _store, Kind.STX: _store, Kind.ATOMIC: _atomic, Kind.BRANCH: _branch,
}  # fmt: skip
_FORMS = [form for form in FORMS if form is not None and form.kind in _MAKERS]


@st.composite
def _instructions(draw: Draw, form: Form | None = None) -> Instruction:
    form = form or draw(st.sampled_from(_FORMS))
    return _MAKERS[form.kind](draw, form)


@st.composite
def _programs(draw: Draw) -> list[Instruction]:
    body = draw(st.lists(_instructions(), min_size=1, max_size=24))
    return [_within(one, at, len(body)) for at, one in enumerate(body)]


def _within(one: Instruction, at: int, size: int) -> Instruction:
    form = FORMS[one.opcode]
    assert form is not None
    if form.kind is not Kind.BRANCH:
        return one
    return Instruction(one.opcode, one.dst, one.src, min(one.offset, size - at - 1), one.imm)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(_programs(), st.lists(_STATES, min_size=1, max_size=4))
def test_random_programs_leave_the_same_registers_and_stack(body: list[Instruction], states: list[State]) -> None:
    agree(around(body), states)


@pytest.mark.parametrize("form", _FORMS, ids=lambda form: f"{form.opcode:#04x} {form.kind.name} {form.operator}")
def test_each_opcode_does_the_same_on_many_values(form: Form) -> None:
    source = random.Random(form.opcode)
    values = (*_INTERESTING, *(-one & (1 << 64) - 1 for one in _INTERESTING))
    states = [State(tuple(source.choice(values) for _ in range(INPUTS))) for _ in range(12)]

    @settings(max_examples=3, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_instructions(form), min_size=4, max_size=8))
    def run(body: list[Instruction]) -> None:
        agree(around([_within(one, at, len(body)) for at, one in enumerate(body)]), states)

    run()
