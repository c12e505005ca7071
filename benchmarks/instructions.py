"""How many instructions of Python a call takes, in the host and in the worker. No clock decides.

    python -m benchmarks.instructions [--write] [--where] [--markdown FILE]

The rule of this file: everything is real, the NATS server, the host and its worker; one of the two
is counted, by `measuring.counting`. How messages gather to bursts is left to chance, so each figure
is the least of several bursts: the one that came and went in one piece. Those are the same on every
machine that has the same Python, and CI can hold them: what was found last is in instructions.json,
and tests/benchmarks/test_instructions.py compares. `--write` notes what is found now, `--where`
shows in which files it is, and `--markdown` puts that into a document (its block `where`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cbor2

from benchmarks.measuring import counting
from benchmarks.measuring.burst_caller import BurstCaller
from benchmarks.measuring.command import command
from benchmarks.measuring.counting import Counter
from benchmarks.measuring.processes import PATIENCE, ROOT, Processes, clean_environment
from benchmarks.measuring.rows import start_provider
from benchmarks.measuring.said import Failed, say
from benchmarks.measuring.table import replaced
from benchmarks.measuring.work import FACTORIAL, FACTORIAL_PROGRAM
from provider.wire.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    Counts = dict[str, float]

NOTES = Path(__file__).with_suffix(".json")
"""What was found last, by version of Python: each has instructions of its own."""
VERSION = "{}.{}".format(*sys.version_info)
MARGIN = 0.02
"""The part by which a figure may grow unnoticed."""
WIDTHS = (1, 64)
"""Calls in one burst."""
TIMES = 15
"""Bursts of each."""
LEAST_SHOWN = 5.0
"""Instructions of a call from which a file is shown."""
STILL = 0.03
"""Seconds without an instruction, after which a burst has ended."""
WORKER_PROGRAM = """
import sys
import counting
from factorial_program import handle as factorial

counter = counting.Counter()

def handle(command, arg):
    if arg == "start":
        # The clock would send answers earlier, the more so as counting takes time.
        sys.modules["provider.worker.serve"].SLOW = 60.0
        counter.start()
    if command.startswith("count."):
        return counter.files if arg == "files" else [counter.instructions, counter.calls]
    return factorial(command, arg)
