"""A line that a program printed with bpf_printk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraceLine:
    """What a program printed: on which CPU, when (ns; of a host in the kernel to the µs), and the text."""

    cpu: int
    time: int
    text: str

    def __str__(self) -> str:
        """As trace_pipe shows it, without the task."""
        return f"[{self.cpu:03}] {self.time // 1_000_000_000}.{self.time // 1000 % 1_000_000:06}: {self.text}"
