"""The connection to NATS: how it is made, and what is said while it comes and goes.

The rule of this file: no callback raises, because nats-py stops reconnecting when one does; and a
connection that is lost for good is told, because a provider that lives on deaf helps nobody.
Used by the host, the client and the commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import nats.errors
from nats.aio.client import Client

from provider.credentials import Credentials, GivenCredentials, key_pair
from provider.errors import StartError
from provider.servers import with_scheme, without_secrets
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provider.lattice.host_data import Login

C = TypeVar("C", bound=Client)

CONNECT_TIMEOUT = 2
"""Seconds one try at one server may take."""
_LOGIN_OF_OURS = "NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CREDS or NATS_NKEY"
_LOGIN_OF_HOST = (
    "the login that the host passes on (lattice_rpc_user_jwt and lattice_rpc_user_seed of the "
    "host data)"
)
_PLACE_OF_OURS = (
    "start one (provider run --embedded-nats brings its own) or name another in NATS_URL"
)
_PLACE_OF_HOST = (
    "the host named it (lattice_rpc_url of the host data); PROVIDER_WAIT=on keeps trying"
)

_log = logs.get_logger(component="nats")


@dataclass(frozen=True, repr=False)
class NatsOptions:
    """Where NATS is and who we are there. Secrets stay out of its text.

    Attributes:
        servers: URLs, tried in order.
        user: with `password`.
        token: instead of user and password.
        creds: path of a credentials file (JWT and seed).
        nkey: path of a file with an nkey seed.
        cert: path of the client certificate, with `key`.
        ca: path of the certificate authorities to trust.
        login: a user's key, and a JWT or none, in place of user, token, creds and nkey.
        by_host: a wasmCloud host said all this; errors name what it says it with.
    """

    servers: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    user: str | None = None
    password: str | None = None
    token: str | None = None
    creds: Path | None = None
    nkey: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    login: Login | None = None
    by_host: bool = False

    def __repr__(self) -> str:
        return f"NatsOptions({self.shown})"

    def as_arguments(self) -> dict[str, Any]:
        """As `nats.connect` takes them.

        Raises:
            StartError: a file that is named does not exist or cannot be used.
        """
        arguments: dict[str, Any] = {"servers": [with_scheme(url) for url in self.servers]}
        if self.login is not None:
            return {**arguments, **self._given(self.login), **self._encryption()}
        if self.user is not None:
            arguments["user"] = self.user
        if self.password is not None:
            arguments["password"] = self.password
        if self.token is not None:
            arguments["token"] = self.token
        if self.creds is not None:
            try:
                credentials = Credentials(_existing("NATS_CREDS", self.creds))
            except ValueError as error:
                raise StartError(f"NATS_CREDS names {self.creds}; {error}") from None
            arguments["user_jwt_cb"] = credentials.jwt
            arguments["signature_cb"] = credentials.sign
        if self.nkey is not None:
            seed = _existing("NATS_NKEY", self.nkey).read_bytes().decode("ascii", "replace").strip()
            try:
                key_pair(seed)
            except ValueError as error:
                raise StartError(f"NATS_NKEY names {self.nkey}; {error}") from None
            arguments["nkeys_seed_str"] = seed
        return {**arguments, **self._encryption()}

    @staticmethod
    def _given(login: Login) -> dict[str, Any]:
        if not login.jwt:
            return {"nkeys_seed_str": login.key.seed}
        credentials = GivenCredentials(login)
        return {"user_jwt_cb": credentials.jwt, "signature_cb": credentials.sign}

    def _encryption(self) -> dict[str, Any]:
        if self.cert is None and self.ca is None:
            return {}
        try:
            context = ssl.create_default_context(
                cafile=None if self.ca is None else str(_existing("NATS_CA", self.ca))
            )
            if self.cert is not None:
                key = None if self.key is None else str(_existing("NATS_KEY", self.key))
                context.load_cert_chain(str(_existing("NATS_CERT", self.cert)), key)
        except (ssl.SSLError, OSError) as error:
            raise StartError(f"the TLS files cannot be used: {error}") from None
        return {"tls": context}

    @property
    def shown(self) -> str:
        """The servers without what a URL may carry of secrets."""
        return ", ".join(without_secrets(with_scheme(url)) for url in self.servers)


async def connect(
    options: NatsOptions,
    *,
    name: str,
    wait: bool,
    on_lost: Callable[[], None] = lambda: None,
    client: C,
) -> C:
    """Connect, and reconnect for ever after.

    Args:
        options: where and who.
        name: shown by the server beside the connection.
        wait: keep trying while no server answers; otherwise give up after one try at each.
        on_lost: called once when the connection is closed for good without being asked to.
        client: not connected yet; it is what is returned.

    Raises:
        StartError: no server answered and `wait` is false, or the server refused us.
    """
    state = _Connecting(options, wait, on_lost)
    arguments = options.as_arguments()
    try:
        await client.connect(
            **arguments,
            name=name,
            max_reconnect_attempts=-1,
            # Several providers that lost the same server must not come back in one wave.
            reconnect_time_wait=_pause(),
            connect_timeout=CONNECT_TIMEOUT,
            pending_size=64 * 1024 * 1024,
            error_cb=state.on_error,
            disconnected_cb=state.on_disconnected,
            reconnected_cb=state.on_reconnected,
            closed_cb=state.on_closed,
        )
    except BaseException as error:
        # nats-py leaves half a connection open, and waits for ever for the end of a TLS handshake
        # that failed.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(0.2):
                await client.close()
        if isinstance(error, TimeoutError | nats.errors.Error | OSError | ValueError):
            raise StartError(f"cannot connect to NATS at {options.shown}: {error!r}") from None
        raise
    state.client = client
    return client


def _pause() -> Any:
    # Not typed as the fraction it is, because nats-py only announces whole seconds.
    return random.uniform(0.2, 0.8)  # noqa: S311  no secret hangs on it


class _Connecting:
    """What the callbacks of one connection know."""

    def __init__(self, options: NatsOptions, wait: bool, on_lost: Callable[[], None]) -> None:
        self._options = options
        self._wait = wait
        self._on_lost = on_lost
        self._failed = 0
        self.client: Client | None = None

    async def on_error(self, error: Exception) -> None:
        if self.client is not None:
            _log.warning("nats_error", error=_text(error))
            return
        self._failed += 1
        if _is_refusal(error):
            raise StartError(
                f"NATS at {self._options.shown} refused the connection: {_text(error)}; check "
                + (_LOGIN_OF_HOST if self._options.login else _LOGIN_OF_OURS)
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            raise StartError(
                f"the certificate of NATS at {self._options.shown} is not trusted: "
                f"{error.verify_message}; name the authority that signed it in NATS_CA"
            )
        if not self._wait and self._failed >= len(self._options.servers):
            raise StartError(
                f"no NATS server at {self._options.shown} ({_text(error)}); "
                + (_PLACE_OF_HOST if self._options.by_host else _PLACE_OF_OURS)
            )
        if self._failed == 1:
            _log.warning(
                "nats_unreachable",
                servers=self._options.shown,
                error=_text(error),
                next="trying again until it answers; --no-wait gives up instead",
            )

    async def on_disconnected(self) -> None:
        if self.client is not None and not self.client.is_closed:
            _log.warning("nats_disconnected", servers=self._options.shown)

    async def on_reconnected(self) -> None:
        _log.info("nats_reconnected", servers=self._options.shown)

    async def on_closed(self) -> None:
        if self.client is not None:
            self._on_lost()


def _is_refusal(error: Exception) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, nats.errors.AuthorizationError)
        or "authorization" in text
        or ("authentication" in text)
    )


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _existing(variable: str, path: Path) -> Path:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise StartError(f"{variable} names {path}, which cannot be read")
    return path
