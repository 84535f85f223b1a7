"""Random programs: none that we take and the kernel refuses, and those taken do no harm when they run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

import generate_numbers
import hunt
import pytest
from against_kernel import Subject, differences, kernel_btf, subject
from engine_run import outcomes
from generate import program
from hypothesis import given, reject, settings, strategies

from routebpf.errors import InputError, RuntimeFault
from routebpf.verifier.facts import Facts
from routebpf.verifier.fault import Rejected, Rule
from routebpf.verifier.verify import verify

PROGRAMS, SEED = 20_000, 20_000_000
SHRINKABLE = 2_000
INTERPRETED, COMPILED = 2_000, 200
COMPUTING = 2_000
PACKETS = range(4)
MOST_STRICTER, FEWEST_SAME_WORDS = 0.02, 0.9
# The interpreter stops these, and the kernel lets them: stack that was never written is read, a loop may take long.
_ALLOWED = ("was never written", "did not end")


@pytest.mark.kernel
def test_no_program_is_taken_that_the_kernel_refuses() -> None:
    found = hunt.hunt(PROGRAMS, SEED, jobs=2)
    assert (found.crashed, found.unsound) == ([], [])
    counts = found.counts
    assert counts["both accept"] > PROGRAMS / 10
    assert counts["stricter"] <= MOST_STRICTER * counts["both accept"]
    same, other = counts["both refuse, same words"], counts["both refuse, other words"]
    assert same >= FEWEST_SAME_WORDS * (same + other)


@pytest.mark.kernel
@settings(max_examples=SHRINKABLE, deadline=None, derandomize=True)
@given(strategies.randoms(use_true_random=False))
def test_a_program_that_is_taken_and_the_kernel_refuses_is_found_as_small_as_can_be(chance: Random) -> None:
    """The same generator with choices that are hypothesis's, which makes a failure small."""
    tally = hunt.Tally()
    try:
        hunt.judge(tally, 0, subject(program(chance)))
    except InputError:
        reject()
    assert (tally.crashed, tally.unsound) == ([], [])


@pytest.mark.kernel
def test_what_is_known_of_numbers_is_what_the_kernel_knows_at_every_step() -> None:
    """What is too wide refuses what the kernel takes, and what is too narrow takes what it refuses."""
    wrong = []
    for seed in range(SEED, SEED + COMPUTING):
        text = generate_numbers.program(Random(seed))
        wrong += [f"{seed}: {one}" for one in differences(subject(text), most=1)]
    assert wrong == []


def _taken() -> Iterator[tuple[int, Subject, Facts]]:
    for seed, asked in hunt.subjects(range(SEED, SEED + 100 * INTERPRETED)):
        try:
            said = verify(asked.program, asked.maps, btf=asked.btf, kernel_btf=kernel_btf(), observer=hunt.stop_if_long)
        except (Rejected, hunt.TooLongError):
            continue
        yield seed, asked, said.facts


def _leaks(asked: Subject) -> bool:
    """Whether addresses come out of the program: they are others on each engine."""
    try:
        verify(asked.program, asked.maps, btf=asked.btf, kernel_btf=kernel_btf(), privileged=False)
    except Rejected as refused:
        return refused.finding.rule is Rule.LEAK
    return False


def test_programs_that_are_taken_do_no_bad_access_and_do_the_same_on_both_engines() -> None:
    wrong, compared = [], 0
    for number, (seed, asked, facts) in enumerate(islice(_taken(), INTERPRETED)):
        try:
            interpreted = outcomes(asked, facts, "interpreter", PACKETS)
        except RuntimeFault as fault:
            if not any(words in str(fault) for words in _ALLOWED):
                wrong.append((seed, str(fault)))
            continue
        if number % (INTERPRETED // COMPILED):
            continue
        if outcomes(asked, facts, "jit", PACKETS) == interpreted:
            compared += 1
        elif not _leaks(asked):
            wrong.append((seed, f"the engines differ:\n{hunt.text_of(asked)}"))
    assert wrong == []
    assert compared > COMPILED / 2
