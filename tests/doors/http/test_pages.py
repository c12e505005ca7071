"""The provider's own pages, of a provider that runs: OpenAPI, documentation, probes, metrics."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from pathlib import Path

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.checks import (
    CHECKS,
    not_a_server_error,
)
from schemathesis.core.control import SkipTest
from schemathesis.generation import GenerationMode

from tests.conftest import PATIENCE, write

PROGRAM = """
    import datetime
    from dataclasses import dataclass
    from typing import Literal
    from provider.dispatch import Context, OperationError, operation

    @dataclass
    class Line:
        item: str
        count: int = 1

    @operation(http=["GET /tasks", "GET /tasks/"])
    def tasks(done: bool | None = None, limit: int = 10, tags: list[str] = ()) -> list[str]:
        return [f"{done} {limit}", *tags]

    @operation(http="GET /tasks/{id}")
    def task(id: int) -> str:
        "One task.\\n\\nBy its number."
        if id > 5:
            raise OperationError(f"there is no task {id}", code=404)
        return "tea"

    @operation(http="POST /tasks", status=201)
    def add(lines: list[Line], kind: Literal["a", "b"] = "a", ratio: float = 1.0) -> list[Line]:
        return lines

    @operation(http="PUT /tasks/{key}")
    def put(key: int, title: str, call: Context, notify: bool = False) -> str:
        return title

    @operation(http="DELETE /tasks/{id}", status=204)
    def delete(id: int) -> None:
        pass

    @operation(http="POST /whole")
    def whole(value: list[int]) -> int:
        return len(value)

    @operation(cache=60)
    def day(text: datetime.date) -> str:
        return text.isoformat()

    @operation
    def count(start: int):
        yield from range(min(start, 3))

    @operation
    def hello() -> str:
        return "hello"

    @operation
    def broken():
        raise KeyError("x")
"""


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(PROGRAM, "--http", "0")


@pytest.fixture(scope="module")
def http(house):
    with httpx.Client(
        base_url=house.wait_for("ready")["http"], timeout=PATIENCE, trust_env=False
    ) as client:
        yield client


def metrics(http) -> dict[tuple, float]:
    """Values by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for sample in family.samples
    }


# --- OpenAPI --------------------------------------------------------------------------------------


CHECKED = [
    check
    for name, check in {function.__name__: function for function in CHECKS.get_all()}.items()
    # Not what holds only for systems that keep what they are given.
    if name not in {"ensure_resource_availability", "use_after_free", "max_response_time"}
]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_what_the_document_says_holds_on_the_wire(http, mode):
    schema = schemathesis.openapi.from_url(f"{http.base_url}/openapi.json")
    schema.config.generation.update(modes=[mode])
    assert not_a_server_error in CHECKED
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == "/call/broken":
            continue

        @hypothesis.settings(
            max_examples=4,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(generation_mode=mode))
        def holds(case):
            case.call_and_validate(checks=CHECKED)

        # Where there is nothing to be wrong about.
        with contextlib.suppress(SkipTest):
            holds()
            tried += 1
    assert tried > 8


def test_the_document_has_routes_and_calls(http):
    answer = http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    made = answer.json()
    assert list(made["paths"]["/tasks/{id}"]) == ["get", "put", "delete"]
    put = made["paths"]["/tasks/{id}"]["put"]
    assert put["parameters"] == [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    ]
    body = put["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["title"]
    assert set(body["properties"]) == {"title", "notify"}
    assert set(made["paths"]["/tasks"]["post"]["responses"]) == {"201", "default"}
    assert "content" not in made["paths"]["/tasks/{id}"]["delete"]["responses"]["204"]
    assert {f"/call/{name}" for name in ("tasks", "day", "count", "hello")} <= set(made["paths"])
    assert "securitySchemes" not in made["components"]
    again = http.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_documentation_page_needs_nothing_from_elsewhere(http):
    answer = http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(answer.content) < 20_000
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", answer.text)
    assert not re.search(r"\son\w+=|style=|innerHTML|eval\(|document\.write", answer.text)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}';" in policy


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics", "/health/live"])
def test_pages_are_read_and_nothing_else(http, path):
    assert http.head(path).status_code == 200
    answer = http.post(path)
    assert answer.status_code == 405
    assert answer.json()["kind"] == "bad_request"
    assert http.get(path + "/").status_code == 404


