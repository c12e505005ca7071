"""Every knob of the provider, and the only reader of its environment.

The rule of this file: a knob is one field of `Settings`, and all that is said about it elsewhere
(`.env.example`, docs/configuration.md, `--help`, `provider config`, the texts of errors) is made
from that field. Nothing else in the package looks at the environment, at `.env` or at a NATS
context.

A value is taken from the first place that has one: flag, environment, `.env`, the chosen NATS
context, default. `load` ranks the places itself, because it has to say afterwards where each value
came from. It collects everything that is wrong before it raises, and shows no secret doing so.
"""

from __future__ import annotations

import difflib
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

from dotenv.parser import parse_stream
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from provider import units
from provider.errors import StartError, clip
from provider.servers import MASK, mask_url, parse_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

DEFAULT = "default"
"""The source of a value that nobody gave."""

# --- Checks --------------------------------------------------------------------------------------


def _token(text: str) -> str:
    if not text or not text.isprintable() or any(char in " .*>" for char in text):
        raise ValueError(_TOKEN.expects)
    return text


def _service_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ValueError(_NAME.expects)
    return text


def _readable(path: Path) -> Path:
    # Not is_file(): a secret may come through a named pipe or /dev/fd.
    if not os.access(path, os.R_OK) or path.is_dir():
        raise ValueError(_FILE.expects)
    return path


def _folders(value: object) -> object:
    return [part for part in value.split(":") if part] if isinstance(value, str) else value


def _keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    keys = tuple(part.strip() for part in value.split(",") if part.strip())
    if any(not re.fullmatch(r"[A-Z2-7]{56}", key) for key in keys):
        raise ValueError(_KEYS.expects)
    return keys


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


