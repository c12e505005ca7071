"""What came over the link is taken, whatever comes after it."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest
import uvloop

from provider.errors import WorkerLost
from provider.host.channel import Channel
from provider.wire.frames import FrameType, frame
from provider.wire.progress import Progress, new_memory


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


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_was_sent_before_the_end_is_taken_though_something_is_written_meanwhile(loop):
    came = []

    async def end_while_written_to():
        ended = []
        channel = Channel(came.extend, pytest.fail, ended.append)
        ours, worker = socket.socketpair()
        ours.setblocking(False)
        memory = new_memory()
        await channel.attach(ours, Progress(memory))
        os.close(memory)
        worker.sendall(b"".join(frame(FrameType.RESULT, each, b"answer") for each in range(1000)))
        worker.close()
        channel.write(frame(FrameType.RELOAD, 1))
        await asyncio.wait_for(channel.ended.wait(), 10)
        channel.close()
        channel.forget()
        assert len(ended) == 1

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(end_while_written_to())
    assert [number for _, number, _ in came] == list(range(1000))
