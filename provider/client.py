"""Call a provider from Python.

    async with provider.client.connect() as python:
        await python.call("py.factorial", 10)

    with provider.client.connect_sync() as python:
        python.call("py.factorial", 10)

The rule of this file: a call returns the result or raises the error of its kind, a class of
`provider.errors`, and never waits longer than it was told to. The commands and the tests call
through here, so what users are offered is what is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

import nats.errors
from nats.aio.client import Client as NatsClient

from provider import connection
from provider.errors import BadRequest, BadResult, CallError, CallTimeout, TooLarge, Unavailable
from provider.servers import parse_servers
from provider.streaming import streamed_answer
from provider.wire.address import Address, is_subject
from provider.wire.envelope import check_operation, read_answer, write_request
from provider.wire.streamed import StreamReader
from provider.wire.values import Limits, Values

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Iterator,
    )

    from nats.aio.msg import Msg

    from provider.wasmbus_client import InvocationError, Wasmbus, connect_wasmbus

T = TypeVar("T")

DEFAULT_TIMEOUT = 60.0
"""Seconds a call waits for its answer unless told otherwise; the provider's own default."""
LATER = 1.0
"""Seconds we wait beyond the deadline we gave, so that the provider's own account of a late call
arrives rather than ours."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final[Any] = _Absent()
"""Stands for no argument at all, which is not the same as None."""
_END: Final[Any] = object()
"""Stands where a stream has no item any more."""


class NoProvider(Unavailable):
    """Nobody listens where the call was sent."""


class Python:
    """A provider, as its callers see it. Made by `connect`.

    Args:
        client: connected.
        address: where the provider is.
        timeout: seconds a call waits unless it says otherwise.
        limits: of the values sent and received.
    """

    def __init__(
        self,
        client: NatsClient,
        address: Address,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self._client = client
        self._address = address
        self._timeout = timeout
        self._arguments = Values(limits)
        # The answer wraps the result in one map more.
        self._answers = Values(
            Limits(limits.depth + 1, limits.items, limits.string, limits.integer_bits)
        )

    async def call(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """Call an operation and return its result.

        Args:
            operation: its name, such as `py.factorial`; 1..256 bytes.
            argument: any value that can travel (docs/protocol.md); left out, the handler gets None.
            timeout: seconds until the call fails, waiting and running together.
            request_id: shown in the provider's log lines of this call.

        Raises:
            CallError: the subclass of what went wrong; `NoProvider` when nobody listens,
                `CallTimeout` when no answer came in time.
            TypeError: the argument cannot travel; the text names the path inside it.
        """
        seconds = self._timeout if timeout is None else timeout
        request = write_request(
            operation,
            self._encoded(argument),
            timeout_ms=_milliseconds(seconds),
            request_id=request_id,
        )
        message = await self._request(self._address.rpc, request, seconds)
        return read_answer(message.data, self._answers)

    async def stream(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Call an operation and yield the items of its result as they come.

        The function runs no further ahead than a window of items (docs/protocol.md, Streams). To
        leave early is to stop it: `contextlib.aclosing`, or `aclose` of what this returns, does so
        at once. A result that is no stream is its only item.

        Args:
            operation: as `call`.
            argument: as `call`.
            timeout: seconds until the stream fails, from now to its last item.
            request_id: as `call`.
            on_progress: called with what the function says of how far it is, a map of `done`,
                `total` (None where that is not known) and `note`, while the next item is waited
                for. What it raises ends the stream.

        Raises:
            CallError: as `call`; items may have come before.
            TypeError: as `call`.
        """
        seconds = self._timeout if timeout is None else timeout
        request = write_request(
            operation,
            self._encoded(argument),
            timeout_ms=_milliseconds(seconds),
            request_id=request_id,
            stream=True,
            progress=True,
        )
        patience = seconds + LATER if seconds else math.inf
        parts = streamed_answer(
            self._client,
            self._address.rpc,
            request,
            patience,
            StreamReader(self._answers),
            on_progress,
        )
        try:
            async with contextlib.aclosing(parts):
                async for item in parts:
                    yield item
        except nats.errors.NoRespondersError:
            raise _nobody(self._address.rpc) from None

    async def call_bytes(
        self,
        operation: str,
        body: bytes = b"",
        *,
        content_type: str = "application/cbor",
        timeout: float | None = None,
    ) -> bytes:
        """Call by subject, with the argument and the result left as bytes.

        Args:
            operation: must make a NATS subject: no spaces, no empty tokens.
            body: the encoded argument, empty for none.
            content_type: `application/cbor` or `application/json`, of body and result.
            timeout: as `call`.

        Raises:
            CallError: as `call`.
        """
        seconds = self._timeout if timeout is None else timeout
        if not is_subject(check_operation(operation)):
            raise BadRequest(
                f"operation {operation!r:.80} makes no NATS subject: no spaces, no * or >, and "
                "nothing empty between dots; use call instead"
            )
        headers = {"Content-Type": content_type}
        milliseconds = _milliseconds(seconds)
        if milliseconds is not None:
            headers["Provider-Timeout-Ms"] = str(milliseconds)
        message = await self._request(self._address.operation(operation), body, seconds, headers)
        if message.headers and "Nats-Service-Error-Code" in message.headers:
            raise self._error_of(message)
        return message.data

    async def reload(self, *, timeout: float | None = None) -> None:
        """Have one instance load its code again, changed or not.

        Raises:
            CallError: `handler_error` with the reason when the new code does not load; the old
                serves on. `unauthorized` when reload is switched off.
        """
        await self.call("reload", timeout=timeout)

    async def status(self, *, timeout: float = 2.0) -> dict[str, Any]:
        """What one instance says of itself: ready or not and why, and its numbers.

        Raises:
            NoProvider: nobody of that name is there.
            CallTimeout: nobody answered in time.
        """
        # Names are shared by all lattices of a NATS account, so others may answer, too.
        subject = f"$SRV.STATS.{self._address.name}"
        strangers = 0
        async with contextlib.aclosing(self._answers_to(subject, timeout)) as answers:
            async for message in answers:
                told = json.loads(message.data)
                if told.get("metadata", {}).get("lattice") == self._address.lattice:
                    status: dict[str, Any] = told["endpoints"][0]["data"]
                    return {"id": told["id"], "version": told["version"], **status}
                strangers += 1
        if strangers:
            raise NoProvider(
                f"no provider named {self._address.name} in lattice {self._address.lattice}; "
                f"{strangers} of that name elsewhere"
            )
        raise CallTimeout(f"no answer on {subject} within {timeout:g} s")

    async def operations(self, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """The operations its program declares, in the order of their declaration.

        Each is a map with `name`, `free` (callers may write anything before the name and a dot),
        `signature`, `doc`, `batch`, `cache` and `streams`. A plain `handle` declares none.

        Raises:
            CallError: as `call`.
        """
        told: list[dict[str, Any]] = await self._described("operations", "", timeout)
        return told

    async def schema(
        self, operation: str | None = None, *, timeout: float = 15.0
    ) -> dict[str, dict[str, Any]]:
        """JSON Schema (2020-12) of the `argument` and the `result` of operations, by their names.

        Args:
            operation: as it would be called; None for all there are.
            timeout: seconds to wait; a worker that runs a call answers after it.

        Raises:
            CallError: as `call`; `UnknownOperation` when none of that name is declared.
        """
        told: dict[str, dict[str, Any]] = await self._described("schemas", operation or "", timeout)
        return told

    async def _described(self, member: str, body: str, timeout: float) -> Any:
        subject = self._address.describe("schema" if member == "schemas" else member)
        message = await self._request(subject, body.encode(), timeout)
        try:
            told = json.loads(message.data)
            if "error" in told:
                raise CallError.from_map(told["error"])
            return told[member]
        except (ValueError, KeyError, TypeError):
            raise BadResult(f"the answer on {subject} cannot be read") from None

    async def admin(
        self, command: str, *, timeout: float = 2.0, expect: int | None = None
    ) -> list[dict[str, Any]]:
        """Send an admin command to all instances and gather their answers until the time is up.

        Args:
            command: `reload`, `drain` or `status`.
            timeout: seconds to wait for answers.
            expect: how many answers are enough; None waits until the time is up.

        Raises:
            NoProvider: nobody obeys admin commands there (PROVIDER_ADMIN).
        """
        subject = self._address.admin(command)
        answers: list[dict[str, Any]] = []
        try:
            async with contextlib.aclosing(self._answers_to(subject, timeout)) as messages:
                async for message in messages:
                    answers.append(json.loads(message.data))
                    if len(answers) == expect:
                        break
            return answers
        except NoProvider:
            raise NoProvider(
                f"nobody obeys {subject}; was the provider started with --admin?"
            ) from None

    def _encoded(self, argument: Any) -> bytes | None:
        if argument is ABSENT:
            return None
        try:
            return self._arguments.encode(argument)
        except BadResult as error:
            raise TypeError(error.message.replace("the result", "the argument", 1)) from None

    async def _answers_to(self, subject: str, seconds: float) -> AsyncGenerator[Msg, None]:
        """Everything that is answered within this time."""
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        end = asyncio.get_running_loop().time() + seconds
        try:
            await self._client.publish(subject, b"", reply=inbox)
            while (left := end - asyncio.get_running_loop().time()) > 0:
                try:
                    message = await subscription.next_msg(min(left, threading.TIMEOUT_MAX))
                except nats.errors.TimeoutError:
                    return
                if message.headers and message.headers.get("Status") == "503":
                    raise _nobody(subject)
                yield message
        finally:
            await subscription.unsubscribe()

    async def _request(
        self, subject: str, data: bytes, seconds: float, headers: dict[str, str] | None = None
    ) -> Msg:
        return await request_answer(
            self._client, subject, data, seconds, later=LATER, headers=headers
        )

    def _error_of(self, message: Msg) -> CallError:
        try:
            if message.data[:1] == b"{":
                return CallError.from_map(json.loads(message.data)["error"])
            read_answer(message.data, self._answers)
        except CallError as error:
            return error
        except (ValueError, KeyError, TypeError):
            pass
        text = (message.headers or {}).get("Nats-Service-Error", "")
        return BadResult(f"the provider's error cannot be read: {text}")


async def request_answer(
    client: NatsClient,
    subject: str,
    data: bytes,
    seconds: float,
    *,
    later: float = 0.0,
    headers: dict[str, str] | None = None,
) -> Msg:
    """Send a request and wait for its answer; what goes wrong with NATS becomes a `CallError`.

    Args:
        client: connected.
        subject: where a provider listens.
        data: the request.
        seconds: how long the caller said he would wait; 0 for ever.
        later: seconds we wait beyond that.
        headers: of the message.

    Raises:
        TooLarge: the server does not carry so much.
        NoProvider: nobody listens.
        CallTimeout: no answer came in time.
        Unavailable: NATS did not take it.
    """
    if len(data) > client.max_payload:
        raise TooLarge(
            f"the request takes {len(data)} bytes, the NATS server carries "
            f"{client.max_payload} (max_payload)"
        )
    patience = seconds + later if seconds and seconds != math.inf else None
    try:
        return await client.request(
            subject,
            data,
            timeout=patience,  # type: ignore[arg-type]  # None waits
            headers=headers,
        )
    except nats.errors.NoRespondersError:
        raise _nobody(subject) from None
    except nats.errors.TimeoutError:
        raise CallTimeout(f"no answer on {subject} within {seconds:g} s") from None
    except (nats.errors.Error, ValueError) as error:
        raise Unavailable(f"NATS did not take the call: {error!r}") from None


@contextlib.asynccontextmanager
async def connect(
    servers: str | connection.NatsOptions = "nats://127.0.0.1:4222",
    *,
    lattice: str = "default",
    key: str = "python",
    link_name: str = "default",
    name: str = "python",
    timeout: float = DEFAULT_TIMEOUT,
    limits: Limits | None = None,
) -> AsyncIterator[Python]:
    """Connect to NATS and yield the provider found there.

    Args:
        servers: URL of the NATS server, several with commas, or full options.
        lattice: the provider's PROVIDER_LATTICE.
        key: its PROVIDER_KEY.
        link_name: its PROVIDER_LINK_NAME.
        name: its PROVIDER_NAME.
        timeout: seconds a call waits unless it says otherwise; 0 for ever.
        limits: of the values sent and received.

    Raises:
        StartError: NATS cannot be reached.
        ValueError: `servers` is no URL of a NATS server.
    """
    async with connected(servers) as client:
        yield Python(client, Address(lattice, key, link_name, name), timeout, limits)


@contextlib.asynccontextmanager
async def connected(servers: str | connection.NatsOptions) -> AsyncIterator[NatsClient]:
    """Connect to NATS, and hang up in the end.

    Raises:
        StartError: NATS cannot be reached.
        ValueError: `servers` is no URL of a NATS server.
    """
    options = (
        servers
        if isinstance(servers, connection.NatsOptions)
        else connection.NatsOptions(servers=parse_servers(servers))
    )
    client = await connection.connect(
        options,
        name="provider client",
        wait=False,
        client=NatsClient(),
    )
    try:
        yield client
    finally:
        await client.close()


class PythonSync:
    """The same for code that does not await: every method waits for the one it is named after.

    Made by `connect_sync`. May be used from several threads at once.
    """

    def __init__(self, python: Python, loop: asyncio.AbstractEventLoop) -> None:
        self._python = python
        self._loop = loop

    def call(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """As `Python.call`."""
        return self._wait(
            self._python.call(operation, argument, timeout=timeout, request_id=request_id)
        )

    def stream(
        self,
        operation: str,
        argument: Any = ABSENT,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        on_progress: Callable[[dict[str, Any]], object] | None = None,
    ) -> Generator[Any, None, None]:
        """As `Python.stream`; `close` of what this returns stops the function.

        `on_progress` is called in the thread of the connection.
        """
        items = self._python.stream(
            operation, argument, timeout=timeout, request_id=request_id, on_progress=on_progress
        )
        try:
            while True:
                item = self._wait(anext(items, _END))
                if item is _END:
                    return
                yield item
        finally:
            self._wait(items.aclose())

    def call_bytes(
        self,
        operation: str,
        body: bytes = b"",
        *,
        content_type: str = "application/cbor",
        timeout: float | None = None,
    ) -> bytes:
        """As `Python.call_bytes`."""
        return self._wait(
            self._python.call_bytes(operation, body, content_type=content_type, timeout=timeout)
        )

    def reload(self, *, timeout: float | None = None) -> None:
        """As `Python.reload`."""
        self._wait(self._python.reload(timeout=timeout))

    def status(self, *, timeout: float = 2.0) -> dict[str, Any]:
        """As `Python.status`."""
        return self._wait(self._python.status(timeout=timeout))

    def operations(self, *, timeout: float = 10.0) -> list[dict[str, Any]]:
        """As `Python.operations`."""
        return self._wait(self._python.operations(timeout=timeout))

    def schema(
        self, operation: str | None = None, *, timeout: float = 15.0
    ) -> dict[str, dict[str, Any]]:
        """As `Python.schema`."""
        return self._wait(self._python.schema(operation, timeout=timeout))

    def admin(
        self, command: str, *, timeout: float = 2.0, expect: int | None = None
    ) -> list[dict[str, Any]]:
        """As `Python.admin`."""
        return self._wait(self._python.admin(command, timeout=timeout, expect=expect))

    def _wait(self, work: Awaitable[T]) -> T:
        async def waited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(waited(), self._loop).result()


@contextlib.contextmanager
def connect_sync(
    servers: str | connection.NatsOptions = "nats://127.0.0.1:4222",
    *,
    lattice: str = "default",
    key: str = "python",
    link_name: str = "default",
    name: str = "python",
    timeout: float = DEFAULT_TIMEOUT,
    limits: Limits | None = None,
) -> Iterator[PythonSync]:
    """As `connect`, for code that does not await. The connection lives in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="provider-client", daemon=True)
    thread.start()
    opened = connect(
        servers,
        lattice=lattice,
        key=key,
        link_name=link_name,
        name=name,
        timeout=timeout,
        limits=limits,
    )
    try:
        python = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result()
        try:
            yield PythonSync(python, loop)
        finally:
            asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _nobody(subject: str) -> NoProvider:
    return NoProvider(f"no provider listens on {subject}; is it running?")


def _milliseconds(seconds: float) -> int | None:
    """For the wire; None leaves the deadline to the provider."""
    return max(1, math.ceil(seconds * 1000)) if seconds and seconds != math.inf else None


def __getattr__(name: str) -> Any:
    # Signed calls need keys and the object store, which nobody else should wait for.
    if name in ("InvocationError", "Wasmbus", "connect_wasmbus"):
        from provider import wasmbus_client

        return getattr(wasmbus_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ABSENT",
    "CallError",
    "InvocationError",
    "NoProvider",
    "Python",
    "PythonSync",
    "Wasmbus",
    "connect",
    "connect_sync",
    "connect_wasmbus",
]
