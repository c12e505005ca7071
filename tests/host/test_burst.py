"""What is gathered is sent at the end, whoever asked for one."""

from __future__ import annotations

import asyncio

from provider.host.burst import Burst


async def test_actions_run_in_order_when_a_burst_ends():
    burst, done = Burst(), []
    burst.at_end(lambda: done.append("calls"))
    burst.at_end(lambda: done.append("answers"))
    burst.begin()
    assert burst.open
    burst.want()
    await asyncio.sleep(0)
    assert done == []
    burst.end()
    assert done == ["calls", "answers"]
    assert not burst.open


async def test_a_burst_that_nobody_opened_ends_once_with_this_turn():
    burst, done = Burst(), []
    burst.at_end(lambda: done.append(1))
    burst.want()
    burst.want()
    assert done == []
    await asyncio.sleep(0)
    assert done == [1]
    burst.want()
    await asyncio.sleep(0)
    assert done == [1, 1]
