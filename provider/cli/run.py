"""The command `run`, which serves a dispatch program.

The rule of this file: it resolves what it was told, starts one thing, and ends with its exit code.
It is alone, because it has to be quick: flags take time to make, even those of other commands.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provider.cli import early
from provider.cli.form import (
    CODE,
    EVERYTHING,
    app,
    configure_logs,
    fail,
    grpc_options,
    http_options,
    membership,
    nats_options,
    run_loop,
    with_settings,
)
from provider.cli.program import worker_setup
from provider.errors import ExitCode, StartError
from provider.settings import Settings  # noqa: TC001  with_settings evaluates the annotation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider.host.contract import WorkerSetup
    from provider.host.run import Ready
    from provider.host.spawned import Spawned
    from provider.lattice.joining import Joining


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
    options = nats_options(settings)
    try:
        if joining is not None or settings.models is not None:
            configure_logs(settings, background=True)  # there may be something to say
        if joining is not None:
            from provider.lattice import joining as lattice

            _say_who_launched_us(joining)
            lattice.check_program(settings, program or example)
            options = lattice.nats_options(options, settings, joining)
        with (
            worker_setup(settings, program, example) as (setup, beside),
            _begun(setup) as spawned,
        ):
            # The worker starts on the other core meanwhile.
            with early.importing():
                from provider.host.run import run as serve

            configure_logs(settings, background=True)
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
                        spawned=spawned,
                    )
                )
            )
    except StartError as error:
        fail(str(error), ExitCode.NOT_STARTED)
    raise typer.Exit(code)


@contextlib.contextmanager
def _begun(setup: WorkerSetup) -> Iterator[Spawned]:
    """The first worker's process, which is ended if nobody takes it."""
    from provider.host.spawned import spawn

    spawned = spawn(setup)
    try:
        yield spawned
    finally:
        spawned.end()


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
