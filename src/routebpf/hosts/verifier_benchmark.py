"""What `routebpf bench --verifier` measures: the time to verify programs, ours beside the running kernel's.

Each figure is the best of several rounds. The kernel is asked where this process may load programs; its time is that of
the whole load, with its JIT.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from routebpf.errors import MissingError
from routebpf.objects.model import Object, Program
from routebpf.objects.source import load_program_file
from routebpf.verifier.verify import verify

_PROGRAMS = Path(__file__).parent / "bench_programs"
_NAMES = ("pass", "filter", "count", "large")


@dataclass(frozen=True, slots=True)
class VerifierFigure:
    """A program of so many `instructions`, of which `processed` were followed. `kernel_seconds` None: not asked."""

    name: str
    instructions: int
    processed: int
    seconds: float
    kernel_seconds: float | None


def verifier_rates(rounds: int) -> Iterator[VerifierFigure]:
    """The time that each of the bench's programs takes to verify."""
    for name in _NAMES:
        source = load_program_file(_PROGRAMS / f"{name}.bpf.c")
        program = source.program()
        maps = [source.maps[one] for one in program.maps]
        found = [verify(program, maps, license=source.license, btf=source.btf) for _ in range(rounds)]
        yield VerifierFigure(
            name,
            len(program.instructions),
            found[0].instructions_processed,
            min(one.seconds for one in found),
            _kernel_seconds(source, program, rounds),
        )


def _kernel_seconds(source: Object, program: Program, rounds: int) -> float | None:
    from routebpf.kernel.object import load_in_kernel
    from routebpf.kernel.programs import load_program

    try:
        with ExitStack() as stack:
            there = stack.enter_context(load_in_kernel(source))
            best = float("inf")
            for _ in range(rounds):
                started = time.perf_counter()
                loaded = load_program(program, license=source.license, maps=there.maps)
                best = min(best, time.perf_counter() - started)
                loaded.close()
            return best
    except MissingError:
        return None
