"""Log lines: events with fields, for people on a terminal and for machines elsewhere.

The rule of this file: whatever reaches a log line from outside is data. A value can neither begin
a line of its own, nor steer a terminal, nor fill the disk. Our events and those of libraries (nats,
asyncio, watchdog, warnings) take the same way: structlog hands its events to the standard library,
whose one handler renders both kinds.

    log = get_logger("provider.host")
    log.info("worker_started", worker=3, pid=4711)

An event is a short name; what varies goes into fields. A traceback as text goes into the field
`exception`, the only one that may have several lines.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import queue
import select
import sys
import textwrap
import threading
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, TextIO, cast

from provider.telemetry.absent import absent

# structlog can draw tracebacks with rich, which typer brings along and which takes as long to
# import as all of structlog. Ours are drawn by us.
with absent("rich"):
    import structlog
    from structlog.stdlib import ProcessorFormatter

MAX_TEXT = 8192
"""Most characters of one text in a line."""

MAX_INNER_TEXT = 256
"""Most characters of a text inside a list or map."""

MAX_MEMBERS = 32
"""Most members of a list or map that are shown."""

MAX_DEPTH = 2
"""How many lists and maps inside one another are shown."""

MOST_WAITING = 10_000
"""Lines that wait for a reader that is slow; those beyond are dropped and counted."""

LAST_LINES_WITHIN = 2.0
"""Seconds the last lines have at the end of the program."""

_BLOCK = "exception"
"""The field of several lines, shown below the line of its event."""

_PASSED_ON = frozenset({"_record", "_from_structlog"})
"""What structlog itself puts among the fields of a library's line, and takes out at the end."""

_Fields = MutableMapping[str, Any]


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, told apart from other handlers of the root logger."""


class _BackgroundHandler(_Handler):
    """Writes in a thread of its own, so that a reader that stalls stops nobody but the thread.

    What does not fit into the queue is counted, and the number is logged once there is room.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="provider-logs", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record) + self.terminator)
        except queue.Full:
            self._dropped += 1
        except Exception:  # noqa: BLE001  as logging wants it: no line ends the program
            self.handleError(record)

    def flush(self) -> None:
        """The thread flushes; whoever asks must not wait for it."""

    def close(self) -> None:
        """Write what waits, if the reader lets us within a moment."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
            self._writer.join(LAST_LINES_WITHIN)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._put(memoryview(line.encode("utf-8", "replace")))
            except (OSError, ValueError):  # nobody reads any more, or the disk is full
                self._dropped += 1
                continue
            if self._dropped and self._lines.empty():
                dropped, self._dropped = self._dropped, 0
                get_logger(component="logs").warning("log_lines_dropped", lines=dropped)

    def _put(self, left: memoryview) -> None:
        # To the descriptor: a thread that is stuck in the stream would hold its lock for ever.
        descriptor = self.stream.fileno()
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:  # whoever shares it with us has it so
                room = select.poll()
                room.register(descriptor, select.POLLOUT)
                room.poll()


def configure(
    level: str,
    format: str,  # noqa: A002  the name of the setting
    stream: TextIO | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    background: bool = False,
) -> None:
    """Send all logging and all warnings of this process to one stream. May be called again.

    Args:
        level: debug, info, warning or error; less important lines are dropped.
        format: pretty, json, or auto, which is pretty on a terminal.
        stream: standard error when left out.
        environ: where NO_COLOR and TERM are looked up, the process's own when left out. They
            belong to terminals and not to the provider, hence not to its settings.
        background: write in a thread, and drop lines rather than wait for who reads them.
    """
    stream = sys.stderr if stream is None else stream
    environ = os.environ if environ is None else environ
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = stream.isatty()
    pretty = format == "pretty" or (format == "auto" and terminal)
    colors = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"

    handler = _BackgroundHandler(stream) if background else _Handler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*_KNOWN, _first_line_of_warning, *_HARMLESS],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                *(_pretty(colors=colors) if pretty else _json()),
            ],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(number)
    least = max(number, logging.WARNING)
    logging.getLogger("nats").setLevel(number if number == logging.DEBUG else least)
    # At debug it tells of every event of every file, and so of the file its lines are written to.
    logging.getLogger("watchdog").setLevel(least)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=_CHAIN,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        # A dropped debug line then costs less than a microsecond, on the path of every call.
        cache_logger_on_first_use=True,
    )


def get_logger(
    name: str = "provider", /, **fields: object
) -> structlog.typing.FilteringBoundLogger:
    """A logger whose every line carries these fields. May be made before `configure`."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(name, **fields))


