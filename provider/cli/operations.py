"""The commands that say what a running provider can be asked for: operations, schema.

The rule of this file: what is printed is what the provider says of itself; nothing is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from provider.cli import plain
from provider.cli.form import (
    ADDRESS,
    NATS,
    AsJson,
    app,
    duration,
    fail_call,
    json_line,
    with_provider,
    with_settings,
)
from provider.errors import CallError
from provider.settings import Settings  # noqa: TC001  with_settings evaluates the annotation

if TYPE_CHECKING:
    from provider.client import Python


@app.command()
@with_settings(NATS, ADDRESS)
def operations(
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait.")] = "10s",
    as_json: AsJson = False,
    *,
    settings: Settings,
) -> None:
    """List the operations a running provider declares.

    Each with its signature and the first line of its documentation. A program that has nothing but
    `handle` declares none.

    ```
    provider operations
    provider operations --json
    ```
    """
    seconds = duration(timeout)
    try:
        told = with_provider(settings, lambda python: python.operations(timeout=seconds))
    except CallError as error:
        fail_call(error)
    if as_json:
        typer.echo(json_line(told))
        return
    for operation in told:
        typer.echo(plain.line(f"{operation['name']}{operation['signature']}") + _marks(operation))
        first = operation["doc"].partition("\n")[0]
        if first:
            typer.echo(f"    {plain.line(first)}")
        for route in operation.get("http", ()):
            typer.echo(f"    {plain.line(route['method'] + ' ' + route['path'])}")
    if not told:
        typer.echo(
            "no operations are declared; handle(command, arg) takes whatever comes", err=True
        )


@app.command()
@with_settings(NATS, ADDRESS)
def schema(
    operation: Annotated[
        str | None, typer.Argument(help="Its name; all there are when left out.")
    ] = None,
    asyncapi: Annotated[
        bool,
        typer.Option("--asyncapi", help="Print an AsyncAPI 3.0 document of the provider."),
    ] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait.")] = "15s",
    *,
    settings: Settings,
) -> None:
    """Print JSON Schema of what operations take and give.

    The worker makes it from the types of the functions; one that runs a call answers after it.

    ```
    provider schema
    provider schema add
    provider schema --asyncapi > provider.asyncapi.json
    ```
    """
    seconds = duration(timeout)

    async def work(python: Python) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        declared = await python.operations(timeout=seconds) if asyncapi else []
        return declared, await python.schema(operation, timeout=seconds)

    try:
        declared, schemas = with_provider(settings, work)
    except CallError as error:
        fail_call(error)
    if not asyncapi:
        typer.echo(json_line(schemas))
        return
    from provider.asyncapi import document
    from provider.wire.address import Address

    address = Address(settings.lattice, settings.key, settings.link_name, settings.name)
    chosen = [told for told in declared if told["name"] in schemas]
    typer.echo(json_line(document(address, chosen, schemas)))


def _marks(operation: dict[str, Any]) -> str:
    marks = [
        *(["streams"] if operation["streams"] else []),
        *([f"batches of {operation['batch']}"] if operation["batch"] else []),
        *([f"cached {operation['cache']:g} s"] if operation["cache"] else []),
    ]
    return f"  [{', '.join(marks)}]" if marks else ""
