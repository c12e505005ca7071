"""The application behind the HTTP door: which path is answered where.

The rule of this file: it knows paths, and no answer. Calls are answered by `calls`, the paths of
the house (what can be called, how it is, how it goes) by `pages`, and all others by the routes
authors declare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from provider.doors.http.backend import Backend


def make_app(backend: Backend) -> Starlette:
    """The application.

    Args:
        backend: runs the calls. Pages find it as `request.app.state.backend`.
    """
    app = Starlette()
    app.state.backend = backend
    app.add_route("/{path:path}", _not_found)
    return app


async def _not_found(_request: Request) -> Response:
    return JSONResponse({"kind": "not_found"}, 404, media_type="application/problem+json")
