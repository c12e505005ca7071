"""What may happen to a host: told to stop, killed, its clock turned, its log without a place to go.

The rule of this file: who stops a host by its own rules loses nothing. Who kills it loses what was
in its hands, and finds nothing of it left a second later.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from provider import client
from provider.client import NoProvider
from provider.errors import CallTimeout
from tests.conftest import PATIENCE, Provider
from tests.faults.breaks import AWAY
from tests.faults.scenario import Scenario, misbehaving
from tests.faults.worker_scenarios import WITH_CHILDREN, chosen, lost_for_each_kill

if TYPE_CHECKING:
    from tests.faults.scenario import Field

FORCED = 10.0
"""Seconds a second signal may take; the calls have twenty, and the orderly stop thirty."""


# --- told to stop ---------------------------------------------------------------------------------


async def _until_left(host: Provider) -> None:
    """Wait until a host that was told to stop is gone."""
    code = await asyncio.to_thread(host.wait)
    assert code == 0, f"a host that was told to stop left with {code}"


async def _roll(field: Field) -> None:
    """One more is started, and then one is told to stop: somebody is always there."""
    while await field.go_on(2000, 4000):
        leaving = field.provider
        await field.start_provider()
        leaving.signal(signal.SIGTERM)
        await _until_left(leaving)
        field.did["replaced"] += 1


async def _stop(field: Field) -> None:
    """Told to stop while its worker stands still, or all would be answered before it is asked."""
    while (await field.go_on(5000, 8000)) and (worker := await field.worker()):
        os.kill(worker, signal.SIGSTOP)
        field.provider.signal(signal.SIGTERM)
        await field.logged("draining")
        await asyncio.sleep(0.2)  # in which who does not wait for the worker would leave
        os.kill(worker, signal.SIGCONT)
        await _until_left(field.provider)
        field.did["told to stop"] += 1
        await field.start_provider()


ENDLESS = misbehaving(
    7000,
    """
    print("does not end", number, flush=True)
    threading.Event().wait(1000)
    """,
    before="import threading",
)


async def _force(field: Field) -> None:
    """Told to stop while a call runs that does not end; told again, because that takes too long."""
    while await _until_busy(field):
        host = field.provider
        host.signal(signal.SIGTERM)
        await field.logged("draining")
        began = time.monotonic()
        host.signal(signal.SIGTERM)
        await _until_left(host)
        took = time.monotonic() - began
        assert took < FORCED, f"a host that was told twice took {took:.1f} s"
        field.did["told twice"] += 1
        await field.start_provider()


async def _until_busy(field: Field) -> bool:
    """Wait until the worker runs a call that does not end; False once the load is over."""
    while not field.provider.events("printed"):
        if field.load.over:
            return False
        await asyncio.sleep(0.01)  # answers stop coming, so there is nothing else to wait for
    return True


# --- killed ---------------------------------------------------------------------------------------

BUSY = misbehaving(
    7000,
    """
    print("holds the interpreter", number, flush=True)
    re.match(r"(a|a)*$", "a" * 60 + "b")
    """,
    before=WITH_CHILDREN + "import re",
)


async def _kill(field: Field) -> None:
    """Killed while user code is busy and lets nobody else run."""
    while await _until_busy(field):
        host = field.provider
        host.signal(signal.SIGKILL)
        await asyncio.to_thread(host.wait)
        left = await field.until_none_left()
        field.did["killed"] += 1
        assert not left, f"a second after the host's death these were left: {left}"
        await field.load.flush()
        field.load.write_off()
        await field.start_provider()


def _no_more_than_it_had(field: Field) -> None:
    cut, most = field.count.cut, field.scenario.in_flight * field.did["killed"]
    assert cut <= most, f"{cut} calls were lost, {most} at most were under way"


# --- clocks ---------------------------------------------------------------------------------------

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) {
    /* Hours forth and back, another time every 50 ms. */
    static const long hours[] = {0, 5, -7, 26, -1, 0, -400, 9000};
    struct timespec now;
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_MONOTONIC, &now);
    return 3600 * hours[(now.tv_sec * 20 + now.tv_nsec / 50000000) % 8];
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, to);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) to->tv_sec += shift();
    return code;
}

int gettimeofday(struct timeval *to, void *zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int code = real(to, zone);
    if (to) to->tv_sec += shift();
    return code;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
"""

TELLS_TIME = """
import time

_seen = set()


def handle(command, number):
    note(number)
    hour = int(time.time() - time.monotonic()) // 3600
    if hour not in _seen:
        _seen.add(hour)
        print("hour", hour, flush=True)
    return right(number)
"""


