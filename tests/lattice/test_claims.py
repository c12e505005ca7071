"""Tokens and the checks of an invocation: each refusal with the text the original has for it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import Unauthorized
from provider.lattice import claims
from provider.lattice.claims import Evidence, Identity
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.wasmbus import CHUNK_ABOVE, Invocation, WasmCloudEntity, decode_invocation

VECTORS = json.loads((Path(__file__).parent / "wasmbus_vectors.json").read_text("utf-8"))
KEYS = {name: KeyPair.from_seed(key["seed"]) for name, key in VECTORS["keys"].items()}
CLUSTER, HOST, ACTOR, PROVIDER = (KEYS[name] for name in ("cluster", "host", "actor", "provider"))
NOW = 1_700_000_000.5
IDENTITY = Identity(PROVIDER.public, HOST.public, frozenset({CLUSTER.public}))
LINKED = frozenset({ACTOR.public})
ORIGIN = WasmCloudEntity(public_key=ACTOR.public, contract_id="")
TARGET = WasmCloudEntity(
    public_key=PROVIDER.public, link_name="default", contract_id="wasmcloud:example:python"
)
VECTOR = decode_invocation(bytes.fromhex(VECTORS["invocation_msgpack_hex"]))


def call(**more: Any) -> Invocation:
    return claims.sign_invocation(
        **{
            "key": CLUSTER,
            "origin": ORIGIN,
            "target": TARGET,
            "operation": "py.factorial",
            "argument": b"\x7f\x0a",
            "invocation_id": "id1",
            "host_id": HOST.public,
            "now": NOW,
            **more,
        }
    )


def change(invocation: Invocation, **fields: Any) -> Invocation:
    return msgspec.structs.replace(invocation, **fields)


def body(**more: Any) -> dict[str, Any]:
    """The claims of `call()`; a member of None is left out."""
    data = {
        "jti": "j",
        "iat": int(NOW),
        "iss": CLUSTER.public,
        "sub": "id1",
        "wascap": {
            "target_url": claims.target_url(call()),
            "origin_url": claims.entity_url(ORIGIN),
            "hash": claims.invocation_hash(
                claims.entity_url(ORIGIN), claims.target_url(call()), "py.factorial", b"\x7f\x0a"
            ),
        },
        **more,
    }
    return {name: value for name, value in data.items() if value is not None}


def token(data: Any = None, header: Any = None, key: KeyPair = CLUSTER) -> str:
    """A token as `tokens.sign` makes it, whatever is in it."""

    def segment(part: Any) -> str:
        raw = part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
        return urlsafe_b64encode(raw).rstrip(b"=").decode()

    header = {"typ": "jwt", "alg": "Ed25519"} if header is None else header
    signed = f"{segment(header)}.{segment(body() if data is None else data)}"
    return f"{signed}.{segment(key.sign(signed.encode()))}"


def validate(invocation: Invocation, argument: bytes | None = None, **more: Any) -> claims.Token:
    return claims.validate(
        invocation,
        invocation.msg if argument is None else argument,
        **{"identity": IDENTITY, "linked": LINKED, "now": NOW, **more},
    )


def refusal(read: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(Unauthorized) as caught:
        read(*arguments, **keywords)
    return str(caught.value)


# --- Vectors -------------------------------------------------------------------------------------


def test_the_token_of_the_vectors_is_read() -> None:
    read = claims.parse(VECTORS["jwt"]["token"])
    expected = VECTORS["jwt"]["claims"]
    assert read.verify_signature()
    assert json.loads(read.parts.body) == expected
    assert msgspec.to_builtins(read.claims) == {"exp": None, "nbf": None, **expected}
    assert read.key.hex() == "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"


def test_the_invocation_of_the_vectors_is_accepted() -> None:
    assert validate(VECTOR).claims.sub == VECTOR.id


def test_the_urls_and_hashes_of_the_vectors() -> None:
    origin = claims.entity_url(VECTOR.origin)
    target = claims.target_url(VECTOR)
    assert origin == VECTORS["url"]["origin"]
    assert target == VECTORS["url"]["target_with_op"]
    argument = bytes.fromhex(VECTORS["hash"]["args_hex"])
    assert (
        claims.invocation_hash(origin, target, VECTORS["hash"]["op"], argument)
        == VECTORS["hash"]["value"]
    )
    without_contract = change(
        VECTOR,
        target=WasmCloudEntity(public_key=PROVIDER.public, link_name="default", contract_id=""),
        operation="f.factorial",
    )
    url = claims.target_url(without_contract)
    assert url == VECTORS["url"]["target_no_contract_with_op"]
    assert (
        claims.invocation_hash(origin, url, "f.factorial", argument)
        == VECTORS["hash"]["no_contract_op_f.factorial"]
    )


@pytest.mark.parametrize(
    ("entity", "url"),
    [
        (("Mabc", "Link", "a:b"), "wasmbus://Mabc"),
        (("mabc", "Link", "a:b"), "wasmbus://mabc"),
        (("Vabc", "My Link", "Wasm Cloud:Ex:Py"), "wasmbus://wasm_cloud/ex/py/my_link/Vabc"),
        (("Vabc", "default", ""), "wasmbus:///default/Vabc"),
        (("", "", ""), "wasmbus:////"),
    ],
)
def test_the_url_of_an_entity(entity: tuple[str, str, str], url: str) -> None:
    key, link, contract = entity
    assert (
        claims.entity_url(WasmCloudEntity(public_key=key, link_name=link, contract_id=contract))
        == url
    )


# --- Accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "invocation",
    [
        pytest.param(call(), id="as a host signs it"),
        pytest.param(call(argument=b""), id="an empty argument"),
        pytest.param(call(host_id=CLUSTER.public), id="the Elixir host's id is the issuer"),
        pytest.param(call(host_id="Nx"), id="a host id that begins with N"),
        pytest.param(
            call(
                target=WasmCloudEntity(
                    public_key=PROVIDER.public, link_name="default", contract_id=""
                )
            ),
            id="the harness names no contract",
        ),
        pytest.param(call(expires=NOW + 10), id="not expired yet"),
        pytest.param(
            change(call(), encoded_claims=token(body(nbf=int(NOW)))), id="to be used from now on"
        ),
        pytest.param(
            change(call(), encoded_claims=token(body(wascap_revision=3, more={"x": 1}))),
            id="members nobody knows",
        ),
        pytest.param(
            change(call(), encoded_claims=token(body(sub="another"))), id="the subject is not asked"
        ),
    ],
)
def test_an_invocation_is_accepted(invocation: Invocation) -> None:
    validate(invocation)


def test_a_chunked_argument_is_signed_whole() -> None:
    argument = b"\x7f" + b"x" * CHUNK_ABOVE
    invocation = call(argument=argument)
    assert invocation.msg == b""
    assert invocation.is_chunked
    assert invocation.content_length == CHUNK_ABOVE + 1
    validate(invocation, argument)
    assert refusal(validate, invocation, b"").startswith("Invocation hash does not match")
    assert call(argument=argument[:-1]).msg == argument[:-1]


def test_the_same_claims_make_the_same_token() -> None:
    first, second = call(), call()
    assert first == second
    named = claims.parse(first.encoded_claims).claims.jti
    assert len(named) == 22
    assert named != claims.parse(call(invocation_id="id2").encoded_claims).claims.jti
    assert first.trace_context == {}
    assert call(trace_context={"traceparent": "x"}).trace_context == {"traceparent": "x"}


# --- Refused: the form of the token --------------------------------------------------------------

GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")
LONG = json.dumps(body(sub=None), separators=(",", ":"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JWT error: invalid token format, expected 3 segments, found 1"),
        ("a.b", "JWT error: invalid token format, expected 3 segments, found 2"),
        (f"{GOOD}.x", "JWT error: invalid token format, expected 3 segments, found 4"),
        (f"{HEAD}.{BODY}.{SIGNATURE}==", "Decode error: invalid symbol at 86"),
        (f"{HEAD}.{BODY}.{SIGNATURE[:-2]}+/", "Decode error: invalid symbol at 84"),
        (f"{HEAD}=.{BODY}.{SIGNATURE}", "Decode error: invalid symbol at 39"),
        (f"{HEAD}é.{BODY}.{SIGNATURE}", "Decode error: invalid length at 40"),
        (f"{HEAD[:-2]}é.{BODY}.{SIGNATURE}", "Decode error: invalid symbol at 37"),
        (f"{HEAD}.\n{BODY[1:]}.{SIGNATURE}", "Decode error: invalid symbol at 0"),
        (f"{HEAD}.{BODY}.{SIGNATURE}AAA", "Decode error: invalid length at 88"),
        (f"{HEAD}.{BODY}.{SIGNATURE[:-1]}h", "Decode error: non-zero trailing bits at 85"),
        (f"{HEAD}.{BODY}.AAB", "Decode error: non-zero trailing bits at 2"),
        (
            f".{BODY}.{SIGNATURE}",
            "Serialization error: Input data was truncated",
        ),
        (
            token(header={"alg": "Ed25519"}),
            "Serialization error: missing field `typ` at line 1 column 17",
        ),
        (
            token(header={"typ": "jwt"}),
            "Serialization error: missing field `alg` at line 1 column 13",
        ),
        (
            token(header=b'{\n "alg": "Ed25519"\n}\n'),
            "Serialization error: missing field `typ` at line 3 column 1",
        ),
        (
            token(header=b'\n{"alg": "Ed25519"}'),
            "Serialization error: missing field `typ` at line 2 column 18",
        ),
        (token(header=b"\xff"), "UTF8 error: invalid utf-8 sequence of 1 bytes from index 0"),
        (
            token(header={"typ": "jwt", "alg": "EdDSA"}),
            "Invalid JWT algorithm. WASCAP only supports Ed25519",
        ),
        (
            token(header={"typ": "jwt", "alg": "ed25519-nkey"}),
            "Invalid JWT algorithm. WASCAP only supports Ed25519",
        ),
        (
            token(header={"typ": "JWT", "alg": "none"}),
            "Invalid JWT algorithm. WASCAP only supports Ed25519",
        ),
        (token(header={"typ": "JWT", "alg": "Ed25519"}), "JWT error: Invalid header"),
        (f"{HEAD}.{BODY[:-1]}=.{SIGNATURE}", f"Decode error: invalid symbol at {len(BODY) - 1}"),
        (
            token(body(sub=None)),
            f"Serialization error: missing field `sub` at line 1 column {len(LONG)}",
        ),
        (
            token({"iss": "x", "sub": "y"}),
            "Serialization error: missing field `jti` at line 1 column 21",
        ),
        (
            token({"jti": "j", "iss": "x", "sub": "y"}),
            "Serialization error: missing field `iat` at line 1 column 31",
        ),
        (
            token({"jti": "j", "iat": 1, "sub": "y"}),
            "Serialization error: missing field `iss` at line 1 column 29",
        ),
        (
            token(body(wascap={"hash": "x"})),
            "Serialization error: missing field `target_url` - at `$.wascap`",
        ),
        (token(body(iat=1.5)), "Serialization error: Expected `int`, got `float` - at `$.iat`"),
        (token(body(iat=-1)), "Serialization error: Expected `int` >= 0 - at `$.iat`"),
        (
            token(body(iat=10**400)),
            "Serialization error: Expected `int` <= 9223372036854775807 - at `$.iat`",
        ),
        (
            token(body(exp="soon")),
            "Serialization error: Expected `int | null`, got `str` - at `$.exp`",
        ),
        (token(b"[" * 200_000), "Serialization error: Expected `object`, got `array`"),
        (token(b'{"x":' + b"[" * 200_000), "Serialization error: nested too deeply"),
        (token(body(iss="")), "Invalid JWT. WASCAP requires an issuer claim to be present"),
        (token(body(sub="")), "Invalid JWT. WASCAP requires a sub claim to be present"),
        (token(body(iss="", sub="")), "Invalid JWT. WASCAP requires an issuer claim to be present"),
        (token(body(iss="CABC")), "Encryption error: Bad key length: 4"),
        (token(body(iss=CLUSTER.seed)), "Encryption error: Bad key length: 58"),
        (token(body(iss=CLUSTER.public[:-1] + "A")), "Encryption error: Checksum mismatch"),
    ],
)
def test_a_token_is_refused_by_its_form(text: str, reason: str) -> None:
    assert refusal(claims.parse, text) == reason
    assert refusal(validate, change(call(), encoded_claims=text)) == reason


# --- Refused: the invocation ---------------------------------------------------------------------

FORGER = KeyPair.generate(Kind.CLUSTER)
HASH = body()["wascap"]["hash"]
OTHER = KeyPair.generate(Kind.SERVICE)


def rehash(invocation: Invocation) -> str:
    return claims.invocation_hash(
        claims.entity_url(invocation.origin),
        claims.target_url(invocation),
        invocation.operation,
        invocation.msg,
    )


def mismatch(invocation: Invocation) -> str:
    return f"Invocation hash does not match signed claims hash ({HASH} / {rehash(invocation)})"


def with_urls(**urls: str) -> Invocation:
    """A call whose hash is right and whose URLs in the claims are not."""
    return change(call(), encoded_claims=token(body(wascap={**body()["wascap"], **urls})))


TAMPERED = {
    "msg": change(call(), msg=b"\x7f\x0b"),
    "operation": change(call(), operation="py.reload"),
    "origin": change(call(), origin=WasmCloudEntity(public_key="MOTHER", contract_id="")),
    "target": change(call(), target=msgspec.structs.replace(TARGET, public_key=OTHER.public)),
    "link": change(call(), target=msgspec.structs.replace(TARGET, link_name="other")),
    "contract": change(call(), target=msgspec.structs.replace(TARGET, contract_id="other")),
}


@pytest.mark.parametrize(
    ("invocation", "reason"),
    [
        pytest.param(call(expires=NOW - 1), "Invocation claims token expired", id="2 expired"),
        pytest.param(
            call(expires=NOW), "Invocation claims token expired", id="2 expired this second"
        ),
        pytest.param(
            call(expires=1, key=FORGER), "Invocation claims token expired", id="2 before 10"
        ),
        pytest.param(
            change(call(), encoded_claims=token(key=FORGER)),
            "Invocation claims signature invalid",
            id="3 another key than it says",
        ),
        pytest.param(
            change(call(), encoded_claims=f"{HEAD}.{BODY}."),
            "Invocation claims signature invalid",
            id="3 no signature",
        ),
        pytest.param(
            change(call(), encoded_claims=f"{HEAD}.{BODY}.{SIGNATURE[:-2]}"),
            "Invocation claims signature invalid",
            id="3 a signature too short",
        ),
        pytest.param(
            change(
                call(), encoded_claims=f"{HEAD}.{token(body(jti='k')).split('.')[1]}.{SIGNATURE}"
            ),
            "Invocation claims signature invalid",
            id="3 a body put in",
        ),
        pytest.param(
            change(call(), encoded_claims=token(body(nbf=int(NOW) + 1), key=FORGER)),
            "Invocation claims signature invalid",
            id="3 before 4",
        ),
        pytest.param(
            change(call(), encoded_claims=token(body(nbf=int(NOW) + 1))),
            "Attempt to use invocation before claims token allows",
            id="4 ahead of its time",
        ),
        pytest.param(
            change(call(), encoded_claims=token(body(nbf=int(NOW) + 1, wascap=None))),
            "Attempt to use invocation before claims token allows",
            id="4 before 5",
        ),
        pytest.param(
            change(call(), encoded_claims=token(body(wascap=None))),
            "No wascap metadata found on claims",
            id="5 no wascap block",
        ),
        pytest.param(
            change(call(), encoded_claims=token({**body(), "wascap": None})),
            "No wascap metadata found on claims",
            id="5 a null in its place",
        ),
        *[
            pytest.param(invocation, mismatch(invocation), id=f"6 tampered {name}")
            for name, invocation in TAMPERED.items()
        ],
        pytest.param(
            change(TAMPERED["msg"], host_id="X"), mismatch(TAMPERED["msg"]), id="6 before 7"
        ),
        pytest.param(call(host_id="X"), "Invalid host ID on invocation: 'X'", id="7 host id X"),
        pytest.param(call(host_id=""), "Invalid host ID on invocation: ''", id="7 no host id"),
        pytest.param(
            call(host_id="C" * 55),
            f"Invalid host ID on invocation: '{'C' * 55}'",
            id="7 one too short",
        ),
        pytest.param(
            call(host_id="é" + "C" * 55),
            f"Invalid host ID on invocation: 'é{'C' * 55}'",
            id="7 counted in bytes",
        ),
        pytest.param(
            change(with_urls(target_url="wasmbus://x"), host_id="X"),
            "Invalid host ID on invocation: 'X'",
            id="7 before 8",
        ),
        pytest.param(
            with_urls(target_url="wasmbus://x", origin_url="wasmbus://y"),
            "Invocation claims and invocation target URL do not match: wasmbus://x != "
            f"{VECTORS['url']['target_with_op']}",
            id="8 another target URL",
        ),
        pytest.param(
            with_urls(origin_url="wasmbus://y"),
            "Invocation claims and invocation origin URL do not match",
            id="9 another origin URL",
        ),
        pytest.param(
            call(key=FORGER),
            "Issuer of this invocation is not in list of cluster issuers",
            id="10 a foreign issuer",
        ),
        pytest.param(
            call(key=FORGER, target=msgspec.structs.replace(TARGET, public_key=OTHER.public)),
            "Issuer of this invocation is not in list of cluster issuers",
            id="10 before 11",
        ),
        pytest.param(
            call(target=msgspec.structs.replace(TARGET, public_key=OTHER.public)),
            f"target key mismatch: {OTHER.public} != {HOST.public}",
            id="11 replayed to another target",
        ),
        pytest.param(
            call(origin=WasmCloudEntity(public_key="MOTHER", contract_id="")),
            "unlinked actor: 'MOTHER'",
            id="12 unlinked",
        ),
    ],
)
def test_an_invocation_is_refused(invocation: Invocation, reason: str) -> None:
    assert refusal(validate, invocation) == reason


def test_the_second_of_a_limit_is_within_it() -> None:
    second = int(NOW)
    validate(call(expires=second), now=second)
    validate(change(call(), encoded_claims=token(body(nbf=second))), now=second)


def test_an_expired_token_costs_no_verification() -> None:
    read = claims.parse(call(expires=NOW - 1).encoded_claims)
    assert refusal(claims.check_expiry, read, NOW) == "Invocation claims token expired"
    claims.check_expiry(read, NOW - 2)


def test_the_costly_part_tells_and_does_not_judge() -> None:
    invocation = change(call(), encoded_claims=token(key=FORGER))
    read = claims.parse(invocation.encoded_claims)
    assert claims.examine(read, invocation, b"\x7f\x0a") == Evidence(False, HASH)
    assert claims.examine(read, invocation, b"")[1] != HASH


def test_time_passes_while_the_costly_part_runs() -> None:
    invocation = call(expires=NOW + 1)
    read = claims.parse(invocation.encoded_claims)
    evidence = claims.examine(read, invocation, invocation.msg)
    claims.check(read, evidence, invocation, identity=IDENTITY, linked=LINKED, now=NOW)
    assert (
        refusal(
            claims.check, read, evidence, invocation, identity=IDENTITY, linked=LINKED, now=NOW + 2
        )
        == "Invocation claims token expired"
    )


@given(
    st.text(max_size=80)
    | st.lists(st.binary(max_size=40), min_size=3, max_size=3).map(
        lambda parts: ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    )
    | st.builds(
        lambda at, char: GOOD[:at] + char + GOOD[at + 1 :],
        st.integers(0, len(GOOD) - 1),
        st.sampled_from("Aaz09_-=.é"),
    )
)
def test_garbage_is_unauthorized_and_nothing_else(text: str) -> None:
    if text == GOOD:
        return
    try:
        read = claims.parse(text)
    except Unauthorized:
        return
    assert not read.verify_signature()
