"""Hostile texts stay texts: in the log, in headers, in trailers, on the terminal of a caller."""

from __future__ import annotations

import contextlib
import json
import re
import time

import cbor2
import grpc
import httpx
import nats
import pytest

from provider.client import InvocationError, connect_wasmbus
from provider.lattice.nkeys import KeyPair, Kind
from tests.conftest import PATIENCE, write

CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\6" * 32)
FORGED = '{"event": "forged", "level": "error"}'
HOSTILE = {
    "lines": f"x\r\nForged-Header: yes\r\n\r\n{FORGED}\n2026-01-01T00:00:00.0Z [info     ] forged",
    "escapes": "x\x1b]0;forged\x07\x1b[2J\x9b31mforged",
    "nul": "x\x00forged\x00\n\x00",
    "directions": "x\u202eforged\u2066\u200f",
    "separators": f"x\u2028{FORGED}\u2029{FORGED}\x85{FORGED}\x0b\x0c{FORGED}",
    "surrogates": "x\ud800forged\udfff\n",
}
PROGRAM = f"""
    import sys

    HOSTILE = {HOSTILE!a}
    HOSTILE["long"] = "forged " * 60_000

    def handle(command, arg):
        if isinstance(arg, dict):
            arg = arg["arg"]
        text = HOSTILE[arg] if isinstance(arg, str) and arg in HOSTILE else "fine"
        if command == "print":
            print(text)
            print(text, file=sys.stderr)
            return None
        if command == "exit":
            sys.exit(text)
        if command == "result":
            return text
        kind = type(text[:64], (ValueError,), {{}}) if command == "class" else ValueError
        raise kind(text)
"""
HOSTILE["long"] = "forged " * 60_000
PROTO = """
    syntax = "proto3";
    message What { string arg = 1; }
    message Nothing {}
    service Hostile { rpc raise (What) returns (Nothing); rpc class (What) returns (Nothing); }
"""
OPERATIONS = ["raise", "class", "print"]


@pytest.fixture(scope="module")
def started(start_module_provider, tmp_path_factory):
    """A provider for each form of the log."""
    proto = write(tmp_path_factory.mktemp("proto") / "hostile.proto", PROTO)
    return {
        form: start_module_provider(
            PROGRAM,
            *("--http", "0", "--grpc", "0", "--proto", str(proto), "--log-level", "debug"),
            ready=False,
            PROVIDER_LOG_FORMAT=form,
            PROVIDER_TRACEBACKS="on",
            PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
            PROVIDER_KEY=KeyPair.generate(Kind.SERVICE).public,
        )
        for form in ("json", "pretty")
    }


@pytest.fixture(params=["json", "pretty"])
def provider(request, started):
    provider = started[request.param]
    until(provider, r"\bready\b")
    return provider


def until(provider, pattern: str) -> str:
    end = time.monotonic() + PATIENCE
    while True:
        found = re.search(pattern, provider.text)
        if found:
            return found[0]
        assert time.monotonic() < end, provider.text[-2000:]
        time.sleep(0.02)


def harmless_headers(headers: dict[str, str], known: set[str]) -> None:
    assert set(headers) <= known, headers
    for value in headers.values():
        assert value.isprintable()
        assert len(value) < 1000


async def natively(provider, operation: str, name: str) -> None:
    client = await nats.connect(provider.url)
    address = provider.address
    request = {"operation": operation, "payload": name, "id": "id\r\nForged: yes\x1b[2J\u202e" * 3}
    answer = await client.request(
        f"wasmbus.rpc.{address['lattice']}.{address['key']}.default",
        cbor2.dumps(request),
        timeout=PATIENCE,
    )
    await client.close()
    harmless_headers(answer.headers or {}, {"Nats-Service-Error", "Nats-Service-Error-Code"})
    assert cbor2.loads(answer.data)["id"] == request["id"]


async def by_subject(provider, operation: str, name: str) -> None:
    client = await nats.connect(provider.url)
    address = provider.address
    subject = f"provider.{address['lattice']}.{address['name']}.{operation}"
    for kind, data in (("application/json", json.dumps(name)), ("", cbor2.dumps(name))):
        headers = {"Content-Type": kind} if kind else {}
        answer = await client.request(
            subject,
            data if isinstance(data, bytes) else data.encode(),
            timeout=PATIENCE,
            headers={**headers, "Provider-Request-Id": "\x1b[2J\u202eforged" * 40},
        )
        harmless_headers(answer.headers or {}, {"Nats-Service-Error", "Nats-Service-Error-Code"})
        if kind:
            json.loads(answer.data)
    await client.request(f"$SRV.STATS.{address['name']}", b"", timeout=PATIENCE)
    await client.close()


