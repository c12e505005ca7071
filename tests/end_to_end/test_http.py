"""Calls over HTTP, from a host and from a gateway, as curl and httpx make them."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time

import cbor2
import httpx
import pytest

from tests.conftest import PATIENCE, Provider, clean_environment

PROGRAM = """
    import datetime, time
    from provider.dispatch import context

    def counted(many):
        try:
            for number in range(many):
                print("made", number)
                yield number
        finally:
            print("stopped")

    def failing():
        yield 1
        raise ValueError("half way")

    def handle(command, arg):
        if command == "echo":
            return arg
        if command == "kinds":
            import numpy
            return {
                "bytes": b"\\x01\\xff",
                "time": datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
                "big": 2**100,
                "array": numpy.array([[1, 2], [3, 4]], dtype="int16"),
                "number": numpy.float32(0.5),
                "nan": float("nan"),
            }
        if command == "type":
            return type(arg).__name__
        if command == "sleep":
            print("asleep")
            time.sleep(arg)
            return "woke up"
        if command == "patient":
            print("waiting for", arg)
            while not context().cancelled:
                time.sleep(0.005)
            print("left", arg)
            return arg
        if command == "fail":
            raise ValueError("bad: " + repr(arg))
        if command == "said":
            said = context()
            return [said.id, said.headers.get("x-mine"), said.traceparent]
        if command == "count":
            return counted(arg)
        if command == "half":
            return failing()
        raise LookupError(command)
