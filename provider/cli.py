"""The command `provider`: parse, do one thing, print, exit.

The rule of this file: data goes to standard output, talk to standard error, and how it ended is the
exit code: 0 ok, 1 failed, 2 usage, 3 could not start, 4 no answer. Flags are made from the table in
`settings`; heavy imports wait until a command needs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from provider import __version__
from provider.errors import CallError, ExitCode, StartError
from provider.settings import KNOBS, Settings, load, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from provider.client import Python
    from provider.connection import NatsOptions
    from provider.host.contract import WorkerSetup
    from provider.host.run import Ready

app = typer.Typer(
    name="provider",
    help="Call Python functions from anywhere on a NATS network.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 could not start, 4 no answer.",
)

CODE, NATS, ADDRESS = "Your code", "NATS", "Address"
CALLS, LIMITS, WORKER, RELOAD, LOGS = "Calls", "Limits", "Worker", "Reload", "Logs"
SHELLS = ("bash", "zsh", "fish", "powershell")
ROLL_CALL = 0.5
"""Seconds every instance has to say that it is there."""
EVERYTHING = (CODE, NATS, ADDRESS, CALLS, LIMITS, WORKER, RELOAD, LOGS)

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", help="Read this file instead of .env.", show_default=False),
]
NoEnvFile = Annotated[bool, typer.Option("--no-env-file", help="Do not read .env.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, on one line.")]


def with_settings(*groups: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these groups of settings, and the `Settings` they make.

    The command is called with `settings` in place of the flags. Wrong settings end it with exit
    code 2 when a flag is to blame, 3 otherwise.
    """
    knobs = [knob for knob in KNOBS.values() if knob.group in groups and knob.flag is not None]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
            if name != "settings"
        ]

        def run_command(
            *, env_file: Path | None = None, no_env_file: bool = False, **given: Any
        ) -> None:
            flags = {knob.field: given.pop(knob.field) for knob in knobs}
            command(settings=_load(flags, env_file, no_env_file=no_env_file), **given)

        added = [
            inspect.Parameter(
                knob.field,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    bool | None if knob.is_switch else str | None,
                    typer.Option(
                        knob.flag,
                        help=f"{knob.help} [{knob.variable}]",
                        rich_help_panel=knob.group,
                        show_default=knob.default or False,
                        metavar=None if knob.is_switch else knob.kind.name.upper(),
                    ),
                ],
            )
            for knob in knobs
        ]
        for name, annotation, default in (
            ("env_file", EnvFile, None),
            ("no_env_file", NoEnvFile, False),
        ):
            added.append(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
                )
            )
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + added
        run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by typer
        run_command.__annotations__ = {p.name: p.annotation for p in parameters}
        run_command.__doc__ = command.__doc__
        run_command.__name__ = command.__name__
        return run_command

    return decorate


# --- commands ------------------------------------------------------------------------------------


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
) -> None:
    """Serve a dispatch program on NATS until stopped.

    Stops in order on Ctrl-C or SIGTERM (a second one forces), loads the code again on SIGHUP.

    ```
    provider run dispatch.py
    provider run --example factorial --embedded-nats
    ```
    """
    from provider.host.run import run as serve

    _configure_logs(settings, background=True)
    try:
        setup = _worker_setup(settings, program, example)
        code = _run_loop(serve(settings, setup, _nats_options(settings), announce=_announce))
    except StartError as error:
        _fail(str(error), ExitCode.NOT_STARTED)
    raise typer.Exit(code)


