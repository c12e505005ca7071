"""The event loop of a worker: whatever runs on it, it runs on, and nothing gets past a job."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from provider.worker.loops import Loop, active
from tests.conftest import PATIENCE


@pytest.fixture
def loop():
    before = set(threading.enumerate())
    loop = Loop()
    yield loop
    loop.close()
    assert set(threading.enumerate()) <= before


async def give(value):
    await asyncio.sleep(0)
    return value


def test_no_thread_before_the_first_coroutine():
    before = set(threading.enumerate())
    loop = Loop()
    assert set(threading.enumerate()) <= before
    loop.close()


def test_all_run_on_the_same_loop_in_a_thread_of_its_own(loop):
    async def where():
        return asyncio.get_running_loop(), threading.current_thread().name

    assert loop.run(give(5)) == 5
    first = loop.run(where())
    assert first == loop.run(where())
    assert first[1] == "provider-loop"


@pytest.mark.parametrize(
    "error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError]
)
def test_what_a_coroutine_raises_is_raised_where_it_is_waited_for(loop, error):
    async def fail():
        await asyncio.sleep(0)
        raise error("no")

    with pytest.raises(error):
        loop.run(fail())
    assert loop.run(give(5)) == 5


def test_a_task_that_leaves_does_not_end_the_loop(loop, capsys):
    async def leave():
        raise SystemExit(3)

    async def wait_for_it():
        with pytest.raises(SystemExit):
            await asyncio.get_running_loop().create_task(leave())
        return "still here"

    assert loop.run(wait_for_it()) == "still here"
    assert "raised SystemExit" in capsys.readouterr().err


def test_a_job_is_cancelled_where_it_waits(loop):
    begun, closed = threading.Event(), []

    async def wait():
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    job = loop.submit(wait())
    told = threading.Event()
    job.on_end(told.set)
    assert begun.wait(PATIENCE)
    assert not job.done
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        job.result()
    assert (job.done, closed) == (True, [True])
    assert told.wait(PATIENCE)


def test_a_job_that_is_cancelled_before_it_begins_ends_all_the_same(loop):
    held, goes_on = threading.Event(), threading.Event()

    async def hold():
        held.set()
        goes_on.wait(PATIENCE)

    first = loop.submit(hold())
    assert held.wait(PATIENCE)
    job = loop.submit(give(5))
    job.cancel()
    goes_on.set()
    first.result()
    with pytest.raises(asyncio.CancelledError):
        job.result()


def test_a_coroutine_knows_its_call_and_its_tasks_do(loop):
    call = (2, 7, b""), (5, 7, b"")

    async def both():
        return active.get(), await asyncio.create_task(later())

    async def later():
        return active.get()

    assert loop.run(both(), call) == (call, call)
    assert loop.run(later()) is None
    assert contextvars.copy_context().get(active) is None


def test_the_loop_does_not_wait_for_itself(loop):
    async def waits():
        loop.run(give(5))

    with pytest.raises(RuntimeError, match="await it instead"):
        loop.run(waits())


def test_what_is_left_is_cancelled_at_the_end():
    loop, ended, kept = Loop(), [], []

    async def stay():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def begin():
        kept.append(asyncio.create_task(stay()))
        await asyncio.sleep(0)

    loop.run(begin())
    loop.close()
    assert ended == [True]