# --- Kinds of values -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How a type of value is talked about.

    Attributes:
        name: the word in the documentation.
        expects: what an error asks for.
        write: the value back as a person would write it, secrets masked.
        is_path: a leading `~/` stands for the home directory.
    """

    name: str
    expects: str
    write: Callable[[Any], str] = str
    is_path: bool = False


_DURATION = Kind("duration", units.DURATION, units.format_duration)
_SIZE = Kind("size", units.SIZE, units.format_size)
_NUMBER = Kind("number", "a whole number")
_SWITCH = Kind(
    "on or off", "on or off (or true, false, yes, no, 1, 0)", lambda on: "on" if on else "off"
)
_TEXT = Kind("text", "text")
_SECRET = Kind("secret", "text", lambda _: MASK)
_URLS = Kind("URLs", "text", mask_url)
_TOKEN = Kind(
    "subject token",
    "one token of a NATS subject: not empty, no dots, spaces, *, > or control characters",
)
_NAME = Kind("name", "a name of the letters A-Z and a-z, digits, _ and -")
_TARGET = Kind("path or module", "text", is_path=True)
_PATH = Kind("path", "a path", is_path=True)
_FILE = Kind("file", "the path of a file that can be read", is_path=True)
_FOLDERS = Kind(
    "folders",
    "folders separated by colons",
    lambda paths: ":".join(str(path) for path in paths),
    is_path=True,
)

_KEYS = Kind("public keys", "public keys separated by commas", ",".join)

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "pretty", "json"]


def _choice(of: object) -> Kind:
    words = ", ".join(get_args(of))
    return Kind(f"one of {words}", f"one of {words}")


Duration = Annotated[float, BeforeValidator(units.parse_duration), _DURATION]
"""Seconds, written `500ms`, `60s` or `1h30m`."""

Size = Annotated[int, BeforeValidator(units.parse_size), _SIZE]
"""Bytes, written `64KiB`, `10MB` or `1000`."""

Number = Annotated[int, _NUMBER]
Switch = Annotated[bool, _SWITCH]
Text = Annotated[str | None, _TEXT]
Secret = Annotated[SecretStr | None, _SECRET]
Servers = Annotated[str, AfterValidator(lambda text: parse_servers(text) and text), _URLS]
Token = Annotated[str, AfterValidator(_token), _TOKEN]
ServiceName = Annotated[str, AfterValidator(_service_name), _NAME]
Target = Annotated[str | None, _TARGET]
SomePath = Annotated[Path | None, _PATH]
ReadableFile = Annotated[Path | None, AfterValidator(_readable), _FILE]
Folders = Annotated[tuple[Path, ...], BeforeValidator(_folders), _FOLDERS]
Keys = Annotated[tuple[str, ...], BeforeValidator(_keys), _KEYS]


# --- The table -----------------------------------------------------------------------------------

GROUPS = {
    "Your code": "Which functions are served, and by which Python.",
    "NATS": "Where the NATS server is and how to be let in. "
    "The names and meanings are those of the `nats` command.",
    "Address": "The subjects the provider answers on.",
    "Lattice": "Signed calls, as wasmCloud hosts and actors make them. "
    "A host says most of this itself when it launches the provider.",
    "Calls": "How long a call may take, how many may wait and how many run.",
    "Limits": "How large a message and the values in it may be.",
    "Worker": "The process that runs your code.",
    "Reload": "What happens when your code is edited.",
    "Logs": "What is written to standard error.",
}
"""The groups of knobs in the order of the documentation, and what each is about."""


def _knob(
    variable: str,
    group: str,
    help: str,  # noqa: A002  the word of the command line
    *,
    default: object = None,
    flag: str | None = "",
    ge: int | None = None,
    gt: int | None = None,
    le: int | None = None,
) -> Any:
    """A field: its flag is its name with dashes unless `flag` says otherwise; None is no flag."""
    return Field(
        default,
        validation_alias=variable,
        description=help,
        json_schema_extra={"group": group, "flag": flag},
        ge=ge,
        gt=gt,
        le=le,
    )


class Settings(BaseSettings):
    """The value of every knob, checked. Made by `load`; built by hand it reads nothing.

    Attributes:
        sources: where each field's value came from, such as "flag --lattice",
            "environment NATS_URL", ".env NATS_URL", "context production" or "default".
        unknown: variables that begin with PROVIDER_ and are none of ours, each followed by the
            nearest name where one is near.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=False,
        hide_input_in_errors=True,
    )

    python_dispatch: Target = _knob(
        "PYTHON_DISPATCH",
        "Your code",
        "The dispatch program, with its function handle(command, arg): the path of a file, "
        "or the name of a module.",
        flag="--dispatch",
    )
    python_main: SomePath = _knob(
        "PYTHON_MAIN",
        "Your code",
        "A main program of your own in place of the built-in one, with a function "
        "main(command, arg).",
        flag="--main",
    )
    venv_path: SomePath = _knob(
        "VENV_PATH",
        "Your code",
        "The virtual environment whose Python runs your code. "
        "Unset, it is the Python the provider itself runs on.",
    )
    python_path: Folders = _knob(
        "PYTHON_PATH",
        "Your code",
        "More folders your code may import from, separated by colons.",
        default=(),
    )

    nats_url: Servers = _knob(
        "NATS_URL",
        "NATS",
        "The NATS server, or several of one cluster separated by commas. "
        "Schemes: nats (when left out), tls, ws, wss.",
        default="nats://127.0.0.1:4222",
    )
    nats_user: Text = _knob("NATS_USER", "NATS", "User name.")
    nats_password: Secret = _knob("NATS_PASSWORD", "NATS", "Password of the user.", flag=None)
    nats_token: Secret = _knob(
        "NATS_TOKEN", "NATS", "Token, where the server asks for one.", flag=None
    )
    nats_creds: ReadableFile = _knob(
        "NATS_CREDS", "NATS", "Credentials file (.creds) of a NATS user."
    )
    nats_nkey: ReadableFile = _knob("NATS_NKEY", "NATS", "File with the seed of an NKey.")
    nats_cert: ReadableFile = _knob("NATS_CERT", "NATS", "Client certificate for TLS, a PEM file.")
    nats_key: ReadableFile = _knob(
        "NATS_KEY", "NATS", "Private key of the client certificate, a PEM file."
    )
    nats_ca: ReadableFile = _knob(
        "NATS_CA", "NATS", "Certificates to trust in place of the system's, a PEM file."
    )
    nats_context: Text = _knob(
        "NATS_CONTEXT",
        "NATS",
        "A context of the nats command, by name. It fills in whatever of this group is given "
        "nowhere else.",
    )
    embedded_nats: Switch = _knob(
        "PROVIDER_EMBEDDED_NATS",
        "NATS",
        "Start a NATS server of our own, unless a URL is given.",
        default=False,
    )
    embedded_port: Number = _knob(
        "PROVIDER_EMBEDDED_PORT",
        "NATS",
        "Port of that server, on 127.0.0.1; 0 for any free one.",
        ge=0,
        le=65535,
        default=4222,
    )
    wait: Switch = _knob(
        "PROVIDER_WAIT",
        "NATS",
        "Keep trying while no NATS server answers at the start. Off, that is an error at once.",
        default=True,
    )

    lattice: Token = _knob(
        "PROVIDER_LATTICE",
        "Address",
        "The lattice: providers and callers in different lattices do not see each other.",
        default="default",
    )
    key: Token = _knob(
        "PROVIDER_KEY",
        "Address",
        "The provider key in the subject wasmbus.rpc.LATTICE.KEY.LINK.",
        default="python",
    )
    link_name: Token = _knob(
        "PROVIDER_LINK_NAME", "Address", "The link name in that subject.", default="default"
    )
    name: ServiceName = _knob(
        "PROVIDER_NAME",
        "Address",
        "The name in service discovery and in the subjects provider.LATTICE.NAME.OPERATION.",
        default="python",
    )

    cluster_issuers: Keys = _knob(
        "PROVIDER_CLUSTER_ISSUERS",
        "Lattice",
        "Public keys (C...) that may sign calls, separated by commas. With one, signed calls of "
        "linked actors are answered, and links and health asked for as on a wasmCloud lattice.",
        default=(),
    )
    strict: Switch = _knob(
        "PROVIDER_STRICT",
        "Lattice",
        "Refuse what the wasmbus protocol lets through: a signed call sent a second time or long "
        "ago, one for another link or contract, a shutdown that names no host, and calls that "
        "nobody signed.",
        default=False,
    )
    cluster_seed: ReadableFile = _knob(
        "PROVIDER_CLUSTER_SEED",
        "Lattice",
        "File with the seed (SC...) that signs calls made with --wasmbus.",
    )
    actor: Text = _knob(
        "PROVIDER_ACTOR",
        "Lattice",
        "Public key (M...) of the actor in whose name such calls are made.",
    )
    contract_id: Text = _knob(
        "PROVIDER_CONTRACT_ID",
        "Lattice",
        "The contract in their target and in links.",
        default="wasmcloud:example:python",
    )

    call_timeout: Duration = _knob(
        "PROVIDER_CALL_TIMEOUT",
        "Calls",
        "How long a call may wait and run when its caller does not say. 0 is no deadline.",
        default=60.0,
    )
    max_call_timeout: Duration = _knob(
        "PROVIDER_MAX_CALL_TIMEOUT",
        "Calls",
        "The longest a call may take; a longer timeout of a caller is cut to this. "
        "0 is no maximum.",
        default=3600.0,
    )
    queue_calls: Number = _knob(
        "PROVIDER_QUEUE_CALLS",
        "Calls",
        "How many calls may wait. One more is answered at once with `overloaded`.",
        ge=1,
        default=1024,
    )
    queue_bytes: Size = _knob(
        "PROVIDER_QUEUE_BYTES",
        "Calls",
        "How much memory the arguments of waiting calls may take together.",
        ge=1,
        default=64 << 20,
    )
    concurrency: Number = _knob(
        "PROVIDER_CONCURRENCY",
        "Calls",
        "How many calls run at the same time, in threads. 1 is one after the other in the order "
        "of arrival.",
        ge=1,
        le=256,
        default=1,
    )

    max_message: Size = _knob(
        "PROVIDER_MAX_MESSAGE",
        "Limits",
        "The largest message, either way. 0 is whatever the NATS server allows.",
        default=0,
    )
    max_depth: Number = _knob(
        "PROVIDER_MAX_DEPTH",
        "Limits",
        "How deep lists and maps may lie inside one another.",
        ge=1,
        le=400,
        default=64,
    )
    max_items: Number = _knob(
        "PROVIDER_MAX_ITEMS",
        "Limits",
        "The most members of one list or map.",
        ge=1,
        default=1_000_000,
    )
    max_string: Size = _knob(
        "PROVIDER_MAX_STRING", "Limits", "The longest text or byte string.", ge=1, default=64 << 20
    )
    max_integer_bits: Number = _knob(
        "PROVIDER_MAX_INTEGER_BITS", "Limits", "The most bits of one integer.", ge=1, default=65536
    )

    start_timeout: Duration = _knob(
        "PROVIDER_START_TIMEOUT",
        "Worker",
        "How long your code may take to load.",
        gt=0,
        default=30.0,
    )
    stop_timeout: Duration = _knob(
        "PROVIDER_STOP_TIMEOUT",
        "Worker",
        "How long calls already accepted may take to finish when the provider stops.",
        default=30.0,
    )
    tracebacks: Switch = _knob(
        "PROVIDER_TRACEBACKS",
        "Worker",
        "Send tracebacks of your code to callers. They are in the log either way.",
        default=False,
    )

    reload: Switch = _knob(
        "PROVIDER_RELOAD",
        "Reload",
        "Load your code again when it is edited, and answer the operation `reload`. "
        "Off for production.",
        default=True,
    )
    admin: Switch = _knob(
        "PROVIDER_ADMIN",
        "Reload",
        "Answer the admin subjects, with which anyone on the NATS account may reload, drain and "
        "inspect every instance.",
        default=False,
    )

    log_level: Annotated[LogLevel, BeforeValidator(_lower), _choice(LogLevel)] = _knob(
        "PROVIDER_LOG_LEVEL",
        "Logs",
        "The least important log lines that are written.",
        default="info",
    )
    log_format: Annotated[LogFormat, BeforeValidator(_lower), _choice(LogFormat)] = _knob(
        "PROVIDER_LOG_FORMAT",
        "Logs",
        "Coloured lines for people, or one JSON object per line. "
        "auto is pretty on a terminal and json elsewhere.",
        default="auto",
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _unknown: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic-settings names the arguments
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: `load` has read and ranked the places, and can name them."""
        return (init_settings,)

    @property
    def sources(self) -> Mapping[str, str]:
        """Field to place; "code" where settings were built by hand."""
        return {
            field: self._sources.get(field, "code" if field in self.model_fields_set else DEFAULT)
            for field in KNOBS
        }

    @property
    def unknown(self) -> tuple[str, ...]:
        """For a warning: most are misspelt."""
        return self._unknown

    @property
    def nats_url_given(self) -> bool:
        """Whether somebody chose the NATS server, rather than leaving it to the default."""
        return self.sources["nats_url"] != DEFAULT

    @property
    def nats_servers(self) -> tuple[str, ...]:
        """The servers of `nats_url` one by one, each with its scheme. May hold passwords."""
        return parse_servers(self.nats_url)

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        for field, knob in KNOBS.items():
            yield field, knob.write(getattr(self, field))


@dataclass(frozen=True)
class Knob:
    """One row of the table: what there is to say about a knob.

    Attributes:
        field: name of the field of `Settings`.
        variable: name in the environment and in `.env`.
        flag: on the command line, as `--lattice` or `--wait/--no-wait`; None where a value in a
            list of processes would give a secret away.
        group: one of `GROUPS`.
        help: one or two sentences for users.
        default: as text; empty when unset.
        kind: how its values are written.
        bounds: such as "from 1 to 256"; empty when there are none.
    """

    field: str
    variable: str
    flag: str | None
    group: str
    help: str
    default: str
    kind: Kind
    bounds: str

    @property
    def secret(self) -> bool:
        """Whether the value is never shown."""
        return self.kind is _SECRET

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, and its flag takes no value."""
        return self.kind is _SWITCH

    @property
    def file_variable(self) -> str | None:
        """The variable that names a file with the value, for secrets."""
        return f"{self.variable}_FILE" if self.secret else None

    @property
    def expects(self) -> str:
        """What a right value looks like."""
        return f"{self.kind.expects}, {self.bounds}" if self.bounds else self.kind.expects

    def write(self, value: object) -> str:
        """A value of this knob as a person would write it; empty for None, masked if secret."""
        return "" if value is None else self.kind.write(value)

    def show(self, value: object) -> str:
        """A value somebody gave, right or wrong: quoted, cut short, and masked if secret."""
        if self.secret:
            return MASK
        text = mask_url(str(value)) if self.kind is _URLS else str(value)
        return repr(clip(text, 200))


def _knobs() -> dict[str, Knob]:
    knobs = {}
    for field, info in Settings.model_fields.items():
        extra: Any = info.json_schema_extra
        (kind,) = (item for item in info.metadata if isinstance(item, Kind))
        flag: str | None = extra["flag"]
        if flag == "":
            flag = "--" + field.replace("_", "-")
            if kind is _SWITCH:
                flag += "/--no-" + flag.removeprefix("--")
        knobs[field] = Knob(
            field=field,
            variable=str(info.validation_alias),
            flag=flag,
            group=extra["group"],
            help=str(info.description),
            default="" if info.default is None else kind.write(info.default),
            kind=kind,
            bounds=_bounds(info.metadata),
        )
    return knobs


def _bounds(metadata: Iterable[object]) -> str:
    found = {
        word: getattr(item, word)
        for item in metadata
        for word in ("ge", "gt", "le")
        if hasattr(item, word)
    }
    if "le" in found:
        return f"from {found['ge']} to {found['le']}"
    if "ge" in found:
        return f"at least {found['ge']}"
    return f"more than {found['gt']}" if found else ""


KNOBS: Mapping[str, Knob] = _knobs()
"""The table, by name of the field."""

_BY_VARIABLE = {knob.variable: knob for knob in KNOBS.values()}
_VARIABLES = {
    name for knob in KNOBS.values() for name in (knob.variable, knob.file_variable) if name
}


# --- Loading -------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """A value somebody gave, and where."""

    value: object
    source: str


@dataclass(frozen=True)
class _Problem:
    """One wrong value: whose it is, what it looks like, where it stands and what was expected."""

    what: str
    expected: str
    value: str = ""
    source: str = ""

    def __str__(self) -> str:
        lines = (("value", self.value), ("from", self.source), ("expected", self.expected))
        return "\n".join([self.what, *(f"  {word:<9} {text}" for word, text in lines if text)])


_Place = dict[str, _Found]


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | Literal[False] | None = None,
) -> Settings:
    """Read every place, check every value.

    Args:
        flags: values of the command line by name of the field; None means not given.
        environ: the environment, the process's own when left out.
        env_file: a file that must exist; None takes `.env` of the working directory if it is
            there; False takes none.

    Raises:
        StartError: anything is wrong. The text lists every wrong value with its variable, where
            it came from and what is expected, and holds no secret.
        TypeError: `flags` has a name that is no field.
    """
    environ = os.environ if environ is None else environ
    problems: list[_Problem] = []
    lines, file_name = _read_env_file(env_file, problems)
    found: _Place = {
        **_from_variables(lines, file_name, problems),
        **_from_variables(environ, "environment", problems),
        **_from_flags(flags or {}),
    }
    if "nats_context" in found:
        found = {**_from_context(found["nats_context"], environ, problems), **found}
    settings = _checked(found, environ.get("HOME", ""), problems)
    if settings is None or problems:
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        raise StartError("\n\n".join([f"{count} wrong:", *map(str, problems)]))
    # Private so that nothing else sets them; load is the one maker of settings.
    settings._sources = {field: given.source for field, given in found.items()}  # noqa: SLF001
    settings._unknown = tuple(_unknown({**lines, **environ}))  # noqa: SLF001
    return settings


