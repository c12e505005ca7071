"""A scenario run, and what came of it.

The rule of this file: what must never be is the same for all scenarios and stands here, in
`account`. Each call is proven by what the dispatch program wrote before it did anything else, with
one system call, to a file that outlives it; the callers, the program and the provider have to say
the same.
"""

from __future__ import annotations

import asyncio
import collections
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.conftest import PATIENCE
from tests.faults.count import LATE, Count
from tests.faults.scenario import OTHERS, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.scenario import Scenario


def tried(scenarios: Sequence[Scenario]) -> list[Any]:
    """The scenarios as parameters of a test; those that take long as what is tried apart."""
    return [pytest.param(each, id=each.name, marks=_marks(each)) for each in scenarios]


def _marks(scenario: Scenario) -> list[pytest.MarkDecorator]:
    why_not = scenario.needs()
    marks = [pytest.mark.skip(reason=why_not)] if why_not else []
    return [*marks, pytest.mark.long] if scenario.long else marks


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        scenario: its name.
        seed: of the run.
        seconds: of load.
        count: what became of the calls.
        did: what was done, and how often.
        runs: calls that were begun.
        ran_twice: numbers of calls that were begun more than once.
        never_ran: numbers of calls that were answered with a result and never begun.
        ran_refused: numbers of calls whose answer said that they were not run, and that were.
        hosts: what each provider said of itself when no call was open any more.
        problems: what must not be and was, in words.
    """

    scenario: str
    seed: int
    seconds: float = 0.0
    count: Count = field(default_factory=Count)
    did: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    ran_twice: list[int] = field(default_factory=list)
    never_ran: list[int] = field(default_factory=list)
    ran_refused: list[int] = field(default_factory=list)
    hosts: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(scenario: Scenario, seed: int, *, calls: int = 0, seconds: float = 0.0) -> Outcome:
    """Have it happen.

    Args:
        scenario: what.
        seed: decides when, and to which calls.
        calls: to be answered, those of the scenario by default.
        seconds: the load lasts at least.
    """
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        field = Field(scenario, seed, Path(folder))
        outcome = Outcome(scenario.name, seed)
        patience = 2 * PATIENCE + scenario.timeout + 4 * seconds
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(_run(field, outcome, calls or scenario.calls, seconds, patience))
            except TimeoutError:
                outcome.problems += ["it hangs; the log ends with", *_tail(field)]
                outcome.seconds = patience
            except AssertionError as error:
                first, *others = (str(error) or repr(error)).splitlines()
                outcome.problems += [first, *others[-3:]]
            finally:
                field.close()
        account(field, outcome)
    return outcome


async def _run(field: Field, outcome: Outcome, calls: int, seconds: float, patience: float) -> None:
    load, scenario = field.load, field.scenario
    field.note_program()
    async with asyncio.timeout(patience):
        await scenario.before(field)
        await field.start_provider()
        await load.connect()
        began = time.monotonic()
        load.begin()
        disturbing = asyncio.create_task(_disturb(field))
        enough = asyncio.create_task(_enough(field, calls, seconds))
        await asyncio.wait({disturbing, enough}, return_when=asyncio.FIRST_EXCEPTION)
        await load.end()
        await asyncio.gather(disturbing, enough)
        outcome.seconds = time.monotonic() - began
        outcome.hosts = await _settled(field)
        if not outcome.hosts:
            outcome.problems.append("no host was left to ask for its numbers")
        for provider in field.running:
            if code := await asyncio.to_thread(provider.stop):
                outcome.problems.append(f"a host that was told to stop left with {code}")
        left = await field.until_none_left()
        await load.close()
        if left:
            outcome.problems.append(f"processes were left running: {left}")
        scenario.check(field)


async def _disturb(field: Field) -> None:
    await field.scenario.disturb(field)


async def _enough(field: Field, calls: int, seconds: float) -> None:
    """Wait for the calls, the time, and all that has to be done to them; then send no more."""
    load, began = field.load, time.monotonic()
    await load.more(calls)
    missing = field.scenario.at_least.items()
    while any(field.did[what] < least for what, least in missing) and load.count.taken < 20 * calls:
        if not await load.more(100):
            return
    while (left := began + seconds - time.monotonic()) > 0:
        await asyncio.sleep(min(left, 0.5))  # it is time that is asked for
    load.stop()


async def _settled(field: Field) -> list[dict[str, Any]]:
    """The providers' numbers, once no call is open any more."""
    end = time.monotonic() + field.scenario.timeout + PATIENCE
    while True:
        told = await field.statuses()
        if not any(each["open"] for each in told) or time.monotonic() > end:
            return told
        await asyncio.sleep(0.1)  # hosts tell their numbers when they are asked


def account(field: Field, outcome: Outcome) -> None:
    """Compare what the callers, the program and the provider say."""
    load, count, scenario = field.load, field.load.count, field.scenario
    outcome.count, outcome.did = count, dict(field.did)
    ran = collections.Counter(numbers_in(field.ran))
    if scenario.again:
        # Their callers' connection lived, so nobody told them that it was another's that broke.
        lost = sum(number not in ran for number in load.given_up)
        count.unanswered, count.cut = count.unanswered - lost, count.cut + lost
    outcome.runs = ran.total()
    outcome.ran_twice = sorted(number for number, times in ran.items() if times > 1)
    outcome.never_ran = sorted(number for number in load.results if number not in ran)
    outcome.ran_refused = sorted(number for number in load.not_run if number in ran)
    problems = outcome.problems
    for number, what in (
        (count.wrong, "were answered with something else"),
        (
            0 if scenario.again else count.twice,
            "were answered once more, or when nobody waited any more",
        ),
        (count.late, f"were answered more than {LATE:g} s after their deadline"),
        (len(outcome.ran_twice), "were run twice"),
        (len(outcome.never_ran), "were answered with a result and not run"),
        (len(outcome.ran_refused), "were run though their answer says that they were not"),
        (count.unanswered, "were not answered"),
        (0 if scenario.cut else count.cut, "were open when the connection was lost"),
        (0 if count.results else 1, "were all there was to hope for; none was answered right"),
    ):
        if number:
            problems.append(f"{number} calls {what}")
    for kind, number in sorted(count.errors.items()):
        if kind not in scenario.errors:
            problems.append(f"{number} calls were answered with {kind}")
    for what, least in scenario.at_least.items():
        if field.did[what] < least:
            problems.append(f"{what} only {field.did[what]} times of {least}")
    for host in outcome.hosts:
        if host["open"] or host["accepted"] != host["answered"]:
            problems.append(
                f"a host accepted {host['accepted']} calls, answered {host['answered']} and has "
                f"{host['open']} open"
            )
    if not scenario.cut and len(outcome.hosts) == len(field.providers) == 1:
        (host,) = outcome.hosts
        answered = count.taken + sum(number >= OTHERS for number in ran)
        if answered != host["accepted"]:
            problems.append(f"{answered} calls were answered of {host['accepted']} accepted ones")
    if problems:
        problems.extend(count.examples)


def numbers_in(path: Path) -> list[int]:
    """Numbers of the calls that were begun, as the dispatch program wrote them there."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data) // 4 * 4, 4)]


def _tail(field: Field) -> list[str]:
    return [str(line) for line in field.providers[-1].lines[-5:]] if field.providers else []
