"""The tasks example: a list of things to do, over HTTP and by name.

The list is in a file of SQLite, so neither a save of this program nor a restart loses anything.
The variable TASKS_DATABASE says where it is; without it, it is tasks.sqlite3 in the folder in which
you start the provider.
"""

import contextlib
import os
import sqlite3
from typing import TypedDict

from provider.dispatch import OperationError, operation, startup

PATIENCE = 5.0
"""Seconds to wait for another process that writes to the file."""

TABLE = """
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- counts on, also after the newest is deleted
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    done INTEGER NOT NULL
)
"""
AT_FIRST = [("buy", "Buy"), ("cook", "Cook")]


class Task(TypedDict):
    """One thing to do."""

    id: int
    title: str
    description: str
    done: bool


class OneTask(TypedDict):
    """An answer about a task."""

    task: Task


class AllTasks(TypedDict):
    """An answer about all of them."""

    tasks: list[Task]


class Deleted(TypedDict):
    """An answer about a task that was."""

    result: bool


@startup
def make_table():
    """Done before the first call, and after each save; what is there stays."""
    with connection() as database, database:
        database.execute("BEGIN IMMEDIATE")  # of several providers one makes it
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'tasks'").fetchone():
            database.execute(TABLE)
            database.executemany("INSERT INTO tasks VALUES (NULL, ?, ?, FALSE)", AT_FIRST)


@operation(name="tasks.all", http=["GET /tasks", "GET /tasks/"])
def all_tasks() -> AllTasks:
    """Everything on the list, the oldest first."""
    return {"tasks": run("SELECT * FROM tasks ORDER BY id")}


@operation(name="tasks.get", http="GET /tasks/{id}")
def get_task(id: int) -> OneTask:
    """One task."""
    return one(id, run("SELECT * FROM tasks WHERE id = ?", id))


@operation(name="tasks.add", http=["POST /tasks", "POST /tasks/"], status=201)
def add_task(title: str, description: str = "", done: bool = False) -> OneTask:
    """Put something on the list."""
    (task,) = run("INSERT INTO tasks VALUES (NULL, ?, ?, ?) RETURNING *", title, description, done)
    return {"task": task}


@operation(name="tasks.change", http="PUT /tasks/{id}")
def change_task(
    id: int,
    title: str | None = None,
    description: str | None = None,
    done: bool | None = None,
) -> OneTask:
    """Change what is given of a task; the rest, and what is null, stays as it is."""
    changed = run(
        "UPDATE tasks SET title = coalesce(?, title), description = coalesce(?, description), "
        "done = coalesce(?, done) WHERE id = ? RETURNING *",
        *(title, description, done, id),
    )
    return one(id, changed)


@operation(name="tasks.delete", http="DELETE /tasks/{id}")
def delete_task(id: int) -> Deleted:
    """Take a task off the list."""
    one(id, run("DELETE FROM tasks WHERE id = ? RETURNING *", id))
    return {"result": True}


def one(number, found):
    """The task that was found, if it was."""
    if not found:
        raise OperationError(f"there is no task {number}", code=404)
    return {"task": found[0]}


def run(statement, *values):
    """Run one statement, which is done as a whole or not at all; the tasks it gives."""
    with connection() as database, database:
        try:
            rows = database.execute(statement, values).fetchall()
        except OverflowError:
            return []  # no number of SQLite's, so no task has it
    return [
        {"id": number, "title": title, "description": description, "done": bool(done)}
        for number, title, description, done in rows
    ]


def connection():
    """A connection for one call; with PROVIDER_CONCURRENCY, calls are in several threads."""
    path = os.environ.get("TASKS_DATABASE", "tasks.sqlite3")
    return contextlib.closing(sqlite3.connect(path, timeout=PATIENCE))
