"""Ids of requests, and that nothing breaks out of a header."""

from __future__ import annotations

import pytest


async def test_ids_are_answered_and_passed_on(door):
    answer = await door.post("/call/echo", b"1", "X-Request-Id: mine")
    assert answer.headers["x-request-id"] == "mine"
    assert door.backend.calls[0].id == "mine"
    answer = await door.post("/call/echo", b"1")
    assert answer.headers["x-request-id"] == door.backend.calls[1].id != ""
    answer = await door.post("/nothing", b"1", "X-Request-Id: mine")
    assert answer.problem["request_id"] == answer.headers["x-request-id"] == "mine"


async def test_every_answer_says_that_its_type_is_meant(door):
    answer = await door.post("/call/echo", b"1")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


async def test_a_header_with_a_line_break_is_not_sent(door, monkeypatch):
    import provider.doors.http.calls as calls

    monkeypatch.setattr(calls, "_JSON_HEADERS", [(b"content-type", b"a\r\nx-evil: 1")])
    answer = await door.post("/call/echo", b"1")
    assert answer.status == 500
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("status", [200, 404, 405])
async def test_requests_are_counted_by_status(door, status):
    path = {200: "/call/echo", 404: "/x", 405: "/call/echo"}[status]
    wire = await door.connect()
    method = "GET" if status == 405 else "POST"
    wire.send(f"{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert (await wire.answer()).status == status
    assert door.server.door.numbers.answers == {status: 1}
