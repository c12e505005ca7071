"""The command that puts a load on a running provider: bench.

The rule of this file: no load goes where it was not sent by name, and none goes on for ever. The
report is on standard output, how it goes on standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provider.cli.call import read_argument
from provider.cli.form import (
    ADDRESS,
    NATS,
    app,
    duration,
    fail,
    fail_call,
    json_line,
    nats_options,
    with_settings,
)
from provider.cli.progress import ProgressLine
from provider.errors import CallError, ExitCode, Fault, StartError
from provider.settings import Settings  # noqa: TC001  with_settings evaluates the annotation

if TYPE_CHECKING:
    from provider.bench.load import Load
    from provider.bench.outcome import Outcome
    from provider.bench.plan import Plan

LOAD = "Load"


@app.command()
@with_settings(
    NATS,
    ADDRESS,
    nats_url="Required, here, as NATS_URL or by a context: a load goes nowhere by default.",
)
def bench(
    operation: Annotated[str, typer.Argument(help="What to call, such as py.factorial.")],
    argument: Annotated[
        str | None,
        typer.Argument(help="JSON, or @FILE to read it from a file.", show_default=False),
    ] = None,
    payload: Annotated[
        str | None,
        typer.Option(
            "--payload",
            help="So many bytes as the argument, such as 100KB.",
            rich_help_panel=LOAD,
            show_default=False,
            metavar="SIZE",
        ),
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight",
            help="So many calls under way all the time: how fast can it go?",
            rich_help_panel=LOAD,
            show_default="64, without --rate",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            help="So many calls each second, come what may: how long do callers wait?",
            rich_help_panel=LOAD,
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        str,
        typer.Option(
            "--duration",
            help="How long to count; at most 10m.",
            rich_help_panel=LOAD,
            metavar="TIME",
        ),
    ] = "10s",
    warm_up: Annotated[
        str,
        typer.Option(
            "--warm-up",
            help="The same load before that, uncounted; at most 1m.",
            rich_help_panel=LOAD,
            metavar="TIME",
        ),
    ] = "1s",
    timeout: Annotated[
        str,
        typer.Option(
            "--timeout",
            help="How long a call may take; at most 1m.",
            rich_help_panel=LOAD,
            metavar="TIME",
        ),
    ] = "5s",
    connections: Annotated[
        int,
        typer.Option(
            "--connections",
            help="Connections to NATS, between which calls are shared.",
            rich_help_panel=LOAD,
        ),
    ] = 1,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Yes, though the NATS server is not on this machine.",
            rich_help_panel=LOAD,
        ),
    ] = False,
    progress: Annotated[
        bool,
        typer.Option(
            "--progress",
            help="Write how it goes on lines of standard error; a terminal is shown it anyway.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, on one line.")] = False,
    *,
    settings: Settings,
) -> None:
    """Put a load on a running provider, and say how it was answered.

    With --in-flight each answer is followed by the next call, which finds out how many a second
    there can be. With --rate calls leave when they are due, whatever became of those before, and
    the time of each begins when it was due: if the provider stalls for a second, the calls that
    callers would have made in that second are in the figures, with the time they would have waited.

    The calls are real: the function runs as often as the report says. So the NATS server has to be
    named (--nats-url, NATS_URL or a context; there is no default here), and --yes has to be said
    for one on another machine. The load ends by itself: after the duration, at once when nobody
    answers any more, and with Ctrl-C, which prints the figures so far.

    Percentiles are those of results, and of calls that nobody answered in time with the time they
    were waited for; errors are counted by kind. Exit code 0 when there were results, 1 when every
    answer was an error, 4 when nobody answers, 130 after Ctrl-C.

    ```
    export NATS_URL=nats://127.0.0.1:4222
    provider bench py.factorial 10
    provider bench py.factorial 10 --rate 2000 --duration 30s
    provider bench py.same --payload 100KB --in-flight 8 --json
    ```
    """
    from provider.bench import report
    from provider.bench.plan import Plan

    try:
        plan = Plan(
            rate=rate,
            in_flight=64 if rate is None and in_flight is None else in_flight,
            seconds=duration(seconds, "--duration"),
            warm_up=duration(warm_up, "--warm-up"),
            timeout=duration(timeout),
            connections=connections,
        )
    except ValueError as error:
        fail(str(error), ExitCode.USAGE)
    request = _request(operation, argument, payload, plan)
    _only_where_told(settings, plan, yes=yes)
    line = ProgressLine(sys.stderr, lines=progress)
    with contextlib.closing(line):
        outcome = _run(settings, plan, request, line)
    target = {
        "operation": operation,
        "request_bytes": len(request),
        "servers": nats_options(settings).shown,
        "lattice": settings.lattice,
        "key": settings.key,
        "link_name": settings.link_name,
    }
    if as_json:
        typer.echo(json_line(report.as_map(plan, target, outcome)))
    else:
        for text in report.lines(plan, outcome, shutil.get_terminal_size().columns):
            typer.echo(_showable(text))
    for doubt in report.doubts(plan, outcome):
        typer.echo(_showable(f"note: {doubt}"), err=True)
    raise typer.Exit(_exit_code(outcome))


def _request(operation: str, argument: str | None, payload: str | None, plan: Plan) -> bytes:
    """The bytes of each call."""
    from provider.client.calling import milliseconds
    from provider.units import parse_size
    from provider.wire.envelope import write_request
    from provider.wire.values import Values

    if payload is None:
        given, value = read_argument(argument, cbor=False)
    else:
        if argument is not None:
            fail("an argument or --payload, not both", ExitCode.USAGE)
        try:
            given, value = True, bytes(parse_size(payload))
        except (ValueError, MemoryError) as error:
            fail(f"--payload: {error}", ExitCode.USAGE)
    try:
        return write_request(
            operation,
            Values().encode(value) if given else None,
            timeout_ms=milliseconds(plan.timeout),
        )
    except CallError as error:
        fail(error.message, ExitCode.USAGE)


def _only_where_told(settings: Settings, plan: Plan, *, yes: bool) -> None:
    """End the command when nobody named the NATS server, or it is another machine's."""
    from provider.bench.plan import is_here

    if not settings.nats_url_given:
        fail(
            "say which NATS server the provider is on: --nats-url nats://127.0.0.1:4222, NATS_URL "
            "or --nats-context; a load goes nowhere by default",
            ExitCode.USAGE,
        )
    if not yes and not all(map(is_here, settings.nats_servers)):
        fail(
            f"{nats_options(settings).shown} is not on this machine; add --yes to send its "
            f"provider {settings.key} of lattice {settings.lattice} {plan.words}",
            ExitCode.USAGE,
        )


