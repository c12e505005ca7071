"""Being found by the tools of NATS: what they ask, and every field of what they are told."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta

import nats
import nats.errors
import pytest

from provider import __version__
from provider.doors.subscriptions import settle
from tests.conftest import PATIENCE

HANDLER = """
    def handle(command, arg):
        if command == "fail":
            raise ValueError("it \\u00fc did not work")
        return arg
"""
SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
)
NAME = re.compile(r"[a-zA-Z0-9_-]+")
LARGEST = 2**63 - 1


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(HANDLER)


async def ask(provider, subject: str, count: int = 1) -> list[dict]:
    """As the `nats` command asks: an empty message, and whoever answers before they fall silent.

    They are not silent before so many of the provider's name have answered.
    """
    client = await nats.connect(provider.url)
    try:
        inbox, answers = client.new_inbox(), []
        subscription = await client.subscribe(inbox)
        await client.publish(subject, b"", reply=inbox)
        try:
            while True:
                ours = [told for told in answers if told["name"] == provider.address["name"]]
                message = await subscription.next_msg(PATIENCE if len(ours) < count else 0.15)
                if message.headers:
                    return []
                answers.append(json.loads(message.data))
        except nats.errors.TimeoutError:
            return answers
    finally:
        await client.close()


async def ask_one(provider, subject: str) -> dict:
    (answer,) = [
        told for told in await ask(provider, subject) if told["name"] == provider.address["name"]
    ]
    return answer


def check_identity(told: dict, provider, kind: str) -> None:
    assert told["type"] == f"io.nats.micro.v1.{kind}_response"
    assert told["name"] == provider.address["name"]
    assert NAME.fullmatch(told["id"])
    assert told["version"] == __version__
    assert SEMVER.fullmatch(told["version"])
    assert set(told["metadata"]) == {"lattice", "python"}
    assert told["metadata"]["lattice"] == provider.address["lattice"]
    assert re.fullmatch(r"3\.\d+\.\d+.*", told["metadata"]["python"])


IDENTITY = {"type", "name", "id", "version", "metadata"}


async def test_nine_subjects_are_answered(house):
    name = house.address["name"]
    identity = (await ask_one(house, f"$SRV.PING.{name}"))["id"]
    for verb in ("PING", "INFO", "STATS"):
        for tail in ("", f".{name}", f".{name}.{identity}"):
            told = await ask_one(house, f"$SRV.{verb}{tail}")
            check_identity(told, house, verb.lower())
            assert told["id"] == identity


@pytest.mark.parametrize("tail", ["nobody", "{name}.nobody"])
async def test_others_are_not_answered_for(house, tail):
    assert await ask(house, f"$SRV.PING.{tail.format(**house.address)}") == []


async def test_ping(house):
    assert set(await ask_one(house, "$SRV.PING")) == IDENTITY


async def test_info(house):
    told = await ask_one(house, "$SRV.INFO")
    assert set(told) == IDENTITY | {"description", "endpoints"}
    assert isinstance(told["description"], str)
    assert told["description"]
    lattice, name = house.address["lattice"], house.address["name"]
    assert told["endpoints"] == [
        {
            "name": "native",
            "subject": f"wasmbus.rpc.{lattice}.python.default",
            "queue_group": "rpc",
            "metadata": {},
        },
        {
            "name": "operations",
            "subject": f"provider.{lattice}.{name}.>",
            "queue_group": "q",
            "metadata": {},
        },
    ]


async def test_stats(house):
    told = await ask_one(house, "$SRV.STATS")
    assert set(told) == IDENTITY | {"started", "endpoints"}
    assert told["started"].endswith("Z")
    started = datetime.fromisoformat(told["started"])
    assert timedelta() < datetime.now(UTC) - started < timedelta(minutes=10)
    for endpoint in told["endpoints"]:
        assert set(endpoint) == {
            *("name", "subject", "queue_group", "num_requests", "num_errors", "last_error"),
            *("processing_time", "average_processing_time", "data"),
        }
        assert NAME.fullmatch(endpoint["name"])
        for field in ("num_requests", "num_errors", "processing_time", "average_processing_time"):
            assert type(endpoint[field]) is int
            assert 0 <= endpoint[field] <= LARGEST
        assert type(endpoint["last_error"]) is str
        assert type(endpoint["data"]) is dict


async def test_the_numbers_move_with_the_calls(start_provider):
    provider = start_provider(HANDLER)
    name = provider.address["name"]
    fresh = (await ask_one(provider, f"$SRV.STATS.{name}"))["endpoints"]
    for endpoint in fresh:
        assert endpoint["num_requests"] == endpoint["num_errors"] == 0
        assert endpoint["processing_time"] == endpoint["average_processing_time"] == 0
        assert endpoint["last_error"] == ""
    async with provider.connect() as python:
        for _ in range(3):
            await python.call("echo", 1)
        with pytest.raises(Exception, match="did not work"):
            await python.call("fail")
        await python.call_bytes("echo", b"\x01")
    native, operations = (await ask_one(provider, f"$SRV.STATS.{name}"))["endpoints"]
    assert (native["num_requests"], native["num_errors"]) == (4, 1)
    assert native["last_error"] == "500:handler_error: it \u00fc did not work"
    assert 0 < native["average_processing_time"] == native["processing_time"] // 4
    assert (operations["num_requests"], operations["num_errors"]) == (1, 0)
    # Being asked changes nothing.
    again, _ = (await ask_one(provider, f"$SRV.STATS.{name}"))["endpoints"]
    assert again["num_requests"] == 4
    assert native["data"]["ready"] is True
    assert native["data"]["reason"] == ""
    assert native["data"]["accepted"] == native["data"]["answered"] == 5
    assert native["data"]["open"] == 0
    assert native["data"]["errors"] == {"handler_error": 1}
    assert native["data"]["worker"]["pid"] == provider.worker_pid


OPERATIONS = """
    from provider.dispatch import operation

    @operation
    def add(a: int, b: int = 2) -> int:
        "Add two numbers.\\nAnd no more."
        return a + b

    @operation(name="geo.near", cache=60)
    def near(place: str):
        return place

    @operation(name="geo_near")
    def other(): ...

    @operation(name="native")
    def named_as_ours(): ...

    @operation(name="no subject")
    def by_native_request_only():
        return 1
