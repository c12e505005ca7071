"""A report nobody measured, for the tables and the aims."""

from __future__ import annotations

from benchmarks.measuring import rounds
from benchmarks.measuring.rows import ECHO, FASTSTREAM_ROW, MICRO, PROVIDER


def cell(row, in_flight, number, cpu, rate, p50=100.0):
    """What one cell of the calls holds."""
    return {
        "row": row,
        "in_flight": in_flight,
        "round": number,
        "calls_per_second": rate,
        "p50_us": p50,
        "p99_us": 3 * p50,
        "cpu_us": cpu if isinstance(cpu, dict) else {"peer": cpu, "all": cpu},
    }


def report(**changed):
    """All sections, every aim held; `changed` takes the place of a section."""
    cells = []
    for number in (1, 2, 3):
        slow = number  # the third round is on a machine three times as slow
        for in_flight in (1, 64, 256):
            ours = {"host": 8.0 * slow, "worker": 6.0 * slow, "sentinel": 0.0, "all": 14.0 * slow}
            cells += [
                cell(ECHO, in_flight, number, 10.0 * slow, 70_000 / slow),
                cell(MICRO, in_flight, number, 12.0 * slow, 50_000 / slow, 200.0 * slow),
                cell(FASTSTREAM_ROW, in_flight, number, 95.0 * slow, 8_000 / slow),
                cell(PROVIDER, in_flight, number, ours, 48_000 / slow, 300.0 * slow),
            ]
    made = {
        "about": {
            "date": "2026-11-21",
            "rounds": 3,
            "seconds": 1.0,
            "cores": 2,
            "python": "3.11.7",
            "system": "Linux x86_64",
            "versions": {"nats-py": "2.16.0"},
        },
        "calls": {"summary": rounds.summary(cells, ECHO), "cells": cells},
        "payloads": [
            {
                "size": 1024,
                "base": ECHO,
                "base_mb_per_second": 80.0,
                "mb_per_second": 60.0,
                "ratio": 0.75,
            }
        ],
        "passing": [
            {
                "size": 100_000_000,
                "slowest_ms": 90.0,
                "quiet_ms": 0.2,
                "copy_ms": 110.0,
                "large_ms": 3000.0,
            }
        ],
        "slow": {
            "loop_per_second": 1000.0,
            "calls_per_second": 980.0,
            "ratio": 0.98,
            "share": 0.99,
            "beside_ratio": 0.9,
        },
        "starts": {
            "first_answer_ms": 380.0,
            "host_mb": 55.0,
            "worker_mb": 19.0,
            "import_ms": 240.0,
            "worker_start_ms": 59.0,
            "reload_check_us": 0.9,
        },
    }
    return {**made, **changed}
