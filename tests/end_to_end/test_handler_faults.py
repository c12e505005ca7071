"""Whatever a handler does, its call gets one answer with the reason, and the next call works."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from provider.errors import CallError, HandlerError
from tests.conftest import PATIENCE
from tests.end_to_end.conftest import Talk, asked, told

FAULTS = r"""
    import asyncio
    import ctypes
    import multiprocessing
    import os
    import re
    import signal
    import subprocess
    import sys
    import threading
    import time

    from provider.dispatch import OperationError

    class Mine(BaseException):
        pass

    class Mute(Exception):
        def __str__(self):
            raise ValueError("no words")

        __repr__ = __str__

    class Leaving(Exception):
        def __str__(self):
            sys.exit("out of words")

    def raises(error):
        raise error

    def deep():
        return deep()

    def grouped():
        raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])

    def chained():
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise LookupError("the effect") from error

    def half_way():
        yield 1
        raise ValueError("after one")

    def segfault():
        ctypes.string_at(0)

    def last_words(text):
        print(text, file=sys.stderr)
        os._exit(9)

    def forks(code):
        if os.fork() == 0:
            return "the child was here"
        pid, status = os.wait()
        return [pid != os.getpid(), os.waitstatus_to_exitcode(status)]

    def fork_raises(_):
        if os.fork() == 0:
            raise RuntimeError("the child was here")
        return os.waitstatus_to_exitcode(os.wait()[1])

    def fork_stays(_):
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
        return pid

    def spawned(_):
        done = subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=queue.put, args=(7,))
        process.start()
        process.join()
        return [done.returncode, queue.get(), process.exitcode]

    def chatter(_):
        def forever():
            while True:
                print("chatter " * 8)
        for _ in range(3):
            threading.Thread(target=forever, daemon=True).start()

    def prints(size):
        line = "x" * 1000
        for _ in range(size // 1000):
            print(line)

    def prints_one_line(size):
        sys.stdout.write("y" * size + "\n")

    def prints_no_end(text):
        print(text, end="")

    def raw_prints(size):
        subprocess.run([sys.executable, "-c", f"print('z' * {size})"], check=True)

    def hang(seconds):
        # One call into C that does not let go of the interpreter.
        return bool(re.match(r"(a|a)*$", "a" * 60 + "b"))

    def thread_dies(_):
        thread = threading.Thread(target=raises, args=(ValueError("in a thread"),))
        thread.start()
        thread.join()

    OPERATIONS = {
        "raise": lambda arg: raises(ValueError(arg)),
        "empty": lambda _: raises(RuntimeError()),
        "base": lambda _: raises(Mine("rarely caught")),
        "interrupt": lambda _: raises(KeyboardInterrupt()),
        "generator_exit": lambda _: raises(GeneratorExit()),
        "cancelled": lambda _: raises(asyncio.CancelledError()),
        "mute": lambda _: raises(Mute()),
        "leaving": lambda _: raises(Leaving()),
        "surrogate": lambda _: raises(ValueError("\ud800 half")),
        "long": lambda size: raises(ValueError("z" * size)),
        "deep": lambda _: deep(),
        "memory": lambda _: bytes(1 << 60),
        "grouped": lambda _: grouped(),
        "chained": lambda _: chained(),
        "half_way": lambda _: half_way(),
        "read": lambda _: input(),
        "chosen": lambda _: raises(OperationError("no such row", code=404, details={"row": 7})),
        "wrong_details": lambda _: raises(OperationError("odd", details={1, 2})),
        "sys_exit": lambda code: sys.exit(code),
        "sys_exit_text": lambda _: sys.exit("enough"),
        "os_exit": lambda code: os._exit(code),
        "abort": lambda _: os.abort(),
        "segfault": lambda _: segfault(),
        "kill": lambda number: os.kill(os.getpid(), number),
        # The signal may find another thread first: whoever sent it waits for the end.
        "kill_group": lambda number: (os.killpg(0, number), threading.Event().wait(30)),
        "last_words": last_words,
        "close_all": lambda _: os.closerange(0, 1024),
        "close_links": lambda _: os.closerange(3, 1024),
        "close_output": lambda _: (os.close(1), os.close(2), "closed")[-1],
        "close_python_output": lambda _: (sys.stdout.close(), sys.stderr.close()) and "closed",
        "lose_output": lambda _: setattr(sys, "stdout", None) or setattr(sys, "stderr", None),
        "forks": forks,
        "fork_raises": fork_raises,
        "fork_stays": fork_stays,
        "spawned": spawned,
        "chatter": chatter,
        "prints": prints,
        "prints_one_line": prints_one_line,
        "prints_no_end": prints_no_end,
        "raw_prints": raw_prints,
        "sleep": time.sleep,
        "hang": hang,
        "thread_dies": thread_dies,
        "echo": lambda arg: arg,
        "pid": lambda _: os.getpid(),
        "sometimes": lambda arg: (
            os._exit(4) if arg == "die" else hang(0) if arg == "hang" else arg
        ),
    }

    def handle(command, arg):
        return OPERATIONS[command](arg)
"""


@pytest.fixture(
    scope="module",
    params=["1", pytest.param("3", marks=pytest.mark.long)],
    ids=["exclusive", "overlapping"],
)
def faulty(serve, request):
    provider = serve(FAULTS, PROVIDER_CONCURRENCY=request.param)
    yield provider
    assert provider.call("echo", "still here") == "still here"
    assert provider.stop() == 0


@pytest.fixture(scope="module")
def talk(faulty):
    with asyncio.Runner() as runner:
        talk = Talk(runner, faulty, barrier=asked("echo", 1))
        yield talk
        talk.close()


def fault(talk, operation: str, argument: object = None, **fields: object) -> dict:
    """Have this happen, with a call behind it; the error the call was answered with."""
    answer = told(talk.send_all([asked(operation, argument, **fields)])[0])
    assert told(talk.send_all([asked("echo", [operation])])[0]) == {"result": [operation]}
    return answer["error"]


# --- exceptions -----------------------------------------------------------------------------------

RAISED = {
    "raise": ("no good", "ValueError", "no good"),
    "empty": (None, "RuntimeError", "RuntimeError"),
    "base": (None, "Mine", "rarely caught"),
    "interrupt": (None, "KeyboardInterrupt", "KeyboardInterrupt"),
    "generator_exit": (None, "GeneratorExit", "GeneratorExit"),
    "cancelled": (None, "CancelledError", "CancelledError"),
    "mute": (None, "Mute", "Mute"),
    "leaving": (None, "Leaving", "Leaving"),
    "surrogate": (None, "ValueError", "? half"),
    "deep": (None, "RecursionError", "recursion"),
    "memory": (None, "MemoryError", "MemoryError"),
    "grouped": (None, "ExceptionGroup", "several (2 sub-exceptions)"),
    "chained": (None, "LookupError", "the effect"),
    "half_way": (None, "ValueError", "after one"),
    "read": (None, "EOFError", "EOF"),
    "sys_exit": (3, "SystemExit", "the handler called sys.exit(3)"),
    "sys_exit_text": (None, "SystemExit", "the handler called sys.exit('enough')"),
    "unheard_of": (None, "KeyError", "unheard_of"),
}


@pytest.mark.parametrize("operation", RAISED)
def test_an_exception_is_answered_and_logged_once_with_its_traceback(faulty, talk, operation):
    argument, kind, message = RAISED[operation]
    before = len(faulty.events("call_failed", operation=operation))
    deaths = len(faulty.events("worker_lost"))
    error = fault(talk, operation, argument)
    assert (error["kind"], error["code"], error["type"]) == ("handler_error", 500, kind)
    assert message in error["message"]
    assert "traceback" not in error
    line = faulty.wait_for("call_failed", before + 1, operation=operation)
    assert (line["kind"], line["type"], line["level"]) == ("handler_error", kind, "error")
    assert message in line["message"]
    # The lines of the author, and none of ours.
    assert "dispatch.py" in line["exception"]
    assert ("in half_way" if operation == "half_way" else "in handle") in line["exception"]
    assert "provider/worker" not in line["exception"]
    assert kind in line["exception"]
    assert len(faulty.events("call_failed", operation=operation)) == before + 1
    assert len(faulty.events("worker_lost")) == deaths


def test_a_very_long_message_is_cut_with_the_number_cut(faulty, talk):
    error = fault(talk, "long", 3_000_000)
    assert error["message"].startswith("zzzz")
    assert error["message"].endswith("more characters)")
    assert len(error["message"]) < 5000


def test_the_author_chooses_code_and_details(talk):
    error = fault(talk, "chosen")
    assert (error["code"], error["details"]) == (404, {"row": 7})
    assert error["message"] == "no such row"
    error = fault(talk, "wrong_details")
    assert "details" not in error
    assert error["message"].startswith("odd (its details are left out: ")
    assert "type set" in error["message"]


def test_a_traceback_travels_only_when_it_is_switched_on(serve):
    provider = serve(FAULTS, PROVIDER_TRACEBACKS="on")
    with pytest.raises(HandlerError) as caught:
        provider.call("chained")
    assert caught.value.traceback is not None
    assert caught.value.traceback.startswith("Traceback")
    assert "KeyError: 'the cause'" in caught.value.traceback
    assert caught.value.traceback.rstrip().endswith("LookupError: the effect")
    line = provider.wait_for("call_failed", operation="chained")
    assert line["exception"].rstrip() == caught.value.traceback.rstrip()


# --- the end of the worker ------------------------------------------------------------------------

DEATHS = {
    "os_exit": (7, "left with exit code 7"),
    "abort": (None, "killed by SIGABRT"),
    "segfault": (None, "killed by SIGSEGV"),
    "kill": (9, "killed by SIGKILL"),
    # Not SIGTERM: what measures coverage handles that, as soon as the main thread wakes.
    "kill_group": (int(signal.SIGUSR1), "killed by SIGUSR1"),
    "last_words": ("goodbye", "left with exit code 9"),
}


@pytest.mark.parametrize("operation", DEATHS)
def test_a_dead_worker_is_answered_for_and_replaced(faulty, talk, operation):
    argument, how = DEATHS[operation]
    worker = faulty.call("pid")
    deaths = len(faulty.events("worker_lost"))
    error = fault(talk, operation, argument)
    assert (error["kind"], error["code"]) == ("worker_lost", 500)
    assert how in error["message"]
    if operation == "last_words":
        assert "goodbye" in error["message"]
    line = faulty.wait_for("worker_lost", deaths + 1)
    assert (line["worker"], line["operation"]) == (worker, operation)
    assert line["level"] == "error"
    assert faulty.call("pid") != worker
    assert len(faulty.events("worker_lost")) == deaths + 1


@pytest.mark.parametrize("operation", ["close_all", "close_links"])
def test_a_worker_that_closed_its_link_is_replaced(faulty, talk, operation):
    worker = faulty.call("pid")
    deaths = len(faulty.events("worker_lost"))
    answer = told(talk.send_all([asked(operation, None)])[0])
    assert answer == {"result": None} or answer["error"]["kind"] == "worker_lost"
    assert faulty.call("echo", 1) == 1
    assert faulty.wait_for("worker_lost", deaths + 1)["worker"] == worker
    assert faulty.call("pid") != worker


def test_calls_that_wait_behind_a_death_run_on_the_next_worker(faulty, talk):
    messages = [asked("sometimes", "die"), *(asked("echo", n) for n in range(50))]
    first, *others = map(told, talk.send_all(messages))
    assert first["error"]["kind"] == "worker_lost"
    if faulty.environment["PROVIDER_CONCURRENCY"] == "1":
        assert others == [{"result": n} for n in range(50)]
    else:  # those beside it went with it
        lost = [other for other in others if "error" in other]
        assert all(other["error"]["kind"] == "worker_lost" for other in lost)
        assert len(lost) <= 3


@pytest.mark.parametrize("faulty", ["1"], ids=["exclusive"], indirect=True)
@pytest.mark.parametrize("fate", ["die", "hang"])
def test_calls_that_had_ended_before_a_death_are_answered_with_their_results(faulty, talk, fate):
    numbers = [*range(50), fate, *range(50, 100)]
    messages = [asked("sometimes", n, **{"timeout_ms": 500} if n == fate else {}) for n in numbers]
    answers = list(map(told, talk.send_all(messages)))
    assert answers.pop(50)["error"]["kind"] in {"worker_lost", "timeout"}
    assert answers == [{"result": n} for n in range(100)]


def test_the_worker_is_replaced_however_often_it_dies(faulty, talk):
    deaths = len(faulty.events("worker_lost"))
    for _ in range(5):
        fault(talk, "sometimes", "die")
    faulty.wait_for("worker_lost", deaths + 5)
    assert len(faulty.events("worker_lost")) == deaths + 5


# --- output ---------------------------------------------------------------------------------------


def printed(provider, since: int) -> int:
    """Characters printed since then, those counted that a log line says it left out."""
    size = 0
    for line in provider.lines[since:]:
        if isinstance(line, dict) and line["event"] == "printed":
            text, _, left_out = line["text"].partition("... (")
            assert len(set(text)) <= 1
            size += len(text) + int(left_out.partition(" ")[0] or 0)
    return size


async def until_printed(provider, since: int, size: int) -> int:
    """What was printed, once the log has this much of it."""
    async with asyncio.timeout(PATIENCE):
        while printed(provider, since) < size:
            await asyncio.sleep(0.02)  # a text in pieces is no single event
    return printed(provider, since)


async def test_megabytes_of_prints_are_all_logged_while_others_are_answered(faulty):
    since, size = len(faulty.lines), 8_000_000
    async with faulty.connect() as python:
        call = asyncio.create_task(python.call("prints", size))
        waiting = asyncio.create_task(python.call("echo", 1))
        answered = 0
        while not call.done():
            assert (await python.status(timeout=PATIENCE))["ready"]
            answered += 1
        assert await call is None
        assert await waiting == 1
    # A host that was busy with the prints would have answered one or two, at their end.
    assert answered >= 5
    assert await until_printed(faulty, since, size) == size


async def test_one_line_of_megabytes_is_logged_in_pieces(faulty):
    since, size = len(faulty.lines), 2_000_000
    async with faulty.connect() as python:
        assert await python.call("prints_one_line", size) is None
        assert await until_printed(faulty, since, size) == size
        since = len(faulty.lines)
        assert await python.call("raw_prints", 300_000) is None
    assert await until_printed(faulty, since, 300_000) == 300_000
    assert max(len(line["text"]) for line in faulty.events("printed")) < 10_000


def test_what_is_printed_without_a_line_end_is_logged_with_its_call(faulty, talk):
    message = asked("prints_no_end", "half a line", id="unended")
    assert told(talk.send_all([message])[0])["result"] is None
    line = faulty.wait_for("printed", text="half a line")
    assert (line["operation"], line["request_id"]) == ("prints_no_end", "unended")


def test_a_handler_that_closes_its_output_is_answered_all_the_same(talk):
    assert told(talk.send_all([asked("close_output", None)])[0]) == {"result": "closed"}
    # Whoever prints now is told that there is nowhere to print to.
    error = told(talk.send_all([asked("prints", 1000)])[0])["error"]
    assert error["kind"] in {"handler_error", "worker_lost"}
    assert told(talk.send_all([asked("echo", 2)])[0]) == {"result": 2}
    fault(talk, "os_exit", 1)


@pytest.mark.parametrize("operation", ["close_python_output", "lose_output"])
def test_a_handler_that_breaks_its_own_output_is_answered_all_the_same(talk, operation):
    assert "result" in told(talk.send_all([asked(operation, None)])[0])
    assert told(talk.send_all([asked("echo", 2)])[0]) == {"result": 2}
    assert fault(talk, "raise", "x")["type"] == "ValueError"
    fault(talk, "os_exit", 1)


# --- processes and threads ------------------------------------------------------------------------


def test_a_forked_child_that_returns_answers_nobody(faulty, talk):
    deaths = len(faulty.events("worker_lost"))
    assert told(talk.send_all([asked("forks", None)])[0]) == {"result": [True, 0]}
    assert "result" in told(talk.send_all([asked("fork_raises", None)])[0])
    *spawned, code = told(talk.send_all([asked("spawned", None)])[0])["result"]
    assert spawned == [0, 7]
    if faulty.environment["PROVIDER_CONCURRENCY"] == "1":
        assert code == 0  # from a thread of any pool, multiprocessing itself makes it 1
    faulty.wait_for("printed", text="from a child")
    assert len(faulty.events("worker_lost")) == deaths


def test_a_child_that_stays_goes_with_its_worker(talk, processes):
    child = told(talk.send_all([asked("fork_stays", None)])[0])["result"]
    assert processes.alive(child)
    fault(talk, "os_exit", 1)
    assert processes.until_gone(child)


def test_threads_that_print_for_ever_do_not_keep_others_waiting(faulty, talk):
    assert told(talk.send_all([asked("chatter", None)])[0]) == {"result": None}
    faulty.wait_for("printed", text="chatter " * 7 + "chatter ")
    printed_so_far = len(faulty.lines)
    # They share the interpreter with the threads, and are answered before the provider would give
    # them up.
    messages = [asked("echo", number, timeout_ms=30_000) for number in range(3)]
    for number, message in enumerate(messages):
        assert told(talk.send_all([message])[0]) == {"result": number}
    assert len(faulty.lines) > printed_so_far
    fault(talk, "os_exit", 1)


def test_an_exception_in_a_thread_of_the_handlers_is_only_printed(faulty, talk):
    assert told(talk.send_all([asked("thread_dies", None)])[0]) == {"result": None}
    faulty.wait_for("printed", text="ValueError: in a thread")


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["sleep", "hang"])
def test_a_call_past_its_deadline_is_answered_and_its_worker_replaced(faulty, talk, operation):
    worker = faulty.call("pid")
    deaths = len(faulty.events("worker_lost"))
    began = time.monotonic()
    answer = told(talk.send_all([asked(operation, 3600, timeout_ms=1000)])[0])
    assert time.monotonic() - began >= 1
    assert (answer["error"]["kind"], answer["error"]["code"]) == ("timeout", 504)
    assert "still running" in answer["error"]["message"]
    if faulty.environment["PROVIDER_CONCURRENCY"] == "1":
        assert faulty.call("pid") != worker
    assert operation in faulty.wait_for("worker_lost", deaths + 1)["account"]
    assert faulty.call("pid") != worker
    assert faulty.wait_for("call_failed", kind="timeout", operation=operation)


def test_a_call_that_returns_around_its_deadline_is_answered_once(talk):
    for seconds in (0.18, 0.2, 0.201, 0.22, 0.26):
        answer = told(talk.send_all([asked("sleep", seconds, timeout_ms=200)])[0])
        assert answer == {"result": None} or answer["error"]["kind"] == "timeout"
    # A worker that is about to be killed would take calls that run beside the late one along.
    fault(talk, "os_exit", 1)


async def test_many_faults_at_once_are_each_answered_with_their_own_reason(faulty):
    kinds = {"raise": "handler_error", "sys_exit": "handler_error", "echo": None}
    async with faulty.connect() as python:

        async def one(number: int) -> None:
            operation = list(kinds)[number % len(kinds)]
            argument = f"{operation} {number}"
            if kinds[operation] is None:
                assert await python.call(operation, argument) == argument
                return
            with pytest.raises(CallError, match=argument) as caught:
                await python.call(operation, argument)
            assert caught.value.kind == kinds[operation]

        await asyncio.gather(*map(one, range(300)))


def test_the_provider_itself_was_never_in_danger(faulty):
    assert faulty.process.poll() is None
    assert os.getpgid(faulty.pid) == faulty.pid
    assert not [line for line in faulty.lines if isinstance(line, str)]
