"""What is said, and decided, while a connection to NATS comes and goes.

The rule of this file: no callback raises once the first connection was made, because nats-py stops
reconnecting when one does. A server that is away is tried for ever, less and less often; one that
refuses us again and again is not, because only somebody else can help, and a provider that lives on
deaf helps nobody.

    nats_disconnected   the connection was lost, and why
    nats_away           a try to connect again failed; logged at the 1st, 2nd, 4th, 8th and so on
    nats_refused        a server is there and does not let us in
    nats_reconnected    all is well again
    nats_gave_up        refused too often; the connection is closed for good and the process ends
    nats_server_leaves  a server announces its end (lame duck); another one is looked for
    nats_slow_consumer  messages of a subject came faster than they were handled, and were dropped
    nats_error          anything else, such as an answer that is denied; of errors that differ in
                        quotes only, the 1st, 2nd, 4th and so on, as strangers may cause them
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import ssl
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

import nats.errors

from provider.errors import StartError
from provider.steady_client import ConnectionNumbers, SteadyClient
from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from nats.aio.client import Client

    from provider.nats_options import NatsOptions

SHORTEST_PAUSE, LONGEST_PAUSE = 0.3, 2.0
"""Seconds between two tries at a server, about, at first and in the end."""
MOST_REFUSALS = 10
"""Times in a row a server may refuse to let us in before we end."""
MOST_HANGUPS = 3
"""Times in a row a server may hang up on the certificate we show before we end."""
MOST_KINDS = 100
"""Kinds of errors that are counted apart."""
_LOGIN_OF_OURS = "NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CREDS, NATS_NKEY or NATS_JWT"
_LOGIN_OF_HOST = (
    "the login that the host passes on (lattice_rpc_user_jwt and lattice_rpc_user_seed of the "
    "host data)"
)
_PLACE_OF_OURS = (
    "start one (provider run --embedded-nats brings its own) or name another in NATS_URL"
)
_PLACE_OF_HOST = (
    "the host named it (lattice_rpc_url of the host data); PROVIDER_WAIT=on keeps trying"
)

_log = logs.get_logger(component="nats")


def pause(tries: int) -> Any:
    """Seconds until the next try at a server.

    Different for each, because several providers that lost the same server must not come back in
    one wave; longer after many, because there is no hurry any more.
    """
    # Not typed as the fraction it is, because nats-py only announces whole seconds.
    about = min(LONGEST_PAUSE, SHORTEST_PAUSE * 1.3 ** min(tries, 20))
    return about * random.uniform(0.5, 1.5)  # noqa: S311  no secret hangs on it


_Callback = TypeVar("_Callback", bound="Callable[..., Awaitable[None]]")


def _safely(callback: _Callback) -> _Callback:
    """What is made of a callback that must not raise once the connection was made."""

    @functools.wraps(callback)
    async def work(self: Connecting, *arguments: Any) -> None:
        try:
            await callback(self, *arguments)
        except Exception:  # nats-py ends reconnecting when a callback raises
            if not self.made:
                raise
            # Not even if it is the log that cannot be written.
            with contextlib.suppress(Exception):
                _log.exception("nats_callback_failed", callback=callback.__name__)

    return cast("_Callback", work)


class Connecting:
    """What the callbacks of one connection know.

    Attributes:
        made: whether the first connection was made. Until then a callback may raise to end it.
    """

    def __init__(
        self, options: NatsOptions, wait: bool, on_lost: Callable[[], None], client: Client
    ) -> None:
        self._options = options
        self._wait = wait
        self._on_lost = on_lost
        self._client = client
        self._numbers = client.numbers if isinstance(client, SteadyClient) else ConnectionNumbers()
        self._tries = 0
        self._refusals = 0
        self._away_since: float | None = None
        self._others: dict[str, int] = {}
        """Errors on a connection, by what they say."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self.made = False

    @_safely
    async def on_error(self, error: Exception) -> None:
        """Something went wrong: with a try, with the connection, or with a message."""
        if isinstance(error, nats.errors.SlowConsumerError):
            self._slow(error)
        elif not self.made:
            self._tried()
            self._begin_failed(error)
        elif isinstance(error, nats.errors.UnexpectedEOF):
            pass  # said when the connection is given up for it
        elif self._client.is_connected:
            self._another(error)
        else:
            self._tried()
            self._again_failed(error)

    def _another(self, error: Exception) -> None:
        text = _text(error)
        kind = text.partition('"')[0]
        if len(self._others) >= MOST_KINDS:
            self._others.clear()
        self._others[kind] = times = self._others.get(kind, 0) + 1
        if times.bit_count() == 1:
            _log.warning("nats_error", error=text, times=times)

    def _tried(self) -> None:
        self._tries += 1
        self._numbers.tries += 1
        self._client.options["reconnect_time_wait"] = pause(self._tries)

    def _begin_failed(self, error: Exception) -> None:
        if _is_refusal(error):
            raise StartError(
                f"NATS at {self._options.shown} refused the connection: {_text(error)}; check "
                + self._login
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            raise StartError(
                f"the certificate of NATS at {self._options.shown} is not trusted: "
                f"{error.verify_message}; name the authority that signed it in NATS_CA"
            )
        self._check_certificate(error)
        if not self._wait and self._tries >= len(self._options.servers):
            raise StartError(
                f"no NATS server at {self._options.shown} ({_text(error)}); "
                + (_PLACE_OF_HOST if self._options.by_host else _PLACE_OF_OURS)
            )
        if self._tries == 1:
            _log.warning(
                "nats_unreachable",
                servers=self._options.shown,
                error=_text(error),
                next="trying again until it answers; --no-wait gives up instead",
            )

    def _check_certificate(self, error: Exception) -> None:
        """End the waiting for a server that wants to see a certificate of ours, and sees none.

        It hangs up without a word. So may one that is just leaving, hence the further tries.
        """
        said: dict[str, Any] = self._client._server_info  # noqa: SLF001  there is no other way
        if not said.get("tls_verify") or isinstance(error, ConnectionRefusedError | TimeoutError):
            return
        if self._options.cert is None or self._tries >= MOST_HANGUPS or not self._wait:
            shown = "none" if self._options.cert is None else str(self._options.cert)
            raise StartError(
                f"NATS at {self._options.shown} wants a certificate of its clients, and hung up "
                f"when it saw {shown} ({_text(error)}); name one that it trusts, and its key, in "
                "NATS_CERT and NATS_KEY"
            )

    def _again_failed(self, error: Exception) -> None:
        if not _is_refusal(error):
            self._refusals = 0
            # Less and less often: whoever is away for a night need not fill the disk.
            if self._tries.bit_count() == 1:
                _log.warning(
                    "nats_away",
                    servers=self._options.shown,
                    error=_text(error),
                    tries=self._tries,
                    seconds=self._seconds_away(),
                    next="trying again until it answers",
                )
            return
        self._refusals += 1
        _log.warning(
            "nats_refused",
            servers=self._options.shown,
            error=_text(error),
            times=self._refusals,
            of=MOST_REFUSALS,
        )
        if self._refusals == MOST_REFUSALS:
            _log.error(
                "nats_gave_up",
                servers=self._options.shown,
                error=_text(error),
                reason=f"refused {self._refusals} times in a row; check {self._login}",
            )
            # Not from here, because it waits for the task that called us.
            self._begin(self._client.close())

    @property
    def _login(self) -> str:
        by_host = self._options.by_host and self._options.login is not None
        return _LOGIN_OF_HOST if by_host else _LOGIN_OF_OURS

    def _slow(self, error: nats.errors.SlowConsumerError) -> None:
        subscription: Any = error.sub
        subject, missed = subscription.subject, self._numbers.missed
        missed[subject] = count = missed.get(subject, 0) + 1
        if count.bit_count() == 1:
            _log.warning(
                "nats_slow_consumer",
                subject=subject,
                missed=count,
                waiting=subscription.pending_msgs,
                waiting_bytes=subscription.pending_bytes,
            )

    def _seconds_away(self) -> float:
        return 0.0 if self._away_since is None else round(time.monotonic() - self._away_since, 3)

    @_safely
    async def on_disconnected(self) -> None:
        """The connection was lost."""
        if not self.made or self._client.is_closed or self._away_since is not None:
            return
        self._tries = self._refusals = 0
        self._away_since = time.monotonic()
        self._numbers.lost += 1
        why = self._client.why if isinstance(self._client, SteadyClient) else ""
        _log.warning("nats_disconnected", servers=self._options.shown, reason=why)

    @_safely
    async def on_reconnected(self) -> None:
        """A connection was made again."""
        url = self._client.connected_url
        _log.info(
            "nats_reconnected",
            servers=self._options.shown,
            server="" if url is None else f"{url.hostname}:{url.port}",
            tries=self._tries,
            seconds=self._seconds_away(),
        )
        self._tries = self._refusals = 0
        self._away_since = None

    @_safely
    async def on_lame_duck(self) -> None:
        """The server announces its end."""
        url = self._client.connected_url
        _log.warning(
            "nats_server_leaves", server="" if url is None else f"{url.hostname}:{url.port}"
        )
        if isinstance(self._client, SteadyClient):
            self._begin(self._client.leave_lame_duck())

    @_safely
    async def on_closed(self) -> None:
        """There is no connection and none will be made."""
        if self.made:
            self._on_lost()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_refusal(error: Exception) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, nats.errors.AuthorizationError)
        or "authorization" in text
        or ("authentication" in text)
    )


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
