"""The commands that serve a dispatch program, or get ready to: run, check, config.

The rule of this file: a command resolves what it was told, starts one thing, and ends with its
exit code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provider.cli import early, plain
from provider.cli.form import (
    ADDRESS,
    CALLS,
    CODE,
    GRPC,
    HTTP,
    LATTICE,
    LIMITS,
    LOGS,
    NATS,
    RELOAD,
    WORKER,
    AsJson,
    app,
    configure_logs,
    fail,
    grpc_options,
    http_options,
    json_line,
    membership,
    nats_options,
    run_loop,
    value_limits,
    with_settings,
    worker_resources,
)
from provider.errors import ExitCode, StartError
from provider.settings import Settings, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from provider.host.contract import WorkerSetup
    from provider.host.run import Ready
    from provider.lattice.joining import Joining

    Beside = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]

EVERYTHING = (CODE, NATS, ADDRESS, LATTICE, CALLS, HTTP, GRPC, LIMITS, WORKER, RELOAD, LOGS)


@app.command()
@with_settings(*EVERYTHING)
def run(
    program: Annotated[
        str | None,
        typer.Argument(help="The dispatch program; the same as --dispatch.", show_default=False),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            "--example",
            help="Serve one of the examples that come with the provider.",
            rich_help_panel=CODE,
            show_default=False,
        ),
    ] = None,
    *,
    settings: Settings,
    joining: "Joining | None",  # noqa: UP037  with_settings evaluates annotations; this costs time
) -> None:
    """Serve a dispatch program on NATS, and over HTTP and gRPC if asked to, until stopped.

    With --models, serve the Python nodes of OpenVINO Model Server's servable folders.

    Stops in order on Ctrl-C or SIGTERM (a second one forces), loads the code again on SIGHUP.
    `provider` alone, with a pipe on standard input, is `provider run --host-data -`.

    ```
    provider run dispatch.py
    provider run dispatch.py --http 8000
    provider run dispatch.py --grpc 13000 --proto service.proto
    provider run --models models/config.json
    provider run --example factorial --embedded-nats
    ```
    """
    with early.importing():
        from provider.host.run import run as serve

    configure_logs(settings, background=True)
    options = nats_options(settings)
    try:
        if joining is not None:
            from provider.lattice import joining as lattice

            _say_who_launched_us(joining)
            lattice.check_program(settings, program or example)
            options = lattice.nats_options(options, settings, joining)
        with _worker_setup(settings, program, example) as (setup, beside):
            code = run_loop(
                beside(
                    serve(
                        settings,
                        setup,
                        options,
                        announce=_announce,
                        membership=membership(settings, joining),
                        http=http_options(settings),
                        grpc=grpc_options(settings),
                    )
                )
            )
    except StartError as error:
        fail(str(error), ExitCode.NOT_STARTED)
    raise typer.Exit(code)


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
        with _worker_setup(told, program, None) as (setup, _):
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


@contextlib.contextmanager
def _worker_setup(
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


def _say_who_launched_us(joining: Joining) -> None:
    from provider.telemetry import logs

    log = logs.get_logger(component="host")
    log.info("launched_by_host", host=joining.data.host_id, banner=joining.data.banner)
    for note in joining.notes:
        log.warning("host_data_left_out", reason=note)


def _beside_nats(ready: Ready) -> str:
    text = f"Over HTTP: {ready.http}, operations at {ready.http}/call/NAME\n\n"
    return (text if ready.http else "") + (f"gRPC: {ready.grpc}\n\n" if ready.grpc else "")


def _announce(ready: Ready) -> None:
    from provider.wire.address import Address

    if not sys.stderr.isatty() and not ready.embedded:
        return
    beside = Path(sys.argv[0])
    command = (
        str(beside) if beside.name == "provider" and beside.parent.name == "bin" else "provider"
    )
    with contextlib.suppress(ValueError):
        command = str(Path(command).relative_to(Path.cwd()))
    is_factorial = Path(ready.program).parent.name == "factorial"
    example = "py.factorial 10" if is_factorial else "OPERATION 'ARGUMENT AS JSON'"
    prefix = "" if ready.url == "nats://127.0.0.1:4222" else f"NATS_URL={shlex.quote(ready.url)} "
    ours, usual = ready.address, Address()
    for flag, value, default in (
        ("--lattice", ours.lattice, usual.lattice),
        ("--key", ours.key, usual.key),
        ("--link-name", ours.link_name, usual.link_name),
    ):
        if value != default:
            example += f" {flag} {shlex.quote(value)}"
    typer.echo(
        f"\nServing {ready.program}\nCall it from a second terminal:\n\n"
        f"    {prefix}{command} call {example}\n\n{_beside_nats(ready)}"
        "Save the program while this runs: the next call runs what you saved. Ctrl-C stops.\n",
        err=True,
    )