@app.command()
@with_settings(NATS, ADDRESS)
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
    *,
    settings: Settings,
) -> None:
    """Call an operation and print its result as JSON.

    ```
    provider call py.factorial 10
    provider call py.hello '"Alice"' --raw
    provider call py.factorial @argument.json --timeout 500ms
    ```
    """
    seconds = _duration(timeout)
    given, value = _argument(argument, cbor=cbor)

    async def work(python: Python) -> Any:
        if not given:
            return await python.call(operation, timeout=seconds)
        return await python.call(operation, value, timeout=seconds)

    try:
        result = _with_provider(settings, work)
    except CallError as error:
        if as_json:
            typer.echo(_json({"error": error.as_map()}))
            raise typer.Exit(_exit_code(error)) from None
        _fail_call(error)
    except TypeError as error:
        _fail(str(error), ExitCode.USAGE)
    if as_json:
        typer.echo(_json({"result": result}))
    elif raw:
        _print_raw(result, cbor=cbor)
    else:
        typer.echo(_json(result))


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
    seconds = _duration(timeout)

    async def work(python: Python) -> list[dict[str, Any]]:
        if everywhere:
            there = len(await python.admin("status", timeout=ROLL_CALL))
            answers = await python.admin("reload", timeout=seconds or math.inf, expect=there)
            late = {"kind": "timeout", "message": f"an instance did not answer within {timeout}"}
            return answers + [{"error": late}] * (there - len(answers))
        await python.reload(timeout=seconds)
        return [{"result": True}]

    try:
        answers = _with_provider(settings, work)
    except CallError as error:
        _fail_call(error)
    failed = [answer["error"] for answer in answers if "error" in answer]
    for failure in failed:
        typer.echo(f"{failure['kind']}: {failure['message']}", err=True)
    typer.echo(f"reloaded: {len(answers) - len(failed)} of {len(answers)}", err=True)
    if failed or not answers:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
