"""How it goes, in plain numbers, for whoever watches.

The rule of this file: it is made when somebody asks, from what is counted anyway. Names that
callers make up are one name here, and so are operations beyond the first `MOST_NAMED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider.host.admission import BUCKETS
from provider.host.life import Cause, State

if TYPE_CHECKING:
    from provider.host.admission import Admission
    from provider.host.cache import ResultCache
    from provider.host.fleet import Fleet

MOST_NAMED = 1000
"""Operations with numbers of their own."""
OTHER = "_OTHER"
"""What no operation is for, as OpenTelemetry calls it."""
HANDLE = "handle"
"""All calls of a program that declares no operations."""


def figures(fleet: Fleet, admission: Admission, cache: ResultCache | None) -> dict[str, Any]:
    """The numbers.

    Args:
        fleet: of the workers.
        admission: what counts calls.
        cache: what answers some again; None for none.
    """
    links = fleet.links
    running = sum(call.begun for link in links for call in link.calls.values())
    memory = [taken for link in links if (taken := link.memory)]
    states = [link.state for link in links]
    return {
        "calls": _calls(fleet, admission, cache),
        "rejected": dict(admission.rejected),
        "durations": list(admission.durations),
        "buckets": list(BUCKETS),
        "seconds": admission.seconds,
        "open": admission.open,
        "accepted": admission.accepted,
        "answered": admission.answered,
        "waiting": max(0, admission.open - running),
        "concurrency": fleet.concurrency,
        "queue_calls": admission.most_calls,
        "workers": {state.value: states.count(state) for state in State},
        "worker_bytes": sum(memory) if memory else None,
        "restarts": {cause.value: fleet.deaths.restarts.get(cause.value, 0) for cause in Cause},
        "reloads": fleet.reloads,
        "reloads_failed": fleet.reloads_failed,
        "reload_failed": fleet.reload_error is not None,
        "ready": fleet.ready,
        "cache": None if cache is None else cache.as_map(),
    }


def _calls(
    fleet: Fleet, admission: Admission, cache: ResultCache | None
) -> dict[str, tuple[int, int]]:
    """Calls answered with a result and with an error, by operation."""
    wrong = sum(admission.errors.values())
    right = admission.answered - (wrong - sum(admission.rejected.values()))
    right += 0 if cache is None else cache.hits  # they came no further
    told: dict[str, tuple[int, int]] = {}
    for name, numbers in fleet.catalogue.counted():
        if len(told) >= MOST_NAMED:
            break
        told[name] = numbers.requests - numbers.errors, numbers.errors
    rest = (
        max(0, right - sum(good for good, _ in told.values())),
        max(0, wrong - sum(bad for _, bad in told.values())),
    )
    return {**told, OTHER if told else HANDLE: rest}
