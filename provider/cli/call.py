"""The commands that talk to a running provider: call, reload, probe.

The rule of this file: what is printed on standard output is the answer and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provider.cli import plain
from provider.cli.form import (
    ADDRESS,
    NATS,
    AsJson,
    app,
    duration,
    exit_code,
    fail,
    fail_call,
    json_line,
    with_provider,
    with_settings,
)
from provider.cli.progress import ProgressLine
from provider.cli.signed import CALLER, cluster_key, with_wasmbus
from provider.errors import CallError, ExitCode
from provider.settings import Settings  # noqa: TC001  with_settings evaluates the annotation

if TYPE_CHECKING:
    from provider.client import Python, Wasmbus
    from provider.lattice.nkeys import KeyPair

ROLL_CALL = 0.5
"""Seconds every instance has to say that it is there."""
_NO_PLAIN_TEXT = ("@", "{", "[", '"')
"""How an argument begins that was not meant to be a plain text."""


@app.command()
@with_settings(NATS, ADDRESS, *CALLER)
def call(
    operation: Annotated[str, typer.Argument(help="Its name, such as py.factorial.")],
    argument: Annotated[
        str | None,
        typer.Argument(
            help="JSON, @FILE to read it from a file, or @- from standard input.",
            show_default=False,
        ),
    ] = None,
    cbor: Annotated[
        bool,
        typer.Option("--cbor", help="The argument is CBOR: hex digits, or the bytes of @FILE."),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Print text and bytes as they are, without JSON quotes; with --cbor, the "
            "result's CBOR bytes.",
        ),
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long to wait for the answer.")
    ] = "60s",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole answer, error or not, as one JSON line.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Print each item of the result on a line, as it comes; Ctrl-C stops."
        ),
    ] = False,
    progress: Annotated[
        bool,
        typer.Option(
            "--progress",
            help="With --stream, write how far the function says it is on lines of standard error; "
            "a terminal is shown it anyway.",
        ),
    ] = False,
    wasmbus: Annotated[
        bool,
        typer.Option(
            "--wasmbus",
            help="Call as a wasmCloud host does for an actor: signed with the cluster's key, and "
            "answered when the actor is linked (provider link put).",
        ),
    ] = False,
    *,
    settings: Settings,
) -> None:
    """Call an operation and print its result as JSON.

    ```
    provider call py.factorial 10
    provider call py.hello '"Alice"' --raw
    provider call py.factorial @argument.json --timeout 500ms
    provider call py.count 3 --stream
    provider call py.factorial 10 --wasmbus --cluster-seed cluster.nk
    ```
    """
    seconds = duration(timeout)
    given, value = read_argument(argument, cbor=cbor)
    if stream and wasmbus:
        fail("signed calls are answered at once; leave out --stream or --wasmbus", ExitCode.USAGE)
    if progress and not stream:
        fail("only a stream has progress; add --stream", ExitCode.USAGE)
    arguments = (operation, value) if given else (operation,)

    async def work(python: Python | Wasmbus) -> Any:
        return await python.call(*arguments, timeout=seconds)

    async def show(python: Python) -> None:
        line = ProgressLine(sys.stderr, lines=progress)
        items = python.stream(*arguments, timeout=seconds, on_progress=line.show)
        async with contextlib.aclosing(items):
            with contextlib.closing(line):
                async for item in items:
                    line.close()
                    _print_item(item, raw=raw, cbor=cbor, as_json=as_json)

    try:
        if stream:
            with_provider(settings, show)
            return
        if wasmbus:
            result = with_wasmbus(settings, _signer(settings), work)
        else:
            result = with_provider(settings, work)
    except CallError as error:
        if as_json:
            typer.echo(json_line({"error": error.as_map()}))
            raise typer.Exit(exit_code(error)) from None
        if wasmbus:
            _fail_signed(error)
        fail_call(error)
    except TypeError as error:
        fail(str(error), ExitCode.USAGE)
    if as_json:
        typer.echo(json_line({"result": result}))
    elif raw:
        _print_raw(result, cbor=cbor)
    else:
        typer.echo(json_line(result))


@app.command()
@with_settings(NATS, ADDRESS)
def reload(
    everywhere: Annotated[
        bool,
        typer.Option("--all", help="Every instance, through the admin subject (PROVIDER_ADMIN)."),
    ] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait.")] = "30s",
    *,
    settings: Settings,
) -> None:
    """Have the provider load its code again, changed or not.

    ```
    provider reload
    provider reload --all
    ```
    """
    seconds = duration(timeout)

    async def work(python: Python) -> list[dict[str, Any]]:
        if everywhere:
            there = len(await python.admin("status", timeout=ROLL_CALL))
            answers = await python.admin("reload", timeout=seconds or math.inf, expect=there)
            late = {"kind": "timeout", "message": f"an instance did not answer within {timeout}"}
            return answers + [{"error": late}] * (there - len(answers))
        await python.reload(timeout=seconds)
        return [{"result": True}]

    try:
        answers = with_provider(settings, work)
    except CallError as error:
        fail_call(error)
    failed = [CallError.from_map(answer["error"]) for answer in answers if "error" in answer]
    for failure in failed:
        typer.echo(plain.lines(f"{failure.kind}: {failure.message}"), err=True)
    typer.echo(f"reloaded: {len(answers) - len(failed)} of {len(answers)}", err=True)
    if failed or not answers:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
@with_settings(NATS, ADDRESS)
def probe(
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait.")] = "2s",
    as_json: AsJson = False,
    *,
    settings: Settings,
) -> None:
    """Ask a running provider whether it is healthy.

    Exit code 0 if so, 1 if not, 4 if none is there.

    ```
    provider probe
    provider probe --json --timeout 500ms
    ```
    """
    seconds = duration(timeout)
    try:
        status = with_provider(settings, lambda python: python.status(timeout=seconds))
    except CallError as error:
        if as_json:
            typer.echo(json_line({"ready": False, "healthy": False, "reason": error.message}))
            raise typer.Exit(exit_code(error)) from None
        fail_call(error)
    if as_json:
        typer.echo(json_line(status))
    else:
        trouble = status["reason"] or (
            f"the newest code does not load: {status['reload_error']}"
            if status["reload_error"]
            else ""
        )
        word = "healthy" if status["healthy"] else "unhealthy"
        if (status["health"] or {}).get("state") == "busy":
            word += " as far as known (busy)"
        typer.echo(plain.lines(f"{word}: {trouble}") if trouble else word)
    if not status["healthy"]:
        raise typer.Exit(ExitCode.FAILED)


def read_argument(text: str | None, *, cbor: bool) -> tuple[bool, Any]:
    """Whether there is an argument, and its value; a wrong one ends the command with 2."""
    from provider.wire import json_form
    from provider.wire.values import Values

    if text is None:
        return False, None
    try:
        if text == "@-":
            data = sys.stdin.buffer.read()
        elif text.startswith("@"):
            data = Path(text[1:]).read_bytes()
        else:
            # What the shell passed on, also where that is no text.
            data = bytes.fromhex(text) if cbor else os.fsencode(text)
    except OSError as error:
        fail(f"cannot read {text[1:]}: {error.strerror}", ExitCode.USAGE)
    except ValueError:
        fail("with --cbor the argument is hex digits or @FILE", ExitCode.USAGE)
    try:
        return True, Values().decode(data) if cbor else json_form.decode(data, Values())
    except CallError as error:
        hint = ""
        if not cbor and text.isprintable() and text[:1] not in _NO_PLAIN_TEXT:
            quoted = shlex.quote(plain.json(json.dumps(text, ensure_ascii=False)))
            hint = f"\ntext needs quotes of its own: {quoted}"
        fail(f"the argument is {error.message}{hint}", ExitCode.USAGE)


def _signer(settings: Settings) -> KeyPair:
    cluster = cluster_key(settings)
    if cluster is None:
        fail(
            "--wasmbus signs with the cluster's key: name the file with its seed in --cluster-seed "
            "(PROVIDER_CLUSTER_SEED); provider keygen cluster makes one",
            ExitCode.USAGE,
        )
    return cluster


def _fail_signed(error: CallError) -> None:
    """End the command with the provider's own words, of which the kind is not known."""
    from provider.client import InvocationError

    if isinstance(error, InvocationError):
        text = error.message.rstrip("\n")
        if text.startswith("unlinked actor"):
            text += "\nprovider link put, with the same --cluster-seed or --actor, lets it call"
        fail(text, ExitCode.FAILED)


def _print_item(item: Any, *, raw: bool, cbor: bool, as_json: bool) -> None:
    if raw:
        _print_raw(item, cbor=cbor)
    else:
        typer.echo(json_line({"chunk": item} if as_json else item))


def _print_raw(result: Any, *, cbor: bool) -> None:
    from provider.wire.values import Values

    if cbor:
        sys.stdout.buffer.write(Values().encode(result))
    elif isinstance(result, bytes):
        sys.stdout.buffer.write(result)
    else:
        typer.echo(result if isinstance(result, str) else json_line(result))
    sys.stdout.flush()
