"""A WSGI application behind one raw operation, whatever it was written with.

    @operation(http="* /{path:path}", http_raw=True)
    def application(request: dict) -> dict:
        return answer(app, request)

The rule of this file: it translates a request as the HTTP door hands it over to WSGI (PEP 3333) and
the answer back, and knows neither the application nor the provider.
"""

import io
import sys
from urllib.parse import quote_plus


def answer(app, request):
    """What an application says to a request.

    Args:
        app: of WSGI.
        request: a map with `method`, `path`, `query` and `headers` (lists of pairs), and `body`.

    Returns:
        A map with `status`, `headers` and `body`.

    Raises:
        RuntimeError: the application breaks the protocol. What else is raised is its own.
    """
    said = {}

    def start_response(status, headers, exc_info=None):
        if said and exc_info is None:
            raise RuntimeError("the application began a second answer")
        said.update(status=int(status.split(" ", 1)[0]), headers=[list(each) for each in headers])
        return written.append

    written = []
    parts = app(_environ(request), start_response)
    try:
        # Not as list(...): an application may write and yield.
        for part in parts:
            written.append(part)  # noqa: PERF402
    finally:
        if hasattr(parts, "close"):
            parts.close()
    if not said:
        raise RuntimeError("the application gave a body and began no answer")
    return {**said, "body": b"".join(written)}


def _environ(request):
    body = request["body"]
    environ = {
        "REQUEST_METHOD": request["method"],
        "SCRIPT_NAME": "",
        # Each character is to be a byte, as those of headers are.
        "PATH_INFO": request["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": "&".join(
            f"{quote_plus(name)}={quote_plus(value)}" for name, value in request["query"]
        ),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request["headers"]:
        key = name.upper()
        # X_Key would be taken for X-Key, which whoever is before us may vouch for.
        if "_" in key or key in ("CONTENT-LENGTH", "TRANSFER-ENCODING", "PROXY"):
            continue
        key = key.replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        between = "; " if key == "HTTP_COOKIE" else ","
        known = environ.get(key)
        environ[key] = value if known is None else f"{known}{between}{value}"
    return environ
