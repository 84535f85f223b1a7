"""The verifier refuses what the kernel refuses, in the kernel's words, and takes what the kernel takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_bpf import create_map, load_program
from routebpf.errors import RejectedError
from routebpf.isa import Names, assemble, encode
from routebpf.objects.model import MapDefinition, Program
from routebpf.verifier.verify import verify

MAPS = {
    "array": MapDefinition("array", 2, 4, 16, 4),
    "constant": MapDefinition("constant", 2, 4, 8, 1, 1 << 7),
}


def _blocks() -> Iterator[tuple[str, str, str]]:
    """(name, message, instructions) of each case of the file."""
    text = Path(__file__).with_name("refused_cases.txt").read_text()
    for block in text.split("\n\n")[1:]:
        head, _, instructions = block.partition("\n")
        name, _, message = head.partition(": ")
        yield name, message, instructions


CASES = {name: (message, text) for name, message, text in _blocks()}
TAKEN = {
    "exit with an offset": ".insn 0xb7, r0, r0, +0, 0\n.insn 0x95, r0, r0, +1, 0",
    "512 bytes of stack in two frames": (
        "*(u64 *)(r10 -256) = 0\ncall f\nexit\nf: *(u64 *)(r10 -256) = 0\nr0 = 0\nexit"
    ),
    "a sign-extending load of a number of the context": "r0 = *(s32 *)(r1 +0)\nexit",
    "a function that returns nothing, its result unread": "call f\nr0 = 0\nexit\nf: r1 = 0\nexit",
    "eight frames": (
        "call f1\nexit\n" + "".join(f"f{n}: call f{n + 1}\nexit\n" for n in range(1, 7)) + "f7: r0 = 0\nexit"
    ),
    "the context spilled and taken back": "*(u64 *)(r10 -8) = r1\nr2 = *(u64 *)(r10 -8)\nr0 = *(u32 *)(r2 +8)\nexit",
    "the context passed to a function": "call f\nexit\nf: r0 = *(u32 *)(r1 +0)\nexit",
    "a branch that is never taken, over what is not there": (
        "r6 = 5\nif r6 == 5 goto out\nr0 = *(u32 *)(r1 +72)\nout: r0 = 0\nexit"
    ),
    "a loop with an end": "r0 = 0\nnext: r0 += 1\nif r0 < 100 goto next\nexit",
    "may_goto": "r0 = 0\nnext: may_goto out\nr0 += 1\nif r0 < 100 goto next\nout: exit",
}


def _program(text: str) -> Program:
    maps = tuple(name for name in MAPS if f"map[{name}]" in text)
    return Program("test", "lwt_xmit", "LWT_XMIT", tuple(assemble(text, Names(maps=maps))), (), maps=maps)


def _check(program: Program, license: str = "GPL") -> None:
    verify(program, [MAPS[name] for name in program.maps], license=license)


def _ask_kernel(program: Program, license: str = "GPL") -> tuple[int, str]:
    """(errno or 0, the verifier's log)."""
    fds = []
    for name in program.maps:
        one = MAPS[name]
        fd, _ = create_map(one.type, one.key_size, one.value_size, one.max_entries, flags=one.flags)
        assert fd is not None
        fds.append(fd)
    fd, error, log = load_program(encode(program.instructions), fds=fds, licence=license)
    for one in [*fds, *([] if fd is None else [fd])]:
        os.close(one)
    return error, log


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_the_kernels_words(name: str) -> None:
    message, text = CASES[name]
    with pytest.raises(RejectedError) as refused:
        _check(_program(text))
    assert message in str(refused.value)


@pytest.mark.kernel
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_refuses_it_in_these_words(name: str) -> None:
    message, text = CASES[name]
    error, log = _ask_kernel(_program(text))
    assert error
    assert message in log


@pytest.mark.kernel
@pytest.mark.parametrize("name", TAKEN)
def test_what_the_kernel_takes_is_taken(name: str) -> None:
    program = _program(TAKEN[name])
    assert _ask_kernel(program)[0] == 0
    _check(program)


@pytest.mark.kernel
@pytest.mark.parametrize("helper", ["bpf_trace_printk", "bpf_ktime_get_ns"])
@pytest.mark.parametrize("license", ["GPL", "GPL v2", "Dual BSD/GPL", "Dual MIT/GPL", "Apache-2.0", "gpl", ""])
def test_the_licence_counts_as_in_the_kernel(helper: str, license: str) -> None:
    text = f"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = 0\nr5 = 0\ncall {helper}\nr0 = 0\nexit"
    program = _program(text)
    error, log = _ask_kernel(program, license)
    if not error:
        _check(program, license)
        return
    assert "cannot call GPL-restricted function from non-GPL compatible program" in log
    with pytest.raises(RejectedError, match="cannot call GPL-restricted function from non-GPL compatible program"):
        _check(program, license)


def test_the_message_names_the_program_and_the_instruction() -> None:
    with pytest.raises(RejectedError) as refused:
        _check(_program("r0 = 0\nr0 = r7\nexit"))
    assert str(refused.value) == "verifying test: instruction 1: R7 !read_ok"
