"""Scenarios played on the host in the kernel, and on the embedded one by each engine."""

from __future__ import annotations

from collections.abc import Iterator

from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.embedded_topology import EmbeddedTopology
from routebpf.hosts.kernel import KernelHost
from routebpf.hosts.scenario import Outcome, Scenario, differences, run_scenario


class InterpretingHost(EmbeddedHost):
    """A host whose topologies have their programs interpreted."""

    def topology(self, engine: object = None) -> EmbeddedTopology:  # noqa: ARG002
        return super().topology("interpreter")


def play(scenario: Scenario, kind: type[EmbeddedHost] | type[KernelHost]) -> Outcome:
    """What comes of it on a new host of that kind."""
    with kind() as host:
        return run_scenario(scenario, host)


def disagreements(scenario: Scenario, *others: type[EmbeddedHost] | type[KernelHost]) -> Iterator[str]:
    """What the embedded host, interpreting, does otherwise than others: if none is given, the kernel and the JIT."""
    ours = play(scenario, InterpretingHost)
    for kind in others or (KernelHost, EmbeddedHost):
        yield from (f"{kind.__name__}: {one}" for one in differences(ours, play(scenario, kind)))
