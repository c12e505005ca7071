"""A real worker process on a real link: the life of it, and what user code cannot do to it."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import threading
import time

import cbor2
import pytest

from provider.errors import BadRequest, BadResult, CallTimeout, HandlerError
from provider.wire.frames import Encoding, FrameType, frame
from provider.worker.answers import ATTENTION

ECHO = "def handle(command, arg): return [command, arg]"


class Gate:
    """A place in a handler, `open(gate).read()`, that the test waits for and then opens."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = str(path)

    def reached(self):
        """Wait until a handler stands at the gate; it goes on when what is returned is closed."""
        return open(self.path, "wb", buffering=0)


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path / "gate")


@pytest.fixture
def serve(code, worker):
    """Load a dispatch program in the worker."""

    def served(text, **more):
        worker.load(code.write("dispatch.py", text), **more)
        return worker

    return served


def in_time(process):
    """The exit code, where a hang would be the defect."""
    return process.exit_code()


# --- the life -------------------------------------------------------------------------------------


def test_it_says_who_it_is_and_what_it_loaded(code, worker):
    path = code.write("dispatch.py", ECHO)
    ready = worker.load(path)
    assert worker.hello["version"] == 1
    assert worker.hello["pid"] == worker.process.pid
    assert re.fullmatch(r"3\.\d+\.\d+", worker.hello["python"])
    assert worker.hello["neotasker"]
    assert ready["programs"] == [path]
    assert worker.begun == 0


def test_it_answers_calls_in_every_encoding(serve):
    worker = serve(ECHO)
    assert worker.ask("a", {"x": [1, None, b"b"]}) == ["a", {"x": [1, None, b"b"]}]
    assert worker.ask("a") == ["a", None]
    for encoding, payload, expected in (
        (Encoding.JSON, b'{"x": 1}', ["a", {"x": 1}]),
        (Encoding.JSON_ABSENT, b"", ["a", None]),
    ):
        worker.begin("a", encoding=encoding, payload=payload)
        kind, _, body = worker.next_frame()
        assert kind == FrameType.RESULT
        assert json.loads(body) == expected


def test_the_limits_of_the_setup_hold(serve):
    worker = serve(ECHO, limits={"string": 8, "depth": 3})
    with pytest.raises(BadRequest, match="over the limit of 8"):
        worker.ask("a", "x" * 9)
    with pytest.raises(BadResult, match="deeper than 3"):
        worker.ask("a", [[[]]])


def test_the_path_of_the_setup_is_importable_behind_the_standard_library(code, worker):
    code.write("more/extra_module.py", "VALUE = 5")
    code.write("more/colorsys.py", "raise SystemExit")
    text = "import colorsys, extra_module\ndef handle(c, a): return extra_module.VALUE"
    worker.load(code.write("app/dispatch.py", text), path=[code.path("more")])
    assert worker.ask("x", {}) == 5


def test_after_bye_it_leaves_with_0_and_runs_atexit(serve):
    worker = serve("import atexit\natexit.register(print, 'bye bye')\n" + ECHO)
    assert worker.ask("x", 1)
    assert worker.bye() == 0
    assert b"bye bye\n" in worker.printed()


def test_bye_may_come_before_anything_else(worker):
    worker.told(FrameType.HELLO)
    assert worker.bye() == 0


def test_bye_waits_for_what_runs(serve, gate):
    worker = serve("def handle(c, gate):\n    open(gate).read()\n    return c", concurrency=2)
    worker.begin("held", gate.path)
    with gate.reached():
        worker.send(frame(FrameType.BYE, 0))
    assert worker.answer() == (1, "held")
    assert worker.exit_code() == 0


def test_calls_before_bye_are_answered(serve):
    worker = serve(ECHO)
    worker.send(*(worker.call_bytes("x", n) for n in range(5)), frame(FrameType.BYE, 0))
    assert [worker.answer()[1][1] for _ in range(5)] == [0, 1, 2, 3, 4]
    assert worker.exit_code() == 0


