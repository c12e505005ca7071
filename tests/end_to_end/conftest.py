"""A provider that the tests of one story share, and the bytes of a call without our client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from typing import TYPE_CHECKING

import cbor2
import nats
import pytest

from tests.conftest import PATIENCE, Provider, clean_environment, write

if TYPE_CHECKING:
    from pathlib import Path

_numbers = iter(range(1, 1_000_000))


@pytest.fixture(scope="module")
def serve(tmp_path_factory, shared_nats):
    """Starts providers as `start_provider` does, for all tests of a module.

    Each has a folder of its own (`provider.folder`).
    """
    started: list[Provider] = []

    def start(source: str | None = None, *flags: str, **environment: str) -> Provider:
        folder = tmp_path_factory.mktemp("served")
        name = f"story{os.getpid()}x{next(_numbers)}"
        variables = {
            "NATS_URL": shared_nats.url,
            "PROVIDER_LOG_FORMAT": "json",
            "PROVIDER_LATTICE": name,
            "PROVIDER_NAME": name,
            **environment,
        }
        if source is not None:
            variables["PYTHON_DISPATCH"] = str(write(folder / "dispatch.py", source))
        provider = Provider(
            [sys.executable, "-m", "provider", "run", *flags],
            clean_environment(**variables),
            folder,
        )
        provider.folder = folder
        started.append(provider)
        provider.wait_for("ready")
        return provider

    yield start
    for provider in started:
        provider.close()


class Gate:
    """Where handlers wait for the test, by `open(path, "rb", buffering=0).read(1)`.

    Args:
        path: where the named pipe is made.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._descriptor = os.open(path, os.O_RDWR)  # which waits for nobody at the other end

    def open(self, count: int = 1) -> None:
        """Let so many handlers pass, whether they are there already or still to come."""
        os.write(self._descriptor, b"x" * count)

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "gate")
    yield made
    made.close()


class Wire:
    """A NATS connection to a provider, for messages our client would not send."""

    def __init__(self, connection, provider: Provider) -> None:
        self.connection = connection
        lattice = provider.environment["PROVIDER_LATTICE"]
        self.native = f"wasmbus.rpc.{lattice}.python.default"
        self.operations = f"provider.{lattice}.{provider.environment['PROVIDER_NAME']}"

    async def ask(self, data: bytes, *, timeout: float = PATIENCE, **headers: str) -> bytes:
        """Send a message to the native subject; the body of the one answer."""
        message = await self.connection.request(
            self.native, data, timeout=timeout, headers=headers or None
        )
        return message.data


class Talk:
    """Sends bursts of messages and sees to it that each is answered once.

    Args:
        runner: of the event loop the connection lives in.
        provider: to talk to.
        barrier: a request that is answered after all that was sent before it.
    """

    def __init__(self, runner: asyncio.Runner, provider: Provider, barrier: bytes) -> None:
        self._barrier = barrier
        self._runner = runner
        lattice = provider.environment["PROVIDER_LATTICE"]
        self._native = f"wasmbus.rpc.{lattice}.python.default"
        self._operations = f"provider.{lattice}.{provider.environment['PROVIDER_NAME']}"
        self._inboxes = itertools.count()
        self._news = asyncio.Event()
        self._connection = runner.run(nats.connect(provider.url))
        self._answers: dict[str, list] = {}
        self.inbox = self._connection.new_inbox()
        runner.run(self._connection.subscribe(f"{self.inbox}.>", cb=self._arrived))

    async def _arrived(self, message) -> None:
        self._answers.setdefault(message.subject, []).append(message)
        self._news.set()

    def close(self) -> None:
        self._runner.run(self._connection.close())

    def send_all(
        self,
        messages: list[bytes],
        operation: str | None = None,
        patience: float = PATIENCE,
        **headers: str,
    ) -> list:
        """Send these messages in a burst, wait for all answers; the one answer to each.

        Args:
            messages: to send.
            operation: to send them by subject, None to send them as native requests.
            patience: seconds after which no further answer is waited for.
            headers: of each.
        """
        subject = self._native if operation is None else f"{self._operations}.{operation}"

        async def work() -> list:
            inboxes = [f"{self.inbox}.{next(self._inboxes)}" for _ in messages]
            for message, inbox in zip(messages, inboxes, strict=True):
                await self._connection.publish(
                    subject, message, reply=inbox, headers=headers or None
                )
            while not self._answers.keys() >= set(inboxes):
                self._news.clear()
                await asyncio.wait_for(self._news.wait(), patience)
            # A second answer to one of them would come before the answer to what is sent now.
            await self._connection.request(self._native, self._barrier, timeout=PATIENCE)
            answers = [self._answers.pop(inbox) for inbox in inboxes]
            assert [len(answer) for answer in answers] == [1] * len(messages)
            assert not self._answers
            return [answer for (answer,) in answers]

        return self._runner.run(work())

    def send(self, message: bytes, operation: str | None = None, **headers: str) -> dict:
        """Send one message; the map of its answer, whose headers tell the same."""
        (answer,) = self.send_all([message], operation, **headers)
        return told(answer)

    def refused(self, *message, **headers: str) -> str:
        """Send what cannot be read; the text of the refusal."""
        error = self.send(*message, **headers)["error"]
        assert (error["kind"], error["code"]) == ("bad_request", 400)
        return error["message"]


def told(answer) -> dict:
    """The map of an answer, whose headers tell the same."""
    body = answer.data
    content = json.loads(body) if body[:1] == b"{" else cbor2.loads(body)
    headers = answer.headers or {}
    if isinstance(content, dict) and "error" in content:
        error = content["error"]
        assert headers["Nats-Service-Error-Code"] == str(error["code"])
        assert headers["Nats-Service-Error"].startswith(error["kind"] + ": ")
    else:
        assert not headers
    return content


def text(words: str) -> bytes:
    return cbor2.dumps(words)


def request(*pairs: bytes) -> bytes:
    """A map of encoded keys and values."""
    return bytes([0xA0 + len(pairs) // 2]) + b"".join(pairs)


def asked(operation: str, argument: object, **fields: object) -> bytes:
    """A native request, without our client."""
    return cbor2.dumps({"operation": operation, **fields, "payload": argument})


@pytest.fixture
def wire():
    """`async with wire(provider) as w: await w.ask(bytes)`."""

    @contextlib.asynccontextmanager
    async def connect(provider: Provider):
        connection = await nats.connect(provider.url)
        try:
            yield Wire(connection, provider)
        finally:
            await connection.close()

    return connect
