"""How far calls say they are: kept for the status, passed on to streams, bounded either way."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os

import pytest

from provider.errors import WorkerLost
from provider.host.advances import PAUSE, REMEMBERED, SHOWN, Advances
from provider.host.call import Call, StreamedCall
from provider.wire.advance import advance, write_advance
from provider.wire.frames import Encoding, FrameError
from tests.conftest import PATIENCE

SOURCE = """
    import os
    from provider.dispatch import context

    HERE = os.path.dirname(os.path.abspath(__file__))

    def handle(command, arg):
        context().progress(1, arg, "reading")
        print("said", flush=True)
        with open(os.path.join(HERE, "gate"), "rb", buffering=0) as gate:
            gate.read(1)
        return arg
"""


def call(number, operation="work", **more):
    made = Call(operation, b"", Encoding.ABSENT, 0.0, **more)
    made.number = number
    return made


def stream(on_progress):
    made = StreamedCall(
        "work", b"", Encoding.ABSENT, 0.0, on_chunk=lambda *_: None, on_progress=on_progress
    )
    made.number = 1
    return made


def body(done, total=None, note=""):
    return write_advance(advance(done, total, note))


async def test_the_newest_word_of_a_running_call_stands_in_the_status(house, events):
    os.mkfifo(house.folder / "gate")
    gate = os.open(house.folder / "gate", os.O_RDWR)
    try:
        await house.start(SOURCE)
        asked = house.submit("work", 10, id="me")
        told = await events.until("progress")
        assert told["level"] == "debug"
        assert {name: told[name] for name in ("operation", "request_id", "done", "note")} == {
            "operation": "work",
            "request_id": "me",
            "done": 1,
            "note": "reading",
        }
        (word,) = house.fleet.link.advances.of(house.fleet.link.calls)
        assert word.pop("seconds") >= 0
        assert word == {
            "operation": "work",
            "request_id": "me",
            "done": 1,
            "total": 10,
            "note": "reading",
        }
        os.write(gate, b"x")
        assert await asked == 10
        assert house.fleet.link.advances.of(house.fleet.link.calls) == []
    finally:
        os.close(gate)


def test_what_calls_leave_is_bounded_and_so_is_the_status(events):
    advances = Advances()
    running = {number: call(number, "x" * 256) for number in range(1, SHOWN + 3)}
    for each in running.values():
        advances.take(each, body(each.number), running)
    shown = advances.of(running)
    assert [word["done"] for word in shown] == list(range(1, SHOWN + 1))
    assert len(json.dumps(shown)) < 400 * SHOWN
    for number in range(100, 100 + 10 * REMEMBERED):
        advances.take(call(number), body(1), running)
    assert len(vars(advances)["_newest"]) <= REMEMBERED
    answered = running[1]
    answered.open = False
    assert advances.of(running)[0]["done"] == 2
    assert advances.of({}) == []


def test_a_word_that_is_none_is_no_frame():
    with pytest.raises(FrameError):
        Advances().take(call(1), b"\xff", {})


async def test_a_stream_is_told_the_newest_but_not_too_often(events):
    told, news = [], asyncio.Event()

    def on_progress(call, word):
        told.append((word["done"], call.told))
        news.set()

    made, advances = stream(on_progress), Advances()
    for done in range(1000):
        advances.take(made, body(done), {1: made})
    async with asyncio.timeout(PATIENCE):
        while told[-1][0] != 999:
            news.clear()
            await news.wait()
    assert told[0][0] == 0
    times = [at for _, at in told]
    # The timer of the loop may be a little early.
    assert all(b - a >= PAUSE * 0.9 for a, b in itertools.pairwise(times))
    told.clear()
    advances.take(made, body(1000), {1: made})
    made.tell()  # as its end does
    made.tell()
    assert [done for done, _ in told] == [1000]


def test_a_stream_that_has_ended_or_does_not_want_to_know_is_told_nothing(events):
    told = []
    advances, made = Advances(), stream(lambda *word: told.append(word))
    made.open = False
    advances.take(made, body(1), {1: made})
    assert told == []
    advances.take(stream(None), body(1), {})


@pytest.mark.parametrize(
    "says",
    [
        "link.sendall(bytes_of(FrameType.PROGRESS, 1, b'x' * 100_000))",
        "frame(FrameType.PROGRESS, 1, {'done': 'all'})",
        "frame(FrameType.PROGRESS, 1, {'done': float('nan'), 'total': None, 'note': ''})",
    ],
)
async def test_a_worker_whose_words_are_none_is_ended(house, fake_python, says):
    await serve_with(house, fake_python, says)
    with pytest.raises(WorkerLost, match="no progress"):
        await house.submit("how_far", 5)


async def test_a_worker_that_talks_without_end_about_calls_that_are_not_there_is_ignored(
    house, fake_python
):
    word = "{'done': 1, 'total': None, 'note': ''}"
    talk = f"[frame(FrameType.PROGRESS, number, {word}) for number in range(2, 20_002)]"
    await serve_with(house, fake_python, f"{talk}; frame(FrameType.RESULT, 1, 7)")
    assert await house.submit("how_far", 5) == 7
    assert vars(house.fleet.link.advances)["_newest"] == {}


async def serve_with(house, fake_python, says):
    """Serve with a worker that does this with its first call."""
    house.build(SOURCE)
    python = fake_python(
        f"""
        from provider.wire.progress import Progress
        progress = Progress(int(sys.argv[5]))
        frame(FrameType.HELLO, 0, {{'version': VERSION}})
        frame(FrameType.READY, 0, {{'files': [], 'programs': []}})
        while b"how_far" not in link.recv(65536):
            pass
        progress.begin(1)
        {says}
        time.sleep(3600)
        """
    )
    await house.start(SOURCE, setup=dataclasses.replace(house.setup, python=python))
