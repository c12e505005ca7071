"""The load of inferences: so many under way at a time, each answer looked at.

    python -m benchmarks.inference.load PORT CELL IN_FLIGHT SECONDS SAME

The rule of this file: an answer that is wrong or missing makes the run void.
"""

from __future__ import annotations

import array
import asyncio
import sys
import time

from benchmarks.inference.question import METHOD, OPTIONS, grpc, is_right, question
from benchmarks.measuring.counted import begin, end, give_up
from benchmarks.measuring.processes import PATIENCE
from benchmarks.measuring.said import Failed

WARM_UP = 0.5
"""Seconds of calls before those that are counted."""


async def load(port: int, cell: str, in_flight: int, seconds: float, same: bool) -> None:
    """Ask for so long, and say what came of it.

    Args:
        port: of the server.
        cell: `text` or `tensor`.
        in_flight: calls under way at a time.
        seconds: that are counted.
        same: whether the question is the right answer.
    """
    asked, expected = question(cell)
    latencies = array.array("d")
    news = asyncio.Event()
    async with grpc().aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        infer = channel.unary_unary(METHOD)

        async def ask() -> None:
            while True:
                since = time.perf_counter()
                answer = await infer(asked, timeout=PATIENCE)
                latencies.append(time.perf_counter() - since)
                news.set()
                if not (answer == asked if same else is_right(answer, expected)):
                    raise Failed(f"a wrong answer: {answer[:500]!r}")

        def void(task: asyncio.Task[None]) -> None:
            give_up(f"{cell}: {task.exception()}")

        asking = [asyncio.create_task(ask()) for _ in range(in_flight)]
        for each in asking:
            each.add_done_callback(void)
        # It begins and ends with an answer, so that of slow ones there is no part.
        await asyncio.sleep(WARM_UP)  # for as long as it is told to
        news.clear()
        await news.wait()
        begin()
        del latencies[:]
        await asyncio.sleep(seconds)  # answers are taken meanwhile
        news.clear()
        await news.wait()
        end(latencies)


if __name__ == "__main__":
    port, cell, in_flight, seconds, same = sys.argv[1:]
    asyncio.run(load(int(port), cell, int(in_flight), float(seconds), same == "1"))
