"""The tasks example keeps its list, and gives the answers its READMEs and its ancestor show."""

from __future__ import annotations

import concurrent.futures
import sqlite3

import pytest

from provider.errors import HandlerError, InvalidArgument
from provider.testing import in_process
from tests.documents import ROOT

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


def test_of_several_that_start_together_one_makes_the_table(database, tasks):
    with sqlite3.connect(database) as table:
        table.execute("DROP TABLE tasks")
    table.close()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: tasks.module.make_table(), range(4)))
    assert [task["id"] for task in tasks.call("tasks.all")["tasks"]] == [1, 2]


def test_a_database_that_cannot_be_ends_the_load(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKS_DATABASE", str(tmp_path / "nowhere" / "tasks.sqlite3"))
    with (
        pytest.raises(Exception, match="startup make_table failed: OperationalError"),
        in_process.load(PROGRAM),
    ):
        pass
