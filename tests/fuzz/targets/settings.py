"""Texts of settings, from wherever they come, and what is read because a setting names it.

The rule of this file: nothing counts of the environment of whoever runs it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from provider import units
from provider.credentials import Credentials
from provider.errors import StartError
from provider.servers import mask_url, parse_servers, with_scheme, without_secrets
from provider.settings import kinds
from provider.settings.load import load
from provider.settings.table import KNOBS, Settings
from tests.fuzz.target import MOST_TEXT, scratch, target

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER = scratch()
(_FOLDER / "nats" / "context").mkdir(parents=True)
_SECRET = "s3cret"
_NAMES = [knob.variable for knob in KNOBS.values()]
_SECRETS = [knob.variable for knob in KNOBS.values() if knob.secret]
_ASSIGNED = tuple(f"{name}=".encode() for name in _SECRETS)
_KINDS: dict[str, Any] = {
    name: TypeAdapter(getattr(kinds, name))
    for name in (
        "Duration",
        "Size",
        "Number",
        "Switch",
        "Servers",
        "Token",
        "Tokens",
        "ServiceName",
        "Folders",
        "Keys",
        "Listen",
        "Origins",
        "Level",
        "Format",
    )
}
_WORDS = (
    b"1h30m",
    b"500ms",
    b"64KiB",
    b"nats://a:4222,tls://b",
    b"[::1]:80",
    b"*",
    b"on",
    b"https://",
)
_model: type[BaseModel] = Settings


@target(*_WORDS)
def texts(data: bytes) -> None:
    """A text for each kind of value: what it stands for is written so that it is read back."""
    text = data.decode("utf-8", "replace")
    for name, adapter in _KINDS.items():
        try:
            value = adapter.validate_python(text)
        except ValidationError as error:
            error.errors(include_url=False)
            continue
        if name in ("Duration", "Size"):
            write = units.format_duration if name == "Duration" else units.format_size
            assert adapter.validate_python(write(value)) == value
        elif name in ("Keys", "Origins"):
            assert adapter.validate_python(",".join(value)) == value
    with contextlib.suppress(ValueError):
        for url in parse_servers(text):
            assert with_scheme(url) == url
            assert "@" not in without_secrets(url).partition("://")[2].partition("/")[0]
    assert isinstance(mask_url(text), str)


@target(b"\0", _SECRET.encode(), *(name.encode() for name in _NAMES[:40]))
def environment(data: bytes) -> None:
    """The environment: a variable for each line, named or chosen by its first byte."""
    variables = {}
    for line in data.replace(b"\0", b"").split(b"\n")[:20]:
        name, separator, value = line.decode("utf-8", "surrogateescape").partition("=")
        if not separator and line:
            name, value = _NAMES[line[0] % len(_NAMES)], name[1:]
        if name != "NATS_CONTEXT":
            variables[name] = value
    _load(variables, None, hides=variables.keys() <= set(_SECRETS))


@target(
    *_WORDS, _SECRET.encode(), b"NATS_PASSWORD='", b'="', b"\\n", b"export ", b" # ", b"${", b"\n"
)
def env_file(data: bytes) -> None:
    """A `.env` file."""
    path = _FOLDER / "env"
    path.write_bytes(data)
    told = [line for line in data.splitlines() if _SECRET.encode() in line]
    # A secret in another variable is none.
    _load({}, path, hides=all(line.startswith(_ASSIGNED) for line in told))


@target(
    b'{"url":"nats://127.0.0.1:4222"}',
    b'"password":"s3cret"',
    b'"token":"s3cret"',
    b'"creds":"~/x"',
    b'"nkey":',
    b'"ca":',
)
def context(data: bytes) -> None:
    """A context of the `nats` command."""
    (_FOLDER / "nats" / "context" / "fuzz.json").write_bytes(data)
    _load({"NATS_CONTEXT": "fuzz", "XDG_CONFIG_HOME": str(_FOLDER)}, None, hides=False)
    name = data[:40].replace(b"\0", b"").decode("utf-8", "surrogateescape")
    _load({"NATS_CONTEXT": name, "XDG_CONFIG_HOME": str(_FOLDER)}, None, hides=False)


def _load(environ: dict[str, str], env_file: Path | None, *, hides: bool) -> None:
    """Load settings; where only secrets are told of, no error may repeat one."""
    try:
        made = load({}, environ=environ, env_file=env_file or False)
    except StartError as error:
        lines = len(environ) if env_file is None else env_file.read_bytes().count(b"\n") + 1
        assert len(str(error)) < (lines + 1) * MOST_TEXT  # noqa: PT017  a person reads it
        if hides:
            assert _SECRET not in str(error)  # noqa: PT017  it is a secret
        return
    for knob in KNOBS.values():
        assert isinstance(knob.write(getattr(made, knob.field)), str)
        if knob.secret:
            assert _SECRET not in knob.write(getattr(made, knob.field))


@target(
    b"-----BEGIN NATS USER JWT-----\n",
    b"\n------END NATS USER JWT------\n",
    b"-----BEGIN USER NKEY SEED-----\n",
    b"\n------END USER NKEY SEED------\n",
    b"SUAACAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAHBCY",
)
def creds(data: bytes) -> None:
    """A `.creds` file, which somebody may write while it is read."""
    path = _FOLDER / "user.creds"
    path.write_bytes(data)
    try:
        read = Credentials(path)
    except ValueError as error:
        assert len(str(error)) < 200  # noqa: PT017  nothing of a seed is in it
        return
    read.jwt()
    path.write_bytes(data[::-1])
    read.sign("nonce")
