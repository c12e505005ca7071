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
    """It takes calls."""
    RELOADING = "reloading"
    """It loads changed code; calls wait behind that in its order."""
    STOPPING = "stopping"
    """It was told to finish and leave."""
    DEAD = "dead"
    """The process is gone, or the link is, which comes to the same."""


class Event(StrEnum):
    """What can happen to a worker."""

    LOADED = "loaded"
    RELOAD_ASKED = "reload asked"
    RELOAD_ENDED = "reload ended"
    TOLD_TO_LEAVE = "told to leave"
    GONE = "gone"


TABLE: dict[State, dict[Event, State]] = {
    State.STARTING: {
        Event.LOADED: State.READY,
        Event.TOLD_TO_LEAVE: State.STOPPING,
        Event.GONE: State.DEAD,
    },
    State.READY: {
        Event.RELOAD_ASKED: State.RELOADING,
        Event.TOLD_TO_LEAVE: State.STOPPING,
        Event.GONE: State.DEAD,
    },
    State.RELOADING: {
        Event.RELOAD_ASKED: State.RELOADING,
        Event.RELOAD_ENDED: State.READY,
        Event.TOLD_TO_LEAVE: State.STOPPING,
        Event.GONE: State.DEAD,
    },
    State.STOPPING: {
        Event.RELOAD_ENDED: State.STOPPING,
        Event.TOLD_TO_LEAVE: State.STOPPING,
        Event.GONE: State.DEAD,
    },
    State.DEAD: {},
}

TAKES_CALLS = frozenset({State.READY, State.RELOADING})
"""States in which calls may be handed over; behind a reload they keep their order."""


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
