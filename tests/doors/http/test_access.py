"""Who may call, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.doors.http.conftest import Answer


async def get(door, path: str, method: str, *headers: str) -> Answer:
    wire = await door.connect()
    lines = [f"{method} {path} HTTP/1.1", "Host: here:1", "Connection: close", *headers, "", ""]
    wire.send("\r\n".join(lines).encode("latin-1"))
    return await wire.answer()


async def test_nothing_is_asked_for_unless_told(door):
    assert (await door.post("/call/echo")).status == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Authorization: Bearer s3cret", 200),
        ("Authorization: bearer  s3cret", 200),
        ("X-API-Key: k3y", 200),
        ("Authorization: Bearer s3cre", 401),
        ("Authorization: Bearer k3y", 401),
        ("Authorization: Basic s3cret", 401),
        ("Authorization: Bearer", 401),
        ("X-API-Key: s3cret", 401),
        ("X-API-Key: k\xe4y", 401),
        ("X-Nothing: 1", 401),
    ],
)
async def test_either_secret_will_do(open_door, header, status):
    door = await open_door(token="s3cret", api_key="k3y")
    answer = await door.post("/call/echo", b"1", header)
    assert answer.status == status
    if status == 401:
        assert answer.problem["kind"] == "unauthorized"
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "s3cret" not in answer.body.decode()
        assert door.backend.calls == []


@pytest.mark.parametrize("secret", ["token", "api_key"])
async def test_an_empty_secret_opens_nothing(open_door, secret):
    door = await open_door(**{secret: "x"})
    for header in ("Authorization: Bearer ", "X-API-Key: ", "Authorization: "):
        assert (await door.post("/call/echo", b"1", header)).status == 401


async def test_functions_do_not_see_secrets_of_the_door(open_door):
    door = await open_door(token="s3cret")
    await door.post("/call/echo", b"1", "Authorization: Bearer s3cret", "X-Mine: 1")
    (call,) = door.backend.calls
    assert "authorization" not in call.headers
    assert call.headers["x-mine"] == "1"
    door = await open_door()
    await door.post("/call/echo", b"1", "Authorization: Bearer theirs")
    assert door.backend.calls[0].headers["authorization"] == "Bearer theirs"


@pytest.mark.parametrize("path", ["/openapi.json", "/metrics", "/nothing", "/healthy"])
async def test_nothing_but_health_is_open(open_door, path):
    door = await open_door(token="s3cret")
    assert (await get(door, path, "GET")).status == 401


# --- Web pages of other origins -------------------------------------------------------------------


async def test_pages_of_other_origins_may_not_call(door):
    for method in ("POST", "GET", "OPTIONS"):
        answer = await get(door, "/call/echo", method, "Origin: https://evil.example")
        assert answer.status == 403
        assert "https://evil.example" in answer.problem["detail"]
        assert "access-control-allow-origin" not in answer.headers
    assert (await get(door, "/call/echo", "POST", "Origin: null")).status == 403
    assert door.backend.calls == []


async def test_pages_of_our_own_may(door):
    assert (await get(door, "/call/echo", "POST", "Origin: http://here:1")).status == 200
    assert (await get(door, "/call/echo", "POST", "Origin: http://here:2")).status == 403


async def test_pages_that_are_allowed_may(open_door):
    door = await open_door(origins=("https://good.example",), token="s3cret")
    asked = (
        "Origin: https://good.example",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type, authorization",
    )
    answer = await get(door, "/call/echo", "OPTIONS", *asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "content-type, authorization"
    assert answer.headers["vary"] == "origin"
    answer = await get(
        door, "/call/echo", "POST", asked[0], "Authorization: Bearer s3cret", "Content-Length: 0"
    )
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    # Errors, too, or a page could not read them.
    answer = await get(door, "/call/echo", "POST", asked[0])
    assert answer.status == 401
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    answer = await get(door, "/call/echo", "POST", "Origin: https://evil.example")
    assert answer.status == 403


async def test_all_pages_may_where_all_are_allowed(open_door):
    door = await open_door(origins=("*",))
    answer = await get(door, "/call/echo", "POST", "Origin: https://any.example")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers
