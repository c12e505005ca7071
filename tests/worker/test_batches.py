"""Calls of one operation that are run together, each answered as if it had come alone."""

from __future__ import annotations

import math
import os
import socket
import time

import pytest

from provider.dispatch import operation
from provider.errors import (
    BadRequest,
    BadResult,
    CallTimeout,
    HandlerError,
    InvalidArgument,
)
from provider.wire.about import write_about
from provider.wire.frames import Encoding, FrameReader, FrameType, call_frame, frame
from provider.worker.batches import BatchedOperation, Gathering
from provider.worker.incoming import Incoming
from provider.worker.operations import DeclarationError, Refusal
from tests.worker.conftest import Code, WorkerProcess

TEXT = """
    from typing import Any
    import time
    from provider.dispatch import OperationError, context, operation
    sizes = []

    @operation(batch=4)
    def double(numbers):
        sizes.append(len(numbers))
        return [OperationError("no sevens", code=407) if n == 7 else n * 2 for n in numbers]

    @operation(batch=4, wait=20)
    def patient(numbers):
        return [[len(numbers), n] for n in numbers]

    @operation(batch=4)
    async def later(numbers):
        return (n for n in numbers)

    @operation(batch=4)
    def typed(numbers: list[int]):
        return numbers

    @operation(batch=4)
    def wrong(how):
        if how[0] == "raise":
            1 / 0
        return {"few": how[1:], "many": [*how, 1], "text": "x" * len(how), "none": None,
                "mixed": [object(), *how[1:]]}[how[0]]

    @operation(batch=4)
    def endless(numbers):
        while True:
            yield 1

    @operation(batch=4)
    def nosy(numbers):
        return [context().operation for n in numbers]

    @operation(batch=2)
    def leave(numbers):
        import os
        os._exit(7)

    @operation
    def told():
        said, sizes[:] = list(sizes), []
        return said
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The worker of the tests that leave it alive."""
    worker = WorkerProcess()
    worker.load(Code(tmp_path_factory.mktemp("batches")).write("dispatch.py", TEXT))
    yield worker
    worker.end()


@pytest.fixture
def served(shared):
    shared.ask("told")
    return shared


@pytest.fixture
def alone(code, worker):
    """A worker that may be ended."""
    worker.load(code.write("dispatch.py", TEXT))
    return worker


def burst(worker, *calls, **more):
    """Send calls in one piece; returns their results, which come in the order of the calls."""
    return sent(worker, *(worker.call_bytes(*call, **more) for call in calls))


def sent(worker, *frames):
    worker.send(b"".join(frames))
    answers = [worker.answer() for _ in frames]
    numbers = [number for number, _ in answers]
    assert numbers == list(range(numbers[0], numbers[0] + len(frames)))
    return [result for _, result in answers]


# --- what is put together -------------------------------------------------------------------------


def test_calls_at_hand_are_run_together_up_to_the_limit(served):
    before = served.begun
    assert burst(served, *[("double", n) for n in range(6)]) == [0, 2, 4, 6, 8, 10]
    assert served.begun == before + 6
    assert served.ask("told") == [4, 2]


def test_nothing_overtakes(served):
    calls = [("double", 1), ("x.double", 2), ("told",), ("double", 3), ("typed", 4), ("double", 5)]
    assert burst(served, *calls) == [2, 4, [2], 6, 4, 10]
    assert served.ask("told") == [1, 1]


def test_a_batch_waits_for_more_while_nothing_else_is_at_hand(served):
    first = served.begin("patient", 1)
    for member in (2, 3, 4):
        assert served.begun < first
        served.begin("patient", member)
    assert [served.answer() for _ in range(4)] == [(first + n, [4, n + 1]) for n in range(4)]


def test_whatever_else_comes_ends_the_waiting(alone):
    assert burst(alone, ("patient", 1), ("double", 2)) == [[1, 1], 4]
    alone.begin("patient", 3)
    alone.send(frame(FrameType.HEALTH, 9))
    assert alone.answer() == (3, [1, 3])
    assert alone.next_frame()[0] == FrameType.TROUBLE
    alone.begin("patient", 4)
    alone.send(frame(FrameType.BYE, 0))
    assert alone.answer() == (4, [1, 4])
    assert alone.exit_code() == 0


