"""What authors test with: the module in the test's process, a running provider, the fixtures."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from neotasker import embed

import provider.dispatch
from provider.errors import (
    BadRequest,
    BadResult,
    HandlerError,
    InvalidArgument,
    StartError,
    UnknownOperation,
)
from provider.testing import in_process, running
from provider.wire.values import Limits
from provider.worker.loader import LoadError
from tests.conftest import OTHER_PLUGINS_OFF, PATIENCE, alive, clean_environment, write

SHOP = """
    import decimal
    from dataclasses import dataclass

    import prices
    from provider.dispatch import Context, OperationError, context, operation

    CALLER = "MDCX6E7RPLXWSM7OZLVA7HVGDSPDNSXHDTDFHE5I5IRVHPQVCRMYK7HH"

    @dataclass
    class Line:
        item: str
        count: int = 1

    class Till:
        def __init__(self):
            self.taken = 0

        @operation(name="till.take")
        def take(self, cents: int):
            self.taken += cents
            return self.taken

    @operation
    def total(lines: list[Line]) -> int:
        return sum(prices.PRICES[line.item] * line.count for line in lines)

    @operation
    def about(context: Context):
        return [context.operation, context.caller, context.traceparent, context.remaining > 9]

    @operation
    def asked():
        return context().operation

    @operation
    def fails(how: str):
        match how:
            case "chosen":
                raise OperationError("sold out", code=409, details={"left": 0})
            case "raised":
                raise ValueError("no good")
            case "stopped":
                raise KeyboardInterrupt
            case "left":
                raise SystemExit(3)
            case "set":
                return {1}

    @operation
    def same(value):
        return value

    @operation
    def nested(value):
        return PROVIDER.call("asked") + " in " + context().operation
