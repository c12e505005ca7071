"""Workers take the place of others under load, and no caller notices."""

from __future__ import annotations

import pytest

from tests.faults.outcome import run, tried
from tests.faults.renewal_scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", tried(SCENARIOS))
def test_calls_survive(scenario):
    if why_not := scenario.needs():
        pytest.skip(why_not)
    outcome = run(scenario, seed=1)
    assert not outcome.problems
