"""The command that puts a provider on NATS behind HTTP or gRPC: gateway.

The rule of this file: it starts one thing and ends with its exit code; the settings mean what they
mean to `run`.
"""

from __future__ import annotations

import sys

import typer

from provider.cli.form import (
    ADDRESS,
    GRPC,
    HTTP,
    LIMITS,
    LOGS,
    NATS,
    app,
    configure_logs,
    fail,
    grpc_options,
    http_options,
    nats_options,
    run_loop,
    value_limits,
    with_settings,
)
from provider.errors import ExitCode, StartError
from provider.settings import Settings  # noqa: TC001  with_settings evaluates the annotation


@app.command()
@with_settings(NATS, ADDRESS, "call_timeout", HTTP, GRPC, LIMITS, "stop_timeout", LOGS)
def gateway(*, settings: Settings) -> None:
    """Answer HTTP and gRPC requests with calls of a provider anywhere on the NATS network.

    The same paths, limits and errors as `provider run --http` and `--grpc`. Listens on 127.0.0.1
    unless told otherwise.

    ```
    provider gateway --http 8000
    provider gateway --http 0.0.0.0:8000 --name python
    provider gateway --grpc 13000 --proto image_transform.proto
    ```
    """
    http, grpc = http_options(settings), grpc_options(settings)
    if http is None and grpc is None:
        fail(
            "say where to listen: --http 8000, or PROVIDER_HTTP, or --grpc 13000, or PROVIDER_GRPC",
            ExitCode.USAGE,
        )
    configure_logs(settings, background=True)
    try:
        from provider import gateway as gateways
        from provider.wire.address import Address

        code = run_loop(
            gateways.run(
                http,
                grpc,
                nats_options(settings),
                Address(settings.lattice, settings.key, settings.link_name, settings.name),
                limits=value_limits(settings),
                wait=settings.wait,
                call_timeout=settings.call_timeout,
                stop_timeout=settings.stop_timeout,
                announce=_announce,
            )
        )
    except StartError as error:
        fail(str(error), ExitCode.NOT_STARTED)
    raise typer.Exit(code)


def _announce(addresses: dict[str, str]) -> None:
    if not sys.stderr.isatty():
        return
    if url := addresses.get("http"):
        typer.echo(f"\nOperations are at {url}/call/NAME. Ctrl-C stops.\n", err=True)
    if address := addresses.get("grpc"):
        typer.echo(f"\ngRPC is at {address}. Ctrl-C stops.\n", err=True)
