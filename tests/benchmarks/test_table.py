"""The tables say what the report says, and documents get them between two comments."""

from __future__ import annotations

import pytest

from benchmarks.measuring import table
from tests.benchmarks.made_up import report


def test_calls_are_grouped_by_calls_in_flight_and_name_the_processes_that_cost_something():
    lines = table.calls(report()).splitlines()
    assert lines[0] == (
        "| row | in flight | CPU µs/call | CPU / echo | calls/s | p50 µs | p99 µs |"
    )
    assert (
        lines[5] == "| provider | 1 | 28.0 (host 16.0 + worker 12.0) | 1.40 | 24000 | 600 | 1800 |"
    )
    assert [line.split(" | ")[1] for line in lines[2:14]] == 4 * ["1"] + 4 * ["64"] + 4 * ["256"]
    assert " ".join(lines[15:]) == (
        "Medians of 3 rounds of 1 s, 2026-11-21; 2 cores (Linux x86_64), Python 3.11.7, nats-py "
        "2.16.0."
    )


def test_payloads_stand_beside_what_moves_the_same_bytes():
    text = table.payloads(report())
    assert "| 1 KiB | raw echo | 80 | 60 | 0.75 |" in text
    assert "| 100 MB | 90.00 | 0.20 | 110.00 | 3000.0 |" in text


def test_slow_calls_stand_beside_what_the_machine_makes_of_them():
    lines = table.slow(report()).splitlines()
    assert lines[2:] == [
        "| called in a loop | 1000 | 1.000 |",
        "| provider | 980 | 0.980 |",
        "| what the function has of the worker's time |  | 0.990 |",
        "| each of two loops at once | 900 | 0.900 |",
    ]
    assert table.slow({"about": {}}) == ""


def test_aims_stand_with_their_figure_and_verdict():
    made = report()
    made["starts"]["import_ms"] = 300.0
    text = table.verdicts(made)
    assert "| cost: CPU / raw echo, 64 in flight | at most 1.5 | 1.4 | held |" in text
    assert "| start: import of the host | at most 250 ms | 300 ms | missed |" in text


def test_the_line_has_the_ratios_or_is_not_there():
    text = table.line(report())
    assert " ".join(text.split("\n")).startswith(
        "**It costs little.** Host and worker together cost 1.40 times the CPU of a raw nats-py "
        "echo, and answer 0.96 times the calls of nats-py's micro service and 6 times those of "
        "FastStream"
    )
    assert max(map(len, text.splitlines())) <= 100
    assert table.line({"about": {}}) == ""


def test_everything_is_printed_but_the_line():
    text = table.whole(report())
    assert "| provider | 1 |" in text
    assert "100 MB" in text
    assert "missed" not in text
    assert "Host and worker together" not in text


DOCUMENT = """# Speed

<!-- bench: calls -->
old
<!-- bench: end -->

between

<!-- bench: line -->
<!-- bench: end -->
after
"""


def test_blocks_of_a_document_are_renewed_and_nothing_else():
    made = report()
    text = table.renewed(DOCUMENT, made)
    assert text == (
        f"# Speed\n\n<!-- bench: calls -->\n{table.calls(made)}\n<!-- bench: end -->\n\nbetween\n\n"
        f"<!-- bench: line -->\n{table.line(made)}\n<!-- bench: end -->\nafter\n"
    )
    assert table.renewed(text, made) == text


def test_a_block_stays_when_the_run_has_nothing_for_it():
    assert table.renewed(DOCUMENT, {"about": {}}) == DOCUMENT


def test_aims_of_half_a_run_are_printed_and_not_written():
    document = "<!-- bench: aims -->\nold\n<!-- bench: end -->\n"
    half = report(starts={})
    assert "not measured" in table.whole(half)
    assert table.renewed(document, half) == document
    assert "old" not in table.renewed(document, report())


def test_a_document_without_blocks_or_with_strange_ones_is_refused():
    assert table.blocks_in(DOCUMENT) == ["calls", "line"]
    with pytest.raises(ValueError, match="it has no block"):
        table.blocks_in("# Speed\n")
    with pytest.raises(ValueError, match="nobody makes its block weather"):
        table.blocks_in("<!-- bench: weather -->\n<!-- bench: end -->\n")
