"""Stories about workers as whoever runs the provider lives them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from provider.errors import CallError, ExitCode
from tests.conftest import PATIENCE, write

WHO = """
    import os, time
    def handle(command, arg):
        if command == "sleep":
            time.sleep(arg)
        if command == "exit":
            os._exit(arg)
        return os.getpid()
"""


def test_a_crash_loop_ends_with_a_clear_last_word(start_provider, tmp_path):
    provider = start_provider(
        """
        import os, sys, threading
        HERE = os.path.dirname(os.path.abspath(__file__))
        if os.path.exists(os.path.join(HERE, "doomed")):
            print("no licence for this machine", file=sys.stderr)
            threading.Timer(0.01, os._exit, (9,)).start()
        def handle(command, arg): return arg
        """,
        PROVIDER_CRASH_LIMIT="3",
    )
    assert provider.call("echo", 1) == 1
    write(tmp_path / "doomed", "")
    os.kill(provider.worker_pid, signal.SIGKILL)
    assert provider.wait() == ExitCode.FAILED
    told = provider.wait_for("crash_loop")
    assert told["deaths"] == 3
    lost = provider.events("worker_lost")
    assert {"exit": 9, "last_words": ["no licence for this machine"]}.items() <= lost[-1].items()


def test_callers_who_wait_in_a_crash_loop_are_told_why(start_provider, tmp_path):
    provider = start_provider(
        """
        import os
        HERE = os.path.dirname(os.path.abspath(__file__))
        if os.path.exists(os.path.join(HERE, "doomed")):
            os._exit(9)
        def handle(command, arg): return arg
        """,
        PROVIDER_CRASH_LIMIT="2",
        PROVIDER_RELOAD="off",
    )

    async def story():
        async with provider.connect() as python:
            assert await python.call("echo", 1) == 1
            write(tmp_path / "doomed", "")
            os.kill(provider.worker_pid, signal.SIGKILL)
            with pytest.raises(CallError) as caught:
                while True:
                    await python.call("echo", 1)
            assert caught.value.kind in ("unavailable", "worker_lost")

    asyncio.run(story())
    assert provider.wait() == ExitCode.FAILED


def test_two_workers_run_two_calls_at_once(start_provider):
    provider = start_provider(WHO, PROVIDER_WORKERS="2", PROVIDER_ADMIN="on")

    async def story():
        async with provider.connect() as python:
            first, second = await asyncio.gather(
                python.call("sleep", 0.5), python.call("sleep", 0.5)
            )
            assert first != second
            with pytest.raises(CallError, match="exit code 7"):
                await python.call("exit", 7)
            provider.wait_for("worker_ready", 3)
            pids = await asyncio.gather(*(python.call("sleep", 0.2) for _ in range(4)))
            assert len(set(pids)) == 2

    asyncio.run(story())
    assert len(provider.events("worker_lost")) == 1
    assert provider.stop() == 0


def test_newer_code_takes_over_from_a_worker_that_still_serves(start_provider, tmp_path):
    source = "import os, time\ntime.sleep({})\ndef handle(command, arg): return {!r}"
    provider = start_provider(source.format(0, "old"), PROVIDER_RELOAD_MODE="process")
    worker = provider.worker_pid
    assert provider.call("name") == "old"
    write(tmp_path / "dispatch.py", source.format(0.5, "new"))

    async def story():
        names = []
        async with provider.connect() as python:
            async with asyncio.timeout(PATIENCE):
                while "new" not in names[-1:]:
                    names.append(await python.call("name"))
        return names

    names = asyncio.run(story())
    assert len(names) > 3  # calls were answered all the time
    assert names == ["old"] * (len(names) - 1) + ["new"]
    assert provider.wait_for("worker_ready", 2)["worker"] != worker
    assert not provider.events("worker_lost")


def test_a_worker_gives_way_after_so_many_calls_and_nobody_notices(start_provider):
    provider = start_provider(WHO, PROVIDER_RECYCLE_CALLS="50")

    async def story():
        async with provider.connect() as python:
            pids = []
            async with asyncio.timeout(PATIENCE):
                while len(set(pids)) < 3:
                    pids += await asyncio.gather(*(python.call("who") for _ in range(20)))
            return pids

    pids = asyncio.run(story())
    provider.wait_for("worker_recycled")
    changes = sum(one != other for one, other in itertools.pairwise(pids))
    assert changes == len(set(pids)) - 1  # one at a time, in order
    assert not provider.events("call_failed")
    assert provider.stop() == 0


def test_the_status_tells_of_workers_and_their_deaths(start_provider, provider_command):
    provider = start_provider(WHO, PROVIDER_WORKERS="2")
    assert provider.call("who") > 0
    with pytest.raises(CallError):
        provider.call("exit", 7)
    provider.wait_for("worker_ready", 3)
    done = provider_command("probe", "--json", **provider.environment)
    told = json.loads(done.stdout)
    assert len(told["workers"]) == 2
    assert {worker["state"] for worker in told["workers"]} == {"ready"}
    (death,) = told["deaths"]
    assert (death["exit"], death["operation"]) == (7, "exit")


def test_without_a_worker_nobody_is_told_that_it_is_ready(
    start_provider, provider_command, tmp_path
):
    proto = write(
        tmp_path / "one.proto",
        """
        syntax = "proto3";
        message Nothing {}
        service One { rpc Do(Nothing) returns (Nothing); }
        """,
    )
    provider = start_provider(
        """
        import os
        HERE = os.path.dirname(os.path.abspath(__file__))
        assert not os.path.exists(os.path.join(HERE, "doomed")), "no licence"
        def handle(command, arg): return arg
        """,
        *("--http", "0", "--grpc", "0", "--proto", str(proto)),
    )
    ready = provider.wait_for("ready")

    def told():
        probe = json.loads(provider_command("probe", "--json", **provider.environment).stdout)
        with (
            httpx.Client(base_url=ready["http"], timeout=PATIENCE, trust_env=False) as http,
            grpc.insecure_channel(ready["grpc"]) as channel,
        ):
            question = health_pb2.HealthCheckRequest()
            serving = health_pb2_grpc.HealthStub(channel).Check(question, timeout=PATIENCE).status
            answers = {name: http.get(f"/health/{name}") for name in ("live", "ready")}
            return (
                probe["ready"],
                serving == health_pb2.HealthCheckResponse.SERVING,
                *(answer.status_code for answer in answers.values()),
                probe["reason"],
                answers["ready"].json()["reasons"],
            )

    assert told() == (True, True, 200, 200, "", [])
    write(tmp_path / "doomed", "")
    os.kill(provider.worker_pid, signal.SIGKILL)
    provider.wait_for("nothing_loaded")
    *states, reason, reasons = told()
    assert states == [False, False, 200, 503]
    assert reasons == [reason]
    assert "no licence" in reason
    (tmp_path / "doomed").unlink()
    provider.wait_for("worker_ready", 2)
    assert told() == (True, True, 200, 200, "", [])
