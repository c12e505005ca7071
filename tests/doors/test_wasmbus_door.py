"""Signed calls and the host's subjects, against a running provider and a real NATS server.

Every row of the conformance checklist in docs/wasmcloud.md that speaks of messages has its test
here; the texts of refusals are those of the original provider (wasmbus-rpc 0.15, wascap 0.11).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from pathlib import Path

import cbor2
import msgspec
import pytest
from nats.js.errors import NotFoundError

from provider.lattice.claims import entity_url, invocation_hash, target_url
from provider.lattice.nkeys import KeyPair, Kind
from provider.lattice.tokens import sign
from provider.wire.wasmbus import (
    CHUNK_ABOVE,
    WasmCloudEntity,
    encode_invocation,
    encode_link,
)
from tests.doors.conftest import ACTOR, CLUSTER, CONTRACT, HOST, PATIENCE, PROVIDER, Host

PROGRAM = """
    import os, pathlib, time
    from provider.dispatch import context

    ran = []

    def handle(command, arg):
        name = command.rpartition(".")[2]
        if name == "echo":
            return arg
        if name == "factorial":
            product = 1
            for factor in range(2, arg + 1):
                product *= factor
            return product
        if name == "hello":
            return f"Hello {arg}!"
        if name == "nothing":
            return None
        if name == "fail":
            raise ValueError(arg)
        if name == "quit":
            raise SystemExit(arg)
        if name == "misfit":
            return {1, 2, object()}
        if name == "large":
            return b"x" * arg
        if name == "size":
            return len(arg)
        if name == "note":
            ran.append(arg)
            return len(ran)
        if name == "ran":
            return ran
        if name == "who":
            known = context()
            return [known.caller, known.traceparent, known.tracestate]
        if name == "wait":
            deadline = time.monotonic() + 60
            while not pathlib.Path(arg).exists() and time.monotonic() < deadline:
                time.sleep(0.005)
            return "waited"
        return f"unknown command {command}"
