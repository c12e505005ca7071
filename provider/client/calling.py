"""One request and its answer.

The rule of this file: whatever goes wrong with NATS becomes a `CallError`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from provider.carried import check_carried
from provider.denied import noticing
from provider.errors import CallTimeout, Unavailable

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

DEFAULT_TIMEOUT = 60.0
"""Seconds a call waits for its answer unless told otherwise; the provider's own default."""
LATER = 1.0
"""Seconds we wait beyond the deadline we gave, so that the provider's own account of a late call
arrives rather than ours."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final[Any] = _Absent()
"""Stands for no argument at all, which is not the same as None."""


class NoProvider(Unavailable):
    """Nobody listens where the call was sent."""


async def request_answer(
    client: Client,
    subject: str,
    data: bytes,
    seconds: float,
    *,
    later: float = 0.0,
    headers: dict[str, str] | None = None,
) -> Msg:
    """Send a request and wait for its answer; what goes wrong with NATS becomes a `CallError`.

    Args:
        client: connected.
        subject: where a provider listens.
        data: the request.
        seconds: how long the caller said he would wait; 0 for ever.
        later: seconds we wait beyond that.
        headers: of the message.

    Raises:
        TooLarge: the server does not carry so much.
        NoProvider: nobody listens.
        CallTimeout: no answer came in time.
        Unauthorized: the server does not let this user call there.
        Unavailable: NATS did not take it.
    """
    check_carried(client, data, headers)
    patience = seconds + later if seconds and seconds != math.inf else None
    try:
        with noticing(client, subject):
            return await client.request(
                subject,
                data,
                timeout=patience,  # type: ignore[arg-type]  # None waits
                headers=headers,
            )
    except nats.errors.NoRespondersError:
        raise nobody(subject) from None
    except nats.errors.TimeoutError:
        raise CallTimeout(f"no answer on {subject} within {seconds:g} s") from None
    except (nats.errors.Error, ValueError) as error:
        raise not_taken(error) from None


def nobody(subject: str) -> NoProvider:
    """What a caller is told whose message nobody took."""
    return NoProvider(f"no provider listens on {subject}; is it running?")


def not_taken(error: Exception) -> Unavailable:
    """What a caller is told whose message nats-py did not take."""
    return Unavailable(f"NATS did not take the call: {error!r}")


def milliseconds(seconds: float) -> int | None:
    """For the wire; None leaves the deadline to the provider."""
    return max(1, math.ceil(seconds * 1000)) if seconds and seconds != math.inf else None