def _checked(found: _Place, home: str, problems: list[_Problem]) -> Settings | None:
    """The settings, or None with the reasons added to `problems`."""
    values = {
        KNOBS[field].variable: _at_home(given.value, home)
        if KNOBS[field].kind.is_path
        else given.value
        for field, given in found.items()
    }
    try:
        return Settings.model_validate(values)
    except ValidationError as wrong:
        for error in wrong.errors(include_url=False):
            knob = _BY_VARIABLE[str(error["loc"][0])]
            given = found[knob.field]
            reason = error.get("ctx", {}).get("error")
            problems.append(
                _Problem(
                    knob.variable,
                    value=knob.show(given.value),
                    source=given.source,
                    expected=str(reason) if reason else knob.expects,
                )
            )
    return None


def _at_home(value: object, home: str) -> object:
    # Shells expand ~ in what they are typed, but nobody does it in .env, in a unit file or in a
    # NATS context.
    if isinstance(value, str) and home:
        return re.sub(r"(^|:)~/", lambda match: f"{match[1]}{home}/", value)
    return value


def _from_flags(flags: Mapping[str, object]) -> _Place:
    found = {}
    for field, value in flags.items():
        if field not in KNOBS:
            raise TypeError(f"there is no setting {field!r}")
        # A flag that may be repeated and is not there is an empty list.
        if value is None or value in ([], ()):
            continue
        on, _, off = (KNOBS[field].flag or field).partition("/")
        found[field] = _Found(value, f"flag {off if off and value is False else on}")
    return found


