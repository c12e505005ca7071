"""What came over the link is taken, whatever comes after it."""

from __future__ import annotations

import asyncio
import time

import pytest

from provider.errors import WorkerLost


async def test_what_was_finished_before_the_garbage_is_delivered(house):
    await house.start(
        """
        import os, socket, time
        def handle(command, arg):
            if command == "garbage":
                time.sleep(0.2)  # so that what is held has gone out
                for descriptor in range(3, 1024):
                    try:
                        if socket.socket(fileno=os.dup(descriptor)).send(b"garbage" * 10):
                            break
                    except OSError:
                        pass
                time.sleep(3600)
            return arg
        """
    )
    finished = [house.submit("echo", number) for number in range(50)]
    lost = house.submit("garbage")
    await house.turn()
    time.sleep(1)  # all of it is read at once
    assert await asyncio.gather(*finished) == list(range(50))
    with pytest.raises(WorkerLost, match="it sent what is no frame"):
        await lost