def _run(settings: Settings, plan: Plan, request: bytes, line: ProgressLine) -> Outcome:
    """The load, on a loop that wakes in time for its rate."""
    import gc

    from provider.bench.load import Load
    from provider.telemetry import logs
    from provider.wire.address import Address

    logs.configure("critical", settings.log_format)
    address = Address(settings.lattice, settings.key, settings.link_name, settings.name)
    try:
        load = Load(plan, address.rpc, [request])
    except ValueError as error:
        fail(str(error), ExitCode.USAGE)
    # What was imported need not be looked through while it is measured.
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=_loop_for(plan)) as runner:
            return runner.run(_loaded(load, settings, request, line))
    except StartError as error:
        fail(str(error), ExitCode.NO_ANSWER)
    except CallError as error:
        fail_call(error)
    except KeyboardInterrupt:
        line.close()
        typer.echo("stopped before anything was counted", err=True)
        raise typer.Exit(130) from None


def _loop_for(plan: Plan) -> Any:
    if plan.rate is None:
        with contextlib.suppress(ImportError):
            import uvloop

            return uvloop.new_event_loop
        return None
    # Others wake at whole milliseconds, which would be most of the latency.
    return lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _loaded(load: Load, settings: Settings, request: bytes, line: ProgressLine) -> Outcome:
    from provider import connection
    from provider.client.calling import nobody
    from provider.errors import TooLarge
    from provider.wire.address import Address

    options = nats_options(settings)
    async with contextlib.AsyncExitStack() as stack:
        for each in load.lines:
            client = await connection.connect(
                options, name="provider bench", wait=False, client=each.client
            )
            stack.push_async_callback(client.close)
        most = load.lines[0].client.max_payload
        if len(request) > most:
            raise TooLarge(
                f"the request takes {len(request)} bytes, the NATS server carries {most} "
                "(max_payload)"
            )
        await load.listen()
        error = await load.first()
        if load.nobody_there:
            raise nobody(Address(settings.lattice, settings.key, settings.link_name).rpc)
        if error is not None and error.fault is Fault.CALLER:
            raise error
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            load.stop()
            loop.remove_signal_handler(signal.SIGINT)  # a second one ends the command

        loop.add_signal_handler(signal.SIGINT, interrupt)
        total = load.plan.seconds

        def tell(done: float, note: str) -> None:
            line.show({"done": round(done, 1), "total": total, "note": f"s  {note}"})

        return await load.run(tell)


def _showable(text: str) -> str:
    """The text without what this terminal cannot show; figures are not lost for want of a bar."""
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "replace").decode(encoding)


def _exit_code(outcome: Outcome) -> int:
    from provider.bench.outcome import INTERRUPTED, LOST, NOBODY

    if outcome.ended == INTERRUPTED:
        return 130
    if outcome.ended in {NOBODY, LOST}:
        return ExitCode.NO_ANSWER
    return ExitCode.OK if outcome.counted.results else ExitCode.FAILED
