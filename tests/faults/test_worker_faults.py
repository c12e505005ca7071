"""Whatever becomes of a worker under load, every call gets its one answer and none is run twice."""

from __future__ import annotations

import pytest

from tests.faults.outcome import run, tried
from tests.faults.worker_scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", tried(SCENARIOS))
def test_calls_survive(scenario):
    assert not run(scenario, seed=1).problems
