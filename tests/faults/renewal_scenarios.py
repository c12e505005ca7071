"""Workers that take the place of others, and several of them at work together.

The rule of this file: what replaces a worker in order costs no caller a call. What kills one of
several costs one call at most, as it does where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.scenario import Scenario, misbehaving
from tests.faults.worker_scenarios import (
    LOST,
    SEGFAULT,
    SLOW,
    WITH_CHILDREN,
    every_good_text_was_loaded,
    kill,
    lost_for_each_kill,
    only,
    save_and_break,
)

if TYPE_CHECKING:
    from tests.faults.scenario import Field

GROWING = misbehaving(100, 'kept.append(b"x" * (1 << 20))', before="kept = []")


async def _until_recycled(field: Field) -> None:
    while await field.go_on(500, 1000):
        field.did["recycled"] = len(field.provider.events("worker_recycled"))


async def _kill_while_recycled(field: Field) -> None:
    """Workers are killed while others take their places."""
    while await field.go_on(1500, 3500):
        field.did["recycled"] = len(field.provider.events("worker_recycled"))
        await field.kill_worker()


TWO = {"PROVIDER_WORKERS": "2"}
RATE = 5000.0
"""Calls a second; as fast as can be, most would be over before a worker has started."""

SCENARIOS = [
    Scenario(
        "worker with four calls at once killed",
        kill,
        program=SLOW,
        settings={"PROVIDER_CONCURRENCY": "4"},
        errors=LOST,
        at_least={"killed": 3},
        check=lost_for_each_kill(4),
        long=True,
    ),
    Scenario(
        "workers recycled after so many calls",
        _until_recycled,
        program=WITH_CHILDREN,
        settings={**TWO, "PROVIDER_RECYCLE_CALLS": "1500"},
        rate=RATE,
        at_least={"recycled": 6},
        long=True,
    ),
    Scenario(
        "a worker recycled for its memory",
        _until_recycled,
        program=GROWING,
        settings={"PROVIDER_RECYCLE_MEMORY": "60MiB"},
        rate=RATE,
        at_least={"recycled": 2},
        long=True,
    ),
    Scenario(
        "workers recycled and killed",
        _kill_while_recycled,
        program=SLOW,
        settings={**TWO, "PROVIDER_RECYCLE_CALLS": "1500"},
        errors=LOST,
        at_least={"recycled": 2, "killed": 4},
        check=lost_for_each_kill(told=False),
        long=True,
    ),
    Scenario(
        "two workers, one killed",
        kill,
        program=WITH_CHILDREN + SLOW,
        settings=TWO,
        errors=LOST,
        at_least={"killed": 3},
        check=lost_for_each_kill(),
        long=True,
    ),
    Scenario(
        "two workers, code segfaults",
        program=SEGFAULT,
        settings=TWO,
        errors=LOST,
        check=only(2500),
        long=True,
    ),
    Scenario(
        "reloads in fresh processes, half of them broken",
        save_and_break,
        settings={**TWO, "PROVIDER_RELOAD_MODE": "process"},
        rate=RATE,
        at_least={"saved": 4, "saved broken": 4},
        check=every_good_text_was_loaded,
        long=True,
    ),
]
