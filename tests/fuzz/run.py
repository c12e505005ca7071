"""`make fuzz`: all targets one after another, each for a while, and a line about each.

The rule of this file: what was seen can be seen again. The seed is told, and an input that brought
out what it should not is kept, with how to run it alone. Inputs that led somewhere new are kept,
too, and the next run begins with them.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz import target

if TYPE_CHECKING:
    from tests.fuzz.target import Target

HANGS = 20
"""Seconds after which an input that does not end is ended, and kept."""
MEMORY_MIB = 2048
"""Memory of the process from which on it is ended."""
WIDTHS = "{:<22} {:>9} {:>7} {:>8} {:>9} {:>10}  {}"


@dataclass
class Outcome:
    """What became of one target.

    Attributes:
        name: of the target.
        inputs: that were run.
        coverage: places in the code that were reached, as libFuzzer counts them.
        corpus: inputs that led somewhere new, in all.
        seconds: it took.
        slowest: milliseconds of processor time of the slowest input.
        found: the input that brought out what it should not, None for none.
        said: by the process.
    """

    name: str
    inputs: int
    coverage: int
    corpus: int
    seconds: float
    slowest: float
    found: Path | None
    said: str


def main(arguments: list[str] | None = None) -> int:
    """Run.

    Returns:
        The exit code: 0 where nothing was found, 1 where something was, 2 for no such target, 3
        where there is nothing to fuzz with, 130 where Ctrl-C ended it.
    """
    asked = _asked(arguments)
    if find_spec("atheris") is None:
        print(
            "atheris is not installed; there are wheels of it for Linux on x86-64 (make fuzz)",
            file=sys.stderr,
        )
        return 3
    try:
        targets = [target.named(name) for name in asked.targets] or target.every()
    except KeyError as error:
        print(f"no such target: {error.args[0]}", file=sys.stderr)
        return 2
    seed = asked.seed or secrets.randbelow(2**31 - 1) + 1
    print(f"seed {seed}\n")
    print(
        WIDTHS.format("target", "inputs", "places", "corpus", "seconds", "slowest", ""), flush=True
    )
    outcomes: list[Outcome] = []
    early = False
    try:
        for each in targets:
            outcomes.append(fuzz(each, asked.folder, seed, asked.seconds, asked.runs))
            _tell(outcomes[-1])
    except KeyboardInterrupt:
        early = True
    found = [outcome for outcome in outcomes if outcome.found]
    inputs = sum(outcome.inputs for outcome in outcomes)
    print(
        f"\n{'ended early: ' if early else ''}{inputs} inputs of {len(outcomes)} targets, "
        f"{len(found)} found something, seed {seed}"
    )
    for outcome in found:
        print(f"\n--- {outcome.name}\n{outcome.said}\nagain: {_again(outcome)}")
    return 130 if early else int(bool(found))


def fuzz(each: Target, folder: Path, seed: int, seconds: float, runs: int) -> Outcome:
    """Fuzz one target in a process of its own.

    Args:
        each: the target.
        folder: where inputs are kept.
        seed: of what is made up, above 0.
        seconds: it may take, 0 for as long as it takes.
        runs: inputs that are run, 0 for as many as there is time for.
    """
    kept = folder / each.name
    grown = kept / "corpus"
    grown.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        report, words = Path(work, "slowest"), Path(work, "words")
        words.write_text("".join(f"{_quoted(word)}\n" for word in each.words), encoding="ascii")
        command = [
            *(sys.executable, "-m", "tests.fuzz.one", each.name, str(report)),
            f"-seed={seed}",
            f"-max_len={each.longest}",
            f"-timeout={HANGS}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-artifact_prefix={kept}{os.sep}",
            "-print_final_stats=1",
            *([f"-dict={words}"] if each.words else []),
            *([f"-max_total_time={max(1, round(seconds))}"] if seconds else []),
            *([f"-runs={runs}"] if runs else []),
            str(grown),
            *([str(each.corpus)] if each.corpus.is_dir() else []),
        ]
        begun = time.monotonic()
        ran = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=_root(),
            env={**os.environ, "TMPDIR": work},  # it ends too abruptly to take its files away
        )
        took = time.monotonic() - begun
        slowest = float(report.read_text("ascii")) if report.exists() else 0.0
    said = ran.stdout.decode("utf-8", "replace")
    written = re.findall(r"Test unit written to (.*)", said)
    found = Path(written[-1]) if written else None
    if ran.returncode and found is None:
        found = kept  # it ended before any input was run
    return Outcome(
        each.name,
        max(_numbers(r"(?m)^#(\d+)\s", said) + _numbers(r"executed_units: (\d+)", said)),
        max(_numbers(r"cov: (\d+)", said)),
        max(_numbers(r"corp: (\d+)", said)),
        took,
        slowest * 1000,
        found,
        _last_words(said) if found else "",
    )


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    names = sorted(path.name for path in target.CORPUS.iterdir())
    parser = argparse.ArgumentParser(
        prog="make fuzz",
        usage="make fuzz [FUZZ_SECONDS=2] [FUZZ_RUNS=0] [FUZZ_SEED=0] [FUZZ_FOLDER=.fuzz] "
        "[FUZZ_TARGETS='wire.cbor ...']",
        description="Make up inputs for everything that reads bytes from outside, one target after "
        f"another. All {len(names)} of them, as below, are tried when none is named. What "
        "brought out an error is kept in the folder, and the last lines say how to run it again. "
        "Ctrl-C ends it.",
        epilog=f"Targets: {', '.join(names)}.",
    )
    parser.add_argument("targets", nargs="*", help="FUZZ_TARGETS: names; all when left out")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0,
        help="FUZZ_SECONDS: for each target; 0 for no limit, or for 2 without one of inputs",
    )
    parser.add_argument(
        "--runs", type=int, default=0, help="FUZZ_RUNS: inputs of each target; 0 for no limit"
    )
    parser.add_argument("--seed", type=int, default=0, help="FUZZ_SEED: 0 for another each time")
    parser.add_argument(
        "--folder", type=Path, default=Path(".fuzz"), help="FUZZ_FOLDER: where inputs are kept"
    )
    asked = parser.parse_args(arguments)
    if not asked.seconds and not asked.runs:
        asked.seconds = 2
    asked.folder = asked.folder.absolute()
    return asked


def _tell(outcome: Outcome) -> None:
    print(
        WIDTHS.format(
            outcome.name,
            outcome.inputs,
            outcome.coverage,
            outcome.corpus,
            f"{outcome.seconds:.1f}",
            f"{outcome.slowest:.1f} ms",
            f"FOUND {outcome.found}" if outcome.found else "",
        ).rstrip(),
        flush=True,
    )


def _again(outcome: Outcome) -> str:
    return f"{sys.executable} -m tests.fuzz.one {outcome.name} {os.devnull} {outcome.found}"


def _numbers(pattern: str, text: str) -> list[int]:
    return [0, *map(int, re.findall(pattern, text))]


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if not re.match(r"#\d+\s|INFO: |\t?stat::", line)]
    return "\n".join(lines[-60:])


def _quoted(word: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"'


def _root() -> Path:
    return Path(__file__).parents[2]


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What runs is ended with it.
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    sys.exit(main())
