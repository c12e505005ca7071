"""The command that puts a provider on NATS behind HTTP: gateway.

The rule of this file: it starts one thing and ends with its exit code; the settings mean what they
mean to `run`.
"""

from __future__ import annotations

import sys

import typer

from provider.cli.form import (
    ADDRESS,
    HTTP,
    LIMITS,
    LOGS,
    NATS,
    app,
    configure_logs,
    fail,
    http_options,
    nats_options,
    run_loop,
    with_settings,
)
from provider.errors import ExitCode, StartError
from provider.settings import Settings  # noqa: TC001  with_settings evaluates the annotation


@app.command()
@with_settings(NATS, ADDRESS, "call_timeout", HTTP, LIMITS, "stop_timeout", LOGS)
def gateway(*, settings: Settings) -> None:
    """Answer HTTP requests with calls of a provider anywhere on the NATS network.

    The same paths, limits and errors as `provider run --http`. Listens on 127.0.0.1 unless told
    otherwise.

    ```
    provider gateway --http 8000
    provider gateway --http 0.0.0.0:8000 --name python
    ```
    """
    http = http_options(settings)
    if http is None:
        fail("say where to listen: --http 8000, or PROVIDER_HTTP", ExitCode.USAGE)
    configure_logs(settings, background=True)
    try:
        try:
            from provider import gateway as gateways
            from provider.wire.address import Address
        except ImportError as error:
            raise StartError(
                f"the gateway needs more: pip install 'python-provider[http]' ({error})"
            ) from None
        code = run_loop(
            gateways.run(
                http,
                nats_options(settings),
                Address(settings.lattice, settings.key, settings.link_name, settings.name),
                wait=settings.wait,
                call_timeout=settings.call_timeout,
                stop_timeout=settings.stop_timeout,
                announce=_announce,
            )
        )
    except StartError as error:
        fail(str(error), ExitCode.NOT_STARTED)
    raise typer.Exit(code)


def _announce(url: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\nOperations are at {url}/call/NAME. Ctrl-C stops.\n", err=True)
