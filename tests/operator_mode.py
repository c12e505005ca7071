"""Users of a NATS server in operator mode: every JWT is made and signed here, with our own keys."""

from __future__ import annotations

import base64
import hashlib
import json
import time

from provider.lattice.host_data import Login
from provider.lattice.nkeys import KeyPair, Kind

UNLIMITED = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)


class Operator:
    """An operator with one account.

    Attributes:
        configuration: for a server that lets in the users of the account, and nobody else.
    """

    def __init__(self) -> None:
        operator = KeyPair.generate(Kind.OPERATOR)
        self._account = account = KeyPair.generate(Kind.ACCOUNT)
        own = token(operator, operator.public, type="operator")
        limits = {**UNLIMITED, "wildcards": True}
        its = token(operator, account.public, type="account", limits=limits)
        self.configuration = (
            f"operator: {own}\nresolver: MEMORY\nresolver_preload: {{ {account.public}: {its} }}\n"
        )

    def user(self, key: KeyPair | None = None) -> Login:
        """A user who may do anything in the account."""
        key = key or KeyPair.generate(Kind.USER)
        anything = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        return Login(token(self._account, key.public, type="user", **anything), key)


def creds_file(login: Login) -> str:
    """The text of the `.creds` file of this user."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{login.jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{login.key.seed}\n------END USER NKEY SEED------\n"
    )


def token(issuer: KeyPair, subject: str, **claims: object) -> str:
    """A JWT as NATS has them (nats-io/jwt v2)."""

    def part(value: object) -> str:
        return encoded(json.dumps(value).encode())

    body: dict[str, object] = {
        "iat": int(time.time()),
        "iss": issuer.public,
        "sub": subject,
        "name": "test",
        "nats": {"version": 2, **claims},
    }
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode()[:52]
    text = part({"typ": "JWT", "alg": "ed25519-nkey"}) + "." + part(body)
    return f"{text}.{encoded(issuer.sign(text.encode()))}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
