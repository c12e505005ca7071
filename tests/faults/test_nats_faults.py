"""Whatever becomes of nats-server, what was accepted is answered, and none of it is run twice."""

from __future__ import annotations

import pytest

from tests.faults.nats_scenarios import SCENARIOS
from tests.faults.outcome import run, tried


@pytest.mark.parametrize("scenario", tried(SCENARIOS))
def test_calls_survive(scenario):
    assert not run(scenario, seed=1).problems