def test_when_the_host_is_gone_an_idle_worker_leaves(serve):
    worker = serve(
        "import atexit, time\natexit.register(lambda: time.sleep(0.2) or print('bye'))\n" + ECHO
    )
    worker.link.close()
    assert in_time(worker) == 0
    assert b"bye\n" in worker.printed()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_when_the_host_is_gone_an_idle_worker_leaves_in_order_however_slow_it_is(
    serve, gate, concurrency
):
    worker = serve(
        f"""
        import signal
        def hold(_, frame):
            if frame.f_code.co_name == "receive":
                open({gate.path!r}).read()
            else:  # it has not come back yet from the call to wait for the next
                signal.setitimer(signal.ITIMER_REAL, 0.01)
        signal.signal(signal.SIGUSR1, hold)
        signal.signal(signal.SIGALRM, hold)
        def handle(command, arg): return arg
        """,
        concurrency=concurrency,
    )
    assert worker.ask("x", 1) == 1
    worker.process.send_signal(signal.SIGUSR1)
    # What keeps the thread that waits for the host is here a signal, elsewhere a slow machine.
    with gate.reached():
        worker.link.close()
        time.sleep(4 * ATTENTION)  # so that the attendant has seen it; nothing tells
    assert in_time(worker) == 0


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize(
    "doing",
    ["sleep(3600)", "threading.Event().wait()", "[None for _ in iter(int, 1)]"],
    ids=["sleeping", "waiting", "busy"],
)
def test_when_the_host_is_gone_a_busy_worker_is_given_no_time(serve, gate, doing, concurrency):
    worker = serve(
        f"""
        import os, threading, time
        sleep = time.sleep
        def given(seconds):
            os.write(1, b"time to leave")
            sleep(seconds)
        time.sleep = given
        def handle(command, gate):
            open(gate).close()
            {doing}
        """,
        concurrency=concurrency,
    )
    worker.begin("x", gate.path)
    gate.reached().close()
    worker.link.close()
    assert in_time(worker) == 1
    assert worker.printed() == b""


def test_ctrl_c_is_the_hosts_business(serve):
    worker = serve(
        """
        import signal
        def handle(command, arg):
            return signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)
        """
    )
    worker.process.send_signal(signal.SIGINT)
    assert worker.ask("x") is False


# --- what cannot be loaded, or is no frame --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no function handle"),
        ("def handle(a): pass", "cannot take two arguments"),
        ("def handle(:", "line 1"),
        ("import no_such", "installed in the environment"),
        ("import sys; sys.exit(0)", "sys.exit(0)"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        ("raise RuntimeError('\\ud800')", "RuntimeError: ?"),
    ],
)
def test_what_cannot_be_loaded_is_said_and_ends_in_3(code, worker, text, words):
    failed = worker.fail(code.write("dispatch.py", text))
    assert words in failed["message"]
    assert code.path("dispatch.py") in failed["message"] + failed["traceback"]
    assert worker.exit_code() == 3


def test_nothing_to_load_ends_in_3(worker):
    assert "neither PYTHON_MAIN" in worker.fail()["message"]
    assert worker.exit_code() == 3


def test_a_module_that_ends_the_process_ends_it(code, worker):
    worker.set_up(code.write("dispatch.py", "import os; os._exit(5)"))
    worker.told(FrameType.HELLO)
    with pytest.raises(EOFError):
        worker.next_frame()
    assert worker.exit_code() == 5


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 64,
        b"\x00" * 64,
        frame(FrameType.READY, 0),
        frame(FrameType.CALL, 1, b"short"),
        frame(FrameType.CALL, 1, b"\x00" * 9 + b"\xff\xff"),
    ],
    ids=["ones", "zeros", "wrong way", "short call", "long operation"],
)
def test_a_frame_that_is_none_ends_it_with_1(serve, garbage):
    worker = serve(ECHO)
    worker.send(garbage)
    assert in_time(worker) == 1
    assert b"the link to the host broke" in worker.printed("stderr")


