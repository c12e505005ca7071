"""The tasks example keeps its list, and gives the answers its READMEs and its ancestor show."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shlex
import shutil
import sqlite3
import threading

import pytest

from provider.errors import HandlerError, InvalidArgument
from provider.testing import in_process
from tests.conftest import PATIENCE, write
from tests.documents import ROOT
from tests.shown import curl, try_commands

PROGRAM = ROOT / "dispatch_examples" / "tasks" / "dispatch.py"
BUY = {"id": 1, "title": "buy", "description": "Buy", "done": False}
COOK = {"id": 2, "title": "cook", "description": "Cook", "done": False}


@pytest.fixture
def database(tmp_path, monkeypatch):
    path = tmp_path / "tasks.sqlite3"
    monkeypatch.setenv("TASKS_DATABASE", str(path))
    return path


@pytest.fixture
def tasks(database):
    with in_process.load(PROGRAM) as dispatch:
        yield dispatch


# --- in one process -------------------------------------------------------------------------------


def test_there_are_two_at_first(tasks):
    assert tasks.call("tasks.all") == {"tasks": [BUY, COOK]}
    assert tasks.call("tasks.get", 2) == {"task": COOK}


def test_a_task_is_added_changed_and_deleted(tasks):
    added = {"id": 3, "title": "Read a book", "description": "", "done": False}
    assert tasks.call("tasks.add", {"title": "Read a book"}) == {"task": added}
    done = {**added, "done": True}
    assert tasks.call("tasks.change", {"id": 3, "done": True}) == {"task": done}
    assert tasks.call("tasks.change", {"id": 3, "title": None}) == {"task": done}
    other = {**done, "title": "Write one", "description": "A short one"}
    change = {"id": 3, "title": "Write one", "description": "A short one"}
    assert tasks.call("tasks.change", change) == {"task": other}
    assert tasks.call("tasks.all") == {"tasks": [BUY, COOK, other]}
    assert tasks.call("tasks.delete", 3) == {"result": True}
    assert tasks.call("tasks.all") == {"tasks": [BUY, COOK]}


@pytest.mark.parametrize(
    ("operation", "argument"),
    [
        ("tasks.get", 4),
        ("tasks.get", -1),
        ("tasks.get", 2**80),
        ("tasks.change", {"id": 4, "done": True}),
        ("tasks.delete", 4),
    ],
)
def test_what_is_not_there_is_not_found(tasks, operation, argument):
    with pytest.raises(HandlerError, match="there is no task") as raised:
        tasks.call(operation, argument)
    assert raised.value.code == 404


@pytest.mark.parametrize(
    ("operation", "argument", "reason"),
    [
        ("tasks.add", {}, "lacks title"),
        ("tasks.add", {"title": 5}, "title: Input should be a valid string"),
        ("tasks.add", {"title": "x", "done": "yes"}, "done: Input should be a valid boolean"),
        ("tasks.add", {"title": "x", "id": 1}, "the argument has 'id'"),
        ("tasks.change", {"id": 2, "done": "yes"}, "done: Input should be a valid boolean"),
        ("tasks.change", {"id": 2, "title": 5}, "title: Input should be a valid string"),
        ("tasks.change", {"id": 2, "color": "red"}, "the argument has 'color'"),
        ("tasks.get", "x", "Input should be a valid integer"),
    ],
)
def test_types_are_checked(tasks, operation, argument, reason):
    with pytest.raises(InvalidArgument, match=reason):
        tasks.call(operation, argument)
    assert tasks.call("tasks.all") == {"tasks": [BUY, COOK]}


def test_no_number_is_given_twice(tasks):
    for number in (1, 2):
        tasks.call("tasks.delete", number)
    assert tasks.call("tasks.all") == {"tasks": []}
    assert tasks.call("tasks.add", {"title": "x"})["task"]["id"] == 3
    tasks.call("tasks.delete", 3)
    assert tasks.call("tasks.add", {"title": "y"})["task"]["id"] == 4


@pytest.mark.parametrize("title", ["'); DROP TABLE tasks; --", "a\0b", "\U0001f600", "x" * 10_000])
def test_texts_come_back_as_they_are(tasks, title):
    added = tasks.call("tasks.add", {"title": title})["task"]
    assert tasks.call("tasks.get", added["id"])["task"]["title"] == title


def test_the_list_outlives_the_program(database):
    with in_process.load(PROGRAM) as before:
        before.call("tasks.delete", 1)
        before.call("tasks.delete", 2)
        before.call("tasks.add", {"title": "stay"})
    with in_process.load(PROGRAM) as after:
        stayed = {"id": 3, "title": "stay", "description": "", "done": False}
        assert after.call("tasks.all") == {"tasks": [stayed]}


def test_many_may_write_at_once(tasks):
    def add(number):
        return tasks.module.add_task(str(number))["task"]["id"]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        numbers = list(threads.map(add, range(40)))
    assert sorted(numbers) == list(range(3, 43))


def test_of_several_that_start_together_one_makes_the_table(database, tasks, monkeypatch):
    module = tasks.module
    asked = threading.Event()

    def traced(connect=module.connection):
        connection = connect()
        # What it asks while the other writes.
        connection.thing.set_trace_callback(
            lambda statement: asked.set() if statement.startswith(("BEGIN IMM", "CREATE")) else None
        )
        return connection

    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DROP TABLE tasks")
        other.execute("COMMIT")
        other.execute("BEGIN IMMEDIATE")
        other.execute(module.TABLE)
        monkeypatch.setattr(module, "connection", traced)
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            made = threads.submit(module.make_table)
            assert asked.wait(PATIENCE)
            other.execute("COMMIT")
            made.result(PATIENCE)
    assert tasks.call("tasks.all") == {"tasks": []}


def test_a_database_that_cannot_be_ends_the_load(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKS_DATABASE", str(tmp_path / "nowhere" / "tasks.sqlite3"))
    with (
        pytest.raises(Exception, match="startup make_table failed: OperationalError"),
        in_process.load(PROGRAM),
    ):
        pass


# --- over HTTP ------------------------------------------------------------------------------------

TYPE = '-H "Content-Type: application/json"'
READ = {"id": 3, "title": "Read a book", "description": "", "done": False}
ARTICLE = [
    ("curl -i http://localhost:5000/tasks", 200, {"tasks": [BUY, COOK]}),
    ("curl -i -X GET http://localhost:5000/tasks", 200, {"tasks": [BUY, COOK]}),
    ("curl -i http://localhost:5000/tasks/", 200, {"tasks": [BUY, COOK]}),
    ("curl -i http://localhost:5000/tasks/2", 200, {"task": COOK}),
    ("curl -i http://localhost:5000/tasks/4", 404, None),
    (
        f'curl -i {TYPE} -X POST -d \'{{"title":"Read a book"}}\' http://localhost:5000/tasks/',
        *(201, {"task": READ}),
    ),
    (
        f"curl -i {TYPE} -X PUT -d '{{\"done\":true}}' http://localhost:5000/tasks/2",
        *(200, {"task": {**COOK, "done": True}}),
    ),
    ("curl -i -X DELETE http://localhost:5000/tasks/2", 200, {"result": True}),
    ("curl -i http://localhost:5000/tasks/", 200, {"tasks": [BUY, READ]}),
    ("curl -i -X DELETE http://localhost:5000/tasks/2", 404, None),
]
"""The commands of the article, one after the other, and what it shows."""


@pytest.fixture(scope="module")
def start(start_module_provider, tmp_path_factory):
    """Starts providers of one list."""
    path = tmp_path_factory.mktemp("tasks") / "tasks.sqlite3"
    program = write(path.parent / "dispatch.py", PROGRAM.read_text())

    def started():
        provider = start_module_provider(
            *(None, "--http", "0"), PYTHON_DISPATCH=str(program), TASKS_DATABASE=str(path)
        )
        provider.program = program
        return provider

    return started


@pytest.fixture(scope="module")
def served(start):
    return start()


def ask(provider, command: str) -> tuple[int, dict[str, str], dict]:
    """Run a command of curl's with -i; status, headers and JSON of the answer."""
    head, _, body = curl(shlex.split(command), provider.events("ready")[-1]["http"]).rpartition(
        "\r\n\r\n"
    )
    first, *lines = head.split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
