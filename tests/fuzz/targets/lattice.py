"""What hosts, actors and strangers of a wasmCloud lattice send.

The rule of this file: keys are always the same, so that the same bytes are the same input.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json

from provider.errors import CallError, StartError, Unauthorized
from provider.lattice.claims import Identity, check, check_expiry, examine, parse
from provider.lattice.host_data import HostData, merge_config, parse_line
from provider.lattice.joining import join
from provider.lattice.links import Links, matches
from provider.lattice.nkeys import KeyPair, Kind
from provider.lattice.replays import Replays
from provider.lattice.tokens import sign
from provider.wire import wasmbus, wasmbus_payload
from provider.wire.values import Limits, Values
from provider.wire.wasmbus import Invocation, InvocationResponse, WasmCloudEntity
from tests.fuzz.target import MOST_TEXT, refused, target, told

VALUES = Values(Limits())
_loop = asyncio.new_event_loop()
_ISSUER = KeyPair.from_raw(Kind.CLUSTER, b"\x01" * 32)
_ACCOUNT = KeyPair.from_raw(Kind.ACCOUNT, b"\x07" * 32)
_SERVICE = KeyPair.from_raw(Kind.SERVICE, b"\x04" * 32)
_SECRET = b"s3cret"
"""What stands for everything that no text may repeat."""
_WORDS = (
    b"\xa6origin",
    b"\xa6target",
    b"\xaapublic_key",
    b"\xa9link_name",
    b"\xabcontract_id",
    b"\xa9operation",
    b"\xa3msg",
    b"\xa2id",
    b"\xaeencoded_claims",
    b"\xa7host_id",
    b"\xaecontent_length",
    b"\xactraceContext",
)


@target(*_WORDS)
def invocation(data: bytes) -> None:
    """A signed call, and what is looked at before anybody checks who signed it."""
    read: Invocation | None = refused(wasmbus.decode_invocation, data)
    if read is None:
        return
    assert wasmbus.decode_invocation(wasmbus.encode_invocation(read)).msg == read.msg
    assert isinstance(read.is_chunked, bool)
    item = refused(wasmbus_payload.decode_argument, read.msg, VALUES)
    assert item is None or item
    try:
        token = parse(read.encoded_claims)
        check_expiry(token, 1e9)
        identity = Identity("V", "N", frozenset({_ISSUER.public}))
        check(
            token, examine(token, read, read.msg), read, identity=identity, linked=Links(), now=1e9
        )
    except Unauthorized as error:
        told(error)


@target(b"\xa3msg", b"\xadinvocation_id", b"\xa5error", b"\xaecontent_length", b"\xc4")
def response(data: bytes) -> None:
    """An answer of an actor."""
    read: InvocationResponse | None = refused(wasmbus.decode_response, data)
    if read is not None:
        again = wasmbus.decode_response(wasmbus.encode_response(read))
        assert again.msg == read.msg
        assert isinstance(again.is_chunked, bool)


@target(b"\xd6\xff", b"\xc7\x0c\xff", b"\xc1", b"\x7f", b"\xcf", b"\xda", b"\xde")
def msgpack(data: bytes) -> None:
    """An argument in either form that actors send."""
    item = refused(wasmbus_payload.decode_argument, data, VALUES)
    kind, offset = wasmbus_payload.message_format(data)
    if item is None:
        return
    if kind is wasmbus_payload.Format.CBOR:
        assert item == data[1:]
        return
    value = VALUES.decode(item)
    assert VALUES.encode(value) == item
    assert VALUES.encode(wasmbus_payload.decode_msgpack(data[offset:], VALUES)) == item


@target(
    b"\xa8actor_id",
    b"\xabprovider_id",
    b"\xa9link_name",
    b"\xabcontract_id",
    b"\xa6values",
    b'{"actor_id":"M","provider_id":"V","link_name":"d","contract_id":"c","values":{}}',
    b"\x85",
    b'"values":',
)
def links(data: bytes) -> None:
    """Links as they are put and taken away, one on each line; what they hold is counted right."""
    held = Links(most=3, most_bytes=400)
    for line in data.split(b"\n"):
        for is_json in (False, True):
            link = refused(wasmbus.decode_link, line, json=is_json)
            if link is None:
                continue
            said = any(_SECRET.decode() in text for text in _named(link))
            assert said or _SECRET.decode() not in repr(link)
            written = wasmbus.encode_link(link, json=is_json)
            assert wasmbus.decode_link(written, json=is_json) == link
            if held.put(link).stored:
                assert link.actor_id in held
                matches(link, WasmCloudEntity(contract_id=link.contract_id))
            elif len(line) % 3 == 0:
                held.delete(link.actor_id)
    assert len(held) <= 3
    for link in held:
        assert held.delete(link.actor_id)
    assert vars(held)["_bytes"] == 0


@target(b'{"healthy":true}', b"\xa7healthy", b"\xa7message", b'{"host_id":"N"}', b"\xc3")
def health(data: bytes) -> None:
    """The answer to a health check, and who asks for the end."""
    for is_json in (False, True):
        read = refused(wasmbus.decode_health, data, json=is_json)
        if read is not None:
            written = wasmbus.encode_health(read, json=is_json)
            assert wasmbus.decode_health(written, json=is_json).healthy == read.healthy
    host = wasmbus.decode_shutdown(data)
    assert wasmbus.decode_shutdown(wasmbus.encode_shutdown(host)) == host


@target(
    b'{"env_values":{},"link_definitions":[],"cluster_issuers":[]}',
    b'"lattice_rpc_url":',
    b'"lattice_rpc_user_seed":',
    b'"invocation_seed":',
    b'"config_json":',
    b'"host_id":"_TEST_"',
    b'"log_level":',
    _SECRET,
)
def host_data(data: bytes) -> None:
    """The line of a host: as it is, or the JSON that is in it."""
    for line in (data, base64.b64encode(data)):
        try:
            read = parse_line(line)
        except StartError as error:
            _silent(error)
            continue
        _use(read)


def _use(read: HostData) -> None:
    assert _SECRET.decode() not in repr(read).replace(repr(read.provider_key), "") or any(
        _SECRET.decode() in text
        for text in (
            read.host_id,
            read.lattice_rpc_prefix,
            read.link_name,
            read.provider_key,
            read.instance_id,
            read.log_level or "",
            *read.cluster_issuers,
            *(each for link in read.link_definitions for each in _named(link)),
        )
    )
    _ = read.level, read.test_mode, read.banner
    for use in (
        lambda: read.nats_url,
        read.login,
        read.signing_key,
        lambda: merge_config(read.config_json, read.link_definitions),
        lambda: join(read, {}),
    ):
        try:
            use()
        except StartError as error:
            assert len(str(error)) < MOST_TEXT  # noqa: PT017  it is a line of the log


def _named(link: wasmbus.LinkDefinition) -> tuple[str, ...]:
    return (link.actor_id, link.provider_id, link.link_name, link.contract_id, *link.values)


def _silent(error: StartError) -> None:
    assert len(str(error)) < 2048
    assert _SECRET.decode() not in str(error)


@target(b'{"python_dispatch":', b'"sys_path":', b'"PROVIDER_', b'"max_threads":', b"true", b"1e9")
def config_json(data: bytes) -> None:
    """What a host or a link says about the code to run."""
    text = data.decode("utf-8", "replace")
    link = wasmbus.LinkDefinition(actor_id="M", values={"config_json": text})
    coded = wasmbus.LinkDefinition(actor_id="M", values={"config_b64": text})
    inside = base64.b64encode(text.encode()).decode()
    packed = wasmbus.LinkDefinition(actor_id=text[:9], values={"config_b64": inside})
    merge_config(None, (link, coded, packed))
    with contextlib.suppress(StartError):
        for name, given in merge_config(text, ()).variables.items():
            assert name.isascii()
            assert isinstance(given.value, str)


@target(
    b".",
    b'{"typ":"jwt","alg":"Ed25519"}',
    b'"jti":',
    b'"iat":',
    b'"iss":',
    b'"sub":',
    b'"exp":',
    b'"wascap":',
    b'"hash":',
    _ISSUER.public.encode(),
)
def claims(data: bytes) -> None:
    """A token: as it is, and as that of whoever has the key and may sign what he likes."""
    call = Invocation(
        origin=WasmCloudEntity(public_key="M", contract_id=""),
        target=WasmCloudEntity(public_key="V", link_name="default", contract_id="c"),
        operation="py.echo",
        msg=b"\x01",
        id="1",
    )
    texts = [data.decode("utf-8", "replace")]
    parts = data.split(b".")
    if len(parts) == 3:
        texts.append(".".join(_coded(part) for part in parts))
    header = _coded(b'{"typ":"jwt","alg":"Ed25519"}')
    texts.append(f"{header}.{_coded(data)}.AAAA")
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(data)
        if isinstance(body, dict):
            body["iss"] = _ISSUER.public
            texts.append(sign(body, _ISSUER))
    for text in texts:
        try:
            token = parse(text)
            check_expiry(token, 1.7e9)
            evidence = examine(token, call, call.msg)
            identity = Identity("V", "N", frozenset({_ISSUER.public}))
            check(token, evidence, call, identity=identity, linked={"M"}, now=1.7e9)
            Replays(most=1).check(token, call, 1.7e9)
        except CallError as error:
            told(error)


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