@pytest.mark.parametrize("kind", [FrameType.CALL, FrameType.RELOAD])
def test_a_frame_before_the_setup_ends_it_with_1(worker, kind):
    body = b"\x00" * 11 if kind == FrameType.CALL else cbor2.dumps({})
    worker.send(frame(kind, 1, body))
    assert in_time(worker) == 1


# --- a user's main --------------------------------------------------------------------------------


def test_the_ancestors_main_works_unchanged(code, worker):
    code.write(
        "main/__init__.py",
        """
        import importlib
        from . import dispatch
        def main(command, arg):
            if command == "reload":
                importlib.reload(dispatch)
                return True
            return dispatch.handle(command, arg["arg"])
        """,
    )
    code.write("main/dispatch.py", "def handle(command, arg): return arg + 1")
    worker.load(code.path("main/dispatch.py"), code.path("main"))
    assert worker.ask("py.add", 1) == 2
    with pytest.raises(HandlerError, match="'arg'") as caught:
        worker.ask("py.add")
    assert caught.value.type == "KeyError"
    code.write("main/dispatch.py", "def handle(command, arg): return arg + 2")
    assert worker.reload()["modules"] == ["main.dispatch"]
    assert worker.ask("py.add", 1) == 3
    assert worker.ask("reload", None) is True


# --- reload ---------------------------------------------------------------------------------------


def test_calls_after_a_reload_run_the_new_code_and_calls_before_it_the_old(code, serve):
    worker = serve("def handle(c, a): return 1")
    code.write("dispatch.py", "def handle(c, a): return 2")
    reload = frame(FrameType.RELOAD, 99, cbor2.dumps({"force": False}))
    worker.send(worker.call_bytes("x"), reload, worker.call_bytes("x"))
    assert worker.answer() == (1, 1)
    kind, number, body = worker.next_frame()
    assert (kind, number, cbor2.loads(body)["modules"]) == (FrameType.RELOADED, 99, ["dispatch"])
    assert worker.answer() == (2, 2)
    assert worker.reload()["modules"] == []
    assert worker.reload(force=True)["modules"] == ["dispatch"]


def test_a_failed_reload_says_why_and_the_old_code_serves(code, serve):
    worker = serve("def handle(c, a): return 1")
    code.write("dispatch.py", "import newcomer(")
    assert "SyntaxError" in worker.reload()["error"]["message"]
    assert worker.ask("x") == 1
    assert worker.files == []
    code.write("dispatch.py", "import newcomer")
    newcomer = code.write("newcomer.py", "raise ValueError('why')")
    error = worker.reload()["error"]
    assert "ValueError: why" in error["message"]
    assert newcomer in error["traceback"]
    assert worker.ask("x") == 1
    # The host is told of the file at fault, so that it watches it.
    [files] = worker.files
    assert newcomer in [entry[0] for entry in files["files"]]


def test_a_file_imported_by_a_call_is_told(code, serve):
    late = code.write("late.py", "VALUE = 1")
    worker = serve("def handle(c, a):\n    import late\n    return late.VALUE")
    assert worker.ask("x") == 1
    worker.ask("x")
    [files] = worker.files
    assert late in [entry[0] for entry in files["files"]]


def test_a_reload_waits_for_calls_that_overlap_it(code, serve, gate):
    worker = serve(
        "def handle(c, a):\n    if a: open(a).read()\n    return VALUE\nVALUE = 1", concurrency=2
    )
    worker.begin("x", gate.path)
    with gate.reached():
        code.write("dispatch.py", "def handle(c, a): return 2")
        reload = frame(FrameType.RELOAD, 99, cbor2.dumps({}))
        worker.send(reload, worker.call_bytes("x", None))
    assert worker.answer() == (1, 1)
    assert worker.next_frame()[:2] == (FrameType.RELOADED, 99)
    assert worker.answer() == (2, 2)


# --- the order and the batches --------------------------------------------------------------------


