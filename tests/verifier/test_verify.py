"""What `verify` gives: the kernel's own knowledge of registers, facts for the engines, the path to a fault."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from against_kernel import differences, subject
from generate import program

from routebpf.isa import Instruction
from routebpf.objects.source import load_program_file
from routebpf.verifier.fault import Decision, Rejected, Rule
from routebpf.verifier.run import Run
from routebpf.verifier.verify import verify

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.bpf.c"))
PACKET = """
    r2 = *(u32 *)(r1 +76)
    r3 = *(u32 *)(r1 +80)
    r4 = r2
    r4 += 14
    r0 = 0
    if r4 > r3 goto out
    r0 = *(u8 *)(r2 +14)
    out: exit
"""
CALL, EXIT = 0x85, 0x95


def _refusal(text: str) -> Rejected:
    asked = subject(text)
    with pytest.raises(Rejected) as refused:
        verify(asked.program, asked.maps, btf=asked.btf)
    return refused.value


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(0, 400, 40))
def test_what_is_known_of_each_register_is_what_the_kernel_prints(seed: int) -> None:
    for one in range(seed, seed + 40):
        asked = subject(program(random.Random(one)))
        assert [line for line in differences(asked) if line.startswith("step")] == [], one


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_accepted_with_all_their_calls_and_functions_known(path: Path) -> None:
    loaded = load_program_file(path)
    for one in loaded.programs.values():
        found = verify(one, [loaded.maps[name] for name in one.maps], license=loaded.license, btf=loaded.btf).facts
        calls = [at for at, slot in enumerate(one.instructions) if slot.opcode == 0x85 and slot.src != 1]
        assert sorted(found.calls) == calls
        assert [function.name for function in found.functions] == [function.name for function in one.functions]


def test_it_tells_what_it_took() -> None:
    asked = subject("*(u64 *)(r10 -40) = 0\ncall f\nexit\nf: *(u64 *)(r10 -8) = 0\nr0 = 0\nexit")
    said = verify(asked.program, asked.maps, btf=asked.btf)
    assert said.instructions_processed == 6
    assert said.stack_bytes == 48 + 16
    assert said.stack_by_function == {"test": 40, "f": 8}
    assert said.facts.reachable == bytes([1] * 6)


def test_a_refusal_says_where_and_what_is_known_there() -> None:
    finding = _refusal(PACKET).finding
    assert finding.at == 6
    assert finding.rule is Rule.PACKET
    assert finding.register == 2
    assert finding.value == "pkt(r=14)"
    assert finding.registers[4] == "pkt(off=14,r=14)"
    assert finding.message == (
        "invalid access to packet, off=14 size=1, R2(id=0,off=14,r=14)\nR2 offset is outside of the packet"
    )
    assert finding.path == (Decision(5, 6, False),)
    assert finding.trace == (0, 1, 2, 3, 4, 5, 6)


def test_the_path_goes_through_functions_and_loops() -> None:
    finding = _refusal("r6 = 0\nnext: r6 += 1\ncall f\nif r6 < 3 goto next\nr0 = r7\nexit\nf: r0 = 0\nexit").finding
    assert finding.trace == (0, *(1, 2, 6, 7, 3) * 3, 4)
    assert [one.taken for one in finding.path] == [True, True, False]


def test_the_path_to_a_fault_is_one_that_can_be_gone() -> None:
    for seed in range(300):
        asked = subject(program(random.Random(seed)))
        try:
            verify(asked.program, asked.maps, btf=asked.btf)
        except Rejected as refused:
            finding = refused.finding
            if not finding.trace:
                continue
            assert finding.trace[0] == 0
            assert finding.trace[-1] == finding.at
            for at, following in pairwise(finding.trace):
                assert _may_follow(asked.program.instructions[at], at, following), seed


def _may_follow(one: Instruction, at: int, following: int) -> bool:
    targets = (at + 1 + one.is_wide, at + 1 + one.offset, at + 1 + one.imm)
    return one.opcode in (CALL, EXIT) or following in targets


def test_an_observer_is_told_of_each_instruction() -> None:
    told: list[int] = []

    def observe(run: Run) -> None:
        told.append(run.at)

    asked = subject("r0 = 0\nif r0 == 1 goto out\nr0 = 1\nout: exit")
    verify(asked.program, asked.maps, btf=asked.btf, observer=observe)
    assert told == [0, 1, 2, 3]
