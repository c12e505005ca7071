"""The kinds of values a setting can have: how each is checked, written and talked about.

The rule of this file: a kind knows no setting. What a wrong value should have looked like is said
here once, for errors and documents alike.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, SecretStr

from provider import units
from provider.servers import MASK, mask_url, parse_servers

if TYPE_CHECKING:
    from collections.abc import Callable

# --- Checks --------------------------------------------------------------------------------------


def _token(text: str) -> str:
    if not text or not text.isprintable() or any(char in " .*>" for char in text):
        raise ValueError(_TOKEN.expects)
    return text


def _tokens(text: str) -> str:
    try:
        return ".".join(map(_token, text.split(".")))
    except ValueError:
        raise ValueError(_TOKENS.expects) from None


def _service_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ValueError(_NAME.expects)
    return text


def _readable(path: Path) -> Path:
    # Not is_file(): a secret may come through a named pipe or /dev/fd.
    if not os.access(path, os.R_OK) or path.is_dir():
        raise ValueError(_FILE.expects)
    return path


_GIVEN = re.compile(
    # A file of credentials, the seed of an NKey, a JWT: the text itself and not where it lies.
    r"-----BEGIN .*|S[A-Z2-7]{57}|eyJ[\w-]+\.[\w-]+\.[\w-]+",
    re.DOTALL,
)
_SURELY_A_PATH = re.compile(r"[^\n]*/[^\n]*|(?!eyJ)[\w -]{1,60}\.[A-Za-z]{1,6}")


def is_given(value: object) -> bool:
    """Whether a credential is itself what was given, and not the path of a file with it."""
    return isinstance(value, str) and bool(_GIVEN.fullmatch(value.strip()))


def is_surely_a_path(value: object) -> bool:
    """Whether a credential may be shown: a mistyped one looks like neither of the two."""
    text = str(value)
    return not is_given(text) and bool(_SURELY_A_PATH.fullmatch(text))


def _credential(value: object) -> object:
    if not isinstance(value, str):
        return value
    return SecretStr(value.strip()) if is_given(value) else Path(value)


def _usable(value: Path | SecretStr) -> Path | SecretStr:
    # The path itself may be a secret that was mistyped, so the text repeats nothing of it.
    if isinstance(value, Path) and (not os.access(value, os.R_OK) or value.is_dir()):
        raise ValueError(CREDENTIAL.expects)
    return value


def _folders(value: object) -> object:
    return [part for part in value.split(":") if part] if isinstance(value, str) else value


def _readables(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    try:
        return tuple(map(_readable, paths))
    except ValueError:
        raise ValueError(_FILES.expects) from None


def _listen(text: str) -> str:
    host, _, port = text.rpartition(":")
    plain = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (port.isascii() and port.isdigit() and int(port) < 65536) or (
        text != port and (not plain or not plain.isprintable() or " " in plain)
    ):
        raise ValueError(_LISTEN.expects)
    if ":" in plain and plain == host:
        raise ValueError(_LISTEN.expects)  # an IPv6 address needs its brackets
    return text


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = tuple(part.strip() for part in value.split(",") if part.strip())
    if any(not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[!-~]+(?<!/)", each) for each in origins):
        raise ValueError(_ORIGINS.expects)
    return origins


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
SWITCH = Kind(
    "on or off", "on or off (or true, false, yes, no, 1, 0)", lambda on: "on" if on else "off"
)
_TEXT = Kind("text", "text")
SECRET = Kind("secret", "text", lambda _: MASK)
CREDENTIAL = Kind(
    "file or its text",
    "the path of a file that can be read, or what would stand in it",
    lambda value: str(value) if isinstance(value, Path) else MASK,
    is_path=True,
)
URLS = Kind("URLs", "text", mask_url)
_TOKEN = Kind(
    "subject token",
    "one token of a NATS subject: not empty, no dots, spaces, *, > or control characters",
)
_TOKENS = Kind(
    "subject tokens",
    "tokens of a NATS subject with dots between them, none empty: no spaces, *, > or control "
    "characters",
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
_FILES = Kind(
    "files",
    "paths of files that can be read, separated by colons",
    lambda paths: ":".join(str(path) for path in paths),
    is_path=True,
)
_LISTEN = Kind("port or host:port", "a port such as 8000, or host:port such as 0.0.0.0:8000")
_ORIGINS = Kind(
    "origins",
    "origins of web pages such as https://example.org separated by commas, or *",
    ",".join,
)
_KEYS = Kind("public keys", "public keys separated by commas", ",".join)

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "pretty", "json"]
ReloadMode = Literal["live", "process"]
NothingLoaded = Literal["answer", "leave"]


def _choice(of: object) -> Kind:
    words = ", ".join(get_args(of))
    return Kind(f"one of {words}", f"one of {words}")


Duration = Annotated[float, BeforeValidator(units.parse_duration), _DURATION]
"""Seconds, written `500ms`, `60s` or `1h30m`."""

Size = Annotated[int, BeforeValidator(units.parse_size), _SIZE]
"""Bytes, written `64KiB`, `10MB` or `1000`."""

Number = Annotated[int, _NUMBER]
Switch = Annotated[bool, SWITCH]
Text = Annotated[str | None, _TEXT]
Secret = Annotated[SecretStr | None, SECRET]
Servers = Annotated[str, AfterValidator(lambda text: parse_servers(text) and text), URLS]
Token = Annotated[str, AfterValidator(_token), _TOKEN]
Tokens = Annotated[str, AfterValidator(_tokens), _TOKENS]
ServiceName = Annotated[str, AfterValidator(_service_name), _NAME]
Target = Annotated[str | None, _TARGET]
SomePath = Annotated[Path | None, _PATH]
Credential = Annotated[
    Path | SecretStr | None, BeforeValidator(_credential), AfterValidator(_usable), CREDENTIAL
]
"""What proves who we are: the path of a file, or what is in it."""

ReadableFile = Annotated[Path | None, AfterValidator(_readable), _FILE]
Folders = Annotated[tuple[Path, ...], BeforeValidator(_folders), _FOLDERS]
Files = Annotated[tuple[Path, ...], BeforeValidator(_folders), AfterValidator(_readables), _FILES]
Keys = Annotated[tuple[str, ...], BeforeValidator(_keys), _KEYS]
Listen = Annotated[str | None, AfterValidator(_listen), _LISTEN]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins), _ORIGINS]
Level = Annotated[LogLevel, BeforeValidator(_lower), _choice(LogLevel)]
Format = Annotated[LogFormat, BeforeValidator(_lower), _choice(LogFormat)]
Mode = Annotated[ReloadMode, BeforeValidator(_lower), _choice(ReloadMode)]
Unloaded = Annotated[NothingLoaded, BeforeValidator(_lower), _choice(NothingLoaded)]