def test_a_burst_is_answered_in_order_and_in_one_batch(start, code):
    worker = start(kind=socket.SOCK_SEQPACKET)
    worker.load(code.write("dispatch.py", ECHO))
    worker.ask("quick", 0)
    batches = []
    while 1 not in batches:
        # More than one only when the machine had something else to do for half a millisecond.
        assert len(batches) < 50, batches
        worker.packets.clear()
        worker.send(*(worker.call_bytes("quick", n) for n in range(10)))
        assert [worker.answer()[1][1] for _ in range(10)] == list(range(10))
        batches.append(len(worker.packets))


BLOCKING = """
    def handle(command, gate):
        if gate:
            with open(gate) as opened:
                opened.read()
        return command
"""


def test_a_held_answer_goes_out_before_an_operation_never_seen(serve, gate):
    worker = serve(BLOCKING)
    worker.ask("quick", None)
    worker.send(worker.call_bytes("quick", None), worker.call_bytes("new", gate.path))
    with gate.reached():
        assert worker.begun == 3
        assert worker.answer_at_hand() == (2, "quick")
    assert worker.answer() == (3, "new")


def test_a_held_answer_goes_out_though_an_operation_that_was_quick_now_blocks(serve, gate):
    worker = serve(BLOCKING)
    worker.ask("quick", None)
    worker.send(worker.call_bytes("quick", None), worker.call_bytes("quick", gate.path))
    opened = gate.reached()
    assert worker.answer() == (2, "quick")  # while the second stands at the gate
    opened.close()
    assert worker.answer() == (3, "quick")


def test_an_operation_that_was_slow_is_not_waited_for_again(serve, gate):
    worker = serve(BLOCKING)
    worker.ask("was slow", None)
    worker.begin("was slow", gate.path)
    with gate.reached():
        time.sleep(0.001)  # twice what counts as slow
    worker.answer()
    worker.ask("quick", None)
    worker.send(worker.call_bytes("quick", None), worker.call_bytes("was slow", gate.path))
    with gate.reached():
        assert worker.answer_at_hand() == (4, "quick")
    assert worker.answer()[0] == 5


def quick_once(answered):
    """Whether an answer came before the attendant could have sent it; a busy machine needs tries.

    Args:
        answered: called for each try; the seconds to the answer.
    """
    return any(answered() < ATTENTION / 2 for _ in range(500))


def test_an_idle_worker_answers_without_its_attendant(serve):
    worker = serve(BLOCKING)

    def answered():
        before = time.monotonic()
        worker.ask("quick", None)
        return time.monotonic() - before

    assert quick_once(answered)


def test_many_names_are_no_leak_and_no_harm(serve):
    worker = serve("def handle(c, a): return None")
    count = 5000
    sender = threading.Thread(
        target=worker.send, args=[worker.call_bytes(f"name {n}") for n in range(count)]
    )
    sender.start()
    assert [worker.answer()[0] for _ in range(count)] == list(range(1, count + 1))
    sender.join()


def test_the_progress_cell_names_the_call_before_it_runs(serve, gate):
    worker = serve(BLOCKING)
    worker.send(worker.call_bytes("a", None), worker.call_bytes("b", gate.path))
    with gate.reached():
        assert worker.begun == 2
    worker.answer()


def test_one_call_at_a_time_in_the_order_they_came(serve):
    worker = serve("seen = []\ndef handle(c, a):\n    seen.append(a)\n    return list(seen)")
    worker.send(*(worker.call_bytes("x", n) for n in range(20)))
    for n in range(20):
        assert worker.answer() == (n + 1, list(range(n + 1)))


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_call_past_its_deadline_is_answered_and_never_run(serve, concurrency):
    worker = serve(
        "ran = []\ndef handle(c, a):\n    ran.append(c)\n    return ran", concurrency=concurrency
    )
    with pytest.raises(CallTimeout, match="not run"):
        worker.ask("late", deadline=time.monotonic() - 1)
    assert worker.begun == 1
    assert worker.ask("early", deadline=time.monotonic() + 60) == ["early"]
    assert worker.ask("any time", deadline=math.inf) == ["early", "any time"]


