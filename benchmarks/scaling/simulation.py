"""Providers, a NATS server and callers, played through event by event.

The rule of this file: nothing in it was tuned to the result. Every process is a queue with a loop
that takes all there is, works for as long as its constants say on one of the cores, and passes on
what it has. What comes out (throughput, latencies, how much comes together) follows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import simpy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from benchmarks.scaling.model import Constants, Cost

    Pass = Callable[[list[float]], None]

HOLD = 500.0
"""Microseconds the worker holds answers together at most (provider/worker/serve.py)."""
SLICE = 500.0
"""Microseconds after which whoever else wants the core has it."""
MOST = 512
"""Calls that one look takes at most: the buffers are that large."""


@dataclass(frozen=True)
class Scene:
    """What is played.

    Attributes:
        in_flight: calls of one caller who sends the next when one is answered; 0 for `rate`.
        rate: calls per second of callers who do not wait for each other.
        providers: in one queue group.
        workers: of each provider.
        cores: of the machine, for everybody in it; may be a fraction when others use some.
        handler: microseconds the function itself takes.
        seconds: that are counted.
    """

    in_flight: int = 0
    rate: float = 0.0
    providers: int = 1
    workers: int = 1
    cores: float = 2.0
    handler: float = 0.0
    seconds: float = 0.5


@dataclass(frozen=True)
class Played:
    """What came out.

    Attributes:
        calls_per_second: answered.
        latencies: percentiles in microseconds, as `p50`.
        cpu: microseconds of CPU for a call, by process.
    """

    calls_per_second: float
    latencies: dict[str, float]
    cpu: dict[str, float]


def play(scene: Scene, constants: Constants, seed: int = 1) -> Played:
    """Play it, a fifth of the time for warming up.

    Args:
        scene: what there is.
        constants: what it costs.
        seed: of the choices a NATS server makes.
    """
    return _Play(scene, constants, seed).result()


class _Play:
    def __init__(self, scene: Scene, constants: Constants, seed: int) -> None:
        self._scene = scene
        self._constants = constants
        self._chance = random.Random(seed)
        self.clock = simpy.Environment()
        whole = max(1, round(scene.cores))
        self.cores = simpy.Resource(self.clock, capacity=whole)
        # Where others use a part of a core, everything takes so much longer.
        self.slower = whole / scene.cores
        self.wake = constants.wake
        self.used: dict[str, float] = dict.fromkeys(constants.costs, 0.0)
        self._end = scene.seconds * 1e6
        self._start = self._end / 5
        self._latencies: list[float] = []
        costs = constants.costs
        self._answers = (
            _Station(self, "generator", costs["generator"], self._again).take
            if scene.in_flight
            else self._count
        )
        # The server has a thread of its own for each connection.
        homes = [self._provider(constants) for _ in range(scene.providers)]
        self._ask = _Station(self, "nats", costs["nats"], self._spread(homes)).take

    def result(self) -> Played:
        if self._scene.in_flight:
            self._ask([0.0] * self._scene.in_flight)
        else:
            self.clock.process(self._arrive())
        self.clock.run(until=self._end)
        seconds = (self._end - self._start) / 1e6
        found = sorted(self._latencies)
        calls = max(1, len(found))
        return Played(
            len(found) / seconds,
            {
                f"p{percent}": found[min(len(found) - 1, len(found) * percent // 100)]
                for percent in (50, 99)
            }
            if found
            else {},
            {name: used / calls for name, used in self.used.items()},
        )

    @property
    def counts(self) -> bool:
        """Whether what happens now is counted."""
        return self.clock.now >= self._start

    def _provider(self, constants: Constants) -> Pass:
        costs = constants.costs
        out = _Station(self, "nats", costs["nats"], self._answers)
        host = _Host(self, costs["host"], out.take)
        workers = [
            _Worker(self, costs["worker"], host.answered, self._scene.handler)
            for _ in range(self._scene.workers)
        ]

        def share(calls: list[float]) -> None:
            # To whoever has least.
            for call in calls:
                min(workers, key=lambda worker: worker.load).take([call])

        host.passes = share if len(workers) > 1 else workers[0].take
        return host.take

    def _spread(self, homes: list[Pass]) -> Pass:
        if len(homes) == 1:
            return homes[0]

        def spread(calls: list[float]) -> None:
            parts: dict[int, list[float]] = {}
            for call in calls:
                parts.setdefault(self._chance.randrange(len(homes)), []).append(call)
            for number, part in parts.items():
                homes[number](part)

        return spread

    def _arrive(self) -> Generator[Any, Any, None]:
        while True:
            yield self.clock.timeout(self._chance.expovariate(self._scene.rate) * 1e6)
            self._ask([self.clock.now])

    def _count(self, calls: list[float]) -> None:
        if self.counts:
            now = self.clock.now
            self._latencies += [now - began for began in calls]

    def _again(self, calls: list[float]) -> None:
        self._ask([self.clock.now] * len(calls))

    def stall(self, microseconds: float) -> float:
        """For how long something else comes between so much work; mostly 0."""
        stalls, often = self._constants.stalls, self._constants.stalls_per_second
        if stalls and self._chance.random() < microseconds * often / 1e6:
            return self._chance.choice(stalls)
        return 0.0

    def read(self, calls: list[float]) -> None:
        """Answers have come to whoever asked; before he does anything with them."""
        self._count(calls)


class _Station:
    """A process, or a thread of one."""

    def __init__(self, play: _Play, name: str, cost: Cost, passes: Pass) -> None:
        self._play = play
        self._name = name
        self._cost = cost
        self.passes = passes
        self._waiting: list[float] = []
        self._worked = 0.0
        self._news = play.clock.event()
        play.clock.process(self._run())

    @property
    def load(self) -> int:
        """Calls that wait here."""
        return len(self._waiting)

    def take(self, calls: list[float]) -> None:
        """More work."""
        self._waiting += calls
        self._wake()

    def _wake(self) -> None:
        if not self._news.triggered:
            self._news.succeed()

    def _run(self) -> Generator[Any, Any, None]:
        play = self._play
        while True:
            if not self._waiting:
                self._news = play.clock.event()
                yield self._news
                yield play.clock.timeout(play.wake)
            yield from self._turn()
            yield from self.stall()

    def _turn(self) -> Generator[Any, Any, None]:
        calls = self._waiting[:MOST]
        del self._waiting[:MOST]
        if self._name == "generator":
            self._play.read(calls)
        yield from self.work(self._cost.look + self._cost.call * len(calls))
        self.passes(calls)

    def work(self, microseconds: float) -> Generator[Any, Any, None]:
        """Use a core for so long, taking turns with the others that want one."""
        play = self._play
        self._worked += microseconds
        while microseconds > 0:
            part = min(microseconds, SLICE)
            microseconds -= part
            with play.cores.request() as core:
                yield core
                yield play.clock.timeout(part * play.slower)
            if play.counts:
                play.used[self._name] += part

    def stall(self) -> Generator[Any, Any, None]:
        """Stand still where something else comes between, which has the core meanwhile."""
        stall = self._play.stall(self._worked)
        self._worked = 0.0
        if stall:
            yield self._play.clock.timeout(stall)


class _Host(_Station):
    """Reads two sockets in one loop: questions from NATS, answers from its workers."""

    def __init__(self, play: _Play, cost: Cost, answers: Pass) -> None:
        super().__init__(play, "host", cost, answers)
        self._back: list[float] = []
        self._answers = answers

    def answered(self, calls: list[float]) -> None:
        """A worker has answered."""
        self._back += calls
        self._wake()

    def _run(self) -> Generator[Any, Any, None]:
        play = self._play
        while True:
            if not self._waiting and not self._back:
                self._news = play.clock.event()
                yield self._news
                yield play.clock.timeout(play.wake)
            back, self._back = self._back, []
            if back:
                yield from self.work(self._cost.look + self._cost.call * len(back))
                self._answers(back)
            if self._waiting:
                yield from self._turn()
            yield from self.stall()


class _Worker(_Station):
    """Calls the function, one call at a time; answers leave together, but not late."""

    def __init__(self, play: _Play, cost: Cost, passes: Pass, handler: float) -> None:
        super().__init__(play, "worker", cost, passes)
        self._handler = handler

    def _turn(self) -> Generator[Any, Any, None]:
        each = self._cost.call + self._handler
        calls = self._waiting[:MOST]
        del self._waiting[:MOST]
        yield from self.work(self._cost.look)
        most = max(1, int(HOLD / each)) if each else MOST
        for start in range(0, len(calls), most):
            part = calls[start : start + most]
            yield from self.work(each * len(part))
            self.passes(part)
