"""What may happen to a worker, or be done by the code it runs.

The rule of this file: each scenario says how many callers may lose their call, and why no more than
those do. Programs misbehave in calls that follow from the seed; what comes from outside comes after
so many answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from provider.host.cgroup import Groups
from tests.conftest import until_gone
from tests.faults.numbered import FIRST
from tests.faults.scenario import Scenario, misbehaving

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.scenario import Field

LOST = frozenset({"worker_lost"})

WITH_CHILDREN = """
import subprocess

# They outlive it, unless somebody takes care.
subprocess.Popen(["sleep", "1000"])
"""
if Groups.find({}) is not None:
    # It leaves the process group of the worker; so it takes a control group to end it.
    WITH_CHILDREN += 'subprocess.Popen(["sleep", "1000"], start_new_session=True)\n'


SLOW = misbehaving(
    40,
    "time.sleep(0.002)  # so that it is killed in the middle of a call as often as not",
    before="import time",
)


def chosen(field: Field, one_in: int, beside: int = 0) -> int:
    """How many of the calls that were sent the program chose, as `PROGRAM` has it.

    Args:
        field: of the run.
        one_in: one call in so many.
        beside: what the program added to their numbers.
    """
    shift = field.seed * 40503
    return sum(
        ((number + beside) * 2654435761 + shift) % (1 << 32) % one_in == 0
        for number in range(1, field.count.sent + 1)
    )


def only(one_in: int, each: int = 1) -> Callable[[Field], None]:
    """At most so many calls are lost for each one that misbehaved, and some did misbehave."""

    def check(field: Field) -> None:
        lost, most = field.count.errors.total(), chosen(field, one_in) * each
        assert 0 < lost <= most, f"{lost} calls were lost, {most} at most should be"

    return check


# --- signals --------------------------------------------------------------------------------------


async def kill(field: Field) -> None:
    while await field.go_on(2500, 4500):
        if worker := await field.kill_worker():
            await asyncio.to_thread(until_gone, worker)


DEATHS = ("worker_lost", "worker_not_started")
"""Events that tell of the death of a worker; one that still loads was not yet there to be lost."""


def lost_for_each_kill(most: int = 1, *, told: bool = True) -> Callable[[Field], None]:
    """At most so many calls are lost for each worker that was killed.

    Args:
        most: so many.
        told: whether each death is told of; who leaves already when it is killed is not missed.
    """

    def check(field: Field) -> None:
        lost, killed = field.count.errors["worker_lost"], field.did["killed"]
        assert lost <= most * killed, f"{lost} calls were lost by {killed} deaths"
        deaths = sum(len(field.provider.events(event)) for event in DEATHS)
        assert deaths == killed or not told, f"{deaths} deaths of {killed} were told of"

    return check


async def _freeze(field: Field) -> None:
    """Stopped for a moment, which nobody should notice."""
    while await field.go_on(2500, 5000):
        if worker := await field.worker():
            os.kill(worker, signal.SIGSTOP)
            await asyncio.sleep(0.1)  # or the answers of this moment would not miss it
            os.kill(worker, signal.SIGCONT)
            field.did["stopped"] += 1


async def stop(field: Field) -> None:
    """Stopped for good, between calls or in the middle of one."""
    while await field.go_on(6000, 9000):
        if worker := await field.worker():
            os.kill(worker, signal.SIGSTOP)
            field.did["stopped"] += 1
            await field.logged("worker_lost", field.did["stopped"])


def those_under_way(field: Field) -> None:
    lost = field.count.errors.total()
    # Those under way, and those after them while another worker starts on a machine that is busy.
    most = 4 * field.scenario.in_flight * field.did["stopped"]
    assert lost <= most, f"{lost} calls were lost, {most} at most should be"


# --- code -----------------------------------------------------------------------------------------

STOP = misbehaving(7000, "os.kill(os.getpid(), signal.SIGSTOP)", before="import signal")

SEGFAULT = misbehaving(
    2500,
    "ctypes.string_at(0)",
    before="""
