"""What a program said of itself, as the host keeps it. Asking is tested with whole providers."""

from __future__ import annotations

from provider.host.health import MOST_TEXT, Health


async def test_a_program_that_declares_nothing_is_not_asked():
    health = Health()
    await health.ask(None)
    assert health.as_map() is None
    assert health.trouble == ""


async def test_without_a_worker_nobody_is_asked():
    health = Health()
    health.declared = True
    await health.ask(None)
    assert health.as_map() == {"state": "unknown", "trouble": "", "age": None}


def test_an_answer_nobody_asked_for_is_none():
    health = Health()
    health.declared = True
    for number in (0, 5):
        health.told(number, "nonsense")
    assert health.as_map()["state"] == "unknown"


def test_an_answer_stands_until_the_program_is_another_one():
    health = Health()
    health.declared, health._number = True, 5
    assert health.as_map()["state"] == "busy"
    health.told(5, "x" * (MOST_TEXT + 1))
    assert health.as_map()["state"] == "unhealthy"
    assert len(health.trouble) == MOST_TEXT
    health._number = 6
    health.told(6, "")
    assert health.as_map()["state"] == "healthy"
    assert health.as_map()["age"] >= 0
    health.renewed()
    assert health.as_map()["state"] == "unknown"


def test_what_a_dead_worker_was_asked_is_asked_again():
    health = Health()
    health.declared, health._number = True, 5
    health.forget()
    assert health.as_map()["state"] == "unknown"
