"""Log lines: one stream for everybody's, and nothing a value can do to them."""

from __future__ import annotations

import enum
import io
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provider.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging belongs to the whole process: leave it as it was."""
    loggers = [logging.getLogger(name) for name in (None, "nats", "watchdog")]
    levels = [logger.level for logger in loggers]
    handlers = list(loggers[0].handlers)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    loggers[0].handlers[:] = handlers
    logging.captureWarnings(capture=False)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def one(stream: io.StringIO) -> dict[str, Any]:
    (line,) = lines(stream)
    return line


def json_stream(level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level, "json", stream)
    return stream


# --- Where lines go and what they look like ------------------------------------------------------


def test_an_event_is_one_json_object() -> None:
    stream = json_stream()
    logs.get_logger(component="fleet").info("worker_started", pid=47, ready=True, host=None)
    line = one(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "logger": "provider",
        "event": "worker_started",
        "component": "fleet",
        "pid": 47,
        "ready": True,
        "host": None,
    }
    assert list(lines(stream)[0])[:4] == ["timestamp", "level", "logger", "event"]


def test_a_logger_may_have_a_name() -> None:
    stream = json_stream()
    logs.get_logger("provider.host").info("x")
    assert one(stream)["logger"] == "provider.host"


def test_context_of_the_request_is_in_every_line() -> None:
    stream = json_stream()
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        logs.get_logger().info("ours")
        logging.getLogger("theirs").info("theirs")
    assert [line["request_id"] for line in lines(stream)] == ["r1", "r1"]


def test_a_logger_made_before_configure_works_after() -> None:
    log = logs.get_logger(component="early")
    stream = json_stream()
    log.info("x")
    assert one(stream)["component"] == "early"


@pytest.mark.parametrize(
    ("format_", "terminal", "pretty"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("pretty", False, True),
        ("json", True, False),
    ],
)
def test_pretty_is_for_terminals(format_: str, terminal: bool, pretty: bool) -> None:
    stream = Terminal() if terminal else io.StringIO()
    logs.configure("info", format_, stream, environ={})
    logs.get_logger().info("started", pid=4)
    text = stream.getvalue()
    assert text.startswith("{") is not pretty
    assert ("\x1b[" in text) is (pretty and terminal)


@pytest.mark.parametrize(
    ("environ", "colors"),
    [
        ({}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm"}, True),
    ],
)
def test_colors_may_be_refused(environ: dict[str, str], colors: bool) -> None:
    stream = Terminal()
    logs.configure("info", "auto", stream, environ=environ)
    logs.get_logger().info("started", pid=4)
    assert ("\x1b[" in stream.getvalue()) is colors
    assert "started" in stream.getvalue()


def test_the_environment_of_the_process_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    logs.configure("info", "auto", stream)
    logs.get_logger().info("started")
    assert "\x1b" not in stream.getvalue()


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto")
    logs.get_logger().info("started")
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["event"] == "started"


def test_configuring_again_replaces() -> None:
    first, second = json_stream("debug"), json_stream("error")
    logs.get_logger().warning("dropped")
    logs.get_logger().error("kept")
    logging.getLogger("x").warning("dropped")
    assert first.getvalue() == ""
    assert one(second)["event"] == "kept"


def test_other_handlers_stay() -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    json_stream()
    json_stream()
    assert other in logging.getLogger().handlers


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_levels(level: str) -> None:
    stream = json_stream(level)
    order = ["debug", "info", "warning", "error"]
    for each in order:
        getattr(logs.get_logger(), each)("ours")
        getattr(logging.getLogger("theirs"), each)("theirs")
    seen = [(line["level"], line["event"]) for line in lines(stream)]
    assert seen == [
        (each, event) for each in order[order.index(level) :] for event in ("ours", "theirs")
    ]


# --- Libraries -----------------------------------------------------------------------------------


def test_lines_of_libraries_have_the_same_keys() -> None:
    stream = json_stream()
    logging.getLogger("asyncio").error("lost %s of %d", "task\x1b", 3)
    line = one(stream)
    assert line.pop("timestamp")
    assert line == {"level": "error", "logger": "asyncio", "event": r"lost task\x1b of 3"}


@pytest.mark.parametrize(
    ("level", "nats", "watchdog"),
    [
        ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
        ("info", ["warning", "error"], ["warning", "error"]),
        ("error", ["error"], ["error"]),
    ],
)
def test_talkative_libraries(level: str, nats: list[str], watchdog: list[str]) -> None:
    for name, expected in (("nats.aio.client", nats), ("watchdog.observers", watchdog)):
        stream = json_stream(level)
        for each in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger(name), each)("x")
        assert [line["level"] for line in lines(stream)] == expected


def test_warnings_are_lines() -> None:
    stream = json_stream()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # What catch_warnings put aside is what configure had put in place.
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    line = one(stream)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert line["event"].endswith("DeprecationWarning: old ways")


def test_warnings_of_a_process_are_lines() -> None:
    program = (
        "import warnings; from provider.telemetry import logs; logs.configure('info', 'json');"
        "warnings.warn('old ways'); logs.get_logger().info('after')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert len(events) == 2
    assert "UserWarning: old ways" in events[0]
    assert events[1] == "after"


# --- Hostile values ------------------------------------------------------------------------------

FORGED = "x\n2026-01-01T00:00:00Z [info] forged\r\x1b[2J\x00\u2028\u202e\x85end"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.sampled_from(["pretty", "json"]))
def test_a_value_stays_in_its_line(text: str, format_: str) -> None:
    stream = io.StringIO()
    logs.configure("info", format_, stream)
    logs.get_logger().info("said", line=text, inner=[{text: text}], **{f"k{text}": 1})
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue()[:-1].isprintable()


def test_control_characters_are_spelt_out() -> None:
    stream = json_stream()
    logs.get_logger().info("said", line=FORGED, lone="\ud800", accents="grüße ☃ 𝄞")
    line = one(stream)
    assert line["line"] == (
        r"x\n2026-01-01T00:00:00Z [info] forged\r\x1b[2J\x00\u2028\u202e\x85end"
    )
    assert line["lone"] == r"\ud800"
    assert line["accents"] == "grüße ☃ 𝄞"


def test_long_text_is_cut() -> None:
    stream = json_stream()
    logs.get_logger().info("said", line="x" * 10_000, exact="y" * 8192, inner=["z" * 300])
    line = one(stream)
    assert line["line"] == "x" * 8192 + "... (1808 more characters)"
    assert line["exact"] == "y" * 8192
    assert line["inner"] == ["z" * 256 + "... (44 more characters)"]


def test_long_collections_are_cut() -> None:
    stream = json_stream()
    logs.get_logger().info(
        "said",
        items=list(range(40)),
        pairs={number: number for number in range(40)},
        few=(1, 2),
        some={3},
        deep=[[[1]], {"a": {"b": 1}, "c": 2}],
    )
    line = one(stream)
    assert line["items"] == [*range(32), "... (8 more)"]
    assert line["pairs"] == {**{str(number): number for number in range(32)}, "...": "8 more"}
    assert line["few"] == [1, 2]
    assert line["some"] == [3]
    assert line["deep"] == [["..."], {"a": "...", "c": 2}]


def test_values_json_cannot_say() -> None:
    class Unhappy:
        def __repr__(self) -> str:
            raise RuntimeError

    class Forger:
        def __repr__(self) -> str:
            return "a\nb"

    class Number(enum.IntEnum):
        SEVEN = 7

    stream = json_stream()
    logs.get_logger().info(
        "said",
        data=b"\x00" + b"x" * 100_000,
        nan=float("nan"),
        half=0.5,
        huge=1 << 20_000,
        most=(1 << 64) - 1,
        number=Number.SEVEN,
        unhappy=Unhappy(),
        forger=Forger(),
    )
    line = one(stream)
    assert line["data"].startswith(r"b'\x00xxx")
    assert len(line["data"]) < 9000
    assert line["nan"] == "nan"
    assert line["half"] == 0.5
    assert line["huge"] == "integer of 20001 bits"
    assert line["most"] == (1 << 64) - 1
    assert line["number"] == 7
    assert line["unhappy"] == "<Unhappy, whose repr fails>"
    assert line["forger"] == r"a\nb"


def test_values_of_any_type_are_shown_as_text() -> None:
    stream = json_stream()
    logs.get_logger().error("failed", exception=ValueError("why"))
    assert one(stream)["exception"] == "ValueError('why')"


# --- Exceptions ----------------------------------------------------------------------------------


def fail(text: str) -> None:
    raise ValueError(text)


def test_an_exception_is_a_block_below_its_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "pretty", stream)
    try:
        fail(FORGED)
    except ValueError:
        logs.get_logger().exception("failed", call=1)
        logging.getLogger("theirs").exception("failed too")
    shown = stream.getvalue().splitlines()
    heads = [line for line in shown if not line.startswith("    ")]
    assert len(heads) == 2, "only the two events may begin at the margin"
    assert "failed" in heads[0]
    assert "failed too" in heads[1]
    assert shown.count("    Traceback (most recent call last):") == 2
    assert "    ValueError: x" in shown
    assert r"    2026-01-01T00:00:00Z [info] forged\r\x1b[2J\x00\u2028\u202e\x85end" in shown


def test_an_exception_in_json_keeps_its_lines() -> None:
    stream = json_stream()
    try:
        fail("why\x1b")
    except ValueError as error:
        logs.get_logger().error("failed", exc_info=error)
    text = one(stream)["exception"]
    assert text.startswith("Traceback (most recent call last):\n  File ")
    assert text.endswith(r"ValueError: why\x1b")


def test_a_traceback_may_come_as_text() -> None:
    stream = io.StringIO()
    logs.configure("info", "pretty", stream)
    logs.get_logger().error("failed", exception="Traceback\n\n  ValueError\n")
    assert stream.getvalue().splitlines()[1:] == ["    Traceback", "    ", "      ValueError"]


def test_of_a_long_traceback_the_end_is_kept() -> None:
    stream = json_stream()
    logs.get_logger().error("failed", exception="x" * 9000 + "\nValueError: last")
    text = one(stream)["exception"]
    assert text.endswith("\nValueError: last")
    assert text.startswith("(825 characters left out) ...xxx")


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_that_nobody_reads_are_dropped_and_counted(blocking: bool):
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)  # as whoever shares a terminal with us may have it
    with open(writing, "w", encoding="utf-8") as stream:
        logs.configure("info", "json", stream, background=True)
        try:
            log = logs.get_logger()
            written = logs.MOST_WAITING + 2_000
            for number in range(written):
                log.info("line", number=number)
            with open(reading, encoding="utf-8") as lines:
                came, dropped = [], 0
                for line in map(json.loads, lines):
                    if line["event"] == "log_lines_dropped":
                        dropped += line["lines"]
                    else:
                        came.append(line["number"])
                    if len(came) + dropped == written:
                        break
        finally:
            logs.configure("info", "json")
    assert dropped > 0
    assert came == sorted(set(came))


def test_lines_that_cannot_be_written_are_counted_too():
    with open("/dev/full", "w", encoding="utf-8") as full:
        handler = logs._BackgroundHandler(full)
        handler.emit(logging.makeLogRecord({"msg": "for nobody"}))
        handler.emit(logging.makeLogRecord({"msg": "nor this"}))
        handler.close()
    assert handler._dropped == 2