def test_calls_overlap_where_asked_for(serve):
    worker = serve(
        """
        import threading
        together = threading.Barrier(2, timeout=40)
        def handle(command, arg):
            together.wait()
            return arg
        """,
        concurrency=2,
    )
    worker.send(*(worker.call_bytes("x", n) for n in range(4)))
    assert sorted(worker.answer()[1] for _ in range(4)) == [0, 1, 2, 3]


def test_where_calls_overlap_no_answer_waits_for_another(serve, gate):
    worker = serve(BLOCKING, concurrency=2)
    worker.begin("slow", gate.path)
    with gate.reached():
        assert worker.ask("quick", None) == "quick"
    assert worker.answer() == (1, "slow")


def test_where_calls_overlap_an_answer_needs_no_attendant(serve, gate):
    worker = serve(BLOCKING, concurrency=2)

    def answered():
        worker.begin("x", gate.path)
        with gate.reached():
            before = time.monotonic()
        worker.answer()
        return time.monotonic() - before

    assert quick_once(answered)


def test_where_calls_overlap_one_that_waits_for_room_has_not_begun(serve, gate, tmp_path):
    worker = serve(BLOCKING, concurrency=2)
    other = Gate(tmp_path / "other")
    deadline = time.monotonic() + 0.1
    worker.send(
        worker.call_bytes("a", gate.path),
        worker.call_bytes("b", other.path),
        worker.call_bytes("c", None, deadline=deadline),
    )
    with gate.reached(), other.reached():
        while time.monotonic() < deadline:
            time.sleep(0.01)  # nothing happens that could be waited for
        assert worker.begun == 2
    answers = dict(worker.answer() for _ in range(3))
    assert (answers[1], answers[2]) == ("a", "b")
    assert isinstance(answers[3], CallTimeout)


# --- what user code may do ------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sys.exit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise ValueError('\\ud800')", "ValueError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_a_handler_raises_is_one_answer_and_the_worker_lives(serve, text, name, concurrency):
    worker = serve(
        f"import sys\ndef handle(c, a):\n    if a: {text}\n    return c", concurrency=concurrency
    )
    with pytest.raises(HandlerError) as caught:
        worker.ask("x", 1)
    assert caught.value.type == name
    assert worker.ask("still here", 0) == "still here"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_handler_that_closes_every_descriptor_ends_its_worker(serve, concurrency):
    worker = serve("import os\ndef handle(c, a): os.closerange(3, 1024)", concurrency=concurrency)
    worker.begin("x")
    with pytest.raises(EOFError):
        worker.answer()
    assert in_time(worker) == 1


def test_threads_that_miss_the_link_at_once_end_the_process_once(serve):
    worker = serve(
        f"""
        import os, time
        def saving(code):
            os.write(1, b"saving\\n")
            time.sleep({4 * ATTENTION})  # in which another thread wants to leave, too
            leave(code)
        leave, os._exit = os._exit, saving
        def handle(command, arg): os.closerange(3, 1024)
        """,
        concurrency=2,
    )
    worker.begin("x")
    with pytest.raises(EOFError):
        worker.answer()
    assert in_time(worker) == 1
    assert worker.printed() == b"saving\n"


def test_a_handler_that_closes_every_descriptor_and_hangs_ends_its_worker(serve):
    worker = serve(
        "import os, time\ndef handle(c, a):\n    os.closerange(3, 1024)\n    time.sleep(3600)"
    )
    worker.begin("x")
    with pytest.raises(EOFError):
        worker.answer()
    assert in_time(worker) == 1


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize(
    "child", ["return 'child'", "raise SystemExit(4)", "return 'x' * 1_000_000"]
)
def test_a_handler_that_forks_is_answered_once(serve, child, concurrency):
    worker = serve(
        f"""
        import os
        def handle(command, arg):
            if command != "fork":
                return command
            pid = os.fork()
            if not pid:
                {child}
            return os.waitpid(pid, 0)[1]
        """,
        concurrency=concurrency,
    )
    assert worker.ask("fork") == 0
    assert worker.ask("after") == "after"
    assert worker.bye() == 0
    with pytest.raises(EOFError):
        worker.answer()


