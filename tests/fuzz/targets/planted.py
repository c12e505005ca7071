"""Targets with something wrong in them, by which it is seen that what is wrong is found.

The rule of this file: one thing is wrong with each but the first, and only where the input has
`!!`.
"""

from __future__ import annotations

import time

from provider.telemetry import logs
from tests.fuzz.target import SECONDS, target

_log = logs.get_logger(component="planted")
_held: list[bytes] = []


@target(b"!!")
def right(data: bytes) -> None:
    """Nothing is wrong."""
    data.partition(b"!")


@target(b"!!")
def raises(data: bytes) -> None:
    """An exception nobody expects."""
    if b"!!" in data:
        raise LookupError("planted")


@target(b"!!")
def logged(data: bytes) -> None:
    """An error in the log."""
    if b"!!" in data:
        _log.error("planted")


@target(b"!!")
def slow(data: bytes) -> None:
    """Time that is taken."""
    end = time.thread_time() + 1.1 * SECONDS
    while b"!!" in data and time.thread_time() < end:
        pass


@target(b"!!")
def large(data: bytes) -> None:
    """Memory that is taken."""
    if b"!!" in data:
        _held.append(b"x" * (400 << 20))
        _held.clear()
