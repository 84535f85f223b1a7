"""Format strings of bpf_snprintf(): what the verifier takes, and what the running kernel does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random

import pytest

from routebpf.errors import Error
from routebpf.kernel.object import load_in_kernel
from routebpf.objects.compiler import compile_source
from routebpf.objects.loader import load_object
from routebpf.verifier.format_string import problem

PLACE = b"A" * 15 + b"\0"
SOURCE = """
#include <routebpf.h>
char _license[] SEC("license") = "GPL";
static const char format[16] = "AAAAAAAAAAAAAAA";
SEC("lwt_xmit") int p(struct __sk_buff *skb)
{
	char text[64];
	__u64 values[] = { (long)text };
	return bpf_snprintf(text, 64, format, values, 8) < 0;
}
"""
FLAGS = (b"", b"0", b"-", b"+", b" ", b"#", b"05", b"0-+ 12", b"5-", b".3", b"*")
KINDS = (
    b"", b"d", b"i", b"u", b"x", b"X", b"o", b"ld", b"llx", b"llld", b"lo", b"hd", b"n", b"s", b"c", b"p", b"pK", b"px",
    b"ps", b"pS", b"pB", b"pk", b"pks", b"pus", b"pI4", b"pi6", b"pI5", b"pI", b"pf", b"p1", b"ls", b"%",
)  # fmt: skip
BEHIND = (b"", b"z", b" ", b".", b"_", b"\xe9", b"\xb1")

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("format") / "p.bpf.c"
    path.write_text(SOURCE)
    made = compile_source(str(path))
    assert made.count(PLACE) == 1
    return made


def is_taken_by_the_kernel(elf: bytes, text: bytes) -> bool:
    try:
        with load_in_kernel(load_object(elf.replace(PLACE, text.ljust(16, b"\0")))):
            return True
    except Error as error:
        if "Invalid format string" not in str(error):
            raise
        return False


@pytest.mark.parametrize("values", [1, 12, 13, 40])
def test_so_many_values_are_taken_as_the_kernel_takes_them(tmp_path: Path, values: int) -> None:
    path = tmp_path / "p.bpf.c"
    given = f"{{ {', '.join('1' * values)} }}"
    path.write_text(SOURCE.replace("{ (long)text }", given).replace("values, 8)", f"values, {8 * values})"))
    assert is_taken_by_the_kernel(compile_source(str(path)), b"")
    assert problem(b"", values) == ""


def formats() -> Iterator[bytes]:
    yield from (b"%" + b"".join(parts) for parts in product((b"", b"05"), KINDS, BEHIND))
    yield from (b"%" + b"".join(parts) for parts in product(FLAGS, KINDS))
    yield from (b"%d" + bytes((one,)) for one in range(1, 256, 3))
    yield from (b"", b"text", b"%%", b"%d%d", b"%d%%", b"%d%", b"%")
    chance = Random(1)
    for _ in range(300):
        yield bytes(chance.choice(b"%%%%dulpsIikc4605 .-+xBKSz\xe9\xb1") for _ in range(chance.randrange(1, 9)))


def test_formats_are_taken_and_refused_as_by_the_kernel(elf: bytes) -> None:
    taken = {text: is_taken_by_the_kernel(elf, text) for text in formats()}
    assert {text: problem(text, 1) == "" for text in taken} == taken
