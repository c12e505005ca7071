"""The life of a worker: the table itself."""

from __future__ import annotations

import itertools

import pytest

from provider.host.life import TABLE, TAKES_CALLS, Event, LifeError, State, after, picture

ALLOWED = {
    (State.STARTING, Event.LOADED): State.READY,
    (State.STARTING, Event.TOLD_TO_LEAVE): State.DRAINING,
    (State.STARTING, Event.GONE): State.DEAD,
    (State.READY, Event.RELOAD_ASKED): State.RELOADING,
    (State.READY, Event.TOLD_TO_LEAVE): State.DRAINING,
    (State.READY, Event.GONE): State.DEAD,
    (State.READY, Event.GIVEN_CALLS): State.BUSY,
    (State.BUSY, Event.ALL_ANSWERED): State.READY,
    (State.BUSY, Event.RELOAD_ASKED): State.RELOADING,
    (State.BUSY, Event.TOLD_TO_LEAVE): State.DRAINING,
    (State.BUSY, Event.GONE): State.DEAD,
    (State.RELOADING, Event.RELOAD_ASKED): State.RELOADING,
    (State.RELOADING, Event.RELOAD_ENDED): State.READY,
    (State.RELOADING, Event.TOLD_TO_LEAVE): State.DRAINING,
    (State.RELOADING, Event.GONE): State.DEAD,
    (State.DRAINING, Event.RELOAD_ENDED): State.DRAINING,
    (State.DRAINING, Event.TOLD_TO_LEAVE): State.DRAINING,
    (State.DRAINING, Event.GONE): State.DEAD,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_event_in_every_state_leads_somewhere_or_is_refused(state, event):
    if (state, event) in ALLOWED:
        assert after(state, event) is ALLOWED[state, event]
    else:
        with pytest.raises(LifeError, match=rf"that is {state.value} cannot be {event.value}"):
            after(state, event)


def test_every_state_can_be_reached_and_ends_in_death():
    reached = {State.STARTING}
    while more := {target for state in reached for target in TABLE[state].values()} - reached:
        reached |= more
    assert reached == set(State)
    for state in set(State) - {State.DEAD}:
        assert after(state, Event.GONE) is State.DEAD
    assert TABLE[State.DEAD] == {}


def test_calls_go_only_to_workers_that_have_loaded_and_stay():
    assert {State.READY, State.BUSY, State.RELOADING} == TAKES_CALLS


def test_the_picture_shows_every_transition_once():
    lines = picture().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert lines[1].strip() == "[*] --> starting"
    assert lines[-1].strip() == "dead --> [*]"
    drawn = sorted(line.strip() for line in lines[2:-1])
    assert drawn == sorted(
        f"{state.value} --> {target.value}: {event.value}"
        for (state, event), target in ALLOWED.items()
    )
