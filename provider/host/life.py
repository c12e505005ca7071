"""The life of a worker as a table.

The rule of this file: everything about states is here, and nothing else is. The table is the one
source for the code, the tests and the picture in docs/architecture.md.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    """The process exists; the user's code is being loaded."""
    READY = "ready"
    """It takes calls, and has none."""
    BUSY = "busy"
    """It has calls that are not answered yet, and takes more."""
    RELOADING = "reloading"
    """It loads changed code; calls wait behind that in its order."""
    DRAINING = "draining"
    """It was told to finish what it has and leave."""
    DEAD = "dead"
    """The process is gone, or the link is, which comes to the same."""


class Event(StrEnum):
    """What can happen to a worker."""

    LOADED = "loaded"
    GIVEN_CALLS = "given calls"
    ALL_ANSWERED = "all answered"
    RELOAD_ASKED = "reload asked"
    RELOAD_ENDED = "reload ended"
    TOLD_TO_LEAVE = "told to leave"
    GONE = "gone"


TABLE: dict[State, dict[Event, State]] = {
    State.STARTING: {
        Event.LOADED: State.READY,
        Event.TOLD_TO_LEAVE: State.DRAINING,
        Event.GONE: State.DEAD,
    },
    State.READY: {
        Event.GIVEN_CALLS: State.BUSY,
        Event.RELOAD_ASKED: State.RELOADING,
        Event.TOLD_TO_LEAVE: State.DRAINING,
        Event.GONE: State.DEAD,
    },
    State.BUSY: {
        Event.ALL_ANSWERED: State.READY,
        Event.RELOAD_ASKED: State.RELOADING,
        Event.TOLD_TO_LEAVE: State.DRAINING,
        Event.GONE: State.DEAD,
    },
    State.RELOADING: {
        Event.RELOAD_ASKED: State.RELOADING,
        Event.RELOAD_ENDED: State.READY,
        Event.TOLD_TO_LEAVE: State.DRAINING,
        Event.GONE: State.DEAD,
    },
    State.DRAINING: {
        Event.RELOAD_ENDED: State.DRAINING,
        Event.TOLD_TO_LEAVE: State.DRAINING,
        Event.GONE: State.DEAD,
    },
    State.DEAD: {},
}

TAKES_CALLS = frozenset({State.READY, State.BUSY, State.RELOADING})
"""States in which calls may be handed over; behind a reload they keep their order."""


class Cause(StrEnum):
    """What ended the life of a worker, in one word."""

    SIGNAL = "signal"
    """It was killed by a signal that was not ours."""
    EXIT = "exit"
    """It left by itself."""
    DEADLINE = "deadline"
    """A call ran past its deadline."""
    HANG = "hang"
    """It did not load, answer or leave in time."""
    LINK = "link"
    """It closed its link, or sent what is no frame."""
    START = "start"
    """It could not be started."""
    RECYCLED = "recycled"
    """It had served long enough, and another one took over."""
    RELOAD = "reload"
    """Another one took over with newer code."""


class LifeError(Exception):
    """Something happened to a worker that cannot happen in its state."""


def after(state: State, event: Event) -> State:
    """The state after this event.

    Raises:
        LifeError: the event cannot happen in this state.
    """
    try:
        return TABLE[state][event]
    except KeyError:
        raise LifeError(f"a worker that is {state.value} cannot be {event.value}") from None


def picture() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.STARTING.value}"]
    lines += [
        f"    {state.value} --> {target.value}: {event.value}"
        for state, events in TABLE.items()
        for event, target in events.items()
    ]
    lines += [f"    {state.value} --> [*]" for state, events in TABLE.items() if not events]
    return "\n".join(lines) + "\n"
