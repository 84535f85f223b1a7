"""What a program needs of the kernel. The versions are those of the kernel's history (Documentation/bpf, git log)."""

from __future__ import annotations

import pytest
from against_kernel import subject

from routebpf.verifier.oldest_kernel import needs_of, oldest_kernel
from routebpf.verifier.verify import verify

PLAIN = "r0 = 0; exit"


def _oldest(text: str) -> tuple[int, int]:
    one = subject(text.replace("; ", "\n"))
    verified = verify(one.program, one.maps, license=one.license, btf=one.btf)
    return oldest_kernel(needs_of(one.program, one.maps, verified))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (PLAIN, (4, 10)),
        ("r0 = *(u32 *)(r1 +8); if r0 > 5 goto +0; exit", (4, 10)),
        ("r0 = *(u32 *)(r1 +8); if r0 < 5 goto +0; exit", (4, 14)),
        ("r0 = *(u32 *)(r1 +8); if r0 s<= 5 goto +0; exit", (4, 14)),
        ("r0 = *(u32 *)(r1 +8); if w0 > 5 goto +0; exit", (5, 1)),
        ("call bpf_get_prandom_u32#7; exit", (4, 10)),
        ("call bpf_ktime_get_boot_ns#125; r0 = 0; exit", (5, 8)),
        ("r6 = 10; r6 -= 1; if r6 != 0 goto -2; r0 = 0; exit", (5, 3)),
        ("r0 = 0; r1 = *(u32 *)(r1 +8); if r1 > 5 goto +1; goto +1; goto +1; goto -2; exit", (4, 10)),
        ("r2 = 1; *(u64 *)(r10 -8) = r2; lock *(u64 *)(r10 -8) += r2; r0 = 0; exit", (4, 10)),
        ("r2 = 1; *(u64 *)(r10 -8) = r2; lock *(u64 *)(r10 -8) |= r2; r0 = 0; exit", (5, 12)),
        ("r2 = 1; *(u64 *)(r10 -8) = r2; r2 = atomic64_fetch_add((u64 *)(r10 -8), r2); r0 = 0; exit", (5, 12)),
        ("*(u64 *)(r10 -8) = 1; r2 = load_acquire((u64 *)(r10 -8)); r0 = 0; exit", (6, 15)),
        ("r0 = *(s8 *)(r1 +8); exit", (6, 6)),
        ("r0 = 7; r0 = (s8)r0; exit", (6, 6)),
        ("r0 = 7; r0 s/= 2; exit", (6, 6)),
        ("r0 = 7; r0 = bswap64 r0; exit", (6, 6)),
        ("r0 = 7; r0 = be16 r0; exit", (4, 10)),
        ("r0 = 0; may_goto +0; exit", (6, 9)),
        ("r0 = *(u32 *)(r1 +176); exit", (5, 7)),
        ("call bpf_rcu_read_lock; call bpf_rcu_read_unlock; r0 = 0; exit", (6, 2)),
    ],
)
def test_the_oldest_kernel_is_that_of_the_newest_thing_used(text: str, version: tuple[int, int]) -> None:
    assert _oldest(text) == version


def test_what_cannot_be_reached_does_not_count() -> None:
    assert _oldest("r0 = 0; r2 = 5; if r2 == 5 goto +2; r0 = *(s8 *)(r1 +8); r0 s/= 2; exit") == (4, 10)
    assert _oldest("r0 = 0; r2 = 5; if r2 != 5 goto +2; r0 = *(u8 *)(r1 +8); r0 s/= 2; exit") == (6, 6)