import ctypes
import resource

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
""",
)

MEMORY = misbehaving(
    2500,
    """
    kept = []
    while True:
        kept.append(bytearray(8 << 20))
    """,
)

HANG = """
import re
import time


def handle(command, number):
    note(number)
    if chosen(number, 10000):
        # One call into C that does not let go of the interpreter.
        re.match(r"(a|a)*$", "a" * 60 + "b")
    elif chosen(number, 5000):
        time.sleep(1.02)  # its result comes right after its deadline, when it has its answer
    return right(number)
"""

LEAK = misbehaving(10, "os.dup(0)")

CLOSE = misbehaving(2500, "os.closerange(3, 1024)")


async def _save(field: Field) -> None:
    """The program is saved again while no file can be opened."""
    while await field.go_on(3000, 6000):
        field.note_program(field.scenario.program + f"\n# {field.did['saved']}\n")
        field.did["saved"] += 1


# --- reloads --------------------------------------------------------------------------------------

GENERATION = """
# Which text was loaded, for who looks afterwards.
_told = os.open({told!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(_told, b"{number}\\n")
os.close(_told)
"""
BROKEN = (
    "def handle(command, number)\n    return 0\n",
    "handle = None\n",
    "raise RuntimeError('this text is not to be served')\n",
    "import no_such_module_anywhere\n",
)
RELOADS = 100


async def save_and_break(field: Field) -> None:
    told = str(field.folder / "told")
    while await field.go_on(30, 120):
        number = sum(field.did.values()) + 1
        good = GENERATION.format(told=told, number=number)
        if number % 2:
            field.note_program(good)
            field.did["saved"] += 1
            await field.logged("reloaded", field.did["saved"])
        else:
            # It would answer wrong if it ever served.
            wrong = f"def handle(command, number):\n    return {FIRST}\n"
            field.note_program(wrong + field.chance.choice(BROKEN))
            field.did["saved broken"] += 1
            await field.logged("reload_failed", field.did["saved broken"])


def every_good_text_was_loaded(field: Field) -> None:
    told = (field.folder / "told").read_text().split()
    assert list(dict.fromkeys(told)) == [str(number) for number in range(1, int(told[-1]) + 1, 2)]


SCENARIOS = [
    Scenario(
        "worker killed",
        kill,
        program=WITH_CHILDREN + SLOW,
        errors=LOST,
        at_least={"killed": 3},
        check=lost_for_each_kill(),
    ),
    Scenario("worker stopped for a moment", _freeze, at_least={"stopped": 4}, long=True),
    Scenario(
        "worker stopped in a call",
        program=STOP,
        errors=frozenset({"timeout"}),
        timeout=1.5,
        # Those behind it have waited as long as it ran, and where much is going on, the next, too.
        check=only(7000, each=256),
    ),
    Scenario(
        "worker stopped between calls",
        stop,
        errors=LOST | {"timeout"},
        timeout=1.5,
        at_least={"stopped": 2},
        check=those_under_way,
        long=True,
    ),
    Scenario("code segfaults", program=SEGFAULT, errors=LOST, check=only(2500)),
    Scenario(
        "code exhausts memory",
        program=MEMORY,
        settings={"PROVIDER_WORKER_MEMORY": "256MiB"},
        errors=frozenset({"handler_error"}),
        check=only(2500),
    ),
    Scenario(
        "code hangs and holds the GIL",
        program=HANG,
        errors=frozenset({"timeout"}),
        timeout=1.0,
        # Those behind it have waited as long as it ran.
        check=only(5000, each=256),
    ),
    Scenario(
        "code leaks descriptors",
        _save,
        program=LEAK,
        settings={"PROVIDER_WORKER_FILES": "128"},
        errors=frozenset({"handler_error"}),
        at_least={"saved": 2},
        check=only(10),
    ),
    Scenario(
        "code closes its link", program=CLOSE, errors=LOST | {"handler_error"}, check=only(2500)
    ),
    Scenario(
        "reloads, half of them broken",
        save_and_break,
        at_least={"saved": RELOADS // 2, "saved broken": RELOADS // 2},
        check=every_good_text_was_loaded,
    ),
]
