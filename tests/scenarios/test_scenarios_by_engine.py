"""Every scenario of this folder on the embedded host, by each engine: both make the same of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.embedded_topology import EmbeddedTopology
from routebpf.hosts.scenario import Outcome, differences, read_scenario, run_scenario

FILES = sorted(Path(__file__).parent.glob("*.toml"))


class InterpretingHost(EmbeddedHost):
    """A host whose topologies have their programs interpreted."""

    def topology(self, engine: object = None) -> EmbeddedTopology:  # noqa: ARG002
        return super().topology("interpreter")


def outcome(kind: type[EmbeddedHost], path: Path) -> Outcome:
    with kind() as host:
        return run_scenario(read_scenario(path), host)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_both_engines_agree(path: Path) -> None:
    assert differences(outcome(EmbeddedHost, path), outcome(InterpretingHost, path)) == []
