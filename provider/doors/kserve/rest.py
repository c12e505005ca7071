"""The KServe protocol on the HTTP door: `/v2`, and what is served at `/v1/config`.

The rule of this file: errors are an object with one key, `error`, whatever they are elsewhere; a
path that is none of these is 400 and a method that does not fit is 406, as clients of the protocol
know it.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from provider import __version__
from provider.doors.kserve.models import BackendModels
from provider.errors import BadRequest, CallError, clip
from provider.kserve import rest
from provider.kserve.faults import fault
from provider.kserve.tensors import VERSION, About

if TYPE_CHECKING:
    from provider.doors.backend import Backend
    from provider.doors.http.calls import Calls
    from provider.doors.http.exchange import Exchange
    from provider.kserve.graph import Graph

SERVER = "python-provider"
_JSON = b"application/json"
_RAW = b"application/octet-stream"
_MODEL = re.compile(rb"/v2/models/([^/]+)(?:/versions/([0-9]+))?(?:/(|ready|infer))?")
_METHODS = {b"infer": "POST", b"ready": "GET", b"": "GET"}
_SERVER = re.compile(rb"/v2(?:/|/health/(?:live|ready))?")
LOOKED_AT = 2.0
"""Seconds within which a config that was saved is looked at, twice what it should take."""
GLANCE = 0.1
"""Seconds between two looks whether it was loaded."""
CONFIG, RELOAD = b"/v1/config", b"/v1/config/reload"


class Rest:
    """Answers what is asked below `/v2`, and at `/v1/config`.

    Args:
        backend: runs the calls.
        calls: of the door.
    """

    def __init__(self, backend: Backend, calls: Calls) -> None:
        self._backend = backend
        self._calls = calls
        self._models = BackendModels(backend, calls.values.limits)

    async def answer(self, exchange: Exchange) -> bool:
        """Answer a request; whether it was one of these.

        Raises:
            Gone: the client has gone.
        """
        path = exchange.raw_path
        if path not in (b"/v2", CONFIG, RELOAD) and not path.startswith(b"/v2/"):
            return False
        if path in (CONFIG, RELOAD) and not await self._models.graphs():
            return False
        try:
            await self._answer(exchange, path)
        except CallError as error:
            if exchange.started:
                raise
            retry = error.retry_after_ms
            more = [] if retry is None else [(b"retry-after", b"%d" % -(-retry // 1000))]
            body = rest.dumped({"error": clip(error.message)})
            await exchange.respond(error.code, body, [(b"content-type", _JSON), *more])
        return True

    async def _answer(self, exchange: Exchange, path: bytes) -> None:
        if b".." in unquote_to_bytes(path).split(b"/"):
            raise fault("REST_INVALID_URL", "it has ..")
        model = _MODEL.fullmatch(path)
        if model is not None:
            raw, _, what = model.groups(b"")
            await _check_method(exchange, _METHODS[what])
            if exchange.method == "OPTIONS":
                return
            try:
                name = unquote_to_bytes(raw).decode("utf-8")
            except UnicodeDecodeError:
                raise fault("REST_INVALID_URL", "the name of the model is not UTF-8") from None
            await (self._infer if what == b"infer" else self._about_model)(exchange, name, what)
            return
        if path not in (CONFIG, RELOAD) and not _SERVER.fullmatch(path):
            raise fault("REST_INVALID_URL", path.decode("latin-1")[:256])
        await _check_method(exchange, "POST" if path == RELOAD else "GET")
        if exchange.method == "OPTIONS":
            return
        if path == CONFIG:
            await _respond(exchange, 200, _config(await self._models.graphs()))
        elif path == RELOAD:
            await self._reload(exchange)
        elif path.endswith(b"/live"):
            await exchange.respond(200, b"", [])
        elif path.endswith(b"/ready"):
            ready = await self._models.server_ready()
            await exchange.respond(200 if ready else 503, b"", [])
        else:
            told = {"name": SERVER, "version": __version__, "extensions": ["binary_tensor_data"]}
            await _respond(exchange, 200, rest.dumped(told))

    async def _about_model(self, exchange: Exchange, name: str, what: bytes) -> None:
        if what == b"ready":
            well = await self._models.ready(name)
            await exchange.respond(200 if well else 404, b"", [])
        else:
            await _respond(exchange, 200, rest.metadata(await self._models.metadata(name)))

    async def _infer(self, exchange: Exchange, name: str, _what: bytes) -> None:
        headers = exchange.headers
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise BadRequest("the body is compressed; send it as it is", code=415)
        call = self._calls.call(exchange, name, b"", 0)
        data = await exchange.body()
        length = headers.get(rest.HEADER_LENGTH)
        body = rest.read(name, data, length, self._calls.values)
        about = About(exchange.id, call.timeout, dict(call.headers))
        answer, size = rest.write(body, await self._models.infer(body.request, about))
        if size is None:
            await _respond(exchange, 200, answer)
        else:
            told = [(b"content-type", _RAW), (rest.HEADER_LENGTH, b"%d" % size)]
            await exchange.respond(200, answer, told)

    async def _reload(self, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + LOOKED_AT
        before = after = self._backend.described().generation
        while after == before and loop.time() < end:
            after = (await self._backend.refresh()).generation
            await asyncio.sleep(GLANCE)
        graphs = await self._models.graphs()
        await _respond(exchange, 200 if before == after else 201, _config(graphs))


async def _check_method(exchange: Exchange, method: str) -> None:
    """Refuse another method than this; OPTIONS is answered.

    Raises:
        CallError: it is another one.
    """
    if exchange.method == "OPTIONS":
        await exchange.respond(204, b"", [(b"allow", method.encode())])
    elif exchange.method != method:
        raise fault("REST_UNSUPPORTED_METHOD", f"{exchange.method}; this path takes {method}")


async def _respond(exchange: Exchange, status: int, body: bytes) -> None:
    await exchange.respond(status, body, [(b"content-type", _JSON)])


def _config(graphs: list[Graph]) -> bytes:
    """What is served, laid out as clients of the original have it."""
    served = {}
    for graph in graphs:
        state, code, text = ("AVAILABLE", "OK", "OK")
        if graph.problem:
            state, code, text = ("LOADING", "FAILED_PRECONDITION", "FAILED_PRECONDITION")
        served[graph.name] = {
            "model_version_status": [
                {
                    "version": VERSION,
                    "state": state,
                    "status": {"error_code": code, "error_message": text},
                }
            ]
        }
    return rest.dumped(served, indent=1)
