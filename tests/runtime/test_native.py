"""Native functions do what the same Python does, stay out of Numba once compiled, and are cached by their code."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routebpf.runtime.memory import (
    Memory,
    atomic_add64,
    bswap16,
    bswap32,
    bswap64,
    clz64,
    cmpxchg64,
    compare,
    copy,
    ctz64,
    fill,
    load8,
    load16,
    load32,
    load64,
    low32,
    lshr,
    move,
    popcount64,
    sext8,
    sext16,
    sext32,
    stack,
    store8,
    store16,
    store32,
    store64,
    udiv,
    uge,
    ugt,
    ule,
    ult,
    urem,
)
from routebpf.runtime.native import closure, native

WORD = st.integers(0, (1 << 64) - 1)
MASK = (1 << 64) - 1


@native
def swaps(room: int, value: int) -> int:
    store64(room, bswap16(value))
    store64(room + 8, bswap32(value))
    store64(room + 16, bswap64(value))
    return 0


@native
def counts(room: int, value: int) -> int:
    store64(room, clz64(value))
    store64(room + 8, ctz64(value))
    store64(room + 16, popcount64(value))
    return 0


@native
def extends(room: int, value: int) -> int:
    store64(room, sext8(value))
    store64(room + 8, sext16(value))
    store64(room + 16, sext32(value))
    store64(room + 24, low32(value))
    return 0


@native
def order(a: int, b: int) -> int:
    return ult(a, b) | ule(a, b) << 1 | ugt(a, b) << 2 | uge(a, b) << 3


@native
def divides(room: int, a: int, b: int) -> int:
    store64(room, udiv(a, b))
    store64(room + 8, urem(a, b))
    store64(room + 16, lshr(a, b & 63))
    store64(room + 24, a * b + (a >> 3))
    return 0


@native
def spreads(room: int, value: int) -> int:
    """Each size, at an address that is not aligned, and back."""
    here = stack(32)
    fill(here, 0, 32)
    store8(here + 1, value)
    store16(here + 3, value)
    store32(here + 7, value)
    store64(here + 13, value)
    store64(room, load8(here + 1))
    store64(room + 8, load16(here + 3))
    store64(room + 16, load32(here + 7))
    store64(room + 24, load64(here + 13))
    return load8(here + 2) | load8(here + 5) | load8(here + 11) | load8(here + 21)


@native
def moves(room: int, size: int) -> int:
    copy(room + 64, room, size)
    move(room + 1, room, size)
    return compare(room + 64, room + 1, size)


@native
def adds_many(address: int, times: int) -> int:
    for _ in range(times):
        atomic_add64(address, 1)
    return 0


@native
def exchanges(address: int, expected: int, new: int) -> int:
    return cmpxchg64(address, expected, new)


def words(memory: Memory, count: int) -> list[int]:
    return list((ctypes.c_uint64 * count).from_address(memory.address))


@given(WORD)
def test_byte_swaps_are_those_of_python(value: int) -> None:
    room = Memory(64)
    swaps(room.address, value)
    expected = [int.from_bytes(value.to_bytes(8, "little")[:size], "big") for size in (2, 4, 8)]
    assert words(room, 3) == expected


@given(WORD)
def test_bit_counts_are_those_of_python(value: int) -> None:
    room = Memory(64)
    counts(room.address, value)
    trailing = (value & -value).bit_length() - 1 if value else 64
    assert words(room, 3) == [64 - value.bit_length(), trailing, value.bit_count()]


@given(WORD)
def test_sign_extension_takes_the_low_bits(value: int) -> None:
    room = Memory(64)
    extends(room.address, value)
    expected = [
        ctypes.c_int8(value).value & MASK,
        ctypes.c_int16(value).value & MASK,
        ctypes.c_int32(value).value & MASK,
        value & 0xFFFFFFFF,
    ]
    assert words(room, 4) == expected


@given(WORD, WORD)
def test_unsigned_order_is_that_of_python(a: int, b: int) -> None:
    assert order(a, b) == (a < b) | (a <= b) << 1 | (a > b) << 2 | (a >= b) << 3


@given(WORD, WORD.filter(bool))
def test_unsigned_division_and_wrapping_arithmetic_are_those_of_python(a: int, b: int) -> None:
    room = Memory(64)
    divides(room.address, a, b)
    arithmetic_shift = ctypes.c_int64(a).value >> 3
    assert words(room, 4) == [a // b, a % b, a >> (b & 63), (a * b + arithmetic_shift) & MASK]


@given(WORD)
def test_stores_touch_their_bytes_only_and_loads_give_them_back(value: int) -> None:
    room = Memory(64)
    assert spreads(room.address, value) == 0
    assert words(room, 4) == [value & 0xFF, value & 0xFFFF, value & 0xFFFFFFFF, value]


def test_overlapping_bytes_are_moved_as_a_whole() -> None:
    room = Memory(128)
    room.write(0, bytes(range(64)))
    assert moves(room.address, 40) == 0
    assert room.read(0, 42) == bytes([0, *range(40), 41])


def test_an_exchange_happens_only_where_the_old_value_is_expected() -> None:
    room = Memory(8)
    assert exchanges(room.address, 5, 6) == 0
    assert words(room, 1) == [0]
    assert exchanges(room.address, 0, 6) == 0
    assert words(room, 1) == [6]


def test_native_code_runs_without_the_gil_and_atomics_lose_nothing() -> None:
    from threading import Thread

    room = Memory(8)
    adds_many(room.address, 1)
    threads = [Thread(target=adds_many, args=(room.address, 200_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert words(room, 1) == [800_001]


def test_memory_refuses_what_is_outside() -> None:
    room = Memory(8)
    with pytest.raises(IndexError):
        room.read(1, 8)
    with pytest.raises(IndexError):
        room.write(-1, b"x")


def test_a_name_that_native_code_cannot_use_is_named() -> None:
    @native
    def bad(value: int) -> int:
        return len(str(value))

    with pytest.raises(TypeError, match="len is no global of a native function"):
        bad(1)


ONE = """
from routebpf.runtime.native import native
K = {constant}
@native
def inner(a: int) -> int:
    return a * {factor}
