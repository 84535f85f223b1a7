"""Every scenario of this folder, played on both hosts: they agree, or the embedded host is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from routebpf.hosts.backend import BACKENDS, host_for
from routebpf.hosts.scenario import differences, read_scenario, run_scenario

FILES = sorted(Path(__file__).parent.glob("*.toml"))

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_both_hosts_agree(path: Path) -> None:
    scenario = read_scenario(path)
    outcomes = []
    for backend in BACKENDS:
        with host_for(backend) as host:
            outcomes.append(run_scenario(scenario, host))
    assert differences(*outcomes) == []
