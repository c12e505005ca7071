"""What the gRPC door is told: where it listens, which services it has, what it lets in, and whom.

The rule of this file: plain values with their units, made from the settings by whoever starts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provider.wire.values import Limits

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcOptions:
    """How one gRPC door is.

    Attributes:
        host: address or name to listen on.
        port: to listen on; 0 for any free one.
        protos: files whose services are served.
        max_message: most bytes of a message, either way.
        concurrency: most calls that are on their way.
        connections: most connections that are open.
        cert: file of the certificate and its chain, in PEM; None for no TLS.
        key: file of its private key, in PEM.
        client_ca: file of certificates, in PEM, one of which must have signed those of clients;
            None to let in everybody.
        reflection: whether callers may ask which services there are.
        tracebacks: whether callers are sent the traceback of a function that raised.
        limits: of the values sent and received.
    """

    host: str = LOOPBACK
    port: int = 0
    protos: tuple[Path, ...] = ()
    max_message: int = 8 << 20
    concurrency: int = 1024
    connections: int = 1000
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    reflection: bool = True
    tracebacks: bool = False
    limits: Limits = field(default_factory=Limits)
