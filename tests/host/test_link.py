"""One worker: how it starts, how it ends, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from provider.errors import StartError, WorkerLost
from provider.host.life import State
from provider.host.link import LINK_GRACE
from tests.conftest import PATIENCE, descriptors_left


async def start_fault(house, source, **options):
    with pytest.raises(StartError) as caught:
        await house.start(source, **options)
    return str(caught.value)


def with_python(house, python, **options):
    house.build(**options)
    return dataclasses.replace(house.setup, python=str(python))


# --- how it starts -------------------------------------------------------------------------------


async def test_a_module_that_hangs_on_import_is_ended_in_time(house, processes):
    text = await start_fault(
        house,
        """
        import os, sys, time
        print("loading the model", os.getpid(), file=sys.stderr)
        time.sleep(3600)
        """,
        start_timeout=6,  # the first line has to come through by then
    )
    assert f"loading {house.file} took longer than 6 s (PROVIDER_START_TIMEOUT)" in text
    assert "does it hang on import?" in text
    words = text.splitlines()[-1]
    assert words.startswith("  loading the model ")
    assert not processes.alive(int(words.split()[-1]))


async def test_a_module_that_leaves_on_import_is_told_with_its_last_words(house):
    text = await start_fault(
        house,
        """
        import os, sys
        print("no licence found", file=sys.stderr)
        os._exit(9)
        """,
    )
    assert text == (
        f"the worker left with exit code 9 (serving {house.file})\n"
        "Its last words:\n  no licence found"
    )


async def test_a_module_that_kills_its_process_on_import_is_told_with_the_signal(house):
    text = await start_fault(house, "import signal\nsignal.raise_signal(signal.SIGSEGV)")
    assert text.startswith(f"the worker was killed by SIGSEGV (serving {house.file})")


async def test_a_module_that_raises_is_told_with_its_traceback(house):
    text = await start_fault(house, "import json\njson.loads('{')")
    assert "JSONDecodeError" in text.splitlines()[0]
    assert "Traceback" in text
    assert house.fleet.link is None


async def test_a_missing_interpreter_is_named(house, tmp_path):
    setup = with_python(house, tmp_path / "nothing")
    text = await start_fault(house, None, setup=setup)
    assert text.startswith(f"cannot start {tmp_path / 'nothing'}: ")
    assert "No such file" in text


@pytest.mark.parametrize(("program", "code"), [("true", 0), ("false", 1)])
async def test_an_interpreter_that_is_no_python_is_named(house, program, code):
    text = await start_fault(house, None, setup=with_python(house, f"/bin/{program}"))
    assert text.startswith(
        f"/bin/{program} left with exit code {code} before it was a worker; "
        "is it a Python interpreter?"
    )


async def test_an_environment_that_cannot_be_given_is_no_traceback(house):
    house.build()
    setup = dataclasses.replace(house.setup, environment={"A": "nul\0inside"})
    assert (await start_fault(house, None, setup=setup)).startswith(f"cannot start {setup.python}")


async def test_running_out_of_descriptors_is_a_start_fault_that_leaks_nothing(house):
    house.build()
    before = len(os.listdir("/proc/self/fd"))
    for spare in range(9):
        with descriptors_left(spare), pytest.raises(StartError, match="Too many open files"):
            await house.fleet.start()
        await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) <= before
    await house.fleet.start()
    assert await house.call("echo", 1) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("frame(FrameType.HELLO, 0, {'version': 99})", "the worker speaks version 99"),
        ("link.sendall(b'GET / HTTP/1.1' * 4)", "is no frame"),
        ("link.sendall(bytes_of(FrameType.HELLO, 0, b'\\x01'))", "type 16 is no map"),
        ("link.sendall(bytes_of(FrameType.HELLO, 0, b'\\xff\\xff'))", "it sent what is no frame"),
        ("frame(FrameType.CALL, 1)", "a frame of type 2 is not for the host"),
        ("frame(FrameType.RELOADED, 0, {})", "a reload ended that nobody asked for"),
    ],
)
async def test_a_worker_that_does_not_speak_our_language_is_ended(
    house, fake_python, source, reason
):
    setup = with_python(house, fake_python(f"{source}\ntime.sleep(3600)"))
    text = await start_fault(house, None, setup=setup)
    assert text.startswith("the worker was stopped: it sent what is no frame: ")
    assert reason in text


def children() -> set[str]:
    """The processes we have started and not waited for."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if status.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(status.parent.name)
    return found