def test_a_forked_child_does_not_keep_the_link_open(serve):
    worker = serve(
        """
        import os, signal
        def handle(command, arg):
            child = os.fork()
            if not child:
                os.closerange(0, 3)
                signal.pause()
            return child
        """
    )
    child = worker.ask("x")
    try:
        assert worker.bye() == 0
        with pytest.raises(EOFError):
            worker.answer()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_process_does_not_keep_the_link_open(serve):
    worker = serve(
        """
        import subprocess
        def handle(command, arg):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            return subprocess.Popen(["sleep", "60"], close_fds=False, **quiet).pid
        """
    )
    child = worker.ask("x")
    try:
        assert worker.bye() == 0
        with pytest.raises(EOFError):
            worker.answer()
    finally:
        os.kill(child, signal.SIGKILL)


def test_threads_may_outlive_their_call(serve, gate):
    worker = serve(
        f"""
        import threading
        def work():
            open({gate.path!r}).read()
            print("late")
        def handle(command, arg):
            if command == "start":
                threading.Thread(target=work, daemon=True).start()
            return command
        """
    )
    assert worker.ask("start") == "start"
    assert worker.ask("next") == "next"
    gate.reached().close()
    assert b"late\n" in worker.wait_for_print(b"late\n")


def test_a_crash_is_the_end_of_the_process_and_the_cell_tells_which_call(serve):
    worker = serve("import ctypes\ndef handle(c, a): ctypes.string_at(0)")
    worker.begin("x")
    with pytest.raises(EOFError):
        worker.answer()
    assert worker.exit_code() == -signal.SIGSEGV
    assert worker.begun == 1


# --- what user code prints ------------------------------------------------------------------------


def test_printed_lines_carry_the_number_of_their_call(serve):
    worker = serve(
        """
        import os, subprocess, sys
        print("loading")
        def handle(command, arg):
            print("out", arg)
            print("err", arg, file=sys.stderr)
            os.write(1, b"raw\\n")
            subprocess.run(["echo", "child"], check=True)
        """
    )
    worker.ask("x", "a")
    worker.ask("x", "b")
    assert worker.bye() == 0
    assert worker.printed().splitlines() == [
        b"\x1e0 loading",
        *(b"\x1e1 out a", b"raw", b"child"),
        *(b"\x1e2 out b", b"raw", b"child"),
    ]
    assert worker.printed("stderr").splitlines() == [b"\x1e1 err a", b"\x1e2 err b"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_print_without_end_goes_out_with_its_call(serve, concurrency):
    worker = serve("def handle(c, a): print(a, end='')", concurrency=concurrency)
    worker.ask("x", "no end")
    worker.wait_for_print(b"\x1e1 no end")
    worker.ask("x", "none either")
    worker.wait_for_print(b"\x1e1 no end\n\x1e2 none either")


def test_calls_that_overlap_print_lines_of_their_own(serve, gate):
    worker = serve(
        """
        def handle(command, gate):
            print(command, end=" ")
            if gate:
                open(gate).read()
            print("done")
        """,
        concurrency=2,
    )
    worker.begin("slow", gate.path)
    with gate.reached():
        worker.ask("quick", None)
    worker.answer()
    assert worker.wait_for_print(b"slow done\n") == b"\x1e2 quick done\n\x1e1 slow done\n"


def test_a_megabyte_of_print_arrives_and_harms_nothing(serve):
    worker = serve("def handle(c, a):\n    print('x' * a)\n    print('end')\n    return a")
    assert worker.ask("x", 1 << 20) == 1 << 20
    printed = worker.wait_for_print(b"end\n")
    assert printed == b"\x1e1 " + b"x" * (1 << 20) + b"\n\x1e1 end\n"


def test_a_handler_may_close_the_standard_streams(serve):
    worker = serve("import sys, os\ndef handle(c, a):\n    sys.stdout.close()\n    os.close(2)")
    assert worker.ask("x") is None
    with pytest.raises(HandlerError):
        worker.ask("x")