def _from_variables(variables: Mapping[str, str], place: str, problems: list[_Problem]) -> _Place:
    """What a place with variables says. An empty variable says nothing."""
    found = {}
    for knob in KNOBS.values():
        plain = variables.get(knob.variable)
        path = variables.get(knob.file_variable) if knob.file_variable else None
        if plain and path:
            problems.append(
                _Problem(
                    knob.variable,
                    value=knob.show(plain),
                    source=f"{place} {knob.variable}",
                    expected=f"only one of {knob.variable} and {knob.file_variable}",
                )
            )
        elif plain:
            found[knob.field] = _Found(plain, f"{place} {knob.variable}")
        elif path:
            source = f"{place} {knob.file_variable}"
            try:
                found[knob.field] = _Found(_read_secret(Path(path)), source)
            except ValueError as expected:
                problems.append(
                    _Problem(
                        f"{knob.file_variable}", str(expected), value=repr(path), source=source
                    )
                )
    return found


def _read_secret(path: Path) -> str:
    """What a file holds, without the white space around it.

    Raises:
        ValueError: it cannot be used; the text says what is expected. So in all the `_read_...`.
    """
    secret = _read_text(path).strip()
    if not secret:
        raise ValueError("a file that is not empty")
    return secret


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from None
    except ValueError:
        # Not the library's reason: it repeats a piece of the file.
        raise ValueError("a text file in UTF-8") from None