def _no_compiler() -> str:
    if not sys.platform.startswith("linux"):
        return "only Linux has LD_PRELOAD"
    return "" if shutil.which("cc") else "there is no C compiler to make a clock that jumps"


def _launch_with_jumping_clock(environment: dict[str, str], folder: Path) -> Provider:
    source, library = folder / "clock.c", folder / "clock.so"
    if not library.exists():
        source.write_text(CLOCK)
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    # Not forked from a process that has the right time.
    command = [str(Path(sys.executable).with_name("provider")), "run"]
    return Provider(command, {**environment, "LD_PRELOAD": str(library)}, folder)


async def _while_clocks_jump(field: Field) -> None:
    """What asks for the time: files that change, workers that die, pauses, deadlines."""
    while await field.go_on(4000, 6000):
        field.note_program(field.scenario.program + f"\n# {field.did['saved']}\n")
        field.did["saved"] += 1
        await field.logged("reloaded", field.did["saved"])
        if await field.kill_worker():
            await field.logged("worker_lost", field.did["killed"])


def _clocks_did_jump(field: Field) -> None:
    lost_for_each_kill()(field)
    lines = field.provider.lines
    days = {line["timestamp"][:10] for line in lines if isinstance(line, dict)}
    assert len(days) >= 3, f"the host lived on {days}"
    hours = {line["text"] for line in field.provider.events("printed")}
    assert len(hours) >= 4, f"the worker saw {hours}"


# --- logs -----------------------------------------------------------------------------------------

CHATTY = """
def handle(command, number):
    note(number)
    if chosen(number, 20):
        print("much to say", number, flush=True)
    if chosen(number + 1, 50):
        raise ValueError(f"number {number}")
    return right(number)
"""


class Unheard(Provider):
    """A provider whose log goes to a disk that is full. It is ready when it says so over NATS."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        with open("/dev/full", "wb") as full:
            self.environment = environment
            self.lines = []
            command = [sys.executable, "-m", "provider", "run"]
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=full, stderr=full
            )

    def wait_for(
        self, event: str, count: int = 1, patience: float = PATIENCE, **fields: object
    ) -> dict:
        assert event == "ready", "nothing else can be waited for without a log"
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with client.connect_sync(self.url, **self.address) as python:
                try:
                    return python.status(timeout=1)
                except (CallTimeout, NoProvider):
                    time.sleep(0.05)  # nobody reads the log that tells
        raise AssertionError("the provider is not ready")

    def wait(self, patience: float = PATIENCE) -> int:
        return self.process.wait(patience)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def _kill_unheard(field: Field) -> None:
    """A death has much to tell."""
    while await field.go_on(3000, 6000):
        await field.kill_worker()


def _those_that_were_to_did_fail(field: Field) -> None:
    lost_for_each_kill(told=False)(field)  # there is no log that could tell
    failed, most = field.count.errors["handler_error"], chosen(field, 50, beside=1)
    least = most - field.count.errors["worker_lost"]
    assert least <= failed <= most, f"{failed} calls failed, {most} were to"


SCENARIOS = [
    # Not as fast as can be, or few would come while a host starts.
    Scenario("host replaced", _roll, rate=5000.0, at_least={"replaced": 3}, long=True),
    Scenario("host told to stop", _stop, errors=AWAY, at_least={"told to stop": 2}),
    Scenario(
        "host told to stop twice",
        _force,
        program=ENDLESS,
        # One that does not end may begin when enough was done, and nobody tells the host any more.
        errors=AWAY | {"unavailable", "timeout"},
        at_least={"told twice": 2},
    ),
    Scenario(
        "host killed",
        _kill,
        program=BUSY,
        errors=AWAY,
        cut=True,
        at_least={"killed": 2},
        check=_no_more_than_it_had,
    ),
    Scenario(
        "clocks jump by hours",
        _while_clocks_jump,
        launch=_launch_with_jumping_clock,
        program=TELLS_TIME,
        errors=frozenset({"worker_lost"}),
        at_least={"saved": 3, "killed": 3},
        check=_clocks_did_jump,
        needs=_no_compiler,
    ),
    Scenario(
        "disk full for logs",
        _kill_unheard,
        launch=Unheard,
        program=CHATTY,
        errors=frozenset({"worker_lost", "handler_error"}),
        at_least={"killed": 3},
        check=_those_that_were_to_did_fail,
    ),
]
