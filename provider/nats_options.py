"""Where NATS is and who we are there.

The rule of this file: it is known before anything of NATS is imported, and no text of it holds a
secret. Keys and credentials are read when the connection is made.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.errors import StartError
from provider.pem import load_certificate, no_authorities
from provider.servers import with_scheme, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from provider.lattice.host_data import Login

PING = 5.0
"""Seconds between two PINGs, unless told otherwise."""


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
        by_host: a wasmCloud host said all this, the login too if there is one; errors name what it
            says it with.
        inbox_prefix: what the subjects begin with on which answers are received.
        ping: seconds between two PINGs. A server that answers none is noticed after two to three.
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
    inbox_prefix: str = "_INBOX"
    ping: float = PING

    def __repr__(self) -> str:
        return f"NatsOptions({self.shown})"

    def as_arguments(self) -> dict[str, Any]:
        """As `nats.connect` takes them.

        Raises:
            StartError: a file that is named does not exist or cannot be used.
        """
        arguments: dict[str, Any] = {
            "servers": [with_scheme(url) for url in self.servers],
            "inbox_prefix": self.inbox_prefix,
        }
        if self.login is not None:
            return {**arguments, **self._given(self.login), **self._encryption()}
        if self.user is not None:
            arguments["user"] = self.user
        if self.password is not None:
            arguments["password"] = self.password
        if self.token is not None:
            arguments["token"] = self.token
        if self.creds is not None:
            from provider.credentials import Credentials

            try:
                credentials = Credentials(_existing("NATS_CREDS", self.creds))
            except ValueError as error:
                raise StartError(f"NATS_CREDS names {self.creds}; {error}") from None
            arguments["user_jwt_cb"] = credentials.jwt
            arguments["signature_cb"] = credentials.sign
        if self.nkey is not None:
            from provider.credentials import key_pair

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
        from provider.credentials import GivenCredentials

        credentials = GivenCredentials(login)
        return {"user_jwt_cb": credentials.jwt, "signature_cb": credentials.sign}

    def _encryption(self) -> dict[str, Any]:
        if self.key is not None and self.cert is None:
            raise StartError("NATS_KEY is of no use without its certificate, in NATS_CERT")
        if self.cert is None and self.ca is None:
            return {}
        ca = None if self.ca is None else _existing("NATS_CA", self.ca)
        try:
            context = ssl.create_default_context(cafile=ca)
        except OSError as error:
            if ca is None:
                raise
            raise no_authorities(ca, error, variable="NATS_CA") from None
        if self.cert is not None:
            key = None if self.key is None else _existing("NATS_KEY", self.key)
            cert = _existing("NATS_CERT", self.cert)
            load_certificate(context, cert, key, variables=("NATS_CERT", "NATS_KEY"))
        return {"tls": context}

    @property
    def shown(self) -> str:
        """The servers without what a URL may carry of secrets."""
        return ", ".join(without_secrets(with_scheme(url)) for url in self.servers)


def _existing(variable: str, path: Path) -> Path:
    if not path.is_file() or not os.access(path, os.R_OK):
        raise StartError(f"{variable} names {path}, which cannot be read")
    return path
