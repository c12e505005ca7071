"""The admin subjects: reload, drain, status, on every instance at once. Off unless enabled.

The rule of this file: who may publish here is NATS's to decide (permissions on
`provider.admin.>`); what arrives is obeyed and answered in JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provider.doors.subscriptions import bounded, drain, settle
from provider.errors import CallError
from provider.host.call import RELOAD, Call
from provider.wire.frames import Encoding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from provider.host.path import CallPath
    from provider.wire.address import Address


class AdminDoor:
    """Obeys the admin subjects.

    Args:
        client: connected.
        address: the subjects.
        status: what `status` answers.
        path: takes the reload.
        drain: starts the orderly stop.
        tracebacks: whether those who ask are sent the traceback of code that does not load.
    """

    def __init__(
        self,
        client: Client,
        address: Address,
        status: Callable[[], Awaitable[dict[str, Any]]],
        path: CallPath,
        drain: Callable[[], None],
        *,
        tracebacks: bool = False,
    ) -> None:
        self._tracebacks = tracebacks
        self._client = client
        self._address = address
        self._status = status
        self._path = path
        self._drain = drain
        self._subscriptions: list[Subscription] = []

    async def open(self) -> None:
        """Subscribe, without a queue group: every instance obeys."""
        for command, obey in (
            ("reload", self._on_reload),
            ("drain", self._on_drain),
            ("status", self._on_status),
        ):
            self._subscriptions.append(
                await bounded(self._client, self._address.admin(command), obey)
            )
        await settle(self._client)

    async def close(self) -> None:
        """Stop obeying."""
        await drain(self._client, self._subscriptions)

    async def _on_reload(self, message: Msg) -> None:
        call = Call(RELOAD, b"", Encoding.ABSENT, self._path.deadline(None), id="admin")
        outcome: dict[str, Any] = {"result": True}
        try:
            await self._path.ask(call)
        except CallError as error:
            if not self._tracebacks:
                error.traceback = None
            outcome = {"error": error.as_map()}
        await _respond(message, outcome)

    async def _on_drain(self, message: Msg) -> None:
        await _respond(message, {"result": True})
        self._drain()

    async def _on_status(self, message: Msg) -> None:
        await _respond(message, await self._status())


async def _respond(message: Msg, outcome: dict[str, Any]) -> None:
    if message.reply:
        await message.respond(json.dumps(outcome).encode())
