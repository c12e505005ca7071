"""The life of the host on one screen: load, connect, serve, drain, leave.

The rule of this file: it puts the parts together and decides when each begins and ends; it does
none of their work. Signals only set flags here; the flow below reads them in order.

    SIGTERM, SIGINT   stop: finish what was accepted, answer, leave; a second one forces
    SIGHUP            load the user's code again
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

from provider.allocator import keep_memory
from provider.doors.front import Front
from provider.doors.in_host import InHost
from provider.errors import CallError, ExitCode, StartError
from provider.host.admission import Admission
from provider.host.call import RELOAD, Call
from provider.host.data_files import DataFiles
from provider.host.figures import figures
from provider.host.fleet import Fleet, FleetOptions
from provider.host.link import LEAVE_GRACE
from provider.host.path import CallPath
from provider.host.renewal import RecycleOptions
from provider.host.watch import Watch
from provider.nats_options import NatsOptions
from provider.telemetry import logs
from provider.wire.address import Address
from provider.wire.frames import Encoding
from provider.wire.values import Values

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    from provider.burst_client import BurstClient
    from provider.doors.discovery import Discovery
    from provider.doors.grpc.options import GrpcOptions
    from provider.doors.http.options import HttpOptions
    from provider.doors.nats import NatsDoor
    from provider.doors.wasmbus import WasmbusDoor
    from provider.host.cache import ResultCache
    from provider.host.contract import WorkerSetup
    from provider.host.spawned import Spawned
    from provider.lattice.membership import Membership
    from provider.settings import Settings

HOST_GRACE = 0.1
"""Seconds for calls to end, and for the worker to leave, when the host tells us to: it kills us
0.3 s after that (wasmCloud 0.82, `provider_shutdown_delay`)."""
GOODBYE = 2
"""Seconds that word has to get out."""
ANSWERS_OUT = 1.0
"""Seconds the answers to abandoned calls have to get out."""

_log = logs.get_logger(component="host")


async def run(
    settings: Settings,
    setup: WorkerSetup,
    options: NatsOptions,
    *,
    announce: Callable[[Ready], None] = lambda _ready: None,
    membership: Membership | None = None,
    http: HttpOptions | None = None,
    grpc: GrpcOptions | None = None,
    spawned: Spawned | None = None,
) -> int:
    """Serve until told to stop.

    Args:
        settings: every knob.
        setup: the user's code, resolved.
        options: of the NATS connection.
        announce: told once, when calls are answered.
        membership: of a wasmCloud lattice; None for none.
        http: of the HTTP door; None for none.
        grpc: of the gRPC door; None for none.
        spawned: the process of a worker that has begun already; whoever began it ends it where it
            was not taken.

    Returns:
        The exit code: 0 after an orderly stop, 1 when the connection was lost for good or
        workers died as soon as they were started.

    Raises:
        StartError: the code cannot be loaded, NATS cannot be reached and waiting was refused, or
            another door cannot be opened.
    """
    keep_memory()
    return await _Host(settings, setup, options, announce, membership, http, grpc, spawned).life()


class Ready:
    """What `announce` is told.

    Attributes:
        url: of the NATS server, without secrets.
        embedded: whether that server is our own.
        address: the subjects.
        program: what is served.
        http: URL of the HTTP door, empty when there is none.
        grpc: host:port of the gRPC door, empty when there is none.
    """

    def __init__(
        self,
        url: str,
        *,
        embedded: bool,
        address: Address,
        program: str,
        http: str = "",
        grpc: str = "",
    ) -> None:
        self.url = url
        self.embedded = embedded
        self.address = address
        self.program = program
        self.http = http
        self.grpc = grpc


class _Host:
    """The parts, and the order in which they live."""

    def __init__(
        self,
        settings: Settings,
        setup: WorkerSetup,
        options: NatsOptions,
        announce: Callable[[Ready], None],
        membership: Membership | None,
        http: HttpOptions | None,
        grpc: GrpcOptions | None,
        spawned: Spawned | None,
    ) -> None:
        self._membership = membership
        self._spawned = spawned
        self._discovery: Discovery | None = None
        self._client: BurstClient | None = None
        self._wasmbus: WasmbusDoor | None = None
        self._host_waits = ""
        """Where the host that told us to leave waits for word, empty when it did not."""
        self._settings = settings
        self._setup = setup
        self._options = options
        self._announce = announce
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self._lost = False
        self._hopeless = ""
        """Why no worker will ever serve again, empty while one may."""
        self._abandoned = False
        self._signalled = False
        self._loaded = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._address = Address(settings.lattice, settings.key, settings.link_name, settings.name)
        self._watch = Watch(self._files_changed, settings.reload_poll)
        self._data = DataFiles(
            map(str, settings.reload_files if settings.reload else ()),
            lambda: self._told_to_reload("PROVIDER_RELOAD_FILES"),
            settings.reload_poll,
        )
        self._fleet = Fleet(
            setup,
            FleetOptions(
                workers=settings.workers,
                start_timeout=settings.start_timeout,
                watching=settings.reload,
                fresh=settings.reload_mode == "process",
                recycle=RecycleOptions(settings.recycle_calls, settings.recycle_memory),
                crash_limit=settings.crash_limit,
            ),
            on_files=self._watch.files if settings.reload else lambda _files: None,
            on_hopeless=self._lost_hope,
        )
        self._admission = Admission(settings.queue_calls, settings.queue_bytes)
        self._cache: ResultCache | None = None
        if settings.cache_bytes:
            from provider.host.cache import ResultCache

            values = Values(setup.limits)
            self._cache = ResultCache(settings.cache_bytes, self._fleet.catalogue, values)
        self._path = CallPath(
            self._admission,
            self._fleet,
            call_timeout=settings.call_timeout,
            max_call_timeout=settings.max_call_timeout,
            reload_allowed=settings.reload,
            cache=self._cache,
        )
        self._in_host = InHost(self._path, self._fleet, self._status)
        self._http, self._grpc = http, grpc
        self._front = Front(self._in_host, http, grpc)

    async def life(self) -> int:
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            self._listen_to_signals(stack)
            embedded = settings.embedded_nats and not settings.nats_url_given
            if embedded:
                from provider.host.embedded import EmbeddedServer

                server = await stack.enter_async_context(EmbeddedServer(settings.embedded_port))
                self._options = NatsOptions(servers=(server.url,))
            stack.callback(self._watch.close)
            stack.callback(self._data.close)
            stack.push_async_callback(self._stop_fleet)
            # Before all else: probes are answered while the program is loaded.
            self._check_strict()
            stack.push_async_callback(self._front.close)
            await self._front.open()
            self._data.open()
            # Another process loads the program, so this one has the time.
            imported = asyncio.ensure_future(asyncio.to_thread(_import_what_comes_later))
            stack.push_async_callback(asyncio.wait, {imported})
            if await self._unless_stopped(self._fleet.start(self._spawned)) is None:
                return self._exit_code
            await imported
            self._loaded = self._in_host.started = True
            client = await self._unless_stopped(self._connect())
            if client is None:
                await self._drain(None, [])  # calls may have come by another door
                return self._exit_code
            stack.push_async_callback(_close, client)
            self._in_host.connected = lambda: client.is_connected
            door, others = await self._open_doors(client, stack)
            self._announce(
                Ready(
                    self._options.shown,
                    embedded=embedded,
                    address=self._address,
                    program=self._setup.program,
                    **self._front.addresses,
                )
            )
            await self._stop.wait()
            await self._drain(door, others)
            if self._host_waits:
                await self._say_goodbye(client)
        return self._exit_code

    @property
    def _exit_code(self) -> ExitCode:
        return ExitCode.FAILED if self._lost or self._hopeless else ExitCode.OK

    def _check_strict(self) -> None:
        http, grpc = self._http, self._grpc
        if not self._settings.strict:
            return
        if http is not None and not (http.token or http.api_key):
            raise StartError(
                "PROVIDER_STRICT refuses calls of which nobody knows who makes them; over HTTP "
                "set PROVIDER_HTTP_TOKEN or PROVIDER_HTTP_API_KEY, too"
            )
        if grpc is not None and grpc.client_ca is None:
            raise StartError(
                "PROVIDER_STRICT refuses calls of which nobody knows who makes them; over gRPC "
                "set PROVIDER_GRPC_CLIENT_CA, too"
            )

    def _status(self) -> dict[str, Any]:
        told = {} if self._discovery is None else self._discovery.status()
        client = self._client
        nats = None
        if client is not None:
            nats = {"connected": client.is_connected, **client.numbers.as_map()}
        numbers = figures(self._fleet, self._admission, self._cache)
        return {**told, "figures": {**numbers, "nats": nats}}

    async def _connect(self) -> BurstClient:
        from provider import connection
        from provider.burst_client import BurstClient

        self._client = BurstClient(self._fleet.burst)
        self._client.unconfirmed.on_crowded = self._crowded
        return await connection.connect(
            self._options,
            name=f"provider {self._settings.name}",
            wait=self._settings.wait,
            on_lost=self._connection_lost,
            client=self._client,
        )

    def _crowded(self, crowded: bool) -> None:
        _log.warning("answers_wait" if crowded else "answers_wait_no_longer")
        self._fleet.hold(crowded)
        self._admission.crowd("NATS takes no more answers for the moment" if crowded else "")

    async def _open_doors(
        self, client: BurstClient, stack: contextlib.AsyncExitStack
    ) -> tuple[NatsDoor, list[Any]]:
        address, path = self._address, self._path
        values = Values(self._setup.limits)
        settings, member = self._settings, self._membership
        from provider.doors.admin import AdminDoor
        from provider.doors.describe import DescribeDoor
        from provider.doors.discovery import Discovery
        from provider.doors.nats import NatsDoor

        door = NatsDoor(
            client,
            path,
            address,
            values,
            max_message=settings.max_message,
            tracebacks=settings.tracebacks,
            unsigned=not settings.strict,
        )
        discovery = Discovery(
            client, door, self._fleet, self._admission, address, cache=self._cache
        )
        self._discovery = discovery
        others: list[Any] = [discovery, DescribeDoor(client, address, self._fleet)]
        if settings.admin:
            others.append(
                AdminDoor(
                    client,
                    address,
                    discovery.asked_status,
                    path,
                    self._stop.set,
                    tracebacks=settings.tracebacks,
                )
            )
        if settings.nothing_loaded == "leave":
            from provider.doors.resting import Resting

            others.append(Resting(door, self._fleet))
        if member is not None:
            # Not before it is needed: what it stands on takes a while to import.
            from provider.doors.wasmbus import WasmbusDoor

            self._wasmbus = WasmbusDoor(
                client,
                door,
                path,
                address,
                member,
                values,
                queue_calls=settings.queue_calls,
                queue_bytes=settings.queue_bytes,
                tracebacks=settings.tracebacks,
                status=discovery.asked_status,
                shutdown=self._told_by_host,
            )
            # First, so that a link that comes at once is there before the call it is for.
            others.insert(0, self._wasmbus)
            stack.callback(self._wasmbus.stop)
            await self._wasmbus.open()
        await door.open()
        for other in others[member is not None :]:
            await other.open()
        _log.info(
            "ready",
            servers=self._options.shown,
            subject=address.rpc,
            operations=f"{address.operations}.>",
            program=self._setup.program,
            **self._front.addresses,
        )
        return door, others

    async def _drain(self, door: NatsDoor | None, others: list[Any]) -> None:
        grace, path = self._settings.stop_timeout, self._path
        if self._host_waits:
            grace = min(grace, HOST_GRACE)
        began = time.monotonic()
        _log.info("draining", seconds=grace)
        forced = asyncio.create_task(self._force.wait())
        orderly = asyncio.create_task(self._drain_orderly(door, others))
        await asyncio.wait({forced, orderly}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if not orderly.done():
            why = self._hopeless or (
                "it was told to stop at once"
                if self._force.is_set()
                else (f"this call did not end within {grace:g} s (PROVIDER_STOP_TIMEOUT)")
            )
            path.draining = True
            self._abandoned = True
            path.abandon(f"the provider is stopping and {why}")
            await asyncio.wait({orderly}, timeout=ANSWERS_OUT)
        if orderly.cancel():
            unsent = 0 if door is None else door.answers.waiting
            _log.warning("answers_left_behind", unsent=unsent)
        elif error := orderly.exception():
            _log.error("draining_failed", error=repr(error))
            path.draining = True
            self._abandoned = True
            path.abandon("the provider is stopping and could not do so in order")
        _log.info("drained", seconds=round(time.monotonic() - began, 3))

    async def _drain_orderly(self, door: NatsDoor | None, others: list[Any]) -> None:
        self._front.stop_listening()
        # Others first: whoever asks finds us gone while the calls of those who found us go on.
        for other in others:
            await other.close()
        if door is not None:
            await door.stop_listening()
        if self._wasmbus is not None:
            await self._wasmbus.settled()
        self._path.draining = True
        await self._path.drained()
        if self._wasmbus is not None:
            await self._wasmbus.settled()
        await self._front.settled()
        if door is not None:
            await door.close()

    async def _say_goodbye(self, client: BurstClient) -> None:
        from nats.errors import Error

        from provider.wire.wasmbus import SHUTTING_DOWN

        # Hosts kill us right after this word, so it is the last thing we do.
        await self._fleet.stop(0.0 if self._abandoned else HOST_GRACE)
        if client.is_connected:
            await client.publish(self._host_waits, SHUTTING_DOWN)
            with contextlib.suppress(Error):
                await client.flush(GOODBYE)

    async def _stop_fleet(self) -> None:
        # What was answered as abandoned must not run any more.
        at_once = self._abandoned or self._force.is_set()
        await self._fleet.stop(0.0 if at_once else LEAVE_GRACE)

    # --- signals ---------------------------------------------------------------------------------

    def _listen_to_signals(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number, action in (
            (signal.SIGTERM, self._told_to_stop),
            (signal.SIGINT, self._told_to_stop),
            (signal.SIGHUP, self._told_to_reload),
        ):
            loop.add_signal_handler(number, action)
            stack.callback(loop.remove_signal_handler, number)

    def _told_to_stop(self) -> None:
        # Only a second signal forces: an admin's drain may come before the first.
        if self._signalled:
            self._force.set()
        self._signalled = True
        self._stop.set()

    def _told_by_host(self, reply: str) -> None:
        self._host_waits = reply
        self._stop.set()

    def _told_to_reload(self, by: str = "SIGHUP") -> None:
        task = asyncio.ensure_future(self._reload(by))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self, by: str) -> None:
        if not self._loaded and by == "SIGHUP":
            return  # the newest code is being loaded; of files it may have read older ones
        path = self._path
        call = Call(RELOAD, b"", Encoding.ABSENT, path.deadline(None), id=by)
        try:
            await path.ask(call)
        except CallError as error:
            _log.warning("reload_refused", by=by, kind=error.kind, reason=error.message)

    def _files_changed(self) -> None:
        self._fleet.files_changed()

    def _lost_hope(self, why: str) -> None:
        self._hopeless = why
        self._force.set()
        self._stop.set()

    def _connection_lost(self) -> None:
        if not self._stop.is_set():
            _log.error("nats_connection_lost_for_good")
            self._lost = True
            self._stop.set()

    async def _unless_stopped(self, work: Any) -> Any:
        """The result of the work, or None when a signal to stop came first."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            return None
        return working.result()


async def _close(client: Client) -> None:
    if not client.is_closed:
        await client.close()


def _import_what_comes_later() -> None:
    # First of all provider.light, which spares the rest what only websockets need.
    import provider.light  # noqa: I001
    import watchdog.observers.polling  # noqa: F401
    import provider.connection
    import provider.doors.admin
    import provider.doors.describe
    import provider.doors.discovery
    import provider.doors.nats  # noqa: F401