async def test_a_worker_that_is_quicker_than_its_start_is_ended_all_the_same(house, tmp_path):
    said = tmp_path / "said"
    python = tmp_path / "quick"
    python.write_text(
        f"#!{sys.executable} -SE\n"
        "import os, sys, time\n"
        "os.write(int(sys.argv[4]), b'GET / HTTP/1.1' * 4)\n"
        f"open({str(said)!r}, 'w').close()\n"
        "time.sleep(3600)\n"
    )
    python.chmod(0o755)
    before = children()

    def be_slow():
        """As soon as the process is there, keep the loop from going on until it has spoken."""
        if children() == before:
            asyncio.get_running_loop().call_later(0, be_slow)  # after whatever else is ready
            return
        end = time.monotonic() + PATIENCE
        while not said.exists() and time.monotonic() < end:
            time.sleep(0.01)

    setup = with_python(house, python, start_timeout=20)
    asyncio.get_running_loop().call_later(0, be_slow)
    text = await start_fault(house, None, setup=setup, start_timeout=20)
    assert text.startswith("the worker was stopped: it sent what is no frame: ")


async def test_a_failure_without_a_reason_is_a_failure(house, fake_python):
    setup = with_python(house, fake_python("frame(FrameType.FAILED, 0, {'message': ''})"))
    assert await start_fault(house, None, setup=setup) == ""


async def test_what_comes_twice_or_for_nobody_is_no_matter(house, fake_python):
    setup = with_python(
        house,
        fake_python(
            """
            frame(FrameType.HELLO, 0, {'version': VERSION})
            frame(FrameType.RESULT, 77)
            frame(FrameType.ERROR, 78)
            for _ in range(2):
                frame(FrameType.READY, 0, {'files': [], 'programs': []})
                frame(FrameType.FAILED, 0, {'message': 'no'})
            link.recv(65536)
            time.sleep(3600)
            """
        ),
    )
    await house.start(None, setup=setup)
    assert house.fleet.ready


async def test_a_worker_that_dies_as_it_becomes_ready_has_not_started(house, fake_python):
    setup = with_python(
        house,
        fake_python(
            """
            frame(FrameType.HELLO, 0, {'version': VERSION})
            frame(FrameType.READY, 0, {'files': [], 'programs': []})
            os._exit(5)
            """
        ),
    )
    await house.start(None, setup=setup)
    told = await house.events.until("worker_lost")
    assert "exit code 5" in told["account"]


# --- how it ends ---------------------------------------------------------------------------------


async def lost(house, operation, *argument):
    with pytest.raises(WorkerLost) as caught:
        await house.call(operation, *argument)
    return caught.value.message


async def test_an_exit_code_is_told_with_the_last_words(house):
    await house.start()
    text = await lost(house, "exit", 42)
    assert text == (
        f"the worker left with exit code 42 (serving {house.file}); its last words: last words"
    )
    told = await house.events.until("worker_lost")
    assert told["operation"] == "exit"
    assert told["last_words"] == ["last words"]
    assert (told["answered_with_error"], told["given_back"]) == (1, 0)


async def test_only_the_last_words_are_told(house):
    await house.start(
        """
        import os, sys
        def handle(command, arg):
            for number in range(100):
                print("line", number, "x" * 1000, file=sys.stderr)
            sys.stdout.flush()
            os._exit(1)
        """
    )
    text = await lost(house, "op")
    told = text.partition("its last words: ")[2].split(" | ")
    assert [line.split()[1] for line in told] == ["97", "98", "99"]
    assert all(len(line) == 500 for line in told)


async def test_a_signal_of_its_own_is_told(house):
    await house.start()
    assert (await lost(house, "segv")).startswith("the worker was killed by SIGSEGV (serving")


async def test_a_signal_from_outside_is_told_also_with_calls_on_their_way(house):
    await house.start()
    running = await house.at_the_gate("a")
    # Unread calls in its socket make the link break with an error before the death is known.
    waiting = [house.submit("echo", number) for number in range(50)]
    await house.turn()
    house.kill_worker()
    with pytest.raises(WorkerLost, match="killed by SIGKILL"):
        await running
    assert await asyncio.gather(*waiting) == list(range(50))


async def test_a_signal_without_a_name_is_told_by_its_number(house):
    await house.start()
    running = await house.at_the_gate("a")
    house.kill_worker(signal.SIGRTMIN + 5)
    with pytest.raises(WorkerLost, match=r"the worker was killed by signal 39 \(serving"):
        await running


async def test_a_worker_that_closes_its_link_is_replaced(house, processes):
    await house.start()
    worker = house.worker
    await lost(house, "close")
    assert not processes.alive(worker)
    assert await house.call("echo", 1) == 1


