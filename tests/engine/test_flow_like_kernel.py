"""Loops, far jumps, functions and 64-bit immediates against the running kernel, instruction by instruction."""

from __future__ import annotations

import random

import pytest
from three_machines import INPUTS, State, agree, around_text

pytestmark = pytest.mark.kernel

BODIES = {
    "a bounded loop": (
        """
        r0 = 0
        r3 = 0
        next: r0 += r4
        r0 *= 3
        r3 += 1
        if r3 < 20 goto next
        """,
        "",
    ),
    "a loop that counts down with gotol": (
        """
        r3 = 12
        next: r0 ^= r3
        w0 <<= 1
        w3 += -1
        if w3 s> 0 goto more
        gotol out
        more: gotol next
        out: r3 += 7
        """,
        "",
    ),
    "may_goto that is not spent": (
        """
        r0 = 0
        r3 = 0
        r6 = 40
        next: may_goto out
        r0 += 5
        r3 += 1
        if r3 < r6 goto next
        out: r0 += 1
        """,
        "",
    ),
    "64-bit immediates": (
        """
        r0 = 0x123456789abcdef0
        r3 = 0xffffffffffffffff
        r4 = 0x80000000
        r5 = 0xffffffff80000000
        r6 = 0x0
        """,
        "",
    ),
    "functions with five arguments and frames of their own": (
        """
        call mix
        r1 = r0
        r2 = r6
        r3 = r7
        r4 = r8
        r5 = r9
        call mix
        r1 = r10
        r1 += -64
        call fill
        r1 = 0
        r2 = 0
        r3 = 0
        r4 = 0
        r5 = 0
        """,
        """
        mix: *(u64 *)(r10 -8) = r1
        *(u64 *)(r10 -16) = r2
        r6 = r3
        r7 = r4
        r8 = r5
        r0 = *(u64 *)(r10 -8)
        r1 = *(u64 *)(r10 -16)
        r0 -= r1
        r0 *= 31
        r0 ^= r6
        r0 += r7
        r0 s>>= 3
        r0 -= r8
        exit
        fill: r2 = 0x1122334455667788
        *(u64 *)(r1 +0) = r2
        *(u8 *)(r1 +9) = 5
        *(u32 *)(r1 +28) = -2
        r0 = *(u64 *)(r1 +8)
        exit
        """,
    ),
    "a chain of eight frames": (
        "\n".join(["r1 = r6", "call f1", "r1 = 0", "r2 = 0", "r3 = 0", "r4 = 0", "r5 = 0"]),
        "\n".join(
            f"f{n}: *(u64 *)(r10 -8) = r1\nr1 += {n}\ncall f{n + 1}\nr1 = *(u64 *)(r10 -8)\nr0 ^= r1\nr0 *= 5\nexit"
            for n in range(1, 7)
        )
        + "\nf7: r0 = r1\nexit",
    ),
    "a stack address that varies": (
        """
        r6 &= 7
        r7 = r10
        r7 += -64
        r7 += r6
        *(u8 *)(r7 +0) = 0x5a
        r7 = 0
        r8 = r10
        r6 &= 3
        r6 = -r6
        r8 += r6
        *(u8 *)(r8 -20) = 0x5b
        r8 = 0
        """,
        "",
    ),
}


def _states() -> list[State]:
    source = random.Random(7)
    small = State(tuple(range(INPUTS)))
    return [small, *(State(tuple(source.getrandbits(64) for _ in range(INPUTS))) for _ in range(5))]


@pytest.mark.parametrize("name", BODIES)
def test_the_flow_is_the_kernels(name: str) -> None:
    body, functions = BODIES[name]
    agree(around_text(body, functions), _states())
