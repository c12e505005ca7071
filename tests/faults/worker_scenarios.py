"""What may happen to a worker, or be done by the code it runs.

The rule of this file: a scenario a name, in the order of how rude it is. Each says how many callers
may lose their call, and no more than those do.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.faults.scenario import Scenario

if TYPE_CHECKING:
    from tests.faults.scenario import Field


async def _kill(field: Field) -> None:
    while await field.go_on(1500, 3500):
        if worker := await field.worker():
            os.kill(worker, signal.SIGKILL)
            field.did["killed"] += 1
            await field.logged("worker_lost", field.did["killed"])


def _one_lost_for_each_kill(field: Field) -> None:
    lost = field.count.errors["worker_lost"]
    assert lost <= field.did["killed"], f"{lost} calls were lost by {field.did['killed']} deaths"


SCENARIOS = [
    Scenario(
        "worker killed",
        _kill,
        errors=frozenset({"worker_lost"}),
        at_least={"killed": 4},
        check=_one_lost_for_each_kill,
    ),
]