@native
def outer(a: int) -> int:
    return inner(a) + K
"""


def _keys(constant: int, factor: int) -> tuple[str, str]:
    space: dict[str, object] = {"__name__": "sample"}
    exec(ONE.format(constant=constant, factor=factor), space)
    inner, outer = space["inner"], space["outer"]
    assert [one.symbol for one in closure([outer])] == [outer.symbol, inner.symbol]  # type: ignore[attr-defined]
    return inner.key, outer.key  # type: ignore[attr-defined]


def test_bitcode_depends_on_code_and_constants_and_not_on_what_it_calls() -> None:
    inner, outer = _keys(1, 2)
    assert _keys(1, 2) == (inner, outer)
    assert _keys(9, 2)[0] == inner
    assert _keys(9, 2)[1] != outer
    assert _keys(1, 3)[0] != inner
    assert _keys(1, 3)[1] == outer


WARM = """
import sys
sys.path.insert(0, sys.argv[1])
from sample_of_native import outer
print(outer(5), "numba" in sys.modules)
"""


def test_the_second_process_does_not_import_numba_unless_files_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "sample_of_native.py").write_text(ONE.format(constant=3, factor=7))
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run() -> str:
        command = [sys.executable, "-c", WARM, str(tmp_path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout

    assert (run(), run()) == ("38 True\n", "38 False\n")
    for path in (tmp_path / "cache" / "routebpf").iterdir():
        os.truncate(path, path.stat().st_size // 2)
    assert (run(), run()) == ("38 True\n", "38 False\n")


def test_a_cache_that_cannot_be_written_costs_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from routebpf.runtime import cache

    monkeypatch.setattr(cache, "user_folder", lambda: Path("/proc/nowhere"))
    space: dict[str, object] = {"__name__": "sample_without_cache"}
    exec(ONE.format(constant=11, factor=2), space)
    assert space["outer"](4) == 19  # type: ignore[operator]
