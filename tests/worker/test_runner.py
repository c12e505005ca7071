"""One call: bytes in, one frame out, whatever the user's code does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neotasker import embed, task_supervisor

from provider.dispatch import OperationError
from provider.errors import CallError, HandlerError
from provider.wire.frames import Encoding, FrameReader, FrameType
from provider.wire.values import Limits, Values
from provider.worker.faults import MAX_TRACEBACK, described, shown, text_of, traced
from provider.worker.loader import LoadError
from provider.worker.runner import Runner, as_handler_error, load_failure
from tests.conftest import PATIENCE

VALUES = Values()


class Served:
    """A program that is one function, as `loader.Program` is to the runner."""

    operations = None

    def __init__(self, handle):
        self.call = handle


@pytest.fixture
def engine():
    """neotasker's hook and pool are global; they are put back."""
    report, pool, spawn = embed.report_result, task_supervisor.thread_pool, task_supervisor.spawn
    yield
    if task_supervisor.thread_pool is not pool:
        task_supervisor.thread_pool.shutdown(wait=True)
    embed.report_result, task_supervisor.thread_pool = report, pool
    task_supervisor.spawn = spawn


@pytest.fixture
def run(engine):
    """Run one call; returns its only answer as (result or CallError)."""

    def ran(handle, argument=5, *, encoding=Encoding.CBOR, payload=None, values=VALUES):
        answers = []
        runner = Runner(Served(handle), values, answers.append)
        if payload is None:
            payload = values.encode(argument)
        runner.wait_for_room()
        runner.run(7, encoding, b"py.x", payload)
        runner.settle()
        assert runner.running() is None
        [(kind, number, body)] = FrameReader().feed(b"".join(answers))
        assert number == 7
        if kind == FrameType.ERROR:
            return CallError.from_map(cbor2.loads(body))
        assert kind == FrameType.RESULT
        as_json = encoding in (Encoding.JSON, Encoding.JSON_ABSENT)
        return json.loads(body) if as_json else VALUES.decode(body)

    return ran


def raising(error):
    def handle(*_):
        raise error

    return handle


def told(result, kind, *words):
    assert isinstance(result, CallError), result
    assert result.kind == kind
    for word in words:
        assert word in result.message
    return result


# --- what comes in and goes out -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "payload", "expected"),
    [
        (Encoding.CBOR, b"\x05", ["py.x", 5, True]),
        (Encoding.CBOR, b"\xf6", ["py.x", None, True]),
        (Encoding.JSON, b'{"a": [1]}', ["py.x", {"a": [1]}, True]),
        (Encoding.JSON, b"null", ["py.x", None, True]),
        (Encoding.ABSENT, b"", ["py.x", None, False]),
        (Encoding.JSON_ABSENT, b"", ["py.x", None, False]),
    ],
)
def test_each_encoding_reaches_the_program_and_comes_back_as_it_came(
    run, encoding, payload, expected
):
    assert run(lambda *call: list(call), encoding=encoding, payload=payload) == expected


@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        (Encoding.CBOR, b""),
        (Encoding.CBOR, b"\x05\x05"),
        (Encoding.CBOR, b"\xff"),
        (Encoding.CBOR, b"\xd8\x23\x61a"),
        (Encoding.CBOR, b"\xa2\x61a\x01\x61a\x02"),
        (Encoding.JSON, b""),
        (Encoding.JSON, b"{"),
        (Encoding.JSON, b"NaN"),
        (Encoding.JSON, b"\xff"),
        (Encoding.JSON, b"[" * 100_000),
    ],
)
def test_an_argument_that_cannot_be_read_is_the_callers_fault_and_runs_nothing(
    run, encoding, payload
):
    told(run(lambda *_: pytest.fail("ran"), encoding=encoding, payload=payload), "bad_request")