"""
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ACTOR = "MDCX6E7RPLXWSM7OZLVA7HVGDSPDNSXHDTDFHE5I5IRVHPQVCRMYK7HH"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "dispatch.py", SHOP)
    write(folder / "prices.py", 'PRICES = {"tea": 450, "coffee": 600}\n')
    return folder


@pytest.fixture
def shop(folder):
    with in_process.load(folder / "dispatch.py") as dispatch:
        yield dispatch


# --- in process -----------------------------------------------------------------------------------


def test_arguments_are_bound_and_converted_as_in_service(shop):
    assert shop.call("shop.total", [{"item": "tea", "count": 2}, {"item": "coffee"}]) == 1500
    with pytest.raises(InvalidArgument, match=r"^1\.count: "):
        shop.call("shop.total", [{"item": "tea"}, {"item": "tea", "count": []}])
    with pytest.raises(UnknownOperation, match="the nearest are total"):
        shop.call("shop.totel")


def test_nothing_sent_is_not_null(shop):
    with pytest.raises(InvalidArgument, match="an argument is missing: value"):
        shop.call("same")
    assert shop.call("same", None) is None


def test_the_state_of_a_class_lasts_as_long_as_the_module(folder):
    for _ in range(2):
        with in_process.load(folder / "dispatch.py") as shop:
            assert [shop.call("till.take", cents) for cents in (5, 7)] == [5, 12]


def test_values_travel_in_both_directions(shop):
    # A tuple arrives as a list, and nothing is the object that was sent.
    sent = {"big": 1 << 80, "bytes": b"\0", "list": (1, 2.5, None)}
    got = shop.call("same", sent)
    assert got == {**sent, "list": [1, 2.5, None]}
    assert got is not sent
    with pytest.raises(TypeError, match=r"the argument cannot travel.* at value\[0\]"):
        shop.call("same", [object()])
    with pytest.raises(BadResult):
        shop.call("fails", "set")


def test_limits_hold(folder):
    with in_process.load(folder / "dispatch.py", limits=Limits(depth=3)) as shop:
        assert shop.call("same", [[1]]) == [[1]]
        with pytest.raises(TypeError, match="deep"):
            shop.call("same", [[[[1]]]])


def test_errors_are_those_a_caller_gets(shop):
    with pytest.raises(HandlerError) as raised:
        shop.call("fails", "chosen")
    assert (raised.value.message, raised.value.code) == ("sold out", 409)
    assert (raised.value.type, raised.value.details) == ("OperationError", {"left": 0})
    with pytest.raises(HandlerError, match="no good") as raised:
        shop.call("fails", "raised")
    assert raised.value.type == "ValueError"
    with pytest.raises(HandlerError, match=r"the handler called sys\.exit\(3\)"):
        shop.call("fails", "left")
    with pytest.raises(BadRequest, match="operation is empty"):
        shop.call("")


def test_a_failure_shows_the_handlers_own_lines(shop, folder):
    with pytest.raises(HandlerError) as raised:
        shop.call("fails", "raised")
    (note,) = raised.value.__notes__
    assert f'File "{folder / "dispatch.py"}"' in note
    assert 'raise ValueError("no good")' in note


def test_ctrl_c_is_for_whoever_runs_the_tests(shop):
    with pytest.raises(KeyboardInterrupt):
        shop.call("fails", "stopped")


def test_a_handler_knows_its_context(shop):
    told = shop.call("shop.about", timeout=10, headers={"traceparent": TRACE}, caller=ACTOR)
    assert told == ["shop.about", ACTOR, TRACE, True]
    assert shop.call("about", timeout=5) == ["about", "", "", False]
    assert shop.call("x.asked") == "x.asked"
    with pytest.raises(LookupError):
        provider.dispatch.context()


def test_a_call_in_a_call_has_its_own_context(shop):
    shop.module.PROVIDER = shop
    assert shop.call("nested", 1) == "asked in nested"


def test_the_module_can_be_looked_at_and_changed(shop, monkeypatch):
    assert shop.module.Line("tea").count == 1
    assert shop.operations == ["till.take", "total", "about", "asked", "fails", "same", "nested"]
    monkeypatch.setitem(shop.module.prices.PRICES, "tea", 1)
    assert shop.call("total", [{"item": "tea"}]) == 1


def test_a_plain_handle_is_called_with_what_was_sent(tmp_path):
    program = write(tmp_path / "plain.py", "def handle(command, arg):\n    return [command, arg]\n")
    with in_process.load(str(program)) as plain:
        assert plain.call("py.x", 5) == ["py.x", 5]
        assert plain.call("py.x") == ["py.x", None]
        assert plain.operations == []


def test_a_package_is_a_program_too(tmp_path):
    package = tmp_path / "shop"
    write(package / "__init__.py", "from shop.handlers import handle\n")
    write(package / "handlers.py", "def handle(command, arg):\n    return command\n")
    with in_process.load(package) as loaded:
        assert loaded.call("py.x") == "py.x"
        assert loaded.module.__name__ == "shop"
    assert not {"shop", "shop.handlers"} & set(sys.modules)


def test_nothing_of_it_stays(folder, monkeypatch):
    standing = object()
    monkeypatch.setitem(sys.modules, "dispatch", standing)
    before = (list(sys.path), list(sys.meta_path), provider.dispatch.find_context)
    report = embed.report_result
    with in_process.load(folder / "dispatch.py") as shop:
        assert sys.modules["dispatch"] is shop.module
        assert "prices" in sys.modules
    assert (sys.path, sys.meta_path, provider.dispatch.find_context) == before
    assert embed.report_result is report
    assert sys.modules["dispatch"] is standing
    assert "prices" not in sys.modules
    assert list(folder.rglob("__pycache__")) == []


def test_what_does_not_load_says_why_and_leaves_nothing(tmp_path):
    program = write(tmp_path / "broken.py", "import sys\n\nraise ValueError('not today')\n")
    before = (list(sys.path), list(sys.meta_path), provider.dispatch.find_context)
    with pytest.raises(LoadError, match="not today") as raised, in_process.load(program):
        pass
    assert "line 3" in raised.value.__notes__[0]
    assert (sys.path, sys.meta_path, provider.dispatch.find_context) == before
    assert "broken" not in sys.modules
    empty = write(tmp_path / "empty.py", "")
    with (
        pytest.raises(LoadError, match="has no function handle") as raised,
        in_process.load(empty),
    ):
        pass
    assert not hasattr(raised.value, "__notes__")


def test_a_module_starts_up_and_shuts_down(tmp_path):
    program = write(
        tmp_path / "dispatch.py",
        """
        from provider.dispatch import operation, shutdown, startup

        DONE = []

        @startup
        def begin():
            DONE.append("begun")

        @operation
        def done():
            return DONE

        @shutdown
        def end():
            DONE.append("ended")
        """,
    )
    with in_process.load(program) as loaded:
        assert loaded.call("done") == ["begun"]
        done = loaded.module.DONE
    assert done == ["begun", "ended"]


STREAMS = """
    import asyncio
    import contextvars

    from provider.dispatch import context, operation

    CLOSED = []

    @operation
    async def waits(n: int):
        await asyncio.sleep(0)
        return [n, context().operation]

    @operation
    def counts(to: int):
        try:
            for number in range(to):
                yield [number, context().operation]
        finally:
            CLOSED.append([to, context().operation])

    @operation
    async def counts_slowly(to: int):
        try:
            for number in range(to):
                await asyncio.sleep(0)
                yield [number, context().operation]
        finally:
            CLOSED.append([to, context().operation])

    @operation
    async def returns_one(to: int):
        return counts(to)

    @operation
    def breaks(how: str):
        yield 1
        if how == "raised":
            raise ValueError("no good")
        if how == "stopped":
            raise KeyboardInterrupt
        yield {1}
