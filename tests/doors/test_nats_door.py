"""The NATS door, over a real server: every way in, every way out, and how it opens and closes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

import cbor2
import nats
import pytest

from provider.doors.subscriptions import settle
from tests.conftest import PATIENCE

HANDLER = """
    import os
    import time

    from provider.dispatch import OperationError

    runs = 0

    def handle(command, arg):
        global runs
        runs += 1
        match command:
            case "runs":
                return runs
            case "echo" | "py.deep.echo" | "x":
                return arg
            case "pid":
                return os.getpid()
            case "sleep":
                time.sleep(arg)
                return arg
            case "gate":
                with open(arg, "rb", buffering=0) as gate:
                    gate.read(1)
            case "big":
                return "x" * arg
            case "fail":
                raise ValueError(arg)
            case "details":
                raise OperationError("a" * 20_000, code=418, details="d" * arg)
            case "set":
                return {1, 2}
        return f"unknown {command}"
"""

GENEROUS = 1 << 20
"""Messages the client of a test may hold."""


@pytest.fixture(scope="module")
def house(start_module_provider):
    """A provider that the tests of this module only call."""
    return start_module_provider(HANDLER, PROVIDER_QUEUE_CALLS="4000")


@contextlib.asynccontextmanager
async def client_of(provider):
    client = await nats.connect(provider.url)
    try:
        yield client
    finally:
        await client.close()


def rpc(provider) -> str:
    return f"wasmbus.rpc.{provider.address['lattice']}.python.default"


def operation(provider, name: str) -> str:
    return f"provider.{provider.address['lattice']}.{provider.address['name']}.{name}"


async def native(provider, request: object, **options):
    """The message that answers a native request; bytes are sent as they are."""
    data = request if isinstance(request, bytes) else cbor2.dumps(request)
    async with client_of(provider) as client:
        return await client.request(rpc(provider), data, timeout=PATIENCE, **options)


async def by_subject(provider, name: str, body: bytes = b"", **headers: str):
    """The message that answers a call by subject."""
    wire = {key.replace("_", "-"): value for key, value in headers.items()}
    async with client_of(provider) as client:
        return await client.request(operation(provider, name), body, timeout=PATIENCE, headers=wire)


def error_of(message) -> dict:
    """The error in an answer, whose headers must say the same."""
    told = (json.loads(message.data) if message.data[:1] == b"{" else cbor2.loads(message.data))[
        "error"
    ]
    assert set(message.headers) == {"Nats-Service-Error", "Nats-Service-Error-Code"}
    assert message.headers["Nats-Service-Error-Code"] == str(told["code"])
    assert message.headers["Nats-Service-Error"].startswith(f"{told['kind']}: ")
    return told


# --- native requests -----------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["mine", b"\x00\xff", "", None])
async def test_a_result_comes_back_with_the_id_of_its_request(house, identity):
    request = {"operation": "echo", "payload": [1, {"a": None}]}
    if identity is not None:
        request["id"] = identity
    message = await native(house, request)
    assert not message.headers
    answer = cbor2.loads(message.data)
    assert answer.pop("result") == [1, {"a": None}]
    assert answer == ({} if identity is None else {"id": identity})


@pytest.mark.parametrize("identity", ["mine", b"\x00\xff"])
async def test_an_error_comes_back_with_the_id_of_its_request(house, identity):
    message = await native(house, {"operation": "fail", "payload": "no", "id": identity})
    assert cbor2.loads(message.data)["id"] == identity
    error = error_of(message)
    assert (error["kind"], error["code"], error["type"]) == ("handler_error", 500, "ValueError")
    assert error["message"] == "no"
    assert "traceback" not in error


async def test_a_result_that_cannot_travel_is_an_error(house):
    assert error_of(await native(house, {"operation": "set"}))["kind"] == "bad_result"


async def test_every_first_byte_that_is_no_map_is_named(house):
    async with client_of(house) as client:
        others = [byte for byte in range(256) if not 0xA0 <= byte <= 0xBF]
        answers = await asyncio.gather(
            *(client.request(rpc(house), bytes([byte, 0]), timeout=PATIENCE) for byte in others)
        )
    for byte, answer in zip(others, answers, strict=True):
        error = error_of(answer)
        assert (error["kind"], error["code"]) == ("bad_request", 400)
        assert f"0x{byte:02x}" in error["message"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty message"),
        (cbor2.dumps({"payload": 1}), "no operation"),
        (cbor2.dumps({"operation": ""}), "operation is empty"),
        (cbor2.dumps({"operation": 7}), "must be text"),
        (cbor2.dumps({"operation": "x" * 257}), "longer than 256"),
        (cbor2.dumps({"operation": "echo", "id": 7}), "id is int"),
        (cbor2.dumps({"operation": "echo", "timeout_ms": 0}), "timeout_ms is 0"),
        (cbor2.dumps({"operation": "echo"}) + b"\x00", "1 bytes after"),
        (cbor2.dumps({"operation": "echo", "payload": 1}) + b"\x00", "after"),
        (b"\xa2\x69operation", ""),
    ],
)
async def test_a_request_that_cannot_be_read_says_why(house, data, says):
    error = error_of(await native(house, data))
    assert error["kind"] == "bad_request"
    assert says in error["message"]


async def test_a_message_that_nobody_waits_for_is_run_all_the_same(house):
    async with house.connect() as python:
        before, runs = await python.status(), await python.call("runs")
        async with client_of(house) as client:
            await client.publish(rpc(house), cbor2.dumps({"operation": "x"}))
            await client.publish(rpc(house), cbor2.dumps({"operation": "fail"}))
            await client.publish(rpc(house), b"\x00")
            await settle(client)
            # In arrival order, hence after all of them.
            assert await python.call("runs") == runs + 3
            await client.publish(operation(house, "x"), b"")
            await client.request(operation(house, "x"), b"", timeout=PATIENCE)
            assert await python.call("runs") == runs + 6
        after = await python.status()
    assert after["unanswerable"] == before["unanswerable"] + 4
    assert after["open"] == 0


async def test_two_hundred_messages_of_one_sender_are_answered_in_their_order(house):
    async with client_of(house) as client:
        inbox, order = client.new_inbox(), []
        subscription = await client.subscribe(f"{inbox}.*")
        for number in range(200):
            await client.publish(
                rpc(house), cbor2.dumps({"operation": "echo"}), reply=f"{inbox}.{number}"
            )
        for _ in range(200):
            message = await subscription.next_msg(PATIENCE)
            order.append(int(message.subject.rpartition(".")[2]))
    assert order == list(range(200))


# --- deadlines -----------------------------------------------------------------------------------


async def test_the_header_sets_the_deadline_of_both_ways_in(house):
    headers = {"Provider-Timeout-Ms": "150"}
    slow = {"operation": "sleep", "payload": 30}
    waits = asyncio.create_task(native(house, slow, headers=headers))
    error = error_of(await waits)
    assert (error["kind"], error["code"]) == ("timeout", 504)
    error = error_of(await by_subject(house, "sleep", cbor2.dumps(30), **headers))
    assert error["kind"] == "timeout"


async def test_the_timeout_in_the_envelope_goes_before_the_header(house):
    request = {"operation": "sleep", "payload": 0.2, "timeout_ms": 40_000}
    message = await native(house, request, headers={"Provider-Timeout-Ms": "50"})
    assert cbor2.loads(message.data) == {"result": 0.2}


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1s", "\u0663", "9" * 16])
async def test_a_header_that_is_no_time_is_refused(house, text):
    headers = {"Provider-Timeout-Ms": text}
    for answer in (
        await native(house, {"operation": "echo"}, headers=headers),
        await by_subject(house, "echo", **headers),
    ):
        error = error_of(answer)
        assert error["kind"] == "bad_request"
        assert "Provider-Timeout-Ms" in error["message"]


# --- by subject ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "answer"),
    [
        ({}, b"\x83\x01\x02\xf6", b"\x83\x01\x02\xf6"),
        ({}, b"", b"\xf6"),
        ({"Content-Type": "application/cbor"}, b"\x0a", b"\x0a"),
        ({"Content-Type": "application/octet-stream"}, b"\x0a", b"\x0a"),
        ({"Content-Type": "application/json"}, b" [1, 2.5] ", b"[1,2.5]"),
        ({"Content-Type": "application/json"}, b"", b"null"),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, '"ü"'.encode(), '"ü"'.encode()),
        ({"content-type": "application/json"}, b"[7]", b"[7]"),
    ],
)
async def test_by_subject_the_body_is_the_argument(house, headers, body, answer):
    message = await by_subject(house, "echo", body, **headers)
    assert not message.headers
    assert message.data == answer


async def test_an_operation_may_have_dots(house):
    assert (await by_subject(house, "py.deep.echo", b"\x05")).data == b"\x05"


@pytest.mark.parametrize("content_type", ["text/plain", "application/json+x", "application/"])
async def test_another_content_type_is_refused(house, content_type):
    error = error_of(await by_subject(house, "echo", b"1", Content_Type=content_type))
    assert error["kind"] == "bad_request"
    assert repr(content_type) in error["message"]
    assert "application/json" in error["message"]


async def test_errors_come_in_the_language_of_the_request(house):
    spoken = await by_subject(house, "fail", b'"no"', Content_Type="application/json")
    assert json.loads(spoken.data)["error"]["message"] == "no"
    assert error_of(spoken)["type"] == "ValueError"
    assert error_of(await by_subject(house, "fail", b"\x62no"))["message"] == "no"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json"}, b"{"),
        ({"Content-Type": "application/json"}, b"\xff"),
        ({}, b"\x01\x02"),
        ({}, b"\x83"),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_bad_request(house, headers, body):
    assert error_of(await by_subject(house, "echo", body, **headers))["kind"] == "bad_request"


async def test_a_subject_may_name_an_operation_of_256_bytes_and_no_more(house):
    assert (await by_subject(house, "a" * 256)).data == cbor2.dumps("unknown " + "a" * 256)
    error = error_of(await by_subject(house, "ü" * 129))
    assert error["kind"] == "bad_request"
    assert "256 bytes" in error["message"]


async def test_the_callers_id_is_in_the_log(house):
    await by_subject(house, "fail", Provider_Request_Id="order-66")
    await by_subject(house, "fail", Provider_Request_Id="l" * 9000)
    await native(house, {"operation": "fail", "id": b"\xbe\xef"})
    assert house.wait_for("call_failed", request_id="order-66")["operation"] == "fail"
    assert house.wait_for("call_failed", request_id="l" * 256)
    assert house.wait_for("call_failed", request_id="beef")


# --- sizes ---------------------------------------------------------------------------------------


async def test_an_error_text_cannot_write_headers_of_its_own(house):
    text = "x\r\nNats-Service-Error-Code: 200\r\nEvil: 1\r\n\r\nbody\x00\u2028"
    message = await native(house, {"operation": "fail", "payload": text})
    error = error_of(message)
    assert error["code"] == 500
    assert error["message"] == text
    assert message.headers["Nats-Service-Error"].isprintable()


async def test_messages_over_our_own_limit_are_refused_both_ways(start_provider):
    provider = start_provider(HANDLER, PROVIDER_MAX_MESSAGE="2KB")
    request = {"operation": "echo", "payload": b"x" * 2000}
    size = len(cbor2.dumps(request))
    for message, sizes in (
        (await native(provider, request), (str(size), "2000")),
        (await by_subject(provider, "echo", b"x" * 2001), ("2001", "2000")),
        (await by_subject(provider, "big", cbor2.dumps(2000)), ("2003", "2000")),
    ):
        error = error_of(message)
        assert (error["kind"], error["code"]) == ("too_large", 413)
        assert "PROVIDER_MAX_MESSAGE" in error["message"]
        for number in sizes:
            assert number in error["message"].split()
    message = await by_subject(provider, "echo", cbor2.dumps(b"x" * 1997))
    assert len(message.data) == 2000


@pytest.fixture
def small_server(nats_server, tmp_path):
    """A NATS server that carries 4096 bytes at most."""
    config = tmp_path / "small.conf"
    config.write_text("max_payload: 4096\n")
    server = type(nats_server)("-c", str(config))
    yield server
    server.stop()


async def test_what_the_server_cannot_carry_is_told_with_both_sizes(start_provider, small_server):
    provider = start_provider(HANDLER, nats=small_server.url)
    error = error_of(await native(provider, {"operation": "big", "payload": 5000}))
    assert (error["kind"], error["code"]) == ("too_large", 413)
    # One byte of map, the key, three bytes of head and the text.
    assert str(1 + 7 + 3 + 5000) in error["message"]
    assert "4096" in error["message"]
    error = error_of(await by_subject(provider, "big", b"5000", Content_Type="application/json"))
    assert "5002" in error["message"]
    # As much as fits does travel.
    fits = 4096 - 1 - 7 - 3
    message = await native(provider, {"operation": "big", "payload": fits})
    assert len(message.data) == 4096


async def test_an_error_too_long_for_the_server_is_shortened(start_provider, small_server):
    provider = start_provider(HANDLER, nats=small_server.url, PROVIDER_TRACEBACKS="on")
    for headers in ({}, {"Content-Type": "application/json"}):
        body = b"5000" if headers else cbor2.dumps(5000)
        message = await by_subject(provider, "details", body, **headers)
        error = error_of(message)
        assert (error["kind"], error["code"]) == ("handler_error", 418)
        assert error["message"].startswith("aaaa")
        assert "4096" in error["message"]
        assert "details" not in error
    async with provider.connect() as python:
        assert (await python.status())["unsent"] == 0


async def test_details_that_fit_travel(house):
    error = error_of(await native(house, {"operation": "details", "payload": 5000}))
    assert error["details"] == "d" * 5000


# --- several providers, many calls ---------------------------------------------------------------


async def test_two_providers_share_the_calls(start_provider):
    same = {"PROVIDER_LATTICE": f"shared{os.getpid()}", "PROVIDER_NAME": "twins"}
    one, two = start_provider(HANDLER, **same), start_provider(HANDLER, **same)
    async with client_of(one) as client:
        inbox, pids, answered = client.new_inbox(), {"rpc": set(), "q": set()}, []
        subscription = await client.subscribe(f"{inbox}.*.*")
        request = cbor2.dumps({"operation": "pid"})
        for number in range(100):
            await client.publish(rpc(one), request, reply=f"{inbox}.rpc.{number}")
            await client.publish(operation(one, "pid"), b"", reply=f"{inbox}.q.{number}")
        for _ in range(200):
            message = await subscription.next_msg(PATIENCE)
            answered.append(message.subject)
            value, way = cbor2.loads(message.data), message.subject.split(".")[-2]
            pids[way].add(value["result"] if way == "rpc" else value)
        assert len(set(answered)) == 200
        assert pids["rpc"] == pids["q"] == {one.worker_pid, two.worker_pid}
        # Both have answered everything; a second answer of anyone would be here by now.
        assert one.stop() == two.stop() == 0
        await settle(client)
        assert subscription.pending_msgs == 0


async def test_a_flood_is_answered_call_by_call(start_provider):
    calls, provider = 20_000, start_provider(HANDLER, PROVIDER_QUEUE_CALLS="100")
    async with client_of(provider) as client:
        results, refused, done = set(), {}, asyncio.Event()
        inbox = client.new_inbox()

        async def answered(message):
            number = message.subject.rpartition(".")[2]
            assert number not in results
            assert number not in refused
            if message.headers:
                refused[number] = message
            else:
                results.add(number)
            if len(results) + len(refused) == calls:
                done.set()

        await client.subscribe(f"{inbox}.*", cb=answered, pending_msgs_limit=GENEROUS)
        request = cbor2.dumps({"operation": "x", "payload": 1})
        for number in range(calls):
            await client.publish(rpc(provider), request, reply=f"{inbox}.{number}")
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        assert len(results) >= 100
        assert refused, "the queue was never full"
        for message in list(refused.values())[:50]:
            error = error_of(message)
            assert (error["kind"], error["code"]) == ("overloaded", 429)
            assert error["retry_after_ms"] > 0
        async with provider.connect() as python:
            status = await python.status()
            assert status["accepted"] == len(results) == status["answered"]
            assert status["errors"]["overloaded"] == len(refused)
            assert await python.call("echo", "calm") == "calm"
    assert provider.stop() == 0
    assert not provider.events("nats_slow_consumer")


async def test_messages_are_taken_while_a_handler_runs(house, tmp_path):
    os.mkfifo(tmp_path / "gate")
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    async with house.connect() as python:
        slow = [asyncio.create_task(python.call("gate", str(tmp_path / "gate"))) for _ in range(2)]
        while (await python.status())["open"] < 2:
            pass
        assert not any(call.done() for call in slow)
        os.write(gate, b"xx")
        await asyncio.gather(*slow)
    os.close(gate)


# --- stopping ------------------------------------------------------------------------------------


async def test_stopping_answers_what_was_accepted(start_provider):
    provider = start_provider(HANDLER)
    async with provider.connect() as python:
        calls = [asyncio.create_task(python.call("sleep", 0.003 + i * 1e-9)) for i in range(200)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        provider.signal(signal.SIGTERM)
        assert await asyncio.gather(*calls) == [0.003 + i * 1e-9 for i in range(200)]
    assert provider.wait() == 0
    assert not provider.events("nats_error")


async def test_callers_go_on_to_the_other_provider_when_one_stops(start_provider):
    same = {"PROVIDER_LATTICE": f"rolling{os.getpid()}", "PROVIDER_NAME": "rolling"}
    one, two = start_provider(HANDLER, **same), start_provider(HANDLER, **same)
    async with one.connect() as python:
        stopping = None
        for number in range(400):
            assert await python.call("echo", number) == number
            if number == 100:
                one.signal(signal.SIGTERM)
                stopping = asyncio.create_task(asyncio.to_thread(one.wait))
        assert await stopping == 0
        assert await python.call("pid") == two.worker_pid


# --- the server goes and comes -------------------------------------------------------------------


async def test_a_server_that_dies_and_comes_back_is_served_again(start_provider, nats_server):
    provider = start_provider(HANDLER, nats=nats_server.url)
    async with provider.connect() as python:
        assert await python.call("echo", 1) == 1
    os.kill(nats_server.pid, signal.SIGKILL)
    nats_server.stop()
    provider.wait_for("nats_disconnected")
    nats_server.start()
    provider.wait_for("nats_reconnected")
    async with provider.connect() as python:
        assert await python.call("echo", 2) == 2
        status = await python.status()
        assert status["ready"]
        assert status["accepted"] == 2


async def test_an_answer_made_while_the_server_is_away_is_kept_for_it(start_provider, nats_server):
    provider = start_provider(HANDLER, nats=nats_server.url)
    async with client_of(provider) as client:
        request = {"operation": "sleep", "payload": 0.3}
        await client.publish(rpc(provider), cbor2.dumps(request), reply=client.new_inbox())
        await client.request(f"$SRV.PING.{provider.address['name']}", b"", timeout=PATIENCE)
        os.kill(nats_server.pid, signal.SIGKILL)
        nats_server.stop()
    provider.wait_for("nats_disconnected")
    nats_server.start()
    provider.wait_for("nats_reconnected")
    async with provider.connect() as python:
        await python.call("echo")
        status = await python.status()
        assert (status["accepted"], status["answered"], status["unsent"]) == (2, 2, 0)


def test_stopping_does_not_wait_for_a_server_that_is_gone(start_provider, nats_server):
    provider = start_provider(HANDLER, nats=nats_server.url)
    nats_server.stop()
    provider.wait_for("nats_disconnected")
    provider.signal(signal.SIGTERM)
    assert provider.wait() == 0
    assert provider.wait_for("drained")["seconds"] < provider.wait_for("draining")["seconds"]
    assert not provider.events("draining_failed")


async def test_a_connection_lost_for_good_ends_the_provider(start_provider, nats_server, tmp_path):
    config = tmp_path / "auth.conf"
    config.write_text('authorization { users = [{user: u, password: "old"}] }\n')
    server = type(nats_server)("-c", str(config))
    try:
        provider = start_provider(
            HANDLER, nats=server.url, NATS_USER="u", NATS_PASSWORD="old-but-wrong", ready=False
        )
        assert provider.wait() == 3
        provider = start_provider(HANDLER, nats=server.url, NATS_USER="u", NATS_PASSWORD="old")
        config.write_text('authorization { users = [{user: u, password: "new"}] }\n')
        os.kill(server.pid, signal.SIGHUP)
        assert provider.wait() == 1
    finally:
        server.stop()
    assert provider.events("nats_connection_lost_for_good")
    assert provider.events("drained")
