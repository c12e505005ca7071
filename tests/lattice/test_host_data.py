"""The one line a host writes: what is in it, what may be wrong with it, and what is never shown."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.pretty import pprint

from provider.errors import StartError
from provider.lattice.host_data import Given, HostData, Login, merge_config, parse_line
from provider.lattice.nkeys import KeyPair, Kind
from provider.wire.wasmbus import LinkDefinition

USER = KeyPair.from_raw(Kind.USER, b"\x05" * 32)
CLUSTER = KeyPair.from_raw(Kind.CLUSTER, b"\x01" * 32)
LINK = {
    "id": "only Elixir sends it",
    "actor_id": "MACTOR",
    "provider_id": "VPROV",
    "link_name": "default",
    "contract_id": "wasmcloud:example:python",
    "values": {"config_b64": "e30"},
}
LEAST: dict[str, Any] = {"env_values": {}, "link_definitions": [], "cluster_issuers": []}
FULL: dict[str, Any] = {
    "host_id": "NHOST",
    "lattice_rpc_prefix": "default",
    "link_name": "link",
    "lattice_rpc_user_jwt": "the.user.jwt",
    "lattice_rpc_user_seed": USER.seed,
    "lattice_rpc_url": "127.0.0.1:4223",
    "lattice_rpc_tls": 0,
    "provider_key": "VPROV",
    "invocation_seed": CLUSTER.seed,
    "env_values": {"A": "env-s3cret"},
    "instance_id": "4c7d",
    "link_definitions": [LINK],
    "cluster_issuers": [CLUSTER.public],
    "config_json": '{"python_dispatch": "/srv/dispatch.py"}',
    "default_rpc_timeout_ms": 3000,
    "structured_logging": True,
    "log_level": "debug",
    "js_domain": None,
    "otel_config": {"traces_exporter": None, "exporter_otlp_endpoint": None},
}


def line(members: Any, end: bytes = b"\n") -> bytes:
    text = members if isinstance(members, bytes) else json.dumps(members).encode()
    return base64.b64encode(text) + end


def refusal(read: Any, *arguments: Any) -> str:
    with pytest.raises(StartError) as caught:
        read(*arguments)
    return str(caught.value)


# --- The line ------------------------------------------------------------------------------------


def test_every_member_is_read() -> None:
    data = parse_line(line(FULL))
    assert data == HostData(
        host_id="NHOST",
        lattice_rpc_prefix="default",
        link_name="link",
        lattice_rpc_user_jwt="the.user.jwt",
        lattice_rpc_user_seed=USER.seed,
        lattice_rpc_url="127.0.0.1:4223",
        provider_key="VPROV",
        invocation_seed=CLUSTER.seed,
        env_values={"A": "env-s3cret"},
        instance_id="4c7d",
        link_definitions=(LinkDefinition(**{name: LINK[name] for name in LINK if name != "id"}),),
        cluster_issuers=frozenset({CLUSTER.public}),
        config_json='{"python_dispatch": "/srv/dispatch.py"}',
        default_rpc_timeout_ms=3000,
        structured_logging=True,
        log_level="debug",
    )


def test_the_least_has_the_defaults() -> None:
    data = parse_line(line(LEAST))
    assert data == HostData()
    assert data.default_rpc_timeout_ms == 2000
    assert data.nats_url == "nats://127.0.0.1:4222"
    assert data.login() is None
    assert data.level is None
    assert not data.test_mode


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b" \t \r\n", b"\nsomething else\n"])
@pytest.mark.parametrize("before", [b"", b" \t"])
@pytest.mark.parametrize("filler", ["", "a", "ab"])
@pytest.mark.parametrize("padded", [True, False])
def test_ends_and_padding_do_not_matter(
    end: bytes, before: bytes, filler: str, padded: bool
) -> None:
    text = line({**LEAST, "instance_id": filler}, b"")
    assert parse_line(before + (text if padded else text.rstrip(b"=")) + end) == HostData(
        instance_id=filler
    )


@pytest.mark.parametrize("name", ["env_values", "link_definitions", "cluster_issuers"])
def test_three_members_must_be_there(name: str) -> None:
    members = {key: value for key, value in FULL.items() if key != name}
    assert refusal(parse_line, line(members)) == (
        f"error loading host data: rpc: parsing host data: missing field `{name}`"
    )


@pytest.mark.parametrize("config", [{}, {"config_json": None}, {"config_json": ""}])
def test_no_config_is_said_in_three_ways(config: dict[str, Any]) -> None:
    assert parse_line(line({**LEAST, **config})).config_json is None


@pytest.mark.parametrize(
    "more",
    [{"default_rpc_timeout_ms": None}, {"log_level": None}, {"structured_logging": False}],
)
def test_what_says_nothing(more: dict[str, Any]) -> None:
    assert parse_line(line({**LEAST, **more})) == HostData()


NOT_BASE64 = "host data configuration passed through stdin has invalid encoding (expected base64): "


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "stdin is empty - expecting host data configuration"),
        (b" \r\n", "stdin is empty - expecting host data configuration"),
        (b"\n" + line(FULL), "stdin is empty - expecting host data configuration"),
        (
            b"{}",
            NOT_BASE64 + "Only base64 data is allowed",
        ),
        (b"AAAAA", f"{NOT_BASE64}Invalid base64-encoded string: number of data characters (5)"),
        (line(b""), "stdin is empty - expecting host data configuration"),
        (b"====", "parsing host data: not JSON"),
        (line(b"seed"), "parsing host data: not JSON (byte 0)"),
        (line(b'{"host_id":"\xff"}'), "parsing host data: not JSON"),
        (line(b"[" * 200_000), "parsing host data: Expected `object`, got `array`"),
        (line(b'{"x":' + b"[" * 200_000), "parsing host data: not JSON"),
        (line([1]), "parsing host data: Expected `object`, got `array`"),
        (
            line({**FULL, "provider_key": 7}),
            "parsing host data: Expected `str`, got `int` - at `$.provider_key`",
        ),
        (
            line({**FULL, "env_values": {"A": 1}}),
            "parsing host data: Expected `str`, got `int` - at `$.env_values[...]`",
        ),
        (
            line({**FULL, "link_definitions": [LINK, {"actor_id": "M"}]}),
            "parsing host data: missing field `values` - at `$.link_definitions[1]`",
        ),
        (
            line({**FULL, "default_rpc_timeout_ms": -1}),
            "parsing host data: Expected `int` >= 0 - at `$.default_rpc_timeout_ms`",
        ),
    ],
)
def test_a_line_that_cannot_be_read(text: bytes, reason: str) -> None:
    said = refusal(parse_line, text)
    assert said.startswith(f"error loading host data: rpc: {reason}")
    # What stands behind is Python's word on base64, or nothing.
    assert len(said) < 260


def test_a_host_of_the_next_generation_is_known() -> None:
    newer = {**LEAST, "config": {}, "secrets": {}, "log_level": "info"}
    assert parse_line(line(newer)).speaks_wrpc
    assert not parse_line(line({**newer, "invocation_seed": ""})).speaks_wrpc
    assert not parse_line(line(FULL)).speaks_wrpc


# --- What it means -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("", "nats://127.0.0.1:4222"),
        ("  ", "nats://127.0.0.1:4222"),
        ("127.0.0.1:4223", "nats://127.0.0.1:4223"),
        (" nats://host:4222\n", "nats://host:4222"),
        ("tls://host", "tls://host"),
        ("a:1, b:2", "nats://a:1,nats://b:2"),
    ],
)
def test_a_url_may_lack_its_scheme(url: str, read: str) -> None:
    assert HostData(lattice_rpc_url=url).nats_url == read


def test_a_url_that_is_none_is_named_but_not_shown() -> None:
    text = refusal(lambda: HostData(lattice_rpc_url="http://user:s3cret@host").nats_url)
    assert text.startswith("lattice_rpc_url of the host data: expected NATS server URLs")
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("said", "level"),
    [
        (None, None),
        ("", None),
        ("trace", "debug"),
        ("debug", "debug"),
        ("INFO", "info"),
        ("warn", "warning"),
        ("error", "error"),
        ("critical", "error"),
        ("off", "error"),
        ("info,async_nats=trace", "info"),
        ("async_nats=trace, warn", "warning"),
        ("async_nats=trace", None),
        ("loud", None),
    ],
)
def test_the_level_in_both_vocabularies(said: str | None, level: str | None) -> None:
    assert HostData(log_level=said).level == level


def test_test_mode_has_a_name() -> None:
    assert parse_line(line({**LEAST, "host_id": "_TEST_"})).test_mode


def test_login_with_jwt_and_seed() -> None:
    login = HostData(
        lattice_rpc_user_jwt=" a.b.c ", lattice_rpc_user_seed=f"\n{USER.seed} "
    ).login()
    assert login is not None
    assert login == Login("a.b.c", USER)
    assert HostData(lattice_rpc_user_seed=USER.seed).login() == Login("", USER)
    assert HostData(lattice_rpc_user_jwt=" ", lattice_rpc_user_seed="\t").login() is None


@pytest.mark.parametrize(
    ("jwt", "seed", "reason"),
    [
        ("a.b.c", "", "Bad seed length: 0"),
        ("a.b.c", USER.seed[:-1], "Bad seed length: 57"),
        ("a.b.c", CLUSTER.seed, "expected the seed of a user (SU...), not SC..."),
    ],
)
def test_login_with_half_of_it(jwt: str, seed: str, reason: str) -> None:
    data = HostData(lattice_rpc_user_jwt=jwt, lattice_rpc_user_seed=seed)
    assert refusal(data.login) == f"lattice_rpc_user_seed of the host data: {reason}"


def test_the_key_for_calls_to_actors() -> None:
    assert HostData(invocation_seed=CLUSTER.seed).signing_key() == CLUSTER
    test = HostData(host_id="_TEST_", invocation_seed="whatever").signing_key()
    assert test.kind is Kind.USER
    assert refusal(HostData(invocation_seed="SC").signing_key) == (
        "the capability provider has not been initialized: key failure: Bad seed length: 2"
    )


def test_the_banner_is_the_one_of_the_original() -> None:
    data = HostData(provider_key="V", instance_id="i", lattice_rpc_url="nats://u:p@h")
    assert data.banner == (
        "Starting capability provider V instance i with nats url nats://u:********@h"
    )


# --- Nothing is shown ----------------------------------------------------------------------------


def printed(data: object) -> str:
    """What rich makes of it, as in a traceback with local variables."""
    stream = io.StringIO()
    pprint(data, console=Console(file=stream, width=500))
    return repr(data) + str(data) + stream.getvalue()


def test_secrets_are_not_printed() -> None:
    shown = printed(parse_line(line({**FULL, "lattice_rpc_url": "nats://user:s3cret@host"})))
    for secret in (USER.seed, CLUSTER.seed, "the.user.jwt", "s3cret", "dispatch.py", "e30"):
        assert secret not in shown
    assert "VPROV" in shown


seeds = st.builds(
    lambda kind, raw: KeyPair.from_raw(kind, raw).seed,
    st.sampled_from([Kind.USER, Kind.CLUSTER]),
    st.binary(min_size=32, max_size=32),
)


HIDDEN = [
    "lattice_rpc_user_jwt",
    "lattice_rpc_user_seed",
    "lattice_rpc_url",
    "invocation_seed",
    "env_values",
    "link_definitions",
    "config_json",
]
NAMES = [name for name in FULL if name not in HIDDEN]


def all_that_is_said(raw: bytes) -> str:
    try:
        data = parse_line(raw)
    except StartError as error:
        return f"{error} {error!r} {error.__cause__!r}"
    said = printed(data)
    for use in (
        data.login,
        data.signing_key,
        lambda: data.nats_url and None,
        lambda: merge_config(data.config_json, data.link_definitions).notes,
    ):
        try:
            said += repr(use())
        except StartError as error:
            said += f"{error} {error!r} {error.__cause__!r}"
    return said


@settings(max_examples=50)
@given(st.data())
def test_no_text_holds_a_seed(data: st.DataObject) -> None:
    seed = data.draw(seeds)
    wrong: list[Any] = [{seed: seed}, 5, None]
    members = {
        name: data.draw(st.sampled_from([seed, seed[:-1], f"{seed}=", [seed], *wrong]))
        for name in data.draw(st.lists(st.sampled_from(HIDDEN), unique=True))
    } | {
        # In place of a name a seed would be one, and names are shown.
        name: data.draw(st.sampled_from(wrong))
        for name in data.draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=1))
    }
    text = json.dumps({**FULL, "invocation_seed": seed, **members}).encode()
    cut = data.draw(st.integers(0, len(text)))
    for raw in (
        line(text),
        line(text[:cut]),
        line(text[:cut] + b"\xff" + text[cut:]),
        line(text)[:cut],
        line(text)[:cut] + b"!" + line(text)[cut:],
        text,
        seed.encode(),
    ):
        said = all_that_is_said(raw)
        assert seed[4:50] not in said
        assert USER.seed[4:50] not in said


# --- Configuration -------------------------------------------------------------------------------

CONFIG = {
    "python_main": "/c/main",
    "python_dispatch": "/c/dispatch.py",
    "venv_path": "/c/venv",
    "sys_path": ["/c/a", "/c/b"],
}


def link(actor: str = "MACTOR", **values: str) -> LinkDefinition:
    return LinkDefinition(actor_id=actor, values=values)


def as_b64(config: Any, padded: bool = False) -> str:
    text = base64.b64encode(json.dumps(config).encode()).decode()
    return text if padded else text.rstrip("=")


def test_config_json_becomes_variables() -> None:
    merged = merge_config(json.dumps(CONFIG), ())
    assert merged.variables == {
        "PYTHON_MAIN": Given("/c/main", "config_json"),
        "PYTHON_DISPATCH": Given("/c/dispatch.py", "config_json"),
        "VENV_PATH": Given("/c/venv", "config_json"),
        "PYTHON_PATH": Given("/c/a:/c/b", "config_json"),
    }
    assert merged.notes == ()


def test_no_config_is_no_variable() -> None:
    for text in (None, "", " \n", "{}"):
        assert merge_config(text, ()) == ({}, ())


def test_links_fill_in_what_config_json_leaves_open() -> None:
    merged = merge_config(
        '{"python_dispatch": "/c.py", "venv_path": ""}',
        [
            link("M0"),
            link("M1", config_json='{"python_dispatch": "/1.py", "venv_path": "/1"}'),
            link("M2", config_b64=as_b64({"venv_path": "/2", "python_main": "/2"})),
        ],
    )
    assert merged == (
        {
            "PYTHON_DISPATCH": Given("/c.py", "config_json"),
            "VENV_PATH": Given("/1", "config_json of the link with M1"),
            "PYTHON_MAIN": Given("/2", "config_b64 of the link with M2"),
        },
        (),
    )


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("name", ["a", "ab", "abc"])
def test_config_b64_goes_before_config_json(padded: bool, name: str) -> None:
    of_both = link(
        config_b64=as_b64({"python_main": name}, padded), config_json='{"python_main": "no"}'
    )
    assert merge_config(None, [of_both]).variables["PYTHON_MAIN"].value == name


def test_threads_are_noted_and_do_not_count() -> None:
    merged = merge_config('{"max_threads": 12}', [link(config_json='{"min_threads": 4}')])
    assert merged.variables == {}
    assert [note.partition(":")[0] for note in merged.notes] == [
        "max_threads and min_threads of config_json do not count",
        "max_threads and min_threads of config_json of the link with MACTOR do not count",
    ]


def test_our_own_variables_reach_a_provider_without_environment() -> None:
    config = {
        "PROVIDER_CALL_TIMEOUT": "5s",
        "PROVIDER_CONCURRENCY": 4,
        "PROVIDER_EMBEDDED_NATS": False,
        "PROVIDER_WAIT": True,
        "PATH": "/bin",
        "provider_key": "x",
    }
    merged = merge_config(json.dumps(config), ())
    assert merged.variables == {
        "PROVIDER_CALL_TIMEOUT": Given("5s", "config_json"),
        "PROVIDER_CONCURRENCY": Given("4", "config_json"),
        "PROVIDER_EMBEDDED_NATS": Given("off", "config_json"),
        "PROVIDER_WAIT": Given("on", "config_json"),
    }


def test_a_link_does_not_set_how_the_provider_behaves() -> None:
    merged = merge_config(
        None, [link(config_json='{"PROVIDER_CONCURRENCY": 4, "python_main": "/m"}')]
    )
    assert list(merged.variables) == ["PYTHON_MAIN"]
    (note,) = merged.notes
    assert note == (
        "PROVIDER_CONCURRENCY of config_json of the link with MACTOR does not count: only the host "
        "and the environment set it"
    )


BAD_CONFIGS = [
    ("{", "corrupt {}: not JSON"),
    ("[]", "corrupt {}: Expected `object`, got `array`"),
    ('{"venv_path": 5}', "corrupt {}: Expected `str | null`, got `int` - at `$.venv_path`"),
    ('{"sys_path": "/a"}', "corrupt {}: Expected `array | null`, got `str` - at `$.sys_path`"),
    ('{"sys_path": ["/a:b"]}', "corrupt {}: a folder in sys_path has a colon in its name"),
    (
        '{"PROVIDER_KEY": ["s3cret"]}',
        "corrupt {}: PROVIDER_KEY is neither text, number nor boolean",
    ),
]


@pytest.mark.parametrize(("text", "reason"), BAD_CONFIGS)
def test_config_json_that_cannot_be_read_stops_the_start(text: str, reason: str) -> None:
    assert refusal(merge_config, text, ()) == reason.format("config_json")


@pytest.mark.parametrize(("text", "reason"), BAD_CONFIGS)
def test_a_link_that_cannot_be_read_does_not(text: str, reason: str) -> None:
    source = "config_json of the link with MACTOR"
    merged = merge_config(None, [link(config_json=text), link("M2", config_json="{}")])
    assert merged == ({}, (reason.format(source) + "; left out",))


@pytest.mark.parametrize("text", ["A", "!!!!", "e30é", "e3=0"])
def test_a_link_that_is_not_base64_does_not_either(text: str) -> None:
    merged = merge_config(None, [link(config_b64=text)])
    assert merged.notes == ("corrupt config_b64 of the link with MACTOR: not base64; left out",)


@given(st.text(max_size=30) | st.binary(max_size=20).map(lambda b: base64.b64encode(b).decode()))
def test_whatever_a_link_holds_the_start_goes_on(text: str) -> None:
    merge_config(None, [link(config_b64=text), link(config_json=text)])


@pytest.mark.parametrize("actor", ["M\n", "M\x1b[2J", "M" * 1000])
def test_an_actors_key_cannot_spoil_a_line(actor: str) -> None:
    merged = merge_config(None, [link(actor, config_json='{"python_main": "m"}')])
    source = merged.variables["PYTHON_MAIN"].source
    assert source.isprintable()
    assert len(source) < 150