async def over_http(provider, operation: str, name: str) -> None:
    url = until(provider, r"http://127\.0\.0\.1:\d+")
    headers = [(b"X-Request-Id", b"[2Jforged\xe2\x80\xae\x85\x9b")]
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        answer = await client.post(f"{url}/call/{operation}", json=name, headers=headers)
        benign = await client.post(f"{url}/call/{operation}", json="fine")
        # In the path as well, as it is sent and as it is meant.
        odd = await client.get(f"{url}/call/x%0D%0AForged:%20yes%1B%5B2J%E2%80%AE")
        other = await client.get(f"{url}/%0D%0A{FORGED}%00")
    for each in (answer, odd, other):
        assert set(each.headers) <= {*benign.headers, "allow", "cache-control"}
        assert all(value.isprintable() for value in each.headers.values())
        if each.content:
            each.json()


async def over_grpc(provider, operation: str, name: str) -> None:
    if operation not in ("raise", "class"):
        return
    address = until(provider, r"grpc[\"']?[:=] ?[\"']?(127\.0\.0\.1:\d+)")
    address = re.search(r"127.*\d", address)[0]
    message = b"\x0a" + bytes([len(name)]) + name.encode()
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(f"/Hostile/{operation}")(
                message, timeout=PATIENCE, metadata=(("x-request-id", "forged" * 100),)
            )
    assert raised.value.details().isprintable()
    assert len(raised.value.details()) < 2000
    for key, value in raised.value.trailing_metadata():
        assert re.fullmatch(r"[a-z-]+", key)
        assert key.endswith("-bin") or value.isprintable()


async def signed(provider, operation: str, name: str) -> None:
    address = {each: provider.address[each] for each in ("lattice", "key")}
    async with connect_wasmbus(
        provider.url, cluster=CLUSTER, timeout=PATIENCE, **address
    ) as wasmbus:
        await wasmbus.link()
        with contextlib.suppress(InvocationError):
            await wasmbus.call(operation, name)


DOORS = [natively, by_subject, over_http, over_grpc, signed]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_texts_over_every_door(provider, name):
    for door in DOORS:
        for operation in OPERATIONS:
            await door(provider, operation, name)


@pytest.mark.parametrize(
    "operation",
    ["x\r\nForged: y", "\x1b[2J\u202e", "\x00", "\u2028" + FORGED, "x" * 256, f"\n{FORGED}"],
)
async def test_hostile_names_of_operations(provider, operation):
    await natively(provider, operation, "fine")


async def test_every_line_of_the_log_is_a_line_of_the_log(started):
    """Last, when all of the above was logged, or at least this."""
    for provider in started.values():
        until(provider, r"\bready\b")
        for operation in OPERATIONS:
            await natively(provider, operation, "lines")
    assert started["json"].stop() == 0
    for line in started["json"].lines:
        assert isinstance(line, dict), line
        assert line["event"] != "forged"
        for key, value in line.items():
            text = json.dumps(value, ensure_ascii=False)
            assert key == "exception" or text.isprintable()
            assert len(text) < 40_000
    # What functions print is told apart: it is the text of an event of its own.
    said = [line["text"] for line in started["json"].events("printed")]
    assert any(FORGED in text for text in said)
    assert started["pretty"].stop() == 0
    for line in started["pretty"].lines:
        if isinstance(line, dict):
            # No line of this form of the log, but the text of an exception, below the line of it.
            assert line == json.loads(FORGED)
            continue
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[\w+ *\] |    |$", line), line
        assert line.isprintable()
        assert len(line) < 40_000
        assert not re.match(r"\S+ \[\w+ *\] forged", line)


@pytest.fixture(scope="module")
def hostile(start_module_provider):
    """A provider as it is when nobody says otherwise."""
    return start_module_provider(PROGRAM)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_terminal_of_a_caller(name, hostile, provider_command):
    environment = hostile.environment
    for operation in ("raise", "class", "exit"):
        done = provider_command("call", operation, json.dumps(name), **environment)
        assert done.returncode == 1
        said = done.stderr.decode()
        first, *others = said.removesuffix("\n").split("\n")
        assert first.startswith("error: ")
        assert all(line.isprintable() for line in (first, *others))
        assert not any(line[:1] in ("{", "2") for line in others)
    for flags in ((), ("--json",)):
        done = provider_command("call", "result", json.dumps(name), *flags, **environment)
        if name == "surrogates":
            continue  # they cannot travel
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.decode().splitlines()
        assert line.isprintable()
        if not flags:
            assert json.loads(line) == HOSTILE[name]


@pytest.mark.parametrize("name", ["lines", "escapes", "separators"])
def test_the_last_words_of_a_provider_that_does_not_start(name, start_provider):
    program = f"raise RuntimeError({HOSTILE[name]!r})\n"
    provider = start_provider(program, ready=False)
    assert provider.wait() == 3
    for line in provider.lines:
        assert line.isprintable() if isinstance(line, str) else line["event"] != "forged"
