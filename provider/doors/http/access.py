"""Who may call: bearer token, API key, and web pages of other origins.

The rule of this file: nothing is asked for unless a setting says so, with one exception. A browser
sends some requests of any page anywhere; those are refused unless the page's origin is allowed, so
that no page can call a provider on the machine of whoever reads it. Secrets are compared in a time
that does not tell how much of them was right.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from provider.doors.http.problems import not_identified
from provider.errors import Unauthorized

if TYPE_CHECKING:
    from provider.doors.http.exchange import Exchange
    from provider.doors.http.options import HttpOptions

OPEN = (b"/health/", b"/v2/health/")
"""What everybody may ask, so that probes need no secret."""
DOCS = b"/docs"
"""A page that has no secrets, and asks whoever reads it for those it needs."""
MAX_AGE = b"600"
"""Seconds a browser may remember what a preflight said."""
EXPOSED = b"x-request-id, retry-after"

_SECRETS = (b"authorization", b"x-api-key")


class Access:
    """Lets requests in.

    Args:
        options: who may.
    """

    def __init__(self, options: HttpOptions) -> None:
        self._token = options.token.encode()
        self._key = options.api_key.encode()
        self._origins = frozenset(origin.encode() for origin in options.origins)
        self._everybody = b"*" in self._origins
        self.asked = bool(self._token or self._key)
        """Whether callers have to say who they are."""

    def check(self, exchange: Exchange) -> None:
        """Refuse the request unless it may be made, and note what its answer has to say of that.

        Raises:
            Unauthorized: it may not.
        """
        headers = exchange.headers
        origin = headers.get(b"origin")
        if origin is not None:
            self._check_origin(exchange, origin)
        if self.asked and not exchange.raw_path.startswith(OPEN) and exchange.raw_path != DOCS:
            self._check_secret(headers)

    def preflight(self, exchange: Exchange) -> list[tuple[bytes, bytes]] | None:
        """The headers that answer a browser who asks first; None when this is something else."""
        headers = exchange.headers
        method = headers.get(b"access-control-request-method")
        if exchange.method != "OPTIONS" or method is None or b"origin" not in headers:
            return None
        self._check_origin(exchange, headers[b"origin"])
        asked = headers.get(b"access-control-request-headers", b"")
        return [
            (b"access-control-allow-methods", method),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", MAX_AGE),
        ]

    def passes_on(self, name: bytes) -> bool:
        """Whether functions may see the header of this name; ours of secrets they may not."""
        return not (self.asked and name in _SECRETS)

    def _check_origin(self, exchange: Exchange, origin: bytes) -> None:
        if self._everybody or origin in self._origins:
            exchange.more += [
                (b"access-control-allow-origin", b"*" if self._everybody else origin),
                (b"access-control-expose-headers", EXPOSED),
            ]
            if not self._everybody:
                exchange.more.append((b"vary", b"origin"))
        elif origin.partition(b"://")[2] != exchange.headers.get(b"host"):
            raise Unauthorized(
                f"pages of {origin.decode('latin-1')!r:.100} may not call here "
                "(PROVIDER_HTTP_ORIGINS)"
            )

    def _check_secret(self, headers: dict[bytes, bytes]) -> None:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if self._token and scheme.lower() == b"bearer" and _same(given.strip(), self._token):
            return
        if self._key and _same(headers.get(b"x-api-key", b""), self._key):
            return
        ways = [
            way
            for way, secret in (
                ("Authorization: Bearer", self._token),
                ("X-API-Key", self._key),
            )
            if secret
        ]
        raise not_identified(f"this provider asks who calls; send {' or '.join(ways)}")


def _same(given: bytes, expected: bytes) -> bool:
    return hmac.compare_digest(given, expected)
