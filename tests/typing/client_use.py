"""The client as its users' type checkers see it. Checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

from provider import client
from provider.connection import NatsOptions
from provider.errors import CallError, CallTimeout, HandlerError, Overloaded
from provider.wire.values import Limits
from provider.wire.wasmbus import InvocationResponse

if TYPE_CHECKING:
    from provider.lattice.nkeys import KeyPair


async def calls() -> None:
    """Every method, with every argument."""
    async with client.connect() as python:
        assert_type(python, client.Python)
        result = await python.call("py.factorial", 10)
        assert_type(result, Any)
        number: int = await python.call("py.factorial", 10, timeout=1.5, request_id="mine")
        await python.call("py.nothing", trace={"traceparent": "00-"})
        await python.call("py.nothing")
        await python.call("py.nothing", client.ABSENT)
        await python.call("py.something", {"a": [number, None, b"bytes"]})
        assert_type(await python.call_bytes("py.hello"), bytes)
        assert_type(
            await python.call_bytes(
                "py.hello", b'"Alice"', content_type="application/json", timeout=1
            ),
            bytes,
        )
        assert_type(await python.status(timeout=1), dict[str, Any])
        assert_type(await python.admin("status", timeout=1), list[dict[str, Any]])
        await python.reload(timeout=5)


async def places() -> None:
    """Where a provider may be."""
    options = NatsOptions(servers=("tls://a:4222",), creds=Path("me.creds"))
    async with client.connect(
        options,
        lattice="staging",
        key="python",
        link_name="default",
        name="shop",
        timeout=5,
        limits=Limits(depth=8),
    ) as python:
        await python.call("x")


def calls_without_await() -> None:
    """The sync twin has the same methods."""
    with client.connect_sync("nats://127.0.0.1:4222", lattice="staging", timeout=5) as python:
        assert_type(python, client.PythonSync)
        assert_type(python.call("py.factorial", 10, timeout=1, request_id="mine"), Any)
        assert_type(python.call_bytes("py.hello", b"", timeout=1), bytes)
        assert_type(python.status(), dict[str, Any])
        assert_type(python.admin("drain"), list[dict[str, Any]])
        python.reload()


async def signed_calls(cluster: KeyPair) -> None:
    """As an actor calls."""
    async with client.connect_wasmbus(cluster=cluster, lattice="staging", timeout=5) as wasmbus:
        assert_type(wasmbus, client.Wasmbus)
        await wasmbus.link({"locale": "en"})
        assert_type(await wasmbus.call("py.factorial", 10, trace={"traceparent": "x"}), Any)
        assert_type(await wasmbus.call_bytes("py.factorial", b"\x7f\x0a", timeout=1), bytes)
        signed = wasmbus.sign("py.factorial", b"\x7f\x0a")
        assert_type(await wasmbus.invoke(signed, timeout=1), InvocationResponse)
        assert_type((await wasmbus.health()).healthy, bool)
        try:
            await wasmbus.unlink()
        except client.InvocationError as error:
            assert_type(error.message, str)


async def streams(python: client.Python, waiting: client.PythonSync) -> None:
    """Results in parts."""
    async for item in python.stream("py.count", 3, timeout=5):
        assert_type(item, Any)
    python.stream("py.count", on_progress=print)
    items = python.stream("py.count")
    await items.aclose()
    for item in waiting.stream("py.count", 3):
        assert_type(item, Any)
    waiting.stream("py.count").close()


async def errors(python: client.Python) -> int:
    """What can be told apart, and what it carries."""
    try:
        await python.call("x")
    except client.NoProvider:
        return 0
    except Overloaded as error:
        assert_type(error.retry_after_ms, int | None)
    except CallTimeout as error:
        assert_type(error.message, str)
    except HandlerError as error:
        assert_type(error.type, str | None)
        assert_type(error.details, Any)
    except CallError as error:
        assert_type(error.code, int)
    return 1


async def mistakes(python: client.Python) -> None:
    """What a type checker must refuse; an ignore that is not needed is an error."""
    await python.call(7)  # type: ignore[arg-type]  # operations have names
    await python.call("x", 1, 2)  # type: ignore[call-arg]  # one argument
    await python.call_bytes("x", "text")  # type: ignore[arg-type]  # bytes
    for _ in python.stream("x"):  # type: ignore[attr-defined]  # async
        pass
    python.status().items()  # type: ignore[attr-defined]  # not awaited
    with client.connect_sync(latice="x"):  # type: ignore[call-arg]  # a misspelt name
        pass
