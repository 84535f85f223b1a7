"""Random and changed programs before both verifiers: `python tests/verifier/hunt.py --count 20000 --seed 1 --jobs 2`.

Prints what is found: `unsound` programs that we take and the kernel refuses first of all.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from against_kernel import Answer, Subject, kernels, ours, subject
from compiled import SOURCES, compiler
from compiled import subjects as subjects_in_c
from corpus import all_cases
from generate import program
from mutate import mutated

from routebpf.errors import InputError
from routebpf.isa import Names, disassemble
from routebpf.verifier.run import Run

MOST_PROCESSED = 10_000  # what takes longer is left out


class TooLongError(Exception):
    """A program that takes more than MOST_PROCESSED."""


def stop_if_long(run: Run) -> None:
    """An observer of the verifier."""
    if run.processed > MOST_PROCESSED:
        raise TooLongError


@dataclass(slots=True)
class Tally:
    """What came of many programs. `unsound`, `stricter`, `worded`: (seed, ours, the kernel's, text)."""

    counts: Counter[str] = field(default_factory=Counter)
    unsound: list[tuple[int, str, str, str]] = field(default_factory=list)
    stricter: list[tuple[int, str, str, str]] = field(default_factory=list)
    worded: list[tuple[int, str, str, str]] = field(default_factory=list)
    crashed: list[tuple[int, str, str, str]] = field(default_factory=list)
    processed: int = 0
    seconds: float = 0.0

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        for name in ("unsound", "stricter", "worded", "crashed"):
            getattr(self, name).extend(getattr(other, name))
        self.processed += other.processed
        self.seconds += other.seconds


def text_of(asked: Subject) -> str:
    names = Names(maps=asked.program.maps, kfuncs=asked.program.kfuncs)
    return disassemble(asked.program.instructions, names)


def changed(one: Subject, chance: random.Random) -> Subject:
    return replace(one, program=one.program._replace(instructions=mutated(one.program.instructions, chance)))


def subjects(seeds: range, sources: tuple[Subject, ...] = ()) -> Iterator[tuple[int, Subject]]:
    """A program for each seed: written at random, then perhaps changed; or one of `sources`, changed."""
    for seed in seeds:
        chance = random.Random(seed)
        if sources and chance.random() < 0.6:
            one = chance.choice(sources)
            yield seed, changed(one, chance)
            continue
        try:
            one = subject(program(chance))
        except InputError:
            continue
        if chance.random() < 0.3:
            one = changed(one, chance)
        yield seed, one


def judge(tally: Tally, seed: int, asked: Subject) -> tuple[Answer, Answer] | None:
    """Both verdicts, counted. None if the program takes too long."""
    started = time.perf_counter()
    try:
        mine = ours(asked, stop_if_long)
    except TooLongError:
        tally.counts["too long"] += 1
        return None
    except Exception as error:
        tally.counts["crashed"] += 1
        tally.crashed.append((seed, repr(error), "", text_of(asked)))
        return None
    tally.seconds += time.perf_counter() - started
    tally.processed += max(mine.processed, 0)
    theirs = kernels(asked)
    row = (seed, str(mine.refusal), str(theirs.refusal), text_of(asked) if mine.refusal != theirs.refusal else "")
    if mine.is_accepted and theirs.is_accepted:
        tally.counts["both accept"] += 1
        tally.counts["same count"] += mine.processed == theirs.processed
    elif mine.is_accepted:
        tally.counts["unsound"] += 1
        tally.unsound.append(row)
    elif theirs.is_accepted:
        tally.counts["stricter"] += 1
        tally.stricter.append(row)
    elif mine.refusal == theirs.refusal:
        tally.counts["both refuse, same words"] += 1
    else:
        tally.counts["both refuse, other words"] += 1
        tally.worded.append(row)
    return mine, theirs


def _part(seeds: range, with_sources: bool) -> Tally:
    tally = Tally()
    sources = corpus_sources() if with_sources else ()
    for seed, asked in subjects(seeds, sources):
        judge(tally, seed, asked)
    return tally


# With other maps than it expects, the kernel follows a null pointer.
_DANGEROUS = ("bpf_wq_init",)


_COMPILED_WAYS = (("-O2", "v3"), ("-O1", "v1"), ("-Os", "v2"))


@cache
def corpus_sources() -> tuple[Subject, ...]:
    """The programs of the corpus, to be changed."""
    written = tuple(
        case.subject()
        for case in all_cases()
        if not any(name in case.text for name in _DANGEROUS) and "too large" not in (case.kernel or "")
    )
    return written + tuple(_compiled_sources()) * _WEIGHT_OF_COMPILED


_WEIGHT_OF_COMPILED = 4


def _compiled_sources() -> Iterator[Subject]:
    for source, (optimisation, cpu) in product(SOURCES, _COMPILED_WAYS):
        if compiler(cpu) is not None:
            yield from subjects_in_c(source, optimisation, cpu)


def hunt(count: int, seed: int, jobs: int, with_sources: bool = True) -> Tally:
    """`count` programs from `seed` on, in `jobs` processes."""
    total = Tally()
    step = max(count // (jobs * 4), 1)
    parts = [range(at, min(at + step, seed + count)) for at in range(seed, seed + count, step)]
    if jobs == 1:
        for part in parts:
            total.add(_part(part, with_sources))
        return total
    with ProcessPoolExecutor(jobs) as pool:
        for found in pool.map(_part, parts, [with_sources] * len(parts)):
            total.add(found)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--show", type=int, default=3)
    given = parser.parse_args()
    started = time.perf_counter()
    total = hunt(given.count, given.seed, given.jobs)
    for name in ("crashed", "unsound", "stricter", "worded"):
        rows = getattr(total, name)
        seen: Counter[tuple[str, str]] = Counter()
        for seed, mine, theirs, text in rows:
            key = (mine if name != "crashed" else mine[:60], theirs)
            seen[key] += 1
            if seen[key] == 1 and len(seen) <= given.show:
                print(f"== {name}, seed {seed}\nours:   {mine}\nkernel: {theirs}\n{text}\n")
        for (mine, theirs), count in seen.most_common(40):
            print(f"{name} {count}: {mine!r} / {theirs!r}")
    print(dict(total.counts))
    print(f"{total.processed / max(total.seconds, 1e-9):,.0f} instructions/s, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
