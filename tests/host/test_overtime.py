"""Workers that are out of time are ended, and no others."""

from __future__ import annotations

import signal

import pytest

from provider.errors import CallTimeout
from tests.conftest import PATIENCE


async def test_a_worker_that_stands_still_between_two_calls_is_replaced(house):
    await house.start(call_timeout=0.2)
    assert await house.call("echo", 1) == 1
    house.kill_worker(signal.SIGSTOP)
    with pytest.raises(CallTimeout, match="still waiting"):
        await house.call("echo", 2)
    told = await house.events.until("worker_lost")
    assert "had nothing to do and did not begin a call" in told["account"]
    await house.events.until("worker_ready", 2)
    assert await house.call("echo", 3, timeout=PATIENCE) == 3
    assert house.ran == ["echo 1", "echo 3"]


async def test_a_worker_kept_by_a_health_check_or_a_call_is_not_taken_for_one_that_stands_still(
    house,
):
    await house.start(
        """
        import os, time
        from provider.dispatch import health
        @health
        def slow():
            time.sleep(4)
        def handle(command, arg):
            time.sleep(arg)
            return os.getpid()
        """
    )
    worker = house.worker
    await house.fleet.ask_health()
    with pytest.raises(CallTimeout, match="still waiting"):
        await house.call("sleep", 0, timeout=0.2)
    assert await house.call("sleep", 0) == worker
    running = house.submit("sleep", 4)
    with pytest.raises(CallTimeout, match="still waiting"):
        await house.call("sleep", 0, timeout=0.2)
    assert await running == worker
