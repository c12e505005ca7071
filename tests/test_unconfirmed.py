"""What was sent and may not have arrived: forgotten in order, asked for seldom, never too much."""

from __future__ import annotations

import asyncio

from provider import unconfirmed
from provider.unconfirmed import CROWDED, PIECE, RELIEVED, Unconfirmed


class Server:
    """Takes PINGs, and answers them when it is told to."""

    def __init__(self) -> None:
        self.there = True
        self.asked: list[unconfirmed.Asked] = []
        self.sent = Unconfirmed(self._ping)

    def _ping(self, asked: unconfirmed.Asked) -> bool:
        if self.there:
            self.asked.append(asked)
        return self.there

    def answer(self) -> None:
        asked = self.asked.pop(0)
        assert not asked.done()
        asked.set_result(True)

    async def pinged(self) -> None:
        async with asyncio.timeout(20):
            while not self.asked:
                await asyncio.sleep(0.005)  # it is a timer that asks


async def test_a_pong_confirms_what_stood_before_its_ping():
    server = Server()
    server.sent.add(b"one")
    server.sent.add(b"two")
    await server.pinged()
    server.sent.add(b"three")
    server.answer()
    assert server.sent.commands == [b"three"]
    assert server.sent.size == 5
    await server.pinged()
    server.answer()
    assert (server.sent.commands, server.sent.size) == ([], 0)
    # And nobody is asked where there is nothing to confirm.
    await asyncio.sleep(2 * unconfirmed.PAUSE)
    assert not server.asked


async def test_one_ping_at_a_time_however_much_is_sent():
    server = Server()
    for _ in range(1000):
        server.sent.add(b"x" * 100)
    await server.pinged()
    for _ in range(1000):
        server.sent.add(b"x" * 100)
    await asyncio.sleep(2 * unconfirmed.PAUSE)
    assert len(server.asked) == 1


async def test_much_is_asked_for_at_once():
    server = Server()
    server.sent.add(b"x" * PIECE)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(server.asked) == 1


async def test_a_pong_of_a_connection_that_is_gone_confirms_nothing():
    server = Server()
    server.sent.add(b"one")
    await server.pinged()
    assert server.sent.take_back([]) == [b"one"]
    server.answer()
    assert server.sent.commands == [b"one"]


async def test_what_was_never_written_is_not_taken_back():
    server = Server()
    # Two that are equal are two.
    written, waiting = (b"a%d" % number for number in (1, 1))
    server.sent.add(written)
    server.sent.add(waiting)
    (again,) = server.sent.take_back([waiting])
    assert again is written


async def test_while_nobody_can_be_asked_everything_is_kept():
    server = Server()
    server.there = False
    server.sent.add(b"one")
    await asyncio.sleep(2 * unconfirmed.PAUSE)
    assert server.sent.commands == [b"one"]
    server.there = True
    server.sent.connected()
    await server.pinged()
    server.answer()
    assert server.sent.commands == []


async def test_who_waits_for_everything_to_be_read_is_told():
    server = Server()
    await server.sent.empty()
    server.sent.add(b"one")
    waiting = asyncio.create_task(server.sent.empty())
    await server.pinged()
    server.sent.add(b"two")
    server.answer()
    await server.pinged()
    assert not waiting.done()
    server.answer()
    await asyncio.wait_for(waiting, 20)
    server.sent.add(b"three")
    waiting = asyncio.create_task(server.sent.empty())
    await server.pinged()
    server.sent.forget()
    await asyncio.wait_for(waiting, 20)


async def test_too_much_is_told_of_once_and_so_is_its_end():
    server, told = Server(), []
    server.sent.on_crowded = told.append
    while server.sent.size < CROWDED:
        assert not told
        server.sent.add(b"x" * PIECE)
    server.sent.add(b"x")
    assert told == [True]
    await server.pinged()
    server.sent.add(b"x" * (RELIEVED + PIECE))
    server.answer()
    assert told == [True]
    await server.pinged()
    server.answer()
    assert told == [True, False]
