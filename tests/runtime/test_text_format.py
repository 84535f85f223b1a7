"""Formats and the text that comes of them: bpf_snprintf and bpf_trace_vprintk, against the kernel's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from call_oracle import FUZZ, At, Call, Program, Stack, Step, Store, Text, in_kernel, in_ours
from hypothesis import given, settings
from hypothesis import strategies as st

from routebpf.runtime.cpu import new_cpu
from routebpf.runtime.memory import Memory
from routebpf.runtime.probe import probe
from routebpf.runtime.text_format import bpf_snprintf

# The memory of a program: strings and addresses that arguments point to, then the text that comes out.
STRINGS = [b"", b"x", b"route", b"a" * 63, b"\xe9\x01%d", b"b" * 500, b"c" * 700]
ADDRESSES = [bytes(16), bytes(range(1, 17)), bytes([10, 200, 3, 99] + [0xFE] * 12), b"\xff" * 16]
ROOM = 72
TRACE_ROOM = 1024
MAX_ARGUMENTS = 12


def content() -> tuple[bytes, list[At], list[At]]:
    """The memory's start, where the strings and where the addresses are."""
    data, places = b"", []
    for one in [*(text + b"\0" for text in STRINGS), *ADDRESSES]:
        places.append(At(len(data)))
        data += one
    return data, places[: len(STRINGS)], places[len(STRINGS) :]


DATA, STRING_PLACES, ADDRESS_PLACES = content()
LONG_STRING_PLACES = STRING_PLACES[-2:]
Piece = tuple[str, tuple[Any, ...]]  # part of a format, and the arguments it takes


@dataclass(frozen=True)
class Case:
    """A format, its arguments, and the bytes of room for the text."""

    text: bytes
    arguments: tuple[Any, ...]
    room: int


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 9, 10, 99, 100, -1, 1 << 31, (1 << 31) - 1, -(1 << 63), (1 << 63) - 1, 0xFFFFFFFF]),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
NOWHERE = st.sampled_from([0, 1, 4096, 0xDEAD << 48])
TOLD = st.sampled_from([0, -1, -4095])  # for %p and %pK: the text of any other pointer is the kernel's secret
UNNAMED = st.sampled_from([0, 1, 0xABCDEF, 1 << 62])  # no function of a kernel is there
FLAGS = st.text("0+- ", max_size=3)
WIDTHS = st.sampled_from(["", "", "", "1", "5", "16", "17", "30", "100", "4294967299", "2147483648"])


def conversion(letters: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Piece]:
    parts = st.tuples(FLAGS, WIDTHS, st.sampled_from(letters), values)
    return parts.map(lambda part: ("%" + part[0] + part[1] + part[2], (part[3],)))


PIECES = st.one_of(
    st.text("ab dix%\t\n\x7f\xa1\xe9\xff!4", max_size=4).map(lambda text: (text, ())),
    st.sampled_from(["%%", "|", "z", " "]).map(lambda text: (text, ())),
    conversion(["d", "i", "u", "x", "X", "c"], NUMBERS),
    conversion([size + letter for size in ("l", "ll") for letter in "diuxX"], NUMBERS),
    conversion(["s", "pks"], st.one_of(st.sampled_from(STRING_PLACES), NOWHERE)),
    conversion(["pI4", "pi4", "pI6", "pi6", "pI6c"], st.one_of(st.sampled_from(ADDRESS_PLACES), NOWHERE)),
    conversion(["px"], NUMBERS),
    conversion(["p", "pK"], NUMBERS),
    conversion(["pS", "ps", "pB"], UNNAMED),
    conversion(["pus"], st.just(0)),
    conversion(["", "l", "lll", "ls", "pI", "pI5", "pz", "o", "n", "hd", "zu", ".3d", "*d", "#x"], NUMBERS),
)