def test_a_batch_does_not_wait_until_a_caller_has_no_time_left(served):
    # After half of it; after the 20 s of the operation it would be too late.
    assert served.ask("patient", 1, deadline=time.monotonic() + 2) == [1, 1]


def test_what_waits_ends_with_the_host(alone):
    alone.begin("patient", 1)
    alone.link.shutdown(socket.SHUT_RDWR)
    assert alone.exit_code() == 0


# --- each its own answer --------------------------------------------------------------------------


def test_each_call_has_its_own_error(served):
    late = served.call_bytes("double", 1, deadline=time.monotonic() - 1)
    broken = served.call_bytes("double", payload=b"\xff", encoding=Encoding.CBOR)
    absent = served.call_bytes("double")
    good = served.call_bytes("double", 4)
    results = sent(served, late, broken, absent, good, served.call_bytes("double", 7))
    assert [type(result) for result in results[:3]] == [CallTimeout, BadRequest, InvalidArgument]
    assert "was not run" in results[0].message
    assert results[3] == 8
    assert (results[4].code, results[4].message) == (407, "no sevens")
    assert served.ask("told") == [1, 1]


def test_a_type_that_raises_what_it_likes_spoils_its_own_call_only(code, worker):
    program = code.write(
        "dispatch.py",
        """
        from provider.dispatch import operation
        from pydantic import BaseModel, field_validator

        class Item(BaseModel):
            number: int

            @field_validator("number")
            def known(cls, number):
                if number == 3:
                    raise SystemExit(3)
                return {1: 10, 2: 20}[number]

        @operation(batch=4)
        def numbers(items: list[Item]):
            return [item.number for item in items]
        """,
    )
    worker.load(program)
    first, unknown, leaves, last = burst(
        worker, *(("numbers", {"number": number}) for number in (1, 7, 3, 2))
    )
    assert (first, last) == (10, 20)
    assert (type(unknown), unknown.type) == (HandlerError, "KeyError")
    assert (type(leaves), leaves.type) == (HandlerError, "SystemExit")


def test_what_is_known_of_the_call_after_a_batch_stays_known(code, worker):
    program = code.write(
        "dispatch.py",
        """
        from provider.dispatch import context, operation

        @operation(batch=4)
        def double(numbers):
            return [number * 2 for number in numbers]

        @operation
        def who():
            return context().caller
        """,
    )
    worker.load(program)
    about = frame(FrameType.ABOUT, 3, write_about({}, "M1"))
    calls = [worker.call_bytes(*call) for call in (("double", 1), ("double", 2), ("who",))]
    worker.send(calls[0] + calls[1] + about + calls[2])
    assert [worker.answer() for _ in range(3)] == [(1, 2), (2, 4), (3, "M1")]


def test_what_is_known_of_a_call_that_has_not_come_yet_is_kept(link):
    ours, _theirs = link
    batched = made(lambda members: members)
    about = frame(FrameType.ABOUT, 2, write_about({}, "M1"))
    first = FrameReader().feed(call_frame(1, b"x", b"\x01", Encoding.CBOR, math.inf) + about)
    incoming = Incoming(ours, lambda _: None, lambda: False)
    handed = list(Gathering(iter(first), lambda _: batched, incoming, lambda: None))
    assert handed[0].last == 1
    assert handed[1:] == first[1:]


def test_one_member_that_does_not_fit_leaves_the_others(served):
    first, second, third = burst(served, ("typed", 1), ("typed", "x"), ("typed", 3))
    assert (first, third) == (1, 3)
    assert isinstance(second, InvalidArgument)


def test_each_is_answered_in_its_own_encoding(served):
    as_json = served.call_bytes("double", payload=b"2", encoding=Encoding.JSON)
    served.send(as_json + served.call_bytes("double", 3))
    assert served.next_frame()[2] == b"4"
    assert served.answer()[1] == 6


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("few", BadResult, "wrong returned 1 results for a batch of 2; it has to return a list"),
        ("many", BadResult, "more than 2 results"),
        ("text", BadResult, "returned a str"),
        ("none", BadResult, "returned a NoneType"),
        ("raise", HandlerError, "division by zero"),
    ],
)
def test_what_spoils_all_is_told_to_all(served, how, kind, words):
    for error in burst(served, ("wrong", how), ("wrong", 2)):
        assert type(error) is kind
        assert words in error.message