"""


def counts() -> tuple[dict[str, Counts], dict[str, Counts]]:
    """Instructions and calls into C for one call of the factorial example.

    Returns:
        By process, then by what is counted: `instructions, 64 at a time`; and by process, then by
        file, the instructions of the bursts of 64.

    Raises:
        Failed: something did not start, or answered wrongly.
    """
    with Processes() as processes:
        processes.start_nats()
        host, host_files = _host(processes)
        worker, worker_files = _worker(processes)
    return {"host": host, "worker": worker}, {"host": host_files, "worker": worker_files}


def _least(
    burst: Callable[[int], tuple[int, int]], files: Callable[[], dict[str, int]]
) -> tuple[Counts, Counts]:
    found: Counts = {}
    before: dict[str, int] = {}
    for width in WIDTHS:
        burst(width)  # what is done once is done
        before = files()
        each = [burst(width) for _ in range(TIMES)]
        for index, name in enumerate(("instructions", "calls into C")):
            found[f"{name}, {width} at a time"] = min(count[index] for count in each) / width
    calls = TIMES * WIDTHS[-1]
    return found, {
        _file(name): (count - before.get(name, 0)) / calls for name, count in files().items()
    }


def _file(name: str) -> str:
    """A file's name as one finds it: in the repository, in a library, in Python's own."""
    for folder in (f"{ROOT}/", "/site-packages/", f"/python{VERSION}/"):
        _, found, rest = name.partition(folder)
        if found:
            return rest
    return name if name.startswith("<") else Path(name).name


def _call(caller: BurstCaller, width: int) -> None:
    wrong = set(caller.call(FACTORIAL.request, width)) - {FACTORIAL.answer}
    if wrong:
        raise Failed(f"not the right answer: {wrong.pop()[:300]!r}")


# --- the worker, which is counted by its own program ---------------------------------------------


def _worker(processes: Processes) -> tuple[Counts, Counts]:
    folder = processes.folder / "counted"
    folder.mkdir()
    shutil.copy(counting.__file__, folder / "counting.py")
    shutil.copy(FACTORIAL_PROGRAM, folder / "factorial_program.py")
    program = folder / "dispatch.py"
    program.write_text(WORKER_PROGRAM)
    row = start_provider(processes, program, "counted")

    with BurstCaller(processes.nats_port, row.subject) as caller:

        def ask(what: str) -> Any:
            (answer,) = caller.call(cbor2.dumps({"operation": "count.now", "payload": what}))
            return cbor2.loads(answer)["result"]

        def count() -> tuple[int, int]:
            told = ask("now")
            return told[0], told[1]

        def files() -> dict[str, int]:
            return dict(ask("files"))

        ask("start")

        def burst(width: int) -> tuple[int, int]:
            # The question itself is counted, too.
            first, second = count(), count()
            _call(caller, width)
            third = count()
            asked = (second[0] - first[0], second[1] - first[1])
            return third[0] - second[0] - asked[0], third[1] - second[1] - asked[1]

        return _least(burst, files)


# --- the host, which is counted by a thread beside it --------------------------------------------


def _host(processes: Processes) -> tuple[Counts, Counts]:
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.instructions", "_host", str(processes.nats_port)],
        cwd=ROOT,
        env={
            **clean_environment(),
            "NATS_URL": processes.nats_url,
            "PROVIDER_LATTICE": "counted-host",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    try:
        found, files = json.loads(told.stdout)
    except ValueError:
        raise Failed(f"the host was not counted:\n{told.stderr[-3000:]}") from None
    return found, files


def _be_counted(port: int) -> None:
    """Run the provider here, with a thread that calls it and reads the counter."""
    from provider import cli

    counter = Counter()
    signal.signal(signal.SIGUSR1, lambda *_: counter.start())

    def measure() -> None:
        try:
            print(json.dumps(_beside(port, counter)), flush=True)
        except Exception as error:  # noqa: BLE001  it is told, and the host ends either way
            say(f"{type(error).__name__}: {error}")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=measure, daemon=True).start()
    sys.argv[1:] = ["run", str(FACTORIAL_PROGRAM), "--no-env-file"]
    cli.main()


def _beside(port: int, counter: Counter) -> tuple[Counts, Counts]:
    with BurstCaller(port, Address(lattice="counted-host").rpc) as caller:
        _until_answered(caller)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not counter.instructions:
            _call(caller, 1)

        def burst(width: int) -> tuple[int, int]:
            _until_still(counter)
            before = counter.instructions, counter.calls
            _call(caller, width)
            _until_still(counter)
            return counter.instructions - before[0], counter.calls - before[1]

        return _least(burst, counter.files.copy)


def _until_answered(caller: BurstCaller) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            _call(caller, 1)
        except Failed:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)  # it is to be asked by nobody else, so nobody tells
        else:
            return


def _until_still(counter: Counter) -> None:
    status = Path(f"/proc/self/task/{threading.main_thread().native_id}/stat")
    seen = -1
    # One that only waits for its turn of a busy machine is not still.
    while counter.instructions != seen or status.read_text().rpartition(") ")[2][0] != "S":
        seen = counter.instructions
        time.sleep(STILL)  # an event would be counted, too


# --- what was found last -------------------------------------------------------------------------


def noted() -> dict[str, Counts] | None:
    """What was found last for this version of Python; None when nothing was."""
    return _all_noted().get(VERSION)


def note(found: dict[str, Counts]) -> None:
    """Note what was found."""
    NOTES.write_text(json.dumps({**_all_noted(), VERSION: found}, indent=1) + "\n")


def grown(found: dict[str, Counts], before: dict[str, Counts]) -> list[str]:
    """What is more than it was, beyond `MARGIN`, a line each."""
    return [
        f"{process}, {name}: {count:.1f}, was {before[process][name]:.1f}"
        for process, counted in found.items()
        for name, count in counted.items()
        if count > before[process][name] * (1 + MARGIN)
    ]


def _all_noted() -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(NOTES.read_text())
    except FileNotFoundError:
        return {}
    return told


def where(files: dict[str, Counts]) -> str:
    """The files with most instructions of a call, as a table in Markdown."""
    rows = [
        (count, process, name)
        for process, counted in files.items()
        for name, count in counted.items()
        if count >= LEAST_SHOWN
    ]
    return "\n".join(
        [
            "| file | process | instructions of a call |",
            "|---|---|--:|",
            *(
                f"| {name} | {process} | {count:.0f} |"
                for count, process, name in sorted(rows, reverse=True)
            ),
        ]
    )


@command
def main() -> int:
    """Print all counts, and note them when told to. The exit code: 1 when they have grown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions")
    parser.add_argument("--write", action="store_true", help=f"note them in {NOTES.name}")
    parser.add_argument("--where", action="store_true", help="show in which files they are")
    parser.add_argument("--markdown", type=Path, help="put that into a document's block `where`")
    options = parser.parse_args()
    found, files = counts()
    print(json.dumps(found, indent=1))
    if options.where:
        print(where(files))
    if options.markdown is not None:
        text = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(replaced(text, {"where": where(files)}), encoding="utf-8")
    if options.write:
        note(found)
        return 0
    worse = grown(found, noted() or found)
    for line in worse:
        say(line)
    return bool(worse)


if __name__ == "__main__":
    if sys.argv[1:2] == ["_host"]:
        _be_counted(int(sys.argv[2]))
    else:
        sys.exit(main())