def test_an_operation_that_is_no_utf8_is_the_callers_fault(engine):
    answers = []
    runner = Runner(Served(lambda *_: pytest.fail("ran")), VALUES, answers.append)
    runner.run(1, Encoding.ABSENT, b"\xff", b"")
    [(kind, _, body)] = FrameReader().feed(answers[0])
    assert kind == FrameType.ERROR
    told(CallError.from_map(cbor2.loads(body)), "bad_request", "utf-8")


def test_a_generator_comes_back_as_a_list(run):
    assert run(lambda *_: (n * n for n in range(4))) == [0, 1, 4, 9]


def test_a_generator_that_raises_half_way_is_an_error(run):
    def items(*_):
        yield 1
        raise LookupError("half way")

    error = told(run(items), "handler_error", "half way")
    assert error.type == "LookupError"
    assert "in items" in error.traceback


# --- what is raised -------------------------------------------------------------------------------


class Rude(BaseException):
    pass


class Mute(Exception):
    def __str__(self):
        raise KeyboardInterrupt

    __repr__ = __str__


class Liar(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307  that is the point


class Unprintable:
    def __repr__(self):
        raise SystemExit(4)


@pytest.mark.parametrize(
    ("error", "name", "text"),
    [
        (ValueError("why"), "ValueError", "why"),
        (ValueError(), "ValueError", "ValueError"),
        (KeyError("key"), "KeyError", "'key'"),
        (SystemExit(3), "SystemExit", "the handler called sys.exit(3)"),
        (SystemExit(), "SystemExit", "the handler called sys.exit(None)"),
        (SystemExit(Unprintable()), "SystemExit", "sys.exit(<Unprintable that cannot be printed>)"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit", "GeneratorExit"),
        (StopIteration(), "StopIteration", "StopIteration"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (Rude("rude"), "Rude", "rude"),
        (Mute(), "Mute", "Mute"),
        (Liar(), "Liar", "Liar"),
        (ValueError("\ud800"), "ValueError", "?"),
        (type("\u00e9", (Exception,), {})("accent"), "\u00e9", "accent"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_whatever_is_raised_is_one_handler_error(run, error, name, text):
    answer = told(run(raising(error)), "handler_error", text)
    assert answer.type == name
    assert answer.code == 500
    assert name in answer.traceback or "cannot be printed" in answer.traceback


def test_endless_recursion_is_a_handler_error_with_a_traceback_that_ends(run):
    def handle(*_):
        return handle()

    error = told(run(handle), "handler_error", "recursion")
    assert error.type == "RecursionError"
    assert len(error.traceback) <= MAX_TRACEBACK


def test_too_much_memory_is_a_handler_error(run):
    assert run(lambda *_: bytearray(1 << 60)).type == "MemoryError"


def test_the_traceback_begins_in_the_handler(run):
    def handle(*_):
        raise ValueError("why")

    lines = run(handle).traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert not [line for line in lines if "provider/worker" in line]
    assert lines[-1] == "ValueError: why"


def test_causes_and_groups_are_told_without_our_frames(run):
    def handle(*_):
        try:
            raise ValueError("first")
        except ValueError as error:
            raise OSError("second") from error

    trace = run(handle).traceback
    assert trace.index("first") < trace.index("direct cause") < trace.index("second")
    trace = run(raising(ExceptionGroup("group", [ValueError("inner")]))).traceback
    assert "group" in trace
    assert "inner" in trace


def test_of_a_very_long_text_the_beginning_travels_and_of_its_traceback_the_end(run):
    error = run(raising(ValueError("x" * 100_000 + "end")))
    assert error.message.endswith("more characters)")
    assert error.traceback.endswith("end\n")
    assert len(error.traceback) == MAX_TRACEBACK


def test_a_traceback_with_half_a_character_still_travels(run):
    error = told(run(raising(ValueError("\udcff"))), "handler_error")
    assert "ValueError: ?" in error.traceback


@pytest.mark.parametrize("limit", [Limits(string=8), Limits(items=2), Limits(depth=1)])
def test_an_error_travels_however_narrow_the_limits_of_values_are(run, limit):
    def handle(*_):
        raise ValueError("a rather long text")

    told(run(handle, values=Values(limit)), "handler_error", "a rather long text")


def test_an_author_chooses_code_and_details(run):
    error = run(raising(OperationError("no such city", code=404, details={"near": ["Rom"]})))
    assert (error.kind, error.code, error.details) == ("handler_error", 404, {"near": ["Rom"]})
    assert error.type == "OperationError"


@pytest.mark.parametrize(
    "details",
    [{1, 2}, object(), [Unprintable()], {"a": "\ud800"}, {5: 1}],
    ids=["set", "object", "unprintable", "surrogate", "key"],
)
def test_details_that_cannot_travel_are_left_out_with_the_reason(run, details):
    error = run(raising(OperationError("sorry", code=409, details=details)))
    assert error.message.startswith("sorry (its details are left out: ")
    assert (error.code, error.details) == (409, None)


def test_details_over_the_limit_of_values_are_left_out(run):
    error = run(raising(OperationError("sorry", details="x" * 9)), values=Values(Limits(string=8)))
    assert "over the limit of 8" in error.message


@pytest.mark.parametrize("code", ["404", 0, -1, 1 << 40, None, object()])
def test_a_code_that_is_none_becomes_the_kinds_own(run, code):
    assert run(raising(HandlerError("x", code=code))).code == 500


@given(st.text(), st.text())
def test_any_text_in_an_exception_travels(text, more):
    error = as_handler_error(HandlerError(text, details=more))
    runner = Runner.__new__(Runner)
    runner._values = runner._plain = VALUES
    [(kind, _, body)] = FrameReader().feed(runner.error_frame(1, error))
    assert kind == FrameType.ERROR
    assert cbor2.loads(body)["kind"] == "handler_error"


# --- what cannot go out ---------------------------------------------------------------------------


class Trap(dict):
    def __len__(self):
        raise SystemExit


class BitterTrap(dict):
    def __len__(self):
        raise Mute


def cycle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("encoding", [Encoding.CBOR, Encoding.JSON])
@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({1}, ["set", "return a list instead"]),
        ([0, {"a": object()}], ["object", "at value[1]['a']"]),
        (cycle(), ["contains itself"]),
        ({5: 1}, ["map keys must be text"]),
        ("\ud800", ["cannot travel"]),
        (Trap(a=1), ["cannot travel"]),
        (BitterTrap(a=1), ["cannot travel"]),
        (1 << 70_000, ["bits"]),
    ],
    ids=["set", "object", "cycle", "key", "surrogate", "trap", "bitter", "bits"],
)
def test_a_result_that_cannot_travel_is_a_bad_result_that_says_where(run, encoding, result, words):
    payload = b"0" if encoding == Encoding.JSON else b"\x00"
    told(run(lambda *_: result, encoding=encoding, payload=payload), "bad_result", *words)


def test_numpy_results_travel(run):
    numpy = pytest.importorskip("numpy")
    assert run(lambda *_: numpy.arange(3, dtype="<i4")).tolist() == [0, 1, 2]


# --- calls that overlap ---------------------------------------------------------------------------


class Collected:
    """Answers from many threads."""

    def __init__(self):
        self.frames = []
        self._news = threading.Condition()

    def __call__(self, answer):
        with self._news:
            self.frames += FrameReader().feed(answer)
            self._news.notify_all()

    def wait_for(self, count):
        with self._news:
            assert self._news.wait_for(lambda: len(self.frames) >= count, 20)
            return self.frames


def test_calls_overlap_up_to_the_concurrency_and_never_beyond(engine):
    together = threading.Barrier(2, timeout=40)
    lock, running, most = threading.Lock(), [0], [0]
    numbers = set()

    def handle(command, argument, present):
        numbers.add(runner.running())
        with lock:
            running[0] += 1
            most[0] = max(most)
            most.append(running[0])
        together.wait()
        with lock:
            running[0] -= 1
        together.wait()
        return argument

    collected = Collected()
    runner = Runner(Served(handle), VALUES, collected, 2)
    for number in range(1, 9):
        runner.wait_for_room()
        runner.run(number, Encoding.CBOR, b"x", VALUES.encode(number))
    frames = collected.wait_for(8)
    assert {number: VALUES.decode(body) for _, number, body in frames} == {
        number: number for number in range(1, 9)
    }
    assert max(most) == 2
    assert numbers == set(range(1, 9))
    assert runner.running() is None
    runner.settle()
    runner.close()


def test_settle_waits_for_what_runs(engine):
    begun, go_on = threading.Event(), threading.Event()

    def handle(*_):
        begun.set()
        assert go_on.wait(PATIENCE)

    collected = Collected()
    runner = Runner(Served(handle), VALUES, collected, 3)
    runner.run(1, Encoding.ABSENT, b"x", b"")
    assert begun.wait(PATIENCE)
    settled = threading.Thread(target=runner.settle)
    settled.start()
    assert settled.is_alive()
    go_on.set()
    settled.join(PATIENCE)
    assert not settled.is_alive()
    assert collected.frames
    runner.wait_for_room()


def test_in_the_pool_too_a_handler_that_exits_is_answered(engine):
    collected = Collected()
    runner = Runner(Served(raising(SystemExit(1))), VALUES, collected, 2)
    for number in (1, 2, 3):
        runner.run(number, Encoding.ABSENT, b"x", b"")
    assert {kind for kind, _, _ in collected.wait_for(3)} == {FrameType.ERROR}


# --- the edges ------------------------------------------------------------------------------------


def test_an_answer_that_cannot_be_sent_is_not_swallowed(engine):
    def broken(_answer):
        raise BrokenPipeError("gone")

    runner = Runner(Served(lambda *_: 1), VALUES, broken)
    with pytest.raises(SystemError, match="gone"):
        runner.run(1, Encoding.ABSENT, b"x", b"")


POOL = """
from provider.wire.values import Values
from provider.worker.runner import Runner
class Served:
    call = staticmethod(lambda *_: 1)
    operations = None
def broken(answer):
    raise BrokenPipeError("gone")
runner = Runner(Served, Values(), broken, 2)
runner.run(7, 2, b"x", b"")
runner.close()
"""


def test_nor_is_it_in_the_pool_where_it_ends_the_process():
    done = subprocess.run([sys.executable, "-c", POOL], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"call 7 cannot be answered: SystemError(")


def test_a_forked_child_that_comes_back_does_not_answer(engine):
    answers = []
    runner = Runner(Served(lambda *_: os.fork()), VALUES, answers.append)
    runner.run(1, Encoding.ABSENT, b"x", b"")
    [(_, _, body)] = FrameReader().feed(b"".join(answers))
    child = VALUES.decode(body)
    assert os.waitpid(child, 0) == (child, 0)


def test_a_failed_load_travels_with_its_traceback():
    assert load_failure(LoadError("a \ud800", "trace")) == {"message": "a ?", "traceback": "trace"}


def test_nothing_that_is_said_about_an_exception_raises():
    assert text_of(Mute()) == ""
    assert shown(Unprintable()) == "<Unprintable that cannot be printed>"
    assert shown("x" * 200, 5) == "'xxxx"
    assert described(Mute()) == "Mute"
    assert "Mute" in traced(Mute())

    class Causeless(Exception):
        __cause__ = property(lambda self: 1 / 0)

    assert traced(Causeless()) == "Causeless (its traceback cannot be printed: ZeroDivisionError)"

    class Shapeless(SyntaxError):
        msg = property(lambda self: 1 / 0)

    assert "Shapeless" in described(Shapeless("x", ("f", 1, 1, "t")))


def test_work_of_ours_goes_through_the_engine_and_comes_back(engine):
    runner = Runner(Served(lambda *_: None), VALUES, pytest.fail)
    assert runner.together(lambda: 7) == 7

    def fail():
        raise BrokenPipeError("the link")

    # As itself, not as a text: who called knows what it means.
    with pytest.raises(BrokenPipeError, match="the link"):
        runner.together(fail)