def _read_env_file(
    chosen: Path | Literal[False] | None, problems: list[_Problem]
) -> tuple[dict[str, str], str]:
    """The variables of the `.env` file as they stand there, and the name to call it by."""
    path = Path(".env") if chosen is None else chosen
    # A folder called .env is a virtual environment of somebody's.
    if path is False or (chosen is None and not path.is_file()):
        return {}, ""
    variables: dict[str, str] = {}
    try:
        text = _read_text(path)
    except ValueError as expected:
        problems.append(_Problem(str(path), str(expected)))
        return variables, str(path)
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            # The parser counts from the blank lines before it.
            blank = re.match(r"\s*", binding.original.string)
            line = binding.original.line + (blank[0].count("\n") if blank else 0)
            problems.append(_Problem(f"{path}, line {line}", "NAME=value, with its quotes closed"))
        elif binding.key and binding.value:
            variables[binding.key] = binding.value
    return variables, str(path)


_CONTEXT_KEYS = {
    "url": "nats_url",
    "user": "nats_user",
    "password": "nats_password",
    "token": "nats_token",
    "creds": "nats_creds",
    "nkey": "nats_nkey",
    "cert": "nats_cert",
    "key": "nats_key",
    "ca": "nats_ca",
}


def _from_context(chosen: _Found, environ: Mapping[str, str], problems: list[_Problem]) -> _Place:
    """What a context of the `nats` command says about the connection."""
    name = str(chosen.value)
    try:
        context = _read_context(name, environ)
    except ValueError as expected:
        problems.append(_Problem("NATS_CONTEXT", str(expected), repr(name), chosen.source))
        return {}
    return {
        field: _Found(context[key], f"context {name}")
        for key, field in _CONTEXT_KEYS.items()
        if context.get(key)
    }


