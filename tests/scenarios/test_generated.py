"""Some random scenarios, the same ones every time: both hosts and both engines agree. `hunt.py` plays more."""

from __future__ import annotations

import pytest

from scenarios.generate import plan
from scenarios.play import disagreements

NUMBERS = (11, 12, 13, 14)

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("number", NUMBERS)
def test_a_random_scenario_is_the_same_everywhere(number: int) -> None:
    found = list(disagreements(plan(number).scenario()))
    assert not found, f"tests/scenarios/hunt.py --first {number} --count 1 makes it small: {found[:5]}"