class TestOverHttp:
    """In this order: the list remembers."""

    @pytest.mark.parametrize(("command", "status", "shown"), ARTICLE)
    def test_the_commands_of_the_article_show_what_it_shows(self, served, command, status, shown):
        answered, headers, body = ask(served, command)
        assert answered == status
        if shown is None:
            assert headers["content-type"] == "application/problem+json"
            assert body["detail"].startswith("there is no task"), body
        else:
            assert headers["content-type"] == "application/json"
            assert body == shown

    @pytest.mark.parametrize(
        ("command", "status", "said"),
        [
            (f"curl -i {TYPE} -d '{{\"title\"' http://localhost:5000/tasks", 400, ""),
            (f"curl -i {TYPE} -d '[]' http://localhost:5000/tasks/", 422, "list"),
            (f"curl -i {TYPE} -d '{{}}' http://localhost:5000/tasks/", 422, "title"),
            (f"curl -i {TYPE} -d '{{\"title\":5}}' http://localhost:5000/tasks", 422, "title: "),
            ("curl -i -d 'title=x' http://localhost:5000/tasks", 415, "Content-Type"),
            (f"curl -i {TYPE} -X PUT -d '{{\"id\":1}}' http://localhost:5000/tasks/1", 422, "id"),
            ("curl -i http://localhost:5000/tasks/x", 422, "integer"),
            ("curl -i http://localhost:5000/tasks/1/", 404, "nothing is found"),
            ("curl -i http://localhost:5000/task", 404, "nothing is found"),
        ],
    )
    def test_what_does_not_fit_is_refused_in_json(self, served, command, status, said):
        answered, headers, body = ask(served, command)
        assert (answered, headers["content-type"]) == (status, "application/problem+json")
        assert body["status"] == status
        assert said in body["detail"]

    def test_another_method_is_told_which_there_are(self, served):
        for path, allowed in (
            ("/tasks", {"GET", "HEAD", "POST", "OPTIONS"}),
            ("/tasks/1", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}),
        ):
            command = f"curl -i -X PATCH http://localhost:5000{path}"
            status, headers, _ = ask(served, command)
            assert status == 405
            assert set(headers["allow"].replace(" ", "").split(",")) == allowed

    def test_a_save_loses_nothing(self, served):
        text = served.program.read_text()
        served.program.write_text(text.replace("-> AllTasks", "-> dict") + "\n")
        served.wait_for("reloaded")
        status, _, body = ask(served, "curl -i http://localhost:5000/tasks")
        assert (status, body) == (200, {"tasks": [BUY, READ]})

    def test_a_restart_loses_nothing(self, served, start):
        served.close()
        again = start()
        _, _, body = ask(again, "curl -i http://localhost:5000/tasks")
        assert body == {"tasks": [BUY, READ]}
        command = f'curl -i {TYPE} -d \'{{"title":"x"}}\' http://localhost:5000/tasks'
        assert ask(again, command)[2]["task"]["id"] == 4


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_readme_shows_what_happens(start_provider, tmp_path):
    try_commands(PROGRAM.with_name("README.md"), start_provider, TASKS_DATABASE=str(tmp_path / "t"))
