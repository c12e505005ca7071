"""The ways to answer a call that are compared: how each starts, is asked, and must answer.

The rule of this file: a row is started as its own documentation says, with everything on that is on
by default. A new way in is a new entry of `ROWS`.
"""

from __future__ import annotations

import operator
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.measuring import environments, signed
from benchmarks.measuring.processes import ROOT, family
from provider.wire.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.measuring.processes import Processes
    from benchmarks.measuring.work import Work

PEERS_FILE = ROOT / "benchmarks" / "measuring" / "peers.py"
FASTSTREAM = ("faststream[nats]", "cbor2", "uvloop")

ECHO = "raw echo"
ONE_PROCESS = "one process"
MICRO = "nats micro"
FASTSTREAM_ROW = "FastStream"
PROVIDER = "provider"
SIGNED = "provider, signed"


@dataclass(frozen=True)
class Started:
    """A row that runs.

    Attributes:
        name: in the table.
        subject: where it listens.
        processes: those that answer, by name; their CPU counts.
        answer: the bytes it must answer.
        request: the bytes it is sent.
    """

    name: str
    subject: str
    processes: dict[str, int]
    answer: Callable[[Work], bytes]
    request: Callable[[Work], bytes] = field(default=operator.attrgetter("request"))


def start_provider(
    processes: Processes,
    program: Path,
    lattice: str = "default",
    settings: Mapping[str, str] | None = None,
) -> Started:
    """The provider as it comes, on a lattice of its own.

    Raises:
        Failed: it does not start.
    """
    host = processes.start(
        [sys.executable, "-m", "provider", "run", "--no-env-file"],
        ready=rb'"event": ?"ready"',
        environment={
            "PYTHON_DISPATCH": str(program),
            "NATS_URL": processes.nats_url,
            "PROVIDER_LATTICE": lattice,
            "PROVIDER_LOG_FORMAT": "json",
            **(settings or {}),
        },
    )
    return Started(
        PROVIDER,
        Address(lattice=lattice).rpc,
        family(host),
        operator.attrgetter("answer"),
    )


def start_signed(processes: Processes, program: Path) -> Started:
    """The provider called as by a wasmCloud host."""
    address = Address(lattice="signed")
    started = start_provider(processes, program, address.lattice, signed.ISSUERS)
    signed.link(processes.nats_url, address)
    return Started(
        SIGNED,
        started.subject,
        started.processes,
        signed.response,
        lambda work: signed.invocation(work, address),
    )


def start_peer(
    processes: Processes,
    peer: str,
    name: str,
    answer: Callable[[Work], bytes],
    python: str = sys.executable,
) -> Started:
    """One of `peers.py`.

    Args:
        processes: of the run.
        peer: which one.
        name: in the table.
        answer: what it must answer.
        python: the interpreter that has its library.
    """
    subject = f"bench.{peer}"
    command = [python, "-P", str(PEERS_FILE), peer, processes.nats_url, subject]
    process = processes.start(command, ready=b"^ready")
    return Started(name, subject, {peer: process}, answer)


def start_echo(processes: Processes) -> Started:
    """nats-py's client that sends back what it gets."""
    return start_peer(processes, "echo", ECHO, operator.attrgetter("request"))


def start_rows(
    processes: Processes, program: Path, place: Path, peers: Sequence[str]
) -> tuple[list[Started], dict[str, str]]:
    """Start everything that calls are compared on.

    Args:
        processes: of the run.
        program: what the provider serves.
        place: folder of the peers' environments.
        peers: names of those to start beside the echo, of `PEERS`.

    Returns:
        What runs, and the versions of what is in no environment of ours.
    """
    right = operator.attrgetter("answer")
    rows, versions = [start_echo(processes)], {}
    if "one_process" in peers:
        rows.append(start_peer(processes, "one_process", ONE_PROCESS, right))
    if "micro" in peers:
        rows.append(start_peer(processes, "micro", MICRO, right))
    if "faststream" in peers:
        python = environments.python_of(place, "faststream", FASTSTREAM)
        if python is not None:
            rows.append(start_peer(processes, "faststream", FASTSTREAM_ROW, right, python))
            versions = environments.versions_of(python, "faststream")
    rows.append(start_provider(processes, program))
    if "signed" in peers:
        rows.append(start_signed(processes, program))
    return rows, versions


PEERS = ("one_process", "micro", "faststream", "signed")
"""What may be left out. The echo and the provider always run."""
