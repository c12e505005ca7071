"""Streams from a real worker: chunks against credit, and the end of each."""

from __future__ import annotations

import math
import time

import cbor2
import pytest

from provider.errors import CallError, Cancelled
from provider.wire.frames import Encoding, FrameType, call_frame, frame
from provider.wire.window import BYTES, CHUNKS
from provider.worker.streams import REMEMBERED, Streams

PROGRAM = """
    import asyncio
    import os
    import time

    from provider.dispatch import context

    said = []

    def count(to):
        try:
            for number in range(to):
                yield number
        finally:
            said.append("closed")

    async def count_slowly(to):
        try:
            for number in range(to):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            said.append("closed")

    def large(_):
        while True:
            yield b"x" * 600_000

    async def stuck(_):
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            said.append("closed")

    def broken(_):
        yield 1
        raise KeyError("lost")

    async def broken_slowly(_):
        yield 1
        raise KeyError("lost")

    def unfit(_):
        yield 1
        yield {1, 2}

    async def leaves(_):
        yield 1
        raise SystemExit(3)

    def stubborn(_):
        while True:
            try:
                yield 1
            except GeneratorExit:
                said.append("no")

    async def named(_):
        yield context().operation

    def patient(_):
        call = context()
        print("patient")
        while not call.cancelled:
            time.sleep(0.01)
        return "left"

    async def plain(arg):
        await asyncio.sleep(0)
        return [arg, context().operation]

    async def of_a_generator(to):
        return count(to)

    async def cancels_itself(_):
        raise asyncio.CancelledError

    def handle(command, arg):
        if command == "said":
            return [said.copy(), said.clear()][0]
        if command == "echo":
            return arg
        if command == "forks":
            return forks()
        return globals()[command](arg)

    def report(steps):
        call = context()
        for step in range(steps):
            call.progress(step, steps)
            yield step
        call.progress(steps, steps)

    def forks():
        child = os.fork()
        yield "child" if not child else "parent"
        if child:
            _, status = os.waitpid(child, 0)
            yield status

    async def hidden():
        try:
            await asyncio.Event().wait()
        finally:
            print("the task was cancelled", flush=True)

    kept = []

    async def leave_a_task(_):
        kept.append(asyncio.get_running_loop().create_task(hidden()))
        await asyncio.sleep(0)

    async def ask_the_task(_):
        return kept[0].done()
"""


@pytest.fixture(params=[1, 3], ids=["alone", "overlapping"])
def worker(request, code, start):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM), concurrency=request.param)
    return worker


def begin(worker, operation, argument=None, *, deadline=math.inf, encoding=Encoding.CBOR) -> int:
    """Ask for a stream; its number."""
    worker._number += 1
    payload = b"null" if encoding == Encoding.JSON else b""
    if encoding == Encoding.CBOR:
        payload = cbor2.dumps(argument)
    worker.send(
        call_frame(
            worker._number, operation.encode(), payload, encoding, deadline, FrameType.STREAM
        )
    )
    return worker._number


def credit(worker, number, count):
    worker.send(frame(FrameType.CREDIT, number, cbor2.dumps({"credit": count})))


def chunk(worker, number):
    kind, other, body = worker.next_frame()
    assert (kind, other) == (FrameType.CHUNK, number), (kind, other, body)
    return cbor2.loads(body)


def end(worker, number):
    """The end of this stream: None, or the error."""
    kind, other, body = worker.next_frame()
    assert other == number, (kind, other, body)
    if kind == FrameType.ERROR:
        return CallError.from_map(cbor2.loads(body))
    assert (kind, body) == (FrameType.END, b"")
    return None


def whole(worker, operation, argument=None):
    """All chunks of a stream, each acknowledged as it comes, and its end."""
    number, chunks = begin(worker, operation, argument), []
    while True:
        kind, other, body = worker.next_frame()
        assert other == number
        if kind == FrameType.CHUNK:
            chunks.append(cbor2.loads(body))
            credit(worker, number, 1)
        else:
            error = CallError.from_map(cbor2.loads(body)) if kind == FrameType.ERROR else None
            return chunks, error


@pytest.mark.parametrize("operation", ["count", "count_slowly", "of_a_generator"])
def test_items_come_one_by_one_and_then_the_end(worker, operation):
    more = 3 * CHUNKS + 1
    assert whole(worker, operation, more) == (list(range(more)), None)
    assert whole(worker, operation, 0) == ([], None)
    assert worker.ask("said") == ["closed"] * 2


@pytest.mark.parametrize("operation", ["count", "count_slowly", "of_a_generator"])
def test_without_being_asked_for_a_stream_they_are_a_list(worker, operation):
    assert worker.ask(operation, 5) == [0, 1, 2, 3, 4]


