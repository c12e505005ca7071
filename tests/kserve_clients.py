"""Providers whose models are asked over gRPC and over HTTP, by Triton's clients."""

from __future__ import annotations

import contextlib
import json
import queue
import urllib.error
import urllib.request

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import np_to_triton_dtype

from tests.conftest import PATIENCE

OPERATIONS = """
    from typing import Any, Iterator, TypedDict

    import numpy as np
    from provider.dispatch import OperationError, context, operation

    class Parts(TypedDict):
        sum: np.ndarray
        words: list[str]

    @operation
    def double(x: np.ndarray) -> np.ndarray:
        return x * 2

    @operation
    def add(a: np.ndarray, b: np.ndarray, scale: int = 1) -> Parts:
        return {"sum": (a + b) * scale, "words": [str(a.dtype), str(a.shape)]}

    @operation
    def shout(text: str) -> str:
        return text.upper()

    @operation
    def count(n: int) -> Iterator[int]:
        yield from range(n)
        if n == 13:
            raise ValueError("thirteen")

    @operation
    def echo(value: Any) -> Any:
        return value

    @operation
    def fail(code: int) -> None:
        raise OperationError("no luck", code=code)

    @operation
    def seen() -> str:
        return context().headers.get("x-seen", "nothing")
"""
"""What they serve."""


class Served:
    """A provider and clients of it."""

    def __init__(self, provider, ready):
        self.provider = provider
        self.grpc_url = ready["grpc"]
        self.http_url = ready["http"]
        self.grpc = triton_grpc.InferenceServerClient(self.grpc_url)
        self.http = triton_http.InferenceServerClient(self.http_url.removeprefix("http://"))

    def close(self):
        self.grpc.close()
        self.http.close()

    def ask(self, path, method="GET", data=None, **headers):
        """Status and body of the answer to a request."""
        request = urllib.request.Request(
            self.http_url + path, data, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        request.method = method
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def post(self, path, told):
        return self.ask(path, "POST", json.dumps(told).encode())

    @contextlib.contextmanager
    def stream(self):
        """Send messages, and take what comes: `stream.take()`."""
        client = triton_grpc.InferenceServerClient(self.grpc_url)
        came = queue.Queue()
        client.start_stream(callback=lambda result, error: came.put((result, error)))
        client.take = lambda: came.get(timeout=PATIENCE)
        try:
            yield client
        finally:
            client.stop_stream()
            client.close()


def tensor(name, array, datatype=None, module=triton_grpc, **how):
    """An input of a request."""
    made = module.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array, **how)
    return made


def raw(name, shape, datatype, data):
    """An input whose bytes are as they are."""
    made = triton_grpc.InferInput(name, shape, datatype)
    made._raw_content = data
    return made
