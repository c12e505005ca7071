"""What a NATS server carries: a message with its headers, up to its `max_payload`.

The rule of this file: a message is weighed as the server weighs it. One that is too large would not
be refused but end the connection, and with it everything else that is on its way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nats.aio.client import Client

_AROUND, _BETWEEN = len(b"NATS/1.0\r\n\r\n"), len(b": \r\n")


def check_carried(client: Client, data: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Refuse a request that the server would not carry.

    Args:
        client: connected.
        data: of the request.
        headers: of the request.

    Raises:
        TooLarge: it is too large, with its headers.
    """
    size = len(data)
    if headers:
        size += _AROUND + sum(
            len(name.encode()) + len(value.encode()) + _BETWEEN for name, value in headers.items()
        )
    if size > client.max_payload:
        raise TooLarge(
            f"the request takes {size} bytes, the NATS server carries {client.max_payload} "
            "(max_payload)"
        )