"""


def url_of(provider) -> str:
    return provider.wait_for("ready")["http"]


@pytest.fixture(scope="module")
def host(start_module_provider):
    return start_module_provider(PROGRAM, "--http", "0", PROVIDER_TRACEBACKS="on")


@pytest.fixture(scope="module")
def gateway(host, tmp_path_factory):
    process = Provider(
        [sys.executable, "-m", "provider", "gateway", "--http", "0"],
        host.environment,
        tmp_path_factory.mktemp("gateway"),
    )
    process.wait_for("provider_found")
    yield process
    process.close()


@pytest.fixture(scope="module", params=["host", "gateway"])
def url(request):
    """Of both, one after the other: they are to be the same."""
    return url_of(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:
        yield client


def problem(response: httpx.Response, status: int, kind: str) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert (told["status"], told["kind"]) == (status, kind)
    assert told["request_id"] == response.headers["x-request-id"]
    return told


# --- arguments and results ------------------------------------------------------------------------


def curl(*arguments: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", str(PATIENCE), *arguments],
        capture_output=True,
        check=True,
        timeout=2 * PATIENCE,
    )
    return done.stdout.decode()


def test_curl_calls_a_function(url):
    json_type = ("-H", "Content-Type: application/json")
    assert curl(f"{url}/call/echo", *json_type, "-d", '{"a": [1, null]}') == '{"a":[1,null]}'
    assert curl("-X", "POST", f"{url}/call/echo") == "null"
    assert '"status":415' in curl(f"{url}/call/echo", "-d", "1")


def test_curl_uploads_files(url, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\x00\xff\r\n" * 100_000)
    printed = curl(f"{url}/call/echo", "-F", f"file=@{tmp_path}/a.bin", "-F", "name=ä b")
    told = json.loads(printed)
    assert base64.b64decode(told["file"]) == b"\x00\xff\r\n" * 100_000
    assert told["name"] == "ä b"


def test_values_have_a_form_in_json(client):
    told = client.post("/call/kinds").json()
    assert told == {
        "bytes": "Af8=",
        "time": "2020-01-02T03:04:05+00:00",
        "big": 2**100,
        "array": [[1, 2], [3, 4]],
        "number": 0.5,
        "nan": "NaN",
    }


def test_cbor_goes_both_ways(client):
    item = {"b": b"\x00\xff", "big": 2**100}
    response = client.post(
        "/call/echo", content=cbor2.dumps(item), headers={"Content-Type": "application/cbor"}
    )
    assert response.headers["content-type"] == "application/cbor"
    assert cbor2.loads(response.content) == item
    response = client.post("/call/type", json="text", headers={"Accept": "application/cbor"})
    assert cbor2.loads(response.content) == "str"


def test_any_operation_of_a_plain_handle_can_be_called(client):
    told = problem(client.post("/call/a%20strange%2Fone"), 500, "handler_error")
    assert told["detail"] == "a strange/one"


def test_context_has_id_headers_and_trace(client):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = {"X-Request-Id": "mine-7", "X-Mine": "yes", "traceparent": trace}
    response = client.post("/call/said", headers=headers)
    request_id, mine, told = response.json()
    assert (request_id, mine) == ("mine-7", "yes")
    assert told == trace
    assert response.headers["x-request-id"] == "mine-7"


def test_many_clients_are_each_answered_with_their_own(client):
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        told = list(threads.map(lambda n: client.post("/call/echo", json=n).json(), range(200)))
    assert told == list(range(200))


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "not JSON"),
        (b"1 2", "not JSON"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b'{"a": 1, "a": 2}', "duplicate key 'a'"),
        (b'"\xff"', "UTF-8"),
        (b"[" * 1000 + b"]" * 1000, "deep"),
        (b"1" * 100_000, "integer"),
    ],
    ids=range(8),
)
def test_what_is_no_json_is_refused(client, body, told):
    for accept in ("application/json", "application/cbor", "text/event-stream"):
        headers = {"Content-Type": "application/json", "Accept": accept}
        response = client.post("/call/echo", content=body, headers=headers)
        assert told in problem(response, 400, "bad_request")["detail"]


def test_errors_of_functions_are_problems(client):
    told = problem(client.post("/call/fail", json=[1]), 500, "handler_error")
    assert told["detail"] == "bad: [1]"
    assert told["exception"] == "ValueError"
    assert "raise ValueError" in told["traceback"]


def test_callers_say_how_long_they_wait(client, host):
    headers = {"Provider-Timeout-Ms": "200"}
    problem(client.post("/call/sleep", json=3600, headers=headers), 504, "timeout")
    assert client.post("/call/echo", json=1).json() == 1


def test_paths_that_lead_nowhere_are_problems(client):
    problem(client.get("/nothing"), 404, "unknown_operation")
    problem(client.get("/../../etc/passwd"), 404, "unknown_operation")
    response = client.get("/call/echo")
    problem(response, 405, "bad_request")
    assert response.headers["allow"] == "POST"


def test_a_large_body_is_refused(url, client):
    response = client.post("/call/echo", content=b"1" * (8 * 2**20 + 1))
    problem(response, 413, "too_large")
    assert client.post("/call/echo", json=2).json() == 2


# --- streams --------------------------------------------------------------------------------------


def test_items_are_events(client):
    with client.stream(
        "POST", "/call/count", json=3, headers={"Accept": "text/event-stream"}
    ) as response:
        assert response.headers["content-type"] == "text/event-stream"
        lines = [line for line in response.iter_lines() if line]
    assert lines == ["data: 0", "data: 1", "data: 2", "event: end", "data: {}"]


def test_items_are_lines_however_many(client):
    headers = {"Accept": "application/x-ndjson"}
    with client.stream("POST", "/call/count", json=1000, headers=headers) as response:
        assert list(map(int, response.iter_lines())) == list(range(1000))


def test_a_stream_that_fails_says_so_at_its_end(client):
    headers = {"Accept": "application/x-ndjson"}
    first, last = client.post("/call/half", headers=headers).text.splitlines()
    assert first == "1"
    assert json.loads(last)["error"]["detail"] == "half way"
    problem(client.post("/call/fail", headers=headers), 500, "handler_error")


def test_a_generator_is_a_list_for_who_wants_it_whole(client):
    assert client.post("/call/count", json=3).json() == [0, 1, 2]


def test_who_leaves_a_stream_stops_the_function(client, host):
    before = len(host.events("printed", text="stopped"))
    headers = {"Accept": "application/x-ndjson"}
    with client.stream("POST", "/call/count", json=10**9, headers=headers) as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(3)] == ["0", "1", "2"]
    host.wait_for("printed", text="stopped", count=before + 1)
    assert client.post("/call/echo", json=1).json() == 1


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_a_function_sees_that_its_caller_has_left(start_provider, concurrency):
    provider = start_provider(PROGRAM, "--http", "0", PROVIDER_CONCURRENCY=concurrency)
    place = httpx.URL(url_of(provider))
    for number in range(3):
        with socket.create_connection((place.host, place.port), PATIENCE) as gone:
            gone.sendall(
                b"POST /call/patient HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n%d" % number
            )
            provider.wait_for("printed", text=f"waiting for {number}")
        # Long before its deadline.
        provider.wait_for("printed", text=f"left {number}")
    assert provider.call("echo", 1) == 1
    assert not provider.events("worker_lost")


def test_who_does_not_read_a_stream_slows_it_down(url, client, host):
    made = len(host.events("printed", text="made 63"))
    place = httpx.URL(url)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((place.host, place.port))
        slow.sendall(
            b"POST /call/count HTTP/1.1\r\nHost: h\r\nAccept: application/x-ndjson\r\n"
            b"Content-Length: 9\r\n\r\n100000000"
        )
        host.wait_for("printed", text="made 63", count=made + 1)
        stopped = len(host.events("printed", text="stopped"))
    host.wait_for("printed", text="stopped", count=stopped + 1)
    assert not host.events("printed", text="made 10000000")


# --- one provider each ----------------------------------------------------------------------------


def test_a_full_queue_says_when_to_come_back(start_provider):
    provider = start_provider(PROGRAM, "--http", "0", PROVIDER_QUEUE_CALLS="1")
    with (
        httpx.Client(base_url=url_of(provider), timeout=PATIENCE, trust_env=False) as client,
        concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
        sleeping = thread.submit(client.post, "/call/sleep", json=1)
        provider.wait_for("printed", text="asleep")
        response = client.post("/call/echo", json=1)
        told = problem(response, 429, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        assert told["retry_after_ms"] > 0
        assert sleeping.result().json() == "woke up"


def test_who_stops_answers_what_it_has_taken(start_provider):
    provider = start_provider(PROGRAM, "--http", "0")
    url = url_of(provider)
    with (
        httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client,
        concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
        sleeping = thread.submit(client.post, "/call/sleep", json=1)
        provider.wait_for("printed", text="asleep")
        provider.signal(signal.SIGTERM)
        provider.wait_for("draining")
        _until_refused(url)
        assert sleeping.result().json() == "woke up"
    assert provider.wait() == 0
    assert not provider.events("answers_left_behind")


def _until_refused(url: str) -> None:
    place = httpx.URL(url)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection((place.host, place.port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)
    raise AssertionError("it listens on")


def test_what_does_not_end_in_time_is_answered_with_503(start_provider):
    provider = start_provider(PROGRAM, "--http", "0", PROVIDER_STOP_TIMEOUT="200ms")
    with (
        httpx.Client(base_url=url_of(provider), timeout=PATIENCE, trust_env=False) as client,
        concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
        sleeping = thread.submit(client.post, "/call/sleep", json=3600)
        provider.wait_for("printed", text="asleep")
        provider.signal(signal.SIGTERM)
        assert "stopping" in problem(sleeping.result(), 503, "unavailable")["detail"]
    assert provider.wait() == 0


def test_probes_are_answered_while_the_program_is_loaded(start_provider, tmp_path):
    os.mkfifo(tmp_path / "gate")
    source = f"open({str(tmp_path / 'gate')!r}).read()\ndef handle(command, arg): return arg\n"
    provider = start_provider(source, "--http", "0", ready=False)
    url = provider.wait_for("http_open")["url"]
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/startup").status_code == 503
        response = client.post("/call/echo", json=1)
        assert "being loaded" in problem(response, 503, "unavailable")["detail"]
        assert response.headers["retry-after"] == "1"
        (tmp_path / "gate").write_text("")
        provider.wait_for("ready")
        assert client.post("/call/echo", json=1).json() == 1
        assert client.get("/health/startup").status_code == 200


def test_a_saved_program_serves_the_next_call(start_provider):
    provider = start_provider("def handle(command, arg): return 1", "--http", "0")
    with httpx.Client(base_url=url_of(provider), timeout=PATIENCE, trust_env=False) as client:
        assert client.post("/call/x").json() == 1
        (provider_file(provider)).write_text("def handle(command, arg): return 22")
        assert client.post("/call/x").json() == 22


def provider_file(provider):
    from pathlib import Path

    return Path(provider.environment["PYTHON_DISPATCH"])


def test_a_port_that_is_taken_ends_the_start(start_provider, host):
    port = url_of(host).rpartition(":")[2]
    provider = start_provider(PROGRAM, "--http", port, ready=False)
    assert provider.wait() == 3
    assert f"cannot listen on 127.0.0.1:{port} (PROVIDER_HTTP)" in provider.text


def test_strict_needs_callers_who_say_who_they_are(start_provider):
    provider = start_provider(
        PROGRAM,
        "--http",
        "0",
        ready=False,
        PROVIDER_STRICT="on",
        PROVIDER_CLUSTER_ISSUERS="C" + "A" * 55,
    )
    assert provider.wait() == 3
    assert "PROVIDER_HTTP_TOKEN" in provider.text


def test_without_http_nothing_of_it_is_imported():
    code = (
        "import sys; import provider.cli, provider.host.run; "
        "print([name for name in ('starlette', 'uvicorn', 'prometheus_client') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"


def test_a_secret_comes_from_a_file(start_provider, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    provider = start_provider(
        PROGRAM, "--http", "0", PROVIDER_HTTP_TOKEN_FILE=str(tmp_path / "token")
    )
    with httpx.Client(base_url=url_of(provider), timeout=PATIENCE, trust_env=False) as client:
        problem(client.post("/call/echo"), 401, "unauthorized")
        headers = {"Authorization": "Bearer s3cret"}
        assert client.post("/call/echo", json=1, headers=headers).json() == 1
        assert client.get("/health/ready").status_code == 200
    assert "s3cret" not in provider.text
