"""Numbers as Prometheus reads them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from provider.errors import HandlerError, Overloaded
from provider.host.admission import BUCKETS, Admission
from provider.host.call import Call
from provider.host.catalogue import Catalogue
from provider.host.figures import HANDLE, MOST_NAMED, OTHER, figures
from provider.host.life import State
from provider.steady_client import ConnectionNumbers
from provider.telemetry.metrics import CONTENT_TYPE, text
from tests.conftest import PATIENCE


def values(data: bytes) -> dict[tuple, float]:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(data.decode())
        for sample in family.samples
    }


def fleet(*names: str, links=(), restarts=None, **more):
    catalogue = Catalogue()
    entry = {"free": True, "signature": "()", "doc": "", "batch": 0, "cache": 0.0}
    catalogue.take(
        {"operations": [{**entry, "name": n, "streams": False, "http": []} for n in names]}
    )
    deaths = SimpleNamespace(restarts=restarts or {})
    told = {"deaths": deaths, "reloads": 0, "reloads_failed": 0, "reload_error": None}
    return SimpleNamespace(
        catalogue=catalogue, links=links, **{"ready": True, "concurrency": 1, **told, **more}
    )


def answered(admission, house, operation, error=None, seconds=0.0):
    import time

    call = Call(operation, b"", 0, 0.0, lambda *_: None)
    admission.admit(call)
    call.received = time.monotonic() - seconds
    admission.leave(call, error)
    house.catalogue.count(call, error)


def test_without_a_host_there_are_the_numbers_of_the_door():
    told = values(text(None, 3, {200: 5, 404: 1}))
    assert told["provider_http_requests_total", ("status", "200")] == 5
    assert told["provider_http_inflight_requests",] == 3
    assert not [key for key in told if key[0].startswith("provider_call")]
    assert "version=0.0.4" in CONTENT_TYPE
    assert b"provider_build_info{" in text(None, 0, {})


def test_calls_are_counted_by_operation_and_the_rest_is_one():
    admission, house = Admission(10, 1000), fleet("add", "old")
    answered(admission, house, "add")
    answered(admission, house, "x.add", HandlerError("no"))
    answered(admission, house, "made.up", HandlerError("no"))
    answered(admission, house, "by.handle")
    refusal = Overloaded("full")
    admission.refused(refusal)
    house.catalogue.count(Call("add", b"", 0, 0.0, lambda *_: None), refusal)
    cache = SimpleNamespace(hits=2, as_map=dict)
    told = figures(house, admission, None)
    assert told["calls"] == {"add": (1, 2), "old": (0, 0), OTHER: (1, 1)}
    assert told["rejected"] == {"overloaded": 1}
    # Hits are counted by their operation, and not by admission.
    for _ in range(2):
        house.catalogue.count(Call("old", b"", 0, 0.0, lambda *_: None), None)
    assert figures(house, admission, cache)["calls"]["old"] == (2, 0)
    assert figures(house, admission, cache)["calls"][OTHER] == (1, 1)


def test_what_was_counted_stays_when_an_operation_goes():
    admission, house = Admission(10, 1000), fleet("add")
    answered(admission, house, "add")
    house.catalogue.take({"operations": []})
    assert figures(house, admission, None)["calls"] == {"add": (1, 0), OTHER: (0, 0)}


def test_there_is_an_end_to_names():
    house = fleet(*(f"o{number}" for number in range(MOST_NAMED + 5)))
    calls = figures(house, Admission(1, 1), None)["calls"]
    assert len(calls) == MOST_NAMED + 1


def test_a_program_without_operations_has_one_name():
    admission, house = Admission(10, 1000), fleet()
    answered(admission, house, "anything")
    assert figures(house, admission, None)["calls"] == {HANDLE: (1, 0)}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.0007, 1), (0.3, 9), (45.0, 15), (100.0, 16)]
)
def test_durations_fall_into_buckets(seconds, bucket):
    admission = Admission(10, 1000)
    answered(admission, fleet(), "f", seconds=seconds)
    assert admission.durations.index(1) >= bucket
    assert admission.durations[bucket] == 1 or seconds < 1
    assert sum(admission.durations) == 1


def test_buckets_add_up_in_the_text():
    admission, house = Admission(10, 1000), fleet("f")
    for seconds in (45.0, 45.0, 100.0):
        answered(admission, house, "f", seconds=seconds)
    told = values(text(figures(house, admission, None), 0, {}))
    name = "provider_call_duration_seconds"
    assert told[f"{name}_bucket", ("le", "30.0")] == 0
    assert told[f"{name}_bucket", ("le", "60.0")] == 2
    assert told[f"{name}_bucket", ("le", "+Inf")] == told[f"{name}_count",] == 3
    assert told[f"{name}_sum",] == pytest.approx(190, rel=0.05)
    assert len([key for key in told if key[0] == f"{name}_bucket"]) == len(BUCKETS) + 1


def test_the_worker_and_what_waits():
    calls = {number: SimpleNamespace(begun=number <= 5) for number in (1, 5, 6)}
    links = [
        SimpleNamespace(calls=calls, state=State.RELOADING, memory=2_000_000),
        SimpleNamespace(calls={}, state=State.READY, memory=1_000_000),
    ]
    admission = Admission(10, 1000)
    admission.open = 4
    house = fleet(
        "f",
        links=links,
        restarts={"signal": 2},
        reloads=3,
        reloads_failed=4,
        reload_error="no",
        ready=False,
        concurrency=6,
    )
    told = values(text(figures(house, admission, None), 0, {}))
    assert told["provider_queue_depth",] == 2
    assert told["provider_inflight_calls",] == 4
    assert told["provider_queue_limit",] == 10
    assert told["provider_concurrency",] == 6
    assert told["provider_workers", ("state", "reloading")] == 1
    assert told["provider_workers", ("state", "ready")] == 1
    assert told["provider_workers", ("state", "busy")] == 0
    assert told["provider_worker_memory_bytes",] == 3_000_000
    assert told["provider_worker_restarts_total", ("reason", "signal")] == 2
    assert told["provider_worker_restarts_total", ("reason", "recycled")] == 0
    assert told["provider_reloads_total", ("result", "ok")] == 3
    assert told["provider_reloads_total", ("result", "failed")] == 4
    assert told["provider_reload_failed",] == 1
    assert told["provider_ready",] == 0


def test_a_worker_that_has_just_gone_has_no_memory():
    link = SimpleNamespace(calls={}, state=State.DEAD, memory=0)
    assert figures(fleet(links=[link]), Admission(1, 1), None)["worker_bytes"] is None
    assert b"worker_memory" not in text(figures(fleet(), Admission(1, 1), None), 0, {})


def test_names_are_those_a_dashboard_is_made_for():
    told = text(figures(fleet("f"), Admission(1, 1), CACHE), 0, {200: 1})
    names = {family.name for family in text_string_to_metric_families(told.decode())}
    assert {
        "provider_calls",
        "provider_call_duration_seconds",
        "provider_queue_depth",
        "provider_inflight_calls",
        "provider_rejected",
        "provider_workers",
        "provider_worker_restarts",
        "provider_reloads",
        "provider_cache_hits",
        "provider_cache_misses",
        "provider_cache_entries",
        "provider_cache_bytes",
        "provider_build_info",
        "process_resident_memory_bytes",
    } <= names


CACHE = SimpleNamespace(hits=0, as_map=lambda: {"hits": 0, "misses": 0, "entries": 0, "bytes": 0})


def test_what_became_of_the_connection_to_nats():
    numbers = ConnectionNumbers(
        lost=2, tries=5, sent_again=700, given_up=30, unreadable=3, missed={"$SRV.PING": 4}
    )
    told = figures(fleet("f"), Admission(1, 1), None)
    told["nats"] = {"connected": True, **numbers.as_map()}
    found = values(text(told, 0, {}))
    for name, *labels, value in (
        ("connected", 1),
        ("disconnects_total", 2),
        ("failed_tries_total", 5),
        ("sent_again_bytes_total", 700),
        ("given_up_bytes_total", 30),
        ("unreadable_messages_total", 3),
        ("missed_messages_total", ("subject", "$SRV.PING"), 4),
    ):
        assert found[f"provider_nats_{name}", *labels] == value


def test_whoever_opens_no_http_door_pays_for_none():
    program = (
        "import sys, provider.cli, provider.host.run, provider.testing; "
        "print({'starlette', 'uvicorn', 'httptools', 'prometheus_client'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.strip() == "set()"
