"""What providers say of themselves: status, operations, schemas, and the answers to admin commands.

The rule of this file: nothing here runs a function of the user's, and what is answered has the form
it should have, or is no answer: anybody may have sent it. Where several instances answer, all are
heard until the time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import nats.errors

from provider.client.calling import LATER, NoProvider, nobody, not_taken, request_answer
from provider.denied import noticing
from provider.errors import BadResult, CallError, CallTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from provider.wire.address import Address


_OPERATIONS, _SCHEMAS = "operations", "schemas"
_NO_ANSWER = (ValueError, KeyError, TypeError, RecursionError)
"""What is raised where JSON is none, or says something else."""


class Asking:
    """Asks the providers of one address.

    Args:
        client: connected.
        address: where they are.
    """

    def __init__(self, client: Client, address: Address) -> None:
        self._client = client
        self._address = address

    async def status(self, timeout: float) -> dict[str, Any]:
        """What one instance says of itself, as `Python.status` has it."""
        # Names are shared by all lattices of a NATS account, so others may answer, too.
        subject = f"$SRV.STATS.{self._address.name}"
        strangers = 0
        async with contextlib.aclosing(self._answers_to(subject, timeout)) as answers:
            async for message in answers:
                status = _status(message.data, self._address.lattice)
                if status is not None:
                    return status
                strangers += 1
        if strangers:
            raise NoProvider(
                f"no provider named {self._address.name} in lattice {self._address.lattice}; "
                f"{strangers} of that name elsewhere"
            )
        raise CallTimeout(f"no answer on {subject} within {timeout:g} s")

    async def operations(self, timeout: float) -> list[dict[str, Any]]:
        """What its program declares, as `Python.operations` has it."""
        told: list[dict[str, Any]] = await self._described(_OPERATIONS, "", timeout)
        return told

    async def schema(self, operation: str, timeout: float) -> dict[str, dict[str, Any]]:
        """Of one operation, or all where its name is empty, as `Python.schema` has it."""
        told: dict[str, dict[str, Any]] = await self._described(_SCHEMAS, operation, timeout)
        return told

    async def _described(self, member: str, body: str, timeout: float) -> Any:
        subject = self._address.describe("schema" if member == _SCHEMAS else member)
        message = await request_answer(self._client, subject, body.encode(), timeout, later=LATER)
        try:
            told = json.loads(message.data)
            if "error" in told:
                raise CallError.from_map(told["error"])
            if _FITS[member](told[member]):
                return told[member]
        except _NO_ANSWER:
            pass
        raise BadResult(f"the answer on {subject} cannot be read")

    async def admin(self, command: str, timeout: float, expect: int | None) -> list[dict[str, Any]]:
        """What all instances answer to an admin command, as `Python.admin` has it."""
        subject = self._address.admin(command)
        answers: list[dict[str, Any]] = []
        try:
            async with contextlib.aclosing(self._answers_to(subject, timeout)) as messages:
                async for message in messages:
                    answers.append(_map(message.data, subject))
                    if len(answers) == expect:
                        break
            return answers
        except NoProvider:
            raise NoProvider(
                f"nobody obeys {subject}; was the provider started with --admin?"
            ) from None

    async def _answers_to(self, subject: str, seconds: float) -> AsyncGenerator[Msg, None]:
        """Everything that is answered within this time."""
        inbox = self._client.new_inbox()
        end = asyncio.get_running_loop().time() + seconds
        try:
            subscription = await self._client.subscribe(inbox)
            try:
                await self._client.publish(subject, b"", reply=inbox)
                while (left := end - asyncio.get_running_loop().time()) > 0:
                    with noticing(self._client, subject):
                        message = await subscription.next_msg(min(left, threading.TIMEOUT_MAX))
                    if message.headers and message.headers.get("Status") == "503":
                        raise nobody(subject)
                    yield message
            finally:
                await subscription.unsubscribe()
        except nats.errors.TimeoutError:
            return
        except nats.errors.Error as error:
            raise not_taken(error) from None


def _are_operations(told: object) -> bool:
    return isinstance(told, list) and all(
        isinstance(each, dict)
        and all(isinstance(each[name], str) for name in ("name", "signature", "doc"))
        for each in told
    )


def _are_schemas(told: object) -> bool:
    return isinstance(told, dict) and all(isinstance(each, dict) for each in told.values())


_FITS = {_OPERATIONS: _are_operations, _SCHEMAS: _are_schemas}
"""By the member of an answer, whether it has the form of one."""


def _map(data: bytes, subject: str) -> dict[str, Any]:
    with contextlib.suppress(*_NO_ANSWER):
        told = json.loads(data)
        if isinstance(told, dict):
            return told
    raise BadResult(f"an answer on {subject} cannot be read")


def _status(data: bytes, lattice: str) -> dict[str, Any] | None:
    """The status in an answer; None where it is none of that lattice."""
    try:
        told = json.loads(data)
        if told["metadata"]["lattice"] != lattice:
            return None
        return {"id": told["id"], "version": told["version"], **told["endpoints"][0]["data"]}
    except (*_NO_ANSWER, IndexError):
        return None
