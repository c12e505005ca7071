"""What the commands share: flags made from the settings, and how a command ends.

The rule of this file: flags are made from the table in `settings`; data goes to standard output,
talk to standard error, and how it ended is the exit code. Heavy imports wait until a command needs
them.
"""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import SecretStr
from typer.core import TyperGroup

from provider import inspection
from provider.cli import plain
from provider.errors import CallError, ExitCode, StartError
from provider.settings import KNOBS, Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from provider.client import Python
    from provider.doors.grpc.options import GrpcOptions
    from provider.doors.http.options import HttpOptions
    from provider.host.resources import Resources
    from provider.lattice.host_data import Login
    from provider.lattice.joining import Joining
    from provider.lattice.membership import Membership
    from provider.nats_options import NatsOptions
    from provider.settings.knob import Knob
    from provider.settings.load import Launch
    from provider.wire.values import Limits

T = TypeVar("T")

_ORDER = ("run", "check", "config", "new", "call", "reload", "probe", "operations", "schema")
"""The commands whoever begins looks for; the others follow."""


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """The commands, those first that are wanted first."""
        names = super().list_commands(ctx)
        first = [name for name in _ORDER if name in names]
        return first + [name for name in names if name not in first]


app = typer.Typer(
    name="provider",
    cls=_Commands,
    help="Call Python functions from anywhere on a NATS network.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 could not start, 4 no answer.",
)

CODE, NATS, ADDRESS, LATTICE = "Your code", "NATS", "Address", "Lattice"
CALLS, HTTP, GRPC, LIMITS = "Calls", "HTTP", "gRPC", "Limits"
WORKER, RELOAD, LOGS = "Worker", "Reload", "Logs"
EVERYTHING = (CODE, NATS, ADDRESS, LATTICE, CALLS, HTTP, GRPC, LIMITS, WORKER, RELOAD, LOGS)

