"""How calls are answered: how long, how many, how large, and over HTTP and gRPC.

The rule of this file: it has fields of the table and nothing else (`table`).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from provider.settings.kinds import (  # noqa: TC001  pydantic reads the annotations
    Duration,
    Files,
    Listen,
    Number,
    Origins,
    ReadableFile,
    Secret,
    Size,
    Switch,
)
from provider.settings.knob import knob


class Answering(BaseModel):
    """Knobs of these groups."""

    model_config = ConfigDict(defer_build=True)

    # --- Calls ------------------------------------------------------------------------------------

    call_timeout: Duration = knob(
        "PROVIDER_CALL_TIMEOUT",
        "Calls",
        "How long a call may wait and run when its caller does not say. 0 is no deadline.",
        default=60.0,
    )
    max_call_timeout: Duration = knob(
        "PROVIDER_MAX_CALL_TIMEOUT",
        "Calls",
        "The longest a call may take; a longer timeout of a caller is cut to this. "
        "0 is no maximum.",
        default=3600.0,
    )
    queue_calls: Number = knob(
        "PROVIDER_QUEUE_CALLS",
        "Calls",
        "How many calls may wait. One more is answered at once with `overloaded`.",
        ge=1,
        default=1024,
    )
    queue_bytes: Size = knob(
        "PROVIDER_QUEUE_BYTES",
        "Calls",
        "How much memory the arguments of waiting calls may take together.",
        ge=1,
        default=64 << 20,
    )
    cache_bytes: Size = knob(
        "PROVIDER_CACHE_BYTES",
        "Calls",
        "How much memory the results may take that operations declared with `cache` keep. "
        "0 keeps none.",
        default=16 << 20,
    )
    concurrency: Number = knob(
        "PROVIDER_CONCURRENCY",
        "Calls",
        "How many calls run at the same time, in threads. 1 is one after the other in the order "
        "of arrival.",
        ge=1,
        le=256,
        default=1,
    )

    # --- HTTP -------------------------------------------------------------------------------------

    http: Listen = knob(
        "PROVIDER_HTTP",
        "HTTP",
        "Answer calls over HTTP on this port of 127.0.0.1, or on this host:port. 0 is any free "
        "port. Unset, nobody listens.",
    )
    http_max_body: Size = knob(
        "PROVIDER_HTTP_MAX_BODY",
        "HTTP",
        "The largest body of a request.",
        ge=1,
        le=1 << 29,
        default=8 << 20,
    )
    http_max_headers: Size = knob(
        "PROVIDER_HTTP_MAX_HEADERS",
        "HTTP",
        "The most bytes of a request line and its headers.",
        ge=256,
        le=1 << 20,
        default=32 << 10,
    )
    http_concurrency: Number = knob(
        "PROVIDER_HTTP_CONCURRENCY",
        "HTTP",
        "How many requests may be on their way at once. One more is answered with 429.",
        ge=1,
        default=1024,
    )
    http_connections: Number = knob(
        "PROVIDER_HTTP_CONNECTIONS",
        "HTTP",
        "How many connections may be open. For one more the one is closed that was idle longest, "
        "or it is answered with 503.",
        ge=1,
        default=1000,
    )
    http_read_timeout: Duration = knob(
        "PROVIDER_HTTP_READ_TIMEOUT",
        "HTTP",
        "How long a request may take to come, its body included, and how long a client may leave "
        "an answer unread.",
        gt=0,
        default=30.0,
    )
    http_idle_timeout: Duration = knob(
        "PROVIDER_HTTP_IDLE_TIMEOUT",
        "HTTP",
        "How long a connection may wait for its next request.",
        gt=0,
        default=75.0,
    )
    http_origins: Origins = knob(
        "PROVIDER_HTTP_ORIGINS",
        "HTTP",
        "Web pages of these origins may call (CORS), separated by commas; * for all. Without it, "
        "only pages that come from the same host and port.",
        default=(),
    )
    http_token: Secret = knob(
        "PROVIDER_HTTP_TOKEN",
        "HTTP",
        "With it, callers have to send Authorization: Bearer and this.",
        flag=None,
    )
    http_api_key: Secret = knob(
        "PROVIDER_HTTP_API_KEY",
        "HTTP",
        "With it, callers have to send X-API-Key: and this. Of token and key either one will do.",
        flag=None,
    )

    # --- gRPC -------------------------------------------------------------------------------------

    grpc: Listen = knob(
        "PROVIDER_GRPC",
        "gRPC",
        "Answer calls over gRPC on this port of 127.0.0.1, or on this host:port. 0 is any free "
        "port. Unset, nobody listens.",
    )
    proto: Files = knob(
        "PROVIDER_PROTO",
        "gRPC",
        "The .proto files whose services are served, separated by colons: each method is an "
        "operation.",
        default=(),
    )
    grpc_max_message: Size = knob(
        "PROVIDER_GRPC_MAX_MESSAGE",
        "gRPC",
        "The largest message, either way. Clients have a limit of their own, 4 MiB unless told "
        "otherwise.",
        ge=1,
        le=1 << 29,
        default=8 << 20,
    )
    grpc_concurrency: Number = knob(
        "PROVIDER_GRPC_CONCURRENCY",
        "gRPC",
        "How many calls may be on their way at once. One more is answered with RESOURCE_EXHAUSTED.",
        ge=1,
        le=1 << 20,
        default=1024,
    )
    grpc_connections: Number = knob(
        "PROVIDER_GRPC_CONNECTIONS",
        "gRPC",
        "How many connections may be open. One more is closed.",
        ge=1,
        le=1 << 20,
        default=1000,
    )
    grpc_cert: ReadableFile = knob(
        "PROVIDER_GRPC_CERT",
        "gRPC",
        "File of the provider's certificate and its chain, in PEM. With it, and the key, TLS is "
        "spoken and nothing else.",
    )
    grpc_key: ReadableFile = knob(
        "PROVIDER_GRPC_KEY",
        "gRPC",
        "File of the private key of that certificate, in PEM, without a password.",
    )
    grpc_client_ca: ReadableFile = knob(
        "PROVIDER_GRPC_CLIENT_CA",
        "gRPC",
        "File of certificates, in PEM. With it, clients have to show one that was signed by one "
        "of them.",
    )
    grpc_reflection: Switch = knob(
        "PROVIDER_GRPC_REFLECTION",
        "gRPC",
        "Whether callers may ask which services and messages there are.",
        default=True,
    )

    # --- Limits -----------------------------------------------------------------------------------

    max_message: Size = knob(
        "PROVIDER_MAX_MESSAGE",
        "Limits",
        "The largest message, either way. 0 is whatever the NATS server allows.",
        default=0,
    )
    max_depth: Number = knob(
        "PROVIDER_MAX_DEPTH",
        "Limits",
        "How deep lists and maps may lie inside one another.",
        ge=1,
        le=400,
        default=64,
    )
    max_items: Number = knob(
        "PROVIDER_MAX_ITEMS",
        "Limits",
        "The most members of one list or map.",
        ge=1,
        default=1_000_000,
    )
    max_string: Size = knob(
        "PROVIDER_MAX_STRING", "Limits", "The longest text or byte string.", ge=1, default=64 << 20
    )
    max_integer_bits: Number = knob(
        "PROVIDER_MAX_INTEGER_BITS", "Limits", "The most bits of one integer.", ge=1, default=65536
    )
