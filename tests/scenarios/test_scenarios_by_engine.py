"""Every scenario of this folder on the embedded host, by each engine: both make the same of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from routebpf.hosts.embedded import EmbeddedHost
from routebpf.hosts.scenario import differences, read_scenario
from scenarios.play import InterpretingHost, play

FILES = sorted(Path(__file__).parent.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_both_engines_agree(path: Path) -> None:
    scenario = read_scenario(path)
    assert differences(play(scenario, EmbeddedHost), play(scenario, InterpretingHost)) == []
