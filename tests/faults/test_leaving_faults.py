"""Whatever a nats-server does when it leaves, calls find the provider where it went."""

from __future__ import annotations

import pytest

from tests.faults.leaving_scenarios import SCENARIOS
from tests.faults.outcome import run, tried


@pytest.mark.parametrize("scenario", tried(SCENARIOS))
def test_calls_survive(scenario):
    assert not run(scenario, seed=1).problems