@st.composite
def cases(draw: Any) -> Case:
    pieces = draw(st.lists(PIECES, max_size=6))
    arguments = tuple(value for _, values in pieces for value in values)
    extra = draw(st.sampled_from([0, 0, 0, 1, -1]))
    if extra < 0:
        arguments = arguments[:extra]
    arguments = (*arguments, 77)[: len(arguments) + max(extra, 0)][:MAX_ARGUMENTS]
    text = "".join(text for text, _ in pieces).encode("latin-1")
    # A lone percent sign takes the conversion behind it away, and an address would be printed as a number.
    is_shifted = any(piece.count("%") % 2 for piece, values in pieces if not values)
    if is_shifted or re.search(rb"p(K|[^A-Za-z]|$)", text):
        arguments = tuple(draw(TOLD) for _ in arguments)
    return Case(text, arguments, draw(st.sampled_from([ROOM, ROOM, 0, 1, 2, 7, 20])))


def print_steps(cases: list[Case], texts: int) -> list[Step]:
    """Format each by bpf_trace_vprintk, the formats from `texts` on in the memory."""
    steps: list[Step] = []
    for one in cases:
        steps += arguments_on_stack(one)
        steps.append(Call("bpf_trace_vprintk", (At(texts), len(one.text) + 1, *values_of(one))))
        texts += len(one.text) + 1
    return steps


def format_steps(cases: list[Case], rooms: int) -> list[Step]:
    """Format each by bpf_snprintf into its own room, the formats in the read-only memory."""
    steps: list[Step] = []
    text = 0
    for number, one in enumerate(cases):
        steps += arguments_on_stack(one)
        room = At(rooms + number * ROOM)
        steps.append(Call("bpf_snprintf", (room, one.room, Text(text), *values_of(one))))
        text += len(one.text) + 1
    return steps


def arguments_on_stack(one: Case) -> list[Step]:
    return [Store(Stack(8 * number - 8 * MAX_ARGUMENTS), value) for number, value in enumerate(one.arguments)]


def values_of(one: Case) -> tuple[Any, int]:
    return (Stack(-8 * MAX_ARGUMENTS) if one.arguments else 0, 8 * len(one.arguments))


def joined(cases: list[Case]) -> bytes:
    return b"".join(one.text + b"\0" for one in cases)


def is_left_to_chance(one: Case, length: int, room: int) -> bool:
    """Whether the kernel reads memory that it never wrote.

    It goes past an argument that is stored as text only where there is still room; later ones are then misread. And
    text that is to be stored behind a string which filled its 512 bytes is read from where the output of others was.
    """
    if not re.search(rb"p[kuBiI]", one.text) or len(one.arguments) < 2 or length >= 1 << 63:
        return False
    return length >= room or any(long in one.arguments for long in LONG_STRING_PLACES)


def check_against_kernel(cases: list[Case]) -> None:
    every = Program(print_steps(cases, len(DATA)), DATA + joined(cases))
    ours = in_ours(every).results
    theirs = in_kernel(every).results
    printed = [number for number, step in enumerate(every.steps) if isinstance(step, Call)]
    # The kernel's verifier takes no program with a format that is not allowed.
    allowed = []
    for one, number in zip(cases, printed, strict=True):
        if not is_left_to_chance(one, theirs[number], TRACE_ROOM):
            assert ours[number] == theirs[number], one
        if theirs[number] < 1 << 63 and not is_left_to_chance(one, theirs[number], one.room):
            allowed.append(one)
    memory = DATA + b"\xaa" * (ROOM * len(allowed))
    program = Program(format_steps(allowed, len(DATA)), memory, joined(allowed))
    ours, theirs = in_ours(program), in_kernel(program)
    called = [number for number, step in enumerate(program.steps) if isinstance(step, Call)]
    for room, (one, number) in enumerate(zip(allowed, called, strict=True)):
        start = len(DATA) + room * ROOM
        assert ours.memory[start : start + ROOM] == theirs.memory[start : start + ROOM], one
        assert ours.results[number] == theirs.results[number], one


@pytest.mark.kernel
@settings(FUZZ, max_examples=20)
@given(st.lists(cases(), min_size=40, max_size=60))
def test_any_format_gives_the_kernels_length_and_text(made: list[Case]) -> None:
    check_against_kernel(made)


