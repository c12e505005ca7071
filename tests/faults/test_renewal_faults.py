"""Workers take the place of others under load, and no caller notices."""

from __future__ import annotations

import pytest

from tests.faults.outcome import run, tried
from tests.faults.renewal_scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", tried(SCENARIOS))
def test_calls_survive(scenario):
    assert not run(scenario, seed=1).problems
