"""A report as tables in Markdown, and where documents have them.

The rule of this file: every figure in a document that a run can produce is written there by the
run, between two comments that name the block; nobody types one.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from benchmarks.measuring.aims import aims, written
from benchmarks.measuring.payloads import shown
from benchmarks.measuring.rounds import cpu, median_ratio
from benchmarks.measuring.rows import ECHO, FASTSTREAM_ROW, MICRO, PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Report = Mapping[str, Any]

LEAST_SHARE = 0.05
"""Microseconds from which a process is named."""
_BLOCK = re.compile(r"<!-- bench: (?P<name>\w+) -->\n(?P<text>.*?)<!-- bench: end -->", re.DOTALL)


def whole(report: Report) -> str:
    """Everything, for a terminal."""
    made = (make(report) for name, make in BLOCKS.items() if name != "line")
    return "\n\n".join(text for text in made if text)


def calls(report: Report) -> str:
    """What a call costs, row by row."""
    if "calls" not in report:
        return ""
    lines = [
        "| row | in flight | CPU µs/call | CPU / echo | calls/s | p50 µs | p99 µs |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    # The sort keeps the order of rows, which is that of `rows.start_rows`.
    for line in sorted(report["calls"]["summary"], key=lambda line: line["in_flight"]):
        parts = dict(line["cpu_us"])
        text = f"{parts.pop('all'):.1f}"
        shares = [f"{name} {us:.1f}" for name, us in parts.items() if us >= LEAST_SHARE]
        if len(shares) > 1:
            text += f" ({' + '.join(shares)})"
        ratio = "-" if line["cpu_ratio"] is None else f"{line['cpu_ratio']:.2f}"
        lines.append(
            f"| {line['row']} | {line['in_flight']} | {text} | {ratio} "
            f"| {line['calls_per_second']:.0f} | {line['p50_us']:.0f} | {line['p99_us']:.0f} |"
        )
    return "\n".join([*lines, "", about(report)])


def about(report: Report) -> str:
    """Under what conditions, in a sentence."""
    told = report["about"]
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return _wrapped(
        f"Medians of {told['rounds']} rounds of {told['seconds']:g} s, {told['date']}; "
        f"{told['cores']} cores ({told['system']}), Python {told['python']}, {versions}."
    )


def payloads(report: Report) -> str:
    """Megabytes per second, there and back."""
    if "payloads" not in report:
        return ""
    lines = [
        "| payload | beside | its MB/s | provider MB/s | ratio |",
        "|---|---|--:|--:|--:|",
        *(
            f"| {shown(line['size'])} | {line['base']} | {line['base_mb_per_second']:.0f} "
            f"| {line['mb_per_second']:.0f} | {line['ratio']:.2f} |"
            for line in report["payloads"]
        ),
    ]
    if report.get("passing"):
        lines += [
            "",
            "| beside a payload of | slowest small call ms | quiet one ms | copy ms | passage ms |",
            "|---|--:|--:|--:|--:|",
            *(
                f"| {shown(line['size'])} | {line['slowest_ms']:.2f} | {line['quiet_ms']:.2f} "
                f"| {line['copy_ms']:.2f} | {line['large_ms']:.1f} |"
                for line in report["passing"]
            ),
        ]
    return "\n".join(lines)


def slow(report: Report) -> str:
    """A handler of a millisecond, beside what the machine makes of it alone and twice at once."""
    if "slow" not in report:
        return ""
    found = report["slow"]
    rows = (
        ("called in a loop", found["loop_per_second"], 1.0),
        ("provider", found["calls_per_second"], found["ratio"]),
        ("what the function has of the worker's time", None, found["share"]),
        (
            "each of two loops at once",
            found["loop_per_second"] * found["beside_ratio"],
            found["beside_ratio"],
        ),
    )
    lines = ["| handler of 1 ms | calls/s | of the loop |", "|---|--:|--:|"]
    lines += [
        f"| {name} | {'' if rate is None else f'{rate:.0f}'} | {ratio:.3f} |"
        for name, rate, ratio in rows
    ]
    return "\n".join(lines)


def verdicts(report: Report) -> str:
    """The aims, each held or missed."""
    lines = ["| aim | asked | found | |", "|---|--:|--:|---|"]
    lines += [
        f"| {aim.section}: {aim.text} | {aim.asked} | {aim.found} | {aim.verdict} |"
        for aim in aims(report)
    ]
    return "\n".join(lines)


def line(report: Report) -> str:
    """One line for those who read one; empty where the run has not what it says.

    Without figures that the run has not measured it would say less than was asked.
    """
    cells = report.get("calls", {}).get("cells", [])
    to_echo = median_ratio(cells, (PROVIDER, 64), (ECHO, 64), cpu)
    to_micro, to_faststream = (
        median_ratio(cells, (PROVIDER, 256), (row, 256), lambda cell: cell["calls_per_second"])
        for row in (MICRO, FASTSTREAM_ROW)
    )
    if to_echo is None or to_micro is None or to_faststream is None:
        return ""
    text = (
        f"**It costs little.** Host and worker together cost {to_echo:.2f} times the CPU of a raw "
        f"nats-py echo, and answer {written(to_micro)} times the calls of nats-py's micro service "
        f"and {written(to_faststream)} times those of FastStream, which run the function in their "
        "own process: [docs/performance.md](docs/performance.md)."
    )
    return _wrapped(text)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


BLOCKS: dict[str, Callable[[Report], str]] = {
    "calls": calls,
    "payloads": payloads,
    "slow": slow,
    "aims": verdicts,
    "line": line,
}

OTHERS = ("where",)
"""Blocks that other programs make: `benchmarks.instructions`."""


def blocks_in(document: str) -> list[str]:
    """The names of the blocks a document has.

    Raises:
        ValueError: it has none, or one that nobody makes.
    """
    names = [found["name"] for found in _BLOCK.finditer(document)]
    if not names:
        raise ValueError("it has no block `<!-- bench: NAME -->` ... `<!-- bench: end -->`")
    known = {*BLOCKS, *OTHERS}
    unknown = set(names) - known
    if unknown:
        raise ValueError(f"nobody makes its block {min(unknown)}; there are {sorted(known)}")
    return names


def renewed(document: str, report: Report) -> str:
    """The document with its blocks as this report has them; one that it has not whole stays."""
    whole_run = all(aim.figure is not None for aim in aims(report))
    made = {name: make(report) for name, make in BLOCKS.items() if whole_run or name != "aims"}
    return replaced(document, made)


def replaced(document: str, texts: Mapping[str, str]) -> str:
    """The document with these texts in the blocks of their names; all else stays."""

    def block(found: re.Match[str]) -> str:
        text = texts.get(found["name"])
        return f"<!-- bench: {found['name']} -->\n{text}\n<!-- bench: end -->" if text else found[0]

    return _BLOCK.sub(block, document)
