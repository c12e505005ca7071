"""`provider gateway`: how it starts, follows a provider, and ends."""

from __future__ import annotations

import concurrent.futures
import signal
import sys

import httpx
import pytest

from tests.conftest import PATIENCE, Provider, clean_environment, write

PROGRAM = """
    import time

    def handle(command, arg):
        if command == "sleep":
            print("asleep")
            time.sleep(arg)
        return arg
"""


@pytest.fixture
def start_gateway(tmp_path, shared_nats):
    started = []

    def start(*flags: str, like: Provider | None = None, ready: bool = True, **environment: str):
        base = like.environment if like is not None else clean_environment()
        variables = {"PROVIDER_LOG_FORMAT": "json", **base, **environment}
        variables.setdefault("NATS_URL", shared_nats.url)
        command = [sys.executable, "-m", "provider", "gateway", *flags]
        started.append(Provider(command, variables, tmp_path))
        if ready:
            started[-1].wait_for("ready")
        return started[-1]

    yield start
    for gateway in started:
        gateway.close()


@pytest.fixture
def client_of():
    clients = []

    def client(process) -> httpx.Client:
        url = process.wait_for("http_open")["url"]
        clients.append(httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False))
        return clients[-1]

    yield client
    for each in clients:
        each.close()


def test_without_a_place_to_listen_it_says_so(provider_command):
    done = provider_command("gateway")
    assert done.returncode == 2
    assert b"--http 8000" in done.stderr


def test_without_nats_it_says_so_unless_told_to_wait(provider_command):
    done = provider_command("gateway", "--http", "0", "--no-wait", NATS_URL="nats://127.0.0.1:1")
    assert done.returncode == 3
    assert b"no NATS server at nats://127.0.0.1:1" in done.stderr


def test_while_nats_is_waited_for_probes_are_answered(start_gateway, client_of):
    gateway = start_gateway("--http", "0", NATS_URL="nats://127.0.0.1:1", ready=False)
    client = client_of(gateway)
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").status_code == 503
    response = client.post("/call/x")
    assert (response.status_code, response.json()["kind"]) == (503, "unavailable")
    assert response.headers["retry-after"] == "1"
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0


def test_a_port_that_is_taken_ends_the_start(start_gateway):
    first = start_gateway("--http", "0")
    port = first.wait_for("ready")["http"].rpartition(":")[2]
    second = start_gateway("--http", port, ready=False)
    assert second.wait() == 3
    assert "(PROVIDER_HTTP)" in second.text


def test_a_provider_that_is_away_is_found_when_it_comes(start_provider, start_gateway, client_of):
    gateway = start_gateway("--http", "0", PROVIDER_LATTICE="away", PROVIDER_NAME="away")
    client = client_of(gateway)
    response = client.post("/call/echo", json=1)
    assert (response.status_code, response.json()["kind"]) == (503, "unavailable")
    assert "no provider listens on" in response.json()["detail"]
    assert response.headers["retry-after"] == "1"
    assert client.get("/health/ready").status_code == 503
    with client.stream(
        "POST", "/call/echo", json=1, headers={"Accept": "text/event-stream"}
    ) as streamed:
        assert streamed.status_code == 503
    provider = start_provider(PROGRAM, PROVIDER_LATTICE="away", PROVIDER_NAME="away")
    gateway.wait_for("provider_found")
    assert client.post("/call/echo", json=1).json() == 1
    assert client.get("/health/ready").status_code == 200
    provider.stop()
    gateway.wait_for("provider_away")
    assert client.get("/health/ready").status_code == 503


def test_routes_follow_saves(start_provider, start_gateway, client_of, tmp_path):
    program = """
        from provider.dispatch import operation

        @operation(http="GET /{where}/{{number}}")
        def square(number: int) -> int:
            return number * number
    """
    provider = start_provider(program.format(where="first"))
    gateway = start_gateway("--http", "0", like=provider)
    client = client_of(gateway)
    gateway.wait_for("provider_found")
    assert client.get("/first/12").json() == 144
    write(tmp_path / "dispatch.py", program.format(where="second"))
    assert client.get("/second/12").json() == 144
    assert client.get("/first/12").status_code == 404


def test_who_stops_answers_what_it_has_asked(start_provider, start_gateway, client_of):
    provider = start_provider(PROGRAM)
    gateway = start_gateway("--http", "0", like=provider)
    client = client_of(gateway)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        sleeping = thread.submit(client.post, "/call/sleep", json=1)
        provider.wait_for("printed", text="asleep")
        gateway.signal(signal.SIGTERM)
        assert sleeping.result().json() == 1
    assert gateway.wait() == 0
    assert gateway.events("drained")
    assert not gateway.events("requests_left_behind")


@pytest.mark.parametrize("force", [True, False])
def test_what_does_not_end_is_answered_with_503(start_provider, start_gateway, client_of, force):
    provider = start_provider(PROGRAM, PROVIDER_STOP_TIMEOUT="100ms")
    patience = "1h" if force else "200ms"
    gateway = start_gateway("--http", "0", like=provider, PROVIDER_STOP_TIMEOUT=patience)
    client = client_of(gateway)
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        sleeping = thread.submit(client.post, "/call/sleep", json=20)
        provider.wait_for("printed", text="asleep")
        gateway.signal(signal.SIGTERM)
        if force:
            gateway.wait_for("draining")
            gateway.signal(signal.SIGTERM)
        response = sleeping.result()
    assert (response.status_code, response.json()["kind"]) == (503, "unavailable")
    assert gateway.wait() == 0
    assert gateway.events("requests_left_behind")


def test_what_is_too_large_for_nats_is_413(start_provider, start_gateway, client_of):
    provider = start_provider(PROGRAM)
    client = client_of(start_gateway("--http", "0", like=provider))
    response = client.post("/call/echo", content=b'"' + b"x" * 2_000_000 + b'"')
    assert (response.status_code, response.json()["kind"]) == (413, "too_large")
    assert "max_payload" in response.json()["detail"]
