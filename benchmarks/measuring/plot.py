"""A report as a picture: CPU of one call, row by row, beside each other.

    python -P .../plot.py REPORT.json PICTURE.svg

The rule of this file: it imports nothing of ours, because it runs where matplotlib is, which is no
dependency of ours.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PANELS: dict[str, Callable[[dict[str, Any]], float]] = {
    "CPU µs/call": lambda line: line["cpu_us"]["all"],
    "calls/s": lambda line: line["calls_per_second"],
}
COLOURS = ("#33658a", "#86bbd8", "#758e4f", "#f6ae2d")


def draw(report: dict[str, Any], target: Path) -> None:
    """Draw CPU and latency of all rows, each number of calls in flight a group of bars."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    # The same report is the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    lines = report["calls"]["summary"]
    rows = list(dict.fromkeys(line["row"] for line in lines))
    widths = sorted({line["in_flight"] for line in lines})
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, title in zip(axes, PANELS, strict=True):
        for number, width in enumerate(widths):
            found = {
                line["row"]: PANELS[title](line) for line in lines if line["in_flight"] == width
            }
            places = [index + (number - (len(widths) - 1) / 2) * 0.25 for index in range(len(rows))]
            bars = axis.barh(
                places,
                [found.get(row, 0) for row in rows],
                height=0.24,
                color=COLOURS[number % len(COLOURS)],
                label=f"{width} in flight",
            )
            axis.bar_label(bars, fmt="{:.0f}", padding=2, fontsize=6)
        axis.set_yticks(range(len(rows)), rows)
        axis.invert_yaxis()
        axis.set_xscale("log")
        axis.set_xlabel(title)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=7)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
