"""The first minute of a new user: start, call, edit, call again, stop."""

from __future__ import annotations

import signal

import pytest

FACTORIAL = """
    def handle(command, arg):
        if command.endswith("factorial"):
            product = 1
            for factor in range(2, arg + 1):
                product *= factor
            return product
        return f"unknown command {command}"
"""


async def test_a_call_is_answered(start_provider):
    provider = start_provider(FACTORIAL)
    async with provider.connect() as python:
        assert await python.call("py.factorial", 10) == 3628800


async def test_the_next_call_runs_what_was_saved(start_provider, tmp_path):
    provider = start_provider(FACTORIAL)
    async with provider.connect() as python:
        assert await python.call("py.hello", "Alice") == "unknown command py.hello"
        (tmp_path / "dispatch.py").write_text("def handle(command, arg): return f'Hello {arg}!'")
        assert await python.call("py.hello", "Alice") == "Hello Alice!"
    provider.wait_for("reloaded")
    assert provider.stop() == 0
    assert len(provider.events("reloaded")) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_in_order(start_provider, processes, number):
    provider = start_provider(FACTORIAL)
    worker = provider.worker_pid
    assert processes.alive(worker)
    provider.signal(number)
    assert provider.wait() == 0
    assert processes.until_gone(worker)
    assert provider.events("drained")
    assert not provider.events("worker_lost")


def test_the_example_is_served_from_an_embedded_server(start_provider, tmp_path):
    provider = start_provider(
        None,
        "--embedded-nats",
        "--embedded-port",
        "0",
        "--example",
        "factorial",
        nats="",
        ready=False,
    )
    url = provider.wait_for("embedded_nats_ready")["url"]
    provider.wait_for("ready")
    provider.environment["NATS_URL"] = url
    assert provider.call("py.factorial", 10) == 3628800
    assert provider.call("py.hello", "Alice") == "Hello Alice!"
    assert provider.call("py.big_response", 1000) == "x" * 1000
    assert provider.call("py.nothing", 1) == "unknown command py.nothing"
    assert any("call py.factorial 10" in str(line) for line in provider.lines)
    assert provider.stop() == 0
