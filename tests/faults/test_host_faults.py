"""Whatever becomes of a host under load, what it accepted is answered and nothing of it is left."""

from __future__ import annotations

import pytest

from tests.faults.host_scenarios import SCENARIOS
from tests.faults.outcome import run, tried


@pytest.mark.parametrize("scenario", tried(SCENARIOS))
def test_calls_survive(scenario):
    assert not run(scenario, seed=1).problems