def clean(_logger: object, _method: str, fields: _Fields) -> _Fields:
    """Make every value harmless: no control characters, no endless text, nothing unfit for JSON."""
    cleaned: _Fields = {}
    for key, value in fields.items():
        if key in _PASSED_ON:
            cleaned[key] = value
        elif key == _BLOCK and isinstance(value, str):
            cleaned[key] = _block(value)
        else:
            cleaned[_text(key)] = _value(value)
    return cleaned


def _value(value: object, depth: int = 0) -> object:
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _members(value, depth) if depth < MAX_DEPTH else "..."
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Python refuses to write out integers of more than 4300 digits.
        bits = value.bit_length()
        return int(value) if bits <= 64 else f"integer of {bits} bits"
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _text(
        value if isinstance(value, str) else _repr(value), MAX_INNER_TEXT if depth else MAX_TEXT
    )


def _members(value: Mapping[Any, Any] | Collection[Any], depth: int) -> object:
    left_out = len(value) - MAX_MEMBERS
    some = list(itertools.islice(value, MAX_MEMBERS))
    if isinstance(value, Mapping):
        shown = {_text(str(key), MAX_INNER_TEXT): _value(value[key], depth + 1) for key in some}
        return {**shown, "...": f"{left_out} more"} if left_out > 0 else shown
    members = [_value(member, depth + 1) for member in some]
    return [*members, f"... ({left_out} more)"] if left_out > 0 else members


def _repr(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        value = value[: MAX_TEXT + 1]
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  foreign code; a log line must not fail for it
        return f"<{type(value).__name__}, whose repr fails>"


def _text(text: str, most: int = MAX_TEXT) -> str:
    left_out = len(text) - most
    if left_out > 0:
        return f"{_escape(text[:most])}... ({left_out} more characters)"
    return _escape(text)


def _block(text: str) -> str:
    """Several lines; of long ones the end, where a traceback says what it was."""
    left_out = len(text) - MAX_TEXT
    if left_out > 0:
        text = f"({left_out} characters left out) ...{text[-MAX_TEXT:]}"
    # Not splitlines(): it breaks at characters that are to be escaped.
    return "\n".join(_escape(line) for line in text.rstrip("\n").split("\n"))


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _first_line_of_warning(_logger: object, _method: str, fields: _Fields) -> _Fields:
    # The second line is the source line, which the first one names.
    if fields.get("logger") == "py.warnings":
        fields["event"] = str(fields["event"]).partition("\n")[0]
    return fields


def _indented(_logger: object, _method: str, fields: _Fields) -> _Fields:
    """No line of a block can pass for a log line."""
    if _BLOCK in fields:
        fields[_BLOCK] = textwrap.indent(str(fields[_BLOCK]), "    ", lambda _line: True)
    return fields


def _in_order(_logger: object, _method: str, fields: _Fields) -> _Fields:
    first = ("timestamp", "level", "logger", "event")
    return {
        **{key: fields[key] for key in first if key in fields},
        **{key: value for key, value in fields.items() if key not in first},
    }


def _pretty(*, colors: bool) -> list[structlog.typing.Processor]:
    return [
        _indented,
        structlog.dev.ConsoleRenderer(
            colors=colors,
            sort_keys=False,
            # The text is made and cleaned already.
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _json() -> list[structlog.typing.Processor]:
    return [_in_order, structlog.processors.JSONRenderer()]


_KNOWN: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
"""What is known of every event, whoever wrote it."""

_HARMLESS: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, clean]

_CHAIN: list[structlog.typing.Processor] = [
    *_KNOWN,
    *_HARMLESS,
    ProcessorFormatter.wrap_for_formatter,
]
"""One list for the life of the process: loggers in use keep it, and tests may replace its parts."""
