"""Every scenario for as long as you like, and a table of what came of it.

    python -m tests.faults.soak [--seconds 30] [--seed 1] [--only NAME]...

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
from pathlib import Path
from typing import TYPE_CHECKING

import tests.faults
from tests.faults.outcome import Outcome, run
from tests.faults.scenario import CALLS, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK = re.compile(r"(<!-- soak: table -->).*(<!-- soak: end -->)", re.DOTALL)
"""Where documents have it."""


def all_scenarios() -> dict[str, Scenario]:
    """Those of every module `*_scenarios` beside this one, by name."""
    found: dict[str, Scenario] = {}
    for module in pkgutil.iter_modules(tests.faults.__path__, "tests.faults."):
        if module.name.endswith("_scenarios"):
            for scenario in importlib.import_module(module.name).SCENARIOS:
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
    """Run, print, judge. The exit code."""
    scenarios = all_scenarios()
    parser = argparse.ArgumentParser(description="What the provider survives, under load.")
    parser.add_argument("--seconds", type=float, default=30.0, help="of load for each scenario")
    parser.add_argument("--seed", type=int, default=1, help="the same one repeats a run")
    parser.add_argument("--calls", type=int, default=CALLS, help="at least, for each scenario")
    parser.add_argument("--only", action="append", default=[], help="this one; may be repeated")
    parser.add_argument("--markdown", type=Path, help="a document to write the table into")
    parser.add_argument("--list", action="store_true", help="print the names and leave")
    options = parser.parse_args()
    if options.list:
        print("\n".join(scenarios))
        return 0
    names = options.only or list(scenarios)
    if unknown := set(names) - set(scenarios):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    outcomes = []
    for name in names:
        scenario = scenarios[name]
        if why_not := scenario.needs():
            print(f"{name}: left out, {why_not}", file=sys.stderr, flush=True)
            continue
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        # What a scenario has fewer calls for, it has in the long run, too.
        calls = min(options.calls, scenario.calls) if options.calls >= CALLS else options.calls
        outcome = run(scenario, options.seed, calls=calls, seconds=options.seconds)
        outcomes.append(outcome)
        rate = outcome.count.sent / max(outcome.seconds, 1e-9)
        print(
            f"{outcome.count.sent} calls, {rate:.0f} a second, "
            f"{'as promised' if not outcome.problems else 'NOT AS PROMISED'}",
            file=sys.stderr,
            flush=True,
        )
        for problem in outcome.problems:
            print(f"    {problem}", file=sys.stderr, flush=True)
    told = report(outcomes, options.seed, options.seconds)
    print(told)
    if options.markdown is not None:
        text = options.markdown.read_text("utf-8")
        text = _BLOCK.sub(lambda found: f"{found[1]}\n{told}\n{found[2]}", text)
        options.markdown.write_text(text, "utf-8")
    return int(any(outcome.problems for outcome in outcomes))


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # nothing is left
    sys.exit(main())