"""
FOREIGN = KeyPair.from_raw(Kind.CLUSTER, b"\x0a" * 32)
OTHER = KeyPair.from_raw(Kind.SERVICE, b"\x0b" * 32)
STRANGER = KeyPair.from_raw(Kind.MODULE, b"\x0c" * 32)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def provider(start_module_provider, jetstream_nats):
    return start_module_provider(
        PROGRAM,
        nats=jetstream_nats.url,
        PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
        PROVIDER_KEY=PROVIDER.public,
    )


@pytest.fixture
async def host(provider, client_of):
    """A host whose actor is linked."""
    host = Host(await client_of(provider.url), provider.address["lattice"])
    await host.link()
    return host


def body_of(invocation, **changes):
    """The claims of an invocation as a host writes them, changed."""
    origin, target = entity_url(invocation.origin), target_url(invocation)
    body = {
        "iat": int(time.time()),
        "iss": CLUSTER.public,
        "sub": invocation.id,
        "jti": "ABCDEFGHIJKLMNOPQRSTUV",
        "wascap": {
            "target_url": target,
            "origin_url": origin,
            "hash": invocation_hash(origin, target, invocation.operation, invocation.msg),
        },
        "wascap_revision": 3,
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_by_hand(header, body, key=CLUSTER):
    head = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(body).encode())}"
    return f"{head}.{b64(key.sign(head.encode()))}"


# --- calls ----------------------------------------------------------------------------------------


async def test_the_call_of_the_seed(host):
    answer = await host.invoke("f.factorial", b"\x7f\x0a")
    assert answer["msg"] == bytes.fromhex("1a00375f00")
    assert answer["content_length"] == 5
    assert "error" not in answer


async def test_the_answer_is_written_as_hosts_read_it(host):
    invocation = host.invocation("py.hello", b"\x7f" + cbor2.dumps("Alice"))
    message = await host.client.request(
        host.subject, encode_invocation(invocation), timeout=PATIENCE
    )
    assert b"\xa3msg\xc4\x0d\x6cHello Alice!" in message.data  # binary, and bare CBOR
    assert b"\xaecontent_length\x0d" in message.data


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (b"", None),
        (b"\x7f\xf6", None),
        (b"\x7f" + cbor2.dumps([1, {"a": b"\0"}, "é", -(2**63), 2**64 - 1, 1.5]), ...),
        (b"\xc1\x0a", 10),
        (b"\x0a", 10),
        (b"\x93\x01\x02\x03", [1, 2, 3]),
        (b"\xa5Alice", "Alice"),
        (b"\x81\xa1a\xc4\x01\x00", {"a": b"\0"}),
    ],
    ids=["empty", "null", "cbor", "c1", "one byte", "list", "text", "map"],
)
async def test_arguments(host, argument, value):
    answer = await host.invoke("py.echo", argument)
    if value is ...:
        value = cbor2.loads(argument[1:])
    if value is None:
        assert (answer["msg"], answer["content_length"]) == (b"", 0)
    else:
        assert cbor2.loads(answer["msg"]) == value
    assert "error" not in answer


async def test_an_unknown_command_is_what_the_dispatch_says(host):
    answer = await host.invoke("py.something")
    assert cbor2.loads(answer["msg"]) == "unknown command py.something"


async def test_none_is_an_empty_message(host):
    answer = await host.invoke("py.nothing")
    assert (answer["msg"], answer["content_length"]) == (b"", 0)
    assert "error" not in answer


async def test_an_exception_is_told_by_class_and_text(host):
    text = await host.refusal("py.fail", b"\x7f" + cbor2.dumps("oh no"))
    assert text == "Exception raised ValueError: oh no\n"


async def test_an_exception_is_told_with_its_traceback(start_provider, client_of):
    provider = start_provider(
        PROGRAM,
        PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
        PROVIDER_KEY=PROVIDER.public,
        PROVIDER_TRACEBACKS="on",
    )
    host = Host(await client_of(provider.url), provider.address["lattice"])
    await host.link()
    text = await host.refusal("py.fail", b"\x7f" + cbor2.dumps("oh no"))
    first, rest = text.split("\n", 1)
    assert first == "Exception raised ValueError: oh no"
    assert rest.startswith("Traceback (most recent call last):\n")
    assert rest.endswith("ValueError: oh no\n\n")


async def test_an_exit_is_an_error_like_any_other(host):
    text = await host.refusal("py.quit", b"\x7f" + cbor2.dumps("bye"))
    assert text.startswith("error: ")
    assert "bye" in text


async def test_a_result_that_cannot_travel_is_an_error(host):
    assert (await host.refusal("py.misfit")).startswith("error: ")


async def test_reload_answers_true(host):
    assert (await host.invoke("reload", b""))["msg"] == b"\xf5"


async def test_calls_are_answered_each_to_its_own_caller(host):
    numbers = range(100)
    answers = await asyncio.gather(
        *(host.invoke("py.echo", b"\x7f" + cbor2.dumps(number)) for number in numbers)
    )
    assert [cbor2.loads(answer["msg"]) for answer in answers] == list(numbers)


async def test_signed_calls_run_in_the_order_they_came(host):
    first = cbor2.loads((await host.invoke("py.note", b"\x7f\x00"))["msg"])
    inbox = host.client.new_inbox()
    answers = await host.client.subscribe(inbox)
    for number in range(200):
        invocation = host.invocation("py.note", b"\x7f" + cbor2.dumps(number))
        await host.client.publish(host.subject, encode_invocation(invocation), reply=inbox)
    for place in range(200):
        answer = msgspec.msgpack.decode((await answers.next_msg(PATIENCE)).data)
        assert cbor2.loads(answer["msg"]) == first + place + 1
    ran = cbor2.loads((await host.invoke("py.ran"))["msg"])
    assert ran[first:] == list(range(200))


async def test_a_call_nobody_waits_for_runs(host):
    invocation = host.invocation("py.note", b"\x7f" + cbor2.dumps("quiet"))
    await host.client.publish(host.subject, encode_invocation(invocation))
    assert "quiet" in cbor2.loads((await host.invoke("py.ran"))["msg"])


async def test_native_calls_go_on_beside_signed_ones(host, provider):
    async with provider.connect() as python:
        native, signed = await asyncio.gather(
            python.call("py.echo", "native"), host.invoke("py.echo", b"\x7f\x0a")
        )
    assert (native, signed["msg"]) == ("native", b"\x0a")


async def test_a_native_call_does_not_wait_for_signatures(host):
    inbox = host.client.new_inbox()
    answers = await host.client.subscribe(inbox)
    request = cbor2.dumps({"operation": "py.echo", "payload": "native"})
    for _ in range(10):
        invocations = [
            encode_invocation(host.invocation("py.echo", b"\x7f" + cbor2.dumps(number)))
            for number in range(500)
        ]
        for invocation in invocations:
            await host.client.publish(host.subject, invocation, reply=inbox)
        await host.client.publish(host.subject, request, reply=inbox)
        told = [(await answers.next_msg(PATIENCE)).data for _ in range(501)]
        assert not any(b"error" in data for data in told)
        # On a busy machine it may be the last; where it waits its turn, it always is.
        if told.index(cbor2.dumps({"result": "native"})) < 500:
            return
    raise AssertionError("it was the last to be answered")


# --- what hosts send ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"host_id": CLUSTER.public},
        {"host_id": "Nx"},
        {
            "target": WasmCloudEntity(
                public_key=PROVIDER.public, link_name="default", contract_id=""
            )
        },
        {"target": WasmCloudEntity(public_key=PROVIDER.public, link_name="x", contract_id="A b")},
        {"content_length": None},
        {"expires": time.time() + 3600},
    ],
    ids=["elixir", "short N", "no contract", "other link", "no length", "not yet expired"],
)
async def test_what_hosts_of_all_kinds_send_is_accepted(host, changes):
    assert (await host.invoke("py.echo", **changes))["msg"] == b"\x0a"


async def test_the_vector_is_answered(provider, client_of):
    vectors = json.loads(
        (Path(__file__).parents[1] / "lattice" / "wasmbus_vectors.json").read_text()
    )
    data = bytes.fromhex(vectors["invocation_msgpack_hex"])
    # Signed once for ever: such a token has no end.
    host = Host(await client_of(provider.url), provider.address["lattice"])
    await host.link(vectors["keys"]["actor"]["public"])
    answer = await host.send(data)
    assert answer["invocation_id"] == "0123456789abcdef0123456789abcdef"
    assert "error" not in answer


@pytest.mark.parametrize("form", ["ints", "text", "array", "reversed", "more"])
async def test_invocations_in_other_forms_are_read(host, form):
    argument = b"\x7f\x61a" if form == "text" else b"\x7f\x0a"
    invocation = host.invocation("py.echo", argument)
    members = msgspec.msgpack.decode(encode_invocation(invocation))
    if form == "ints":
        members["msg"] = list(members["msg"])
    elif form == "text":
        members["msg"] = members["msg"].decode()
    elif form == "reversed":
        members = dict(reversed(members.items()))
    elif form == "more":
        members = {"extra": [1, {"a": None}], **members, "content_length": None}
    elif form == "array":
        members = [
            list(member.values()) if isinstance(member, dict) else member
            for member in members.values()
        ]
    answer = await host.send(msgspec.msgpack.encode(members))
    assert answer.get("error") is None
    assert answer["msg"] == argument[1:]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"garbage", b"\x80", b"\x81\xa6origin\xc0", b"\xc1", b"\x88\xa6origin"],
)
async def test_what_is_no_invocation_is_refused(host, data):
    answer = await host.send(data)
    assert (answer["msg"], answer["invocation_id"], answer["content_length"]) == (b"", "", 0)
    assert answer["error"].startswith("deser error: deserialization: ")


def _segments(invocation):
    return invocation.encoded_claims.split(".")


def _bad_claims():
    def token(change):
        return lambda host, made: change(made)

    header = {"typ": "jwt", "alg": "Ed25519"}
    return {
        "two segments": (
            token(lambda made: ".".join(_segments(made)[:2])),
            "JWT error: invalid token format, expected 3 segments, found 2",
        ),
        "none": (
            token(lambda made: ""),
            "JWT error: invalid token format, expected 3 segments, found 1",
        ),
        "padding": (
            token(lambda made: made.encoded_claims + "="),
            r"Decode error: invalid symbol at \d+",
        ),
        "EdDSA": (
            token(lambda made: signed_by_hand({**header, "alg": "EdDSA"}, body_of(made))),
            "Invalid JWT algorithm. WASCAP only supports Ed25519",
        ),
        "JWT": (
            token(lambda made: signed_by_hand({**header, "typ": "JWT"}, body_of(made))),
            "JWT error: Invalid header",
        ),
        "no typ": (
            token(lambda made: signed_by_hand({"alg": "Ed25519"}, body_of(made))),
            r"Serialization error: missing field `typ` at line 1 column \d+",
        ),
        "no sub": (
            token(lambda made: signed_by_hand(header, body_of(made, sub=None))),
            r"Serialization error: missing field `sub` at line 1 column \d+",
        ),
        "no jti": (
            token(lambda made: signed_by_hand(header, body_of(made, jti=None))),
            r"Serialization error: missing field `jti` at line 1 column \d+",
        ),
        "empty iss": (
            token(lambda made: signed_by_hand(header, body_of(made, iss=""))),
            "Invalid JWT. WASCAP requires an issuer claim to be present",
        ),
        "empty sub": (
            token(lambda made: signed_by_hand(header, body_of(made, sub=""))),
            "Invalid JWT. WASCAP requires a sub claim to be present",
        ),
        "bad issuer": (
            token(lambda made: signed_by_hand(header, body_of(made, iss="CAAA"))),
            r"Encryption error: Bad key length: \d+",
        ),
        "expired": (
            token(lambda made: sign(body_of(made, exp=int(time.time()) - 10), CLUSTER)),
            "Invocation claims token expired",
        ),
        "expired and forged": (
            token(lambda made: sign(body_of(made, exp=1, iss=CLUSTER.public), FOREIGN)),
            "Invocation claims token expired",
        ),
        "tampered signature": (
            token(lambda made: ".".join([*_segments(made)[:2], b64(b"\1" * 64)])),
            "Invocation claims signature invalid",
        ),
        "short signature": (
            token(lambda made: ".".join([*_segments(made)[:2], b64(b"\1" * 63)])),
            "Invocation claims signature invalid",
        ),
        "other key": (
            token(lambda made: sign({**body_of(made), "iss": CLUSTER.public}, FOREIGN)),
            "Invocation claims signature invalid",
        ),
        "not yet": (
            token(lambda made: sign(body_of(made, nbf=int(time.time()) + 1000), CLUSTER)),
            "Attempt to use invocation before claims token allows",
        ),
        "no wascap": (
            token(lambda made: sign(body_of(made, wascap=None), CLUSTER)),
            "No wascap metadata found on claims",
        ),
        "foreign issuer": (
            token(lambda made: sign(body_of(made, iss=FOREIGN.public), FOREIGN)),
            "Issuer of this invocation is not in list of cluster issuers",
        ),
    }


@pytest.mark.parametrize("case", _bad_claims())
async def test_tokens_that_do_not_count(host, case):
    forge, text = _bad_claims()[case]
    invocation = host.invocation()
    invocation = msgspec.structs.replace(invocation, encoded_claims=forge(host, invocation))
    answer = await host.send(encode_invocation(invocation))
    assert re.fullmatch(text.replace("(", r"\("), answer["error"]), answer["error"]
    assert (answer["msg"], answer["content_length"]) == (b"", 0)
    assert answer["invocation_id"] == invocation.id


async def test_another_argument_than_was_signed(host):
    invocation = host.invocation("py.echo", b"\x7f\x0a")
    origin, target = entity_url(invocation.origin), target_url(invocation)
    signed = invocation_hash(origin, target, "py.echo", b"\x7f\x0a")
    found = invocation_hash(origin, target, "py.echo", b"\x7f\x0b")
    assert await host.refusal(msg=b"\x7f\x0b") == (
        f"Invocation hash does not match signed claims hash ({signed} / {found})"
    )


async def test_another_operation_than_was_signed(host):
    invocation = msgspec.structs.replace(host.invocation("py.echo"), operation="py.fail")
    answer = await host.send(encode_invocation(invocation))
    assert answer["error"].startswith("Invocation hash does not match signed claims hash (")


async def test_a_host_id_that_is_none(host):
    assert await host.refusal(host_id="X") == "Invalid host ID on invocation: 'X'"


async def test_claims_for_another_target(host):
    # The hash is right for what came, the URL in the claims is not.
    invocation = host.invocation()
    body = body_of(invocation)
    body["wascap"]["target_url"] = "wasmbus://elsewhere"
    invocation = msgspec.structs.replace(invocation, encoded_claims=sign(body, CLUSTER))
    answer = await host.send(encode_invocation(invocation))
    assert answer["error"] == (
        "Invocation claims and invocation target URL do not match: "
        f"wasmbus://elsewhere != {target_url(invocation)}"
    )


async def test_claims_of_another_origin(host):
    invocation = host.invocation()
    body = body_of(invocation)
    body["wascap"]["origin_url"] = f"wasmbus://{STRANGER.public}"
    invocation = msgspec.structs.replace(invocation, encoded_claims=sign(body, CLUSTER))
    answer = await host.send(encode_invocation(invocation))
    assert answer["error"] == "Invocation claims and invocation origin URL do not match"


async def test_a_call_to_another_provider(host):
    target = WasmCloudEntity(public_key=OTHER.public, link_name="default", contract_id=CONTRACT)
    text = await host.refusal(target=target)
    assert text == f"target key mismatch: {OTHER.public} != "


async def test_an_actor_that_is_not_linked(host):
    stranger = WasmCloudEntity(public_key=STRANGER.public, contract_id="")
    assert await host.refusal(origin=stranger) == f"unlinked actor: '{STRANGER.public}'"


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (b"\x00\x00", "rpc: invalid message format"),
        (b"\x7e\x00", "rpc: invalid message format"),
        (b"\xc0\x00", "rpc: invalid message format"),
        (b"\x7f\xff", "serialization: "),
        (b"\x7f\x0a\x0a", "serialization: "),
        (b"\x7f\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "serialization: "),
        (b"\x93\x01", "deserialization: "),
        (b"\xd6\xff\x00\x00\x00\x00", "deserialization: "),
        (b"\x7f" + b"\x81" * 100 + b"\x00", "serialization: "),
        (b"\x91" * 500 + b"\x00", "deserialization: "),
    ],
)
async def test_arguments_that_cannot_be_read(host, argument, text):
    assert (await host.refusal("py.echo", argument)).startswith(text)


async def test_an_operation_that_is_too_long_is_refused(host):
    answers = await asyncio.gather(
        *(host.refusal("x" * size) for size in (257, 70_000)), host.invoke("py.echo")
    )
    assert answers[:2] == ["operation is longer than 256 bytes"] * 2
    assert answers[2]["msg"] == b"\x0a"


# --- links ----------------------------------------------------------------------------------------


async def test_a_link_lets_call_until_it_is_deleted(host):
    actor = KeyPair.generate(Kind.MODULE).public
    origin = WasmCloudEntity(public_key=actor, contract_id="")
    assert await host.refusal(origin=origin) == f"unlinked actor: '{actor}'"
    await host.link(actor)
    assert (await host.invoke(origin=origin))["msg"] == b"\x0a"
    await host.link(actor, other="value")
    await host.unlink(actor)
    assert await host.refusal(origin=origin) == f"unlinked actor: '{actor}'"
    await host.unlink(actor)


async def test_a_link_with_members_nobody_knows_counts(host):
    actor = KeyPair.generate(Kind.MODULE).public
    members = msgspec.msgpack.decode(encode_link(host.definition(actor)))
    await host.client.publish(
        f"{host.subject}.linkdefs.put", msgspec.msgpack.encode({**members, "id": "1-2-3"})
    )
    await host.heard()
    origin = WasmCloudEntity(public_key=actor, contract_id="")
    assert (await host.invoke(origin=origin))["msg"] == b"\x0a"


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"\xff" * 100, b"\x80", b"{}", b"\x81\xa6values\x81\xa1a\x01", b"\xc1"],
)
@pytest.mark.parametrize("what", ["linkdefs.put", "linkdefs.del"])
async def test_garbage_for_a_link_is_left_alone(host, provider, what, data):
    before = len(provider.events("link_not_read"))
    await host.client.publish(f"{host.subject}.{what}", data)
    await host.heard()
    assert (await host.invoke("py.echo"))["msg"] == b"\x0a"
    if what == "linkdefs.put" and data != b"{}":
        provider.wait_for("link_not_read", before + 1)


async def test_the_values_of_a_link_are_in_no_log(host, provider):
    actor = KeyPair.generate(Kind.MODULE).public
    await host.link(actor, password="hunter2secret")
    assert provider.wait_for("link_put", actor=actor)["stored"] is True
    assert "hunter2secret" not in provider.text


# --- health and shutdown --------------------------------------------------------------------------


@pytest.mark.parametrize("ping", [b"", b"\x81\xabplaceholder\xc3", b"{}", b"garbage"])
async def test_health(host, ping):
    assert await host.ask("health", ping) == bytes.fromhex("81a76865616c746879c3")


async def test_health_and_links_are_heard_while_a_call_runs(host, tmp_path):
    gate = tmp_path / "gate"
    call = asyncio.create_task(host.invoke("py.wait", b"\x7f" + cbor2.dumps(str(gate))))
    await host.link(KeyPair.generate(Kind.MODULE).public)
    assert await host.ask("health") == bytes.fromhex("81a76865616c746879c3")
    assert not call.done()
    gate.touch()
    assert cbor2.loads((await call)["msg"]) == "waited"


async def test_without_a_host_no_shutdown_is_obeyed(host):
    inbox = host.client.new_inbox()
    answers = await host.client.subscribe(inbox)
    for data in (b"", b"garbage", b"{}", json.dumps({"host_id": HOST.public}).encode()):
        await host.client.publish(f"{host.subject}.shutdown", data, reply=inbox)
    await host.heard()
    assert answers.pending_msgs == 0
    assert (await host.invoke("py.echo"))["msg"] == b"\x0a"


# --- trace ----------------------------------------------------------------------------------------


async def test_who_calls_and_why_is_told_to_the_handler(host):
    known = cbor2.loads(
        (await host.invoke("py.who", headers={"traceparent": TRACE, "tracestate": "a=1"}))["msg"]
    )
    assert known == [ACTOR.public, TRACE, "a=1"]
    known = cbor2.loads((await host.invoke("py.who", trace_context={"traceparent": TRACE}))["msg"])
    assert known == [ACTOR.public, TRACE, ""]
    assert cbor2.loads((await host.invoke("py.who"))["msg"]) == [ACTOR.public, "", ""]


async def test_headers_count_before_the_invocation(host):
    other = TRACE.replace("4bf9", "aaaa")
    answer = await host.invoke(
        "py.who", headers={"traceparent": TRACE}, trace_context={"traceparent": other}
    )
    assert cbor2.loads(answer["msg"])[1] == TRACE


async def test_native_calls_have_a_trace_and_nobody_who_vouches(host):
    request = cbor2.dumps({"operation": "py.who"})
    message = await host.client.request(
        host.subject, request, timeout=PATIENCE, headers={"traceparent": TRACE}
    )
    assert cbor2.loads(message.data) == {"result": ["", TRACE, ""]}


# --- chunks ---------------------------------------------------------------------------------------


async def stored(host):
    """The bucket of the lattice, made if it is not there."""
    jetstream = host.client.jetstream()
    try:
        return await jetstream.object_store(host.lattice)
    except Exception:
        return await jetstream.create_object_store(host.lattice)


async def has(bucket, name):
    # Not by the list of nats-py, which may wait for ever while objects are deleted.
    try:
        return not (await bucket.get_info(name)).deleted
    except NotFoundError:
        return False


async def gone(bucket, name):
    while await has(bucket, name):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [720_000, CHUNK_ABOVE + 1, 3_000_000])
async def test_a_long_argument_is_read_from_the_object_store_and_deleted(host, size):
    argument = b"\x7f" + cbor2.dumps(b"a" * size)
    invocation = host.invocation("py.size", argument, msg=b"")
    bucket = await stored(host)
    await bucket.put(invocation.id, argument)
    answer = await host.send(encode_invocation(invocation))
    assert answer.get("error") is None
    assert cbor2.loads(answer["msg"]) == size
    async with asyncio.timeout(PATIENCE):
        await gone(bucket, invocation.id)


@pytest.mark.parametrize(
    ("extra", "chunked"), [(0, False), (1, True)], ids=["at the limit", "above it"]
)
async def test_a_long_result_goes_to_the_object_store(host, extra, chunked):
    size = CHUNK_ABOVE - 5 + extra  # and five bytes around it in CBOR
    invocation = host.invocation("py.large", b"\x7f" + cbor2.dumps(size))
    answer = await host.send(encode_invocation(invocation))
    assert answer.get("error") is None
    assert answer["content_length"] == CHUNK_ABOVE + extra
    if not chunked:
        assert len(answer["msg"]) == CHUNK_ABOVE
        return
    assert answer["msg"] == b""
    bucket = await stored(host)
    result = (await bucket.get(f"{invocation.id}-r")).data
    assert cbor2.loads(result) == b"x" * size
    await bucket.delete(f"{invocation.id}-r")


async def test_an_argument_that_is_not_there(host):
    await stored(host)
    invocation = host.invocation("py.size", b"\x7f" + cbor2.dumps(b"a" * 2_000_000), msg=b"")
    answer = await host.send(encode_invocation(invocation))
    assert answer["error"].startswith(
        f"nats: error starting to receive chunked stream for inv {invocation.id}:"
    )


async def test_another_long_argument_than_was_signed_is_refused_and_stays(host):
    argument = b"\x7f" + cbor2.dumps(b"a" * 1_000_000)
    other = b"\x7f" + cbor2.dumps(b"b" * 1_000_000)
    invocation = host.invocation("py.size", argument, msg=b"")
    bucket = await stored(host)
    await bucket.put(invocation.id, other)
    answer = await host.send(encode_invocation(invocation))
    assert answer["error"].startswith("Invocation hash does not match signed claims hash (")
    # Whoever names another's object must not have it deleted.
    assert await has(bucket, invocation.id)
    await bucket.delete(invocation.id)


async def test_an_argument_larger_than_the_queue_is_refused_unread(host):
    answer = await host.invoke("py.size", content_length=1 << 40, msg=b"")
    assert "PROVIDER_QUEUE_BYTES" in answer["error"]


async def test_strangers_do_not_make_it_read_the_object_store(host):
    argument = b"\x7f" + cbor2.dumps(b"a" * 1_000_000)
    invocation = host.invocation("py.size", argument, msg=b"", key=FOREIGN)
    answer = await host.send(encode_invocation(invocation))
    assert answer["error"] == "Issuer of this invocation is not in list of cluster issuers"


async def test_without_jetstream_there_is_an_error_and_no_silence(
    start_provider, shared_nats, client_of
):
    provider = start_provider(
        PROGRAM, PROVIDER_CLUSTER_ISSUERS=CLUSTER.public, PROVIDER_KEY=PROVIDER.public
    )
    host = Host(await client_of(provider.url), provider.address["lattice"])
    await host.link()
    text = await host.refusal("py.size", b"\x7f" + cbor2.dumps(b"a" * 1_000_000), msg=b"")
    assert text.startswith("nats: ")
    assert "JetStream" in text
    text = await host.refusal("py.large", b"\x7f" + cbor2.dumps(1_000_000))
    assert "JetStream" in text
    assert (await host.invoke("py.echo"))["msg"] == b"\x0a"


# --- strict ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(start_module_provider, shared_nats):
    return start_module_provider(
        PROGRAM,
        PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
        PROVIDER_KEY=PROVIDER.public,
        PROVIDER_STRICT="on",
    )


@pytest.fixture
async def strict_host(strict, client_of):
    host = Host(await client_of(strict.url), strict.address["lattice"])
    await host.link()
    return host


async def test_strict_a_call_counts_once(strict_host):
    data = encode_invocation(strict_host.invocation())
    assert (await strict_host.send(data))["msg"] == b"\x0a"
    assert (await strict_host.send(data))["error"] == "Invocation claims token was used before"


async def test_not_strict_a_call_may_be_sent_again(host):
    data = encode_invocation(host.invocation())
    assert (await host.send(data))["msg"] == b"\x0a"
    assert (await host.send(data))["msg"] == b"\x0a"


async def test_strict_an_old_call_does_not_count(strict_host):
    assert "s old" in await strict_host.refusal(now=time.time() - 600)


@pytest.mark.parametrize("changed", [{"link_name": "other"}, {"contract_id": "a:b"}])
async def test_strict_the_link_has_to_be_for_the_target(strict_host, changed):
    entity = {"public_key": PROVIDER.public, "link_name": "default", "contract_id": CONTRACT}
    target = WasmCloudEntity(**{**entity, **changed})
    assert "PROVIDER_STRICT" in await strict_host.refusal(target=target)


async def test_strict_calls_nobody_signed_are_refused(strict_host, strict):
    from provider.errors import Unauthorized

    async with strict.connect() as python:
        with pytest.raises(Unauthorized, match="signed"):
            await python.call("py.echo", 1)
        with pytest.raises(Unauthorized, match="signed"):
            await python.call_bytes("py.echo", b"\x01")


# --- several -------------------------------------------------------------------------------------


async def test_two_instances_share_the_calls(start_provider, client_of):
    common = {
        "PROVIDER_LATTICE": "shared-by-two",
        "PROVIDER_CLUSTER_ISSUERS": CLUSTER.public,
        "PROVIDER_KEY": PROVIDER.public,
    }
    program = "import os\ndef handle(command, arg): return os.getpid()"
    first, second = start_provider(program, **common), start_provider(program, **common)
    host = Host(await client_of(first.url), "shared-by-two")
    await host.link()
    # Each instance answers for itself that it has heard.
    inbox = host.client.new_inbox()
    answers = await host.client.subscribe(inbox)
    await host.client.publish(f"{host.subject}.health", b"", reply=inbox)
    for _ in range(2):
        await answers.next_msg(PATIENCE)
    pids = {cbor2.loads((await host.invoke("f.x"))["msg"]) for _ in range(50)}
    assert pids == {first.worker_pid, second.worker_pid}


async def test_calls_that_came_before_the_end_are_answered(start_provider, client_of, tmp_path):
    provider = start_provider(
        PROGRAM, PROVIDER_CLUSTER_ISSUERS=CLUSTER.public, PROVIDER_KEY=PROVIDER.public
    )
    host = Host(await client_of(provider.url), provider.address["lattice"])
    await host.link()
    gate = tmp_path / "gate"
    calls = [
        asyncio.create_task(host.invoke("py.wait", b"\x7f" + cbor2.dumps(str(gate))))
        for _ in range(30)
    ]
    await host.heard()
    provider.signal(15)
    await asyncio.to_thread(provider.wait_for, "draining")
    gate.touch()
    assert all(cbor2.loads(answer["msg"]) == "waited" for answer in await asyncio.gather(*calls))
    assert await asyncio.to_thread(provider.wait) == 0


async def test_more_than_may_wait_is_answered_at_once(start_provider, client_of, tmp_path):
    provider = start_provider(
        PROGRAM,
        PROVIDER_CLUSTER_ISSUERS=CLUSTER.public,
        PROVIDER_KEY=PROVIDER.public,
        PROVIDER_QUEUE_CALLS="5",
    )
    host = Host(await client_of(provider.url), provider.address["lattice"])
    await host.link()
    gate = tmp_path / "gate"
    argument = b"\x7f" + cbor2.dumps(str(gate))
    calls = [asyncio.create_task(host.invoke("py.wait", argument)) for _ in range(40)]
    done, _ = await asyncio.wait(calls, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    assert all(
        "overloaded" in task.result()["error"] or "wait for their checks" in task.result()["error"]
        for task in done
    )
    gate.touch()
    answers = await asyncio.gather(*calls)
    assert sum("error" not in answer for answer in answers) >= 5