def test_a_result_that_cannot_travel_is_the_answer_to_its_call(served):
    first, second = burst(served, ("wrong", "mixed"), ("wrong", 2))
    assert isinstance(first, BadResult)
    assert second == 2


def test_a_generator_that_does_not_end_is_ended(served):
    (answer,) = burst(served, ("endless", 1))
    assert isinstance(answer, BadResult)
    assert "endless returned more than 1" in answer.message


def test_a_coroutine_may_give_any_iterable(served):
    assert (burst(served, ("later", 1), ("later", 2))) == [1, 2]


def test_a_batch_has_no_context(served):
    (error,) = burst(served, ("nosy", 1))
    assert error.type == "LookupError"


def test_a_worker_that_dies_had_begun_all_of_them(alone):
    alone.send(b"".join(alone.call_bytes("leave", n) for n in range(3)))
    assert alone.exit_code() == 7
    assert alone.begun == 2


def test_where_calls_overlap_batches_do(code, worker, tmp_path):
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    text = """
    from provider.dispatch import operation
    @operation(batch=3)
    def open_gate(gates):
        return [[len(gates), open(gate, "wb").write(b"") if i else open(gate).read()]
                for i, gate in enumerate(gates)] if len(gates) == 1 else [len(gates) for _ in gates]
    @operation
    def knock(gate):
        open(gate, "wb").close()
    """
    worker.load(code.write("dispatch.py", text), concurrency=2)
    worker.begin("open_gate", gate)
    assert burst(worker, ("knock", gate))
    assert worker.answer()[0] in (1, 2)
    assert burst(worker, ("open_gate", 1), ("open_gate", 2), ("open_gate", 3)) == [3, 3, 3]
    worker.begin("open_gate", "late", deadline=time.monotonic() - 1)
    assert isinstance(worker.answer()[1], CallTimeout)


# --- the frames -----------------------------------------------------------------------------------


@pytest.fixture
def link():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_what_came_while_it_waited_is_given_back(link):
    ours, theirs = link
    batched = made(lambda members: members, wait=60)
    calls = [call_frame(number, b"x", b"\x05", Encoding.CBOR, math.inf) for number in (1, 2, 3)]
    theirs.sendall(calls[1] + frame(FrameType.HEALTH, 9) + calls[2])
    incoming, idle = Incoming(ours, lambda _: None, lambda: False), []
    first = iter(FrameReader().feed(calls[0]))
    gathering = Gathering(first, lambda _: batched, incoming, lambda: idle.append(True))
    handed = iter(gathering)
    batch = next(handed)
    assert (batch.first, batch.last) == (1, 2)
    assert next(handed)[0] == FrameType.HEALTH
    assert idle  # what was held has gone out before anything was waited for
    gathering.give_back()
    assert [number for _, number, _ in incoming.receive()] == [3]


# --- the operation --------------------------------------------------------------------------------


def made(function, wait=0.0):
    declared = operation(batch=4, wait=wait)(function)
    return BatchedOperation(declared.__provider_operation__, function)


def test_one_alone_is_a_list_of_one():
    assert made(lambda members: [len(members)]).call(5, True) == 1
    assert made(lambda *, members: members).call(5, True) == 5
    with pytest.raises(KeyError):
        made(lambda members: [KeyError("x")]).call(5, True)
    with pytest.raises(Refusal) as caught:
        made(lambda members: []).call(5, True)
    assert isinstance(caught.value.error, BadResult)
    with pytest.raises(Refusal) as caught:
        made(lambda members=(): members).call(None, False)
    assert isinstance(caught.value.error, InvalidArgument)


def test_a_batch_can_take_no_context():
    from provider.dispatch import Context

    def function(members, context: Context):
        """Has many callers."""

    with pytest.raises(DeclarationError, match="many callers and can take no context"):
        made(function)


@pytest.mark.parametrize("batch", [0, 257])
def test_a_batch_has_a_size(batch):
    with pytest.raises(ValueError, match="not between 1 and 256"):
        operation(batch=batch)(made)
