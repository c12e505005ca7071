"""What the provider is measured beside: programs of one process each, all on uvloop.

    python -P .../peers.py echo|one_process|micro|faststream|objects URL SUBJECT

The rule of this file: it imports nothing of ours, because some of it runs in an environment of its
own. Each is what its library's own guide would have one write, and no more.
"""

from __future__ import annotations

import asyncio
import io
import sys
from typing import TYPE_CHECKING, Any

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.micro.request import Request


def _factorial(n: int) -> int:
    product = 1
    for factor in range(2, n + 1):
        product *= factor
    return product


def _same(argument: Any) -> Any:
    return argument


FUNCTIONS: dict[str, Callable[[Any], Any]] = {"factorial": _factorial, "same": _same}


def _decoded_and_called(data: bytes) -> bytes:
    import cbor2

    call = cbor2.loads(data)
    function = FUNCTIONS[call["operation"].rpartition(".")[2]]
    return cbor2.dumps({"result": function(call["payload"])})


async def _echo(client: Client, subject: str) -> None:
    async def respond(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(subject, queue="rpc", cb=respond)


async def _one_process(client: Client, subject: str) -> None:
    async def respond(message: Msg) -> None:
        await message.respond(_decoded_and_called(message.data))

    await client.subscribe(subject, queue="rpc", cb=respond)


async def _micro(client: Client, subject: str) -> None:
    from nats import micro

    async def handle(request: Request) -> None:
        await request.respond(_decoded_and_called(request.data))

    service = await micro.add_service(client, name="bench", version="1.0.0")
    await service.add_endpoint(name="call", subject=subject, handler=handle)


async def _objects(client: Client, subject: str) -> None:
    """Fetch the object that is named, store it under another name, and say so."""
    jetstream = client.jetstream(timeout=60)
    store = await jetstream.create_object_store("bench")

    async def respond(message: Msg) -> None:
        name = message.data.decode()
        got = io.BytesIO()  # what `get` returns otherwise is copied for every piece
        await store.get(name, writeinto=got)
        await store.put(f"{name}-answer", got.getvalue())
        await message.respond(b"stored")

    await client.subscribe(subject, cb=respond)


async def _on_nats(name: str, url: str, subject: str) -> None:
    import nats

    client = await nats.connect(url)
    await PEERS[name](client, subject)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _faststream(url: str, subject: str) -> None:
    import importlib

    library: Any = importlib.import_module("faststream")
    broker: Any = importlib.import_module("faststream.nats").NatsBroker(url, logger=None)

    @broker.subscriber(subject, queue="rpc")  # type: ignore[untyped-decorator]  # it is not in our environment
    async def handle(body: bytes) -> bytes:
        return _decoded_and_called(body)

    app = library.FastStream(broker, logger=None)

    @app.after_startup  # type: ignore[untyped-decorator]  # as above
    async def ready() -> None:
        print("ready", flush=True)

    await app.run()


PEERS = {"echo": _echo, "one_process": _one_process, "micro": _micro, "objects": _objects}


def main(name: str, url: str, subject: str) -> None:
    """Serve until killed."""
    uvloop.run(_faststream(url, subject) if name == "faststream" else _on_nats(name, url, subject))


if __name__ == "__main__":
    main(*sys.argv[1:])
