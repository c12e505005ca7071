"""The commands before `run`: does the program load, and which settings count.

The rule of this file: a command looks, says what it found, and starts nothing that stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from provider.cli import plain
from provider.cli.form import (
    CALLS,
    CODE,
    EVERYTHING,
    LIMITS,
    LOGS,
    WORKER,
    AsJson,
    app,
    configure_logs,
    fail,
    json_line,
    run_loop,
    with_settings,
)
from provider.cli.program import worker_setup
from provider.errors import ExitCode, StartError
from provider.settings import Settings, rows

if TYPE_CHECKING:
    from provider.lattice.joining import Joining


@app.command()
@with_settings(CODE, CALLS, LIMITS, WORKER, LOGS)
def check(
    program: Annotated[
        str | None,
        typer.Argument(help="The dispatch program; the same as --dispatch.", show_default=False),
    ] = None,
    files: Annotated[
        bool,
        typer.Option("--files", help="Say which files it is made of: those `run` watches."),
    ] = False,
    *,
    settings: Settings,
) -> None:
    """Load a dispatch program as `run` would, without NATS, and say what is wrong with it.

    ```
    provider check dispatch.py
    provider check dispatch.py --files
    provider check dispatch.py --venv-path .venv
    provider check --models models/config.json
    ```
    """
    from provider.host.rehearsal import rehearse
    from provider.wire.servable import NOT_LOADED

    configure_logs(settings, level="warning")
    # Whoever checks is told what handlers raise.
    told = settings.model_copy(update={"tracebacks": True})
    try:
        with worker_setup(told, program, None) as (setup, _):
            loaded = run_loop(rehearse(setup, settings.start_timeout))
    except StartError as error:
        fail(str(error), ExitCode.FAILED)
    for path in loaded.hidden:
        typer.echo(
            f"warning: {path} is hidden by the library of the same name; rename it", err=True
        )
    broken = (
        {name: doc for name, doc in loaded.operations.items() if doc.startswith(NOT_LOADED)}
        if settings.models
        else {}
    )
    for name, doc in broken.items():
        typer.echo(plain.lines(f"error: {name}: {doc.removeprefix(NOT_LOADED)}"), err=True)
    if broken:
        raise typer.Exit(ExitCode.FAILED)
    typer.echo(f"ok: {setup.program} (Python {loaded.python}, {loaded.seconds:.3f} s)")
    for path in loaded.files if files else ():
        typer.echo(plain.line(path))


@app.command()
@with_settings(*EVERYTHING)
def config(
    as_json: AsJson = False,
    *,
    settings: Settings,
    joining: "Joining | None",  # noqa: ARG001, UP037  what it says is in the settings; as above
) -> None:
    """Show every setting, its value and where it came from. Secrets are masked.

    ```
    provider config
    PROVIDER_LATTICE=staging provider config --json
    ```
    """
    if as_json:
        typer.echo(
            json_line(
                {row.variable: {"value": row.value, "source": row.source} for row in rows(settings)}
            )
        )
        return
    width = max(len(row.variable) for row in rows(settings))
    for row in rows(settings):
        typer.echo(f"{row.variable:<{width}}  {row.value or '-':<28}  {row.source}")