"""


@pytest.fixture(scope="module")
def declared(start_module_provider):
    return start_module_provider(OPERATIONS)


async def test_each_operation_is_an_endpoint(declared):
    name, lattice = declared.address["name"], declared.address["lattice"]
    info = await ask_one(declared, f"$SRV.INFO.{name}")
    stats = await ask_one(declared, f"$SRV.STATS.{name}")
    names = ["native", "operations", "add", "geo_near", "geo_near_2", "native_2"]
    assert [endpoint["name"] for endpoint in info["endpoints"]] == names
    assert [endpoint["name"] for endpoint in stats["endpoints"]] == names
    assert all(map(NAME.fullmatch, names))
    assert info["endpoints"][2] == {
        "name": "add",
        "subject": f"provider.{lattice}.{name}.add",
        "queue_group": "q",
        "metadata": {
            "operation": "add",
            "signature": "(a: int, b: int = 2) -> int",
            "description": "Add two numbers.",
        },
    }
    assert info["endpoints"][3]["subject"] == f"provider.{lattice}.{name}.geo.near"
    for endpoint in stats["endpoints"]:
        assert set(endpoint) == {
            *("name", "subject", "queue_group", "num_requests", "num_errors", "last_error"),
            *("processing_time", "average_processing_time", "data"),
        }


async def test_each_operation_has_numbers_of_its_own(start_provider):
    provider = start_provider(OPERATIONS)
    subject = f"$SRV.STATS.{provider.address['name']}"
    async with provider.connect() as python:
        for _ in range(2):
            assert await python.call("py.add", {"a": 1}) == 3
        with pytest.raises(Exception, match="valid integer"):
            await python.call("add", {"a": "1"})
        assert await python.call_bytes("geo.near", b"\x61x") == b"\x61x"
        assert await python.call("geo.near", "x") == "x"
        assert await python.call("geo.near", "x") == "x"
    endpoints = {entry["name"]: entry for entry in (await ask_one(provider, subject))["endpoints"]}
    add, near, other = (endpoints[name] for name in ("add", "geo_near", "geo_near_2"))
    assert (add["num_requests"], add["num_errors"]) == (3, 1)
    assert add["last_error"] == "422:invalid_argument: a: Input should be a valid integer"
    assert add["average_processing_time"] == add["processing_time"] // 3 > 0
    assert (near["num_requests"], near["num_errors"], near["last_error"]) == (3, 0, "")
    assert (other["num_requests"], other["processing_time"]) == (0, 0)
    # All these calls came in at the general doors, too.
    assert endpoints["native"]["num_requests"] == 5
    assert endpoints["operations"]["num_requests"] == 1
    cache = endpoints["native"]["data"]["cache"]
    assert (cache["hits"], cache["misses"], cache["entries"]) == (2, 1, 1)
    # A reload changes nothing about the past.
    async with provider.connect() as python:
        await python.reload()
        assert await python.call("no subject") == 1
    again = {entry["name"]: entry for entry in (await ask_one(provider, subject))["endpoints"]}
    assert again["add"]["num_requests"] == 3
    assert again["native"]["data"]["cache"]["entries"] == 0


async def test_as_many_operations_are_told_of_as_the_server_carries(tmp_path):
    from tests.conftest import NatsServer, _starting

    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 65536\n")
    server = NatsServer("-c", str(config))
    start, started = _starting(tmp_path, server.url)
    try:
        provider = start(
            """
            from provider.dispatch import operation

            def make(n):
                def made(a: "x" * 300): ...
                made.__doc__ = "\u00fc" * 300
                return operation(name=f"op{n}" + "o" * 200)(made)

            for n in range(100):
                globals()[f"op{n}"] = make(n)
            """
        )
        name = provider.address["name"]
        for verb in ("INFO", "STATS"):
            told = await ask_one(provider, f"$SRV.{verb}.{name}")
            assert 5 < len(told["endpoints"]) < 100
    finally:
        for provider in started:
            provider.close()
        server.stop()


IDENTITY_FIELDS = {"type": str, "name": str, "id": str, "version": str, "metadata": dict}
INFO_FIELDS = {**IDENTITY_FIELDS, "description": str, "endpoints": list}
STATS_FIELDS = {**IDENTITY_FIELDS, "started": str, "endpoints": list}
ENDPOINT_FIELDS = {"name": str, "subject": str, "queue_group": str}
INFO_ENDPOINT = {**ENDPOINT_FIELDS, "metadata": dict}
NUMBERS = ("num_requests", "num_errors", "processing_time", "average_processing_time")
STATS_ENDPOINT = {**ENDPOINT_FIELDS, **dict.fromkeys(NUMBERS, int), "last_error": str, "data": dict}


def check(told: dict, fields: dict[str, type]) -> None:
    """Every field is there, of the type the command reads it as, and no other."""
    assert {name: type(value) for name, value in told.items()} == fields


@pytest.mark.parametrize(
    ("command", "exchange"),
    [
        ("nats service ping", [("PING", "")]),
        ("nats service ping NAME", [("PING", ".{name}")]),
        ("nats service ls", [("INFO", "")]),
        ("nats service ls NAME", [("INFO", ".{name}")]),
        ("nats service info NAME", [("INFO", ".{name}"), ("STATS", ".{name}.{id}")]),
        ("nats service info NAME ID", [("INFO", ".{name}.{id}"), ("STATS", ".{name}.{id}")]),
        ("nats service stats NAME", [("STATS", ".{name}")]),
    ],
)
async def test_what_the_nats_command_asks_for_is_answered_as_it_reads_it(
    declared, command, exchange
):
    """The subjects each command publishes an empty message to, in order, and what it decodes."""
    name = declared.address["name"]
    identity, names = "", []
    if "ID" in command:
        identity = (await ask_one(declared, f"$SRV.PING.{name}"))["id"]
    for verb, tail in exchange:
        told = await ask_one(declared, f"$SRV.{verb}" + tail.format(name=name, id=identity))
        assert identity in ("", told["id"])
        identity = told["id"]
        assert told["type"] == f"io.nats.micro.v1.{verb.lower()}_response"
        check(told, {"PING": IDENTITY_FIELDS, "INFO": INFO_FIELDS, "STATS": STATS_FIELDS}[verb])
        assert all(type(value) is str for value in told["metadata"].values())
        for endpoint in told.get("endpoints", []):
            check(endpoint, INFO_ENDPOINT if verb == "INFO" else STATS_ENDPOINT)
            assert all(type(value) is str for value in endpoint.get("metadata", {}).values())
        if verb != "PING":
            names.append([endpoint["name"] for endpoint in told["endpoints"]])
    # What it shows of one service it takes from both answers, by their order.
    assert all(each == names[0] for each in names)
    assert not names or "add" in names[0]


async def test_what_the_nats_command_requests_of_an_endpoint_is_its_operation(declared):
    """`nats service request NAME add '{"a": 1}' -H Content-Type:application/json`."""
    info = await ask_one(declared, f"$SRV.INFO.{declared.address['name']}")
    (endpoint,) = [each for each in info["endpoints"] if each["name"] == "add"]
    client = await nats.connect(declared.url)
    try:
        answer = await client.request(
            endpoint["subject"],
            b'{"a": 1}',
            timeout=PATIENCE,
            headers={"Content-Type": "application/json"},
        )
    finally:
        await client.close()
    assert answer.data == b"3"


async def test_every_instance_is_found_under_an_id_of_its_own(start_provider, house):
    twin = start_provider(
        HANDLER, PROVIDER_LATTICE="elsewhere", PROVIDER_NAME=house.address["name"]
    )
    name = house.address["name"]
    both = await ask(house, f"$SRV.PING.{name}", count=2)
    assert len({told["id"] for told in both}) == 2
    assert {told["metadata"]["lattice"] for told in both} == {
        "elsewhere",
        house.address["lattice"],
    }
    assert await asyncio.to_thread(twin.stop) == 0
    assert len(await ask(house, f"$SRV.PING.{name}")) == 1


async def test_a_question_that_wants_no_answer_does_no_harm(house):
    client = await nats.connect(house.url)
    await client.publish("$SRV.PING", b"")
    await settle(client)
    await client.close()
    await ask_one(house, "$SRV.PING")
    assert not house.events("nats_error")
