"""Being found: the verbs PING, INFO and STATS of the NATS service convention (ADR-32).

The rule of this file: every answer is computed when it is asked for. Nine subjects: each verb for
all services, for this name, and for this instance. nats-py's own micro service loses calls when it
stops and cannot reset its counters, so the verbs are ours; the calls are the NATS door's.
"""

from __future__ import annotations

import inspect
import json
import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from provider import __version__
from provider.doors.subscriptions import bounded, drain, settle
from provider.errors import clip
from provider.wire.address import is_subject

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from provider.doors.nats import NatsDoor
    from provider.doors.nats_answers import Endpoint
    from provider.host.admission import Admission
    from provider.host.cache import ResultCache
    from provider.host.catalogue import Declared
    from provider.host.fleet import Fleet
    from provider.wire.address import Address

MOST_TEXT = 200
"""Characters of a signature and of a description."""
MOST_ENDPOINTS = 500
"""Operations told of, the first ones."""
ENDPOINT = 4096
"""Most bytes one of them takes, so that the answer keeps to the server's max_payload."""
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_GENERAL = frozenset({"native", "operations"})

DESCRIPTION = "Python functions, called by operation name"


class Discovery:
    """Answers the service verbs.

    Args:
        client: connected.
        door: whose endpoints are told of.
        fleet: asked whether it is ready.
        admission: asked for its numbers.
        address: the subjects.
        cache: of results; None where none are kept.
    """

    def __init__(
        self,
        client: Client,
        door: NatsDoor,
        fleet: Fleet,
        admission: Admission,
        address: Address,
        *,
        cache: ResultCache | None = None,
    ) -> None:
        self._client = client
        self._door = door
        self._fleet = fleet
        self._admission = admission
        self._address = address
        self._cache = cache
        self._started = datetime.now(UTC)
        self._subscriptions: list[Subscription] = []
        self.id = secrets.token_hex(11)

    async def open(self) -> None:
        """Subscribe to the nine subjects."""
        for verb, answer in (("PING", self.ping), ("INFO", self.info), ("STATS", self._on_stats)):
            for tail in ("", f".{self._address.name}", f".{self._address.name}.{self.id}"):
                self._subscriptions.append(
                    await bounded(self._client, f"$SRV.{verb}{tail}", _answering(answer))
                )
        await settle(self._client)

    async def close(self) -> None:
        """Stop being found."""
        await drain(self._client, self._subscriptions)

    def ping(self) -> dict[str, Any]:
        """Who is there."""
        return self._identity("io.nats.micro.v1.ping_response")

    def info(self) -> dict[str, Any]:
        """What can be called, and how."""
        return {
            **self._identity("io.nats.micro.v1.info_response"),
            "description": DESCRIPTION,
            "endpoints": [
                {
                    "name": endpoint.name,
                    "subject": endpoint.subject,
                    "queue_group": endpoint.queue,
                    "metadata": {},
                }
                for endpoint in self._endpoints()
            ]
            + [
                {
                    **self._endpoint_of(declared, name),
                    "metadata": {
                        "operation": declared.name,
                        "signature": clip(declared.signature, MOST_TEXT),
                        "description": clip(declared.doc.partition("\n")[0], MOST_TEXT),
                    },
                }
                for name, declared in self._operations()
            ],
        }

    def stats(self) -> dict[str, Any]:
        """How it goes. Times are in nanoseconds, as ADR-32 has them."""
        status = self.status()
        return {
            **self._identity("io.nats.micro.v1.stats_response"),
            "started": self._started.isoformat().replace("+00:00", "Z"),
            "endpoints": [
                {
                    "name": endpoint.name,
                    "subject": endpoint.subject,
                    "queue_group": endpoint.queue,
                    "num_requests": endpoint.requests,
                    "num_errors": endpoint.errors,
                    "last_error": endpoint.last_error,
                    "processing_time": int(endpoint.seconds * 1e9),
                    "average_processing_time": int(endpoint.seconds * 1e9)
                    // max(1, endpoint.requests),
                    "data": status,
                }
                for endpoint in self._endpoints()
            ]
            + [
                {
                    **self._endpoint_of(declared, name),
                    "num_requests": declared.numbers.requests,
                    "num_errors": declared.numbers.errors,
                    "last_error": declared.numbers.last_error,
                    "processing_time": int(declared.numbers.seconds * 1e9),
                    "average_processing_time": int(declared.numbers.seconds * 1e9)
                    // max(1, declared.numbers.requests),
                    "data": {},
                }
                for name, declared in self._operations()
            ],
        }

    async def _on_stats(self) -> dict[str, Any]:
        await self._fleet.ask_health()
        return self.stats()

    async def asked_status(self) -> dict[str, Any]:
        """The status, after the program was asked how it is."""
        await self._fleet.ask_health()
        return self.status()

    def status(self) -> dict[str, Any]:
        """Whether calls are served, and why not; the numbers of the house."""
        fleet, admission, link = self._fleet, self._admission, self._fleet.link
        links = fleet.links
        reason = fleet.broken or ("" if fleet.ready else "no worker is ready")
        if fleet.ready and not fleet.healthy:
            reason = fleet.health.trouble
        return {
            "ready": fleet.ready,
            "healthy": fleet.healthy,
            "health": fleet.health.as_map(),
            "reason": reason,
            "reload_error": fleet.reload_error,
            "worker": None
            if link is None
            else {"pid": link.pid, "state": link.state.value, "python": link.hello.get("python")},
            "workers": [
                {"pid": each.pid, "state": each.state.value, "calls": len(each.calls)}
                for each in links
            ],
            "deaths": list(fleet.deaths.recent),
            "open": admission.open,
            "accepted": admission.accepted,
            "answered": admission.answered,
            "errors": dict(admission.errors),
            "unanswerable": self._door.answers.unanswerable,
            "unsent": self._door.answers.unsent,
            "reloads": fleet.reloads,
            "restarts": fleet.restarts,
            "progress": [told for each in links for told in each.advances.of(each.calls)],
            "cache": self._cache.as_map()
            if self._cache is not None and fleet.catalogue.cached
            else None,
        }

    def _endpoint_of(self, declared: Declared, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "subject": self._address.operation(declared.name),
            "queue_group": self._door.by_subject.queue,
        }

    def _operations(self) -> list[tuple[str, Declared]]:
        """The operations that can be called by subject, each with a name ADR-32 allows."""
        named: dict[str, Declared] = {}
        most = min(MOST_ENDPOINTS, max(0, self._client.max_payload // ENDPOINT - 4))
        for declared in self._fleet.catalogue.all:
            if len(named) >= most:
                break
            if not is_subject(declared.name):
                continue
            name = plain = _NO_NAME.sub("_", declared.name)
            number = 1
            while name in named or name in _GENERAL:
                number += 1
                name = f"{plain}_{number}"
            named[name] = declared
        return list(named.items())

    def _endpoints(self) -> tuple[Endpoint, Endpoint]:
        return self._door.native, self._door.by_subject

    def _identity(self, kind: str) -> dict[str, Any]:
        link = self._fleet.link
        return {
            "type": kind,
            "name": self._address.name,
            "id": self.id,
            "version": __version__,
            "metadata": {
                "lattice": self._address.lattice,
                "python": str(link.hello.get("python", "")) if link is not None else "",
            },
        }


def _answering(answer: Any) -> Any:
    async def on_message(message: Msg) -> None:
        if message.reply:
            told = answer()
            if inspect.isawaitable(told):
                told = await told
            await message.respond(json.dumps(told).encode())

    return on_message