"""


def test_the_loop_ends_with_the_last_module(tmp_path):
    program = write(tmp_path / "dispatch.py", STREAMS)
    with in_process.load(program) as loaded:
        assert loaded.call("waits", 1) == [1, "waits"]
        assert "provider-loop" in {thread.name for thread in threading.enumerate()}
    assert "provider-loop" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    program = write(tmp_path_factory.mktemp("streams") / "dispatch.py", STREAMS)
    with in_process.load(program) as streams:
        yield streams


def test_coroutines_and_generators_are_finished(streams):
    assert streams.call("x.waits", 5) == [5, "x.waits"]
    for name in ("counts", "counts_slowly", "returns_one"):
        assert streams.call(name, 2) == [[0, name], [1, name]]


async def test_coroutines_are_finished_where_a_loop_runs_too(streams):
    assert streams.call("waits", 5) == [5, "waits"]
    assert len(list(streams.stream("counts_slowly", 5))) == 5


def test_a_stream_gives_one_item_after_the_other(streams):
    for name in ("counts", "counts_slowly", "returns_one"):
        items = streams.stream(name, 3)
        assert next(items) == [0, name]
        # Another call in between has a context of its own.
        assert streams.call("waits", 1) == [1, "waits"]
        assert list(items) == [[1, name], [2, name]]
    assert list(streams.stream("waits", 5)) == [[5, "waits"]]


def test_who_wants_no_more_closes_the_generator(streams):
    for name in ("counts", "counts_slowly"):
        closed = streams.module.CLOSED
        closed.clear()
        items = streams.stream(name, 7)
        next(items)
        assert closed == []
        items.close()
        assert closed == [[7, name]]


def test_a_stream_ends_with_the_error_a_caller_gets(streams):
    items = streams.stream("breaks", "raised")
    assert next(items) == 1
    with pytest.raises(HandlerError, match="no good") as raised:
        next(items)
    assert raised.value.type == "ValueError"
    assert 'raise ValueError("no good")' in raised.value.__notes__[0]
    with pytest.raises(BadResult):
        list(streams.stream("breaks", "set"))
    with pytest.raises(KeyboardInterrupt):
        list(streams.stream("breaks", "stopped"))
    with pytest.raises(InvalidArgument):
        next(streams.stream("breaks", 5))
    with pytest.raises(UnknownOperation):
        next(streams.stream("nothing"))


def test_two_modules_may_be_loaded_at_once(streams, shop):
    assert shop.call("asked") == "asked"
    assert streams.call("waits", 1) == [1, "waits"]
    assert shop.call("x.asked") == "x.asked"
    # The loop of the one goes on when the other is gone.
    loop = {thread for thread in threading.enumerate() if thread.name == "provider-loop"}
    with in_process.load(streams.module.__file__) as third:
        assert third.call("waits", 1) == [1, "waits"]
    assert loop
    assert loop <= set(threading.enumerate())


def test_a_call_may_be_made_from_any_thread(folder):
    told = []

    def work():
        with in_process.load(folder / "dispatch.py") as shop:
            told.append(shop.call("asked"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert told == ["asked"]


# --- running --------------------------------------------------------------------------------------


def test_a_provider_runs_and_is_gone_in_the_end(folder, monkeypatch):
    # A server named in the shell or in .env is somebody's, who would get our answers.
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setenv("PROVIDER_KEY", "production")
    monkeypatch.chdir(folder)
    write(folder / ".env", "NATS_URL=nats://127.0.0.1:1\nPYTHON_MAIN=nowhere\n")
    with running.run(folder / "dispatch.py", PROVIDER_LATTICE="mine", PROVIDER_NAME="shop") as shop:
        assert shop.url.startswith("nats://127.0.0.1:")
        assert shop.call("shop.total", [{"item": "tea"}], timeout=PATIENCE) == 450
        with pytest.raises(HandlerError, match="sold out"):
            shop.client.call("fails", "chosen")
        assert shop.client.status(timeout=PATIENCE)["ready"] is True
        assert any('"subject": "wasmbus.rpc.mine.python.default"' in line for line in shop.log)
        assert alive(shop.pid)
    assert not alive(shop.pid)
    assert any('"drained"' in line for line in shop.log)


def test_a_provider_that_does_not_start_says_why(tmp_path):
    program = write(tmp_path / "dispatch.py", "raise ValueError('not today')\n")
    with pytest.raises(StartError, match=r"(?s)did not start:.*not today"), running.run(program):
        pass


# --- the fixtures ---------------------------------------------------------------------------------

SUITE = """
    import pytest

    def test_it_is_fresh_for_each_test(provider_dispatch):
        assert provider_dispatch.call("till.take", 5) == 5

    def test_it_is_fresh_for_the_next_one(provider_dispatch):
        assert provider_dispatch.call("till.take", 5) == 5

    def test_it_runs(running_provider):
        assert running_provider.call("till.take", 5) == 5

    def test_it_goes_on(running_provider):
        assert running_provider.call("till.take", 5) == 10
