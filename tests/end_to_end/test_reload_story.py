"""Edit, save, call: the next call runs what was saved, and a bad save harms nobody."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from provider.client import connect_sync
from provider.errors import HandlerError, Unauthorized
from tests.conftest import PATIENCE, write

FIRST = """
    import os
    import time

    def handle(command, arg):
        if command == "pid":
            return os.getpid()
        if command == "sleep":
            time.sleep(arg)
        return "first"
"""


class Edited:
    """A provider whose program is edited, with the saves counted."""

    def __init__(self, provider, python) -> None:
        self.provider = provider
        self.python = python
        self.folder: Path = provider.folder
        self.program = self.folder / "dispatch.py"
        self.reloads = 0
        self.serving = ""

    def save(self, text: str) -> None:
        """Save in place, as many editors do."""
        self.program.write_text(text)
        self.saved(text)

    def save_by_rename(self, text: str) -> None:
        """Save in one step, as other editors do: whoever looks sees all of it or nothing."""
        beside = self.folder / f".dispatch.py.{self.reloads}.tmp"
        beside.write_text(text)
        beside.rename(self.program)
        self.saved(text)

    def saved(self, text: str) -> None:
        """Count a good save; the same text as before is no reason to reload."""
        self.reloads += text != self.serving
        self.serving = text

    def answer(self, text: str) -> None:
        """Save a program that answers this."""
        self.save(f"def handle(command, arg):\n    return {text!r}\n")

    def call(self, operation: str = "any", argument: object = None):
        return self.python.call(operation, argument)

    def failures(self) -> int:
        return len(self.provider.events("reload_failed"))

    def command(self, provider_command, *arguments: str, **environment: str):
        known = {"NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME"}
        given = {name: self.provider.environment[name] for name in known}
        return provider_command(*arguments, **given, **environment)


@pytest.fixture(scope="module")
def served(serve):
    provider = serve(FIRST)
    with connect_sync(provider.url, timeout=PATIENCE, **provider.address) as python:
        edited = Edited(provider, python)
        yield edited
        # One worker served all of it, and one save was one reload.
        assert python.status()["reloads"] == edited.reloads
        provider.wait_for("reloaded", edited.reloads)
        assert len(provider.events("worker_ready")) == 1
        assert len(provider.events("reloaded")) == edited.reloads


@pytest.fixture
def edited(served):
    """The provider with its first program, whatever the test before left."""
    served.answer("first")
    assert served.call() == "first"
    if served.reloads:
        served.provider.wait_for("reloaded", served.reloads)
    return served


def test_a_saved_file_is_live_at_the_next_call(edited):
    edited.answer("second")
    assert edited.call() == "second"
    line = edited.provider.wait_for("reloaded", edited.reloads)
    assert line["modules"] == ["dispatch"]
    assert line["program"] == str(edited.program)
    assert 0 < line["seconds"] < PATIENCE


def test_fifty_edits_each_followed_at_once_by_a_call_give_fifty_right_answers(edited):
    for number in range(50):
        edited.answer("x" * number)
        assert edited.call() == "x" * number
    edited.provider.wait_for("reloaded", edited.reloads)


def test_edits_of_the_same_length_within_one_second_are_seen(edited):
    for number in range(10, 60):
        edited.answer(f"text {number}")
        assert edited.call() == f"text {number}"
    edited.provider.wait_for("reloaded", edited.reloads)


def test_an_edit_whose_times_were_put_back_is_seen_by_the_watcher(edited):
    edited.answer("one")
    assert edited.call() == "one"
    was = edited.program.stat()
    edited.answer("two")
    os.utime(edited.program, ns=(was.st_atime_ns, was.st_mtime_ns))
    edited.provider.wait_for("reloaded", edited.reloads)
    assert edited.call() == "two"


def test_an_atomic_save_by_rename_is_live_at_the_next_call(edited):
    for number in range(5):
        edited.save_by_rename(f"def handle(command, arg):\n    return 'renamed {number}'\n")
        assert edited.call() == f"renamed {number}"


def test_a_save_that_keeps_a_backup_is_live_at_the_next_call(edited):
    backup = edited.folder / "dispatch.py~"
    edited.program.rename(backup)
    edited.answer("over the backup")
    assert edited.call() == "over the backup"
    backup.unlink()
    assert edited.call() == "over the backup"


def test_a_touched_file_is_not_loaded_again(edited):
    before = edited.provider.events("reloaded")
    edited.program.touch()
    assert edited.call() == "first"
    edited.program.write_text(edited.program.read_text())
    assert edited.call() == "first"
    os.utime(edited.program, (1, 1))
    assert edited.call() == "first"
    assert edited.provider.events("reloaded") == before


def test_a_deleted_file_serves_on_and_says_so_until_it_is_there_again(edited):
    failures = edited.failures()
    edited.program.unlink()
    assert edited.call() == "first"
    line = edited.provider.wait_for("reload_failed", failures + 1)
    assert line["error"].endswith("is gone; what was loaded from it serves on")
    assert "is gone" in edited.python.status()["reload_error"]
    edited.answer("back")
    assert edited.call() == "back"
    assert edited.python.status()["reload_error"] is None
    assert edited.failures() == failures + 1


def test_a_file_deleted_and_recreated_with_the_same_text_is_not_loaded_again(edited):
    text = edited.program.read_text()
    edited.program.unlink()
    edited.program.write_text(text)
    assert edited.call() == "first"


def test_a_running_call_ends_with_the_code_it_began_with(edited):
    edited.save(
        "import time\n"
        "def handle(command, arg):\n"
        "    print('begun')\n"
        "    time.sleep(arg)\n"
        "    return version()\n"
        "def version(): return 'old'\n"
    )
    lines = len(edited.provider.events("printed", text="begun"))

    async def work():
        async with edited.provider.connect() as python:
            slow = asyncio.create_task(python.call("any", 0.3))
            await asyncio.to_thread(edited.provider.wait_for, "printed", lines + 1, text="begun")
            edited.answer("new")
            fast = asyncio.create_task(python.call("any", 0))
            return await slow, await fast

    assert asyncio.run(work()) == ("old", "new")


# --- bad saves ------------------------------------------------------------------------------------

BROKEN = {
    "syntax": ("def handle(command, arg:\n    return 1\n", "SyntaxError"),
    "half a file": ("def handle(command, arg):\n    return (", "SyntaxError"),
    "import": ("import nothing_of_that_name\n", "nothing_of_that_name"),
    "raise": ("raise RuntimeError('not yet')\n", "RuntimeError: not yet"),
    "leave": ("import sys\nsys.exit('no')\n", "it called sys.exit('no')"),
    "no handle": ("def handel(command, arg): pass\n", "has no function handle"),
    "no function": ("handle = 3\n", "handle"),
    "arity": ("def handle(command): pass\n", "handle(command, arg)"),
    "bytes": ("# \xff\nhandle = '\x00'\n", "null"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_save_leaves_the_old_code_serving_and_says_so(edited, name):
    source, reason = BROKEN[name]
    failures = edited.failures()
    edited.program.write_text(source)
    assert edited.call() == "first"
    line = edited.provider.wait_for("reload_failed", failures + 1)
    assert reason in line["error"]
    assert line["level"] == "error"
    assert edited.call() == "first"
    assert reason in edited.python.status()["reload_error"]
    with pytest.raises(HandlerError, match="reload failed, the old code serves on") as caught:
        edited.python.reload()
    assert reason in caught.value.message
    assert edited.call() == "first"
    edited.answer("mended")
    assert edited.call() == "mended"
    assert edited.python.status()["reload_error"] is None
    # One line for the save, one for the reload that was asked for.
    edited.provider.wait_for("reload_failed", failures + 2)
    assert edited.failures() == failures + 2


def test_a_broken_save_taken_back_needs_no_reload(edited):
    text = edited.program.read_text()
    edited.program.write_text("oops(")
    assert edited.call() == "first"
    edited.program.write_text(text)
    assert edited.call() == "first"
    assert edited.python.status()["reload_error"] is None


def test_the_commands_say_what_is_wrong_with_the_newest_save(edited, provider_command):
    healthy = edited.command(provider_command, "probe")
    assert (healthy.returncode, healthy.stdout) == (0, b"healthy\n")
    edited.program.write_text("def handle(command, arg:\n")
    assert edited.call() == "first"
    probe = edited.command(provider_command, "probe")
    assert probe.returncode == 0
    assert b"healthy: the newest code does not load: " in probe.stdout
    assert b"SyntaxError" in probe.stdout
    failed = edited.command(provider_command, "reload")
    assert failed.returncode == 1
    assert b"handler_error: " in failed.stderr
    assert b"reload failed, the old code serves on" in failed.stderr
    assert b"SyntaxError" in failed.stderr
    edited.answer("mended")
    # The save is loaded before the reload that is asked for, which loads it again.
    reloaded = edited.command(provider_command, "reload")
    assert (reloaded.returncode, reloaded.stdout) == (0, b"")
    assert b"reloaded: 1 of 1" in reloaded.stderr
    assert edited.call() == "mended"
    edited.reloads = edited.python.status()["reloads"]


# --- helpers --------------------------------------------------------------------------------------


def test_a_helper_changed_in_the_folder_is_seen_by_the_watcher(edited):
    write(edited.folder / "helper.py", "NAME = 'one'")
    write(edited.folder / "package" / "__init__.py", "from .inner import NAME")
    write(edited.folder / "package" / "inner.py", "NAME = 'inner one'")
    edited.save(
        "import helper\nimport package\n"
        "def handle(command, arg):\n    return [helper.NAME, package.NAME]\n"
    )
    assert edited.call() == ["one", "inner one"]
    for path, text, modules in (
        ("helper.py", "NAME = 'two'", {"dispatch", "helper"}),
        ("package/inner.py", "NAME = 'inner two'", {"dispatch", "package", "package.inner"}),
    ):
        write(edited.folder / path, text)
        edited.reloads += 1
        line = edited.provider.wait_for("reloaded", edited.reloads)
        assert set(line["modules"]) == modules
    assert edited.call() == ["two", "inner two"]


def test_a_broken_helper_leaves_the_old_code_serving(edited):
    helper = write(edited.folder / "fragile.py", "NAME = 'one'")
    edited.save("import fragile\ndef handle(command, arg):\n    return fragile.NAME\n")
    assert edited.call() == "one"
    failures = edited.failures()
    helper.write_text("NAME = ")
    assert "fragile.py" in edited.provider.wait_for("reload_failed", failures + 1)["error"]
    assert edited.call() == "one"
    helper.write_text("NAME = 'mended'\n")
    edited.reloads += 1
    edited.provider.wait_for("reloaded", edited.reloads)
    assert edited.call() == "mended"


def test_what_did_not_change_stays_loaded(edited):
    write(edited.folder / "model.py", "import os\nLOADED = os.urandom(8).hex()\n")
    text = "import model\ndef handle(command, arg):\n    return ['{}', model.LOADED]\n"
    edited.save(text.format("one"))
    first = edited.call()
    edited.save(text.format("two"))
    second = edited.call()
    assert (first[0], second[0]) == ("one", "two")
    assert first[1] == second[1]
    edited.python.reload()
    edited.reloads += 1
    assert edited.call()[1] != first[1]


# --- asked for ------------------------------------------------------------------------------------

COUNTING = "calls = []\ndef handle(command, arg):\n    calls.append(1)\n    return len(calls)\n"


@pytest.mark.parametrize("way", ["operation", "signal", "command", "by subject"])
def test_a_reload_that_is_asked_for_executes_everything_afresh(edited, provider_command, way):
    edited.save(COUNTING)
    assert [edited.call(), edited.call()] == [1, 2]
    if way == "operation":
        assert edited.call("reload") is True
    elif way == "by subject":
        assert edited.python.call_bytes("reload", content_type="application/json") == b"true"
    elif way == "command":
        assert edited.command(provider_command, "reload").returncode == 0
    else:
        edited.provider.signal(signal.SIGHUP)
    edited.reloads += 1
    line = edited.provider.wait_for("reloaded", edited.reloads)
    assert line["modules"] == ["dispatch"]
    assert edited.call() == 1


# --- under load -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["in place", "by rename"])
async def test_calls_in_flight_during_reloads_are_all_answered_in_order(edited, way):
    save = edited.save if way == "in place" else edited.save_by_rename
    text = "def handle(command, arg):\n    return {}\n".format
    save(text(0))
    assert await asyncio.to_thread(edited.call) == 0
    edits, calls = 20, 50
    async with edited.provider.connect() as python:
        answers: list[asyncio.Task] = []
        for edit in range(1, edits + 1):
            answers += [asyncio.create_task(python.call("any", None)) for _ in range(calls)]
            await asyncio.sleep(0)
            save(text(edit))
        told = await asyncio.gather(*answers)
        assert await python.call("any", None) == edits
    # No answer by code older than what an earlier call was answered by.
    assert told == sorted(told)
    if way == "by rename":
        # And none by code older than what was saved before the call was sent. A file that is
        # being written in place when somebody looks holds neither the old nor the new text.
        assert all(version >= index // calls for index, version in enumerate(told))
    # Saves that no call came between are loaded as one.
    done = edited.python.status()["reloads"]
    assert edited.reloads - edits < done <= edited.reloads
    edited.reloads = done


# --- configurations -------------------------------------------------------------------------------


def test_reload_switched_off_refuses_and_does_not_watch(serve, provider_command):
    provider = serve(FIRST, PROVIDER_RELOAD="off")
    with connect_sync(provider.url, timeout=PATIENCE, **provider.address) as python:
        edited = Edited(provider, python)
        edited.answer("second")
        assert edited.call() == "first"
        with pytest.raises(Unauthorized, match="PROVIDER_RELOAD=off") as caught:
            edited.call("reload")
        assert caught.value.code == 403
        refused = edited.command(provider_command, "reload")
        assert refused.returncode == 1
        assert b"unauthorized: " in refused.stderr
        provider.signal(signal.SIGHUP)
        assert edited.call() == "first"
        assert edited.call("pid") == provider.worker_pid
        watching = Path(f"/proc/{provider.pid}/fd")
        assert not [fd for fd in watching.iterdir() if "inotify" in os.readlink(fd)]
        assert not provider.events("reloaded")
    assert provider.stop() == 0


def test_a_swapped_link_as_of_a_mounted_config_is_live(serve, tmp_path):
    def publish(version: str) -> None:
        real = tmp_path / f"..{version}"
        write(real / "dispatch.py", f"import beside\ndef handle(c, a): return '{version}'\n")
        write(real / "beside.py", f"NAME = '{version}'\n")
        (tmp_path / "..data_tmp").symlink_to(real.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    publish("v1")
    for name in ("dispatch.py", "beside.py"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    provider = serve(PYTHON_DISPATCH=str(tmp_path / "dispatch.py"))
    assert provider.call("any") == "v1"
    publish("v2")
    assert provider.call("any") == "v2"
    publish("v3")
    provider.wait_for("reloaded", 2)
    assert provider.call("any") == "v3"
    assert provider.stop() == 0
    assert len(provider.events("reloaded")) == 2
