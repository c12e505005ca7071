"""Calls over gRPC, from a host and from a gateway, as clients in Python make them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import signal
import subprocess
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from provider.doors.grpc.messages import Messages
from provider.doors.grpc.protos import compiled
from tests.conftest import PATIENCE, Provider, clean_environment, write

PROTO = """
    syntax = "proto3";
    package cafe;
    message Order { string name = 1; int32 cups = 2; bytes picture = 3; }
    message Bill { string text = 1; double total = 2; bytes picture = 3; }
    service Counter {
        rpc Buy(Order) returns (Bill);
        rpc Pour(Order) returns (stream Bill);
        rpc Sleep(Order) returns (Bill);
        rpc Fail(Order) returns (Bill);
        rpc Said(Order) returns (Bill);
    }
"""
PROGRAM = """
    import time
    from provider.dispatch import OperationError, context

    def poured(many):
        try:
            for number in range(many):
                yield {"text": f"cup {number}"}
        finally:
            print("stopped")

    def handle(command, arg):
        service, _, method = command.rpartition(".")
        assert service == "cafe.Counter", command
        if method == "Buy":
            return {"text": arg["name"], "total": arg["cups"] * 1.5, "picture": arg["picture"]}
        if method == "Pour":
            return poured(arg["cups"])
        if method == "Sleep":
            print("asleep")
            time.sleep(arg["cups"])
            return {"text": "woke up"}
        if method == "Said":
            said = context()
            return {"text": f"{said.id} {said.headers.get('x-mine')}"}
        if arg["cups"]:
            raise OperationError("no\\nmilk", code=arg["cups"])
        raise ValueError("bad: " + arg["name"])
