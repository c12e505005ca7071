"""What is served, as flags and settings say it: a program, an example, or models.

The rule of this file: it resolves and checks, and starts nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from provider.cli.form import fail, value_limits, worker_resources
from provider.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from provider.host.contract import WorkerSetup
    from provider.settings import Settings

    Beside = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


@contextlib.contextmanager
def worker_setup(
    settings: Settings, program: str | None, example: str | None
) -> Iterator[tuple[WorkerSetup, Beside]]:
    """What the worker loads for as long as it may load it, and what is done beside its work."""
    from provider import examples
    from provider.host import contract

    if program and example:
        fail("give a program or --example, not both", ExitCode.USAGE)
    if example:
        program = str(examples.find(example))
    with contextlib.ExitStack() as stack:
        title = ""
        beside: Beside = _nothing_beside
        if settings.models is not None:
            if program or settings.python_dispatch or settings.python_main:
                fail("give a program or --models, not both", ExitCode.USAGE)
            program, title, beside = stack.enter_context(_servables(settings, settings.models))
        setup = contract.resolve(
            venv=settings.venv_path,
            main=None if example else settings.python_main,
            dispatch=program or settings.python_dispatch,
            path=settings.python_path,
            limits=value_limits(settings),
            concurrency=settings.concurrency,
            resources=worker_resources(settings),
            user=settings.worker_user,
        )
        yield dataclasses.replace(setup, title=title), beside


def _nothing_beside(work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    return work


@contextlib.contextmanager
def _servables(settings: Settings, models: Path) -> Iterator[tuple[str, str, Beside]]:
    """The program that serves a config, what to call it, and what follows the config meanwhile."""
    from provider.servables import plan, program
    from provider.servables.follow import Follower
    from provider.telemetry import logs

    log = logs.get_logger(component="servables")

    def say(note: str) -> None:
        log.warning("servables_note", note=note)

    read = plan.read(models)
    for note in read.notes:
        say(note)
    with program.written(read, tracebacks=settings.tracebacks) as path:
        follower = Follower(read, path, tracebacks=settings.tracebacks, say=say)
        yield path, read.path, follower.beside if settings.reload else _nothing_beside