def test_a_coroutine_gives_its_result(worker):
    assert worker.ask("plain", 5) == [5, "plain"]
    assert whole(worker, "plain", 5) == ([[5, "plain"]], None)


def test_what_does_not_stream_is_one_chunk(worker):
    assert whole(worker, "echo", {"a": 1}) == ([{"a": 1}], None)


def test_chunks_travel_in_the_encoding_of_the_call(worker):
    number = begin(worker, "named", encoding=Encoding.JSON)
    assert worker.next_frame() == (FrameType.CHUNK, number, b'"named"')
    assert end(worker, number) is None


@pytest.mark.parametrize("operation", ["count", "count_slowly"])
def test_nothing_is_produced_without_credit(worker, operation):
    number = begin(worker, operation, 10 * CHUNKS)
    for expected in range(CHUNKS):
        assert chunk(worker, number) == expected
    credit(worker, number, 2)
    assert [chunk(worker, number), chunk(worker, number)] == [CHUNKS, CHUNKS + 1]
    worker.send(frame(FrameType.CANCEL, number))
    assert isinstance(end(worker, number), Cancelled)  # and no chunk before it
    assert worker.ask("said") == ["closed"]


def test_large_items_use_up_the_window_before_many_do(worker):
    number = begin(worker, "large")
    sizes = 0
    while sizes < BYTES:
        sizes += len(chunk(worker, number))
    worker.send(frame(FrameType.CANCEL, number))
    assert isinstance(end(worker, number), Cancelled)


def test_who_waits_on_the_loop_is_cancelled_at_once(worker):
    number = begin(worker, "stuck")
    assert chunk(worker, number) == "one"
    worker.send(frame(FrameType.CANCEL, number))
    assert isinstance(end(worker, number), Cancelled)
    assert worker.ask("said") == ["closed"]


def test_a_stream_that_was_cancelled_before_its_turn_does_not_run(code, start):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM))
    first = begin(worker, "count", 10 * CHUNKS)
    for _ in range(CHUNKS):
        chunk(worker, first)
    second = begin(worker, "count", 3)
    plain = worker.begin("echo", 5)
    worker.send(frame(FrameType.CANCEL, second), frame(FrameType.CANCEL, first))
    assert isinstance(end(worker, first), Cancelled)
    assert isinstance(end(worker, second), Cancelled)
    assert worker.answer() == (plain, 5)
    assert worker.ask("said") == ["closed"]


def test_what_it_says_of_how_far_it_is_comes_between_and_before_the_end(worker):
    number = begin(worker, "report", 3)
    told = []
    while (got := worker.next_frame())[0] != FrameType.END:
        kind, other, body = got
        assert other == number
        told.append(cbor2.loads(body)["done"] if kind == FrameType.PROGRESS else "chunk")
    assert told[0] == 0
    assert told[-1] == 3
    assert told.count("chunk") == 3


def test_what_arrives_during_a_stream_keeps_its_order(code, start):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM))
    number = begin(worker, "count", CHUNKS + 1)
    first = worker.begin("echo", 1)
    worker.send(frame(FrameType.RELOAD, 900, cbor2.dumps({"force": True})))
    second = worker.begin("echo", 2)
    for expected in range(CHUNKS):
        assert chunk(worker, number) == expected
    credit(worker, number, CHUNKS)
    assert chunk(worker, number) == CHUNKS
    assert end(worker, number) is None
    assert worker.answer() == (first, 1)
    assert worker.next_frame()[:2] == (FrameType.RELOADED, 900)
    assert worker.answer() == (second, 2)


def test_calls_run_beside_streams_that_wait(code, start):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM), concurrency=2)
    streams = [begin(worker, "count", CHUNKS + 1) for _ in range(2)]
    for _ in range(2 * CHUNKS):
        assert worker.next_frame()[0] == FrameType.CHUNK
    # There is no room for this one until one of the streams has ended, which needs credit.
    waits = worker.begin("echo", 5)
    for number in streams:
        credit(worker, number, CHUNKS)
    kinds = [worker.next_frame()[:2] for _ in range(5)]
    assert (FrameType.RESULT, waits) in kinds
    assert [kind for kind, _ in kinds].count(FrameType.END) == 2


def test_who_leaves_a_call_beside_a_stream_is_known_to_have_left(code, start):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM), concurrency=2)
    waits = worker.begin("patient", None)
    begin(worker, "count", CHUNKS + 1)
    for _ in range(CHUNKS):
        assert worker.next_frame()[0] == FrameType.CHUNK
    worker.send(frame(FrameType.CANCEL, waits))
    assert worker.answer() == (waits, "left")