def _read_context(name: str, environ: Mapping[str, str]) -> dict[str, object]:
    if not re.fullmatch(r"[^/\\\s]+", name) or name.startswith("."):
        raise ValueError("the name of a context, as `nats context ls` shows it")
    home = environ.get("HOME")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if not config:
        raise ValueError("XDG_CONFIG_HOME or HOME in the environment, to find contexts by")
    path = Path(config, "nats", "context", f"{name}.json")
    try:
        text = _read_text(path)
    except ValueError as expected:
        raise ValueError(f"{expected} at {path}") from None
    try:
        context = json.loads(text)
    except ValueError:
        # Not the library's reason: the exception carries the file, and that a password.
        raise ValueError(f"JSON in {path}") from None
    if not isinstance(context, dict):
        raise ValueError(f"a JSON object in {path}")  # noqa: TRY004  callers catch one class
    for key in _CONTEXT_KEYS:
        if not isinstance(context.get(key, ""), str):
            raise ValueError(f"text as {key!r} in {path}")  # noqa: TRY004  as above
    return context


def _unknown(variables: Iterable[str]) -> Iterator[str]:
    for name in sorted(variables):
        if name.startswith("PROVIDER_") and name not in _VARIABLES:
            # Without the beginning they all share, or everything would be near.
            ours = {known.removeprefix("PROVIDER_"): known for known in sorted(_VARIABLES)}
            near = difflib.get_close_matches(name.removeprefix("PROVIDER_"), ours, n=1)
            yield f"{name} (nearest is {ours[near[0]]})" if near else name


# --- Showing -------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One line of `provider config`."""

    variable: str
    value: str
    source: str
    help: str


def rows(settings: Settings) -> list[Row]:
    """Every setting as text, in the order of the documentation, secrets masked."""
    sources = settings.sources
    return [
        Row(knob.variable, knob.write(getattr(settings, field)), sources[field], knob.help)
        for field, knob in KNOBS.items()
    ]