@pytest.mark.kernel
@pytest.mark.parametrize("room", [ROOM, 10, 1, 0])
def test_every_conversion_with_every_flag_gives_the_kernels_text(room: int) -> None:
    made = []
    for flags in ("", "0", "-", "+", " ", "0+", "-+ ", "+0-"):
        for width in ("", "3", "24"):
            for letters in ("d", "i", "u", "x", "X", "ld", "llu", "lx", "c"):
                text = f"<%{flags}{width}{letters}>".encode()
                made += [Case(text, (value,), room) for value in (0, -5, 0x1234ABCD5678EF01)]
            made.append(Case(f"<%{flags}{width}s>".encode(), (STRING_PLACES[2],), room))
            made.append(Case(f"<%{flags}{width}pI4>".encode(), (ADDRESS_PLACES[2],), room))
    for start in range(0, len(made), 200):
        check_against_kernel(made[start : start + 200])


@pytest.mark.kernel
def test_arguments_that_fill_the_kernels_512_bytes_are_as_the_kernels() -> None:
    long, longer = STRING_PLACES[5], STRING_PLACES[6]
    check_against_kernel(
        [
            Case(b"%s%s", (long, long), ROOM),
            Case(b"%s", (longer,), ROOM),
            Case(b"%s%s", (longer, longer), ROOM),
            Case(b"%s%lld", (long, 5), ROOM),
            Case(b"%s%lld%lld", (long, 5, 6), ROOM),
            Case(b"%s%c%d%d", (long, 65, 6, 7), ROOM),
            Case(b"%s%c%d%d%d", (long, 65, 6, 7, 8), ROOM),
            Case(b"%s%pI4", (long, ADDRESS_PLACES[2]), ROOM),
            Case(b"%s%pI6", (long, ADDRESS_PLACES[2]), ROOM),
            Case(b"%s%c", (longer, 65), ROOM),
        ]
    )


@pytest.mark.kernel
def test_addresses_behind_the_end_of_the_room_do_not_count() -> None:
    address = ADDRESS_PLACES[2]
    cases = [Case(text, (STRING_PLACES[3], address, address), 20) for text in (b"%s%pI4|%pI6|", b"%s%pI6%pI6!")]
    program = Program(format_steps(cases, len(DATA)), DATA + bytes(2 * ROOM), joined(cases))
    ours, theirs = in_ours(program), in_kernel(program)
    assert (ours.results, ours.memory) == (theirs.results, theirs.memory)
    assert [one for one in ours.results if one] == [66, 65]


@pytest.mark.kernel
def test_sizes_of_arguments_are_checked_as_the_kernel_does() -> None:
    data = DATA + b"%d\0\0" + bytes(16)
    at = len(DATA)
    steps = [
        Call("bpf_trace_vprintk", (At(at), size, At(0), values_size))
        for size in (1, 2, 3, 4)
        for values_size in (1, 4, 8, 12, 16, 96, 100, 104)
    ]
    steps += [Call("bpf_snprintf", (At(at + 4), 8, Text(0), At(0), size)) for size in (8, 16, 96)]
    steps += [Call("bpf_snprintf", (0, 0, Text(0), At(0), 8)), Call("bpf_snprintf", (At(at), 8, Text(3), 0, 0))]
    program = Program(steps, data, b"%d\0\0")
    ours, theirs = in_ours(program), in_kernel(program)
    assert ours.results == theirs.results
    assert ours.memory == theirs.memory


def test_a_pointers_text_hides_the_pointer_and_is_always_the_same() -> None:
    cpu, _scratch = new_cpu(0)
    memory = Memory(256)
    memory.write(0, b"%p %p %pK\0")
    memory.write(64, (0x1122334455667788).to_bytes(8, "little") * 3)
    assert bpf_snprintf(cpu.address, memory.address + 128, 128, memory.address, memory.address + 64, 24) == 51
    first, second, third = memory.read(128, 50).decode().split()
    assert first == second == third
    assert first.startswith("00000000")
    assert first[8:] != "55667788"


def test_memory_that_is_not_there_is_read_up_to_its_end() -> None:
    import ctypes
    import mmap

    pages = mmap.mmap(-1, 3 * mmap.PAGESIZE)
    pages[: mmap.PAGESIZE] = b"r" * mmap.PAGESIZE
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    room = Memory(512)
    assert probe(room.address, start + mmap.PAGESIZE - 10, 100) == 10
    assert room.read(0, 11) == b"r" * 10 + b"\0"
    assert probe(room.address, start + mmap.PAGESIZE, 1) == 0
    assert probe(room.address, 0xDEAD << 48, 8) == 0