@pytest.mark.parametrize("next_", ["call", "call at once", "reload"])
def test_who_leaves_is_known_to_have_left_though_something_waits_for_room(code, start, next_):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM), concurrency=2)
    first, second = worker.begin("patient", None), worker.begin("patient", None)
    worker.wait_for_print(b"patient", "stdout")
    left = frame(FrameType.CANCEL, first)
    if next_ == "reload":
        worker.send(frame(FrameType.RELOAD, 9, cbor2.dumps({"force": True})))
    elif next_ == "call":
        worker.begin("echo", 5)
    else:
        left = worker.call_bytes("echo", 5) + left
    time.sleep(0.2)  # it waits for room now
    worker.send(left)
    assert worker.answer() == (first, "left")
    if next_ != "reload":
        assert worker.answer() == (3, 5)
    worker.send(frame(FrameType.CANCEL, second))
    assert worker.answer() == (second, "left")


@pytest.mark.parametrize("frames", [[FrameType.RELOAD], [FrameType.BYE]], ids=["reload", "bye"])
def test_reloading_and_leaving_wait_for_streams(code, start, frames):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM), concurrency=2)
    number = begin(worker, "count", CHUNKS + 1)
    for _ in range(CHUNKS):
        chunk(worker, number)
    for kind in frames:
        worker.send(frame(kind, 900, cbor2.dumps({"force": False})))
    credit(worker, number, CHUNKS)
    assert chunk(worker, number) == CHUNKS
    assert end(worker, number) is None
    if frames == [FrameType.RELOAD]:
        assert worker.next_frame()[:2] == (FrameType.RELOADED, 900)
    else:
        assert worker.exit_code() == 0


@pytest.mark.parametrize("operation", ["broken", "broken_slowly"])
def test_what_a_generator_raises_ends_its_stream(worker, operation):
    chunks, error = whole(worker, operation)
    assert chunks == [1]
    assert (error.kind, error.type, error.message) == ("handler_error", "KeyError", "'lost'")
    assert "broken" in error.traceback


def test_an_item_that_cannot_travel_ends_its_stream(worker):
    chunks, error = whole(worker, "unfit")
    assert chunks == [1]
    assert error.kind == "bad_result"


def test_leaving_and_cancelling_on_the_loop_are_errors_like_others(worker):
    chunks, error = whole(worker, "leaves")
    assert chunks == [1]
    assert "sys.exit(3)" in error.message
    _, error = whole(worker, "cancels_itself")
    assert (error.kind, error.type) == ("handler_error", "CancelledError")
    assert whole(worker, "named") == (["named"], None)


def test_a_generator_that_refuses_to_be_closed_is_named(worker):
    number = begin(worker, "stubborn")
    chunk(worker, number)
    worker.send(frame(FrameType.CANCEL, number))
    while (ended := worker.next_frame())[0] == FrameType.CHUNK:
        pass
    assert ended[0] == FrameType.ERROR
    worker.wait_for_print(b"a generator could not be closed", "stderr")
    assert "no" in worker.ask("said")


def test_a_stream_whose_deadline_has_passed_is_not_run(worker):
    number = begin(worker, "count", 3, deadline=time.monotonic() - 1)
    assert end(worker, number).kind == "timeout"
    assert worker.ask("said") == []


def test_an_endless_list_is_refused(code, start):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM), limits={"items": 50})
    for operation in ("count", "count_slowly"):
        assert worker.ask(operation, 50) == list(range(50))
        with pytest.raises(CallError, match="more than 50 items; ask for a stream") as refused:
            worker.ask(operation, 51)
        assert refused.value.kind == "bad_result"
    assert worker.ask("said") == ["closed"] * 4


def test_a_forked_child_leaves_its_stream(code, start):
    worker = start()
    worker.load(code.write("dispatch.py", PROGRAM))
    number = begin(worker, "forks")
    assert [chunk(worker, number), chunk(worker, number)] == ["parent", 0]
    assert end(worker, number) is None


def test_the_loop_goes_on_between_calls_and_ends_with_the_worker(worker):
    worker.ask("leave_a_task")
    assert worker.ask("ask_the_task") is False
    assert worker.bye() == 0
    assert b"the task was cancelled" in worker.printed()


def test_a_host_that_is_gone_is_not_waited_for(worker):
    number = begin(worker, "count", 10 * CHUNKS)
    for _ in range(CHUNKS):
        chunk(worker, number)
    worker.link.close()
    assert worker.exit_code() in (0, 1)


def test_who_has_left_is_not_remembered_for_ever():
    streams = Streams(None, None, None, None)
    for number in range(1, 10 * REMEMBERED):
        streams.heed((int(FrameType.CANCEL), number, b""))
        assert len(streams._unwanted) <= REMEMBERED
