"""bpf_strncmp, bpf_strtol and bpf_strtoul, against the kernel's."""

from __future__ import annotations

import pytest
from call_oracle import FUZZ, At, Call, Program, Step, Text, in_kernel, in_ours
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.kernel

NUMBERS = [
    *("0", "7", "-7", "+7", "10", "0x1f", "0X1F", "0x", "0xg", "-0x10", "017", "08", "0", "-", "", " ", "- 5", "--5"),
    *("  42", "\t\n\v\f\r 42", "\xa042", "\x8542", "42 ", "42abc", "abc", "ABCDEFg", "12\x0034"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("18446744073709551615", "18446744073709551616", "-18446744073709551615", "-18446744073709551616"),
    *("ffffffffffffffff", "10000000000000000", "7777777777777777777777", "1777777777777777777777"),
    *("2000000000000000000000", "0" * 62 + "12", "0" * 70 + "1", " " * 70 + "5", "-" + "0" * 62 + "12"),
]
NUMERALS = st.text("0123456789afxX- \t\xa0", max_size=24)
BASES = [0, 8, 10, 16, 2, 1, 31, 32, 10 | 32, 1 << 40]


def check_against_kernel(texts: list[bytes], calls: list[tuple[str, int, int, int]]) -> None:
    """`calls`: the function, which text, its size and the flags. Each has a result of its own in the memory."""
    data, places = b"", []
    for one in texts:
        places.append(len(data))
        data += one + b"\0"
    data = data.ljust(-(-len(data) // 8) * 8, b"\0")
    steps: list[Step] = [
        Call(name, (At(places[which]), size, flags, At(len(data) + 8 * number)))
        for number, (name, which, size, flags) in enumerate(calls)
    ]
    program = Program(steps, data + b"\xaa" * 8 * len(calls))
    ours, theirs = in_ours(program), in_kernel(program)
    for number, (name, which, size, flags) in enumerate(calls):
        said = f"{name}({texts[which]!r}, {size}, {flags})"
        place = slice(len(data) + 8 * number, len(data) + 8 * number + 8)
        assert ours.results[number] == theirs.results[number], said
        assert ours.memory[place] == theirs.memory[place], said


@pytest.mark.parametrize("name", ["bpf_strtol", "bpf_strtoul"])
def test_numbers_are_parsed_and_refused_as_by_the_kernel(name: str) -> None:
    texts = [one.encode("latin-1") for one in NUMBERS]
    for base in BASES:
        whole = [(name, which, len(one) + 1, base) for which, one in enumerate(texts)]
        cut = [(name, which, max(1, len(one) - 1), base) for which, one in enumerate(texts)]
        check_against_kernel(texts, whole + cut)


@settings(FUZZ, max_examples=20)
@given(
    st.lists(st.tuples(st.text("0123456789afxX- \t\xa0", max_size=24), st.sampled_from([0, 8, 10, 16])), min_size=30)
)
def test_any_text_is_parsed_as_by_the_kernel(made: list[tuple[str, int]]) -> None:
    texts = [text.encode("latin-1") for text, _ in made]
    calls = [
        (name, which, len(texts[which]) + 1, base)
        for which, (_, base) in enumerate(made)
        for name in ("bpf_strtol", "bpf_strtoul")
    ]
    check_against_kernel(texts, calls)


@settings(FUZZ, max_examples=20)
@given(st.lists(st.tuples(*[st.binary(max_size=4) | st.sampled_from([b"route", b"routebpf"])] * 2), min_size=20))
def test_texts_compare_as_in_the_kernel(pairs: list[tuple[bytes, bytes]]) -> None:
    data, text, steps = b"", b"", []
    for left, right in pairs:
        for size in {1, 3, len(left) + 1}:
            steps.append(Call("bpf_strncmp", (At(len(data)), size, Text(len(text)))))
        data += left.ljust(3, b"\0") + b"\0"
        text += right + b"\0"
    program = Program(steps, data, text)
    assert in_ours(program).results == in_kernel(program).results
