"""How long a verdict takes: of a long program with loops, and of an ordinary one. In seconds of this process."""

from __future__ import annotations

import time

from against_kernel import Subject, kernel_btf, subject

from routebpf.verifier.verify import verify

PARTS = 150
ROUND = """
r8 = 0
a{n}: r9 = *(u32 *)(r6 +{field})
r9 &= 63
r1 = r10
r1 += -64
r1 += r9
*(u8 *)(r1 +0) = 0
if r9 > {bound} goto b{n}
r7 += 3
r7 ^= r9
b{n}: *(u64 *)(r10 -72) = 1
r2 = r10
r2 += -72
r1 = map[array]
call bpf_map_lookup_elem
if r0 == 0 goto c{n}
r1 = r7
r1 &= 7
r0 += r1
r3 = *(u64 *)(r0 +0)
r7 += r3
r3 = *(u8 *)(r0 +8)
c{n}: r8 += 1
if r8 < {rounds} goto a{n}
w7 = w7
"""


def _program(parts: int) -> Subject:
    rows = [
        ROUND.format(n=n, field=(0, 8, 16)[n % 3], bound=5 + n % 50, rounds=(4, 8, 16)[n % 3]) for n in range(parts)
    ]
    return subject("\n".join(["r6 = r1", "r7 = *(u32 *)(r6 +8)", *rows, "r0 = 0", "exit"]))


def _seconds(asked: Subject) -> tuple[float, int]:
    """(seconds, instructions processed)"""
    types = kernel_btf()
    started = time.process_time()
    said = verify(asked.program, asked.maps, btf=asked.btf, kernel_btf=types)
    return time.process_time() - started, said.instructions_processed


def test_a_program_of_4000_instructions_with_loops_takes_less_than_5_seconds() -> None:
    asked = _program(PARTS)
    assert len(asked.program.instructions) >= 3900
    seconds, processed = _seconds(asked)
    assert processed > 50_000
    assert seconds < 5


def test_ten_thousand_instructions_processed_take_less_than_a_second() -> None:
    seconds, processed = _seconds(_program(18))
    assert seconds < processed / 10_000
