"""Every scenario for as long as you like, and a table of what came of it.

    make soak SOAK='[--seconds 30] [--seed 1] [--only NAME]...'

The rule of this file: it adds nothing to a scenario but time. The table goes to standard output,
how it goes to standard error. The exit code is 1 if anything was that must not be.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import tests.faults
from tests.faults.outcome import Outcome, run
from tests.faults.scenario import CALLS, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_SECONDS = 86_400.0
"""Longest load for one scenario."""
_BLOCK = re.compile(r"(<!-- soak: table -->).*(<!-- soak: end -->)", re.DOTALL)
"""Where documents have it."""


def all_scenarios() -> dict[str, Scenario]:
    """Those of every module `*_scenarios` beside this one, by name.

    Raises:
        ValueError: two of them have the same name.
    """
    found: dict[str, Scenario] = {}
    for module in pkgutil.iter_modules(tests.faults.__path__, "tests.faults."):
        if module.name.endswith("_scenarios"):
            for scenario in importlib.import_module(module.name).SCENARIOS:
                if scenario.name in found:
                    raise ValueError(f"two scenarios are called {scenario.name}")
                found[scenario.name] = scenario
    return found


def table(outcomes: Iterable[Outcome]) -> str:
    """The outcomes in Markdown."""
    columns = "scenario, what was done, calls sent, answered with result, answered with error, "
    columns += "unanswered, run twice, worst answer time"
    lines = [f"| {columns.replace(', ', ' | ')} |", "|---|---|--:|--:|---|--:|--:|--:|"]
    for outcome in outcomes:
        count = outcome.count
        done = ", ".join(f"{what} {times} times" for what, times in outcome.did.items())
        errors = ", ".join(f"{number} {kind}" for kind, number in sorted(count.errors.items()))
        cut = f" ({count.cut} cut off)" if count.cut else ""
        worst = max(count.worst.values(), default=0.0)
        lines.append(
            f"| {outcome.scenario} | {done or 'by the program'} | {count.sent} | {count.results} "
            f"| {errors or 'none'} | {count.unanswered}{cut} | {len(outcome.ran_twice)} "
            f"| {worst:.2f} s |"
        )
    return "\n".join(lines)


def report(outcomes: list[Outcome], seed: int, seconds: float) -> str:
    """The table, and what it is of."""
    sent = sum(outcome.count.sent for outcome in outcomes)
    refused = sum(outcome.count.refused for outcome in outcomes)
    return (
        f"{table(outcomes)}\n\nSeed {seed}, {seconds:g} s of load each: {sent} calls, "
        f"{refused} of them refused."
    )


def main() -> int:
    """Run, print, judge.

    Returns:
        The exit code: 0 if all was as promised, 1 if not, 130 if Ctrl-C ended it.
    """
    scenarios = all_scenarios()
    options = _asked(scenarios)
    if options.list:
        print("\n".join(scenarios))
        return 0
    outcomes: list[Outcome] = []
    try:
        broken = _run_all(
            [scenarios[name] for name in options.only or scenarios], options, outcomes
        )
    except KeyboardInterrupt:
        print("\nended early; these were run to their end:", file=sys.stderr, flush=True)
        print(table(outcomes))
        return 130
    told = report(outcomes, options.seed, options.seconds)
    print(told)
    if options.markdown is not None:
        text = options.markdown.read_text("utf-8")
        text = _BLOCK.sub(lambda found: f"{found[1]}\n{told}\n{found[2]}", text)
        options.markdown.write_text(text, "utf-8")
    return int(broken)


def _run_all(
    scenarios: list[Scenario], options: argparse.Namespace, outcomes: list[Outcome]
) -> bool:
    """Run one after the other, and tell how it goes; whether a promise was broken."""
    broken = False
    for number, scenario in enumerate(scenarios, 1):
        _tell(f"{number} of {len(scenarios)}: {scenario.name} ... ", end="")
        if why_not := scenario.needs():
            _tell(f"left out, {why_not}")
            continue
        # What a scenario has fewer calls for, it has in the long run, too.
        calls = min(options.calls, scenario.calls) if options.calls >= CALLS else options.calls
        try:
            outcome = run(scenario, options.seed, calls=calls, seconds=options.seconds)
        except Exception:  # a bug of one scenario is told, and the others have their turn
            _tell(f"FAILED\n{traceback.format_exc()}")
            broken = True
            continue
        outcomes.append(outcome)
        rate = outcome.count.sent / max(outcome.seconds, 1e-9)
        kept = "NOT AS PROMISED" if outcome.problems else "as promised"
        _tell(f"{outcome.count.sent} calls, {rate:.0f} a second, {kept}")
        for problem in outcome.problems:
            _tell(f"    {problem}")
        broken = broken or bool(outcome.problems)
    return broken


def _tell(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def _asked(scenarios: dict[str, Scenario]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make soak",
        usage="make soak SOAK='[option]...'",
        description="What the provider survives under load: each scenario for a while, then a "
        f"table. With the usual half a minute, all {len(scenarios)} take about "
        f"{len(scenarios) * 40 // 60} minutes. Ctrl-C ends it, and prints what was found so far.",
        epilog="The exit code is 1 if anything was that must not be; what, stands below the name "
        "of its scenario.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    none = argparse.SUPPRESS
    parser.add_argument("--seconds", type=_seconds, default=30.0, help="of load for each scenario")
    parser.add_argument("--seed", type=int, default=1, help="the same one repeats a run")
    parser.add_argument(
        "--calls", type=int, default=CALLS, help="that are answered at least, for each scenario"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", default=none, help="this one; may be repeated"
    )
    parser.add_argument(
        "--markdown", type=Path, default=none, help="a document to write the table into"
    )
    parser.add_argument("--list", action="store_true", default=none, help="print the names")
    options = parser.parse_args(namespace=argparse.Namespace(only=[], markdown=None, list=False))
    if unknown := set(options.only) - set(scenarios):
        names = ", ".join(sorted(unknown))
        parser.error(f"no such scenario: {names}; --list prints those there are")
    return options


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"0 to {MOST_SECONDS:.0f} seconds, not {text}")
    return seconds


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # nothing is left
    sys.exit(main())
