"""How it goes, as Prometheus reads it.

The rule of this file: nothing is counted here. Plain numbers that are kept anyway become metrics
when somebody asks for them, so a call costs nothing more. Names and units are those of
https://prometheus.io/docs/practices/naming/; no label has values that callers make up.
"""

from __future__ import annotations

import itertools
import platform
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from provider import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(
    figures: Mapping[str, Any] | None, open_requests: int, answers: Mapping[int, int]
) -> bytes:
    """The metrics.

    Args:
        figures: as `host.figures.figures` has them; None in a process that is no host.
        open_requests: of the HTTP door.
        answers: HTTP requests answered, by status.
    """
    registry = CollectorRegistry()
    registry.register(_Numbers(figures, open_requests, answers))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Numbers(Collector):
    def __init__(
        self, figures: Mapping[str, Any] | None, open_requests: int, answers: Mapping[int, int]
    ) -> None:
        self._figures = figures
        self._open = open_requests
        self._answers = answers

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are checked when they are collected."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics, one family after the other."""
        yield InfoMetricFamily(
            "provider_build",
            "What runs.",
            {"version": __version__, "python": platform.python_version()},
        )
        answered = CounterMetricFamily(
            "provider_http_requests", "HTTP requests answered.", labels=["status"]
        )
        for status, count in sorted(self._answers.items()):
            answered.add_metric([str(status)], count)
        yield answered
        yield GaugeMetricFamily(
            "provider_http_inflight_requests", "HTTP requests being answered.", self._open
        )
        if self._figures is not None:
            yield from _host(self._figures)


def _host(figures: Mapping[str, Any]) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "provider_calls", "Calls answered, refused ones included.", labels=["operation", "outcome"]
    )
    for operation, (right, wrong) in figures["calls"].items():
        calls.add_metric([operation, "ok"], right)
        calls.add_metric([operation, "error"], wrong)
    yield calls
    sums = list(itertools.accumulate(figures["durations"]))
    bounds = [*map(str, figures["buckets"]), "+Inf"]
    yield HistogramMetricFamily(
        "provider_call_duration_seconds",
        "From the arrival of a call to its answer.",
        buckets=list(zip(bounds, sums, strict=True)),
        sum_value=figures["seconds"],
    )
    rejected = CounterMetricFamily(
        "provider_rejected", "Calls turned away before they were queued.", labels=["reason"]
    )
    for reason, count in figures["rejected"].items():
        rejected.add_metric([reason], count)
    yield rejected
    workers = GaugeMetricFamily("provider_workers", "Workers by state.", labels=["state"])
    for state, count in figures["workers"].items():
        workers.add_metric([state], count)
    yield workers
    reloads = CounterMetricFamily("provider_reloads", "Loads of newer code.", labels=["result"])
    reloads.add_metric(["ok"], figures["reloads"])
    reloads.add_metric(["failed"], figures["reloads_failed"])
    yield reloads
    restarts = CounterMetricFamily(
        "provider_worker_restarts", "Workers replaced.", labels=["reason"]
    )
    for reason, count in figures["restarts"].items():
        restarts.add_metric([reason], count)
    yield restarts
    yield CounterMetricFamily(
        "provider_accepted_calls", "Calls accepted to be answered.", figures["accepted"]
    )
    yield CounterMetricFamily(
        "provider_answered_calls", "Accepted calls that were answered.", figures["answered"]
    )
    for name, says, value in (
        ("queue_depth", "Accepted calls that no worker has begun.", figures["waiting"]),
        ("inflight_calls", "Accepted calls not answered yet.", figures["open"]),
        ("concurrency", "Calls that can run at once.", figures["concurrency"]),
        ("queue_limit", "Calls that may be in flight, as a rule.", figures["queue_calls"]),
        ("ready", "Whether a worker takes calls.", int(figures["ready"])),
        (
            "reload_failed",
            "Whether the newest text of the program does not load, and older code serves.",
            int(figures["reload_failed"]),
        ),
        ("worker_memory_bytes", "Resident memory of all workers.", figures["worker_bytes"]),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"provider_{name}", says, value)
    if figures["cache"] is not None:
        yield from _cache(figures["cache"])
    if figures.get("nats") is not None:
        yield from _nats(figures["nats"])


def _nats(nats: Mapping[str, Any]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "provider_nats_connected", "Whether NATS is connected.", int(nats["connected"])
    )
    for name, says, value in (
        ("disconnects", "Times the connection to NATS was lost.", nats["lost"]),
        ("failed_tries", "Tries to connect to NATS that failed.", nats["tries"]),
        (
            "sent_again_bytes",
            "Sent to NATS a second time, since a lost connection may have taken it along.",
            nats["sent_again"],
        ),
        (
            "given_up_bytes",
            "Not sent to NATS again, since it may be why connections break.",
            nats["given_up"],
        ),
        (
            "unreadable_messages",
            "Messages dropped because their line or their headers cannot be read.",
            nats["unreadable"],
        ),
    ):
        yield CounterMetricFamily(f"provider_nats_{name}", says, value)
    missed = CounterMetricFamily(
        "provider_nats_missed_messages",
        "Messages of a subscription that came faster than they were handled, and were dropped.",
        labels=["subject"],
    )
    for subject, count in nats["missed"].items():
        missed.add_metric([subject], count)
    yield missed


def _cache(cache: Mapping[str, int]) -> Iterator[Metric]:
    yield CounterMetricFamily("provider_cache_hits", "Calls answered from memory.", cache["hits"])
    yield CounterMetricFamily(
        "provider_cache_misses", "Calls whose answer was not in memory.", cache["misses"]
    )
    yield GaugeMetricFamily("provider_cache_entries", "Results kept.", cache["entries"])
    yield GaugeMetricFamily("provider_cache_bytes", "Memory of results kept.", cache["bytes"])
