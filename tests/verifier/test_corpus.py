"""Every program of the corpus before our verifier and the running kernel's, with the recorded verdicts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import compiled
import pytest
from against_kernel import Subject, kernel_btf, kernels, ours
from corpus import Case, all_cases, files, read_cases
from record_corpus import PAGE, page_text

NEED_KERNEL_TYPES = ("objects",)
ENOUGH_ACCEPTED, ENOUGH_SAME_WORDS = 0.98, 0.95
CASES = all_cases()
REFUSED = [case for case in CASES if case.kernel is not None]
ACCEPTED = [case for case in CASES if case.kernel is None]
# How each file in C is compiled here: all ways of one come up in another.
COMPILED = [
    (source, *compiled.WAYS[(number + step * 5) % len(compiled.WAYS)])
    for number, source in enumerate(compiled.SOURCES)
    for step in range(4)
]


def _differs(case: Case) -> str:
    said = ours(case.subject()).refusal
    return "" if said == case.ours else f"{case}: {said!r}, recorded {case.ours!r}"


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_our_verdicts_are_the_recorded_ones(path: Path) -> None:
    if path.stem in NEED_KERNEL_TYPES and kernel_btf() is None:
        pytest.skip("there are no types of a kernel here")
    assert [text for case in read_cases(path) if (text := _differs(case))] == []


@pytest.mark.kernel
@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_the_running_kernels_verdicts_are_the_recorded_ones(path: Path) -> None:
    now = [(case, kernels(case.subject()).refusal) for case in read_cases(path)]
    assert [f"{case}: {said!r}, recorded {case.kernel!r}" for case, said in now if said != case.kernel] == []


@pytest.mark.kernel
def test_programs_that_both_accept_take_both_as_many_steps_and_states() -> None:
    """What is kept apart or taken for the same is what the kernel keeps apart or takes for the same."""
    both = [case for case in CASES if case.kernel is None and case.ours is None]
    assert [f"{case}: {text}" for case in both if (text := _counted_otherwise(case.subject()))] == []


@pytest.mark.kernel
@pytest.mark.parametrize(("optimisation", "cpu"), [("-O1", "v1"), ("-O2", "v3")])
def test_programs_in_c_take_both_as_many_steps_and_states(optimisation: str, cpu: str) -> None:
    if compiled.compiler(cpu) is None:
        pytest.skip(f"no compiler here knows {cpu}")
    asked = [one for source in compiled.SOURCES for one in compiled.subjects(source, optimisation, cpu)]
    taken = [one for one in asked if not one.program.name.startswith(compiled.REFUSED)]
    assert [f"{one.program.name}: {text}" for one in taken if (text := _counted_otherwise(one))] == []


def _counted_otherwise(asked: Subject) -> str:
    mine, theirs = ours(asked), kernels(asked)
    if (mine.processed, mine.states) == (theirs.processed, theirs.states):
        return ""
    return f"{mine.processed}/{mine.states}, kernel {theirs.processed}/{theirs.states}"


def test_the_corpus_is_large_and_each_program_is_in_it_once() -> None:
    assert len(CASES) >= 400
    twice = Counter((case.license, case.program_type, case.text) for case in CASES).most_common(1)[0]
    assert twice[1] == 1, twice
    assert len({(case.file, case.name) for case in CASES}) == len(CASES)


def test_what_the_kernel_refuses_is_refused() -> None:
    assert [str(case) for case in REFUSED if case.ours is None] == []


def test_nearly_all_that_the_kernel_accepts_is_accepted() -> None:
    taken = [case for case in ACCEPTED if case.ours is None]
    assert len(taken) >= ENOUGH_ACCEPTED * len(ACCEPTED)


def test_nearly_all_refusals_are_in_the_kernels_words() -> None:
    same = [case for case in REFUSED if case.ours == case.kernel]
    assert len(same) >= ENOUGH_SAME_WORDS * len(REFUSED)


def test_the_cause_of_every_difference_is_known() -> None:
    assert [str(case) for case in CASES if (case.ours != case.kernel) != bool(case.why)] == []


def test_what_differs_is_in_the_documentation() -> None:
    assert PAGE.read_text() == page_text(CASES)


@pytest.mark.parametrize(("source", "optimisation", "cpu"), COMPILED, ids=lambda one: getattr(one, "stem", one))
def test_programs_in_c_are_judged_as_their_names_say(source: Path, optimisation: str, cpu: str) -> None:
    if compiled.compiler(cpu) is None:
        pytest.skip(f"no compiler here knows {cpu}")
    for one in compiled.verdicts(source, optimisation, cpu, ask_kernel=False):
        assert (one.verified is None) == one.program.name.startswith(compiled.REFUSED), one.program.name


@pytest.mark.kernel
@pytest.mark.parametrize(("source", "optimisation", "cpu"), COMPILED, ids=lambda one: getattr(one, "stem", one))
def test_the_running_kernel_judges_programs_in_c_alike(source: Path, optimisation: str, cpu: str) -> None:
    if compiled.compiler(cpu) is None:
        pytest.skip(f"no compiler here knows {cpu}")
    for one in compiled.verdicts(source, optimisation, cpu, ask_kernel=True):
        assert one.kernel is not None
        assert one.kernel.is_accepted == (one.verified is not None), (one.program.name, one.kernel.message)