def test_behind_a_secret_only_probes_and_the_empty_page_are_open(start_provider):
    provider = start_provider(PROGRAM, "--http", "0", PROVIDER_HTTP_TOKEN="open sesame")
    with httpx.Client(
        base_url=provider.wait_for("ready")["http"], timeout=PATIENCE, trust_env=False
    ) as http:
        for path in ("/openapi.json", "/metrics", "/tasks", "/docsx", "/docs/"):
            assert http.get(path).status_code == 401, path
        for path in ("/docs", "/health/live", "/health/ready", "/health/startup"):
            assert http.get(path).status_code == 200, path
        headers = {"Authorization": "Bearer open sesame"}
        made = http.get("/openapi.json", headers=headers).json()
        assert made["security"] == [{"bearer": []}]
        assert made["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


# --- probes and reloads ---------------------------------------------------------------------------


def probes(http) -> dict[str, tuple[int, list[str]]]:
    told = {}
    for name in ("live", "ready", "startup"):
        answer = http.get(f"/health/{name}")
        assert answer.headers["cache-control"] == "no-store"
        told[name] = answer.status_code, answer.json()["reasons"]
    return told


WELL = {"live": (200, []), "ready": (200, []), "startup": (200, [])}


def test_probes_say_that_all_is_well(http):
    assert probes(http) == WELL
    assert http.get("/health/ready").json() == {"ready": True, "reasons": []}
    assert http.get("/health/startup").json()["started"] is True


def test_before_the_program_is_loaded_it_is_alive_and_not_ready(start_provider, tmp_path):
    import os

    os.mkfifo(tmp_path / "gate")
    provider = start_provider(
        """
        import os
        open(os.path.join(os.path.dirname(__file__), "gate"), "rb").read()
        from provider.dispatch import operation
        @operation(http="GET /x")
        def x(): return 1
        """,
        "--http",
        "0",
        ready=False,
    )
    url = provider.wait_for("http_open")["url"]
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as http:
        loading = 503, ["the program is being loaded"]
        assert probes(http) == {"live": (200, []), "ready": loading, "startup": loading}
        answer = http.get("/x")
        assert (answer.status_code, answer.json()["kind"]) == (503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert "provider_ready 0.0" in http.get("/metrics").text
        (tmp_path / "gate").write_bytes(b"")
        provider.wait_for("ready")
        assert probes(http) == WELL
        assert http.get("/x").json() == 1


def test_reasons_why_it_is_not_ready(start_provider, nats_server, tmp_path):
    provider = start_provider(
        """
        import os
        from provider.dispatch import health, operation
        @operation
        def f(): return 1
        @health
        def well():
            if os.path.exists(os.path.join(os.path.dirname(__file__), "ill")):
                raise ValueError("no database")
        """,
        "--http",
        "0",
        nats=nats_server.url,
    )
    with httpx.Client(
        base_url=provider.wait_for("ready")["http"], timeout=PATIENCE, trust_env=False
    ) as http:
        (tmp_path / "ill").touch()
        assert probes(http)["ready"] == (503, ["health well failed: ValueError: no database"])
        (tmp_path / "ill").unlink()
        nats_server.stop()
        provider.wait_for("nats_disconnected")
        ready = http.get("/health/ready")
        assert ready.status_code == 503
        assert "NATS is not connected" in ready.json()["reasons"]
        assert http.get("/health/live").status_code == 200
        assert http.get("/health/startup").status_code == 200


def test_pages_follow_saves(start_provider):
    provider = start_provider(PROGRAM, "--http", "0")
    with httpx.Client(
        base_url=provider.wait_for("ready")["http"], timeout=PATIENCE, trust_env=False
    ) as http:
        assert "/call/day" in http.get("/openapi.json").json()["paths"]
        write(
            Path(provider.environment["PYTHON_DISPATCH"]),
            """
            from provider.dispatch import operation
            @operation(http="GET /new")
            def new(): return 1
            """,
        )
        assert set(http.get("/openapi.json").json()["paths"]) == {"/new", "/call/new"}
        assert metrics(http)["provider_reloads_total", ("result", "ok")] == 1


# --- metrics --------------------------------------------------------------------------------------


def test_metrics_count_calls_however_they_come(http, house):
    before = metrics(http)
    house.call("hello")
    assert http.post("/call/hello").json() == "hello"
    http.post("/call/broken")
    http.post("/call/made.up.by.somebody", json=1)
    for _ in range(2):
        http.post("/call/day", json="2026-11-21")
    after = metrics(http)

    def more(name, *labels):
        return after[name, *labels] - before[name, *labels]

    def calls(operation, outcome):
        return more("provider_calls_total", ("operation", operation), ("outcome", outcome))

    assert calls("hello", "ok") == 2
    assert calls("broken", "error") == 1
    assert calls("day", "ok") == 2
    assert calls("_OTHER", "error") == 1
    assert calls("_OTHER", "ok") == 0
    assert more("provider_call_duration_seconds_count") == 5
    assert more("provider_call_duration_seconds_bucket", ("le", "+Inf")) == 5
    assert more("provider_cache_hits_total") == more("provider_cache_misses_total") == 1
    assert more("provider_http_requests_total", ("status", "404")) == 1
    assert after["provider_workers", ("state", "ready")] == 1
    assert after["provider_worker_memory_bytes",] > 1_000_000
    assert after["provider_queue_depth",] == after["provider_inflight_calls",] == 0
    assert after["provider_ready",] == 1
    assert after["provider_queue_limit",] == 1024
    assert after["provider_concurrency",] == 1
    assert "made.up" not in http.get("/metrics").text
    assert http.get("/metrics").headers["content-type"].startswith("text/plain; version=")


def test_a_program_without_operations_has_one_name(start_provider):
    provider = start_provider("def handle(command, arg):\n    return arg['x']\n", "--http", "0")
    with httpx.Client(
        base_url=provider.wait_for("ready")["http"], timeout=PATIENCE, trust_env=False
    ) as http:
        assert http.post("/call/a", json={"x": 1}).json() == 1
        assert http.post("/call/b", json={}).status_code == 500
        told = metrics(http)
        counted = {key: value for key, value in told.items() if key[0] == "provider_calls_total"}
        assert counted == {
            ("provider_calls_total", ("operation", "handle"), ("outcome", "ok")): 1,
            ("provider_calls_total", ("operation", "handle"), ("outcome", "error")): 1,
        }
        assert json.loads(http.get("/openapi.json").text)["paths"] == {}
