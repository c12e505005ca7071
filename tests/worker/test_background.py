"""Background workers of a dispatch module: while it serves, and no longer."""

from __future__ import annotations

import pytest

TEXT = """
    import asyncio, threading, time
    import neotasker
    from provider.dispatch import operation

    NAME = "one"
    ran = {key: threading.Event() for key in ("interval", "plain", "later", "queue", "event")}
    seen = []

    @neotasker.background_worker(interval=0.01)
    def interval(**kwargs):
        ran["interval"].set()

    @neotasker.background_worker
    def plain(**kwargs):
        ran["plain"].set()
        time.sleep(0.01)

    @neotasker.background_worker(delay=0.01)
    async def later(**kwargs):
        ran["later"].set()

    @neotasker.background_worker(q=True)
    def queue(task, **kwargs):
        seen.append(task)
        ran["queue"].set()

    @neotasker.background_worker(e=True)
    def event(**kwargs):
        ran["event"].set()

    @operation
    def has_run(which):
        if which == "queue":
            queue.put_threadsafe("a task")
        if which == "event":
            event.trigger_threadsafe()
        return ran[which].wait(20), seen

    @operation
    def threads():
        return sorted(t.name for t in threading.enumerate() if "background" in t.name)
"""


@pytest.mark.parametrize("concurrency", [1, 2])
def test_every_kind_runs_and_all_stop(code, worker, concurrency):
    worker.load(code.write("dispatch.py", TEXT), concurrency=concurrency)
    for which in ("interval", "plain", "later", "queue", "event"):
        done, seen = worker.ask("has_run", which)
        assert done, which
    assert seen == ["a task"]
    assert worker.ask("threads")
    assert worker.bye() == 0
    assert worker.printed("stderr") == b""


def test_a_reload_ends_the_old_ones_before_the_new_ones_begin(code, worker):
    text = """
    import neotasker
    @neotasker.background_worker(interval=0.01)
    def tick(**kwargs):
        print("%s\\n", end="")
    def handle(c, a): return c
"""
    path = code.write("dispatch.py", text % "old")
    worker.load(path)
    worker.wait_for_print(b" old\n")
    code.write("dispatch.py", text % "new")
    assert "error" not in worker.reload(force=True)
    worker.wait_for_print(b" new\n")
    code.write("dispatch.py", "def handle(c, a): return c")
    worker.reload(force=True)
    assert worker.bye() == 0
    words = [line.split()[-1] for line in worker.printed().splitlines()]
    assert words == sorted(words, reverse=True)
    assert set(words) == {b"old", b"new"}


@pytest.mark.parametrize("concurrency", [1, 2])
def test_one_of_a_helper_that_did_not_change_goes_on(code, worker, concurrency):
    code.write(
        "helper.py",
        """
        import threading
        import neotasker
        ran = threading.Event()
        @neotasker.background_worker(interval=0.01)
        def tick(**kwargs):
            ran.set()
        """,
    )
    text = """
    from helper import ran, tick
    VERSION = %d
    def handle(command, arg):
        ran.clear()
        return [VERSION, ran.wait(20)]
"""
    worker.load(code.write("dispatch.py", text % 1), concurrency=concurrency)
    assert worker.ask("x", 1) == [1, True]
    code.write("dispatch.py", text % 22)
    assert worker.reload()["modules"] == ["dispatch"]
    assert worker.ask("x", 1) == [22, True]


def test_they_take_no_thread_from_the_calls(code, worker):
    text = """
    import threading
    import neotasker
    busy, free = threading.Semaphore(0), threading.Event()

    def work(**kwargs):
        busy.release()
        free.wait(60)

    first = neotasker.background_worker(interval=60, name="first")(work)
    second = neotasker.background_worker(interval=60, name="second")(work)
    third = neotasker.background_worker(name="third")(work)

    def handle(command, arg):
        for _ in range(3):
            assert busy.acquire(timeout=20)
        free.set()
        return "done"
"""
    worker.load(code.write("dispatch.py", text), concurrency=2)
    assert worker.ask("x", 1) == "done"


