"""A plan ends by itself, and is for a server that is known to be here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.bench.plan import MOST_SECONDS, Plan, is_here


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "--rate or --in-flight"),
        ({"rate": 1.0, "in_flight": 1}, "--rate or --in-flight"),
        ({"rate": 0.0}, "--rate"),
        ({"rate": -1.0}, "--rate"),
        ({"rate": 1e7}, "--rate"),
        ({"rate": float("nan")}, "--rate"),
        ({"in_flight": 0}, "--in-flight"),
        ({"in_flight": 10**6}, "--in-flight"),
        ({"rate": 1.0, "seconds": 0.0}, "--duration"),
        ({"rate": 1.0, "seconds": float("inf")}, "--duration"),
        ({"rate": 1.0, "warm_up": 61.0}, "--warm-up"),
        ({"rate": 1.0, "timeout": 0.0}, "--timeout"),
        ({"rate": 1.0, "connections": 0}, "--connections"),
        ({"in_flight": 2, "connections": 3}, "--connections"),
    ],
)
def test_what_is_no_load_names_its_flag(fields, named):
    with pytest.raises(ValueError, match=named):
        Plan(**fields)


@given(st.floats())
def test_every_plan_ends(seconds):
    try:
        plan = Plan(rate=1.0, seconds=seconds)
    except ValueError:
        return
    assert 0 < plan.seconds <= MOST_SECONDS


def test_a_plan_in_words():
    assert Plan(in_flight=64).words == "64 calls in flight for 10 s"
    assert Plan(rate=2500.0, seconds=0.5).words == "2500 calls/s for 0.5 s"


@pytest.mark.parametrize(
    "url", ["nats://127.0.0.1:4222", "nats://user:word@localhost", "tls://[::1]:4222", "127.0.0.9"]
)
def test_servers_on_this_machine(url):
    assert is_here(url)


@pytest.mark.parametrize(
    "url",
    [
        "nats://10.0.0.1",
        "nats://nats.example:4222",
        "nats://localhost.example",
        "nats://127.0.0.1@nats.example",
        "wss://[2001:db8::1]:443/path",
        "nats://0.0.0.0:4222",
    ],
)
def test_servers_that_may_be_elsewhere(url):
    assert not is_here(url)
