"""What the worker is asked between calls, and how long it may take over it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from provider.host.question import Question
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from provider.host.life import Cause


class Link:
    """As much of a link as a question sees: what it has begun, and that it is given up."""

    def __init__(self) -> None:
        self.running = 0
        self.questions: set[int] = set()
        self.given_up = ""
        self.cause: Cause | None = None
        self.looks = 0
        self.news = asyncio.Event()

    def begun(self) -> int:
        self.looks += 1
        self.news.set()
        return self.running

    def give_up(self, why: str, cause: Cause) -> None:
        self.given_up, self.cause = why, cause
        self.news.set()

    async def until(self, so) -> None:
        async with asyncio.timeout(PATIENCE):
            while not so():
                self.news.clear()
                await self.news.wait()


async def test_one_that_hangs_ends_the_worker():
    link, question = Link(), Question("the question", 0.01)
    question.asked(link, 7)
    link.running = 7
    await link.until(lambda: link.given_up)
    assert link.given_up == "the question took longer than 0.01 s"
    assert link.looks == 2  # so that it had all its time, whenever it began


async def test_the_clock_stands_while_a_call_before_it_runs():
    link, question = Link(), Question("the question", 0.01)
    question.asked(link, 7)
    link.running = 6
    await link.until(lambda: link.looks > 5)
    assert not link.given_up
    question.settled()


async def test_one_that_is_answered_is_watched_no_more():
    link, question = Link(), Question("the question", 0.01)
    link.running = 7
    question.asked(link, 7)
    question.settled()
    question.settled()
    other = Link()
    question.asked(other, 8)  # its time is its own
    await other.until(lambda: other.looks > 3)
    assert link.looks == 0
    question.settled()
