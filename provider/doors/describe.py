"""What can be called, and with what: asked before anything is called.

The rule of this file: one instance answers, in JSON, what its program declares, as it was saved
last; no operation is run, only the making of schemas, which the worker does between calls and the
host remembers.

    provider.describe.{lattice}.{name}.operations   names, signatures, documentation
    provider.describe.{lattice}.{name}.schema       JSON Schema of arguments and results; the body
                                                    is empty, or the name of one operation
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from provider.doors.subscriptions import bounded, drain, settle
from provider.errors import CallError, Overloaded, TooLarge, UnknownOperation
from provider.telemetry import logs
from provider.wire.address import SERVICE_QUEUE
from provider.wire.envelope import check_operation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from provider.host.fleet import Fleet
    from provider.wire.address import Address

PATIENCE = 10.0
"""Seconds somebody who asks for schemas waits for a worker that runs a call."""
MOMENT = 3.0
"""Seconds somebody who asks waits for what was saved to be loaded."""
MOST_ASKING = 64
"""Who may wait at the same time."""

_log = logs.get_logger(component="describe_door")


class DescribeDoor:
    """Answers what there is to call.

    Args:
        client: connected.
        address: the subjects.
        fleet: whose program is described.
    """

    def __init__(self, client: Client, address: Address, fleet: Fleet) -> None:
        self._client = client
        self._address = address
        self._fleet = fleet
        self._subscriptions: list[Subscription] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Subscribe, in a queue group: one instance answers."""
        for what, answer in (("operations", self._on_operations), ("schema", self._on_schema)):
            self._subscriptions.append(
                await bounded(self._client, self._address.describe(what), answer, SERVICE_QUEUE)
            )
        await settle(self._client)

    async def close(self) -> None:
        """Stop describing."""
        await drain(self._client, self._subscriptions)
        if self._asking:
            await asyncio.wait(self._asking, timeout=PATIENCE)

    async def _on_operations(self, message: Msg) -> None:
        await self._begin(message, self._answer_operations)

    async def _on_schema(self, message: Msg) -> None:
        await self._begin(message, self._answer_schema)

    async def _begin(
        self, message: Msg, answer: Callable[[Msg], Coroutine[Any, Any, None]]
    ) -> None:
        if len(self._asking) >= MOST_ASKING:
            error = Overloaded(f"{MOST_ASKING} wait to be told already", retry_after_ms=1000)
            await self._respond(message, {"error": error.as_map()})
            return
        # In a task of its own: a busy worker keeps nobody waiting but who asks it.
        task = asyncio.create_task(answer(message))
        self._asking.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("description_not_told", error=repr(error))

    async def _answer_operations(self, message: Msg) -> None:
        await self._catch_up()
        told = [declared.as_map() for declared in self._fleet.catalogue.all]
        await self._respond(message, {"operations": told})

    async def _catch_up(self) -> None:
        """Describe what was saved last, unless the worker runs a call for long."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._fleet.catch_up(), MOMENT)

    async def _answer_schema(self, message: Msg) -> None:
        await self._catch_up()
        try:
            answer = {"schemas": await self._schemas(message.data.decode("utf-8", "replace"))}
        except CallError as error:
            await self._respond(message, {"error": error.as_map()})
        else:
            await self._respond(message, answer)

    async def _schemas(self, operation: str) -> dict[str, Any]:
        if operation:
            check_operation(operation)  # names that are asked for are remembered
        declared = self._fleet.catalogue.find(operation)
        if operation and declared is None:
            raise UnknownOperation(f"no operation {operation!r:.300} is declared")
        schemas = await self._fleet.schemas(PATIENCE)
        if declared is None:
            return schemas
        return {declared.name: schemas.get(declared.name, {})}

    async def _respond(self, message: Msg, answer: dict[str, Any]) -> None:
        if not message.reply:
            return
        data = json.dumps(answer).encode()
        limit = self._client.max_payload
        if len(data) > limit:
            error = TooLarge(
                f"the answer takes {len(data)} bytes, the NATS server carries {limit} "
                "(max_payload); ask for the schema of one operation"
            )
            data = json.dumps({"error": error.as_map()}).encode()
        await message.respond(data)