@with_settings(CODE, CALLS, LIMITS, WORKER, LOGS)
def check(
    program: Annotated[
        str | None,
        typer.Argument(help="The dispatch program; the same as --dispatch.", show_default=False),
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Load a dispatch program as `run` would, without NATS, and say what is wrong with it.

    ```
    provider check dispatch.py
    provider check dispatch.py --venv-path .venv
    ```
    """
    from provider.host.rehearsal import rehearse

    _configure_logs(settings, level="warning")
    try:
        setup = _worker_setup(settings, program, None)
        loaded = _run_loop(rehearse(setup, settings.start_timeout))
    except StartError as error:
        _fail(str(error), ExitCode.FAILED)
    for path in loaded.hidden:
        typer.echo(
            f"warning: {path} is hidden by the library of the same name; rename it", err=True
        )
    typer.echo(f"ok: {setup.program} (Python {loaded.python}, {loaded.seconds:.3f} s)")


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
    seconds = _duration(timeout)
    try:
        status = _with_provider(settings, lambda python: python.status(timeout=seconds))
    except CallError as error:
        if as_json:
            typer.echo(_json({"ready": False, "reason": error.message}))
            raise typer.Exit(_exit_code(error)) from None
        _fail_call(error)
    if as_json:
        typer.echo(_json(status))
    else:
        trouble = status["reason"] or (
            f"the newest code does not load: {status['reload_error']}"
            if status["reload_error"]
            else ""
        )
        word = "healthy" if status["ready"] else "unhealthy"
        typer.echo(f"{word}: {trouble}" if trouble else word)
    if not status["ready"]:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
@with_settings(*EVERYTHING)
def config(as_json: AsJson = False, *, settings: Settings) -> None:
    """Show every setting, its value and where it came from. Secrets are masked.

    ```
    provider config
    PROVIDER_LATTICE=staging provider config --json
    ```
    """
    if as_json:
        typer.echo(
            _json(
                {row.variable: {"value": row.value, "source": row.source} for row in rows(settings)}
            )
        )
        return
    width = max(len(row.variable) for row in rows(settings))
    for row in rows(settings):
        typer.echo(f"{row.variable:<{width}}  {row.value or '-':<28}  {row.source}")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"provider {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the command."""
    if sys.argv[1:2] == ["--show-completion"] and sys.argv[2:] in [[shell] for shell in SHELLS]:
        _show_completion(sys.argv[2])
        return
    app(prog_name="provider")


def _show_completion(shell: str) -> None:
    # typer goes by the shell it finds itself in, and would take no notice of the one named.
    from typer import completion

    script = completion.get_completion_script(  # type: ignore[attr-defined]  # typer uses it so, too
        prog_name="provider", complete_var="_PROVIDER_COMPLETE", shell=shell
    )
    typer.echo(script)


# --- what the commands share ---------------------------------------------------------------------


def _load(flags: dict[str, Any], env_file: Path | None, *, no_env_file: bool) -> Settings:
    try:
        settings = load(flags, env_file=False if no_env_file else env_file)
    except StartError as error:
        blame_flag = any(value is not None for value in flags.values()) and "flag --" in str(error)
        _fail(str(error), ExitCode.USAGE if blame_flag else ExitCode.NOT_STARTED)
    for name in settings.unknown:
        typer.echo(f"warning: no setting is called {name}", err=True)
    return settings


def _configure_logs(
    settings: Settings, level: str | None = None, *, background: bool = False
) -> None:
    from provider.telemetry import logs

    logs.configure(level or settings.log_level, settings.log_format, background=background)


def _worker_setup(settings: Settings, program: str | None, example: str | None) -> WorkerSetup:
    from provider import examples
    from provider.host import contract
    from provider.wire.values import Limits

    if program and example:
        _fail("give a program or --example, not both", ExitCode.USAGE)
    if example:
        program = str(examples.find(example))
    return contract.resolve(
        venv=settings.venv_path,
        main=None if example else settings.python_main,
        dispatch=program or settings.python_dispatch,
        path=settings.python_path,
        limits=Limits(
            depth=settings.max_depth,
            items=settings.max_items,
            string=settings.max_string,
            integer_bits=settings.max_integer_bits,
        ),
        concurrency=settings.concurrency,
    )


def _nats_options(settings: Settings) -> NatsOptions:
    from provider.connection import NatsOptions

    password, token = settings.nats_password, settings.nats_token
    return NatsOptions(
        servers=settings.nats_servers,
        user=settings.nats_user,
        password=password.get_secret_value() if password else None,
        token=token.get_secret_value() if token else None,
        creds=settings.nats_creds,
        nkey=settings.nats_nkey,
        cert=settings.nats_cert,
        key=settings.nats_key,
        ca=settings.nats_ca,
    )


def _run_loop(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def _with_provider(settings: Settings, work: Callable[[Python], Coroutine[Any, Any, Any]]) -> Any:
    from provider import client
    from provider.telemetry import logs

    async def connected() -> Any:
        async with client.connect(
            _nats_options(settings),
            lattice=settings.lattice,
            key=settings.key,
            link_name=settings.link_name,
            name=settings.name,
        ) as python:
            return await work(python)

    logs.configure("error", settings.log_format)
    try:
        return asyncio.run(connected())
    except StartError as error:
        _fail(str(error), ExitCode.NO_ANSWER)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


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
        f"    {prefix}{command} call {example}\n\n"
        "Save the program while this runs: the next call runs what you saved. Ctrl-C stops.\n",
        err=True,
    )


def _argument(text: str | None, *, cbor: bool) -> tuple[bool, Any]:
    """Whether there is an argument, and its value."""
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
            data = bytes.fromhex(text) if cbor else text.encode()
    except OSError as error:
        _fail(f"cannot read {text[1:]}: {error.strerror}", ExitCode.USAGE)
    except ValueError:
        _fail("with --cbor the argument is hex digits or @FILE", ExitCode.USAGE)
    try:
        return True, Values().decode(data) if cbor else json_form.decode(data, Values())
    except CallError as error:
        hint = (
            "" if cbor or text.startswith("@") else f"\ntext needs quotes of its own: '\"{text}\"'"
        )
        _fail(f"the argument is {error.message}{hint}", ExitCode.USAGE)


def _duration(text: str) -> float:
    from provider.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        _fail(f"--timeout: {error}", ExitCode.USAGE)


def _json(value: Any) -> str:
    from provider.wire import json_form
    from provider.wire.values import Limits, Values

    return json_form.encode(value, Values(Limits(depth=128))).decode()


def _print_raw(result: Any, *, cbor: bool) -> None:
    from provider.wire.values import Values

    if cbor:
        sys.stdout.buffer.write(Values().encode(result))
    elif isinstance(result, bytes):
        sys.stdout.buffer.write(result)
    else:
        typer.echo(result if isinstance(result, str) else _json(result))
    sys.stdout.flush()


def _exit_code(error: CallError) -> ExitCode:
    from provider.client import NoProvider

    return ExitCode.NO_ANSWER if isinstance(error, NoProvider) else error.meaning.exit_code


def _fail_call(error: CallError) -> NoReturn:
    text = f"{error.kind}: {error.message}"
    if error.type and error.type != error.message:
        text = f"{error.kind}: {error.type}: {error.message}"
    if error.traceback:
        text += f"\n{error.traceback}"
    _fail(text, _exit_code(error))


def _fail(text: str, code: ExitCode) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(code)
