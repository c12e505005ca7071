"""However much comes, what is accepted is answered in time, and the rest is told so at once."""

from __future__ import annotations

import pytest

from tests.faults.outcome import run, tried
from tests.faults.overload_scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", tried(SCENARIOS))
def test_calls_survive(scenario):
    assert not run(scenario, seed=1).problems