"""
STRICT = {"PROVIDER_STRICT": "on", "PROVIDER_CLUSTER_ISSUERS": "C" + "A" * 55}


@pytest.fixture(scope="module")
def proto(tmp_path_factory):
    return write(tmp_path_factory.mktemp("protos") / "cafe.proto", PROTO)


@pytest.fixture(scope="module")
def cafe(proto):
    """Calls by name of the method: `cafe(channel).Buy({...}, **options)`."""
    service = compiled([proto]).services[0]

    class Cafe:
        def __init__(self, channel) -> None:
            for method in service.methods:
                taken, given = Messages(method.input_type), Messages(method.output_type)
                kind = channel.unary_stream if method.server_streaming else channel.unary_unary
                call = kind(f"/cafe.Counter/{method.name}", taken.write, given.read)
                setattr(self, method.name, call)

    return Cafe


@pytest.fixture(scope="module")
def host(start_module_provider, proto):
    return start_module_provider(PROGRAM, "--grpc", "0", "--proto", str(proto))


@pytest.fixture(scope="module")
def gateway(host, proto, tmp_path_factory):
    command = [sys.executable, "-m", "provider", "gateway", "--grpc", "0", "--proto", str(proto)]
    environment = {**host.environment}
    environment.pop("PYTHON_DISPATCH")
    started = Provider(command, environment, tmp_path_factory.mktemp("gateway"))
    yield started
    started.close()


def address(provider) -> str:
    return provider.wait_for("ready")["grpc"]


@contextlib.contextmanager
def connected(provider, cafe):
    with grpc.insecure_channel(address(provider)) as channel:
        yield cafe(channel)


@contextlib.contextmanager
def fails(status):
    caught = []
    with pytest.raises(grpc.RpcError) as raised:
        yield caught
    assert raised.value.code() is grpc.StatusCode[status], raised.value.details()
    caught.append(raised.value)


@pytest.fixture(params=["host", "gateway"])
def client(request, cafe):
    with connected(request.getfixturevalue(request.param), cafe) as client:
        yield client


def test_a_call(client):
    picture = bytes(range(256)) * 4000
    bill = client.Buy({"name": "Alice", "cups": 2, "picture": picture}, timeout=PATIENCE)
    assert bill == {"text": "Alice", "total": 3.0, "picture": picture}


def test_a_stream(client):
    bills = client.Pour({"cups": 1000}, timeout=PATIENCE)
    assert [bill["text"] for bill in bills] == [f"cup {number}" for number in range(1000)]


def test_who_leaves_a_stream_stops_the_function(client, host):
    before = len(host.events("printed", text="stopped"))
    bills = client.Pour({"cups": 10_000_000}, timeout=PATIENCE)
    assert [bill["text"] for bill in itertools.islice(bills, 2)] == ["cup 0", "cup 1"]
    bills.cancel()
    wait_for_print(host, "stopped", before + 1)


def wait_for_print(provider, text, count=1) -> None:
    provider.wait_for("printed", count, text=text)


@pytest.mark.parametrize(
    ("code", "status"),
    [(422, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (413, "RESOURCE_EXHAUSTED"), (0, "UNKNOWN")],
)
def test_errors(client, code, status):
    with fails(status) as caught:
        client.Fail({"name": "x", "cups": code}, timeout=PATIENCE)
    assert caught[0].details() == ("no milk" if code else "bad: x")
    told = dict(caught[0].trailing_metadata())
    assert told["provider-error-kind"] == "handler_error"
    assert told["x-request-id"]


def test_id_and_metadata_reach_the_function(client):
    metadata = (("x-request-id", "mine-1"), ("x-mine", "yes"))
    bill = client.Said({}, metadata=metadata, timeout=PATIENCE)
    assert bill["text"] == "mine-1 yes"


def test_a_deadline_stops_the_function(client):
    with fails("DEADLINE_EXCEEDED"):
        client.Sleep({"cups": 1000}, timeout=1)
    assert client.Buy({"name": "next"}, timeout=PATIENCE)["text"] == "next"


def test_health_follows_the_program(host, gateway):
    for provider in (host, gateway):
        with grpc.insecure_channel(address(provider)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", "cafe.Counter"):
                question = health_pb2.HealthCheckRequest(service=service)
                assert stub.Check(question, timeout=PATIENCE).status == 1


def test_nothing_but_log_lines_is_written(host, gateway):
    assert [line for line in [*host.lines, *gateway.lines] if isinstance(line, str)] == []


def test_a_save_is_followed(start_provider, proto, cafe, tmp_path):
    provider = start_provider(PROGRAM, "--grpc", "0", "--proto", str(proto))
    with connected(provider, cafe) as client:
        assert client.Buy({"name": "a"}, timeout=PATIENCE)["text"] == "a"
        declared = """
            from provider.dispatch import operation

            @operation
            def Buy(name: str, cups: int = 1, picture: bytes = b"") -> dict:
                return {"text": name.upper()}

            @operation(name="cafe.Counter.Sleep")
            def sleep(name: str, cups: int, picture: bytes) -> dict:
                return {"text": f"{cups} declared"}
        """
        write(tmp_path / "dispatch.py", declared)
        assert client.Buy({"name": "a"}, timeout=PATIENCE)["text"] == "A"
        assert client.Sleep({"cups": 3}, timeout=PATIENCE)["text"] == "3 declared"
        with fails("UNIMPLEMENTED"):
            client.Fail({}, timeout=PATIENCE)


def test_it_finishes_what_has_begun_and_takes_no_more(start_provider, proto, cafe):
    provider = start_provider(PROGRAM, "--grpc", "0", "--proto", str(proto))
    with connected(provider, cafe) as client, concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.Sleep, {"cups": 2}, timeout=PATIENCE)
        wait_for_print(provider, "asleep")
        provider.signal(signal.SIGTERM)
        provider.wait_for("draining")
        with pytest.raises(grpc.RpcError) as late, connected(provider, cafe) as other:
            other.Buy({"name": "late"}, timeout=PATIENCE)
        # The second is grpc's own answer to what comes at the moment it stops.
        assert late.value.code().name in ("UNAVAILABLE", "CANCELLED")
        assert waiting.result(PATIENCE) == {"text": "woke up", "total": 0.0, "picture": b""}
        assert provider.wait() == 0
    assert [line for line in provider.lines if isinstance(line, str)] == []


def test_what_does_not_end_in_time_is_told_so(start_provider, proto, cafe):
    provider = start_provider(
        PROGRAM, "--grpc", "0", "--proto", str(proto), PROVIDER_STOP_TIMEOUT="200ms"
    )
    with connected(provider, cafe) as client, concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(client.Sleep, {"cups": 1000}, timeout=2 * PATIENCE)
        wait_for_print(provider, "asleep")
        provider.signal(signal.SIGTERM)
        with fails("UNAVAILABLE") as caught:
            waiting.result(PATIENCE)
        assert "PROVIDER_STOP_TIMEOUT" in caught[0].details()
        assert provider.wait() == 0
    assert [line for line in provider.lines if isinstance(line, str)] == []


def test_a_gateway_without_a_provider(proto, tmp_path, shared_nats, cafe):
    environment = clean_environment(
        NATS_URL=shared_nats.url, PROVIDER_LATTICE="nobody", PROVIDER_LOG_FORMAT="json"
    )
    command = [sys.executable, "-m", "provider", "gateway", "--grpc", "0", "--proto", str(proto)]
    gateway = Provider(command, environment, tmp_path)
    try:
        with connected(gateway, cafe) as client, fails("UNAVAILABLE") as caught:
            client.Buy({}, timeout=PATIENCE)
        assert "no provider listens" in caught[0].details()
        assert dict(caught[0].trailing_metadata())["retry-after-ms"] == "1000"
        with grpc.insecure_channel(address(gateway)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == 2
        assert gateway.stop() == 0
    finally:
        gateway.close()


@pytest.mark.parametrize(
    ("flags", "variables", "code", "says"),
    [
        (["--proto", "cafe.proto"], {}, 2, "--grpc 13000"),
        (["--grpc", "0", "--proto", "gone.proto"], {}, 2, "files that can be read"),
        (["--grpc", "0", "--proto", "wrong.proto"], {}, 3, "wrong.proto:1:1"),
        (
            ["--grpc", "0"],
            {"PROVIDER_STRICT": "on", "PROVIDER_CLUSTER_ISSUERS": "C" + "A" * 55},
            3,
            "PROVIDER_GRPC_CLIENT_CA",
        ),
        (["--grpc", "0"], {"PROVIDER_GRPC_CERT": "cafe.proto"}, 3, "PROVIDER_GRPC_KEY"),
    ],
)
def test_what_is_wrong_is_told_at_the_start(
    provider_command, shared_nats, tmp_path, flags, variables, code, says
):
    write(tmp_path / "cafe.proto", PROTO)
    write(tmp_path / "wrong.proto", "wrong")
    write(tmp_path / "dispatch.py", PROGRAM)
    done = provider_command("run", "dispatch.py", *flags, NATS_URL=shared_nats.url, **variables)
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.decode().split())


def test_nobody_else_waits_for_what_it_stands_on():
    code = (
        "import sys, provider.cli.run, provider.cli.gateway, provider.host.run, provider.gateway;"
        "print({'grpc', 'google.protobuf', 'grpc_tools'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=PATIENCE
    )
    assert done.stdout.decode().strip() == "set()"
