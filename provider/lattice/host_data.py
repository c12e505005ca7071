"""What a wasmCloud host tells a provider it launches: one line on standard input.

The rule of this file: no text it makes repeats anything of the line but the names of members, and
its secrets are in no `repr`. The original printed the whole line, seeds included, when it could not
read it. Pure: bytes and texts come as arguments.

The line is base64 of a JSON object; hosts pad it, the test harness does not. Members nobody knows
are ignored. What the host says about the connection counts for a provider it launched; what it says
about the code to run stands behind the environment, as in the original. Sources: wasmbus-rpc 0.15
(`wasmbus_core.rs`, `provider_main.rs`), wasmCloud/examples (`provider/python/src/config.rs`).
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from provider.errors import StartError, clip
from provider.lattice.nkeys import BadKey, KeyPair, Kind
from provider.servers import mask_url, parse_servers
from provider.wire.wasmbus import LinkDefinition  # noqa: TC001  msgspec reads the annotation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TEST_HOST = "_TEST_"
"""The host id of the test harness, which speaks JSON where hosts speak MessagePack."""
DEFAULT_URL = "nats://127.0.0.1:4222"
DEFAULT_TIMEOUT_MS = 2000

LogLevel = Literal["debug", "info", "warning", "error"]

_LEVELS: dict[str, LogLevel] = {
    "trace": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "critical": "error",
    "off": "error",
}


def level_of(directive: str | None) -> LogLevel | None:
    """The level in a directive as for RUST_LOG, such as `info,async_nats=warn`.

    Elixir hosts pass on such, Rust hosts a word. What stands for all modules counts; None for
    nothing.
    """
    words = (directive or "").lower().split(",")
    return next((_LEVELS[word.strip()] for word in words if word.strip() in _LEVELS), None)


@dataclass(frozen=True, slots=True)
class Login:
    """How the host wants us to log in to NATS.

    Attributes:
        jwt: of the user; empty for a key alone.
        key: signs the server's nonce.
    """

    jwt: str = field(repr=False)
    key: KeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class HostData:
    """What the host said. Secrets are left out of its `repr`.

    Attributes:
        host_id: public key of the host, `_TEST_` for the test harness.
        lattice_rpc_prefix: name of the lattice.
        link_name: of this process.
        lattice_rpc_user_jwt: of the NATS user.
        lattice_rpc_user_seed: of the NATS user; secret.
        lattice_rpc_url: as it came; see `nats_url`.
        provider_key: our public key.
        invocation_seed: the cluster's seed; secret.
        env_values: empty in practice.
        instance_id: of this process.
        link_definitions: links known at the start.
        cluster_issuers: public keys whose tokens count.
        config_json: settings for us, or None.
        default_rpc_timeout_ms: for calls to actors, in milliseconds.
        structured_logging: the host wants JSON.
        log_level: as it came; see `level`.
        speaks_wrpc: the host is a wasmCloud 1.x one, whose calls we would never hear.
    """

    host_id: str = ""
    lattice_rpc_prefix: str = ""
    link_name: str = ""
    lattice_rpc_user_jwt: str = field(default="", repr=False)
    lattice_rpc_user_seed: str = field(default="", repr=False)
    lattice_rpc_url: str = field(default="", repr=False)
    provider_key: str = ""
    invocation_seed: str = field(default="", repr=False)
    env_values: Mapping[str, str] = field(default_factory=dict, repr=False)
    instance_id: str = ""
    link_definitions: tuple[LinkDefinition, ...] = ()
    cluster_issuers: frozenset[str] = frozenset()
    config_json: str | None = field(default=None, repr=False)
    default_rpc_timeout_ms: int = DEFAULT_TIMEOUT_MS
    structured_logging: bool = False
    log_level: str | None = None
    speaks_wrpc: bool = False

    @property
    def test_mode(self) -> bool:
        """Whether the test harness launched us: links and health in JSON."""
        return self.host_id == TEST_HOST

    @property
    def nats_url(self) -> str:
        """The NATS server, with its scheme.

        Raises:
            StartError: it is no URL of one.
        """
        url = self.lattice_rpc_url.strip()
        if not url:
            return DEFAULT_URL
        try:
            return ",".join(parse_servers(url))
        except ValueError as expected:
            raise StartError(f"lattice_rpc_url of the host data: expected {expected}") from None

    @property
    def level(self) -> LogLevel | None:
        """The level of logs the host wants, None when it leaves that to us."""
        return level_of(self.log_level)

    def login(self) -> Login | None:
        """How to log in to NATS, None for not at all.

        Raises:
            StartError: a JWT without a seed, or a seed that is none of a user.
        """
        jwt, seed = self.lattice_rpc_user_jwt.strip(), self.lattice_rpc_user_seed.strip()
        if not jwt and not seed:
            return None
        try:
            key = KeyPair.from_seed(seed)
        except BadKey as error:
            raise StartError(f"lattice_rpc_user_seed of the host data: {error}") from None
        if key.kind is not Kind.USER:
            raise StartError(
                "lattice_rpc_user_seed of the host data: expected the seed of a user (SU...), not "
                f"S{key.kind.letter}..."
            )
        return Login(jwt, key)

    def signing_key(self) -> KeyPair:
        """The key that signs our calls to actors; a new one in test mode, whatever was sent.

        Raises:
            StartError: `invocation_seed` is none.
        """
        if self.test_mode:
            return KeyPair.generate(Kind.USER)
        try:
            return KeyPair.from_seed(self.invocation_seed)
        except BadKey as error:
            raise StartError(
                f"the capability provider has not been initialized: key failure: {error}"
            ) from None

    @property
    def banner(self) -> str:
        """What the original says first, for those who look for it."""
        return (
            f"Starting capability provider {self.provider_key} instance {self.instance_id} "
            f"with nats url {mask_url(self.lattice_rpc_url)}"
        )


class _Members(Struct):
    """The JSON object, as the Rust library declares it."""

    env_values: dict[str, str]
    link_definitions: tuple[LinkDefinition, ...]
    cluster_issuers: frozenset[str]
    host_id: str = ""
    lattice_rpc_prefix: str = ""
    link_name: str = ""
    lattice_rpc_user_jwt: str = ""
    lattice_rpc_user_seed: str = ""
    lattice_rpc_url: str = ""
    provider_key: str = ""
    invocation_seed: str | msgspec.UnsetType = msgspec.UNSET
    instance_id: str = ""
    config_json: str | None = None
    default_rpc_timeout_ms: Annotated[int, Meta(ge=0)] | None = None
    structured_logging: bool = False
    log_level: str | None = None
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_read_members = msgspec.json.Decoder(_Members)


def parse_line(line: bytes) -> HostData:
    """The host data in the first line of standard input.

    Args:
        line: with or without its end, white space around it allowed.

    Raises:
        StartError: empty, not base64, not JSON, or a member is missing or of the wrong type. The
            text holds nothing of the line but names of members.
    """
    text = line.partition(b"\n")[0].strip()
    if not text:
        raise _unreadable("stdin is empty - expecting host data configuration")
    try:
        unpadded = text.rstrip(b"=")
        data = binascii.a2b_base64(unpadded + b"=" * (-len(unpadded) % 4), strict_mode=True)
    except binascii.Error as error:
        raise _unreadable(
            "host data configuration passed through stdin has invalid encoding "
            f"(expected base64): {error}"
        ) from None
    try:
        members = _read_members.decode(data)
    except Exception as error:  # noqa: BLE001  whatever the line did, only its shape is told
        raise _unreadable(f"parsing host data: {_shape(error)}") from None
    unset = members.invocation_seed is msgspec.UNSET
    return HostData(
        host_id=members.host_id,
        lattice_rpc_prefix=members.lattice_rpc_prefix,
        link_name=members.link_name,
        lattice_rpc_user_jwt=members.lattice_rpc_user_jwt,
        lattice_rpc_user_seed=members.lattice_rpc_user_seed,
        lattice_rpc_url=members.lattice_rpc_url,
        provider_key=members.provider_key,
        invocation_seed=members.invocation_seed or "",
        env_values=members.env_values,
        instance_id=members.instance_id,
        link_definitions=members.link_definitions,
        cluster_issuers=members.cluster_issuers,
        config_json=members.config_json or None,
        default_rpc_timeout_ms=(
            DEFAULT_TIMEOUT_MS
            if members.default_rpc_timeout_ms is None
            else members.default_rpc_timeout_ms
        ),
        structured_logging=members.structured_logging,
        log_level=members.log_level,
        speaks_wrpc=unset and members.config is not msgspec.UNSET,
    )


def _unreadable(reason: str) -> StartError:
    return StartError(f"error loading host data: rpc: {reason}")


def _shape(error: Exception) -> str:
    """What was wrong, without a piece of the text it was wrong in."""
    if isinstance(error, msgspec.ValidationError):
        # These name types and the members of the path, which are ours.
        return str(error).replace("Object missing required field", "missing field")
    position = re.search(r"\(byte \d+\)$", str(error))
    return f"not JSON {position[0]}" if position else "not JSON"


# --- Configuration -------------------------------------------------------------------------------


class Given(NamedTuple):
    """A value of one of our variables.

    Attributes:
        value: as it would stand in the environment.
        source: where it came from, such as `config_json`.
    """

    value: str
    source: str


class Merged(NamedTuple):
    """What host and links say about the code to run.

    Attributes:
        variables: by the name of the variable.
        notes: what was said and does not count, for the log.
    """

    variables: dict[str, Given]
    notes: tuple[str, ...]


class _Config(Struct):
    """The JSON of `config_json`, as the original declares it; there `sys_path` had to be."""

    python_main: str | None = None
    python_dispatch: str | None = None
    venv_path: str | None = None
    sys_path: list[str] | None = None
    max_threads: int | None = None
    min_threads: int | None = None


_MORE = re.compile(r"PROVIDER_[A-Z0-9_]{1,64}")
_CONFIG_B64, _CONFIG_JSON = "config_b64", "config_json"


def merge_config(config_json: str | None, links: Iterable[LinkDefinition]) -> Merged:
    """Our variables, each from the first place that has it.

    First the host's `config_json`, then the links in their order, of each `config_b64` or else
    `config_json`. An empty text says nothing. Because hosts from 0.78 on pass no environment,
    `config_json` may also hold any of our variables that begin with `PROVIDER_`, by name. The
    environment goes before all of it, as in the original; that is the business of the settings.

    Args:
        config_json: `HostData.config_json`.
        links: known at the start.

    Raises:
        StartError: `config_json` cannot be read. What a link holds is left out instead, with a
            note: one bad link should not keep a provider from starting.
    """
    notes: list[str] = []
    places = []
    if config_json and config_json.strip():
        places.append(_variables(config_json, _CONFIG_JSON, notes))
    for link in links:
        name = next((name for name in (_CONFIG_B64, _CONFIG_JSON) if link.values.get(name)), None)
        if name is not None:
            source = _source(name, link.actor_id)
            try:
                places.append(_of_link(link.values[name], source, notes, name == _CONFIG_B64))
            except StartError as error:
                notes.append(f"{error}; left out")
    merged: dict[str, Given] = {}
    for place in reversed(places):
        merged.update(place)
    return Merged(merged, tuple(notes))


def _source(name: str, actor: str) -> str:
    """Whose value it is. The key is any text, and stands in lines a person reads."""
    return f"{name} of the link with {clip(actor if actor.isprintable() else ascii(actor), 80)}"


def _of_link(text: str, source: str, notes: list[str], is_base64: bool) -> dict[str, Given]:
    data = text.encode()
    if is_base64:
        try:
            unpadded = b"".join(data.split()).rstrip(b"=")
            data = binascii.a2b_base64(unpadded + b"=" * (-len(unpadded) % 4), strict_mode=True)
        except binascii.Error:
            raise StartError(f"corrupt {source}: not base64") from None
    said = _variables(data, source, notes)
    # A link is one actor's: it may say what is run, but not how the provider behaves to all.
    for name in filter(_MORE.fullmatch, list(said)):
        del said[name]
        notes.append(f"{name} of {source} does not count: only the host and the environment set it")
    return said


def _variables(text: str | bytes, source: str, notes: list[str]) -> dict[str, Given]:
    """What one JSON text says about our variables."""
    try:
        members: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        config = msgspec.convert(members, _Config)
    except Exception as error:  # noqa: BLE001  whatever the text did, only its shape is told
        raise StartError(f"corrupt {source}: {_shape(error)}") from None
    said = {
        "PYTHON_MAIN": config.python_main,
        "PYTHON_DISPATCH": config.python_dispatch,
        "VENV_PATH": config.venv_path,
        "PYTHON_PATH": _joined(config.sys_path or [], source),
    }
    for name, value in members.items():
        if _MORE.fullmatch(name):
            said[name] = _as_text(name, value, source)
    if config.max_threads is not None or config.min_threads is not None:
        notes.append(
            f"max_threads and min_threads of {source} do not count: calls run one after the other "
            "unless PROVIDER_CONCURRENCY says otherwise"
        )
    return {name: Given(value, source) for name, value in said.items() if value}


def _joined(folders: list[str], source: str) -> str:
    if any(":" in folder for folder in folders):
        raise StartError(f"corrupt {source}: a folder in sys_path has a colon in its name")
    return ":".join(folders)


def _as_text(name: str, value: Any, source: str) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise StartError(f"corrupt {source}: {name} is neither text, number nor boolean")
