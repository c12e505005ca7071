"""What the HTTP door is told: where it listens, what it lets in, and whom.

The rule of this file: plain values with their units, made from the settings by whoever starts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from provider.wire.values import Limits

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How one HTTP door is.

    Attributes:
        host: address or name to listen on.
        port: to listen on; 0 for any free one.
        max_body: most bytes of a body.
        max_bodies: most bytes of all bodies that are being read.
        max_head: most bytes of a request line with its headers.
        concurrency: most requests that are being answered.
        connections: most connections that are open.
        read_timeout: seconds a request may take to come.
        idle_timeout: seconds a connection may wait for its next request.
        origins: web pages of these origins may call; `*` for all.
        token: expected after `Authorization: Bearer`; empty for none.
        api_key: expected in `X-API-Key`; empty for none.
        tracebacks: whether callers are sent the traceback of a function that raised.
        limits: of the values sent and received.
    """

    host: str = LOOPBACK
    port: int = 0
    max_body: int = 8 << 20
    max_bodies: int = 64 << 20
    max_head: int = 32 << 10
    concurrency: int = 1024
    connections: int = 1000
    read_timeout: float = 30.0
    idle_timeout: float = 75.0
    origins: tuple[str, ...] = ()
    token: str = ""
    api_key: str = ""
    tracebacks: bool = False
    limits: Limits = field(default_factory=Limits)
