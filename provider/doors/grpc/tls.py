"""TLS of the gRPC door: the provider's certificate, and those of clients.

The rule of this file: files are tried when the provider starts, so that what is wrong with them is
said then, by name; grpc itself would tell nobody but the client.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import grpc

from provider.errors import StartError
from provider.pem import load_authorities, load_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from provider.doors.grpc.options import GrpcOptions


def credentials(options: GrpcOptions) -> Any:
    """What grpc needs to speak TLS; None for none.

    Raises:
        StartError: a file is missing or of no use.
    """
    cert, key, client_ca = options.cert, options.key, options.client_ca
    if cert is None and key is None:
        if client_ca is not None:
            raise StartError(
                "PROVIDER_GRPC_CLIENT_CA asks clients for certificates, which takes TLS: set "
                "PROVIDER_GRPC_CERT and PROVIDER_GRPC_KEY, too"
            )
        return None
    if cert is None or key is None:
        raise StartError("set both PROVIDER_GRPC_CERT and PROVIDER_GRPC_KEY, or neither")
    _try(cert, key, client_ca)
    return grpc.ssl_server_credentials(
        [(_read(key), _read(cert))],
        root_certificates=None if client_ca is None else _read(client_ca),
        require_client_auth=client_ca is not None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror or error}") from None


def _try(cert: Path, key: Path, client_ca: Path | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, cert, key, variables=("PROVIDER_GRPC_CERT", "PROVIDER_GRPC_KEY"))
    if client_ca is not None:
        load_authorities(context, client_ca, variable="PROVIDER_GRPC_CLIENT_CA")
