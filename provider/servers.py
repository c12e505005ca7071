"""URLs of NATS servers: how they are read, and how they are shown without their secrets.

The rule of this file: no text it makes, error or not, repeats a password or a token.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

MASK = "********"
"""What stands in place of a secret wherever a setting is shown."""

_SCHEMES = ("nats", "tls", "ws", "wss")
_NO_PATH = (("", "", ""), ("/", "", ""))
_BEFORE_USER = re.compile(
    # Whole servers without a user, the scheme of the one with it; or any scheme at the beginning.
    r"(?:(?:(?:nats|tls|wss?)://)?(?:[\w.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?/?\s*,\s*)*"
    r"(?:nats|tls|wss?)://|[a-z]+://",
    re.IGNORECASE,
)


def parse_servers(text: str) -> tuple[str, ...]:
    """NATS server URLs, each with its scheme, from text separated by commas.

    Raises:
        ValueError: one is no URL of a NATS server, or websockets are mixed with plain connections.
            The text never repeats the URL, which may hold a password.
    """
    servers = tuple(_server(part.strip()) for part in text.split(","))
    if len({server.startswith("ws") for server in servers}) > 1:
        raise ValueError("either only ws and wss URLs or none; they cannot be mixed")
    return servers


def _server(url: str) -> str:
    shape = "NATS server URLs such as nats://host:4222, separated by commas"
    if not url or not url.isprintable() or " " in url:
        raise ValueError(f"{shape}, without spaces inside or empty places")
    scheme, slashes, rest = url.partition("://")
    scheme, rest = (scheme.lower(), rest) if slashes else ("nats", url)
    if scheme not in _SCHEMES:
        raise ValueError(f"{shape}; the schemes are {', '.join(_SCHEMES)}")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Not the library's reason: it repeats pieces of the URL.
        complete = False
    if not complete or (scheme in ("nats", "tls") and parts[2:] not in _NO_PATH):
        raise ValueError(
            f"{shape}: a host, perhaps a port from 1 to 65535, and special characters of a "
            "password as %2F and so on"
        )
    return f"{scheme}://{rest}"


def mask_url(text: str) -> str:
    """The text of one or more server URLs with every password or token in it masked.

    Works on text that is no URL too, because wrong values are shown as well. In doubt it hides too
    much.
    """
    *credentials, rest = text.split("@")
    shown = ""
    for piece in credentials:
        before = match[0] if (match := _BEFORE_USER.match(piece)) else ""
        user, colon, _ = piece[len(before) :].partition(":")
        # A lone user name is a token, by the convention of NATS; without a scheme it may be
        # the rest of a password that has an @ in it.
        shown += f"{before}{user}:{MASK}@" if before and colon else f"{before}{MASK}@"
    return shown + rest


def with_scheme(url: str) -> str:
    """The URL, with `nats://` in front when it has no scheme."""
    return url if "://" in url else f"nats://{url}"


def without_secrets(url: str) -> str:
    """The URL without user, password or token."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
