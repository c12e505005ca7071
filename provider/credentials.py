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
        text = Path(self._path).read_text(encoding="utf-8", errors="replace")
        token, seed = _JWT.search(text), _SEED.search(text)
        if token is None:
            raise ValueError("it has no NATS USER JWT")
        if seed is None:
            raise ValueError("it has no USER NKEY SEED")
        key_pair(seed[1])
        return token[1], seed[1]


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


def key_pair(seed: str) -> nkeys.KeyPair:
    """The keys of a seed.

    Raises:
        ValueError: it is no seed. The text does not repeat it.
    """
    try:
        return nkeys.from_seed(bytearray(seed.encode()))
    except (nkeys.NkeysError, ValueError, LookupError):
        raise ValueError("it holds no seed of an nkey") from None