"""
FAILING = """
    def test_fails(provider_dispatch):
        provider_dispatch.call("fails", "raised")
"""
LIGHT = """
    import sys

    def test_nothing_of_ours_is_imported():
        ours = {name for name in sys.modules if name.partition(".")[0] == "provider"}
        assert ours == {"provider", "provider.testing", "provider.testing.plugin"}
        assert not {"nats", "cbor2", "neotasker", "pydantic", "typer"} & set(sys.modules)
"""


@pytest.fixture
def run_pytest(tmp_path):
    """Runs pytest on these files, in a process of its own; what it prints, and its exit code."""

    def run(*arguments: str, config: str = "", folder: Path = tmp_path, **files: str):
        write(tmp_path / "pytest.ini", f"[pytest]\n{config}\n")
        for name, text in files.items():
            write(tmp_path / f"{name}.py", text)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-W", "error"),
                *OTHER_PLUGINS_OFF,
                *arguments,
            ],
            env=clean_environment(),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_fixtures_find_the_program_by_the_setting(run_pytest, folder, tmp_path):
    (tmp_path / "below").mkdir()
    config = f"provider_dispatch = {Path('..') / folder.name / 'dispatch.py'}"
    (tmp_path.parent / folder.name).exists() or (tmp_path.parent / folder.name).symlink_to(folder)
    # From wherever it is started, the path begins at the configuration file.
    code, said = run_pytest("..", config=config, folder=tmp_path / "below", test_suite=SUITE)
    assert code == 0, said
    assert "4 passed" in said


@pytest.mark.long
def test_the_option_goes_before_the_setting(run_pytest, folder, tmp_path):
    # It begins where the command was typed.
    option = ("--provider-dispatch", "dispatch.py", str(tmp_path), "-c", f"{tmp_path}/pytest.ini")
    config = "provider_dispatch = nowhere.py"
    code, said = run_pytest(*option, config=config, folder=folder, test_suite=FAILING)
    assert code == 1
    # The line of the test, and that of the handler, and nothing of ours in between.
    assert '>       provider_dispatch.call("fails", "raised")' in said
    assert 'raise ValueError("no good")' in said
    assert "in_process.py" not in said


@pytest.mark.long
def test_a_program_that_is_not_there_is_named(run_pytest):
    code, said = run_pytest(config="provider_dispatch = nowhere.py", test_suite=FAILING)
    assert code == 1
    assert "nowhere.py does not exist" in said


@pytest.mark.long
def test_without_a_program_nothing_is_imported_and_nothing_works(run_pytest):
    code, said = run_pytest(test_first=LIGHT, test_suite=FAILING)
    assert code == 1
    assert "which dispatch program is tested? Write it into pytest.ini" in said
    assert "1 passed, 1 error" in said