async def test_a_worker_that_closes_its_link_and_stays_is_ended(house, fake_python, processes):
    setup = with_python(
        house,
        fake_python(
            """
            frame(FrameType.HELLO, 0, {'version': VERSION})
            link.recv(65536)
            frame(FrameType.READY, 0, {'files': [], 'programs': []})
            link.recv(65536)
            link.close()
            time.sleep(3600)
            """
        ),
    )
    await house.start(None, setup=setup)
    worker = house.worker
    call = house.submit("echo", 1)
    told = await house.events.until("worker_lost")
    assert told["account"] == "the worker was stopped: it closed its link"
    assert not processes.alive(worker)
    assert not call.answers  # it had not begun, so another worker gets it


async def test_a_worker_that_sends_garbage_is_ended_and_its_calls_are_answered(house):
    await house.start(
        """
        import os, socket, time
        def handle(command, arg):
            if command == "garbage":
                for descriptor in range(3, 1024):
                    try:
                        if socket.socket(fileno=os.dup(descriptor)).send(b"garbage" * 10):
                            break
                    except OSError:
                        pass
                time.sleep(3600)  # had it returned in time, its result would have been taken
            return arg
        """
    )
    text = await lost(house, "garbage")
    assert text.startswith("the worker was stopped: it sent what is no frame: ")
    assert await house.call("echo", 1) == 1


async def test_the_children_of_a_dead_worker_die_with_it(house, processes):
    await house.start(
        """
        import os, subprocess
        def handle(command, arg):
            child = subprocess.Popen(["sleep", "3600"])
            print("child", child.pid)
            if arg: os._exit(1)
        """
    )
    await lost(house, "op", 1)
    child = int((await house.events.until("printed"))["text"].split()[1])
    assert processes.until_gone(child)


async def test_a_child_that_got_away_and_holds_the_output_delays_nothing_for_long(house, processes):
    await house.start(
        """
        import os, subprocess
        def handle(command, arg):
            if command == "echo":
                return arg
            child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
            print("child", child.pid, flush=True)
            os._exit(1)
        """
    )
    before = len(os.listdir("/proc/self/fd"))
    text = await lost(house, "op")
    child = int((await house.events.until("printed"))["text"].split()[1])
    try:
        assert text.startswith("the worker left with exit code 1")
        assert await house.call("echo", 1) == 1
        assert len(os.listdir("/proc/self/fd")) <= before
    finally:
        os.kill(child, signal.SIGKILL)


async def test_ten_workers_leave_nothing_behind(house):
    await house.start(
        """
        import os
        def handle(command, arg):
            return os._exit(1) if command == "exit" else arg
        """
    )
    tasks = len(asyncio.all_tasks())

    async def level():
        assert await house.call("echo", 1) == 1
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = await level()
    for _ in range(10):
        await house.call("echo", 1)
        await lost(house, "exit")
    assert house.fleet.restarts == 10
    assert await level() <= before
    await house.events.until("worker_ready", 11)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= tasks


async def test_a_worker_told_to_leave_leaves(house, processes):
    await house.start()
    worker, link = house.worker, house.fleet.link
    await house.fleet.stop(PATIENCE)
    assert link.state is State.DEAD
    assert not processes.alive(worker)
    assert not house.events.of("worker_lost")
    await link.leave()  # once more is no matter
    await link.kill("it is dead already")
    assert link.begun() == 0
    link.write(b"to nobody")


async def test_a_worker_may_take_its_time_to_leave(house):
    # Longer than a link may be closed before its worker is ended for it.
    await house.start(
        f"""
        import atexit, os, time
        def leave():
            time.sleep({LINK_GRACE * 2})
            open(os.path.join(os.path.dirname(__file__), "left"), "w").close()
        atexit.register(leave)
        def handle(command, arg): return arg
        """
    )
    await house.fleet.stop(PATIENCE)
    assert (house.folder / "left").exists()


async def test_a_worker_that_does_not_leave_is_killed(house, processes):
    await house.start()
    await house.at_the_gate("a")
    worker = house.worker
    house.path.abandon("it is over")
    await house.fleet.stop(0.05)
    assert not processes.alive(worker)


async def test_one_that_claims_nonsense_at_the_first_start_is_a_start_that_failed(
    house, fake_python
):
    says = (
        "frame(FrameType.HELLO, 0, {'version': VERSION}); frame(FrameType.READY, 0, {'files': 5})"
    )
    setup = with_python(house, fake_python(f"{says}; time.sleep(3600)"))
    text = await start_fault(house, None, setup=setup)
    assert "did not say what it has loaded: TypeError" in text
