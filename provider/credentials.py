"""Credentials of a NATS user, a JWT and the seed that answers for it: in a `.creds` file, or given.

The rule of this file: a file is read again for every connection, because it may have been renewed,
and what was read last goes on being used while it is broken. nats-py reads such files too, but
waits for ever in one without a JWT, and never connects again after one that is broken.
"""

from __future__ import annotations

import base64
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import nkeys  # type: ignore[import-untyped]  # no types are shipped

if TYPE_CHECKING:
    from provider.lattice.host_data import Login

_JWT = re.compile(r"-BEGIN NATS USER JWT-+\s+([\w.=-]+)\s+-")
_SEED = re.compile(r"-BEGIN USER NKEY SEED-+\s+(\w+)\s+-")


class Credentials:
    """What a credentials file says.

    Args:
        path: of the file.

    Raises:
        ValueError: it holds no JWT, or no seed; the text names which.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jwt, self._seed = self._read()

    def jwt(self) -> bytes:
        """What the server is told we are."""
        return self._jwt.encode()

    def sign(self, nonce: str) -> bytes:
        """The proof of it. Asked for first when a connection is made."""
        with contextlib.suppress(OSError, ValueError):
            self._jwt, self._seed = self._read()
        pair = key_pair(self._seed)
        return base64.b64encode(pair.sign(nonce.encode()))

    def _read(self) -> tuple[str, str]:
        return _parts(Path(self._path).read_text(encoding="utf-8", errors="replace"))


class GivenCredentials:
    """What somebody else has read: a JWT and the key that answers for it.

    Args:
        login: with a JWT.
    """

    def __init__(self, login: Login) -> None:
        self._login = login

    def jwt(self) -> bytes:
        """What the server is told we are."""
        return self._login.jwt.encode()

    def sign(self, nonce: str) -> bytes:
        """The proof of it."""
        return base64.b64encode(self._login.key.sign(nonce.encode()))


def login_from(
    *, creds: str | None = None, jwt: str | None = None, seed: str | None = None
) -> Login:
    """Who we are, where credentials are given themselves, in place of files with them.

    Args:
        creds: the text of a `.creds` file; in place of the others.
        jwt: of the user; None for a key alone.
        seed: of the user's key.

    Raises:
        ValueError: one lacks, or cannot be used. The text says which, and repeats nothing of it.
    """
    from provider.lattice.host_data import Login
    from provider.lattice.nkeys import BadKey, KeyPair

    if creds is not None:
        try:
            jwt, seed = _parts(creds)
        except ValueError as error:
            raise ValueError(f"NATS_CREDS: {error}") from None
    if seed is None:
        raise ValueError("NATS_JWT is of no use without the seed that belongs to it, in NATS_NKEY")
    try:
        return Login((jwt or "").strip(), KeyPair.from_seed(seed.strip()))
    except BadKey:
        raise ValueError("NATS_NKEY: it holds no seed of an nkey") from None


def _parts(text: str) -> tuple[str, str]:
    """The JWT and the seed in the text of a `.creds` file."""
    token, seed = _JWT.search(text), _SEED.search(text)
    if token is None:
        raise ValueError("it has no NATS USER JWT")
    if seed is None:
        raise ValueError("it has no USER NKEY SEED")
    key_pair(seed[1])
    return token[1], seed[1]


def key_pair(seed: str) -> nkeys.KeyPair:
    """The keys of a seed.

    Raises:
        ValueError: it is no seed. The text does not repeat it.
    """
    try:
        return nkeys.from_seed(bytearray(seed.encode()))
    except (nkeys.NkeysError, ValueError, LookupError):
        raise ValueError("it holds no seed of an nkey") from None