def test_a_save_that_fails_leaves_them_running(code, worker, tmp_path):
    text = (
        TEXT
        + """
    @operation
    def again():
        ran["interval"].clear()
        return ran["interval"].wait(20)
"""
    )
    worker.load(code.write("dispatch.py", text))
    code.write("dispatch.py", "1 / 0")
    assert "ZeroDivisionError" in worker.reload(force=True)["error"]["message"]
    assert worker.ask("again") is True


def test_what_they_raise_is_told_once_and_they_go_on(code, worker):
    text = """
    import sys, threading
    import neotasker
    runs = {"interval": 0, "plain": 0, "later": 0}
    enough = threading.Event()

    def count(which, error):
        runs[which] += 1
        if runs["interval"] > 2 and runs["plain"] > 1 and runs["later"] > 2:
            enough.set()
        raise error

    @neotasker.background_worker(interval=0.01)
    def interval(**kwargs):
        count("interval", ValueError("first"))

    @neotasker.background_worker
    def plain(**kwargs):
        count("plain", SystemExit(2))

    @neotasker.background_worker(delay=0.01)
    async def later(**kwargs):
        count("later", KeyError("third"))

    def handle(c, a): return enough.wait(20)
"""
    worker.load(code.write("dispatch.py", text))
    assert worker.ask("x", 1) is True
    assert worker.bye() == 0
    said = worker.printed("stderr").decode()
    assert said.count("the background worker interval failed: ValueError: first") == 1
    assert said.count("the background worker plain failed: it called sys.exit(2)") == 1
    assert said.count("the background worker later failed: KeyError: 'third'") == 1
    assert "in interval" in said


def test_one_that_cannot_be_started_harms_nobody(code, worker):
    text = """
    import neotasker
    class Bad(neotasker.BackgroundWorker):
        def before_start(self):
            raise SystemExit("not today")
    bad = Bad(name="bad")
    @neotasker.background_worker(interval=60)
    def good(**kwargs):
        print("good")
    def handle(c, a): return c
"""
    worker.load(code.write("dispatch.py", text))
    assert worker.ask("x", 1) == "x"
    worker.wait_for_print(b"good")
    # Long before its interval is over.
    assert worker.bye() == 0
    assert b"the background worker bad cannot be started" in worker.printed("stderr")


def test_one_that_does_not_stop_is_named(code, worker):
    text = """
    import threading
    import neotasker
    @neotasker.background_worker
    def deaf(**kwargs):
        threading.Event().wait(3600)
    def handle(c, a): return c
"""
    path = code.write("dispatch.py", text)
    worker.load(path)
    code.write("dispatch.py", "def handle(c, a): return 'new'")
    worker.reload(force=True)
    assert worker.ask("x", 1) == "new"
    said = worker.wait_for_print(b"deaf did not stop within 2 s", "stderr")
    assert b"is left behind" in said


@pytest.mark.parametrize("concurrency", [1, 2])
def test_long_work_is_no_reason_to_complain(code, worker, concurrency):
    # Which is what a monitor of neotasker's does, of every pool that is busy for a second.
    text = """
    import threading
    import neotasker

    ran = threading.Event()

    @neotasker.background_worker(interval=0.01)
    def tick(**kwargs):
        ran.set()

    def handle(command, arg):
        supervisors = neotasker.task_supervisor, tick.supervisor
        names = [thread.name for thread in threading.enumerate()]
        return [ran.wait(20), [each._active for each in supervisors], names]
"""
    worker.load(code.write("dispatch.py", text), concurrency=concurrency)
    ran, active, threads = worker.ask("x", 1)
    assert ran
    assert active == [False, False]
    assert not [name for name in threads if "monitor" in name]
