"""What a call costs: the provider beside its peers, in one run on one machine.

    python -m benchmarks.call [--quick] [--json FILE] [--plot FILE] [--markdown FILE]...

The rule of this file: it says what a run does and where its figures go; how they are measured is
`benchmarks/measuring`. An answer that is wrong, missing or one too many ends the run with exit code
1, and then nothing is written.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import environments, table
from benchmarks.measuring.command import command
from benchmarks.measuring.payloads import CHUNKED
from benchmarks.measuring.processes import ROOT
from benchmarks.measuring.report import SECTIONS, Plan, measure
from benchmarks.measuring.rows import PEERS
from benchmarks.measuring.said import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PLOTTER = ROOT / "benchmarks" / "measuring" / "plot.py"
QUICK: dict[str, Any] = {
    "rounds": 2,
    "seconds": 0.3,
    "chunked": CHUNKED[:1],
    "chunked_rounds": 1,
    "passages": (5, 1),
    "starts": 2,
}


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, print. The exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux"):
        parser.error("the CPU of other processes can only be read on Linux")
    for document in options.markdown:
        try:
            table.blocks_in(document.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            parser.error(f"{document}: {error}")
    report = measure(_plan(options))
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for document in options.markdown:
        text = document.read_text(encoding="utf-8")
        document.write_text(table.renewed(text, report), encoding="utf-8")
    if options.plot is not None and "calls" in report:
        _plot(report, options.plot, options.environments)
    print(table.whole(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.call", description="What a call costs, beside raw nats-py."
    )
    usual = Plan(environments.PLACE)
    parser.add_argument("--quick", action="store_true", help="under a minute, and less steady")
    parser.add_argument("--rounds", type=_at_least_one, help=f"of each cell ({usual.rounds})")
    parser.add_argument("--seconds", type=_seconds, help=f"counted in each ({usual.seconds:g})")
    parser.add_argument(
        "--in-flight", type=_numbers, default=usual.in_flight, help="calls under way, as 1,64,256"
    )
    parser.add_argument(
        "--peers",
        type=_some_of(PEERS),
        default=PEERS,
        help=f"run beside the raw echo and the provider: {','.join(PEERS)}",
    )
    parser.add_argument(
        "--sections", type=_some_of(SECTIONS), default=SECTIONS, help=f"of {','.join(SECTIONS)}"
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=environments.PLACE,
        help="folder where FastStream and matplotlib are installed, once",
    )
    parser.add_argument(
        "--chunked",
        type=_numbers,
        help="bytes of payloads that go through the object store "
        f"({','.join(map(str, usual.chunked))})",
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured here")
    parser.add_argument("--plot", type=Path, help="draw CPU and calls here, .svg or .png")
    parser.add_argument(
        "--markdown",
        type=Path,
        action="append",
        default=[],
        help="renew the blocks `<!-- bench: NAME -->` of this document; may be repeated",
    )
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    chosen = dict(QUICK) if options.quick else {}
    for name in ("rounds", "seconds", "chunked"):
        if getattr(options, name) is not None:
            chosen[name] = getattr(options, name)
    return Plan(
        options.environments,
        sections=options.sections,
        in_flight=options.in_flight,
        peers=options.peers,
        **chosen,
    )


def _plot(report: dict[str, Any], target: Path, place: Path) -> None:
    python = environments.python_of(place, "plot", ("matplotlib",))
    if python is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "report.json"
        written.write_text(json.dumps(report), encoding="utf-8")
        drawn = subprocess.run(
            [python, "-P", str(PLOTTER), str(written), str(target.resolve())],
            env={**os.environ, "MPLCONFIGDIR": folder},
            check=False,
        )
    if drawn.returncode:
        say(f"{target} is not drawn")


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_at_least_one(part) for part in text.split(","))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError
    return seconds


def _some_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def some(text: str) -> tuple[str, ...]:
        names = [name for name in text.split(",") if name]
        unknown = set(names) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(
                f"no such name: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
            )
        return tuple(name for name in known if name in names)

    return some


if __name__ == "__main__":
    sys.exit(main())
