"""What the model of docs/scale.md predicts follows from what it is given."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scaling.load import Measured
from benchmarks.scaling.model import LOOKS, Constants, Cost, fitted
from benchmarks.scaling.simulation import Scene, play
from benchmarks.scaling.sizes import FILLED, MOST_WORKERS, one_provider, size

COSTS = {"generator": (40, 3), "nats": (20, 2), "host": (30, 4), "worker": (40, 4)}
CONSTANTS = Constants(
    {name: Cost(*COSTS[name], looks=looks) for name, looks in LOOKS.items()}, wake=10.0
)


def as_measured(played):
    return Measured(played.calls_per_second, played.latencies, played.cpu)


def scenes():
    return st.builds(
        Scene,
        in_flight=st.integers(1, 300),
        providers=st.integers(1, 3),
        workers=st.integers(1, 3),
        cores=st.floats(1, 8),
        handler=st.sampled_from([0.0, 100.0]),
        seconds=st.just(0.1),
    )


@pytest.mark.long
@settings(max_examples=15)
@given(scenes())
def test_nothing_works_more_than_its_time(scene):
    played = play(scene, CONSTANTS)
    used = {name: us * played.calls_per_second / 1e6 for name, us in played.cpu.items()}
    # What was begun in the warm-up and ends in time may count once more.
    assert sum(used.values()) <= scene.cores * 1.05
    assert used["host"] <= scene.providers * 1.05
    assert used["worker"] <= scene.providers * scene.workers * 1.05


@pytest.mark.long
@settings(max_examples=15)
@given(scenes())
def test_calls_in_flight_are_throughput_times_latency(scene):
    # Little's law holds for means; these are nearly constant, so for medians nearly.
    scene = replace(scene, providers=1, workers=1, seconds=0.4)
    played = play(scene, CONSTANTS)
    mean = scene.in_flight / played.calls_per_second * 1e6
    assert mean == pytest.approx(played.latencies["p50"], rel=0.5)


def test_a_call_alone_costs_what_was_read_off():
    played = play(Scene(in_flight=1, seconds=0.1), CONSTANTS)
    for name, cost in CONSTANTS.costs.items():
        assert played.cpu[name] == pytest.approx(cost.alone, rel=0.02)
    worked = sum(cost.alone for name, cost in CONSTANTS.costs.items() if name != "generator")
    assert played.latencies["p50"] == pytest.approx(worked + 6 * CONSTANTS.wake, rel=0.02)


def test_constants_are_found_again_in_what_they_make():
    alone, together = (
        as_measured(play(Scene(in_flight=level, cores=8, seconds=0.2), CONSTANTS))
        for level in (1, 2000)
    )
    found = fitted(alone, together)
    for name, cost in CONSTANTS.costs.items():
        assert found.costs[name].alone == pytest.approx(cost.alone, rel=0.03)
        assert found.costs[name].together == pytest.approx(cost.together, rel=0.3)
    assert found.wake == pytest.approx(CONSTANTS.wake, rel=0.3)


@pytest.mark.long
def test_more_calls_in_flight_come_more_together():
    costs = [
        play(Scene(in_flight=level, seconds=0.2), CONSTANTS).cpu["host"]
        for level in (1, 16, 64, 256)
    ]
    assert costs == sorted(costs, reverse=True)


def test_a_second_provider_helps_where_there_are_cores():
    one, two = (
        play(Scene(in_flight=500, providers=providers, cores=16, handler=50), CONSTANTS)
        for providers in (1, 2)
    )
    assert two.calls_per_second > 1.8 * one.calls_per_second


def test_and_does_not_where_there_are_none():
    one, two = (
        play(Scene(in_flight=500, providers=providers, cores=1, handler=50), CONSTANTS)
        for providers in (1, 2)
    )
    assert two.calls_per_second < 1.1 * one.calls_per_second


def test_workers_share_what_needs_a_core():
    one, two = (
        play(Scene(in_flight=50, workers=workers, cores=16, handler=1000), CONSTANTS)
        for workers in (1, 2)
    )
    assert two.calls_per_second == pytest.approx(2 * one.calls_per_second, rel=0.1)


def test_others_on_the_machine_make_it_slower():
    free, shared = (
        play(Scene(in_flight=64, cores=cores), CONSTANTS).calls_per_second for cores in (1.0, 0.5)
    )
    assert shared == pytest.approx(free / 2, rel=0.15)


@pytest.mark.long
def test_stalls_are_in_the_slowest_calls():
    stalling = replace(CONSTANTS, stalls=(20_000.0,), stalls_per_second=200.0)
    calm, stalled = (play(Scene(in_flight=8, seconds=2.0), each) for each in (CONSTANTS, stalling))
    assert stalled.latencies["p99"] > 20_000 > calm.latencies["p99"]


def test_the_same_seed_plays_the_same():
    scene = Scene(rate=5000, providers=2, seconds=0.2)
    assert play(scene, CONSTANTS, seed=3) == play(scene, CONSTANTS, seed=3)
    assert play(scene, CONSTANTS, seed=3) != play(scene, CONSTANTS, seed=4)


@pytest.mark.long
@pytest.mark.parametrize(("handler", "busiest"), [(0.0, "host"), (1000.0, "workers")])
def test_a_provider_carries_what_is_asked_of_it(handler, busiest):
    one = one_provider(CONSTANTS, handler)
    assert one.busiest == busiest
    assert one.played.calls_per_second == pytest.approx(one.rate, rel=0.1)
    assert 1 <= one.workers <= MOST_WORKERS
    if handler:
        assert one.rate == pytest.approx(FILLED * one.workers * 1e6 / (handler + 4))
    else:
        assert one.rate == pytest.approx(FILLED * 1e6 / 8)


def test_ten_times_the_calls_take_ten_times_of_everything():
    one = one_provider(CONSTANTS, 0.0)
    small, large = (size(rate, one, 5.0) for rate in (1e5, 1e6))
    assert small.providers * one.rate >= 1e5
    assert large.cores == pytest.approx(10 * small.cores)
    assert large.nats_cores == pytest.approx(1e6 * 5e-6 / FILLED)
