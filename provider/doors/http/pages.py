"""The provider's own pages: what can be called, how it is, how it goes.

The rule of this file: nothing here is kept from one load of the program to the next, and no page
needs anything from elsewhere. Probes always answer: that one does is what `live` means.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from provider import openapi
from provider.doors.in_host import InHost
from provider.telemetry import metrics as telemetry

if TYPE_CHECKING:
    from starlette.requests import Request

    from provider.doors.backend import Backend, Health
    from provider.doors.http.options import HttpOptions

_HERE = Path(__file__).parent


async def openapi_json(request: Request) -> Response:
    """What can be called, as OpenAPI."""
    backend: Backend = request.app.state.backend
    options: HttpOptions = request.scope["provider.exchange"].options
    described = await backend.refresh()
    schemas = await backend.schemas()
    # Pages that are open ask again and again; what they are told is made once for each load.
    generation, known = getattr(request.app.state, "document", (None, {}))
    if generation != described.generation or known is not schemas:
        security = [
            way
            for way, secret in ((openapi.BEARER, options.token), (openapi.API_KEY, options.api_key))
            if secret
        ]
        made = openapi.document(described.operations, schemas, security=security)
        request.app.state.body = json.dumps(made, separators=(",", ":")).encode()
        request.app.state.document = described.generation, schemas
    body = request.app.state.body
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, "application/json")


async def docs_page(_request: Request) -> Response:
    """What can be called, for a person, who can try it there."""
    page, policy = _page()
    return Response(
        page,
        200,
        {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
        },
        "text/html; charset=utf-8",
    )


async def metrics(request: Request) -> Response:
    """How it goes, for Prometheus."""
    state = request.app.state
    # A gateway has numbers of its own only: providers are asked for theirs where they run.
    is_host = isinstance(state.backend, InHost)
    figures = (await state.backend.status())["figures"] if is_host else None
    numbers = state.numbers
    body = telemetry.text(figures, numbers.open, numbers.answers)
    return Response(body, 200, {"cache-control": "no-store"}, telemetry.CONTENT_TYPE)


async def live(request: Request) -> Response:
    """Whether it is worth letting it run on: whoever hears this, it is."""
    del request
    return _probe("live", well=True)


async def ready(request: Request) -> Response:
    """Whether calls are answered now."""
    health = await _health(request)
    return _probe("ready", well=health.ready, reasons=health.reasons)


async def startup(request: Request) -> Response:
    """Whether calls were ever answered."""
    health = await _health(request)
    return _probe("started", well=health.started, reasons=() if health.started else health.reasons)


async def _health(request: Request) -> Health:
    backend: Backend = request.app.state.backend
    return await backend.health()


def _probe(what: str, *, well: bool, reasons: tuple[str, ...] = ()) -> Response:
    told: dict[str, Any] = {what: well, "reasons": list(reasons)}
    return Response(
        json.dumps(told).encode(),
        200 if well else 503,
        {"cache-control": "no-store"},
        "application/json",
    )


@functools.cache
def _page() -> tuple[bytes, str]:
    """The page, and the policy that lets its own script and style run and nothing else."""
    style = (_HERE / "docs.css").read_text("utf-8")
    script = (_HERE / "docs.js").read_text("utf-8")
    page = (_HERE / "docs.html").read_text("utf-8")
    page = page.replace("{{style}}", style).replace("{{script}}", script)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return page.encode(), policy


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


ROUTES = [
    Route("/openapi.json", openapi_json, methods=["GET"]),
    Route("/docs", docs_page, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
    Route("/health/live", live, methods=["GET"]),
    Route("/health/ready", ready, methods=["GET"]),
    Route("/health/startup", startup, methods=["GET"]),
]