EnvFile = Annotated[
    Path | None,
    typer.Option("--env-file", help="Read this file instead of .env.", show_default=False),
]
NoEnvFile = Annotated[bool, typer.Option("--no-env-file", help="Do not read .env.")]
HostDataFrom = Annotated[
    str | None,
    typer.Option(
        "--host-data",
        help="Be what a wasmCloud host launches: read the line it writes from standard input (-) "
        "or from this file.",
        metavar="-|FILE",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, on one line.")]


def with_settings(
    *groups: str, **required: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these groups of settings, and the `Settings` they make.

    A single setting may be named instead of a group, by its field. `required` names settings whose
    default the command itself refuses, with what its help says instead.

    The command is called with `settings` in place of the flags. Wrong settings end it with exit
    code 2 when a flag is to blame, 3 otherwise. A command that takes `joining` may be launched by
    a host, and is given what the host said or None.
    """
    knobs = [
        knob
        for knob in KNOBS.values()
        if (knob.group in groups or knob.field in groups) and knob.flag is not None
    ]

    def help_of(knob: Knob) -> str:
        return " ".join(filter(None, (knob.help, required.get(knob.field), f"[{knob.variable}]")))

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter
            for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
            if name not in {"settings", "joining"}
        ]
        joins = "joining" in inspect.signature(command).parameters

        def run_command(
            *,
            env_file: Path | None = None,
            no_env_file: bool = False,
            host_data: str | None = None,
            **given: Any,
        ) -> None:
            flags = {knob.field: given.pop(knob.field) for knob in knobs}
            joining = _joining(host_data)
            launch = None if joining is None else joining.launch
            settings = load_settings(flags, env_file, no_env_file=no_env_file, launch=launch)
            command(settings=settings, **({"joining": joining} if joins else {}), **given)

        added = [
            inspect.Parameter(
                knob.field,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    bool | None if knob.is_switch else str | None,
                    typer.Option(
                        knob.flag,
                        help=help_of(knob),
                        rich_help_panel=knob.group,
                        show_default=(knob.field not in required and knob.default) or False,
                        metavar=None if knob.is_switch else knob.kind.name.upper(),
                    ),
                ],
            )
            for knob in knobs
        ]
        for name, annotation, default in (
            ("env_file", EnvFile, None),
            ("no_env_file", NoEnvFile, False),
            *([("host_data", HostDataFrom, None)] if joins else []),
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


def _joining(host_data: str | None) -> Joining | None:
    """What the host said that launched us; None for no host. A bad line ends the command."""
    if host_data is None:
        return None
    from provider.cli.host_line import joining_from

    try:
        return joining_from(host_data)
    except StartError as error:
        fail(str(error), ExitCode.NOT_STARTED)


def load_settings(
    flags: dict[str, Any],
    env_file: Path | None,
    *,
    no_env_file: bool,
    launch: Launch | None = None,
) -> Settings:
    """The settings; wrong ones end the command with 2 when a flag is to blame, 3 otherwise."""
    try:
        settings = load(flags, env_file=False if no_env_file else env_file, launch=launch)
    except StartError as error:
        blame_flag = any(value is not None for value in flags.values()) and "flag --" in str(error)
        fail(str(error), ExitCode.USAGE if blame_flag else ExitCode.NOT_STARTED)
    if settings.inspection:
        inspection.allow()
    for name in settings.unknown:
        typer.echo(f"warning: no setting is called {name}", err=True)
    return settings


def configure_logs(
    settings: Settings, level: str | None = None, *, background: bool = False
) -> None:
    """Log as the settings say, or at this level."""
    from provider.telemetry import logs

    logs.configure(level or settings.log_level, settings.log_format, background=background)


def nats_options(settings: Settings) -> NatsOptions:
    """How the settings say to connect."""
    from provider.nats_options import NatsOptions

    password, token = settings.nats_password, settings.nats_token
    creds, nkey = settings.nats_creds, settings.nats_nkey
    return NatsOptions(
        servers=settings.nats_servers,
        user=settings.nats_user,
        password=password.get_secret_value() if password else None,
        token=token.get_secret_value() if token else None,
        creds=creds if isinstance(creds, Path) else None,
        nkey=nkey if isinstance(nkey, Path) else None,
        login=_given_login(settings),
        cert=settings.nats_cert,
        key=settings.nats_key,
        ca=settings.nats_ca,
        inbox_prefix=settings.nats_inbox_prefix,
        ping=settings.nats_ping,
    )


def _given_login(settings: Settings) -> Login | None:
    """Who we are where that is given itself; None where it lies in files, or is no login."""
    creds, nkey, jwt = settings.nats_creds, settings.nats_nkey, settings.nats_jwt
    if jwt is None and not isinstance(creds, SecretStr) and not isinstance(nkey, SecretStr):
        return None
    from provider.credentials import login_from

    try:
        if creds is not None:
            return login_from(creds=_text_of(creds))
        return login_from(jwt=_text_of(jwt), seed=_text_of(nkey))
    except (OSError, ValueError) as error:
        fail(str(error), ExitCode.NOT_STARTED)


def _text_of(credential: Path | SecretStr | None) -> str | None:
    """A credential itself, wherever it lies."""
    if isinstance(credential, Path):
        return credential.read_text(encoding="utf-8", errors="replace")
    return None if credential is None else credential.get_secret_value()


def membership(settings: Settings, joining: Joining | None) -> Membership | None:
    """Our place in the lattice; None when there is no host, and nobody's signature would count.

    Args:
        settings: with what the host said, if there is one.
        joining: what it said, None when nobody launched us.

    Raises:
        StartError: calls have to be signed, and nobody's signature counts.
    """
    from provider.lattice.membership import Membership

    issuers = frozenset(settings.cluster_issuers)
    if settings.strict and not issuers:
        raise StartError(
            "PROVIDER_STRICT wants every call signed, and no key may sign one; name the keys that "
            "may in PROVIDER_CLUSTER_ISSUERS"
        )
    if joining is None:
        return Membership(cluster_issuers=issuers, strict=settings.strict) if issuers else None
    data = joining.data
    return Membership(
        cluster_issuers=issuers,
        host_id=data.host_id,
        links=data.link_definitions,
        test_mode=data.test_mode,
        strict=settings.strict,
    )


def http_options(settings: Settings) -> HttpOptions | None:
    """How the settings say to answer over HTTP; None when nobody is to."""
    from provider.doors.http.options import LOOPBACK, HttpOptions

    if settings.http is None:
        return None
    host, _, port = settings.http.rpartition(":")
    token, key = settings.http_token, settings.http_api_key
    return HttpOptions(
        host=host.removeprefix("[").removesuffix("]") or LOOPBACK,
        port=int(port),
        max_body=settings.http_max_body,
        max_bodies=max(settings.queue_bytes, settings.http_max_body),
        max_head=settings.http_max_headers,
        concurrency=settings.http_concurrency,
        connections=settings.http_connections,
        read_timeout=settings.http_read_timeout,
        idle_timeout=settings.http_idle_timeout,
        origins=settings.http_origins,
        token=token.get_secret_value() if token else "",
        api_key=key.get_secret_value() if key else "",
        tracebacks=settings.tracebacks,
        limits=value_limits(settings),
    )


def grpc_options(settings: Settings) -> GrpcOptions | None:
    """How the settings say to answer over gRPC; None when nobody is to."""
    if settings.grpc is None:
        if settings.proto:
            fail("say where to listen: --grpc 13000, or PROVIDER_GRPC", ExitCode.USAGE)
        return None
    from provider.doors.grpc.options import LOOPBACK, GrpcOptions

    host, _, port = settings.grpc.rpartition(":")
    return GrpcOptions(
        host=host.removeprefix("[").removesuffix("]") or LOOPBACK,
        port=int(port),
        protos=settings.proto,
        max_message=settings.grpc_max_message,
        concurrency=settings.grpc_concurrency,
        connections=settings.grpc_connections,
        cert=settings.grpc_cert,
        key=settings.grpc_key,
        client_ca=settings.grpc_client_ca,
        reflection=settings.grpc_reflection,
        tracebacks=settings.tracebacks,
        limits=value_limits(settings),
    )


def value_limits(settings: Settings) -> Limits:
    """What the settings say a value may weigh."""
    from provider.wire.values import Limits

    return Limits(
        depth=settings.max_depth,
        items=settings.max_items,
        string=settings.max_string,
        integer_bits=settings.max_integer_bits,
    )


def worker_resources(settings: Settings) -> Resources:
    """What the settings say a worker may use of the machine."""
    from provider.host.resources import Resources

    return Resources(
        memory=settings.worker_memory,
        cpu=settings.worker_cpu,
        cpu_time=settings.worker_cpu_time,
        files=settings.worker_files,
        processes=settings.worker_processes,
        file_size=settings.worker_file_size,
        core=settings.worker_core,
        group=settings.worker_cgroup,
    )


def run_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it to its end, on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def with_provider(settings: Settings, work: Callable[[Python], Coroutine[Any, Any, Any]]) -> Any:
    """Do this with a connection to the provider; without NATS the command ends with 4."""
    from provider import client

    connecting = client.connect(
        nats_options(settings),
        lattice=settings.lattice,
        key=settings.key,
        link_name=settings.link_name,
        name=settings.name,
    )
    return with_connection(settings, connecting, work)


def with_connection(
    settings: Settings,
    connecting: AbstractAsyncContextManager[T],
    work: Callable[[T], Coroutine[Any, Any, Any]],
) -> Any:
    """Do this with a connection; without NATS the command ends with 4."""
    from provider.telemetry import logs

    async def connected() -> Any:
        async with connecting as connection:
            return await work(connection)

    logs.configure("error", settings.log_format)
    try:
        return asyncio.run(connected())
    except StartError as error:
        fail(str(error), ExitCode.NO_ANSWER)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def duration(text: str, flag: str = "--timeout") -> float:
    """Seconds from the text of a flag."""
    from provider.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        fail(f"{flag}: {error}", ExitCode.USAGE)


def json_line(value: Any) -> str:
    """The value as JSON on one line, in the form of docs/protocol.md."""
    from provider.wire import json_form
    from provider.wire.values import Limits, Values

    return plain.json(json_form.encode(value, Values(Limits(depth=128))).decode())


def exit_code(error: CallError) -> ExitCode:
    """The exit code that tells of this error."""
    from provider.client import NoProvider

    return ExitCode.NO_ANSWER if isinstance(error, NoProvider) else error.meaning.exit_code


def fail_call(error: CallError) -> NoReturn:
    """End the command because a call failed."""
    text = f"{error.kind}: {error.message}"
    if error.type and error.type != error.message:
        text = f"{error.kind}: {error.type}: {error.message}"
    if error.traceback:
        text += f"\n{error.traceback}"
    fail(text, exit_code(error))


def fail(text: str, code: ExitCode) -> NoReturn:
    """Say why on standard error, and end the command."""
    typer.echo(f"error: {plain.lines(text)}", err=True)
    raise typer.Exit(code)
