"""Which path is answered where, and that there is always an answer."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException
from starlette.routing import Route

from provider.doors.http import app
from provider.errors import Unavailable


async def get(door, path: str, method: str = "GET"):
    wire = await door.connect()
    wire.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    return await wire.answer()


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/health/startup", "/metrics", "/docs"]
)
async def test_pages_of_the_house_answer_with_an_id(door, path):
    answer = await get(door, path)
    assert answer.status == 200
    assert answer.headers["x-request-id"]


async def test_pages_of_the_house_take_no_other_methods(door):
    answer = await get(door, "/metrics", "DELETE")
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]
    assert answer.problem["kind"] == "bad_request"


async def test_other_paths_are_problems(door):
    for path in ("/", "/x", "/docs/", "/metrics/x", "/health", "/%00", "/x?y=1"):
        answer = await get(door, path)
        assert answer.status in (400, 404)
        assert answer.problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("nobody knows", retry_after_ms=3000), 503),
        (HTTPException(404, "no such page"), 404),
        (RuntimeError("a secret of ours"), 500),
    ],
)
async def test_a_page_that_fails_is_a_problem(open_door, monkeypatch, error, status):
    async def page(_request):
        raise error

    monkeypatch.setattr(app.pages, "ROUTES", [Route("/bad", page)])
    door = await open_door()
    answer = await get(door, "/bad")
    assert answer.status == status
    assert answer.problem["code"] == status
    assert b"secret" not in answer.body
    assert answer.headers["x-request-id"] == answer.problem["request_id"]
    assert ("retry-after" in answer.headers) == (status == 503)
